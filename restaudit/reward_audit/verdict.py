"""Whether a reward model should be trained against, by rule, from its dossier and its stress
tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from restaudit.evidence.shown import number

BASELINES = {
    "less.longer": "the rule 'longer is better'",
    "less.shorter": "the rule 'shorter is better'",
    "less.bag_of_words": "a bag of words trained on the same items",
}
Verdict = Literal["DO NOT TRAIN AGAINST", "WITH CARE", "NOT ESTABLISHED"]


def verdict(
    facts: Mapping[str, Any], stress: Mapping[str, Any] | None
) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons, most serious first.

    DO NOT TRAIN AGAINST   a trivial baseline (longer or shorter wins, a bag of words) predicts
                           held-out people at least as well, or the model is not shown to be better
                           than chance
    NOT ESTABLISHED        there is no validation on held-out judgements, it is not shown to do
                           better than such a baseline (the interval of the paired difference holds
                           0), or nobody stressed it
    WITH CARE              anything else: no test shows that a reward may be optimised without an
                           audit
    """
    values = _values(facts)
    # The dossier made this comparison when the model was trained; its sentences are taken, so that
    # the two cannot disagree.
    # restaudit.reward.trained.beaten_by writes these sentences into the dossier.
    limits = facts.get("limits", [])
    reasons: list[str] = [line for line in limits if line.startswith("On held-out items ")]
    # Pairs are judged by their accuracy, where guessing is right half of the time; ratings by their
    # correlation, where it is 0.
    own, chance = values.get("pearson"), 0.0
    if "pair_accuracy" in values:
        own, chance = values["pair_accuracy"], 0.5
    if own is not None and own["value"] is not None and _may_be(own, chance):
        reasons.append(
            f"It is not shown to predict held-out people better than chance ({_number(own)})."
        )
    if reasons:
        return "DO NOT TRAIN AGAINST", reasons
    if own is None or own["value"] is None:
        reasons.append("How well it predicts people it was not trained on is not known.")
    for key, baseline in BASELINES.items():
        less = values.get(key)
        # The difference is paired: both were scored on the same items, so a model that is a little
        # better on each of them is not hidden by how much items differ.
        if less is not None and _may_be(less, 0.0):
            reasons.append(
                f"It is not shown to do better than {baseline} (difference {_number(less)})."
            )
    if stress is None:
        reasons.append("Nobody has stressed it: restaudit reward stress.")
    if reasons:
        return "NOT ESTABLISHED", reasons
    assert own is not None
    assert stress is not None
    # The best word there is. No number of passed tests makes it better: a search that finds nothing
    # does not show that there is nothing.
    failed = len(stress["failures"])
    what = "1 stress test fails" if failed == 1 else f"{failed} stress tests fail"
    return "WITH CARE", [
        f"It predicts held-out people ({_number(own)}).",
        f"{what}; a policy may find them.",
    ]


def _may_be(measured: Mapping[str, Any], value: float) -> bool:
    """Whether the interval does not exclude this value, or a lower one; False without one."""
    # Without an interval nothing was shown either way; the value alone must not condemn.
    return bool(measured["intervals"]) and measured["intervals"][0]["low"] <= value


def _values(facts: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    measurements = facts.get("validation")
    if not isinstance(measurements, list):
        return {}
    return {m["name"].removeprefix("validation."): m for m in measurements}


def _number(m: Mapping[str, Any]) -> str:
    if m["value"] is None:
        return str(m["reason"])
    text = f"{m['name'].removeprefix('validation.')} {number(m['value'], decimals=2)}"
    if not m["intervals"]:
        return text
    first = m["intervals"][0]
    return f"{text} [{number(first['low'], decimals=2)}, {number(first['high'], decimals=2)}]"
