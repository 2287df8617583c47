"""One trial: an emulated run goes through the real probes and the real gates, look by look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from probes import measure
from probes.base import Embed, Evidence, Measurement
from probes.hacking.learned import COST
from restaudit.calibrate.emulate import EmulatedAudit, EmulatedLook, Size, World, emulate
from restaudit.calibrate.screen import BEYOND, GAP, HUMAN, Habits, highest_cost, value_of
from restaudit.config import GateConfig, GatePolicy
from restaudit.gates import decide, levels_needed, rule_level

# Measurements that need what a pool does not hold: items of tasks, a Grow set with its filter,
# human texts.
UNSEEN = (
    "capability.",
    "benchmarks.",
    "bias.acceptance",
    "drift.human_text",
    "drift.synthetic",
    "drift.copying",
)


@dataclass(frozen=True)
class Setup:
    """What all trials share: the policy, the run's shape, and how the probes measure.

    `embed` may be None; without `habits` (of the pool) the probe runs wherever a gate asks for a
    habit's cost.
    """

    policy: GatePolicy
    grow_steps: int
    improve_steps: int
    resamples: int
    embed: Embed | None
    habits: Habits | None = None

    @property
    def looks(self) -> int:
        """Planned looks of a run."""
        return self.grow_steps * self.improve_steps


@dataclass(frozen=True)
class TrialOutcome:
    """What happened in one trial.

    `fired` says for every gate that gave its action (WARN or HALT) the first look (from 1) at which
    it did, `halted` the look the run was stopped at; None for never. The rest are per look: KL
    (nats), change of reward (base sd), ratio of length, share of texts hacked, change of human
    score and divergence beyond the expected part (base sd).
    """

    fired: dict[str, int]
    halted: int | None
    kl: tuple[float, ...]
    reward: tuple[float, ...]
    length: tuple[float, ...]
    hacked: tuple[float, ...]
    human_change: tuple[float, ...]
    beyond: tuple[float, ...]


def trial(
    world: World, size: Size, setup: Setup, *, seed: int, screened: bool = True
) -> TrialOutcome:
    """Run one emulated run to its end; a HALT is noted but does not end it, so that other rules see
    every look too.

    With `screened` the probes run only for gates that could fire (see screen.py); without it,
    always. Same outcome.
    """
    base, looks = emulate(
        world, size, grow_steps=setup.grow_steps, improve_steps=setup.improve_steps, seed=seed
    )
    fired: dict[str, int] = {}
    halted: int | None = None
    seen: list[EmulatedLook] = []
    for number, look in enumerate(looks, start=1):
        seen.append(look)
        # Only the first time counts, and every further look costs probes.
        open_rules = [r for r in setup.policy.rules if r.name not in fired]
        for gate in _firing(setup, open_rules, look.audit, base, number, seed, screened):
            fired[gate.name] = number
            if gate.action == "HALT" and halted is None:
                halted = number
    tokens = world.pool.columns["n_tokens"].astype(np.float64)
    usual = _plain_length(base, tokens)
    return TrialOutcome(
        fired=fired,
        halted=halted,
        kl=tuple(x.kl for x in seen),
        reward=tuple(_plain_reward(look.audit) - _plain_reward(base) for look in seen),
        length=tuple(_plain_length(look.audit, tokens) / usual for look in seen),
        hacked=tuple(x.hacked for x in seen),
        human_change=tuple(_value(HUMAN, x.audit, base) for x in seen),
        beyond=tuple(_value(BEYOND, x.audit, base) for x in seen),
    )


def _plain_reward(audit: EmulatedAudit) -> float:
    return float(audit.reward[audit.plain].mean())


def _plain_length(audit: EmulatedAudit, tokens: npt.NDArray[np.float64]) -> float:
    return float(tokens[audit.rows[audit.plain]].mean())


def _value(metric: str, now: EmulatedAudit, base: EmulatedAudit) -> float:
    value = value_of(metric, now, base)
    assert value is not None  # both metrics are known without a probe
    return value


def trials(world: World, size: Size, setup: Setup, seeds: Sequence[int]) -> list[TrialOutcome]:
    """One outcome a seed, in order; each depends on its own seed and on nothing else."""
    return [trial(world, size, setup, seed=seed) for seed in seeds]


def _firing(
    setup: Setup,
    rules: Sequence[GateConfig],
    now: EmulatedAudit,
    base: EmulatedAudit,
    look: int,
    seed: int,
    screened: bool,
) -> list[GateConfig]:
    possible = list(rules)
    if screened:
        possible = [rule for rule in rules if _may_fire(setup, rule, now, base, look)]
    # At most looks no gate can fire, and the probes, which take the time, need not run.
    if not possible:
        return []
    measurements = _measured(setup, now, base, look, seed, possible)
    decision = decide(
        setup.policy, measurements, iteration=f"look {look}", look=look, looks=setup.looks
    )
    fired = {g.gate for g in decision.gates if g.verdict in {"WARN", "HALT"}}
    return [r for r in rules if r.name in fired]


def _may_fire(
    setup: Setup, rule: GateConfig, now: EmulatedAudit, base: EmulatedAudit, look: int
) -> bool:
    # Without a measurement a gate is INCONCLUSIVE, and never fires.
    if rule.metric.startswith(UNSEEN):
        return False
    # A rule whose condition cannot hold is not asked.
    if rule.when is not None:
        value = value_of(rule.when.metric, now, base, setup.embed)
        if value is not None and not _beyond(value, rule.when.side, rule.when.margin):
            return False
    value = value_of(rule.metric, now, base, setup.embed)
    if rule.metric == COST and rule.must_stay == "below" and setup.habits is not None:
        # The cost is a lower end itself, and depends on the level that this rule has at this look.
        tail = (1 - rule_level(setup.policy, rule, look=look, looks=setup.looks)) / 2
        value = highest_cost(now, base, setup.habits, tail)
    if value is None:
        return True
    # An interval holds its value: it cannot lie beyond a margin on whose good side the value is.
    bad_side: Literal["above", "below"] = "below" if rule.must_stay == "above" else "above"
    return _beyond(value, bad_side, rule.margin)


def _beyond(value: float, side: Literal["above", "below"], margin: float) -> bool:
    return value > margin if side == "above" else value < margin


def _measured(
    setup: Setup,
    now: EmulatedAudit,
    base: EmulatedAudit,
    look: int,
    seed: int,
    rules: Sequence[GateConfig],
) -> list[Measurement]:
    metrics = {rule.metric for rule in rules}
    metrics |= {rule.when.metric for rule in rules if rule.when is not None}
    # A gap between groups of this policy's texts is read off the counterfactual samples alone.
    only_gaps = metrics <= {GAP}
    measurements, _ = measure(
        Evidence(
            outputs=now.counterfactual if only_gaps else now.table,
            base=None if only_gaps else base.table,
            embed=setup.embed,
            # Not PEOPLE: the pool's scores are whatever it was made with.
            human_label="POOL",
            human_sampling="all" if now.rated is None else "random",
            # As in a run: only the levels that its gates ask for at this look.
            levels=levels_needed(setup.policy, look=look, looks=setup.looks) or (0.95,),
            resamples=setup.resamples,
            seed=seed,
            only=frozenset(metrics),
        )
    )
    return measurements
