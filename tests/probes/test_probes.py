"""What each probe finds in evidence whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import Evidence, Measurement, measure
from probes.bias import probe as bias
from probes.divergence import probe as divergence
from probes.diversity import probe as diversity
from probes.drift import probe as drift
from probes.statistics.resample import prompt_weights

Make = Callable[..., Evidence]


def by_name(found: list[Measurement]) -> dict[str, Measurement]:
    return {m.name: m for m in found}


# --- divergence


def test_a_reward_that_rises_while_the_human_score_stays_is_a_gap(make_evidence: Make) -> None:
    given = make_evidence()
    hacked = given.outputs.assign(reward=given.outputs["reward"] + 2.0)
    m = by_name(divergence.run(make_evidence(outputs=hacked)))
    interval = m["divergence.gap"].interval()
    assert interval is not None
    assert interval.low > 1
    assert m["divergence.reward_change"].value > m["divergence.human_change"].value


def test_the_human_gain_is_the_expected_part_less_what_is_beyond_it(make_evidence: Make) -> None:
    m = by_name(divergence.run(make_evidence()))
    beyond = m["divergence.beyond_expected"]
    assert beyond.detail["human_change"] == pytest.approx(
        m["divergence.expected"].value - beyond.value
    )
    assert m["divergence.human_change"].value == pytest.approx(
        beyond.detail["human_change"], abs=0.1
    )
    assert "regressional" in beyond.detail["note"]


def test_the_base_policy_has_no_change(make_evidence: Make) -> None:
    m = by_name(measure(make_evidence(base=None, grow=None))[0])
    names = [
        "divergence.reward_change",
        "divergence.human_change",
        "divergence.gap",
        "diversity.distinct_2_ratio",
        "diversity.vendi_ratio",
        "diversity.compression_ratio_ratio",
    ]
    for name in names:
        assert m[name].value is None
        assert "this is the base policy" in str(m[name].reason)
    assert m["divergence.reward"].value is not None


def test_the_same_samples_as_the_base_policy_changed_nothing(make_evidence: Make) -> None:
    base = make_evidence().base
    m = by_name(measure(make_evidence(outputs=base))[0])
    assert m["divergence.reward_change"].value == 0
    assert m["divergence.gap"].value == 0
    assert m["diversity.distinct_2_ratio"].value == 1
    assert m["divergence.reward"].value == pytest.approx(m["divergence.reward"].baseline)
    assert m["bias.reward_gap"].value == pytest.approx(m["bias.reward_gap"].baseline)


def test_counterfactual_rows_do_not_enter_divergence_or_diversity(make_evidence: Make) -> None:
    given = make_evidence()
    shouted = given.outputs.assign(
        reward=given.outputs["reward"].where(given.outputs["family"].isna(), 1e6)
    )
    one, other = (
        by_name(divergence.run(make_evidence(outputs=o))) for o in (given.outputs, shouted)
    )
    assert one == other


def test_with_counterfactual_rows_only_all_rows_are_used_and_it_is_said(
    make_evidence: Make,
) -> None:
    given = make_evidence()
    only = make_evidence(outputs=given.outputs[given.outputs["family"].notna()])
    m = by_name(divergence.run(only))
    assert m["divergence.reward"].value is not None
    assert "no prompt is plain" in m["divergence.reward"].detail["rows"]


def test_human_coverage_counts_what_has_no_human_score(make_evidence: Make) -> None:
    given = make_evidence()
    half = given.outputs.assign(human=np.where(np.arange(len(given.outputs)) % 2, 1.0, np.nan))
    m = by_name(divergence.run(make_evidence(outputs=half)))
    assert m["divergence.human_coverage"].value == pytest.approx(0.5, abs=0.02)


def test_the_filters_human_gain_leaves_out_the_human_references(make_evidence: Make) -> None:
    given = make_evidence()
    references = given.grow.head(40).assign(
        sample_id=[f"ref{i}" for i in range(40)], origin="reference", human=99.0
    )
    both = pd.concat([given.grow.assign(origin="policy"), references], ignore_index=True)
    one, other = (
        by_name(divergence.run(make_evidence(grow=g)))["divergence.filter_human"]
        for g in (given.grow, both)
    )
    assert one.value == other.value
    assert one.value > 0


def test_selection_on_d_eval_shows_as_a_gap_to_the_audit_prompts(make_evidence: Make) -> None:
    given = make_evidence()
    better = given.d_eval.assign(reward=given.d_eval["reward"] + 1.5)
    interval = by_name(divergence.run(make_evidence(d_eval=better)))[
        "divergence.d_eval_gap"
    ].interval()
    assert interval is not None
    assert interval.low > 0


# --- diversity


def test_a_smaller_vocabulary_lowers_every_diversity_ratio(make_evidence: Make) -> None:
    m = by_name(diversity.run(make_evidence()))
    for name in ("distinct_2_ratio", "vendi_ratio", "compression_ratio_ratio"):
        interval = m[f"diversity.{name}"].interval()
        assert interval is not None
        assert interval.high < 1


def test_one_text_for_everything_is_one_effective_text(make_evidence: Make) -> None:
    given = make_evidence()
    m = by_name(
        diversity.run(
            make_evidence(outputs=given.outputs.assign(text="A fine film about a fine cast."))
        )
    )
    assert m["diversity.vendi"].value == pytest.approx(1, abs=1e-5)
    assert m["diversity.within_prompt"].value == pytest.approx(0, abs=1e-5)
    assert m["diversity.duplicates"].value == pytest.approx(79 / 80)


def test_without_an_embedding_vendi_is_missing_and_says_why(make_evidence: Make) -> None:
    m = by_name(diversity.run(make_evidence(embed=None)))
    for name in ("diversity.vendi", "diversity.vendi_ratio", "diversity.within_prompt"):
        assert m[name].value is None
        assert "no embedding" in str(m[name].reason)
    assert m["diversity.distinct_2"].value is not None


def test_one_sample_a_prompt_has_no_within_prompt_diversity(make_evidence: Make) -> None:
    given = make_evidence()
    one = given.outputs.groupby("prompt_id").head(1)
    m = by_name(diversity.run(make_evidence(outputs=one)))["diversity.within_prompt"]
    assert m.value is None
    assert "one sample a prompt" in str(m.reason)


# --- bias


def with_gap(given: Evidence, size: float) -> pd.DataFrame:
    """The outputs with noise taken out, so that groups differ by exactly `size` between north and
    the others.
    """
    rows = given.outputs.copy()
    rows["reward"] = rows["family"].fillna("f0").str.slice(1).astype(int) + size * (
        rows["group"] == "north"
    )
    return rows


def test_a_known_gap_between_groups_is_found_and_both_groups_are_named(make_evidence: Make) -> None:
    given = make_evidence()
    rows = with_gap(given, 0.75)
    rows["reward"] += np.random.default_rng(0).normal(0, 0.05, len(rows))
    m = by_name(bias.run(make_evidence(outputs=rows)))
    headline = m["bias.reward_gap"]
    assert headline.value == pytest.approx(0.75, abs=0.1)
    assert headline.detail["highest"] == "north"
    assert headline.interval().low > 0.5
    assert m["bias.reward.north"].value == pytest.approx(0.5, abs=0.1)
    gaps = [m[f"bias.reward.{g}"].value for g in ("north", "south", "west")]
    assert sum(gaps) == pytest.approx(0, abs=1e-9)


def test_families_are_compared_within_themselves(make_evidence: Make) -> None:
    rows = with_gap(make_evidence(), 0.0)
    m = by_name(bias.run(make_evidence(outputs=rows)))
    assert m["bias.reward_gap"].value == 0
    assert m["bias.reward_gap"].intervals == ()


def test_a_family_that_lacks_a_group_is_left_out_and_counted(make_evidence: Make) -> None:
    given = make_evidence()
    rows = given.outputs[given.outputs["prompt_id"] != "pf00-west"]
    m = by_name(bias.run(make_evidence(outputs=rows)))["bias.reward_gap"]
    assert m.detail["families_left_out"] == 1
    assert m.n_prompts == 7


@pytest.mark.parametrize("groups", [2, 4])
def test_the_interval_of_the_largest_gap_covers_the_truth_at_least_92_times_in_100(
    groups: int,
) -> None:
    rng = np.random.default_rng(groups)
    hits = 0
    for run in range(400):
        table = rng.normal(size=(20, groups))
        drawn = prompt_weights(units=20, resamples=300, seed=run) @ table / 20
        found = bias.largest_difference(
            values=table.mean(axis=0), replicates=drawn, n=20 * groups, units=20, levels=(0.95,)
        )
        hits += found.intervals[0].low <= 0 <= found.intervals[0].high
    assert hits / 400 >= 0.92


def grow(kept: dict[str, int], families: int = 20) -> pd.DataFrame:
    """One sample a family and group; in the first kept[g] families, group g's sample was kept."""
    return pd.DataFrame(
        [
            {
                "prompt_id": f"f{f}-{g}",
                "sample_id": f"f{f}-{g}/0",
                "text": "a",
                "n_tokens": 1,
                "family": f"f{f}",
                "group": g,
                "kept": f < k,
                "reward": 0.0,
                "human": 0.0,
            }
            for f in range(families)
            for g, k in kept.items()
        ]
    )


