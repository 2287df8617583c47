"""Between Grow steps the run waits for judgements of the newest policy's texts, fits its reward
again, and says so.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.reward.answers import reward_answers
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput, Waiting
from restaudit.evidence.record import AUDIT, BASE, RESCORED, RESCORED_FILE, REWARD, Run, read_table
from restaudit.evidence.verify import verify
from restaudit.loop.refit import ASKED, ASKED_FILE, two_by_two
from restaudit.loop.running import resume, start
from restaudit.people.waiting import SHEETS
from restaudit.reward_audit.standalone import refitted
from tests.loop.conftest import make_job_folder, own_copy, tiny_raw
from tests.reward.test_trained import pairs, ratings

SILENT = Reporter(quiet=True)


def _raw(policy: Path, encoder: Path, folder: Path, *, kind: str) -> dict[str, object]:
    raw = tiny_raw(
        policy,
        grow_steps=2,
        improve_steps=1,
        d_eval_samples=3,
        thresholds={"kind": "percentile", "values": [50]},
    )
    data: dict[str, object] = {"source": str(folder / f"{kind}.jsonl")}
    if kind == "ratings":
        wide = ratings(n=200).pivot(index="response", columns="rater", values="score").reset_index()
        wide.rename(columns={"response": "text"}).to_json(
            folder / "ratings.jsonl", orient="records", lines=True
        )
        data["options"] = {"rater_columns": ["0", "1", "2", "3"]}
    else:
        pairs(n=200)[["prompt", "chosen", "rejected"]].to_json(
            folder / "pairs.jsonl", orient="records", lines=True
        )
    raw["reward"] = {
        "kind": "trained",
        "encoder": str(encoder),
        "data": data,
        "max_tokens": 64,
        "ensemble": {"size": 1},
        "head": {"hidden": 0, "epochs": 10},
        "refit": {"samples": 12, "scale": [-20, 20]},
        "train_raters": ["0", "1"] if kind == "ratings" else None,
    }
    return raw


def judge(run: Path) -> Path:
    """Fill in the sheet: no two texts are judged alike, whatever the policy wrote on this
    machine.
    """
    path = run / SHEETS / "refit-g02.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for k, row in enumerate(rows):
        row |= {"rater": "ann", "score": str(k)}
    write(path, rows)
    return path


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module", params=["ratings", "pairs"])
def folder(request, tiny_policy, tiny_encoder, tmp_path_factory):
    """A folder with a run that waits (`run`), and the same run gone on to its end (`done`)."""
    with pytest.MonkeyPatch.context() as patch:
        place = make_job_folder(tmp_path_factory.mktemp("refit"), patch)
        config = parse(_raw(tiny_policy, tiny_encoder, place, kind=request.param))
        with pytest.raises(Waiting) as stop:
            start(config, place / "run", SILENT)
        (place / "said.txt").write_text(str(stop.value), encoding="utf-8")
        own_copy(place / "run", place / "done")
        judge(place / "done")
        resume(place / "done", SILENT)
        yield place


def test_the_run_waits_before_the_second_grow_and_says_for_what(folder):
    said = (folder / "said.txt").read_text(encoding="utf-8")
    assert (
        "waits before Grow 2 for people's judgements of the newest policy's texts: 12 of 12 are "
        "missing"
    ) in said
    assert "refit-g02.csv" in said
    run = Run(folder / "run")
    assert run.state == "waiting"
    asked = read_table(folder, f"run/g02/{ASKED_FILE}", ASKED)
    assert set(asked["prompt_id"]) <= set(run.prompts("d_eval")["prompt_id"])
    assert not set(asked["prompt_id"]) & set(run.prompts("audit")["prompt_id"])
    if run.plan["config"]["reward"]["train_raters"] is None:  # pairs
        assert asked.groupby("prompt_id").size().min() == 2
    with pytest.raises(Waiting, match="12 of 12 are missing"):
        resume(folder / "run", SILENT)


def test_texts_come_two_by_two_so_that_every_judgement_can_be_half_of_a_pair():
    rows = pd.DataFrame({"prompt_id": list("abacbca"), "text": list("1234567")})
    assert "".join(two_by_two(rows)["text"]) == "1325467"


def test_the_refit_is_recorded_with_a_new_digest_and_what_differs(folder):
    run = Run(folder / "done")
    assert run.state == "done"
    verify(run.path)
    event = next(e for e in run.events if e.step == "g02/refit")
    diff = json.loads((run.path / REWARD / "g02" / "diff.json").read_text(encoding="utf-8"))
    assert diff["before"] == event.content["before"] != event.content["after"] == diff["after"]
    assert {"digest", "refit.parent"} <= {d["path"] for d in diff["by"]}
    dossier = json.loads((run.path / REWARD / "g02" / "dossier.json").read_text(encoding="utf-8"))
    assert dossier["refit"]["judgements"] == 12
    assert dossier["refit"]["raters"] == ["fresh/ann"]
    assert dossier["refit"]["policy"] == "g01/i01"


def test_from_there_on_everything_is_scored_by_the_new_reward_and_before_by_the_old_one(folder):
    from restaudit.config import Config
    from restaudit.reward import combine, load_reward

    run = Run(folder / "done")
    config = Config.model_validate(run.plan["config"]).reward
    old, new = (
        load_reward(config, p, device="cpu") for p in (run.path / REWARD, run.path / REWARD / "g02")
    )
    for iteration, mine, other in (("g01/i01", old, new), ("g02/i01", new, old)):
        rows = read_table(run.path, f"{iteration}/audit.parquet", AUDIT)
        prompts = (
            run.prompts("audit").set_index("prompt_id").loc[rows["prompt_id"], "prompt"].tolist()
        )
        by = {
            who: combine(r.score(prompts, rows["text"].tolist()), config.ensemble)[0]
            for who, r in (("mine", mine), ("other", other))
        }
        assert np.array_equal(rows["reward"], by["mine"])
        assert not np.allclose(rows["reward"], by["other"])
    base = read_table(run.path, f"{BASE}/audit.parquet", AUDIT)
    again = read_table(run.path, f"{REWARD}/g02/{RESCORED_FILE}", RESCORED)
    assert again["sample_id"].tolist() == base["sample_id"].tolist()
    assert not np.allclose(again["reward"], base["reward"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"score": "good"}, "row 3: score 'good' is not a number"),
        ({"score": "99"}, r"row 3: score 99 is not on the scale \(-20 to 20\)"),
        ({"rater": ""}, "row 3: a score without a rater"),
        ({"item_id": "g02-999"}, "row 3: 'g02-999' is not on the sheet"),
        ({"item_id": "g02-000"}, "row 3: ann judged g02-000 twice"),
    ],
)
def test_what_cannot_be_a_judgement_is_refused_with_its_row(folder, tmp_path, change, says):
    own_copy(folder / "run", tmp_path / "run")
    path = judge(tmp_path / "run")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[1] |= change
    write(path, rows)
    with pytest.raises(BadInput, match=says):
        resume(tmp_path / "run", SILENT)
    assert not (tmp_path / "run" / REWARD / "g02").exists()


def test_ratings_on_another_scale_than_the_training_ratings_are_refused(
    tiny_policy, tiny_encoder, job_folder
):
    raw = _raw(tiny_policy, tiny_encoder, job_folder, kind="ratings")
    raw["reward"]["refit"]["scale"] = [1, 3]
    # Before anybody was asked to judge: the plan is not sealed.
    with pytest.raises(
        BadInput, match=r"reward.refit.scale is 1 to 3, but the ratings .* go from -"
    ):
        start(parse(raw), job_folder / "run", SILENT)
    assert not (job_folder / "run").exists()


@pytest.mark.parametrize("changes", [{"grow_steps": 1}, {"method": "grpo"}, {"method": "rloo"}])
def test_a_run_without_a_second_grow_cannot_be_asked_to_refit(
    changes, tiny_policy, tiny_encoder, job_folder
):
    raw = _raw(tiny_policy, tiny_encoder, job_folder, kind="ratings")
    raw["loop"] |= changes
    with pytest.raises(
        BadInput, match=r"reward\.refit: the reward is fitted again between Grow steps"
    ):
        parse(raw)


def test_each_reward_of_the_run_has_its_own_document(folder):
    folder = folder / "done"
    run = Run(folder)
    digests = [run.refits()[0][1][k] for k in ("before", "after")]
    first = reward_answers(folder, folder / "reward_model")
    again = reward_answers(folder, refitted(folder, "g02"))
    assert [first.digest, again.digest] == digests
    assert "reward_model/g02/dossier.json" in again.files
    with pytest.raises(BadInput, match="was not fitted again before g01; there are: g02"):
        refitted(folder, "g01")


def test_the_summary_says_that_the_reward_changed(folder, capsys):
    from rich.console import Console

    from restaudit.commands.summary import print_summary

    print_summary(folder / "done", Console(width=300))
    said = capsys.readouterr().out
    assert (
        "Before g02 the reward model was fitted again on 12 judgements (1 rater) of texts of "
        "g01/i01"
    ) in said
