"""The probes on real texts and real people's ratings (movie-review snippets, 15 or more raters
each).
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probes import Evidence, measure
from probes.statistics.krippendorff import alpha as alpha_of

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def snippets(shared_data: Path) -> pd.DataFrame:
    """600 snippets, two a made-up prompt; `reward` is one half of the raters' mean, `human` the
    other half's.
    """

    def read(name: str) -> pd.DataFrame:
        path = shared_data / "vader" / f"movieReviewSnippets_{name}.txt.gz"
        with gzip.open(path, "rt", encoding="utf-8", errors="strict") as f:
            lines = [line.rstrip("\r\n").split("\t") for line in f]
        return pd.DataFrame([(line[0], line[-1]) for line in lines], columns=["sample_id", name])

    table = read("GroundTruth").merge(read("anonDataRatings"), on="sample_id", validate="1:1")
    table = table.sample(600, random_state=1).reset_index(drop=True)
    ratings = [json.loads(r) for r in table["anonDataRatings"]]
    return pd.DataFrame(
        {
            "sample_id": table["sample_id"],
            "prompt_id": [f"p{i // 2:03d}" for i in range(len(table))],
            "text": table["GroundTruth"],
            "n_tokens": table["GroundTruth"].str.split().str.len(),
            "reward": [float(np.mean(r[::2])) for r in ratings],
            "human": [float(np.mean(r[1::2])) for r in ratings],
        }
    )


def test_two_halves_of_the_raters_agree_as_their_published_reliability_says(
    snippets: pd.DataFrame,
) -> None:
    found = {
        m.name: m for m in measure(Evidence(outputs=snippets, levels=(0.99,), resamples=400))[0]
    }
    # Over all 10,605 snippets the two halves correlate at .972.
    interval = found["divergence.correlation_pearson"].interval(0.99)
    assert interval is not None
    assert 0.95 < interval.low < 0.972 < interval.high
    assert found["divergence.human_coverage"].value == 1
    assert found["diversity.duplicates"].value == 0


def test_people_writing_in_the_same_way_show_no_loss_of_diversity(snippets: pd.DataFrame) -> None:
    one, other = (
        snippets.iloc[k::2]
        .assign(prompt_id=[f"p{i // 3:03d}" for i in range(300)])
        .reset_index(drop=True)
        for k in (0, 1)
    )
    found = {
        m.name: m
        for m in measure(Evidence(outputs=one, base=other, levels=(0.99,), resamples=400))[0]
    }
    for name in ("diversity.distinct_2_ratio", "diversity.compression_ratio_ratio"):
        interval = found[name].interval(0.99)
        assert interval is not None
        assert interval.low < 1 < interval.high
        assert interval.high - interval.low < 0.2


@pytest.mark.parametrize(("name", "published"), [("test20", 0.79), ("dev", 0.79)])
def test_six_translators_agree_as_the_data_sets_index_says(
    shared_data: Path, name: str, published: float
) -> None:
    path = shared_data / "mlqe_pe" / f"{name}.roen.df.short.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as f:
        next(f)
        lines = [line.rstrip("\n").split("\t") for line in f]
    of = [(line[0], json.loads(line[3])) for line in lines]
    ratings = pd.DataFrame(
        [
            {
                "sample_id": s,
                "prompt_id": s,
                "rater": f"r{k}",
                "dimension": "adequacy",
                "score": float(v),
            }
            for s, scores in of
            for k, v in enumerate(scores)
        ]
    )
    outputs = pd.DataFrame(
        {
            "prompt_id": [s for s, _ in of],
            "sample_id": [s for s, _ in of],
            "text": "text",
            "n_tokens": 1,
        }
    )
    only = frozenset({"agreement.", "agreement.alpha"})
    found, _ = measure(
        Evidence(outputs=outputs, ratings=ratings, human_label="PEOPLE", resamples=200, only=only)
    )
    alpha = next(m for m in found if m.name == "agreement.alpha")
    assert alpha.value == pytest.approx(published, abs=0.03)
    assert alpha.n == 6 * len(outputs)


def test_the_three_judges_of_pandalm_agree_as_the_data_sets_index_says(shared_data: Path) -> None:
    rows = json.loads(
        (shared_data / "pandalm_test" / "testset-v1.json").read_text(encoding="utf-8")
    )
    scores = np.array([[float(row[f"annotator{k}"]) for k in (1, 2, 3)] for row in rows])
    units = np.repeat([f"u{i:04d}" for i in range(len(rows))], 3)
    found = alpha_of(
        units=units, scores=scores.ravel(), metric="nominal", levels=(0.95,), resamples=200, seed=1
    )
    assert found.value == pytest.approx(0.86, abs=0.005)
