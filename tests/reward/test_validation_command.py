"""`restaudit reward validate`: own held-out items, other people's files, the report it writes, and
what it refuses.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from restaudit.commands.cli import app, main
from restaudit.errors import BadInput
from restaudit.reward_audit.standalone import configured
from restaudit.reward_audit.validation import SCHEMA, sources_of, stem, validate_outside
from tests.reward.test_trained import pairs, ratings

LLMBAR = "LLMBar_Natural.json"


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A reward of pairs, two members, on a tiny frozen encoder; its training file stays where it
    was.
    """
    folder = tmp_path_factory.mktemp("validated")
    pairs(n=400, prompts=60)[["prompt", "chosen", "rejected"]].to_json(
        folder / "pairs.jsonl", orient="records", lines=True
    )
    source = {"source": str(folder / "pairs.jsonl")}
    head = {"hidden": 0, "learning_rate": 0.02, "epochs": 40, "batch": 32}
    given = {
        "kind": "trained",
        "encoder": str(tiny_encoder),
        "data": source,
        "max_tokens": 64,
        "ensemble": {"size": 2},
    }
    given = {"reward": {**given, "head": head}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    configured(str(folder / "recipe.yaml"), []).build(folder / "rm")
    return folder / "rm"


def call(folder: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["reward", "validate", str(folder), *map(str, arguments)])


def report(folder: Path, out: Path, *arguments: str | Path) -> tuple[dict[str, Any], str]:
    """The JSON, its measurements by short name under `by_name`, and what was printed."""
    result = call(folder, *arguments, "--out", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text(encoding="utf-8"))
    found["by_name"] = {m["name"].removeprefix("validation."): m for m in found["measurements"]}
    for m in found["measurements"]:
        assert m["reason"] or (m["value"] is not None and m["intervals"]), m["name"]
    return found, result.output


def refused(folder: Path, *arguments: str | Path) -> str:
    result = call(folder, *arguments)
    assert isinstance(result.exception, BadInput), result.output
    return str(result.exception)


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def of_pairs(path: Path, n: int = 120, seed: int = 9, **options: Any) -> Path:
    table = pairs(n=n, seed=seed, **options)[["prompt", "chosen", "rejected"]]
    return lines(path, [{str(k): v for k, v in row.items()} for row in table.to_dict("records")])


# --- what it measures


def test_without_a_file_its_own_held_out_items_are_judged_as_when_it_was_trained(
    reward: Path, tmp_path: Path
) -> None:
    found, said = report(reward, tmp_path / "own.json")
    dossier = json.loads((reward / "dossier.json").read_text(encoding="utf-8"))
    trained = {m["name"].removeprefix("validation."): m for m in dossier["validation"]}
    assert found["schema"] == SCHEMA
    assert (found["kind"], found["items"]) == ("pairs", dossier["items"]["held_out"])
    assert found["overlap_with_training"] is None
    for name in ("pair_accuracy", "baseline.bag_of_words", "calibration.slope", "spread.error"):
        then = trained[name]["value"]
        assert found["by_name"][name]["value"] == (
            None if then is None else pytest.approx(then, abs=1e-6)
        )
    assert found["by_name"]["pair_accuracy"]["value"] > 0.8
    assert "pair_accuracy" in said
    assert f"{found['items']} pairs" in said


def test_a_file_of_pairs_is_measured_and_named_by_its_hash(reward: Path, tmp_path: Path) -> None:
    path = of_pairs(tmp_path / "new.jsonl")
    found, said = report(reward, tmp_path / "out.json", "--data", path)
    assert found["data"][0]["files"] == [
        {"spec": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    ]
    assert (found["kind"], found["items"], found["judgements"]) == ("pairs", 120, 120)
    assert found["reward"]["members"] == 2
    assert found["by_name"]["pair_accuracy"]["value"] > 0.8
    assert found["by_name"]["less.longer"]["value"] > 0.1
    assert found["by_name"]["learning_curve"]["reason"] == "nothing was trained here"
    assert sum(b["pairs"] for b in found["reliability"]) == 120
    assert f"report: {tmp_path / 'out.json'}" in said


def test_a_file_that_says_the_opposite_is_told_from_one_that_agrees(
    reward: Path, tmp_path: Path
) -> None:
    table = pairs(n=120, seed=9)
    fifth = (
        table.index % 5 == 0
    )  # some the other way round, so that the reward is never right about all
    table.loc[fifth, ["chosen", "rejected"]] = table.loc[fifth, ["rejected", "chosen"]].to_numpy()
    path = tmp_path / "new.jsonl"
    table[["prompt", "chosen", "rejected"]].to_json(path, orient="records", lines=True)
    swapped = ("--column", "chosen=rejected", "--column", "rejected=chosen")
    agrees, _ = report(reward, tmp_path / "a.json", "--data", path)
    opposes, said = report(reward, tmp_path / "b.json", "--data", path, *swapped)
    good, bad = (f["by_name"]["pair_accuracy"]["value"] for f in (agrees, opposes))
    assert good + bad == pytest.approx(1)
    assert good > 0.65
    assert opposes["by_name"]["calibration.temperature"]["value"] is None
    assert "no temperature makes the preferences right" in " ".join(said.split())


def test_items_it_was_trained_on_are_counted_aloud(reward: Path, tmp_path: Path) -> None:
    found, said = report(reward, tmp_path / "out.json", "--data", reward.parent / "pairs.jsonl")
    overlap = found["overlap_with_training"]
    assert 0.5 * found["items"] < overlap["items"] <= found["items"]
    assert f"{overlap['items']} items resemble a training item" in said
    fresh = lines(
        tmp_path / "fresh.jsonl",
        [
            {
                "prompt": f"question {k}",
                "chosen": f"unheard answer {k} ox",
                "rejected": f"strange reply {k} yak",
            }
            for k in range(12)
        ],
    )
    found, said = report(reward, tmp_path / "new.json", "--data", fresh)
    assert (found["overlap_with_training"]["items"], found["overlap_with_training"]["of"]) == (
        0,
        12,
    )
    assert "resemble" not in said


def test_a_reward_of_pairs_is_measured_on_ratings(reward: Path, tmp_path: Path) -> None:
    wide = ratings(n=150, raters=3, seed=4).pivot(
        index=["item_id", "response"], columns="rater", values="score"
    )
    wide = (
        wide.reset_index()
        .drop(columns="item_id")
        .rename(columns={"response": "text", "0": "a", "1": "b", "2": "c"})
    )
    wide.drop_duplicates("text").to_csv(tmp_path / "rated.csv", index=False)
    found, _ = report(
        reward,
        tmp_path / "out.json",
        "--data",
        tmp_path / "rated.csv",
        "--option",
        "rater_columns=[a, b, c]",
    )
    measures = found["by_name"]
    assert (found["kind"], found["resampled"], found["judgements"]) == (
        "ratings",
        "item",
        3 * found["items"],
    )
    assert measures["pearson"]["value"] > 0.6
    assert measures["one_person"]["value"] > 0.9  # raters with little noise
    assert (
        measures["less_one_person"]["value"] < 0.02
    )  # no better than such a rater, up to rounding between machines
    assert measures["slice.annotator.a"]["value"] > 0.6
    assert "two_people_agree" not in measures
    assert found["reliability"] == []


def test_two_files_are_slices_and_an_item_of_both_counts_for_the_first(
    reward: Path, tmp_path: Path
) -> None:
    first, second = (
        of_pairs(tmp_path / "one.jsonl", n=60),
        of_pairs(tmp_path / "two.jsonl", n=60, seed=11),
    )
    with second.open("a", encoding="utf-8") as file:
        file.write(first.read_text(encoding="utf-8").splitlines()[0] + "\n")
    found, _ = report(reward, tmp_path / "out.json", "--data", first, "--data", second)
    assert found["items"] == 120
    assert [found["by_name"][f"slice.source.{s}"]["n"] for s in ("one", "two")] == [60, 60]
    assert [d["rows"]["used"] for d in found["data"]] == [60, 61]


def test_llmbar_is_read_as_it_is_published(reward: Path, tmp_path: Path) -> None:
    rows = [
        {
            "input": r.prompt,
            "output_1": (r.chosen, r.rejected)[k % 2],
            "output_2": (r.rejected, r.chosen)[k % 2],
            "label": 1 + k % 2,
        }
        for k, r in enumerate(pairs(n=40, seed=5).itertuples())
    ]
    (tmp_path / LLMBAR).write_text(json.dumps(rows), encoding="utf-8")
    found, _ = report(
        reward, tmp_path / "out.json", "--data", tmp_path / LLMBAR, "--format", "llmbar"
    )
    assert (found["items"], found["data"][0]["format"]) == (40, "llmbar")
    assert found["by_name"]["pair_accuracy"]["value"] > 0.75
    assert found["by_name"]["slice.annotator"]["reason"] == "no judgement names its annotator"


@pytest.mark.realdata
def test_the_real_llmbar_files_load(shared_data: Path) -> None:
    from restaudit.config import RowRules
    from restaudit.data.feedback import load_feedback

    counts = {
        "LLMBar_Natural": 100,
        "LLMBar_Adversarial_Neighbor": 134,
        "LLMBar_Adversarial_GPTInst": 92,
        "LLMBar_Adversarial_GPTOut": 47,
        "LLMBar_Adversarial_Manual": 46,
    }
    paths = [str(shared_data / "llmbar" / f"{name}.json") for name in counts]
    loaded = [load_feedback(s, RowRules()) for s in sources_of(paths, "llmbar", {}, {}, None)]
    assert [f.table["item_id"].nunique() for f in loaded] == list(counts.values())
    assert {f.kind for f in loaded} == {"pairs"}


# --- what it writes


def test_the_report_is_the_same_bytes_twice_and_lies_beside_the_reward(
    reward: Path, tmp_path: Path
) -> None:
    path = of_pairs(tmp_path / "new pairs.v2.jsonl", n=40)
    assert call(reward, "--data", path).exit_code == 0
    written = reward / "validation" / "new_pairs.v2.json"
    first = written.read_bytes()
    assert call(reward, "--data", path).exit_code == 0
    assert written.read_bytes() == first
    found, _ = report(reward, tmp_path / "other.json", "--data", path, "--seed", "5")
    assert found["measurements"] != json.loads(first)["measurements"]
    assert (
        found["by_name"]["pair_accuracy"]["value"] == json.loads(first)["measurements"][0]["value"]
    )
    assert call(reward).exit_code == 0
    assert (reward / "validation" / "held_out.json").is_file()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/b.jsonl.gz", "b"),
        ("url:https://x.org/d/set.json#mirror=y", "set"),
        ("hf:org/name@main", "name_main"),
        ("pypi:p==1!in/x.csv", "x"),
        ("..", "data"),
        ("we ird/ná me.csv", "ná_me"),
    ],
)
def test_a_report_is_called_by_its_source(source: str, name: str) -> None:
    assert stem(source) == name


