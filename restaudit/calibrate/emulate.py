"""A run emulated from a pool: at every look the policy is a reweighting of real texts, so that its
truth is known.

Choosing texts by reward alone leaves E[human | reward] as it is, whatever the weights: only
regressional loss. A planted loss changes the weights by a feature of the text as well, and that is
divergence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from restaudit.calibrate.pool import Flags, Floats, Pool, Rows, features, modes
from restaudit.calibrate.scenarios import Scenario
from restaudit.errors import BadInput

# How much of a filtered distribution one Improve step learns, and the recipe's own percentiles.
LEARNED = 0.25
PERCENTILES = (80.0, 90.0)
# Texts that a collapsing policy falls back to.
MODES = 10


@dataclass(frozen=True)
class Shape:
    """A run's looks: `improve_steps` in each of `grow_steps`."""

    grow_steps: int
    improve_steps: int

    @property
    def looks(self) -> int:
        """Planned looks."""
        return self.grow_steps * self.improve_steps


@dataclass(frozen=True)
class Size:
    """How large an audit is: plain prompts; samples of a plain prompt and of a counterfactual one
    after each stage of a look; samples of the base policy of a plain prompt; families; and how many
    rows people rate (None: every row has a human score).

    How it prints is part of its trials' seeds, as of a Scenario.
    """

    prompts: int
    stages: tuple[tuple[int, int], ...]
    base_per_prompt: int
    families: int
    rated: int | None = None

    @property
    def most(self) -> tuple[int, int]:
        """Samples of a plain prompt and of a counterfactual one after the last stage."""
        return self.stages[-1]


@dataclass(frozen=True)
class World:
    """A pool as one scenario scores it: reward and human score of every row, what selects, which
    rows have the feature, and what a text loses and gains that a collapsing policy falls back to.
    """

    pool: Pool
    scenario: Scenario
    shape: Shape
    reward: Floats
    human: Floats
    selects: Floats
    has: Flags
    same_loss: float = 0.0
    same_pay: float = 0.0


