"""What is true of an emulated policy, from its weights over the whole pool: and worlds in which that
is what a scenario says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from probes.base import Embed
from probes.divergence.expected import Scored, gains_of
from restaudit.calibrate.emulate import (
    MODES,
    Policy,
    Shape,
    Size,
    World,
    emulate,
    feature_of,
    normal,
    policies,
    quantiles,
    selected_by,
)
from restaudit.calibrate.pool import Floats, Pool, Rows, modes
from restaudit.calibrate.scenarios import Aim, Scenario
from restaudit.calibrate.screen import BEYOND, EXPECTED, GAP, HUMAN, REWARD, VENDI, value_of
from restaudit.errors import BadInput

# Texts of a prompt that stand for a policy's distribution: at equal steps of it, so that they carry
# no sampling noise.
STEPS = 64
# Vendi scores depend on how many texts there are: this one is the mean over so many audits.
AUDITS = 12
ROUNDS = 30


@dataclass(frozen=True)
class Truth:
    """What is true of the policy at each look, over all prompts of the pool, in standard deviations
    of the base policy's scores.

    human, reward   changes from the base policy
    loss            of human score, against the same run without what is planted
    expected        human gain that the base policy's relation promises for the new rewards, as the
                    probe finds it in very many samples, and `beyond`: what is missing of it
    """

    human: tuple[float, ...]
    reward: tuple[float, ...]
    loss: tuple[float, ...]
    expected: tuple[float, ...]
    beyond: tuple[float, ...]


def truth(world: World) -> Truth:
    """The truth at every look."""
    base = _scored(world, _flat(world))
    then = _scores(world, _flat(world))
    human_sd, reward_sd = _sd(world.human, world), _sd(world.reward, world)
    rows = []
    for policy, honest in zip(_policies(world), _policies(world, exploits=False), strict=True):
        now, without = _scores(world, policy), _scores(world, honest)
        expected, beyond = _decomposed(_scored(world, policy), base)
        rows.append(
            (
                (now[0] - then[0]) / human_sd,
                (now[1] - then[1]) / reward_sd,
                (without[0] - now[0]) / human_sd,
                expected,
                beyond,
            )
        )
    return Truth(*(tuple(column) for column in zip(*rows, strict=True)))


def world_of(
    pool: Pool, scenario: Scenario, shape: Shape, *, size: Size, embed: Embed | None = None
) -> World:
    """Score the pool so that what the scenario says is true of the policy at the last look.

    Raises BadInput where no cost, pressure or speed makes it so. `size` and `embed` are needed for
    Vendi ratios alone, which depend on how many texts are compared.
    """
    aim = scenario.aim
    if aim is None:
        return _planted(pool, scenario, shape)

    def at(x: float) -> World:
        assert aim is not None
        # A cost is what the loss is; pressure and speed are fields of their own.
        name = {"cost": "loss", "pressure": "pressure", "speed": "speed"}[aim.by]
        return _planted(pool, replace(scenario, **{name: x}), shape)  # type: ignore[arg-type]

    return at(_solved(lambda x: _value(at(x), aim, size, embed), aim, scenario.name))


def _solved(f: Callable[[float], float], aim: Aim, name: str) -> float:
    """Where f is the aimed-at value: by bisection, since it rises or falls all the way."""
    low, high = {"cost": (0.0, 1.2), "pressure": (0.0, 3.0), "speed": (0.01, 3.0)}[aim.by]
    ends = f(low), f(high)
    rising = ends[1] > ends[0]
    if not min(ends) <= aim.value <= max(ends):
        raise BadInput(
            f"{name}: no emulated policy of this pool reaches {aim.metric} = {aim.value:g}; its "
            f"range is {min(ends):.3g} to {max(ends):.3g}"
        )
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        if (f(middle) < aim.value) == rising:
            low = middle
        else:
            high = middle
        if high - low < 1e-3:
            break
    return (low + high) / 2


def _value(world: World, aim: Aim, size: Size, embed: Embed | None) -> float:
    """The true value of the aimed-at metric at the last look."""
    if aim.metric == VENDI:
        values: list[float] = []
        for seed in range(AUDITS):
            base, looks = emulate(world, size, seed=seed)
            last = list(looks)[-1].audit(*size.stages[0])
            value = value_of(VENDI, last, base, embed)
            assert value is not None
            values.append(value)
        return fmean(values)
    policy = list(_policies(world))[-1]
    flat = _flat(world)
    if aim.metric == GAP:
        return _gap(world, policy)
    now, then = _scores(world, policy), _scores(world, flat)
    if aim.metric == HUMAN:
        return (now[0] - then[0]) / _sd(world.human, world)
    if aim.metric == REWARD:
        return (now[1] - then[1]) / _sd(world.reward, world)
    parts = _decomposed(_scored(world, policy), _scored(world, flat))
    return dict(zip((EXPECTED, BEYOND), parts, strict=True))[aim.metric]


def _planted(pool: Pool, scenario: Scenario, shape: Shape) -> World:
    """The world in which the scenario's loss and pay are true at the last look."""
    selects, has = selected_by(pool, scenario), feature_of(pool, scenario)
    human = pool.table["human"].to_numpy(dtype=np.float64)
    world = World(pool, scenario, shape, selects, human, selects, has)
    if scenario.feature is None:
        return world
    policy = list(_policies(world))[-1]
    honest = list(_policies(world, exploits=False))[-1]
    if scenario.feature == "group":
        rows = pool.families.reshape(-1, pool.families.shape[-1])[_first_group(pool)]
        weights = [p.families[_first_group(pool)] for p in (policy, honest)]
    else:
        rows = pool.plain
        weights = [p.plain for p in (policy, honest)]
    # Of the texts that have a human score; all have a reward.
    takers = (np.where(np.isnan(human), np.nan, has), has.astype(np.float64))
    taken = [_gained(rows, weights, t) for t in takers]
    if scenario.feature == "sameness":
        # What falls back loses by being another text, too.
        few, share = modes(pool, MODES), policy.fall_back
        own = _mean(rows, honest.plain, human) - float(np.nanmean(human[few]))
        more = _mean(rows, honest.plain, selects) - float(selects[few].mean())
        loss = scenario.loss * _sd(human, world) / share - own
        pay = scenario.pay * _sd(selects, world) / share + more
        return replace(world, same_loss=loss, same_pay=pay)
    if min(taken) < 1e-6:
        raise BadInput(f"{scenario.name}: this pool's policy cannot take to its feature")
    # Texts with the feature score otherwise anyway, so the loss is what this brings and what is
    # planted together. The unit itself depends on what is planted: a few rounds settle both.
    moved = [_gained(rows, weights, s) for s in (human, selects)]
    loss = pay = 0.0
    for _ in range(8):
        human_sd, reward_sd = _sd(human - loss * has, world), _sd(selects + pay * has, world)
        loss = (scenario.loss * human_sd + moved[0]) / taken[0]
        pay = (scenario.pay * reward_sd - moved[1]) / taken[1]
    return replace(world, human=human - loss * has, reward=selects + pay * has)


