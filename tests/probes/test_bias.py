"""Bias on planted data: gaps in what replies say, the reward model's own gap, the filter, and who
is mentioned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from probes import Evidence, Measurement, Scorer, measure
from probes.bias import probe as bias
from probes.bias.gaps import KINDS
from tests.probes import people

Make = Callable[..., Evidence]
REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "Here is a review of the film."


def table(
    texts: Callable[[int, str], str], *, families: int = 20, groups: Sequence[str] = ("a", "b")
) -> pd.DataFrame:
    """One sample a family and group, whose text is `texts(family, group)`."""
    rows = [
        {
            "prompt_id": f"f{f:03d}-{g}",
            "sample_id": f"f{f:03d}-{g}/0",
            "text": texts(f, g),
            "n_tokens": len(texts(f, g).split()),
            "family": f"f{f:03d}",
            "group": g,
        }
        for f in range(families)
        for g in groups
    ]
    return pd.DataFrame(rows)


def measured(evidence: Evidence) -> dict[str, Measurement]:
    return {m.name: m for m in bias.run(evidence)}


# --- gaps


def test_a_planted_difference_in_refusal_sentiment_length_and_toxicity_is_found_in_its_size() -> (
    None
):
    def text(f: int, g: str) -> str:
        if g == "a":
            return REFUSAL if f % 2 else "A terrible, boring film and nothing else."
        return ANSWER if f % 4 else "A wonderful film."

    m = measured(Evidence(outputs=table(text), toxicity=people.SCORER))
    refusal = m["bias.refusal_gap"]
    assert refusal.value == 0.5
    assert 0 < refusal.interval().low < 0.5 < refusal.interval().high
    assert (refusal.detail["highest"], refusal.detail["lowest"]) == ("a", "b")
    assert m["bias.refusal.a"].value == 0.25
    assert m["bias.sentiment_gap"].interval().low > 0
    assert m["bias.sentiment_gap"].detail["highest"] == "b"
    assert m["bias.sentiment_gap"].detail["label"] == "lexicon proxy"
    assert m["bias.toxicity_gap"].interval().low > 0
    assert m["bias.toxicity_gap"].detail["known_failure"] == people.SCORER.known_failure
    lengths = table(text).pivot(index="family", columns="group", values="n_tokens").mean()
    assert m["bias.length_gap"].value == pytest.approx(abs(lengths["a"] - lengths["b"]))


def test_where_no_text_refuses_the_gap_is_0_and_its_interval_says_how_large_it_may_be() -> None:
    for text in (ANSWER, REFUSAL):
        m = measured(Evidence(outputs=table(lambda f, g, text=text: text), levels=(0.95, 0.99)))[
            "bias.refusal_gap"
        ]
        assert m.value == 0
        assert [i.low for i in m.intervals] == [0, 0]
        assert 0.1 < m.intervals[0].high < m.intervals[1].high < 0.4


def test_identical_lengths_give_no_interval_and_say_so() -> None:
    m = measured(Evidence(outputs=table(lambda f, g: ANSWER)))["bias.length_gap"]
    assert m.value == 0
    assert m.intervals == ()
    assert "all 20 families give the same values" in str(m.reason)


def test_texts_that_the_sentiment_list_does_not_fit_are_not_measured() -> None:
    m = measured(Evidence(outputs=table(lambda f, g: f"Ein Film über {g} und Nummer {f}.")))
    assert m["bias.sentiment_gap"].value is None
    assert "knows a word of only 0% of the texts" in str(m["bias.sentiment_gap"].reason)
    assert m["bias.length_gap"].value is not None


def test_a_scorer_that_is_missing_or_broken_gives_a_reason_or_is_refused() -> None:
    rows = table(lambda f, g: ANSWER)
    assert (
        measured(Evidence(outputs=rows))["bias.toxicity_gap"].reason
        == "no toxicity scorer was given"
    )
    broken = Scorer("broken", "1", "0" * 64, "", lambda texts: np.full(len(texts), np.nan))
    with pytest.raises(ValueError, match="toxicity: broken returned an array of shape"):
        bias.run(Evidence(outputs=rows, toxicity=broken))


CASES: dict[str, tuple[pd.DataFrame, str]] = {
    "no family": (table(lambda f, g: ANSWER).assign(family=None), "no counterfactual families"),
    "one group": (table(lambda f, g: ANSWER, groups=("a",)), "only one group"),
    "no family is complete": (
        table(lambda f, g: ANSWER).iloc[[0, 3, 4, 7]],
        "for each of its 2 groups",
    ),
    "empty texts": (table(lambda f, g: ""), "for each of its 2 groups"),
    "no rows": (table(lambda f, g: ANSWER).iloc[:0], "no counterfactual families"),
}


@pytest.mark.parametrize("case", CASES)
def test_groups_that_cannot_be_compared_are_null_with_the_reason(case: str) -> None:
    rows, reason = CASES[case]
    m = measured(Evidence(outputs=rows.assign(reward=np.nan)))
    for kind in KINDS:
        assert m[f"bias.{kind.name}_gap"].value is None or (
            case == "empty texts" and kind.name == "length"
        )
    assert reason in str(m["bias.refusal_gap"].reason)


def test_the_interval_of_a_refusal_gap_covers_the_truth_at_least_92_times_in_100() -> None:
    rates = np.array([0.5, 0.2, 0.2, 0.2])
    hits = 0
    for run in range(150):
        rng = np.random.default_rng(run)
        drawn = rng.random((12, 4)) < rates
        rows = table(
            lambda f, g, d=drawn: REFUSAL if d[f, int(g)] else ANSWER,
            families=12,
            groups=list("0123"),
        )
        only = frozenset({"bias.refusal_gap"})
        m = measured(Evidence(outputs=rows, resamples=300, seed=run, only=only))["bias.refusal_gap"]
        hits += m.interval().low <= 0.3 <= m.interval().high
    assert hits / 150 >= 0.92


def scored(
    run: int, gaps: Sequence[float], *, families: int = 12, texts: Sequence[int] = (8,)
) -> pd.DataFrame:
    """Texts whose human score is that of their group, with families and texts that vary; cells have
    the numbers of texts that `texts` repeats.
    """
    rng = np.random.default_rng(run)
    rows = []
    for f in range(families):
        family = rng.normal()
        for j, gap in enumerate(gaps):
            own = family + gap + 0.3 * rng.normal()
            for t in range(texts[(f + j) % len(texts)]):
                name = f"f{f:02d}-{j}"
                score = own + 1.4 * rng.normal()
                rows.append(
                    {
                        "prompt_id": name,
                        "sample_id": f"{name}/{t}",
                        "text": "a text",
                        "n_tokens": 2,
                        "human": score,
                        "family": f"f{f:02d}",
                        "group": str(j),
                    }
                )
    return pd.DataFrame(rows)


def human_gap(rows: pd.DataFrame, seed: int, level: float = 0.9) -> Measurement:
    only = frozenset({"bias.human_gap"})
    evidence = Evidence(outputs=rows, resamples=200, seed=seed, only=only, levels=(level,))
    return measured(evidence)["bias.human_gap"]


@pytest.mark.parametrize("texts", [(8,), (2, 14, 8)])
def test_a_gap_as_large_as_the_margin_passes_in_at_most_5_of_100_audits_however_uneven_the_cells(
    texts: Sequence[int],
) -> None:
    passed = 0
    for run in range(150):
        m = human_gap(scored(run, (0.0, 1.0, 0.5, 0.5), texts=texts), run)
        passed += m.ok_interval(0.9).high < 1.0
    assert passed / 150 <= 0.08


def test_groups_that_are_alike_pass_by_their_pairs_where_the_alarms_interval_would_not_let_them() -> (
    None
):
    by_pairs, by_all = 0, 0
    for run in range(60):
        m = human_gap(scored(run, (0.0, 0.0, 0.0, 0.0)), run)
        by_pairs += m.ok_interval(0.9).high < 1.0
        by_all += m.interval(0.9).high < 1.0
        assert m.ok_interval(0.9).low == m.interval(0.9).low
        assert m.value <= m.ok_interval(0.9).high < m.interval(0.9).high
    assert by_pairs / 60 >= 0.85
    assert by_all < by_pairs


def test_the_bounds_for_passing_are_recorded_and_read_back_and_only_where_there_are_any() -> None:
    m = human_gap(scored(1, (0.0, 0.5)), 1)
    assert set(m.to_json()) >= {"ok_intervals", "error"}
    assert Measurement.from_json(m.to_json()) == m
    plain = measured(Evidence(outputs=table(lambda f, g: ANSWER)))["bias.length_gap"]
    assert not {"ok_intervals", "error"} & set(plain.to_json())
    assert plain.ok_interval(0.95) == plain.interval(0.95)


def test_a_cell_counts_once_however_many_texts_it_has() -> None:
    rows = scored(1, (0.0, 0.7))
    more = pd.concat([rows, rows[rows["prompt_id"] == "f00-1"]], ignore_index=True)
    assert human_gap(more, 1).value == pytest.approx(human_gap(rows, 1).value)


def test_two_groups_pass_by_the_paired_t_interval_of_their_families() -> None:
    rows = scored(3, (0.0, 0.4), texts=(3, 5))
    cells = rows.pivot_table(index="family", columns="group", values="human")
    d = (cells["1"] - cells["0"]).to_numpy()
    high = scipy.stats.ttest_1samp(np.abs(d.mean()) / d.mean() * d, 0).confidence_interval(0.9).high
    assert human_gap(rows, 3).ok_interval(0.9).high == pytest.approx(high)


def test_a_share_of_refusals_that_is_too_much_for_one_group_seldom_passes() -> None:
    passed = 0
    for run in range(150):
        rng = np.random.default_rng(run)
        drawn = rng.random((12, 2)) < (0.25, 0.0)
        rows = table(
            lambda f, g, d=drawn: REFUSAL if d[f, int(g)] else ANSWER, families=12, groups="01"
        )
        only = frozenset({"bias.refusal_gap"})
        evidence = Evidence(outputs=rows, resamples=200, seed=run, only=only, levels=(0.9,))
        passed += measured(evidence)["bias.refusal_gap"].ok_interval(0.9).high < 0.25
    assert passed / 150 <= 0.08


# --- the reward model


def speaking(
    pays: float, *, prompts: int = 24, only_men: bool = False, costs: float = 0.0
) -> Evidence:
    """Texts about a man or a woman; a reward model that pays for "woman" and takes `costs` from a
    swapped text.
    """
    rng = np.random.default_rng(3)
    who = ["man" if only_men or rng.random() < 0.5 else "woman" for _ in range(prompts)]
    texts = [f"The {w} sang song number {i}." for i, w in enumerate(who)]
    rows = pd.DataFrame(
        {
            "prompt_id": [f"p{i}" for i in range(prompts)],
            "sample_id": [f"s{i}" for i in range(prompts)],
            "text": texts,
            "n_tokens": 5,
        }
    )

    def score(
        prompts: Sequence[str], replies: Sequence[str]
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array(
            [
                pays * ("woman" in r) + 0.2 * people.noise(r) - costs * (r not in texts)
                for r in replies
            ]
        )

    return Evidence(outputs=rows, prompts=dict.fromkeys(rows["prompt_id"], "Write."), score=score)


def test_a_reward_model_that_pays_for_one_group_is_found_with_sign_and_size() -> None:
    for pays in (0.5, -0.5):
        m = measured(speaking(pays))
        rule, headline = m["bias.reward_swap.gender"], m["bias.reward_swap"]
        assert rule.value == pytest.approx(pays, abs=0.1)
        assert rule.interval().low < pays < rule.interval().high
        assert rule.detail["direction"] == "version of women less version of men"
        assert headline.value == pytest.approx(abs(rule.value))
        assert headline.detail["signed"] == rule.value
        assert headline.interval().low > 0


def test_a_reward_model_that_treats_both_alike_has_an_interval_that_holds_0() -> None:
    m = measured(speaking(0.0))
    assert (
        m["bias.reward_swap.gender"].interval().low
        < 0
        < m["bias.reward_swap.gender"].interval().high
    )
    assert m["bias.reward_swap"].interval().low == 0


def test_what_swapping_itself_costs_cancels_where_both_groups_are_named_and_is_said_where_not() -> (
    None
):
    both = measured(speaking(0.0, costs=1.0))["bias.reward_swap.gender"]
    assert both.value == pytest.approx(0, abs=0.1)
    assert both.detail["directions"] == "averaged"
    one = measured(speaking(0.0, costs=1.0, only_men=True))["bias.reward_swap.gender"]
    assert one.value == pytest.approx(-1, abs=0.1)
    assert str(one.detail["directions"]).startswith(
        "pooled: fewer than 5 prompts named one of the groups"
    )


def test_a_prompt_that_names_the_group_is_swapped_along_and_one_that_names_the_other_is_left_out() -> (
    None
):
    given = speaking(0.0)
    asked: list[tuple[str, str]] = []

    def score(
        prompts: Sequence[str], texts: Sequence[str]
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        asked.extend(zip(prompts, texts, strict=True))
        return np.array([people.noise(t) for t in texts])

    prompts = dict.fromkeys(given.prompts, "Write about a man.")
    m = measured(replace(given, score=score, prompts=prompts))["bias.reward_swap.gender"]
    named_women = int(given.outputs["text"].str.contains("woman").sum())
    assert m.detail["left_out"] == {"prompt_names_other_groups_or_cannot_be_swapped": named_women}
    assert m.n == 24 - named_women
    assert {("woman" in p, "woman" in t) for p, t in asked} == {(False, False), (True, True)}


def test_without_a_reward_model_or_something_to_swap_the_reason_is_given() -> None:
    given = speaking(0.5)
    for change, reason in (
        ({"score": None}, "no reward model was given"),
        ({"prompts": {}}, "the prompts were not given"),
        ({"outputs": given.outputs.assign(text="A film about ships.")}, "no output has words"),
        (
            {"outputs": given.outputs.head(3)},
            "no swap rule finds something in the outputs of at least 8 prompts",
        ),
    ):
        m = measured(replace(given, **change))["bias.reward_swap"]
        assert m.value is None
        assert reason in str(m.reason)


def test_at_most_64_texts_a_rule_are_scored_and_what_was_left_is_counted() -> None:
    m = measured(speaking(0.5, prompts=100))["bias.reward_swap.gender"]
    assert m.n == 64
    assert m.detail["texts_with_listed_words"] == 100


def test_a_reward_model_that_returns_no_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="score: returned an array of shape"):
        bias.run(replace(speaking(0.5), score=lambda p, t: np.full(len(t), np.nan)))


# --- the filter


def filtered(shift: float, *, families: int = 40, seed: int = 0) -> pd.DataFrame:
    """Grow samples, four a prompt; group b's rewards lie `shift` lower."""
    rng = np.random.default_rng(seed)
    one = table(lambda f, g: ANSWER, families=families)
    rows = pd.concat(
        [one.assign(sample_id=one["sample_id"] + str(k)) for k in range(4)], ignore_index=True
    )
    rows["reward"] = rng.normal(size=len(rows)) - shift * (rows["group"] == "b")
    return rows.assign(kept=rows["reward"] > rows["reward"].quantile(0.8))


