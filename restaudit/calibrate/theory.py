"""What audits of any size will find, by normal theory: the errors of the gates' estimates are measured
on a few emulated audits, and thousands of runs are then drawn as normal variates.

A trial of trial.py takes a fifth of a second, so that it can check one design but not search among
many. docs/calibrate.md compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.special import stdtrit

from restaudit.calibrate.emulate import Shape, Size, World, emulate
from restaudit.calibrate.pool import Floats
from restaudit.calibrate.quick import Quick
from restaudit.calibrate.screen import BEYOND, EXPECTED, GAP, HUMAN, cell_means
from restaudit.calibrate.truth import group_means
from restaudit.config import GateConfig, GatePolicy
from restaudit.gates import ok_level, rule_level

# Metrics that are drawn. Whether other rules pass is left to the trials.
DRAWN = (HUMAN, EXPECTED, BEYOND)
# Audits whose errors are measured: texts of a prompt, of the base policy, of a counterfactual prompt.
MEASURED = ((2, 8, 2), (12, 8, 8), (2, 24, 4), (12, 24, 12))
REPEATS = 6
RESAMPLES = 200
RUNS = 4000

Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Parts:
    """The variance of an estimate from P prompts is (texts / k + base / b + prompts) / P, with k
    texts of each and b of the base policy.
    """

    texts: float
    base: float
    prompts: float

    def error(self, prompts: int, k: float, b: float) -> float:
        """The standard error."""
        return float(np.sqrt((self.texts / k + self.base / b + self.prompts) / prompts))


@dataclass(frozen=True)
class Spread:
    """How the gates' estimates vary: the parts of each drawn metric (base sd); of the difference of
    two groups over families, or None; and what is true of each group (rating points).
    """

    parts: dict[str, Parts]
    gap: Parts | None
    groups: Floats


def spread_of(world: World, *, prompts: int, families: int) -> Spread:
    """Measure the errors on a few audits of the world's policy at its last look."""
    squares: dict[str, list[float]] = {name: [] for name in (*DRAWN, GAP)}
    plain: list[tuple[float, float, float]] = []
    cells: list[tuple[float, float, float]] = []
    for k, b, m in MEASURED:
        size = Size(prompts, ((k, m),), b, families)
        for seed in range(REPEATS):
            base, looks = emulate(world, size, seed=seed)
            now = list(looks)[-1].drawn
            quick = Quick(base, RESAMPLES, seed, None)
            for found in quick.measured(now, frozenset(DRAWN), (0.95,)):
                assert found.error is not None
                squares[found.name].append(found.error**2 * prompts)
            plain.append((1 / k, 1 / b, 1.0))
            means = cell_means(now)
            whole = np.asarray(np.isfinite(means).all(axis=1), dtype=np.bool_)
            means = means[whole]
            if len(means) > 1:
                first, second = np.triu_indices(means.shape[1], 1)
                differences = means[:, first] - means[:, second]
                squares[GAP].append(float(differences.var(axis=0, ddof=1).mean()))
                cells.append((1 / m, 0.0, 1.0))
    gap = _fitted(cells, squares[GAP]) if cells else None
    groups = group_means(world) if cells else np.empty(0)
    return Spread({name: _fitted(plain, squares[name]) for name in DRAWN}, gap, groups)


def _fitted(rows: Sequence[tuple[float, float, float]], squares: Sequence[float]) -> Parts:
    # A variance is no less than 0, which least squares alone would not know.
    found, _ = nnls(np.array(rows), np.array(squares))
    return Parts(*(float(part) for part in found))


@dataclass(frozen=True)
class Chances:
    """What became of the drawn runs, as shares: halted, and at the last look decided OK by every
    rule that was drawn, and by each; and the mean texts of a plain and of a counterfactual prompt
    at a look.
    """

    halted: float
    cleared: float
    ok: dict[str, float]
    texts: float
    texts_of_families: float


def chances(
    policy: GatePolicy,
    spread: Spread,
    size: Size,
    shape: Shape,
    *,
    human: Sequence[float],
    expected: Sequence[float],
    runs: int = RUNS,
    seed: int = 0,
) -> Chances:
    """Draw runs whose true human change and expected gain at each look are these (base sd)."""
    drawn = _Drawn(policy, spread, size, shape, np.random.Generator(np.random.PCG64(seed)), runs)
    halted = np.zeros(runs, dtype=bool)
    plain: list[Floats] = []
    of_families: list[Floats] = []
    last: dict[str, Flags] = {}
    for look in range(1, shape.looks + 1):
        said = drawn.look(look, human[look - 1], expected[look - 1])
        # A halted run takes no further look.
        plain.append(said.texts[~halted])
        of_families.append(said.cells[~halted])
        halted |= said.fired
        last = said.ok
    cleared = ~halted
    for ok in last.values():
        cleared &= ok
    return Chances(
        float(halted.mean()),
        float(cleared.mean()),
        {
            name: float((ok & ~halted).mean() / max((~halted).mean(), 1e-9))
            for name, ok in last.items()
        },
        float(np.concatenate(plain).mean()),
        float(np.concatenate(of_families).mean()),
    )


@dataclass(frozen=True)
class _Said:
    ok: dict[str, Flags]
    fired: Flags
    texts: Floats
    cells: Floats


