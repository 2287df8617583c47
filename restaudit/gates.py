"""The sealed policy at work: measurements in, a decision out. Nothing here measures or trains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from probes.base import Interval, Measurement
from probes.statistics.multiplicity import increments
from probes.statistics.power import POWER, finds

# Readers of a run need decisions, and not the configuration's models, which take half a second to
# import.
if TYPE_CHECKING:
    from restaudit.config import GateCondition, GateConfig, GatePolicy

Verdict = Literal["OK", "SILENT", "UNDECIDED", "INCONCLUSIVE", "WARN", "HALT"]
# INCONCLUSIVE is what plans say that were sealed before there were two questions.
SEVERITY: Sequence[Verdict] = ("SILENT", "OK", "UNDECIDED", "INCONCLUSIVE", "WARN", "HALT")
OPEN = ("UNDECIDED", "INCONCLUSIVE")
FIRED = ("WARN", "HALT")
PEOPLE = "PEOPLE"
AGREEMENT = "agreement.alpha"
# Read off benchmark items and texts that people wrote: a look's samples do not move these.
BESIDE = ("capability.", "benchmarks.", "drift.human_text")
# Nobody audits with more texts of a prompt than that: then more prompts are the way.
MOST_TEXTS = 64


@dataclass(frozen=True)
class GateResult:
    """What one gate said, and everything needed to say it again.

    value, low, high, level   what was measured, and the interval that the action needs
    margin, must_stay         the sealed rule; `alarm_only` rules never stand in the way of an OK
    ok_margin, ok_low, ok_high, ok_level
                              the interval that OK needs, and what it must exclude
    n, n_prompts              rows and prompts behind the value
    finds                     the true value at which the rule fires in 8 of 10 such audits
    settle                    what would decide it, where it is undecided
    stage                     the stage of the look at which this was said (from 1)
    mde                       of plans sealed before there were two questions: how far beyond the
                              margin the truth would have to be to fire 8 times in 10

    What stands after `why` is None in plans that were sealed before there were two questions, and
    then left out of the record.
    """

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
    alarm_only: bool | None = None
    ok_margin: float | None = None
    ok_low: float | None = None
    ok_high: float | None = None
    ok_level: float | None = None
    n: int | None = None
    finds: float | None = None
    settle: str | None = None
    stage: int | None = None


@dataclass(frozen=True)
class Decision:
    """The verdict of one look: the worst of its gates. `stage` of `stages` is the last one that was
    sampled (None in plans that know no stages).
    """

    iteration: str
    verdict: Verdict
    look: int
    looks: int
    gates: tuple[GateResult, ...]
    stage: int | None = None
    stages: int | None = None

    @property
    def undecided(self) -> tuple[GateResult, ...]:
        """The gates that could say neither OK nor fire."""
        return tuple(g for g in self.gates if g.verdict in OPEN)

    @property
    def wants_more(self) -> tuple[GateResult, ...]:
        """The undecided gates that more samples of this look could decide, where nothing has
        stopped it: those that have an interval, and no raters who disagree about what it is of,
        and that read a look's samples at all.
        """
        if self.verdict == "HALT":
            return ()
        # Where it has neither, nothing is said to settle it.
        unsettled = (g for g in self.undecided if g.settle is not None)
        return tuple(g for g in unsettled if not g.metric.startswith(BESIDE))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        raw = asdict(self)
        gates = [asdict(g) for g in self.gates]
        if self.stage is None:
            # Such a record has been written without these keys, and is compared as it was written.
            for key in ("stage", "stages"):
                del raw[key]
            gates = [{k: v for k, v in g.items() if k not in LATER} for g in gates]
        else:
            for gate in gates:
                del gate["mde"]
        return {**raw, "gates": gates}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Decision:
        """The inverse of `to_json`."""
        gates = tuple(GateResult(**{"mde": None, **g}) for g in raw["gates"])
        return cls(**{**raw, "gates": gates})


LATER = (
    "alarm_only",
    "ok_margin",
    "ok_low",
    "ok_high",
    "ok_level",
    "n",
    "finds",
    "settle",
    "stage",
)


@dataclass(frozen=True)
class Place:
    """Which look of how many is decided, and which stage of it (all from 1)."""

    look: int
    looks: int
    stage: int = 1


def decide(
    policy: GatePolicy,
    measurements: Sequence[Measurement],
    *,
    iteration: str,
    look: int,
    looks: int,
    stage: int = 1,
    earlier: Decision | None = None,
) -> Decision:
    """Apply every gate of this look; where no gate must pass, nothing was checked and it is
    UNDECIDED.

    `earlier` is the decision of the stage before: what a gate said there stands, unless it fires
    now. Each stage spends its own part of the error rates, so an answer is no less true for having
    come early.
    """
    by_name = {m.name: m for m in measurements}
    place = Place(look, looks, stage)
    before = {g.gate: g for g in earlier.gates} if earlier is not None else {}
    results = tuple(
        _apply(policy, rule, by_name, place, before.get(rule.name))
        for rule in _asked(policy, look, looks)
    )
    nothing: Verdict = "INCONCLUSIVE" if policy.ok_error is None else "UNDECIDED"
    verdict = max((r.verdict for r in results), key=SEVERITY.index, default=nothing)
    if verdict == "SILENT":
        verdict = nothing
    if policy.ok_error is None:
        return Decision(iteration, verdict, look, looks, results)
    return Decision(iteration, verdict, look, looks, results, stage, len(policy.shares))


def metrics_of(policy: GatePolicy) -> frozenset[str]:
    """Every measurement that the gates read."""
    conditions = {r.when.metric for r in policy.rules if r.when is not None}
    return frozenset({AGREEMENT, *conditions, *(r.metric for r in policy.rules)})


def levels_needed(
    policy: GatePolicy, *, look: int, looks: int, stage: int = 1
) -> tuple[float, ...]:
    """Every interval level that the decision at this stage of this look will ask for."""
    levels: list[float] = []
    for rule in _asked(policy, look, looks):
        levels.append(rule_level(policy, rule, look=look, looks=looks, stage=stage))
        if policy.ok_error is not None and not rule.alarm_only:
            levels.append(ok_level(policy, stage=stage))
    return tuple(dict.fromkeys(levels))


def rule_level(
    policy: GatePolicy, rule: GateConfig, *, look: int, looks: int, stage: int = 1
) -> float:
    """The two-sided interval level at which a rule fires, at one look and stage (from 1).

    Rules with the same action share the one-sided error rate 1 - policy.level equally, each spends
    its part over the looks it is asked at, and each look over its stages
    (docs/decisions/0007-one-error-rate.md).
    """
    # The union bound, over rules, looks and stages: it holds however they depend on one another.
    # Successive policies are different parameters measured on the same prompts, so the independent
    # increments that group-sequential theory assumes are not there.
    sharing = sum(r.action == rule.action for r in policy.rules)
    alpha = (1 - policy.level) / sharing
    if rule.looks == "all":
        spent = increments(alpha=alpha, looks=looks, spending=policy.spending)
        alpha = float(spent[look - 1])
    # An interval of level 1 - 2a errs a to each side, and a rule is broken on one side only.
    return 1 - 2 * alpha * policy.shares[stage - 1]


def ok_level(policy: GatePolicy, *, stage: int = 1) -> float:
    """The two-sided interval level at which a rule that must pass says OK, at one stage (from 1).

    Every look answers for itself whether this policy may go on, so looks share nothing here.
    """
    assert policy.ok_error is not None
    return 1 - 2 * policy.ok_error * policy.shares[stage - 1]


def minimum_detectable_effect(half_width: float, level: float, power: float = POWER) -> float:
    """The distance from the margin that a test with this interval finds with the stated power
    (normal theory).
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    return half_width * (z + NormalDist().inv_cdf(power)) / z


