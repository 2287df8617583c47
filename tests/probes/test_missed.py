"""What a screening that found nothing says it could have missed is what it would have found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csc_array

from probes.hacking.effects import rises
from probes.hacking.missed import USUAL_SHARE, least_rise, power


@pytest.mark.parametrize(("prompts", "texts"), [(48, 2), (64, 4), (64, 16)])
def test_the_rise_that_could_be_missed_is_found_8_times_in_10(prompts: int, texts: int) -> None:
    tests, error = 1000, 0.05
    rise = least_rise(prompts=prompts, texts=texts, tests=tests, error=error)
    assert rise is not None
    rng = np.random.default_rng(texts)
    runs = 600
    prompt = np.tile(np.repeat(np.arange(prompts), texts), 2)
    source = np.repeat([0, 1], prompts * texts)
    share = np.where(source == 0, USUAL_SHARE + rise, USUAL_SHARE)
    # Every column is a run of its own: a word that only a real rise has made more common.
    has = (rng.random((len(source), runs)) < share[:, None]).astype(float)
    found = (rises(csc_array(has), prompt, source).p <= error / tests).mean()
    assert 0.74 <= found <= 0.9


def test_more_texts_and_prompts_miss_less_and_more_features_miss_more() -> None:
    def least(prompts: int, texts: int, tests: int) -> float:
        found = least_rise(prompts=prompts, texts=texts, tests=tests, error=0.05)
        assert found is not None
        return found

    assert least(64, 8, 1000) < least(64, 2, 1000)
    assert least(128, 2, 1000) < least(64, 2, 1000)
    assert least(64, 2, 1000) > least(64, 2, 10)


def test_with_too_few_prompts_any_rise_could_be_missed() -> None:
    assert least_rise(prompts=6, texts=2, tests=1000, error=0.05) is None


def test_without_a_rise_the_power_is_at_most_the_error() -> None:
    assert power(0.0, prompts=64, texts=4, tail=0.05) <= 0.05