def test_acceptance_is_kept_over_total_and_the_ratio_names_both_groups(make_evidence: Make) -> None:
    m = by_name(bias.run(make_evidence(grow=grow({"east": 12, "west": 6}))))
    assert m["bias.acceptance.east"].value == 0.6
    ratio = m["bias.acceptance_ratio"]
    assert ratio.value == pytest.approx(0.5)
    assert (ratio.detail["lowest"], ratio.detail["highest"]) == ("west", "east")
    assert ratio.interval().low < 0.5 < ratio.interval().high <= 1
    assert "heuristic" in ratio.detail["note"]


def test_a_group_of_which_nothing_was_kept_is_a_ratio_of_zero_with_an_upper_end(
    make_evidence: Make,
) -> None:
    m = by_name(bias.run(make_evidence(grow=grow({"east": 16, "west": 0}))))
    assert m["bias.acceptance_ratio"].value == 0
    assert 0.1 < m["bias.acceptance_ratio"].interval().high < 0.6
    assert m["bias.acceptance.west"].interval().high > 0


def test_where_nothing_at_all_was_kept_there_is_no_ratio(make_evidence: Make) -> None:
    m = by_name(bias.run(make_evidence(grow=grow({"east": 0, "west": 0}))))
    assert m["bias.acceptance_ratio"].value is None


def test_without_groups_every_comparison_of_groups_says_so(make_evidence: Make) -> None:
    given = make_evidence()
    bare = make_evidence(
        **{
            k: getattr(given, k).drop(columns=["family", "group"])
            for k in ("outputs", "base", "grow")
        }
    )
    compared = [
        m for m in bias.run(bare) if m.name.endswith("_gap") or m.name.startswith("bias.acceptance")
    ]
    assert len(compared) == 7
    for m in compared:
        assert m.value is None
        assert "no counterfactual families" in str(m.reason)


# --- drift


def test_drift_is_measured_where_kl_was(make_evidence: Make) -> None:
    given = make_evidence()
    first = given.outputs["sample_id"].str.endswith("/0") & given.outputs["family"].isna()
    rows = given.outputs.assign(
        kl=np.where(first, 6.0, np.nan), kl_tokens=np.where(first, 12.0, np.nan)
    )
    m: dict[str, Any] = by_name(drift.run(make_evidence(outputs=rows)))
    assert (m["drift.kl"].value, m["drift.kl"].n) == (6.0, 20)
    assert m["drift.kl_per_token"].value == 0.5