def _asked(policy: GatePolicy, look: int, looks: int) -> list[GateConfig]:
    return [r for r in policy.rules if r.looks == "all" or look == looks]


def _apply(
    policy: GatePolicy,
    rule: GateConfig,
    by_name: Mapping[str, Measurement],
    place: Place,
    before: GateResult | None,
) -> GateResult:
    level = rule_level(policy, rule, look=place.look, looks=place.looks, stage=place.stage)
    if policy.ok_error is None:
        return _by_one_interval(rule, by_name, level, policy.min_alpha)
    if before is not None and before.verdict in FIRED:
        return before
    now = _by_two_questions(policy, rule, by_name, level, place, before)
    said_ok = before is not None and before.verdict == "OK" and now.verdict not in FIRED
    return before if said_ok and before is not None else now


# --- two questions: does it fire, and may it pass?


def _by_two_questions(
    policy: GatePolicy,
    rule: GateConfig,
    by_name: Mapping[str, Measurement],
    level: float,
    place: Place,
    before: GateResult | None,
) -> GateResult:
    m = by_name.get(rule.metric)
    known = m is not None and m.value is not None
    interval = m.interval(level) if m is not None and known else None
    pass_level = None if rule.alarm_only else ok_level(policy, stage=place.stage)
    to_pass = None
    if m is not None and known and pass_level is not None:
        to_pass = m.ok_interval(pass_level)
    result = GateResult(
        gate=rule.name,
        verdict="UNDECIDED",
        metric=rule.metric,
        value=m.value if m else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        level=level,
        must_stay=rule.must_stay,
        margin=rule.margin,
        n_prompts=m.n_prompts if m else 0,
        mde=None,
        why="",
        alarm_only=rule.alarm_only,
        ok_margin=None if rule.alarm_only else rule.ok_bound,
        ok_low=to_pass.low if to_pass else None,
        ok_high=to_pass.high if to_pass else None,
        ok_level=pass_level,
        n=m.n if m else 0,
        finds=finds(m, level=level, margin=rule.margin, beyond=_wrong(rule)) if m else None,
        stage=place.stage,
    )
    verdict, why = _answer(rule, m, interval, to_pass, level)
    doubt = _raters_disagree(m, by_name.get(AGREEMENT), policy.min_alpha)
    if doubt is not None:
        verdict, why = "UNDECIDED", doubt
    elif rule.when is not None and verdict != "OK":
        verdict, why = _given(rule.when, by_name, level, verdict, why)
    if verdict == "UNDECIDED" and rule.alarm_only:
        return replace(result, verdict="SILENT", why=why)
    settle = None
    if verdict == "UNDECIDED" and doubt is None and to_pass is not None:
        settle = _what_would_settle(result, before)
    return replace(result, verdict=verdict, why=why, settle=settle)


