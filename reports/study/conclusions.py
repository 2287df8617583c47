"""What a study shows, by rule: at equal cost an interval that excludes zero is a difference, one
that does not is none resolved; at equal diversity, what was gained until then.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.statistics.crossed import Crossed, crossed, of_these_seeds
from reports.document.model import Paragraph, Row, Table
from reports.study.material import (
    BUDGETS,
    SeedLook,
    SeedRun,
    StudyMaterial,
    every_seed,
    mean_shown,
    over_seeds,
)
from restaudit.evidence.shown import NOTHING, figure
from restaudit.gates import minimum_detectable_effect
from restaudit.study.plan import HALTS

LEVEL = 0.95
NOTE = (
    "Other seeds: the interval holds for other seeds and prompts. Could be found: the difference "
    "that such an interval excludes zero for in 80% of studies of this size (normal theory). "
    "These policies: the interval holds for other prompts put to the policies that were trained, "
    "and says nothing of other seeds. A prompt counts for a seed where a sample of it has a human "
    "score before and after."
)


def conclusions(material: StudyMaterial, human: str) -> list[Paragraph | Table]:
    """One sentence a pair and budget about the human score, and the table they follow from.

    Every interval has the level 1 - 0.05/k for the k sentences together (Bonferroni), so that all
    of them hold at once with 95% confidence.
    """
    pairs = list(itertools.combinations(material.study.methods, 2))
    # Every pair at every budget is one chance of a false difference, so all of them are counted.
    level = 1 - (1 - LEVEL) / (len(pairs) * len(BUDGETS))
    rows = []
    for budget in BUDGETS:
        rows += [_row(material, a, b, budget, level) for a, b in pairs]
    # `_rule` begins with one of these two words only where the interval excludes zero.
    resolved = [row for row in rows if row.cells[2].startswith(("more", "less"))]
    if resolved:
        sentences = [
            Paragraph(
                f"Resolved at this size: {len(resolved)} of {len(rows)} differences of the human "
                "score."
            )
        ]
        for row in resolved:
            _, budget, rule, interval, *_ = row.cells
            sentences.append(Paragraph(f"At equal {budget}: {rule} ({interval})."))
    else:
        sentences = [
            Paragraph(
                "No difference of the human score between any two methods was resolved at this "
                "size. That shows no equality: the table says how large a difference would have "
                "been found.",
                "warning",
            )
        ]
    table = Table(
        f"Human gain of one method less another's ({human}; base-policy standard deviations)",
        (
            "difference",
            "at equal",
            "by rule",
            f"other seeds [{level:.1%}]",
            "could be found",
            f"these policies [{level:.1%}]",
        ),
        tuple(rows),
        prose=(2,),
        note=NOTE,
    )
    return [*sentences, Paragraph(_stopped(material)), table]


def _stopped(material: StudyMaterial) -> str:
    """How many runs of each method the recipe's own gates would have stopped."""
    counts = []
    for method, runs in material.runs.items():
        stopped = [run for run in runs if _would_have_stopped(run)]
        counts.append(f"{len(stopped)} of {len(runs)} with {method}")
    return f"Runs that the recipe's own gates would have stopped: {', '.join(counts)}."


def _would_have_stopped(run: SeedRun) -> bool:
    """Whether a gate said WARN where the recipe says HALT: a study lets every method go on."""
    for decision in run.material.decisions:
        for gate in decision.gates:
            if gate.verdict == "WARN" and gate.gate.endswith(HALTS):
                return True
    return False


def _row(material: StudyMaterial, a: str, b: str, budget: str, level: float) -> Row:
    """A pair at one budget; both methods have the same seeds and prompts, so that the differences
    are paired.
    """
    pair = (f"{a} less {b}", budget)
    looks_a, looks_b = material.at(a, budget), material.at(b, budget)
    if looks_a is None or looks_b is None:
        who = a if looks_a is None else b
        return Row((*pair, f"{who} has no look within this budget", *[NOTHING] * 3))
    looks = (*looks_a, *looks_b)
    sources = tuple(look.run.cite(look.look, "audit.parquet") for look in looks)
    # Taken by seed and prompt: what both methods share (a hard prompt, a seed's reward model) drops
    # out of the difference and does not widen its interval.
    difference = material.gains(looks_a, "human") - material.gains(looks_b, "human")
    if not every_seed(difference):
        return Row((*pair, "the human score was not measured", *[NOTHING] * 3), sources)
    # Two questions: would other seeds show it too, and do the policies that were trained differ?
    others, here = crossed(difference, level), of_these_seeds(difference, level)
    smallest = NOTHING
    if others.low is None or others.high is None:
        rule = f"no interval: {others.reason}"
    else:
        half = (others.high - others.low) / 2
        smallest = figure(minimum_detectable_effect(half, level))
        rule = _rule(a, b, _sign(others), _sign(here))
    cells = (*pair, rule, mean_shown(others), smallest, mean_shown(here))
    return Row(cells, sources)