@dataclass(frozen=True)
class EmulatedAudit:
    """Audited samples of one policy: plain ones in the order (prompt, sample), then those of the
    families in the order (family, group, sample).

    `rows` are rows of the pool, `owner` a row of the pool whose prompt they answer, `same` says
    which were replaced by a text that a collapsing policy falls back to, `rated` which have a human
    score (None: all that can have one).
    """

    world: World
    size: Size
    per_prompt: int
    per_group: int
    rows: Rows
    owner: Rows
    same: Flags
    rated: Flags | None
    # What was computed of the plain samples before.
    known: dict[str, float] = field(default_factory=dict)

    @property
    def plain(self) -> slice:
        """The plain samples."""
        return slice(0, self.size.prompts * self.per_prompt)

    @cached_property
    def reward(self) -> Floats:
        """Rewards, in standard deviations of the pool."""
        out: Floats = self.world.reward[self.rows] + self.world.same_pay * self.same
        return out

    @cached_property
    def human(self) -> Floats:
        """Human scores; NaN where there is none, or nobody rated the sample."""
        scores: Floats = self.world.human[self.rows] - self.world.same_loss * self.same
        if self.rated is None:
            return scores
        return np.where(self.rated, scores, np.nan)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The samples as the probes read them."""
        pool, owner, rows = self.world.pool.columns, self.owner, self.rows
        columns = {name: pool[name][owner] for name in ("prompt_id", "group", "family")}
        columns["sample_id"] = self._names()
        # A text that a collapsing policy fell back to was written to another prompt.
        columns |= {name: pool[name][rows] for name in ("text", "n_tokens")}
        columns |= {"reward": self.reward, "human": self.human}
        if self.size.rated is not None:
            # Rated samples are a random part, and every one had this chance.
            drawn = self.size.prompts * self.per_prompt
            columns["inclusion"] = np.full(len(rows), min(1.0, self.size.rated / drawn))
        # Columns of plain Python strings: thousands of small tables would spend most of their time
        # on converting Arrow's.
        return pd.DataFrame({name: pd.Series(v, dtype=v.dtype) for name, v in columns.items()})

    def _names(self) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
        names = sample_names(self.size.prompts, self.per_prompt)
        cells = (len(self.rows) - len(names)) // max(self.per_group, 1)
        more = sample_names(cells, self.per_group, first=self.size.prompts)
        return np.array(names + more, dtype=object)


def sample_names(prompts: int, per_prompt: int, *, first: int = 0) -> list[str]:
    """Names of the samples of `prompts` prompts, numbered from `first`: a prompt's further samples
    leave the names of the earlier ones as they are.
    """
    return [f"{p:05d}/{k:03d}" for p in range(first, first + prompts) for k in range(per_prompt)]


@dataclass(frozen=True)
class EmulatedLook:
    """One look: what was drawn for all of its stages, and what is true of the emulated policy: KL
    (nats) and share of texts hacked.
    """

    drawn: EmulatedAudit
    kl: float
    hacked: float
    # What was computed of the plain samples, by how many of a prompt they are.
    known: dict[int, dict[str, float]] = field(default_factory=dict)

    def audit(self, per_prompt: int, per_group: int) -> EmulatedAudit:
        """The first so many samples of every plain prompt and of every counterfactual one."""
        drawn = self.drawn
        if (per_prompt, per_group) == (drawn.per_prompt, drawn.per_group):
            return drawn
        plain = np.arange(drawn.plain.stop).reshape(-1, drawn.per_prompt)[:, :per_prompt]
        rest = np.arange(drawn.plain.stop, len(drawn.rows))
        families = rest.reshape(-1, drawn.per_group)[:, :per_group]
        keep = np.concatenate([plain.ravel(), families.ravel()])
        return EmulatedAudit(
            drawn.world,
            drawn.size,
            per_prompt,
            per_group,
            drawn.rows[keep],
            drawn.owner[keep],
            drawn.same[keep],
            None if drawn.rated is None else drawn.rated[keep],
            self.known.setdefault(per_prompt, {}),
        )


@dataclass(frozen=True)
class Policy:
    """A policy as log-weights of the texts of some plain prompts (prompts, samples) and of some
    counterfactual ones (prompts, samples), and the share of texts that it replaces by its few.
    """

    plain: Floats
    families: Floats
    fall_back: float = 0.0


def policies(
    scenario: Scenario,
    shape: Shape,
    selects: Floats,
    has: Flags,
    *,
    plain: Rows,
    families: Rows,
    first_group: Flags,
    exploits: bool = True,
) -> Iterator[Policy]:
    """The policy at every look, over the rows of these prompts; `first_group` marks the lines of
    `families` that belong to the first group. Without `exploits` it does everything but what is
    planted.
    """
    now = grown_from = Policy(np.zeros(plain.shape), np.zeros(families.shape))
    for look in range(1, shape.looks + 1):
        since = max(0, look - scenario.onset + 1) if exploits else 0
        if scenario.mode == "threshold":
            step = (look - 1) % shape.improve_steps
            # Every Improve step of a Grow step filters the samples that its policy drew.
            if step == 0:
                grown_from = now
            tau = PERCENTILES[min(step, len(PERCENTILES) - 1)]
            now = Policy(_filtered(now.plain, grown_from.plain, selects[plain], tau), now.families)
        else:
            steps = look
            if scenario.kind == "margin":
                steps = max(0, look - scenario.onset + 1)
            honest = scenario.pressure * steps * selects
            exploit = scenario.speed * since * has
            everywhere = honest + exploit
            if scenario.feature == "group":
                only = honest[families] + exploit[families] * first_group[:, None]
                now = Policy(honest[plain], only)
            else:
                now = Policy(everywhere[plain], everywhere[families])
        if scenario.feature == "sameness":
            share = 1 - float(np.exp(-scenario.speed / 3 * since))
            now = Policy(now.plain, now.families, share)
        yield now


def _filtered(log_weights: Floats, grown_from: Floats, reward: Floats, tau: float) -> Floats:
    """One Improve step: a part of the policy moves to the Grow set's texts strictly above the
    percentile.
    """
    grow = normal(grown_from)
    # The percentile of the whole Grow set, in which every prompt weighs the same.
    order = np.argsort(reward, axis=None, kind="stable")
    mass = np.cumsum(grow.ravel()[order]) / grow.sum()
    level = reward.ravel()[order][min(int(np.searchsorted(mass, tau / 100)), len(order) - 1)]
    kept = grow * (reward > level)
    some = kept.sum(axis=1, keepdims=True)
    now = normal(log_weights)
    # A prompt none of whose texts is kept teaches nothing.
    target = np.where(some > 0, kept / np.where(some > 0, some, 1.0), now)
    mixed: Floats = np.log((1 - LEARNED) * now + LEARNED * target)
    return mixed


def selected_by(pool: Pool, scenario: Scenario) -> Floats:
    """The reward of every row before anything is planted, in standard deviations: what honest
    selection goes by.
    """
    honest = pool.reward
    rng = np.random.Generator(np.random.PCG64(len(pool.table)))
    if scenario.flipped:
        # A reward whose correlation with the honest one is 1 - 2 x the share of flipped labels.
        r = 1 - 2 * scenario.flipped
        return np.asarray(r * honest + np.sqrt(1 - r * r) * rng.normal(size=len(honest)))
    match scenario.tails:
        case "cubed":
            return standard(honest**3)
        case "sinh":
            return standard(np.sinh(1.5 * honest))
        case "t noise":
            # t(3) has variance 3.
            return standard(honest + rng.standard_t(3, size=len(honest)) / np.sqrt(3))
        case _:
            return honest


def standard(values: Floats) -> Floats:
    """In standard deviations about their mean."""
    scaled: Floats = (values - values.mean()) / values.std()
    return scaled


def feature_of(pool: Pool, scenario: Scenario) -> Flags:
    """Which rows have the feature that the scenario plants."""
    known = features(pool)
    # A hack of one group is of a feature too, which only that group's texts take up.
    name = "length" if scenario.feature == "group" else scenario.feature
    return known[name][0] if name in known else np.zeros(len(pool.table), dtype=bool)


def check_size(pool: Pool, size: Size) -> None:
    """Raise BadInput when the pool is too small for audits of this size.

    Texts are drawn with replacement, so that any number of samples can be drawn of a prompt, but no
    more prompts than there are.
    """
    there = {
        "plain prompts": (len(pool.plain), size.prompts),
        "counterfactual families": (len(pool.families), size.families),
    }
    for what, (have, want) in there.items():
        if have < want:
            raise BadInput(
                f"{pool.source}: the pool has {have} {what}, but an audit of this size has {want}; "
                "give a larger pool with --pool, or a smaller audit"
            )


def emulate(world: World, size: Size, *, seed: int) -> tuple[EmulatedAudit, Iterator[EmulatedLook]]:
    """The base policy's audit, and the looks of the run in order (made one by one, as they are
    asked for).
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    # Another run has other prompts: that too is part of what an alarm's rate varies by.
    plain = np.sort(rng.choice(len(world.pool.plain), size.prompts, replace=False))
    family = np.sort(rng.choice(len(world.pool.families), size.families, replace=False))
    run = _Run(world, size, world.pool.plain[plain], world.pool.families[family], rng)
    return run.base(), run.looks()