def _answer(
    rule: GateConfig,
    m: Measurement | None,
    interval: Interval | None,
    to_pass: Interval | None,
    level: float,
) -> tuple[Verdict, str]:
    """What the rule says of its metric alone, and why."""
    if m is None:
        return "UNDECIDED", f"no measurement is called {rule.metric}"
    if m.value is None or interval is None:
        return "UNDECIDED", m.reason or f"no interval at level {level:.4g}"
    side = _side(interval, rule.margin)
    if side is not None and side != rule.must_stay:
        why = f"{_span(interval)} is wholly on the wrong side of {rule.margin:g}: {rule.reason}"
        return rule.action, why
    if rule.alarm_only:
        return "UNDECIDED", f"{_span(interval)} is not wholly {_wrong(rule)} {rule.margin:g}"
    if to_pass is None:
        return "UNDECIDED", m.reason or "no interval to pass by"
    if _side(to_pass, rule.ok_bound) == rule.must_stay:
        return "OK", f"{_span(to_pass)} stays {rule.must_stay} {rule.ok_bound:g}"
    return "UNDECIDED", f"{_span(to_pass)} does not stay {rule.must_stay} {rule.ok_bound:g}"


def _wrong(rule: GateConfig) -> Literal["above", "below"]:
    return "below" if rule.must_stay == "above" else "above"


def _span(interval: Interval) -> str:
    return f"[{interval.low:.3g}, {interval.high:.3g}]"


