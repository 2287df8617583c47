"""A word that stands in 90% of the chosen responses, whatever their worth, is named by the stress
tests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from restaudit.config import EnsembleConfig
from restaudit.models.encoder import load_encoder
from restaudit.reward.head import learn_heads
from restaudit.reward.trained import fit
from restaudit.reward_audit.stress import stress
from tests.reward.test_trained import config, pairs

WORD = "tender"


@pytest.mark.parametrize("planted", [0.9, 0.5])
def test_a_keyword_of_the_chosen_responses_is_named(tiny_encoder: Path, planted: float) -> None:
    rng = np.random.default_rng(0)
    table = pairs(n=800, prompts=80)
    shares = {"chosen": planted, "rejected": 1 - planted}
    for side, share in shares.items():
        has = rng.random(len(table)) < share
        table[side] = table[side].where(~has, table[side] + f" {WORD}")
    given = config(tiny_encoder, ensemble=EnsembleConfig(size=2))
    encoder = load_encoder(tiny_encoder)
    fitted = fit(
        "pairs",
        table,
        lambda data: learn_heads(data, encoder, given, spec=None, seed=0),
        given,
        seed=0,
    )
    held_out = fitted.examples.table.query("split == 'held_out'")

    def score(prompts: list[str], texts: list[str]) -> np.ndarray:
        return fitted.learned.scorer.score(prompts, texts).mean(axis=1)

    found = stress(
        score,
        held_out["prompt"].tolist(),
        held_out["left"].tolist(),
        seed=0,
        resamples=200,
        budget=0,
    )
    named = {w.word for w in found.words.words if w.verdict == "FAIL"} if found.words else set()
    assert (WORD in named) == (planted == 0.9)
    assert any(repr(WORD) in said for said in found.failures) == (planted == 0.9)