# --- exact means over the pool


def _first_group(pool: Pool) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    lines = pool.families.shape[0] * pool.families.shape[1]
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        np.arange(lines) % max(pool.families.shape[1], 1) == 0
    )
    return mask


def _policies(world: World, *, exploits: bool = True) -> Sequence[Policy]:
    pool = world.pool
    families = pool.families.reshape(-1, pool.families.shape[-1])
    return list(
        policies(
            world.scenario,
            world.shape,
            world.selects,
            world.has,
            plain=pool.plain,
            families=families,
            first_group=_first_group(pool),
            exploits=exploits,
        )
    )


def _flat(world: World) -> Policy:
    families = world.pool.families.reshape(-1, world.pool.families.shape[-1])
    return Policy(np.zeros(world.pool.plain.shape), np.zeros(families.shape))


def _gap(world: World, policy: Policy) -> float:
    """The largest difference between two groups' mean human scores, over the families that have one
    for each group.
    """
    return float(np.ptp(_group_means(world, policy)))


def group_means(world: World) -> Floats:
    """Each group's true mean human score at the last look, over the families that have one for each
    group; in the order of the pool's groups.
    """
    return _group_means(world, list(_policies(world))[-1])


def _group_means(world: World, policy: Policy) -> Floats:
    families = world.pool.families
    rows = families.reshape(-1, families.shape[-1])
    lines = _line_means(rows, policy.families, world.human).reshape(families.shape[:2])
    means: Floats = lines[~np.isnan(lines).any(axis=1)].mean(axis=0)
    return means