def _what_would_settle(now: GateResult, before: GateResult | None) -> str:
    """How much more would let the rule say OK, if the truth is what was estimated."""
    assert now.value is not None
    assert now.ok_margin is not None
    assert now.ok_low is not None
    assert now.ok_high is not None
    assert now.ok_level is not None
    above = now.must_stay == "above"
    room = now.value - now.ok_margin if above else now.ok_margin - now.value
    if room <= 0:
        return (
            f"the estimate itself is not {now.must_stay} {now.ok_margin:g}: more data would "
            "rather show the loss than rule it out"
        )
    reach = now.value - now.ok_low if above else now.ok_high - now.value
    # The width falls with the square root of the prompts, whatever else it is made of.
    prompts = math.ceil(now.n_prompts * (max(reach / room, 1.0) ** 2 - 1))
    # Gaps between groups are measured on families of prompts that differ by the group alone.
    of_families = now.metric.startswith("bias.")
    units = ("family", "families") if of_families else ("prompt", "prompts")
    advice = [_about(_rounded(max(prompts, 1)), *units)]
    texts = None if of_families else _more_texts(now, before, room, reach)
    if texts is not None:
        advice.append(f"{_about(texts, 'text', 'texts')} a prompt")
    return f"if the truth is what was estimated, {' or '.join(advice)} would settle it"


def _more_texts(
    now: GateResult, before: GateResult | None, room: float, reach: float
) -> int | None:
    """How many more texts of every prompt would do; None where two stages do not show it."""
    if before is None or before.value is None or before.ok_level is None:
        return None
    if not (before.n_prompts and now.n_prompts and before.n and now.n):
        return None
    assert now.ok_level is not None
    then, k_then = before, before.n / before.n_prompts
    k_now = now.n / now.n_prompts
    edge = then.ok_low if now.must_stay == "above" else then.ok_high
    if edge is None or k_now <= k_then:
        return None
    # The variance of an estimate is b + a/k for k texts a prompt. Two stages give a and b.
    z_then = NormalDist().inv_cdf(0.5 + before.ok_level / 2)
    z_now = NormalDist().inv_cdf(0.5 + now.ok_level / 2)
    variance_then = (abs(before.value - edge) / z_then) ** 2
    variance_now = (reach / z_now) ** 2
    a = (variance_then - variance_now) / (1 / k_then - 1 / k_now)
    b = variance_now - a / k_now
    needed = (room / z_now) ** 2
    if a <= 0 or needed <= b:
        return None
    wanted = math.ceil(a / (needed - max(b, 0.0)))
    return wanted - int(k_now) if int(k_now) < wanted <= MOST_TEXTS else None


def _about(count: int, one: str, many: str) -> str:
    return f"about {count:,} more {one if count == 1 else many}"


def _rounded(count: int) -> int:
    """Two digits are all that such an estimate carries; rounded up."""
    step: int = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // step) * step


def _given(
    when: GateCondition,
    by_name: Mapping[str, Measurement],
    level: float,
    verdict: Verdict,
    why: str,
) -> tuple[Verdict, str]:
    """What a rule that did not pass says given its condition: OK where it does not apply."""
    condition = by_name.get(when.metric)
    interval = None
    if condition is not None and condition.value is not None:
        interval = condition.interval(level)
    side = _side(interval, when.margin) if interval is not None else None
    if interval is not None and side is not None and side != when.side:
        return "OK", f"does not apply: {when.metric} {_span(interval)} is {side} {when.margin:g}"
    if verdict in FIRED:
        return _on_condition(when, by_name, level, verdict, why, "UNDECIDED")
    return verdict, why


# --- one interval for both, as plans were sealed before


def _by_one_interval(
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
        verdict, why = _on_condition(rule.when, by_name, level, verdict, why, "INCONCLUSIVE")
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
    unknown: Verdict,
) -> tuple[Verdict, str]:
    """What a broken rule says given its condition: itself, OK where it does not apply, `unknown`
    where that is open.
    """
    condition = by_name.get(when.metric)
    interval = None
    if condition is not None and condition.value is not None:
        interval = condition.interval(level)
    if interval is None:
        return (
            unknown,
            f"{why} (if {when.metric} were {when.side} {when.margin:g}, but it was not measured)",
        )
    span = f"{when.metric} [{interval.low:.3g}, {interval.high:.3g}]"
    side = _side(interval, when.margin)
    if side == when.side:
        return verdict, f"{why} ({span} is {when.side} {when.margin:g})"
    if side is None:
        return (unknown, f"{span} contains {when.margin:g}, so whether this rule applies is open")
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
