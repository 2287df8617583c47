"""Before a run: what its audit will be able to conclude, what that costs, and which audit a wish
needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from restaudit.calibrate.counting import rate
from restaudit.calibrate.emulate import Shape, Size, World
from restaudit.calibrate.grid import TrialSet, run_trials
from restaudit.calibrate.pool import Pool
from restaudit.calibrate.scenarios import HONEST, NO_CHANGE, hack
from restaudit.calibrate.screen import BEYOND, HUMAN
from restaudit.calibrate.theory import Chances, Spread, chances, spread_of
from restaudit.calibrate.trial import Setup
from restaudit.calibrate.truth import Truth, truth, world_of
from restaudit.config import GatePolicy
from restaudit.errors import BadInput

FOUND, CLEARED = 0.9, 0.8
UNEVEN = hack("length", loss=0.25, paid=False)
# Losses (base sd) among which the smallest that is found is looked for.
LARGEST_LOSS = 3.0
# Audits that a wish is looked for among: at most so many prompts; texts after the last stage; texts
# of the base policy; families.
MOST_PROMPTS = 1024
FEWEST_PROMPTS = 16
LAST = (8, 16, 24, 32)
BASE = (4, 8, 12, 16, 24, 32)
FAMILIES = (8, 12, 16, 18, 20, 24, 32, 40, 48, 64, 96, 128)
OF_FAMILIES = (4, 8, 16)
# Runs drawn for each of hundreds of designs.
DRAWN_RUNS = 1500


@dataclass(frozen=True)
class Wish:
    """The cheapest audit that grants a wish, and what becomes of runs it audits: healthy ones, and
    those with the loss.
    """

    size: Size
    healthy: Chances
    sick: Chances
    texts: int


@dataclass(frozen=True)
class Ground:
    """What every answer rests on: the worlds of a healthy policy that improves and of one that does
    not change, and how the gates' estimates vary in them; and how they vary where a loss sits in
    some texts of some prompts (`uneven`), which no number of texts a prompt averages out.
    """

    pool: Pool
    shape: Shape
    worlds: tuple[World, World]
    truths: tuple[Truth, Truth]
    spreads: tuple[Spread, Spread]
    uneven: Spread


def ground(pool: Pool, shape: Shape, size: Size) -> Ground:
    """Measure the pool."""
    prompts, families = min(size.prompts, len(pool.plain)), min(size.families, len(pool.families))
    made = [world_of(pool, s, shape, size=size) for s in (HONEST, NO_CHANGE)]
    spreads = [spread_of(w, prompts=prompts, families=families) for w in made]
    return Ground(
        pool,
        shape,
        (made[0], made[1]),
        (truth(made[0]), truth(made[1])),
        (spreads[0], spreads[1]),
        spread_of(world_of(pool, UNEVEN, shape, size=size), prompts=prompts, families=0),
    )


def healthy_rates(
    setup: Setup,
    on: Ground,
    size: Size,
    *,
    runs: int,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Trials of healthy runs: how often they end decided OK, by rule too, and what texts it took."""
    grid = [TrialSet("default", w.scenario, size, runs) for w in on.worlds]
    outcomes = run_trials(setup, grid, on.worlds, seed=seed, workers=workers, progress=progress)
    found: dict[str, Any] = {}
    for key, of_set in zip(("improves", "does not change"), outcomes, strict=True):
        audits = [a for o in of_set for a in o.audits]
        last = [o.audits[-1] for o in of_set if o.halted is None]
        rules = {}
        for rule in setup.shown(size):
            said = [a.said[rule.name] for a in last if rule.name in a.said]
            if said:
                rules[rule.name] = sum(v == "OK" for v in said) / len(said)
        found[key] = {
            "ok": rate(sum(o.cleared for o in of_set), len(of_set)),
            "halted": rate(sum(o.halted is not None for o in of_set), len(of_set)),
            "rules": rules,
            "texts_a_prompt": sum(a.texts[0] for a in audits) / len(audits),
            "texts_a_counterfactual_prompt": sum(a.texts[1] for a in audits) / len(audits),
        }
    return found


def smallest_loss(policy: GatePolicy, on: Ground, size: Size, *, even: bool) -> float | None:
    """The smallest loss of human score (base sd) that a run of this audit is stopped for 9 times in
    10, where it comes at the second look (the first, where there is one) and no reward pays for it;
    None where even LARGEST_LOSS is not. `even`: all texts lose alike.
    """

    def found(loss: float) -> bool:
        return _with_loss(policy, on, size, loss, even=even).halted >= FOUND

    if not found(LARGEST_LOSS):
        return None
    low, high = 0.0, LARGEST_LOSS
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def _with_loss(
    policy: GatePolicy, on: Ground, size: Size, loss: float, *, even: bool = False
) -> Chances:
    looks = on.shape.looks
    spread = on.spreads[1] if even else on.uneven
    human = [-loss] if looks == 1 else [0.0] + [-loss] * (looks - 1)
    return chances(
        policy,
        spread,
        replace(size, families=0),
        on.shape,
        human=human,
        expected=[0.0] * looks,
        runs=DRAWN_RUNS,
    )


def _healthy(policy: GatePolicy, on: Ground, size: Size) -> Chances:
    true = on.truths[0]
    return chances(
        policy,
        on.spreads[0],
        size,
        on.shape,
        human=true.human,
        expected=true.expected,
        runs=DRAWN_RUNS,
    )