def test_a_limit_takes_that_many_items_and_says_so(reward: Path, tmp_path: Path) -> None:
    found, _ = report(
        reward, tmp_path / "out.json", "--data", of_pairs(tmp_path / "new.jsonl"), "--limit", "50"
    )
    assert (found["items"], found["data"][0]["limit"]) == (50, 50)


# --- what it refuses


def test_a_file_or_format_that_is_not_there_is_named(reward: Path, tmp_path: Path) -> None:
    assert "gone.jsonl" in refused(reward, "--data", tmp_path / "gone.jsonl")
    path = of_pairs(tmp_path / "new.jsonl", n=5)
    said = refused(reward, "--data", path, "--format", "lmbar")
    assert "format 'lmbar' holds no ratings or pairs" in said
    assert "llmbar" in said
    assert "column 'output_1'" in refused(reward, "--data", path, "--format", "llmbar")
    assert "neither a run folder nor a reward model" in refused(tmp_path, "--data", path)


def test_the_command_line_ends_with_two_and_one_line(
    reward: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        ["restaudit", "reward", "validate", str(reward), "--data", f"{tmp_path}/gone.csv"],
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("restaudit: ")
    assert error.count("\n") == 1


def test_options_without_a_file_or_without_a_value_are_refused(
    reward: Path, tmp_path: Path
) -> None:
    assert "name one with --data" in refused(reward, "--format", "llmbar")
    path = of_pairs(tmp_path / "new.jsonl", n=5)
    assert "--option part: expected KEY=VALUE" in refused(
        reward, "--data", path, "--option", "part"
    )
    assert "not valid YAML" in refused(reward, "--data", path, "--option", "part=[a")
    assert "expected NAME=COLUMN" in refused(reward, "--data", path, "--column", "chosen=")


def test_files_of_different_kinds_are_not_mixed(reward: Path, tmp_path: Path) -> None:
    rated = lines(tmp_path / "rated.jsonl", [{"text": f"a film {k}", "score": k} for k in range(5)])
    said = refused(reward, "--data", of_pairs(tmp_path / "new.jsonl", n=5), "--data", rated)
    assert "the files hold pairs and ratings" in said
    assert "one after the other" in said


def test_columns_of_pairs_and_of_ratings_in_one_file_are_contradictory(
    reward: Path, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "p", "chosen": f"good {k}", "rejected": "bad", "text": "good", "score": 1}
        for k in range(5)
    ]
    said = refused(reward, "--data", lines(tmp_path / "both.jsonl", rows))
    assert "both.jsonl" in said
    assert "leave one kind out" in said
    said = refused(
        reward, "--data", lines(tmp_path / "neither.jsonl", [{"question": "p", "answer": "a"}])
    )
    assert "expected the columns prompt, chosen, rejected" in said


