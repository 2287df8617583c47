"""Real ratings of real sentences, read as a generations file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.probing.conftest import write


@pytest.mark.realdata
def test_rated_film_sentences_have_the_human_mean_of_their_raters(
    run_probe: Callable[..., tuple[int, str, str]], shared_data: Path, tmp_path: Path
) -> None:
    path = next((shared_data / "vader").glob("movieReviewSnippets_GroundTruth.txt*"))
    from restaudit.data.tables import read_text

    lines = [
        row
        for row in csv.reader(read_text(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
        if row
    ]
    table = [
        {"prompt_id": r[0].split("_")[0], "sample_id": r[0], "text": r[2], "human": float(r[1])}
        for r in lines
    ]
    code, out, err = run_probe(
        write(tmp_path / "vader.csv", table),
        "--only",
        "divergence.human,diversity.duplicates",
        "--json",
        tmp_path / "o.json",
    )
    assert (code, err) == (0, "")
    found = {
        m["name"]: m
        for m in json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["measurements"]
    }
    by_prompt: dict[str, list[float]] = {}
    for row in table:
        by_prompt.setdefault(str(row["prompt_id"]), []).append(float(row["human"]))
    human = found["divergence.human"]
    assert human["value"] == pytest.approx(np.mean([np.mean(v) for v in by_prompt.values()]))
    assert human["n"] == len(table) > 10_000
    assert human["intervals"][0]["low"] < human["value"] < human["intervals"][0]["high"]
    assert f"{len(table):,} rows" in out
