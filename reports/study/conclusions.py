"""What a study shows, by rule: an interval that excludes zero is a difference, one that does not is
none resolved.
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
    At,
    OneRun,
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
    level = 1 - (1 - LEVEL) / (len(pairs) * len(BUDGETS))
    said, rows = [], []
    for budget in BUDGETS:
        for a, b in pairs:
            at_a, at_b = material.at(a, budget), material.at(b, budget)
            if at_a is None or at_b is None:
                who = a if at_a is None else b
                none = (NOTHING, NOTHING, NOTHING)
                rows.append(
                    Row((f"{a} less {b}", budget, f"{who} has no look within this budget", *none))
                )
                continue
            rows.append(_row(material, (a, at_a), (b, at_b), budget, level))
    resolved = [r for r in rows if r.cells[2].startswith(("more", "less"))]
    if resolved:
        said.append(
            Paragraph(
                f"Resolved at this size: {len(resolved)} of {len(rows)} differences of the human "
                "score."
            )
        )
        said += [
            Paragraph(f"At equal {r.cells[1]}: {r.cells[2]} ({r.cells[3]}).") for r in resolved
        ]
    else:
        said.append(
            Paragraph(
                "No difference of the human score between any two methods was resolved at this "
                "size. That shows no "
                "equality: the table says how large a difference would have been found.",
                "warning",
            )
        )
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
    return [*said, Paragraph(_stopped(material)), table]


def _stopped(material: StudyMaterial) -> str:
    """How many runs of each method the recipe's own gates would have stopped."""
    counts = []
    for method in material.study.methods:
        runs = material.runs[method]
        broken = [
            any(
                g.verdict == "WARN" and g.gate.endswith(HALTS)
                for d in r.material.decisions
                for g in d.gates
            )
            for r in runs
        ]
        counts.append(f"{sum(broken)} of {len(broken)} with {method}")
    return f"Runs that the recipe's own gates would have stopped: {', '.join(counts)}."


def _row(
    material: StudyMaterial,
    one: tuple[str, Sequence[At]],
    other: tuple[str, Sequence[At]],
    budget: str,
    level: float,
) -> Row:
    """A pair at one budget; both methods have the same seeds and prompts, so that the differences
    are paired.
    """
    (a, at_a), (b, at_b) = one, other
    sources = tuple(x.side.cite(x.look, "audit.parquet") for x in (*at_a, *at_b))
    difference = material.gains(at_a, "human") - material.gains(at_b, "human")
    if not every_seed(difference):
        return Row(
            (f"{a} less {b}", budget, "the human score was not measured", *[NOTHING] * 3), sources
        )
    found = crossed(difference, level)
    here = of_these_seeds(difference, level)
    sign = _sign(here)
    if found.low is None or found.high is None:
        rule = f"no interval: {found.reason}"
        return Row(
            (f"{a} less {b}", budget, rule, mean_shown(found), NOTHING, mean_shown(here)), sources
        )
    size = minimum_detectable_effect((found.high - found.low) / 2, level)
    if _sign(found):
        rule = f"{'more' if found.low > 0 else 'less'} human score with {a} than with {b}"
    else:
        rule = "no difference was resolved at this size"
        if sign:
            rule += f"; of the policies trained here, those of {a if sign > 0 else b} had more"
    return Row(
        (f"{a} less {b}", budget, rule, mean_shown(found), figure(size), mean_shown(here)), sources
    )


def _sign(found: Crossed) -> int:
    """1 or -1 where the interval excludes zero, else 0."""
    if found.low is None or found.high is None:
        return 0
    return 1 if found.low > 0 else -1 if found.high < 0 else 0


# What a method had gained, and in how many seconds, when its diversity had fallen to a share of
# the base policy's.


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
        if v1 <= level < v0:
            share = (v0 - level) / (v0 - v1)
            return Crossing(g0 + share * (g1 - g0), s0 + share * (s1 - s0), True)
    _, gain, seconds = max(path[1:], key=lambda p: p[1])
    return Crossing(gain, seconds, False)


def at_equal_diversity(material: StudyMaterial) -> Table:
    """A row for every level and method; see `crossing`."""
    rows = []
    for level in LEVELS:
        for method in material.study.methods:
            paths = [_path(material, r) for r in material.runs[method]]
            sources = tuple(r.cite(r.looks[-1]) for r in material.runs[method])
            known = [p for p in paths if p is not None]
            if len(known) < len(paths):
                rows.append(Row((f"{level:.0%}", method, "not measured", *[NOTHING] * 3), sources))
                continue
            found = [crossing(p, level) for p in known]
            rates = [100 * c.gain / c.seconds if c.seconds > 0 else None for c in found]
            seconds = over_seeds([c.seconds for c in found], positive=True)
            cells = [over_seeds([c.gain for c in found]), seconds, over_seeds(rates)]
            fell = f"{sum(c.fell for c in found)} of {len(found)}"
            rows.append(
                Row((f"{level:.0%}", method, fell, *(mean_shown(c) for c in cells)), sources)
            )
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
        "fall so far, the look "
        "with the most human gain counts. Means (of seconds the geometric one) and 95% intervals.",
    )


def _path(material: StudyMaterial, run: OneRun) -> list[tuple[float, float, float]] | None:
    """(Vendi ratio, mean human gain, seconds) of the base policy and of every look; None where one
    lacks either.
    """
    path = [(1.0, 0.0, 0.0)]
    for look in run.looks:
        found = run.measured(look, VENDI)
        if found is None or found.value is None:
            return None
        gains = material.gains([At(run, look)], "human")
        if not every_seed(gains):
            return None
        path.append((found.value, float(np.nanmean(gains)), run.spent[look].seconds))
    return path