def test_a_file_of_nothing_but_ties_has_nothing_to_judge_by(reward: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": f"good {k}", "rejected": "bad", "ann": "tie"} for k in range(40)
    ]
    path = lines(tmp_path / "tied.jsonl", rows)
    assert "40 tied by every rater" in refused(
        reward, "--data", path, "--option", "annotator_columns=[ann]"
    )


def test_pairs_that_the_judges_split_evenly_are_null_and_no_crash(
    reward: Path, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"p{k}", "chosen": f"good {k}", "rejected": "bad", "ann": "1", "bo": "2"}
        for k in range(40)
    ]
    path = lines(tmp_path / "split.jsonl", rows)
    found, _ = report(
        reward, tmp_path / "out.json", "--data", path, "--option", "annotator_columns=[ann, bo]"
    )
    assert "no pair has more votes for one response" in found["by_name"]["pair_accuracy"]["reason"]
    assert found["by_name"]["baseline.bag_of_words"]["value"] is None
    assert found["by_name"]["calibration.slope"]["value"] is None
    assert (
        found["by_name"]["two_people_agree"]["value"] == 0
    )  # measured: no two judges agreed on any pair


def test_ratings_of_one_class_only_are_null_with_the_reason(reward: Path, tmp_path: Path) -> None:
    texts = sorted(set(pairs(n=40, seed=3)["chosen"]))[:30]
    rows = [{"text": t, "score": 1} for t in texts]
    found, said = report(
        reward, tmp_path / "out.json", "--data", lines(tmp_path / "one.jsonl", rows)
    )
    assert [m["name"] for m in found["measurements"] if m["value"] is not None] == []
    assert "judged is the same for all 30 samples" in found["by_name"]["pearson"]["reason"]
    assert "all items are rated alike" in " ".join(said.split())