def _rule(a: str, b: str, others: int, here: int) -> str:
    """What an interval says by rule; the signs are those of `_sign`."""
    if others > 0:
        return f"more human score with {a} than with {b}"
    if others < 0:
        return f"less human score with {a} than with {b}"
    rule = "no difference was resolved at this size"
    # A weaker finding than the first, and worded as one: it says nothing of another training.
    if here:
        better = a if here > 0 else b
        rule += f"; of the policies trained here, those of {better} had more"
    return rule


def _sign(difference: Crossed) -> int:
    """1 or -1 where the interval excludes zero, else 0."""
    # No interval (one seed) shows no difference, whatever the mean is.
    if difference.low is None or difference.high is None:
        return 0
    if difference.low > 0:
        return 1
    if difference.high < 0:
        return -1
    return 0


# --- at equal diversity

LEVELS = (0.9, 0.8)
VENDI = "diversity.vendi_ratio"


@dataclass(frozen=True)
class Crossing:
    """Where the path of one run comes down to a Vendi ratio: human gain (base sd) and seconds of
    training until then.

    `fell` is False where no look is as low: then gain and seconds are those of the look with the
    highest human gain.
    """

    gain: float
    seconds: float
    fell: bool


def crossing(path: Sequence[tuple[float, float, float]], level: float) -> Crossing:
    """The first place where a path of (Vendi ratio, gain, seconds), one entry a look, base first,
    comes to `level`.

    Between two looks it is taken as a straight line.
    """
    for (v0, g0, s0), (v1, g1, s1) in itertools.pairwise(path):
        # Only a way down counts: diversity may come back up, and the level was reached before.
        if v1 <= level < v0:
            share = (v0 - level) / (v0 - v1)
            return Crossing(g0 + share * (g1 - g0), s0 + share * (s1 - s0), True)
    # It kept its diversity: what it could gain without that loss is the best of its looks. The base
    # policy, which gained nothing by definition, is not one of them.
    _, gain, seconds = max(path[1:], key=lambda p: p[1])
    return Crossing(gain, seconds, False)


def at_equal_diversity(material: StudyMaterial) -> Table:
    """What a method had gained, and in how many seconds, when its diversity had fallen to a share
    of the base policy's: a row for every level and method, see `crossing`.
    """
    rows = []
    for level in LEVELS:
        for method in material.study.methods:
            cells = _fallen(material, method, level)
            sources = tuple(look.source for look in material.last(method))
            rows.append(Row((f"{level:.0%}", method, *cells), sources))
    return Table(
        "Where the Vendi score has come down to a share of the base policy's",
        (
            "share",
            "method",
            "runs that fell so far",
            "human gain (base sd)",
            "seconds of training",
            "gain per 100 s",
        ),
        tuple(rows),
        prose=(1,),
        note="Between two looks a run is taken to move in a straight line. Of a run that did not "
        "fall so far, the look with the most human gain counts. Means (of seconds the geometric "
        "one) and 95% intervals.",
    )


def _fallen(material: StudyMaterial, method: str, level: float) -> tuple[str, ...]:
    crossings = []
    for run in material.runs[method]:
        path = _path(material, run)
        if path is None:
            return ("not measured", *[NOTHING] * 3)
        crossings.append(crossing(path, level))
    fell = sum(c.fell for c in crossings)
    # Best-of-N trains nothing: a rate by seconds of training would divide by zero.
    rates = [100 * c.gain / c.seconds if c.seconds > 0 else None for c in crossings]
    return (
        f"{fell} of {len(crossings)}",
        mean_shown(over_seeds([c.gain for c in crossings])),
        mean_shown(over_seeds([c.seconds for c in crossings], positive=True)),
        mean_shown(over_seeds(rates)),
    )


def _path(material: StudyMaterial, run: SeedRun) -> list[tuple[float, float, float]] | None:
    """(Vendi ratio, mean human gain, seconds) of the base policy and of every look; None where one
    lacks either.
    """
    path = [(1.0, 0.0, 0.0)]
    for look in (SeedLook(run, name) for name in run.looks):
        ratio = look.value(VENDI)
        gains = material.gains([look], "human")
        if ratio is None or not every_seed(gains):
            return None
        path.append((ratio, float(np.nanmean(gains)), look.spent.seconds))
    return path
