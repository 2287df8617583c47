"""What the app says of one row of a Grow set is what the sealed rule and the export of all rows say
of it.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reports.record import lineage, selection
from reports.record.files import Records
from reports.record.lineage import why_lines
from restaudit.config import LoopConfig
from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence.record import Run
from restaudit.loop.select import kept_set, thresholds
from tests.reports.make_run import make_run

RULES: dict[str, dict[str, Any]] = {
    "fixed": {"thresholds": {"kind": "fixed", "values": [0.3, 0.6]}},
    "percentile": {"thresholds": {"kind": "percentile", "values": [50, 80]}},
    "percentile of a prompt": {
        "thresholds": {"kind": "percentile", "values": [50, 80], "per": "prompt"}
    },
    "interpolated": {"thresholds": {"kind": "interpolated", "values": [0.2, 0.7], "per": "prompt"}},
    "top": {"thresholds": {"kind": "top", "keep": 2}},
    "two of a prompt": {
        "thresholds": {"kind": "fixed", "values": [0.1, 0.2]},
        "keep_per_prompt": 2,
    },
    "binary": {"thresholds": {"kind": "fixed", "values": [0.0, 0.5]}, "binary_reward_above": 0.5},
}


def _rows(seed: int) -> pd.DataFrame:
    """Rewards with many ties, names in no order."""
    luck = random.Random(seed)
    names = [f"g01/{k:03d}" for k in range(60)]
    luck.shuffle(names)
    return pd.DataFrame(
        {
            "sample_id": names,
            "prompt_id": [f"p{luck.randrange(9)}" for _ in names],
            "reward_01": [luck.randrange(11) / 10 for _ in names],
        }
    )


def _as_set(rows: pd.DataFrame) -> selection.GrowSet:
    codes, prompts = pd.factorize(rows["prompt_id"])
    reward = rows["reward_01"].to_numpy()
    # In two pieces, as a table of several row groups is.
    ids = pa.chunked_array(
        [rows["sample_id"][:25].tolist(), rows["sample_id"][25:].tolist()], type=pa.large_string()
    )
    return selection.GrowSet(
        ids, tuple(prompts), codes, np.zeros(len(rows), dtype=bool), reward, reward
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("step", [1, 2])
def test_numbers_in_the_place_of_names_choose_the_same_rows(rule: str, step: int) -> None:
    config = LoopConfig.model_validate({"improve_steps": 2, **RULES[rule]})
    for seed in range(8):
        rows = _rows(seed)
        threshold, chosen = selection.selected(config, _as_set(rows), step)
        assert (
            rows.loc[chosen, "sample_id"].tolist()
            == kept_set(config, rows, step)["sample_id"].tolist()
        )
        if config.binary_reward_above is not None:
            rows["reward_01"] = (rows["reward_01"] > config.binary_reward_above).astype(float)
        np.testing.assert_array_equal(
            threshold, thresholds(config.thresholds, rows, step).to_numpy()
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(make_run(tmp_path_factory.mktemp("selection") / "run"))


def test_every_row_of_every_improve_step_is_told_as_the_export_tells_it(run: Run) -> None:
    records = Records(run)
    steps = [p for p in lineage.policies(records) if p.data is not None]
    assert len(steps) == 4
    for policy in steps:
        rows = selection.grow_set(records, str(policy.data))
        did = selection.taken(records, rows, policy.name)
        told = [selection.row(rows, did, k) for k in range(len(rows.ids))]
        whole = lineage.training_rows(records, policy)
        assert {w["used"] for w in told} == {True, False}
        assert lineage.reasons(records, policy) == dict(
            sorted(Counter(w["why"] for w in told).items())
        )
        pd.testing.assert_frame_equal(
            pd.DataFrame(told)[list(whole.columns)], whole, check_dtype=False
        )


def test_the_share_that_a_policy_wrote_is_that_of_the_rows_trained_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(run)
    rows = records.table("g01/grow.parquet", ("sample_id", "origin"))
    rows["origin"] = ["reference", "policy", "policy"] * (len(rows) // 3)
    kept = records.table("g01/i01/kept.parquet", ("sample_id",))
    tables = {"g01/grow.parquet": rows, "g01/i01/kept.parquet": kept, "none": kept[:0]}
    monkeypatch.setattr(
        selection,
        "_read",
        lambda _, file, columns: pa.Table.from_pandas(
            tables[file][list(columns)], preserve_index=False
        ),
    )
    used = rows[rows["sample_id"].isin(kept["sample_id"])]
    expected = (used["origin"] == "policy").mean()
    assert 0 < expected < 1
    assert selection.by_policy(
        records, "g01/grow.parquet", "g01/i01/kept.parquet"
    ) == pytest.approx(expected, abs=0)
    assert selection.by_policy(records, "g01/grow.parquet", None) == pytest.approx(2 / 3)
    assert selection.by_policy(records, "g01/grow.parquet", "none") is None


def test_a_kept_set_that_is_not_what_the_rule_chooses_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(run)
    rows = selection.grow_set(records, "g01")
    real = selection.names_of(records, "g01/i01/kept.parquet")
    kept = real.slice(1)
    monkeypatch.setattr(selection, "names_of", lambda *_: kept)
    with pytest.raises(BadInput, match=r"g01/i01/kept\.parquet: 1 rows differ"):
        selection.taken(records, rows, "g01/i01")
    kept = pa.chunked_array([[*real.to_pylist(), "a stranger"]], type=real.type)
    with pytest.raises(BadInput, match="1 rows differ"):
        selection.taken(records, rows, "g01/i01")
    kept = pa.chunked_array([real.to_pylist()[::-1]], type=real.type)
    assert selection.taken(records, rows, "g01/i01").used.sum() == len(real)


def test_a_name_that_no_grow_set_has_is_told_with_close_ones(run: Run) -> None:
    with pytest.raises(
        BadInput, match=r"no Grow set has a sample 'g01/grow-000-7'; close to it: g01/grow-000-[01]"
    ):
        why_lines(run, "g01/grow-000-7")
    with pytest.raises(BadInput, match="close to it: g0"):
        why_lines(run, "")


def test_a_grow_set_that_was_changed_is_not_read(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    table = path / "g01/grow.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    with pytest.raises(VerificationFailed, match=r"g01/grow\.parquet: changed"):
        why_lines(Run(path), "g01/grow-000-0")
