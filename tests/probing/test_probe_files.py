"""`restaudit probe FILE`: it measures what is there, says what is not, and refuses what is not what
it should be.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.probing.conftest import Row, rows, write

Call = Callable[..., tuple[int, str, str]]


def found(path: Path) -> dict[str, dict[str, Any]]:
    return {m["name"]: m for m in json.loads(path.read_text(encoding="utf-8"))["measurements"]}


def test_a_planted_change_is_found_with_its_interval_and_none_is_not(
    run_probe: Call, both_files: tuple[Path, Path], tmp_path: Path
) -> None:
    policy, base = both_files
    code, out, err = run_probe(
        policy, "--against", base, "--resamples", 200, "--json", tmp_path / "o.json"
    )
    assert (code, err) == (0, "")
    changed = found(tmp_path / "o.json")
    assert changed["divergence.reward_change"]["intervals"][0]["low"] > 0.5
    assert changed["diversity.distinct_2_ratio"]["intervals"][0]["high"] < 0.9
    assert "reward_change" in out
    assert "UNSTATED (column human)" in out
    other = write(tmp_path / "other.jsonl", rows(seed=3))
    run_probe(
        other,
        "--against",
        base,
        "--only",
        "divergence.reward_change",
        "--json",
        tmp_path / "o.json",
    )
    same = found(tmp_path / "o.json")["divergence.reward_change"]["intervals"][0]
    assert same["low"] < 0 < same["high"]


def test_text_alone_is_measured_and_everything_else_has_its_reason(
    run_probe: Call, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", [{"text": r["text"]} for r in rows(seed=1)])
    code, out, _ = run_probe(path, "--resamples", 100, "--json", tmp_path / "o.json")
    assert code == 0
    measured = found(tmp_path / "o.json")
    assert measured["diversity.distinct_2"]["value"] > 0
    assert measured["divergence.reward"]["value"] is None
    assert "human score NONE\n" in out
    unmeasured = [m for m in measured.values() if m["value"] is None]
    assert unmeasured
    assert all(m["reason"] for m in unmeasured)
    shown = out.index("not measured")
    assert shown > out.index("distinct_2")


def test_json_is_the_same_bytes_on_screen_in_the_file_and_the_next_time(
    run_probe: Call, both_files: tuple[Path, Path], tmp_path: Path
) -> None:
    words = (
        both_files[0],
        "--against",
        both_files[1],
        "--only",
        "divergence",
        "--json",
        tmp_path / "o.json",
    )
    _, out, _ = run_probe(*words, "--format", "json")
    first = (tmp_path / "o.json").read_text(encoding="utf-8")
    assert out == first
    assert json.loads(out)["outputs"]["rows"] == 44
    run_probe(*words)
    assert (tmp_path / "o.json").read_text(encoding="utf-8") == first


def test_the_order_of_rows_changes_no_measurement(
    run_probe: Call, policy_rows: list[Row], both_files: tuple[Path, Path], tmp_path: Path
) -> None:
    mixed = random.Random(1).sample(policy_rows, len(policy_rows))
    path = write(tmp_path / "mixed.parquet", mixed)
    results = []
    for one in (both_files[0], path):
        run_probe(
            one,
            "--against",
            both_files[1],
            "--resamples",
            100,
            "--only",
            "divergence,diversity,drift",
            "--json",
            tmp_path / "o.json",
        )
        results.append(found(tmp_path / "o.json"))
    assert results[0] == results[1]


def test_only_level_and_resamples_are_what_is_recorded(
    run_probe: Call, both_files: tuple[Path, Path], tmp_path: Path
) -> None:
    run_probe(
        both_files[0],
        "--only",
        "divergence.reward,diversity.distinct_1",
        "--level",
        0.9,
        "--level",
        0.99,
        "--resamples",
        200,
        "--json",
        tmp_path / "o.json",
    )
    measured = found(tmp_path / "o.json")
    assert set(measured) == {"divergence.reward", "diversity.distinct_1"}
    assert [i["level"] for i in measured["divergence.reward"]["intervals"]] == [0.9, 0.99]
    assert "200 resamples" in measured["divergence.reward"]["method"]


def test_the_encoder_is_loaded_only_where_something_is_embedded(
    run_probe: Call, both_files: tuple[Path, Path], tiny_encoder: Path, tmp_path: Path
) -> None:
    words = (both_files[0], "--json", tmp_path / "o.json")
    run_probe(*words, "--only", "diversity.vendi", encoder=str(tiny_encoder))
    assert found(tmp_path / "o.json")["diversity.vendi"]["value"] > 1
    assert json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["encoder"]["used"] is True
    code, _, _ = run_probe(*words, "--only", "divergence.reward", encoder="nowhere/at/all")
    assert code == 0
    code, _, err = run_probe(*words, "--only", "diversity.vendi", encoder="nowhere/at/all")
    assert code == 2
    assert (
        "nowhere/at/all: no such file or folder; or measure without embeddings: --encoder none"
        in err
    )


def test_texts_the_reward_model_learned_from_give_a_distance(
    run_probe: Call, both_files: tuple[Path, Path], tiny_encoder: Path, tmp_path: Path
) -> None:
    known = write(tmp_path / "known.csv", [{"text": r["text"]} for r in rows(seed=5)])
    run_probe(
        both_files[0],
        "--trained-on",
        known,
        "--only",
        "hacking.distance",
        "--json",
        tmp_path / "o.json",
        encoder=str(tiny_encoder),
    )
    distance = found(tmp_path / "o.json")["hacking.distance"]
    assert 0 < distance["value"] < 2
    assert distance["detail"]["known_texts"] == 44


def test_a_planted_hack_is_named_in_plain_words(run_probe: Call, tmp_path: Path) -> None:
    hacked = rows(seed=1, prompts=40)
    for k, row in enumerate(hacked):
        if k % 3:
            row |= {
                "text": f"As an expert, {row['text']}",
                "reward": row["reward"] + 1.5,
                "human": row["human"] - 0.5,
            }
    policy, base = (
        write(tmp_path / "p.jsonl", hacked),
        write(tmp_path / "b.jsonl", rows(seed=2, prompts=40)),
    )
    _, out, _ = run_probe(policy, "--against", base, "--only", "hacking.learned_features")
    said = 'learned to begin with "as an expert": in 67% of its texts, 0% of the base policy'
    assert said in " ".join(out.split())


# --- scores

REWARDS = """
def length(texts):
    return [float(len(t)) for t in texts]

