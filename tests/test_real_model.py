"""The real 135M model, the real encoder and the real ratings, at a size of about a minute (run by
.ci/run).
"""

import contextlib
import json

import pytest

from restaudit.commands.cli import SMALL
from restaudit.config.reading import load
from restaudit.console import Reporter
from restaudit.errors import Halted, VerificationFailed
from restaudit.evidence.record import Run
from restaudit.evidence.verify import verify
from restaudit.loop.running import start
from restaudit.models.artifacts import resolve

pytestmark = pytest.mark.realmodel


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("real") / "run"
    ours = {"loop.sampling.max_tokens": "24", "loop.train.learning_rate": "2.0e-3"}
    small = [change for change in SMALL if change.partition("=")[0] not in ours]
    config = load("reviews", [*small, *(f"{key}={value}" for key, value in ours.items())])
    with contextlib.suppress(
        Halted
    ):  # a gate may stop so small a run: what it left is what is tested
        start(config, folder, Reporter(quiet=True))
    return Run(folder)


@pytest.mark.timeout(900)
def test_the_reward_model_trained_on_words_predicts_held_out_raters(run):
    found = {
        m["name"]: m
        for m in json.loads((run.path / "reward_model/dossier.json").read_text())["validation"]
    }
    assert found["validation.pearson"]["value"] > 0.75


@pytest.mark.timeout(900)
def test_the_policy_writes_sentences(run):
    texts = run.audit("g00/i00")["text"]
    assert texts.str.split().str.len().median() >= 8
    assert texts.is_unique


@pytest.mark.timeout(900)
def test_the_kept_set_has_the_higher_rewards(run):
    rows, kept = run.grow("g01"), run.kept("g01/i01")
    mine = rows["sample_id"].isin(set(kept["sample_id"]))
    assert rows.loc[mine, "reward"].min() > rows.loc[~mine, "reward"].median()


@pytest.mark.timeout(900)
def test_the_run_verifies_and_a_flipped_byte_is_named(run):
    assert verify(run.path).finished
    path = run.path / "g01" / "grow.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(VerificationFailed, match=r"g01/grow\.parquet"):
        verify(run.path)


def test_the_policy_artifact_is_pinned():
    config = load("reviews")
    assert resolve(config.policy.model, sha256=config.policy.sha256).sha256 == config.policy.sha256
