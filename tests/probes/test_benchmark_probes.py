"""Capability and preferences by benchmark item: planted losses are found, unchanged policies are
not accused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import Evidence, Measurement, capability
from probes import preferences as benchmarks
from probes.statistics.items import largest_fall, paired_shares, shared_levels
from tests.probes.benchmark_items import items
from tests.probes.conftest import samples

OUTPUTS = samples(seed=1, prompts=2, families=0)


def measured(
    probe: Any, now: pd.DataFrame | None, base: pd.DataFrame | None, **more: Any
) -> dict[str, Measurement]:
    given = Evidence(
        outputs=OUTPUTS,
        items=now,
        base_items=base,
        **{"levels": (0.95, 0.99), "resamples": 400, **more},
    )
    return {m.name: m for m in probe.PROBE.run(given)}


def test_a_policy_that_lost_a_third_of_what_it_knew_is_seen_to_have_lost_it() -> None:
    found = measured(capability, items(seed=1, lost=0.35), items(seed=2))
    worst = found["capability.worst_change"]
    assert worst.interval(0.95).high < -0.05
    assert worst.detail["tasks"] == ["arithmetic", "everyday", "grammar"]
    assert worst.value == min(found[f"capability.{t}_change"].value for t in worst.detail["tasks"])
    everyday = found["capability.everyday"]
    assert everyday.value < everyday.baseline
    assert everyday.unit == "share"


def test_a_policy_that_lost_nothing_on_many_items_is_shown_to_be_no_worse_by_five_points() -> None:
    same = items(seed=2, each=400)
    found = measured(capability, same, same)
    worst = found["capability.worst_change"]
    assert worst.value == 0.0
    # Ten kinds of grammar are ten units: alone they could not show it.
    assert worst.interval(0.95).low > -0.25
    without = same[same["task"] != "grammar"]
    assert (
        measured(capability, without, without)["capability.worst_change"].interval(0.95).low > -0.05
    )


def test_forty_items_cannot_show_that_nothing_was_lost() -> None:
    same = items(seed=2)
    low = measured(capability, same, same)["capability.worst_change"].interval(0.95).low
    assert low < -0.05


def test_a_preference_that_grew_is_found_and_named() -> None:
    found = measured(benchmarks, items(seed=1, biased=1.2), items(seed=2))
    assert found["benchmarks.pronouns.stereotype_nats_change"].interval(0.95).low > 0.5
    assert found["benchmarks.worst_change"].interval(0.95).low > 0
    assert found["benchmarks.worst_change"].value == pytest.approx(
        max(
            found[f"benchmarks.{name}_change"].value * (-1 if "accuracy" in name else 1)
            for name in found["benchmarks.worst_change"].detail["of"]
        )
    )
    stereotype = found["benchmarks.pronouns.stereotype"]
    assert stereotype.detail["no_preference"] == 0.5
    assert set(stereotype.detail["groups"]) == {"female", "male"}
    assert stereotype.detail["groups"]["female"]["n"] == 20
    assert stereotype.n_prompts == 20  # occupations, of two sentences each


def test_an_unchanged_policy_is_not_accused() -> None:
    found = measured(benchmarks, items(seed=1), items(seed=2))
    assert found["benchmarks.worst_change"].interval(0.95).low < 0
    assert found["benchmarks.pronouns.stereotype_change"].interval(0.95).low < 0


def test_bbqs_bias_scores_are_the_papers() -> None:
    now = items(seed=1, each=200)
    found = measured(benchmarks, now, items(seed=2, each=200))
    bbq = now[now["task"] == "bbq"]
    ambiguous = bbq[bbq["metric"] == "bias_ambiguous"]["value"]
    named = ambiguous[ambiguous != 0]
    s_dis_of_ambiguous = 2 * (named > 0).mean() - 1
    accuracy = bbq[bbq["metric"] == "accuracy_ambiguous"]["value"].mean()
    assert found["benchmarks.bbq.bias_ambiguous"].value == pytest.approx(
        (1 - accuracy) * s_dis_of_ambiguous
    )
    clear = bbq[bbq["metric"] == "bias_disambiguated"]["value"]
    assert found["benchmarks.bbq.bias_disambiguated"].value == pytest.approx(
        2 * (clear > 0).mean() - 1
    )


def test_the_order_of_items_and_missing_optional_columns_change_nothing() -> None:
    now, base = items(seed=1, lost=0.2), items(seed=2)
    for probe in (capability, benchmarks):
        whole = measured(probe, now, base)
        assert whole == measured(
            probe, now.sample(frac=1, random_state=1), base.sample(frac=1, random_state=2)
        )
        assert list(whole) == list(measured(probe, now.drop(columns=["cluster", "group"]), base))


def test_only_what_is_wanted_is_measured() -> None:
    now, base = items(seed=1), items(seed=2)
    wanted = frozenset({"capability.worst_change", "benchmarks.worst_change"})
    assert list(measured(capability, now, base, only=wanted)) == ["capability.worst_change"]
    assert list(measured(benchmarks, now, base, only=wanted)) == ["benchmarks.worst_change"]


def test_what_was_not_run_is_null_and_says_why() -> None:
    empty = items(seed=1).iloc[:0]
    empty.attrs["reason"] = "measured at the last look only"
    for probe, name in (
        (capability, "capability.worst_change"),
        (benchmarks, "benchmarks.worst_change"),
    ):
        assert measured(probe, None, None)[name].reason == "no benchmark was run"
        assert (
            measured(probe, empty, items(seed=2))[name].reason == "measured at the last look only"
        )
        alone = measured(probe, items(seed=1), None)
        assert "base policy" in alone[name].reason
        assert all(m.value is None for n, m in alone.items() if n.endswith("_change"))
        assert all(m.value is not None for n, m in alone.items() if not n.endswith("_change"))
    only_tasks = items(seed=1)
    only_tasks = only_tasks[only_tasks["metric"] == "acc"]
    assert (
        "preferences"
        in measured(benchmarks, only_tasks, only_tasks)["benchmarks.worst_change"].reason
    )
    rest = items(seed=1)
    rest = rest[rest["metric"] != "acc"]
    assert (
        "no capability task" in measured(capability, rest, rest)["capability.worst_change"].reason
    )


def test_a_task_the_base_policy_never_did_leaves_the_worst_change_open() -> None:
    base = items(seed=2)
    found = measured(capability, items(seed=1), base[base["task"] != "arithmetic"])
    assert found["capability.arithmetic_change"].value is None
    assert found["capability.worst_change"].value is None
    assert "arithmetic" in found["capability.worst_change"].reason


def test_scores_that_are_no_shares_are_measured_but_not_compared_with_shares() -> None:
    bleu = pd.DataFrame(
        {
            "task": "translate",
            "item_id": [f"t{k}" for k in range(30)],
            "metric": "bleu",
            "value": np.linspace(3, 40, 30),
        }
    )
    now = pd.concat([items(seed=1), bleu])
    found = measured(
        capability, now, pd.concat([items(seed=2), bleu.assign(value=bleu["value"] + 1)])
    )
    assert found["capability.translate"].unit == "bleu, its own unit"
    assert found["capability.worst_change"].detail["left_out"] == {
        "translate": "its values are no shares (0 to 1)"
    }


WRONG = {
    "no value": (lambda t: t.drop(columns="value"), r"items: lacks the column\(s\) value"),
    "no task": (lambda t: t.assign(task=None), "items: row 0 has no task"),
    "infinite": (lambda t: t.assign(value=np.inf), "row 0, column value is infinite"),
    "words": (lambda t: t.assign(value="right"), "column value is"),
    "twice": (lambda t: pd.concat([t, t.tail(1)]), "is there twice"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("probe", [capability, benchmarks], ids=lambda p: p.PROBE.name)
def test_bad_items_are_refused_with_table_and_row(case: str, probe: Any) -> None:
    change, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        measured(probe, change(items(seed=1)), items(seed=2))


# --- the intervals


def test_bonett_and_prices_interval_is_their_formula() -> None:
    # 5 gained, 11 lost of 80 by hand: p = 6/82, q = 12/82, centre -6/82, variance (18/82 -
    # (6/82)^2)/82.
    interval = paired_shares(gained=5, lost=11, items=80, levels=[0.95]).intervals[0]
    error = np.sqrt((18 / 82 - (6 / 82) ** 2) / 82)
    assert interval.low == pytest.approx(-6 / 82 - 1.959964 * error)
    assert interval.high == pytest.approx(-6 / 82 + 1.959964 * error)
    assert paired_shares(gained=5, lost=11, items=80, levels=[0.95]).value == -6 / 80


@pytest.mark.parametrize(
    ("gain", "loss", "size"), [(0.0, 0.02, 40), (0.05, 0.05, 40), (0.02, 0.15, 100)]
)
def test_intervals_of_paired_changes_cover_as_they_say(gain: float, loss: float, size: int) -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for lost, gained, _ in rng.multinomial(size, [loss, gain, 1 - gain - loss], size=2000):
        interval = paired_shares(
            gained=int(gained), lost=int(lost), items=size, levels=[0.95]
        ).intervals[0]
        covered += interval.low <= gain - loss <= interval.high
    assert 0.94 <= covered / 2000 <= 1.0


@pytest.mark.parametrize("losses", [(0.0, 0.0, 0.0), (0.02, 0.02, 0.02), (0.1, 0.02, 0.02)])
def test_the_interval_of_the_worst_change_errs_no_more_often_than_it_says_on_either_side(
    losses: tuple[float, ...],
) -> None:
    rng = np.random.default_rng(4)
    missed_below = missed_above = 0
    runs, size, gain = 1000, 60, 0.02
    truth = gain - max(losses)
    levels = [0.9]
    for _ in range(runs):
        parts = {}
        for k, loss in enumerate(losses):
            lost, gained, _rest = rng.multinomial(size, [loss, gain, 1 - gain - loss])
            counts = {"gained": int(gained), "lost": int(lost), "items": size}
            parts[str(k)] = (
                paired_shares(**counts, levels=levels),
                paired_shares(**counts, levels=shared_levels(levels, len(losses))),
            )
        interval = largest_fall(parts=parts, levels=levels)[0].intervals[0]
        missed_below += truth < interval.low
        missed_above += truth > interval.high
    assert missed_below / runs <= 0.06
    assert missed_above / runs <= 0.06
