"""`restaudit probe MODEL`: sample, measure, keep; the same generations as a file give the same
measurements.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from restaudit.config.reading import load
from tests.probing.conftest import write

Call = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
SMALL = ("--samples", 2, "--max-tokens", 6, "--resamples", 100)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    asked = [
        {"prompt": f"Describe a film {k}.", "references": ["It is good."] if k < 3 else []}
        for k in range(5)
    ]
    return write(tmp_path / "prompts.jsonl", [*asked, asked[0]])


def test_a_saved_sample_gives_the_measurements_of_the_model_it_came_from(
    run_probe: Call, tiny_policy: Path, prompts: Path, tmp_path: Path
) -> None:
    only = (
        "--only",
        "diversity.distinct_1,diversity.length,diversity.entropy_change,drift.human_text_nll",
    )
    code, out, _ = run_probe(
        tiny_policy,
        "--against",
        tiny_policy,
        "--prompts",
        prompts,
        *SMALL,
        *only,
        "--save",
        tmp_path / "s.parquet",
        "--json",
        tmp_path / "model.json",
    )
    assert code == 0
    assert "5 of 6 rows asked (left out: 1 same prompt, references joined)" in " ".join(out.split())
    saved = pd.read_parquet(tmp_path / "s.parquet")
    assert len(saved) == 10
    assert set(saved["prompt"]) == {f"Describe a film {k}." for k in range(5)}
    # Another role draws other samples: a model is not compared with a copy of its own words.
    assert saved["text"].tolist() != pd.read_parquet(tmp_path / "s-base.parquet")["text"].tolist()
    run_probe(
        tmp_path / "s.parquet",
        "--against",
        tmp_path / "s-base.parquet",
        "--resamples",
        100,
        *only,
        "--json",
        tmp_path / "file.json",
    )
    first, second = (
        json.loads((tmp_path / n).read_text(encoding="utf-8")) for n in ("model.json", "file.json")
    )
    from_text = {m["name"]: m for m in first["measurements"]}.pop("drift.human_text_nll")
    assert from_text["value"] == 0  # the same model finds the same references as likely
    of_samples = [
        [m for m in d["measurements"] if m["name"] != "drift.human_text_nll"]
        for d in (first, second)
    ]
    assert of_samples[0] == of_samples[1]
    assert first["models"]["policy"]["sha256"] == first["models"]["base"]["sha256"]


def test_sampling_is_repeatable_and_the_seed_changes_it(
    run_probe: Call, tiny_policy: Path, prompts: Path, tmp_path: Path
) -> None:
    texts = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_probe(
            tiny_policy,
            "--prompts",
            prompts,
            *SMALL,
            "--only",
            "diversity.length",
            "--seed",
            seed,
            "--save",
            tmp_path / f"{name}.parquet",
        )
        texts.append(pd.read_parquet(tmp_path / f"{name}.parquet")["text"].tolist())
    assert texts[0] == texts[1] != texts[2]


def test_without_prompts_the_recipes_audit_prompts_are_asked(
    run_probe: Call, tiny_policy: Path, tmp_path: Path
) -> None:
    code, out, err = run_probe(
        tiny_policy,
        "--limit",
        3,
        "--samples",
        1,
        "--max-tokens",
        3,
        "--only",
        "diversity.length",
        "--format",
        "json",
    )
    assert code == 0
    families = load("reviews").data.splits.counterfactual_families["audit"]
    assert json.loads(out)["outputs"]["prompts"] == 3 + families * 4
    assert json.loads(out)["sampling"]["system_prompt"] == "You write film reviews."
    assert "sampling" in err


def test_what_compares_by_the_token_is_left_out_where_tokenizers_differ(
    run_probe: Call, tiny_policy: Path, prompts: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_policy, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    one, two = list(vocabulary)[-2:]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    only = (
        "--only",
        "diversity.entropy,diversity.entropy_change,drift.human_text_nll",
        "--format",
        "json",
    )
    code, out, _ = run_probe(tiny_policy, "--against", other, "--prompts", prompts, *SMALL, *only)
    assert code == 0
    measured = {m["name"]: m["value"] for m in json.loads(out)["measurements"]}
    assert measured["diversity.entropy"] > 0
    assert measured["diversity.entropy_change"] is measured["drift.human_text_nll"] is None
    assert any("different tokenizers" in note for note in json.loads(out)["notes"])


def test_benchmarks_of_a_model_are_measured(
    run_probe: Call, tiny_policy: Path, prompts: Path, tmp_path: Path
) -> None:
    only = ("--only", "capability", "--json", tmp_path / "o.json")
    tasks = ("--tasks", "own/grammar", "--task-limit", 6)
    code, out, _ = run_probe(
        tiny_policy, "--against", tiny_policy, "--prompts", prompts, *SMALL, *tasks, *only
    )
    assert code == 0
    assert "benchmark grammar: 6 of" in out
    found = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["measurements"]
    assert any(m["value"] is not None for m in found)


WRONG: dict[str, tuple[tuple[object, ...], str]] = {
    "an option of files": (("--grow", "g.csv"), "--grow says nothing about a model"),
    "a base that is a file": (("--against", "x.csv"), "x.csv is no model"),
    "cold": (("--temperature", "0"), "--temperature 0: expected a number above 0"),
    "no prompts file": (("--prompts", "nowhere.csv"), "nowhere.csv: no such file"),
    "another name for the sample": (("--save", "x.csv"), "ends in .parquet"),
    "no folder for the sample": (("--save", "nowhere/x.parquet"), "no folder nowhere"),
    "longer than the model reads": (
        ("--max-tokens", "100000"),
        "reads 256 tokens, prompt included",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_sampled_is_refused_before_anything_is(
    case: str, run_probe: Call, tiny_policy: Path
) -> None:
    words, message = WRONG[case]
    code, out, err = run_probe(tiny_policy, *words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_folder_that_is_no_model_is_refused(run_probe: Call, tmp_path: Path) -> None:
    code, _, err = run_probe(tmp_path)
    assert code == 2
    assert "not a causal language model" in err