class _Drawn:
    """Runs being drawn: what they share over their looks is drawn once."""

    def __init__(
        self,
        policy: GatePolicy,
        spread: Spread,
        size: Size,
        shape: Shape,
        rng: np.random.Generator,
        runs: int,
    ) -> None:
        self.policy, self.spread, self.size, self.shape = policy, spread, size, shape
        self.rng, self.runs = rng, runs
        # What the base policy's texts and the prompts themselves add is the same at every look.
        self.base = self._pairs("base", size.base_per_prompt)
        self.prompts = self._pairs("prompts", 1)
        self.of_groups = np.zeros((runs, len(spread.groups)))
        if spread.gap is not None and size.families:
            self.of_groups = self._groups(spread.gap.prompts, 1)

    def look(self, look: int, human: float, expected: float) -> _Said:
        """What is said at a look."""
        size, runs = self.size, self.runs
        rules = [
            r
            for r in self.policy.rules
            if (r.metric in DRAWN or (r.metric == GAP and size.families))
            and (r.looks == "all" or look == self.shape.looks)
        ]
        ok: dict[str, Flags] = {}
        for rule in rules:
            if not rule.alarm_only:
                ok[rule.name] = np.zeros(runs, dtype=bool)
        fired: Flags = np.zeros(runs, dtype=bool)
        texts, cells = (np.full(runs, float(n)) for n in size.stages[0])
        sums, group_sums = np.zeros((runs, 2)), np.zeros((runs, len(self.spread.groups)))
        k_before = m_before = 0
        for stage, (k, m) in enumerate(size.stages, start=1):
            if k > k_before:
                sums = sums + self._pairs("texts", 1 / (k - k_before))
            if m > m_before and self.spread.gap is not None and size.families:
                group_sums = group_sums + self._groups(self.spread.gap.texts, 1 / (m - m_before))
            k_before, m_before = k, m
            open_plain = np.zeros(runs, dtype=bool)
            open_gap = np.zeros(runs, dtype=bool)
            for rule in rules:
                if rule.name in ok:
                    (open_gap if rule.metric == GAP else open_plain)[...] |= ~ok[rule.name]
            if stage > 1:
                goes = (open_plain | open_gap) & ~fired
                texts = np.where(open_plain & goes, np.maximum(texts, k), texts)
                cells = np.where(open_gap & goes, np.maximum(cells, m), cells)
            else:
                goes = np.ones(runs, dtype=bool)
            gains = np.array([human, expected]) + self.base + self.prompts + sums / k
            for rule in rules:
                if rule.metric == GAP:
                    self._gap(rule, stage, self.of_groups + group_sums / m, m, goes, ok)
                else:
                    self._plain(rule, look, stage, gains, k, goes, ok, fired)
        return _Said(ok, fired, texts, cells)

    def _plain(
        self,
        rule: GateConfig,
        look: int,
        stage: int,
        gains: Floats,
        k: int,
        goes: Flags,
        ok: dict[str, Flags],
        fired: Flags,
    ) -> None:
        value = {HUMAN: gains[:, 0], EXPECTED: gains[:, 1], BEYOND: gains[:, 1] - gains[:, 0]}[
            rule.metric
        ]
        error = self.spread.parts[rule.metric].error(
            self.size.prompts, k, self.size.base_per_prompt
        )
        sign = 1.0 if rule.must_stay == "above" else -1.0
        level = rule_level(self.policy, rule, look=look, looks=self.shape.looks, stage=stage)
        reach = _reach(self.size.prompts, level) * error
        if rule.when is None and rule.action == "HALT":
            fired |= goes & (sign * (value - rule.margin) + reach < 0)
        if rule.name in ok and self.policy.ok_error is not None:
            reach = _reach(self.size.prompts, ok_level(self.policy, stage=stage)) * error
            ok[rule.name] |= goes & (sign * (value - rule.ok_bound) - reach > 0)

    def _gap(
        self,
        rule: GateConfig,
        stage: int,
        errors: Floats,
        m: int,
        goes: Flags,
        ok: dict[str, Flags],
    ) -> None:
        if rule.name not in ok or self.policy.ok_error is None or self.spread.gap is None:
            return
        families = self.size.families
        error = self.spread.gap.error(families, m, 1)
        level = ok_level(self.policy, stage=stage)
        # The largest of the pairs' own bounds (probes/statistics/largest.py).
        reach = float(stdtrit(families - 1, 0.5 + level / 2)) * error
        means = self.spread.groups + errors
        ok[rule.name] |= goes & (np.ptp(means, axis=1) + reach < rule.ok_bound)

    def _pairs(self, part: str, texts: float) -> Floats:
        """Errors of human change and expected gain from one part of the variance, shape (runs, 2)."""
        human, expected, beyond = (
            getattr(self.spread.parts[name], part) for name in (HUMAN, EXPECTED, BEYOND)
        )
        # The third variance says how the first two go together.
        shared = (human + expected - beyond) / 2
        covariance = np.array([[human, shared], [shared, expected]]) / texts / self.size.prompts
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.clip(values, 0, None))
        pairs: Floats = self.rng.normal(size=(self.runs, 2)) @ root.T
        return pairs

    def _groups(self, pair: float, texts: float) -> Floats:
        """Errors of the groups' means, whose differences have the variance `pair`."""
        sd = np.sqrt(pair / 2 / texts / self.size.families)
        errors: Floats = self.rng.normal(size=(self.runs, len(self.spread.groups))) * sd
        return errors


def _reach(prompts: int, level: float) -> float:
    """Standard errors on either side, as probes/statistics/resample.py has them."""
    return float(stdtrit(prompts - 1, 0.5 + level / 2))
