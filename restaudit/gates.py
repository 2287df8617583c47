"""The sealed policy at work: measurements in, a decision out. Nothing here measures or trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

from probes.base import Measurement
from restaudit.config import GateConfig, GatePolicy

Verdict = Literal["OK", "WARN", "HALT", "INCONCLUSIVE"]
SEVERITY: Sequence[Verdict] = ("OK", "INCONCLUSIVE", "WARN", "HALT")
POWER = 0.8


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


def gate_level(policy: GatePolicy, looks: int) -> float:
    """The interval level every look uses, so that all looks together err at most 1 - policy.level (Bonferroni)."""
    return 1 - (1 - policy.level) / max(looks, 1)


def decide(
    policy: GatePolicy, measurements: Sequence[Measurement], *, iteration: str, look: int, looks: int
) -> Decision:
    """Apply every gate; no gate at all is INCONCLUSIVE, since nothing was checked."""
    level = gate_level(policy, looks)
    by_name = {m.name: m for m in measurements}
    results = tuple(_apply(rule, by_name.get(rule.metric), level) for rule in policy.rules)
    verdict: Verdict = max((r.verdict for r in results), key=SEVERITY.index, default="INCONCLUSIVE")
    return Decision(iteration, verdict, look, looks, results)


def _apply(rule: GateConfig, m: Measurement | None, level: float) -> GateResult:
    interval = m.interval(level) if m is not None else None
    verdict: Verdict
    mde = None
    if m is None:
        verdict, why = "INCONCLUSIVE", f"no measurement is called {rule.metric}"
    elif m.value is None or interval is None:
        verdict, why = "INCONCLUSIVE", m.reason or f"no interval at level {level:.4g}"
    else:
        half = (interval.high - interval.low) / 2
        z = NormalDist().inv_cdf(0.5 + level / 2)
        mde = half * (z + NormalDist().inv_cdf(POWER)) / z
        inside = interval.low > rule.margin if rule.must_stay == "above" else interval.high < rule.margin
        outside = interval.high < rule.margin if rule.must_stay == "above" else interval.low > rule.margin
        span = f"[{interval.low:.3g}, {interval.high:.3g}]"
        if inside:
            verdict, why = "OK", f"{span} stays {rule.must_stay} {rule.margin:g}"
        elif outside:
            verdict, why = rule.action, f"{span} is wholly on the wrong side of {rule.margin:g}: {rule.reason}"
        else:
            verdict = "INCONCLUSIVE"
            why = f"{span} contains {rule.margin:g}; with {m.n_prompts} prompts a change of {mde:.2g} could be seen"
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
