"""DPO as a method of a recipe: pairs of a prompt's own samples, trained on, recorded and
explained.
"""

import pandas as pd
import pytest

from reports.record.files import Records
from reports.record.lineage import policies, training_rows
from restaudit.config import LoopConfig
from restaudit.config.reading import parse
from restaudit.evidence.record import PAIRS, SAMPLES, Run, read_table
from restaudit.evidence.verify.check import verify
from restaudit.loop.running import start
from restaudit.loop.select import kept_set, preference_pairs
from tests.loop.conftest import tiny_raw

pytest.importorskip("trl", reason="the extra rlhf is not installed")


def grow(rewards: dict[str, list[float]], origin: str = "policy") -> pd.DataFrame:
    rows = [(f"{p}/{k}", p, r, origin) for p, found in rewards.items() for k, r in enumerate(found)]
    return pd.DataFrame(rows, columns=["sample_id", "prompt_id", "reward_01", "origin"])


def test_best_meets_worst_a_sample_is_in_one_pair_and_equal_rewards_are_none():
    config = LoopConfig.model_validate({"method": "dpo", "improve_steps": 1, "dpo": {"pairs": 3}})
    rows = grow({"a": [0.1, 0.9, 0.5, 0.7, 0.3], "b": [0.2, 0.2], "c": [0.4]})
    pairs = preference_pairs(config, rows)
    assert list(zip(pairs["chosen"], pairs["rejected"], strict=True)) == [
        ("a/1", "a/0"),
        ("a/3", "a/4"),
    ]
    kept = kept_set(config, rows, 1)
    assert list(kept["sample_id"]) == ["a/1", "a/3"]
    assert (kept["reward_01"] > kept["threshold"]).all()
    assert preference_pairs(config, grow({"a": [0.1, 0.9]}, origin="reference")).empty


@pytest.fixture(params=["lora", "full"])
def done(request, tiny_policy, job_folder, silent) -> Run:
    raw = tiny_raw(
        tiny_policy,
        method="dpo",
        improve_steps=1,
        samples_per_prompt=4,
        include_references=False,
        dpo={"learning_rate": 0.01, "pairs": 2, "batch": 4},
    )
    raw["policy"] = {**raw["policy"], "training": request.param}
    start(parse(raw), job_folder / "run", silent)
    return Run(job_folder / "run")


def test_a_run_is_whole_repeats_itself_and_says_why_each_row_was_trained_on(
    done, job_folder, silent
):
    assert (done.state, done.iterations()) == ("done", ["g00/i00", "g01/i01", "g02/i01"])
    assert verify(done.path).decisions == 2
    pairs = read_table(done.path, "g01/i01/pairs.parquet", PAIRS)
    tokens = read_table(done.path, "g01/samples.parquet", SAMPLES).set_index("sample_id")[
        "n_tokens"
    ]
    log = pd.read_parquet(done.path / "g01" / "i01" / "train.parquet")
    assert log["tokens"].sum() == tokens[pairs["chosen"]].sum() + tokens[pairs["rejected"]].sum()
    rows = training_rows(Records(done), policies(Records(done))[1])
    assert rows["used"].sum() == 2 * len(pairs)
    assert {m.name: m for m in done.measurements("g02/i01")}["drift.kl"].value > 0
    start(parse(done.plan["config"]), job_folder / "again", silent)
    assert Run(job_folder / "again").digest == done.digest
