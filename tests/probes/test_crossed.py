"""An interval over seeds and prompts covers when both are drawn anew."""

import numpy as np
import pytest

from probes.statistics.crossed import crossed, of_these_seeds


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize(("seed_sd", "prompt_sd"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_it_covers_the_mean_of_other_seeds_and_other_prompts(seed_sd, prompt_sd, seeds, missing):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        table = seed_sd * rng.normal(size=(seeds, 1)) + prompt_sd * rng.normal(size=(1, 30))
        table = table + rng.normal(0, 1, (seeds, 30))
        found = crossed(np.where(rng.random(table.shape) < missing, np.nan, table))
        hits += found.low <= 0 <= found.high
    # A coverage of 95% gives 932 and more in 199 of 200 such studies; Satterthwaite's, 89% to 93%,
    # seldom does.
    assert hits >= 932


def test_of_these_seeds_is_over_prompts_alone():
    rng = np.random.default_rng(2)
    table = rng.normal(size=(3, 1)) * 10 + rng.normal(size=(1, 20))
    found, over_both = of_these_seeds(table), crossed(table)
    assert found.mean == pytest.approx(over_both.mean)
    assert found.high - found.mean == pytest.approx(
        2.0930 * table.mean(axis=0).std(ddof=1) / 20**0.5, rel=1e-4
    )
    assert found.high < over_both.high
    assert of_these_seeds(table[:, :1]).reason == "one prompt"


def test_seeds_alike_leave_the_prompts_to_decide():
    prompts = np.linspace(-1, 1, 20)
    found = crossed(np.tile(prompts, (5, 1)))
    assert found.mean == pytest.approx(0)
    assert found.high == pytest.approx(2.0930 * prompts.std(ddof=1) / 20**0.5, rel=1e-4)


def test_a_prompt_that_a_seed_lacks_is_left_out_of_that_seed_s_mean():
    found = crossed(np.array([[1.0, 3.0, np.nan], [2.0, 2.0, np.nan]]))
    assert (found.mean, found.prompts) == (2.0, 2)
    assert crossed(np.array([[1.0, 3.0], [np.nan, 4.0]])).mean == 3.0


def test_one_figure_a_seed_has_students_interval():
    found = crossed(np.array([[1.0], [2.0], [3.0]]))
    assert found.mean == 2.0
    assert found.high - found.mean == pytest.approx(4.3027 / 3**0.5, rel=1e-4)


def test_one_seed_has_no_interval_and_a_table_with_holes_is_refused():
    assert crossed(np.ones((1, 4))).low is None
    assert crossed(np.ones((3, 4))).reason == "the same each time"
    with pytest.raises(ValueError, match="a value for every seed"):
        crossed(np.array([[1.0, 2.0], [np.nan, np.nan]]))
    with pytest.raises(ValueError, match="numbers"):
        crossed(np.array([[1.0, np.inf], [1.0, 2.0]]))