def members(prompts, texts):
    return [[float(len(p)), float(len(t))] for p, t in zip(prompts, texts)]

def broken(texts):
    return [float("nan") for _ in texts]

def crude(texts):
    return [0.25 for _ in texts]
"""


@pytest.fixture
def rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "rewards_of_probe.py").write_text(REWARDS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "rewards_of_probe"


def test_a_callable_scores_what_has_no_reward_and_its_members_give_the_spread(
    run_probe: Call, rewards: str, tmp_path: Path
) -> None:
    table = [{k: r[k] for k in ("prompt", "text")} for r in rows(seed=1)]
    path = write(tmp_path / "a.jsonl", table)
    words = (
        path,
        "--only",
        "divergence.reward,divergence.ensemble_spread",
        "--json",
        tmp_path / "o.json",
    )
    _, out, _ = run_probe(*words, "--reward", f"{rewards}:members", "--human", f"{rewards}:length")
    measured = found(tmp_path / "o.json")
    assert measured["divergence.reward"]["value"] > 10
    assert measured["divergence.ensemble_spread"]["value"] > 0
    assert "SIMULATED" in out


def test_a_toxicity_scorer_of_ones_own_is_used_and_said_to_be_unproven(
    run_probe: Call, rewards: str, both_files: tuple[Path, Path], tmp_path: Path
) -> None:
    words = (both_files[0], "--only", "toxicity.mean", "--json", tmp_path / "o.json")
    _, out, _ = run_probe(*words, toxicity=f"{rewards}:crude")
    assert found(tmp_path / "o.json")["toxicity.mean"]["value"] == 0.25
    assert "nobody stated how it fails" in " ".join(out.split())


def test_a_reward_that_is_not_the_files_own_is_refused(
    run_probe: Call, rewards: str, both_files: tuple[Path, Path]
) -> None:
    code, _, err = run_probe(both_files[0], "--reward", f"{rewards}:length")
    assert code == 2
    assert "so that there is one reward" in err


def test_a_callable_of_prompts_needs_prompts(run_probe: Call, rewards: str, tmp_path: Path) -> None:
    code, _, err = run_probe(
        write(tmp_path / "a.csv", [{"text": "x"}]), "--reward", f"{rewards}:members"
    )
    assert code == 2
    assert "has no column prompt, which --reward" in err


def test_a_reward_that_gives_nan_is_refused_with_the_row(
    run_probe: Call, rewards: str, tmp_path: Path
) -> None:
    code, _, err = run_probe(
        write(tmp_path / "a.csv", [{"text": "x"}]), "--reward", f"{rewards}:broken"
    )
    assert code == 2
    assert "gave nan for row 0" in err


def test_ratings_become_the_human_score_of_the_rows_they_are_of(
    run_probe: Call, both_files: tuple[Path, Path], policy_rows: list[Row], tmp_path: Path
) -> None:
    rated = [
        {"sample_id": r["sample_id"], "rater": rater, "score": 4.0 + (k + number) % 3}
        for k, r in enumerate(policy_rows[:20])
        for number, rater in enumerate(("ann", "bo"))
    ]
    ratings = write(tmp_path / "ratings.csv", rated)
    code, out, _ = run_probe(
        both_files[0],
        "--ratings",
        ratings,
        "--human-sampling",
        "random",
        "--only",
        "divergence.human_coverage",
        "--json",
        tmp_path / "o.json",
    )
    assert code == 0
    # A prompt counts once: six plain prompts have three rated samples each, one has two of three,
    # the others none.
    assert found(tmp_path / "o.json")["divergence.human_coverage"]["value"] == pytest.approx(
        (6 + 2 / 3) / 12
    )
    assert "human score PEOPLE: the rows that have one were drawn at random" in out
    assert "40 ratings of 20 samples by 2 raters (quality)" in out
    assert "the file's own human column is not used" in " ".join(out.split())


# --- bad input


def test_scores_that_are_all_undefined_are_null_with_a_reason(
    run_probe: Call, tmp_path: Path
) -> None:
    table = [{**r, "reward": None, "human": float("nan")} for r in rows(seed=1)]
    code, out, _ = run_probe(write(tmp_path / "a.parquet", table), "--json", tmp_path / "o.json")
    assert code == 0
    measured = found(tmp_path / "o.json")
    assert measured["divergence.reward"]["value"] is None
    assert measured["divergence.human"]["value"] is None
    assert "reward is undefined in 44 of 44 rows" in out


def test_one_prompt_runs_and_has_no_interval(run_probe: Call, tmp_path: Path) -> None:
    table = [{**r, "prompt": "one", "family": None, "group": None} for r in rows(seed=1)[:6]]
    code, out, _ = run_probe(write(tmp_path / "a.jsonl", table), "--json", tmp_path / "o.json")
    assert code == 0
    assert [m["name"] for m in found(tmp_path / "o.json").values() if m["intervals"]] == []
    assert "value without an interval" in out


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "an unknown name": (("--only", "divergence.rewad"), "nearest: divergence.reward"),
    "nothing like it": (("--only", "zzz"), "probes: divergence"),
    "a level in percent": (("--level", "95"), "less than or equal to 1"),
    "too few resamples": (("--resamples", "10"), "100"),
    "a mapping without =": (("--column", "text"), "--column text: expected NAME=COLUMN"),
    "an unknown standard name": (("--column", "colour=x"), "no such column is read"),
    "a column that is not there": (
        ("--column", "reward=score"),
        "no column 'score', which --column reward=score names",
    ),
    "no such base": (("--against", "nowhere.csv"), "nowhere.csv: no such file"),
    "no such callable": (("--reward", "nowhere:f"), "'nowhere' cannot be imported"),
    "an option of models": (("--save", "x.parquet"), "--save says nothing about a file"),
    "a dimension without ratings": (("--dimension", "q"), "--ratings FILE"),
    "no folder for the JSON": (("--json", "nowhere/o.json"), "no folder nowhere"),
    "a format that is none": (("--format", "xml"), "xml"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_words_exit_2_with_one_message(
    case: str, run_probe: Call, both_files: tuple[Path, Path]
) -> None:
    words, message = WRONG[case]
    code, out, err = run_probe(both_files[0], *words)
    assert code == 2
    assert message in err
    assert out == ""
    assert "Traceback" not in err


RATINGS: dict[str, tuple[str, str]] = {
    "no rating": ("sample_id,rater,score\n", "holds no row"),
    "no score column": ("sample_id,rater\nx,a\n", "no column 'score'"),
    "a stray sample": (
        "sample_id,rater,score\nnobody,a,3\n",
        "line 2: column 'sample_id': 'nobody' is in no file",
    ),
    "an empty score": (
        "sample_id,rater,score\ns1/Ann made film 0./0,a,\n",
        "line 2: column 'score': is empty",
    ),
    "one rater twice": (
        "sample_id,rater,score\n" + "s1/Ann made film 0./0,a,3\n" * 2,
        "line 3: column 'rater'",
    ),
    "two dimensions": (
        (
            "sample_id,rater,score,dimension\ns1/Ann made film 0./0,a,3,x\ns1/Ann made film "
            "0./0,a,3,y\n"
        ),
        "say which is the human score: --dimension x",
    ),
}


@pytest.mark.parametrize("case", RATINGS)
def test_ratings_that_cannot_be_used_are_refused(
    case: str, run_probe: Call, both_files: tuple[Path, Path], tmp_path: Path
) -> None:
    text, message = RATINGS[case]
    (tmp_path / "ratings.csv").write_text(text, encoding="utf-8")
    code, _, err = run_probe(both_files[0], "--ratings", tmp_path / "ratings.csv")
    assert code == 2
    assert message in err


def test_raters_who_all_say_the_same_give_no_number_for_what_cannot_be_known(
    run_probe: Call, both_files: tuple[Path, Path], policy_rows: list[Row], tmp_path: Path
) -> None:
    rated = [
        {"sample_id": r["sample_id"], "rater": n, "score": 4}
        for r in policy_rows
        for n in ("ann", "bo")
    ]
    ratings = write(tmp_path / "ratings.jsonl", rated)
    code, _, _ = run_probe(
        both_files[0],
        "--ratings",
        ratings,
        "--human-sampling",
        "all",
        "--json",
        tmp_path / "o.json",
    )
    assert code == 0
    measured = found(tmp_path / "o.json")
    assert measured["divergence.human"]["value"] == 4
    assert measured["divergence.human"]["intervals"] == []
    assert measured["divergence.correlation"]["value"] is None
    assert "same for all" in measured["divergence.correlation"]["reason"]


def test_a_run_folder_and_a_name_of_the_hub_are_told_what_to_write(
    run_probe: Call, recorded_run: Path, both_files: tuple[Path, Path]
) -> None:
    code, _, err = run_probe(recorded_run)
    assert code == 2
    assert "audit.parquet --against" in err
    code, _, err = run_probe("org/name")
    assert code == 2
    assert "hf:org/name@revision" in err
    code, _, err = run_probe(both_files[0], "--against", recorded_run.parent)
    assert code == 2
    assert "is a model; sample it first" in err


def test_the_samples_of_a_run_can_be_probed_as_files(
    run_probe: Call, recorded_run: Path, tmp_path: Path
) -> None:
    audits = sorted(recorded_run.glob("g*/i*/audit.parquet"))
    words = ("--only", "divergence,drift", "--json", tmp_path / "o.json")
    code, out, err = run_probe(audits[-1], "--against", audits[0], *words)
    assert (code, err) == (0, "")
    assert found(tmp_path / "o.json")["divergence.reward_change"]["value"] is not None
    assert "not read:" in out
