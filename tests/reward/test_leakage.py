"""A prompt of the run in the reward model's own data is found, whole or nearly so, before anything
trains.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from restaudit.commands.cli import app
from restaudit.errors import BadInput
from restaudit.reward_audit.standalone import LEAKAGE, configured
from tests.reward.test_trained import pairs

PROMPTS = [
    f"Tell me how the weather of region number {k} changes in the course of a long year."
    for k in range(60)
]


@pytest.fixture
def recipe(tmp_path: Path, tiny_encoder: Path) -> Path:
    table = pairs(n=240, prompts=40)[["prompt", "chosen", "rejected"]]
    table.to_json(tmp_path / "pairs.jsonl", orient="records", lines=True)
    (tmp_path / "prompts.jsonl").write_text(
        "\n".join(json.dumps({"prompt": p}) for p in PROMPTS), encoding="utf-8"
    )
    path = tmp_path / "recipe.yaml"
    given = {
        "reward": {
            "kind": "trained",
            "encoder": str(tiny_encoder),
            "data": {"source": str(tmp_path / "pairs.jsonl")},
            "max_tokens": 64,
            "head": {"epochs": 2},
            "ensemble": {"size": 1},
        },
        "data": {
            "prompts": [{"source": str(tmp_path / "prompts.jsonl")}],
            "splits": {"near_duplicates": "drop", "max_near_duplicate_share": 0.5},
        },
    }
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return path


def add(recipe: Path, prompts: list[str]) -> None:
    rows = [
        {"prompt": p, "chosen": f"good {k}", "rejected": f"bad {k}"} for k, p in enumerate(prompts)
    ]
    with (recipe.parent / "pairs.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(r) + "\n" for r in rows))


def test_data_that_holds_no_prompt_of_the_run_trains_and_says_so(
    recipe: Path, tmp_path: Path
) -> None:
    configured(str(recipe), []).build(tmp_path / "out")
    found = json.loads((tmp_path / "out" / LEAKAGE).read_text(encoding="utf-8"))
    assert {name: found[name]["exact"] for name in ("grow", "d_eval", "audit")} == {
        "grow": 0,
        "d_eval": 0,
        "audit": 0,
    }


def test_a_leaked_prompt_is_refused_before_anything_is_written(
    recipe: Path, tmp_path: Path
) -> None:
    add(recipe, [PROMPTS[3].upper()])  # in other letters: normalised, it is the same prompt
    said = CliRunner().invoke(app, ["reward", "train", str(recipe), "--out", str(tmp_path / "out")])
    assert isinstance(said.exception, BadInput)
    assert "prompts of the run are in the reward model's data (1 of" in str(said.exception)
    assert not (tmp_path / "out").exists()


def test_near_duplicates_of_audit_prompts_are_refused_above_the_limit(
    recipe: Path, tmp_path: Path
) -> None:
    add(recipe, [f"{p} Thanks." for p in PROMPTS])
    keep = "data.splits.near_duplicates=refuse"
    with pytest.raises(
        BadInput, match=r"100\.0% of the d_eval prompts have a near-duplicate .* \(limit 50\.0%"
    ):
        configured(str(recipe), [keep]).build(tmp_path / "out")
    accepted = configured(str(recipe), [keep, "data.splits.max_near_duplicate_share=1"]).build(
        tmp_path / "out"
    )
    assert accepted.members == 1
    found = json.loads((tmp_path / "out" / LEAKAGE).read_text(encoding="utf-8"))
    assert found["audit"]["near"] == found["audit"]["of"] > 0


def test_what_resembles_the_reward_s_data_is_left_out_of_what_judges_where_that_is_asked_for(
    recipe: Path, tmp_path: Path
) -> None:
    add(recipe, [f"{p} Thanks." for p in PROMPTS[::2]])
    configured(str(recipe), []).build(tmp_path / "out")
    found = json.loads((tmp_path / "out" / LEAKAGE).read_text(encoding="utf-8"))
    assert [found[name]["near"] for name in ("d_eval", "audit")] == [0, 0]
    assert found["grow"]["near"] > 0
    add(recipe, [f"{p} Thanks." for p in PROMPTS[1::2]])
    with pytest.raises(
        BadInput, match=r"no prompt falls into audit \(\d+ were left out because they resemble"
    ):
        configured(str(recipe), []).build(tmp_path / "none")