class _Run:
    """One run in hand: its prompts and families, and its stream of random numbers."""

    def __init__(
        self, world: World, size: Size, plain: Rows, families: Rows, rng: np.random.Generator
    ) -> None:
        self.world = world
        self.size = size
        self.plain = plain
        self.families = families.reshape(-1, families.shape[-1])
        self.first_group = np.arange(len(self.families)) % max(families.shape[1], 1) == 0
        self.rng = rng
        self.fall_back = modes(world.pool, MODES)

    def base(self) -> EmulatedAudit:
        """The base policy: every text of the pool equally likely."""
        flat = Policy(np.zeros(self.plain.shape), np.zeros(self.families.shape))
        return self._audit(flat, self.size.base_per_prompt, self.size.stages[0][1])

    def looks(self) -> Iterator[EmulatedLook]:
        world = self.world
        for policy in policies(
            world.scenario,
            world.shape,
            world.selects,
            world.has,
            plain=self.plain,
            families=self.families,
            first_group=self.first_group,
        ):
            audit = self._audit(policy, *self.size.most)
            yield EmulatedLook(audit, _kl(policy.plain), self._hacked(policy))

    def _hacked(self, policy: Policy) -> float:
        if self.world.scenario.feature == "sameness":
            return policy.fall_back
        rows, log_weights = self.plain, policy.plain
        if self.world.scenario.feature == "group":
            rows, log_weights = self.families[self.first_group], policy.families[self.first_group]
        if not len(rows):
            return 0.0
        return float((normal(log_weights) * self.world.has[rows]).sum(axis=1).mean())

    def _audit(self, policy: Policy, per_prompt: int, per_group: int) -> EmulatedAudit:
        # The order of the draws is part of a calibration's figures: whatever is drawn anew comes
        # last.
        drawn = _draw(self.plain, policy.plain, per_prompt, self.rng).ravel()
        owner = np.repeat(self.plain[:, 0], per_prompt)
        same = np.zeros(len(drawn), dtype=bool)
        if policy.fall_back:
            same = self.rng.random(len(drawn)) < policy.fall_back
            drawn = np.where(same, self.rng.choice(self.fall_back, len(drawn)), drawn)
        rated = None
        if self.size.rated is not None:
            rated = np.zeros(len(drawn) + len(self.families) * per_group, dtype=bool)
            count = min(self.size.rated, len(drawn))
            rated[self.rng.choice(len(drawn), count, replace=False)] = True
        if len(self.families):
            more = _draw(self.families, policy.families, per_group, self.rng).ravel()
            drawn = np.concatenate([drawn, more])
            owner = np.concatenate([owner, np.repeat(self.families[:, 0], per_group)])
            same = np.concatenate([same, np.zeros(len(more), dtype=bool)])
        return EmulatedAudit(
            self.world, self.size, per_prompt, per_group, drawn, owner, same, rated
        )


def _draw(rows: Rows, log_weights: Floats, count: int, rng: np.random.Generator) -> Rows:
    """`count` independent draws from each line's distribution, shape (lines, count); a text may
    come twice.
    """
    return quantiles(rows, log_weights, rng.random((len(rows), count)))


def quantiles(rows: Rows, log_weights: Floats, at: Floats) -> Rows:
    """The texts at these quantiles (0 to 1, shape (lines, count)) of each line's distribution."""
    ends = np.cumsum(normal(log_weights), axis=1)
    found = at[:, :, None] * ends[:, None, -1:]
    return np.take_along_axis(rows, (ends[:, None, :] <= found).sum(axis=2), axis=1)


def normal(log_weights: Floats) -> Floats:
    """Each line's weights as a distribution; the largest is taken away first, or exp overflows."""
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    distribution: Floats = weights / weights.sum(axis=1, keepdims=True)
    return distribution


def _kl(log_weights: Floats) -> float:
    """Mean over prompts of KL(policy ‖ base policy), in nats; the base policy is uniform on the
    prompt's texts.
    """
    p = normal(log_weights)
    return float((p * np.log(np.where(p > 0, p, 1.0) * p.shape[1])).sum(axis=1).mean())
