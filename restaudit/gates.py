"""The sealed policy at work: measurements in, a decision out. Nothing here measures or trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from probes.base import Interval, Measurement
from probes.statistics.multiplicity import increments

# Readers of a run need decisions, and not the configuration's models, which take half a second to
# import.
if TYPE_CHECKING:
    from restaudit.config import GateCondition, GateConfig, GatePolicy

Verdict = Literal["OK", "WARN", "HALT", "INCONCLUSIVE"]
SEVERITY: Sequence[Verdict] = ("OK", "INCONCLUSIVE", "WARN", "HALT")
POWER = 0.8
PEOPLE = "PEOPLE"
AGREEMENT = "agreement.alpha"


@dataclass(frozen=True)
class GateResult:
    """What one gate said, and everything needed to say it again."""

    gate: str
    verdict: Verdict
    metric: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    must_stay: str
    margin: float
    n_prompts: int
    mde: float | None
    why: str


@dataclass(frozen=True)
class Decision:
    """The verdict of one look: the worst of its gates."""

    iteration: str
    verdict: Verdict
    look: int
    looks: int
    gates: tuple[GateResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {**asdict(self), "gates": [asdict(g) for g in self.gates]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Decision:
        """The inverse of `to_json`."""
        return cls(**{**raw, "gates": tuple(GateResult(**g) for g in raw["gates"])})


def decide(
    policy: GatePolicy,
    measurements: Sequence[Measurement],
    *,
    iteration: str,
    look: int,
    looks: int,
) -> Decision:
    """Apply every gate of this look; no gate at all is INCONCLUSIVE, since nothing was checked."""
    by_name = {m.name: m for m in measurements}
    results = tuple(
        _apply(rule, by_name, rule_level(policy, rule, look=look, looks=looks), policy.min_alpha)
        for rule in _asked(policy, look, looks)
    )
    verdict: Verdict = max((r.verdict for r in results), key=SEVERITY.index, default="INCONCLUSIVE")
    return Decision(iteration, verdict, look, looks, results)


def levels_needed(policy: GatePolicy, *, look: int, looks: int) -> tuple[float, ...]:
    """Every interval level that the decision at this look will ask for."""
    return tuple(
        dict.fromkeys(
            rule_level(policy, r, look=look, looks=looks) for r in _asked(policy, look, looks)
        )
    )


def rule_level(policy: GatePolicy, rule: GateConfig, *, look: int, looks: int) -> float:
    """The two-sided interval level a rule uses at one look (1, 2, …, looks).

    Rules with the same action share the one-sided error rate 1 - policy.level equally, and each
    spends its part over the looks it is asked at (docs/decisions/0007-one-error-rate.md).
    """
    # The union bound, over rules and over looks: it holds however they depend on one another.
    # Successive policies are different parameters measured on the same prompts, so the independent
    # increments that group-sequential theory assumes are not there.
    sharing = sum(r.action == rule.action for r in policy.rules)
    alpha = (1 - policy.level) / sharing
    if rule.looks == "all":
        spent = increments(alpha=alpha, looks=looks, spending=policy.spending)
        alpha = float(spent[look - 1])
    # An interval of level 1 - 2a errs a to each side, and a rule is broken on one side only.
    return 1 - 2 * alpha


def minimum_detectable_effect(half_width: float, level: float, power: float = POWER) -> float:
    """The distance from the margin that a test with this interval finds with the stated power
    (normal theory).
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    return half_width * (z + NormalDist().inv_cdf(power)) / z


def _asked(policy: GatePolicy, look: int, looks: int) -> list[GateConfig]:
    return [r for r in policy.rules if r.looks == "all" or look == looks]