def test_the_curve_shows_the_ratio_fall_as_the_threshold_rises() -> None:
    rows = filtered(1.0, families=150)
    m = measured(Evidence(outputs=rows, grow=rows))["bias.acceptance_ratio"]
    curve = m.detail["curve"]
    assert [p["percentile"] for p in curve] == [50, 60, 70, 80, 90, 95]
    ratios = [p["ratio"] for p in curve]
    assert ratios == sorted(ratios, reverse=True)
    at_80 = next(p for p in curve if p["percentile"] == 80)
    assert at_80["ratio"] == m.value, "this step's own threshold is the 80th percentile"
    assert at_80["intervals"][0]["high"] == m.interval().high < 0.8
    assert all(p["lowest"] == "b" and p["intervals"][0]["low"] <= p["ratio"] for p in curve)


def test_a_threshold_that_keeps_none_of_a_group_has_an_upper_end_and_one_that_keeps_nothing_has_no_ratio() -> (
    None
):
    rows = filtered(50.0, families=20)
    m = measured(Evidence(outputs=rows, grow=rows))["bias.acceptance_ratio"]
    top = m.detail["curve"][-1]
    assert top["ratio"] == 0
    assert 0 < top["intervals"][0]["high"] <= 1
    same = rows.assign(reward=1.0)
    point = measured(Evidence(outputs=same, grow=same))["bias.acceptance_ratio"].detail["curve"][0]
    assert point["ratio"] is None
    assert point["intervals"] == []
    assert "no sample of any group was kept" in point["reason"]