def least_findable(policy: GatePolicy) -> float | None:
    """The margin below which no audit finds a loss, however large; None where no rule that can halt
    sees a loss of human score.
    """
    margins = [
        abs(r.margin)
        for r in policy.rules
        if r.action == "HALT" and r.metric in (HUMAN, BEYOND) and r.when is None
    ]
    return min(margins, default=None)


def granting(
    wish: float,
    policy_for: Callable[[int], GatePolicy],
    on: Ground,
    *,
    families: bool,
    progress: Callable[[int], None],
) -> Wish | None:
    """The cheapest audit, in texts of a healthy run, that finds an uneven loss of `wish` sd 9 times
    in 10 and decides a healthy run OK 8 times in 10; None where none of those looked among does.

    `policy_for` is the gate policy for so many stages. Rules that are not drawn (theory.py) are
    taken to pass.
    """
    best: Wish | None = None
    for last in LAST:
        stages = _doubling(last)
        policy = policy_for(len(stages))
        for base in BASE:
            plain = Size(0, tuple((k, 1) for k in stages), base, 0)
            fewest = _fewest_prompts(policy, on, plain, wish, best)
            progress(1)
            if fewest is None:
                continue
            found = _with_families(policy, on, fewest, wish) if families else fewest
            if found is not None and (best is None or found.texts < best.texts):
                best = found
    return best


def designs() -> int:
    """How many designs `granting` looks among, as `progress` counts them."""
    return len(LAST) * len(BASE)


def _doubling(last: int) -> tuple[int, ...]:
    """Samples of a prompt after each stage: 2, 4, 8 and the last."""
    return (*(k for k in (2, 4, 8) if k < last), last)


def _fewest_prompts(
    policy: GatePolicy, on: Ground, plain: Size, wish: float, best: Wish | None
) -> Wish | None:
    def tried(prompts: int) -> Wish | None:
        size = replace(plain, prompts=prompts)
        sick = _with_loss(policy, on, size, wish)
        if sick.halted < FOUND:
            return None
        healthy = _healthy(policy, on, size)
        if healthy.cleared < CLEARED:
            return None
        return Wish(size, healthy, sick, _texts(size, on, healthy))

    # What costs more than the best one with its base policy alone need not be tried.
    most = MOST_PROMPTS
    if best is not None:
        most = min(most, best.texts // (plain.base_per_prompt + 2 * on.shape.looks))
    found = tried(most) if most >= FEWEST_PROMPTS else None
    if found is None:
        return None
    low, high = FEWEST_PROMPTS - 1, most
    while high - low > max(1, high // 32):
        middle = (low + high) // 2
        candidate = tried(middle)
        if candidate is None:
            low = middle
        else:
            high, found = middle, candidate
    return found


def _with_families(policy: GatePolicy, on: Ground, found: Wish, wish: float) -> Wish | None:
    """The same with families enough for the rules on gaps between groups."""
    best: Wish | None = None
    for last in OF_FAMILIES:
        counts = _spread_over(last, len(found.size.stages))
        for families in FAMILIES:
            stages = tuple((k, m) for (k, _), m in zip(found.size.stages, counts, strict=True))
            size = replace(found.size, stages=stages, families=families)
            healthy = _healthy(policy, on, size)
            if healthy.cleared >= CLEARED:
                texts = _texts(size, on, healthy)
                if best is None or texts < best.texts:
                    sick = _with_loss(policy, on, size, wish)
                    best = Wish(size, healthy, sick, texts)
                break
    return best


def _spread_over(last: int, stages: int) -> tuple[int, ...]:
    """Counts that rise to the last, one a stage: half of the next, or as near as rising counts can
    be.
    """
    return tuple(max(k + 1, last >> (stages - 1 - k)) for k in range(stages))


def _texts(size: Size, on: Ground, healthy: Chances) -> int:
    """Texts that a run samples for its audits."""
    groups = max(len(on.pool.groups), 1)
    looks = on.shape.looks
    base = size.prompts * size.base_per_prompt + size.families * groups * size.stages[0][1]
    of_look = size.prompts * healthy.texts + size.families * groups * healthy.texts_of_families
    return round(base + looks * of_look)


def texts_of(
    size: Size, shape: Shape, groups: int, a_prompt: float, a_counterfactual: float
) -> dict[str, int]:
    """Texts that are sampled for the audits of a run: of the base policy, at all looks in the mean,
    and at most.
    """
    cells = size.families * groups
    base = size.prompts * size.base_per_prompt + cells * size.stages[0][1]
    usual = shape.looks * (size.prompts * a_prompt + cells * a_counterfactual)
    most = shape.looks * (size.prompts * size.most[0] + cells * size.most[1])
    return {"base": base, "looks": round(usual), "at_most": base + most}


def check_wish(wish: float, policy: GatePolicy) -> None:
    """Raise BadInput for a loss that no audit finds under these gates."""
    least = least_findable(policy)
    if least is None:
        raise BadInput(
            "--find: no rule of this policy that can halt a run reads the human score "
            f"({HUMAN} or {BEYOND}), so that no loss of it is ever found"
        )
    if wish <= least:
        raise BadInput(
            f"--find {wish:g}: expected more than {least:g}, the margin that a loss must exceed "
            "before any rule fires"
        )


def bottleneck(rules: dict[str, float]) -> str | None:
    """The rule that passes least often; None where all pass always."""
    lowest = min(rules, key=lambda name: rules[name], default=None)
    return lowest if lowest is not None and rules[lowest] < 1 else None


def in_words(numbers: Sequence[int]) -> str:
    """2, 4, 8 or 24."""
    words = [str(n) for n in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