def _apply(
    rule: GateConfig, by_name: Mapping[str, Measurement], level: float, min_alpha: float
) -> GateResult:
    m = by_name.get(rule.metric)
    interval = m.interval(level) if m is not None else None
    mde = None
    if interval is not None and m is not None and m.value is not None:
        mde = _mde(interval, level)
    verdict, why = _said(rule, m, interval, level)
    doubt = _raters_disagree(m, by_name.get(AGREEMENT), min_alpha)
    if doubt is not None:
        # Ratings that their raters do not agree on decide nothing, neither HALT nor OK.
        verdict, why = "INCONCLUSIVE", doubt
    elif rule.when is not None and verdict not in {"OK", "INCONCLUSIVE"}:
        verdict, why = _on_condition(rule.when, by_name, level, verdict, why)
    return GateResult(
        gate=rule.name,
        verdict=verdict,
        metric=rule.metric,
        value=m.value if m else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        level=level,
        must_stay=rule.must_stay,
        margin=rule.margin,
        n_prompts=m.n_prompts if m else 0,
        mde=mde,
        why=why,
    )


def _said(
    rule: GateConfig, m: Measurement | None, interval: Interval | None, level: float
) -> tuple[Verdict, str]:
    """What the rule says of its metric alone, and why.

    OK needs the whole interval on the right side, as its action needs it on the wrong one: an
    estimate that merely looks well is no evidence of it.
    """
    if m is None:
        return "INCONCLUSIVE", f"no measurement is called {rule.metric}"
    if m.value is None or interval is None:
        return "INCONCLUSIVE", m.reason or f"no interval at level {level:.4g}"
    span = f"[{interval.low:.3g}, {interval.high:.3g}]"
    side = _side(interval, rule.margin)
    if side is None:
        return "INCONCLUSIVE", (
            f"{span} contains {rule.margin:g}; with {m.n_prompts} prompts a change of "
            f"{_mde(interval, level):.2g} could be seen"
        )
    if side == rule.must_stay:
        return "OK", f"{span} stays {rule.must_stay} {rule.margin:g}"
    why = f"{span} is wholly on the wrong side of {rule.margin:g}: {rule.reason}"
    return rule.action, why


def _mde(interval: Interval, level: float) -> float:
    return minimum_detectable_effect((interval.high - interval.low) / 2, level)


def _side(interval: Interval, margin: float) -> str | None:
    """The side of the margin that the whole interval lies on; None where it contains or touches
    it.
    """
    if interval.low > margin:
        return "above"
    return "below" if interval.high < margin else None


def _on_condition(
    when: GateCondition,
    by_name: Mapping[str, Measurement],
    level: float,
    verdict: Verdict,
    why: str,
) -> tuple[Verdict, str]:
    """What a broken rule says given its condition: itself, OK where it does not apply, INCONCLUSIVE
    where unknown.
    """
    condition = by_name.get(when.metric)
    interval = None
    if condition is not None and condition.value is not None:
        interval = condition.interval(level)
    if interval is None:
        return (
            "INCONCLUSIVE",
            f"{why} (if {when.metric} were {when.side} {when.margin:g}, but it was not measured)",
        )
    span = f"{when.metric} [{interval.low:.3g}, {interval.high:.3g}]"
    side = _side(interval, when.margin)
    if side == when.side:
        return verdict, f"{why} ({span} is {when.side} {when.margin:g})"
    if side is None:
        return (
            "INCONCLUSIVE",
            f"{span} contains {when.margin:g}, so whether this rule applies is open",
        )
    return "OK", f"does not apply: {span} is {side} {when.margin:g}"


def _raters_disagree(
    m: Measurement | None, agreement: Measurement | None, least: float
) -> str | None:
    """Why ratings by people decide nothing, or None where they may (or no people rated)."""
    if m is None or m.detail.get("human_label") != PEOPLE:
        return None
    if agreement is None or agreement.value is None:
        why = agreement.reason if agreement is not None else "it was not measured"
        return f"whether the raters agree is unknown: {why}"
    if agreement.value < least:
        return (
            f"the raters' Krippendorff alpha is {agreement.value:.2f}, below {least:g}: their "
            "ratings decide nothing"
        )
    return None
