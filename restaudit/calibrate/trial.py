"""One trial: an emulated run goes through the real probes and the real gates, look by look and stage
by stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from probes import measure
from probes.base import Embed, Evidence, Measurement
from probes.hacking.learned import COST
from restaudit.calibrate.emulate import EmulatedAudit, EmulatedLook, Size, World, emulate
from restaudit.calibrate.quick import Quick
from restaudit.calibrate.screen import BEYOND, HUMAN, Habits, highest_cost, value_of
from restaudit.config import GateConfig, GatePolicy
from restaudit.gates import FIRED, Decision, GateResult, Verdict, decide, levels_needed, rule_level

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
    """What all trials share: the policy, and how the probes measure.

    `embed` may be None; without `habits` (of the pool) the probe runs wherever a gate asks for a
    habit's cost.
    """

    policy: GatePolicy
    resamples: int
    embed: Embed | None
    habits: Habits | None = None

    def shown(self, size: Size) -> tuple[GateConfig, ...]:
        """The rules that must pass and that emulated runs of this size can show."""
        gaps = size.families > 0
        return tuple(
            r
            for r in self.policy.rules
            if not r.alarm_only
            and not r.metric.startswith(UNSEEN)
            and (gaps or not r.metric.startswith("bias."))
            and (self.embed is not None or not r.metric.startswith("diversity.vendi"))
        )


@dataclass(frozen=True)
class LookOutcome:
    """What was said at one look, and what it took.

    said       every gate's verdict; a gate that could not be measured is UNDECIDED
    cleared    whether every rule that must pass, and can be shown, said OK, and none fired
    stage      the last stage that was sampled (from 1)
    texts      samples of a plain prompt, and of a counterfactual one
    """

    said: dict[str, Verdict]
    cleared: bool
    stage: int
    texts: tuple[int, int]


@dataclass(frozen=True)
class TrialOutcome:
    """What happened in one trial.

    `fired` says for every gate that gave its action (WARN or HALT) the first look (from 1) at which
    it did, `halted` the look the run was stopped at; None for never. `audits` has one entry a look
    up to the HALT. The rest are per look, all of them: KL (nats), change of reward (base sd), ratio
    of length, share of texts hacked, change of human score and divergence beyond the expected part
    (base sd), as measured on all the texts that could have been sampled.
    """

    fired: dict[str, int]
    halted: int | None
    audits: tuple[LookOutcome, ...]
    kl: tuple[float, ...]
    reward: tuple[float, ...]
    length: tuple[float, ...]
    hacked: tuple[float, ...]
    human_change: tuple[float, ...]
    beyond: tuple[float, ...]

    @property
    def came_to_its_last_look(self) -> bool:
        """Whether no HALT stopped the run before its last look."""
        return len(self.audits) == len(self.kl)

    @property
    def cleared(self) -> bool:
        """Whether the run came to its end and was decided OK there."""
        return self.halted is None and self.audits[-1].cleared


def trial(
    world: World, size: Size, setup: Setup, *, seed: int, screened: bool = True
) -> TrialOutcome:
    """Run one emulated run to its end, or until it is stopped.

    With `screened` the probes run only where they could change a verdict (see screen.py), and some
    of their intervals are made without tables (quick.py); without it, always. Same outcome.
    """
    base, looks = emulate(world, size, seed=seed)
    quick = Quick(base, setup.resamples, seed, setup.embed)
    fired: dict[str, int] = {}
    halted: int | None = None
    audits: list[LookOutcome] = []
    seen: list[EmulatedLook] = []
    for number, look in enumerate(looks, start=1):
        # What other rules log is kept of every look; ours ends with the run.
        seen.append(look)
        if halted is not None:
            continue
        at = _Look(world, size, setup, base, look, number, quick, screened)
        decision, texts = at.decided()
        audits.append(_outcome(decision, setup.shown(size), texts))
        for gate in decision.gates:
            if gate.verdict in FIRED:
                fired.setdefault(gate.gate, number)
        if decision.verdict == "HALT":
            halted = number
    tokens = world.pool.columns["n_tokens"].astype(np.float64)
    usual = _plain_length(base, tokens)
    drawn = [look.drawn for look in seen]
    sd = float(base.reward[base.plain].std())
    return TrialOutcome(
        fired=fired,
        halted=halted,
        audits=tuple(audits),
        kl=tuple(x.kl for x in seen),
        reward=tuple((_plain_reward(d) - _plain_reward(base)) / sd for d in drawn),
        length=tuple(_plain_length(d, tokens) / usual for d in drawn),
        hacked=tuple(x.hacked for x in seen),
        human_change=tuple(_known(HUMAN, d, base) for d in drawn),
        beyond=tuple(_known(BEYOND, d, base) for d in drawn),
    )


def trials(world: World, size: Size, setup: Setup, seeds: Sequence[int]) -> list[TrialOutcome]:
    """One outcome a seed, in order; each depends on its own seed and on nothing else."""
    return [trial(world, size, setup, seed=seed) for seed in seeds]


def _outcome(
    decision: Decision, shown: Sequence[GateConfig], texts: tuple[int, int]
) -> LookOutcome:
    # An alarm-only rule whose condition does not hold says OK, which nobody asks of it.
    said: dict[str, Verdict] = {
        g.gate: "SILENT" if g.alarm_only and g.verdict not in FIRED else g.verdict
        for g in decision.gates
    }
    passed = all(said[r.name] == "OK" for r in shown if r.name in said)
    alarmed = any(v in FIRED for v in said.values())
    return LookOutcome(said, passed and not alarmed, decision.stage or 1, texts)


@dataclass(frozen=True)
class _Look:
    """One look of a run in hand."""

    world: World
    size: Size
    setup: Setup
    base: EmulatedAudit
    look: EmulatedLook
    number: int
    quick: Quick
    screened: bool

    @cached_property
    def policy(self) -> GatePolicy:
        """The gates; with one number of ratings a look is one stage, which spends all there is."""
        if self.size.rated is None:
            return self.setup.policy
        return self.setup.policy.model_copy(update={"stage_shares": ()})

    @property
    def seed(self) -> int:
        """What the probes resample with."""
        return self.quick.seed

    def decided(self) -> tuple[Decision, tuple[int, int]]:
        """The decision after the last stage that was sampled, and the texts of a plain prompt and of
        a counterfactual one that it took.
        """
        # Of people's ratings the trials try one number at a time.
        stages = self.size.stages[:1] if self.size.rated is not None else self.size.stages
        texts = stages[0]
        decision: Decision | None = None
        for stage in range(1, len(stages) + 1):
            if decision is not None:
                texts = _sampled_on(texts, stages[stage - 1], decision.wants_more)
            now = self.look.audit(*texts)
            decision = self._decision(now, stage, decision)
            if not decision.wants_more:
                break
        assert decision is not None
        return decision, texts

    def _decision(self, now: EmulatedAudit, stage: int, earlier: Decision | None) -> Decision:
        policy, looks = self.policy, self.world.shape.looks
        before = {g.gate: g for g in earlier.gates} if earlier is not None else {}
        rules = [
            r
            for r in policy.rules
            if (r.looks == "all" or self.number == looks)
            and self._matters(r, now, stage, before.get(r.name))
        ]
        return decide(
            policy,
            self._measured(now, stage, rules) if rules else [],
            iteration=f"look {self.number}",
            look=self.number,
            looks=looks,
            stage=stage,
            earlier=earlier,
        )

    def _matters(
        self, rule: GateConfig, now: EmulatedAudit, stage: int, before: GateResult | None
    ) -> bool:
        """Whether measuring the rule's metric could change what is said."""
        # Without a measurement a gate never fires and never says OK.
        if rule.metric.startswith(UNSEEN):
            return False
        if before is not None and before.verdict in FIRED:
            return False
        may_pass = not rule.alarm_only and (before is None or before.verdict != "OK")
        return may_pass or not self.screened or self._may_fire(rule, now, stage)

    def _may_fire(self, rule: GateConfig, now: EmulatedAudit, stage: int) -> bool:
        # A rule whose condition cannot hold is not asked.
        if rule.when is not None:
            value = value_of(rule.when.metric, now, self.base, self.setup.embed)
            if value is not None and not _beyond(value, rule.when.side, rule.when.margin):
                return False
        value = value_of(rule.metric, now, self.base, self.setup.embed)
        if rule.metric == COST and rule.must_stay == "below" and self.setup.habits is not None:
            # The cost is a lower end itself, and depends on the level that this rule has here.
            level = rule_level(
                self.policy, rule, look=self.number, looks=self.world.shape.looks, stage=stage
            )
            value = highest_cost(now, self.base, self.setup.habits, (1 - level) / 2)
        if value is None:
            return True
        # An interval holds its value: it cannot lie beyond a margin on whose good side the value is.
        bad_side: Literal["above", "below"] = "below" if rule.must_stay == "above" else "above"
        return _beyond(value, bad_side, rule.margin)

    def _measured(
        self, now: EmulatedAudit, stage: int, rules: Sequence[GateConfig]
    ) -> list[Measurement]:
        metrics = {rule.metric for rule in rules}
        metrics |= {rule.when.metric for rule in rules if rule.when is not None}
        # As in a run: only the levels that its gates ask for at this stage of this look.
        levels = levels_needed(
            self.policy, look=self.number, looks=self.world.shape.looks, stage=stage
        ) or (0.95,)
        quick = frozenset(m for m in metrics if self.screened and self.quick.knows(m))
        measurements = self.quick.measured(now, quick, levels)
        metrics -= quick
        if not metrics:
            return measurements
        slow, _ = measure(
            Evidence(
                outputs=now.table,
                base=self.base.table,
                embed=self.setup.embed,
                # Not PEOPLE: the pool's scores are whatever it was made with.
                human_label="POOL",
                human_sampling="all" if now.rated is None else "random",
                levels=levels,
                resamples=self.setup.resamples,
                seed=self.seed,
                only=frozenset(metrics),
            )
        )
        return [*measurements, *slow]


def _sampled_on(
    texts: tuple[int, int], upto: tuple[int, int], gates: Sequence[GateResult]
) -> tuple[int, int]:
    """Texts of a plain prompt and of a counterfactual one at the next stage: as a run samples on,
    only of the prompts that the undecided gates read.
    """
    by_families = any(g.metric.startswith("bias.") for g in gates)
    by_plain = any(not g.metric.startswith("bias.") for g in gates)
    plain = max(texts[0], upto[0]) if by_plain else texts[0]
    return plain, max(texts[1], upto[1]) if by_families else texts[1]


def _beyond(value: float, side: Literal["above", "below"], margin: float) -> bool:
    return value > margin if side == "above" else value < margin


def _plain_reward(audit: EmulatedAudit) -> float:
    return float(audit.reward[audit.plain].mean())


def _plain_length(audit: EmulatedAudit, tokens: npt.NDArray[np.float64]) -> float:
    return float(tokens[audit.rows[audit.plain]].mean())


def _known(metric: str, now: EmulatedAudit, base: EmulatedAudit) -> float:
    value = value_of(metric, now, base)
    assert value is not None  # both metrics are known without a probe
    return value