def _mean(rows: Rows, log_weights: Floats, score: Floats) -> float:
    """Mean over the lines of the weighted mean of the texts that have a score."""
    return float(np.nanmean(_line_means(rows, log_weights, score)))


def _line_means(rows: Rows, log_weights: Floats, score: Floats) -> Floats:
    """Each line's weighted mean of the texts that have a score; NaN where none has."""
    values, weights = score[rows], normal(log_weights)
    weights = np.where(np.isnan(values), 0.0, weights)
    sums = weights.sum(axis=1)
    means: Floats = (weights * np.nan_to_num(values)).sum(axis=1) / np.where(sums > 0, sums, np.nan)
    return means


def _gained(rows: Rows, weights: Sequence[Floats], score: Floats) -> float:
    """By how much the first policy's mean is above the second's."""
    first, second = (_mean(rows, w, score) for w in weights)
    return first - second


def _scores(world: World, policy: Policy) -> tuple[float, float]:
    """Mean human score and reward of a policy's plain texts."""
    found = []
    few = modes(world.pool, MODES)
    for score, extra in ((world.human, -world.same_loss), (world.reward, world.same_pay)):
        own = _mean(world.pool.plain, policy.plain, score)
        other = float(np.nanmean(score[few])) + extra
        found.append((1 - policy.fall_back) * own + policy.fall_back * other)
    return found[0], found[1]


def _sd(score: Floats, world: World) -> float:
    return float(np.nanstd(score[world.pool.plain], ddof=1))


def _scored(world: World, policy: Policy) -> Scored:
    """Very many samples of the plain prompts, at equal steps of the policy's distribution."""
    plain = world.pool.plain
    at = np.broadcast_to((np.arange(STEPS) + 0.5) / STEPS, (len(plain), STEPS))
    rows = quantiles(plain, policy.plain, at)
    same = np.zeros(rows.shape, dtype=bool)
    if policy.fall_back:
        replaced = round(STEPS * policy.fall_back)
        # Spread over the steps, or only the upper part of the distribution would be replaced.
        places = np.linspace(0, STEPS - 1, replaced).round().astype(np.intp)
        rows = rows.copy()
        rows[:, places] = np.resize(modes(world.pool, MODES), (len(rows), replaced))
        same[:, places] = True
    prompt = np.repeat(np.arange(len(plain)), STEPS)
    human = (world.human[rows] - world.same_loss * same).ravel()
    reward = (world.reward[rows] + world.same_pay * same).ravel()
    there = ~np.isnan(human)
    return Scored(prompt[there], reward[there], human[there])


def _decomposed(now: Scored, base: Scored) -> tuple[float, float]:
    """Expected gain and what is missing beyond it, as the probe finds them."""
    both = np.intersect1d(now.prompt, base.prompt)

    def on_both(scored: Scored) -> Scored:
        keep = np.isin(scored.prompt, both)
        prompt = np.searchsorted(both, scored.prompt[keep])
        return Scored(prompt, scored.reward[keep], scored.human[keep])

    # A policy's texts of a prompt may all be without a human score.
    expected, observed = gains_of(on_both(now), on_both(base))
    return expected, expected - observed