def test_three_rows_are_measured_as_far_as_they_go(reward: Path, tmp_path: Path) -> None:
    found, said = report(
        reward, tmp_path / "out.json", "--data", of_pairs(tmp_path / "three.jsonl", n=3)
    )
    assert found["items"] == 3
    assert found["by_name"]["calibration.error"]["reason"] == "3 rows; at least 10 are needed"
    assert found["by_name"]["slice.length.short"]["value"] is None
    assert "no slice is shown to be worse" in said


def test_rows_that_are_far_too_long_are_left_out_and_counted(reward: Path, tmp_path: Path) -> None:
    long = {"prompt": "p", "chosen": "word " * 4000, "rejected": "bad"}
    path = of_pairs(tmp_path / "some.jsonl", n=30)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(long) + "\n")
    found, said = report(reward, tmp_path / "out.json", "--data", path)
    assert found["items"] == 30
    assert found["data"][0]["rows"]["dropped"] != {}
    assert "30 of 31 rows used (left out: 1" in " ".join(said.split())
    assert "no usable row" in refused(reward, "--data", lines(tmp_path / "long.jsonl", [long]))


def test_a_reward_whose_own_data_is_gone_still_judges_a_file_and_says_what_is_missing(
    reward: Path, tmp_path: Path
) -> None:
    config = json.loads((reward / "reward.json").read_text(encoding="utf-8"))
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in reward.iterdir():
        if file.is_file():
            (moved / file.name).write_bytes(file.read_bytes())
    config["reward"]["data"]["source"] = str(tmp_path / "gone.jsonl")
    (moved / "reward.json").write_text(json.dumps(config), encoding="utf-8")
    assert "no held-out items of its own" in refused(moved)
    found, _ = report(
        moved, tmp_path / "out.json", "--data", of_pairs(tmp_path / "new.jsonl", n=40)
    )
    assert found["overlap_with_training"] is None
    assert "training data cannot be read" in found["by_name"]["baseline.bag_of_words"]["reason"]
    assert found["by_name"]["pair_accuracy"]["value"] > 0.7


def test_a_report_that_cannot_be_written_is_said(reward: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    said = refused(
        reward,
        "--data",
        of_pairs(tmp_path / "new.jsonl", n=5),
        "--out",
        tmp_path / "file" / "out.json",
    )
    assert "cannot be written" in said


def test_the_python_call_gives_what_the_command_writes(reward: Path, tmp_path: Path) -> None:
    path = of_pairs(tmp_path / "new.jsonl", n=40)
    found, _ = report(reward, tmp_path / "out.json", "--data", path)
    del found["by_name"]
    outside = validate_outside(reward, sources_of([str(path)], "table", {}, {}, None))
    assert json.loads(json.dumps(outside.to_json())) == found
    assert isinstance(outside.judged.table, pd.DataFrame)
