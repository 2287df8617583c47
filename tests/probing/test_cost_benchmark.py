"""The benchmark of costs runs, on files that are the same every time."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.probes import cost, share_of_run, write_generations


def test_its_files_are_the_same_every_time_and_can_be_probed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("policy-200", 1), ("again-200", 1), ("base-200", 2)):
        write_generations(tmp_path / f"{name}.parquet", 200, seed=seed)
    first, again = (pd.read_parquet(tmp_path / f"{n}-200.parquet") for n in ("policy", "again"))
    pd.testing.assert_frame_equal(first.drop(columns="sample_id"), again.drop(columns="sample_id"))
    assert (first["text"].str.split().str.len() == 50).all()
    given = argparse.Namespace(
        encoder="none", toxicity="none", only=["divergence.reward", "diversity.distinct_1"]
    )
    seconds, mib = cost(tmp_path, 200, given)
    assert seconds > 0
    assert mib > 50
    assert "200 rows:" in capsys.readouterr().out


def test_a_run_without_recorded_seconds_is_refused(recorded_run: Path) -> None:
    with pytest.raises(SystemExit, match="holds no seconds of probes"):
        share_of_run(recorded_run)
