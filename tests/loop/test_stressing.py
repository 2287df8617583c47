"""The stress test of the reward is a step of the run, before anything is trained against it."""

from __future__ import annotations

import json

import pytest

from reports.frameworks.reward_records import gather
from restaudit.config.reading import parse
from restaudit.errors import BadInput
from restaudit.evidence.record import REWARD, Run
from restaudit.evidence.verify import verify
from restaudit.loop.running import start
from tests.loop.conftest import tiny_raw


def test_a_run_stresses_its_reward_before_it_trains_and_the_record_holds_what_was_found(
    tiny_policy, job_folder, silent
):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    raw["audit"]["reward_stress"] = {"texts": 20, "budget": 120}
    run = job_folder / "run"
    start(parse(raw), run, silent)
    done = [e.step for e in Run(run).events]
    assert done.index("g00/i00/audit") < done.index("stress") < done.index("g01/grow")
    assert verify(run).finished
    report = json.loads((run / REWARD / "stress.json").read_text(encoding="utf-8"))
    assert 0 < report["texts"] <= 20
    assert report["human_is"] == "SIMULATED"
    # The reward of these tests pays for length: words put in are paid for.
    assert report["counts"]["FAIL"] > 0
    facts = json.loads((run / REWARD / "dossier.json").read_text(encoding="utf-8"))
    assert report["reward_digest"] == facts["digest"]
    records = gather(run, run / REWARD)
    assert records.stress == report
    assert records.stressed("findings").path == f"{REWARD}/stress.json"


def test_scores_of_a_column_cannot_be_stressed(tiny_policy, job_folder):
    raw = tiny_raw(tiny_policy)
    raw["audit"]["reward_stress"] = {}
    raw["reward"] = {"kind": "column"}
    raw["loop"]["method"] = "outside"
    raw["policy"]["model"] = "watch:generations"
    with pytest.raises(BadInput, match="holds scores of the texts as they are"):
        parse(raw)


def test_a_search_that_could_not_take_one_step_is_refused(tiny_policy, job_folder):
    raw = tiny_raw(tiny_policy)
    raw["audit"]["reward_stress"] = {"budget": 10}
    with pytest.raises(BadInput, match="at least 120"):
        parse(raw)