def test_the_curve_is_there_where_nobody_says_what_was_kept_and_missing_without_rewards() -> None:
    rows = filtered(1.0)
    m = measured(Evidence(outputs=rows, grow=rows.drop(columns="kept")))["bias.acceptance_ratio"]
    assert m.value is None
    assert m.detail["curve"][0]["ratio"] is not None
    bare = measured(Evidence(outputs=rows, grow=rows.drop(columns="reward")))[
        "bias.acceptance_ratio"
    ]
    assert bare.value is not None
    assert bare.detail["curve"] is None
    assert "no Grow sample of a counterfactual family has a reward" in bare.detail["curve_reason"]


# --- mentions


def naming(share: float, seed: int, *, prompts: int = 40, prefix: str = "p") -> pd.DataFrame:
    """Four texts a prompt, of which about `share` mention a woman."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "prompt_id": f"{prefix}{p}",
            "sample_id": f"{prefix}{p}/{k}",
            "n_tokens": 3,
            "text": "She sings well." if rng.random() < share else "It sings well.",
        }
        for p in range(prompts)
        for k in range(4)
    ]
    return pd.DataFrame(rows)


def test_a_filter_that_drops_texts_about_women_is_found() -> None:
    rows = naming(0.5, 1)
    women = rows["text"].str.startswith("She")
    rng = np.random.default_rng(2)
    kept = np.where(women, rng.random(len(rows)) < 0.1, rng.random(len(rows)) < 0.4)
    m = measured(Evidence(outputs=rows, grow=rows.assign(kept=kept, reward=0.0)))
    fall = m["bias.mention_kept.women"]
    assert fall.value == pytest.approx(women[kept].mean() - women.mean())
    assert fall.interval().high < 0
    assert (fall.detail["grow_mentions"], fall.detail["kept_mentions"]) == (
        women.sum(),
        women[kept].sum(),
    )
    assert m["bias.mention_kept.men"].value is None
    assert m["bias.mention_kept.men"].reason == "no Grow sample mentions them"


def test_who_is_mentioned_is_set_beside_the_base_policy_on_the_same_prompts() -> None:
    rows, base = naming(0.2, 1), naming(0.7, 2)
    m = measured(Evidence(outputs=rows, base=base))
    women = m["bias.mention.women"]
    assert women.value == pytest.approx(rows["text"].str.startswith("She").mean())
    assert women.baseline == pytest.approx(base["text"].str.startswith("She").mean())
    assert women.detail["change"]["value"] == pytest.approx(women.value - women.baseline)
    assert women.detail["change"]["intervals"][0]["high"] < 0
    men = m["bias.mention.men"]
    assert men.value == 0
    assert men.interval().high > 0.05


def test_a_filter_that_does_not_look_at_who_is_mentioned_moves_nobody() -> None:
    covered = 0
    for run in range(100):
        rows = naming(0.3, run, prompts=20)
        kept = np.random.default_rng(run + 1000).random(len(rows)) < 0.4
        only = frozenset({"bias.mention_kept.women"})
        m = measured(Evidence(outputs=rows, grow=rows.assign(kept=kept), resamples=300, only=only))
        covered += (
            m["bias.mention_kept.women"].interval().low
            <= 0
            <= m["bias.mention_kept.women"].interval().high
        )
    assert covered >= 90


# --- cost


def test_what_is_not_wanted_is_neither_scored_nor_computed(make_evidence: Make) -> None:
    def never(*texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        raise AssertionError("was called")

    given = make_evidence(score=never, toxicity=Scorer("s", "1", "0" * 64, "", never))
    for name in (
        "bias.human_gap",
        "bias.acceptance_ratio",
        "bias.mention.women",
        "bias.reward.north",
    ):
        found, _ = measure(replace(given, only=frozenset({name})))
        assert [m.name for m in found] == [name]


def test_one_swap_rule_can_be_asked_for_alone() -> None:
    found, _ = measure(replace(speaking(0.5), only=frozenset({"bias.reward_swap.gender"})))
    assert [m.name for m in found] == ["bias.reward_swap.gender"]
