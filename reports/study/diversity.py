"""What a method had gained, and in how many seconds, when its diversity had fallen to a share of
the base policy's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.document.model import Row, Table
from reports.run_report.tables import NOTHING
from reports.study.material import At, OneRun, StudyMaterial, every_seed, over_seeds, shown

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


def at_equal_diversity(of: StudyMaterial) -> Table:
    """A row for every level and method; see `crossing`."""
    rows = []
    for level in LEVELS:
        for method in of.study.methods:
            paths = [_path(of, r) for r in of.runs[method]]
            sources = tuple(r.cite(r.looks[-1]) for r in of.runs[method])
            known = [p for p in paths if p is not None]
            if len(known) < len(paths):
                rows.append(Row((f"{level:.0%}", method, "not measured", *[NOTHING] * 3), sources))
                continue
            found = [crossing(p, level) for p in known]
            rates = [100 * c.gain / c.seconds if c.seconds > 0 else None for c in found]
            seconds = over_seeds([c.seconds for c in found], positive=True)
            cells = [over_seeds([c.gain for c in found]), seconds, over_seeds(rates)]
            fell = f"{sum(c.fell for c in found)} of {len(found)}"
            rows.append(Row((f"{level:.0%}", method, fell, *(shown(c) for c in cells)), sources))
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


def _path(of: StudyMaterial, run: OneRun) -> list[tuple[float, float, float]] | None:
    """(Vendi ratio, mean human gain, seconds) of the base policy and of every look; None where one
    lacks either.
    """
    path = [(1.0, 0.0, 0.0)]
    for look in run.looks:
        found = run.measured(look, VENDI)
        if found is None or found.value is None:
            return None
        gains = of.gains([At(run, look)], "human")
        if not every_seed(gains):
            return None
        path.append((found.value, float(np.nanmean(gains)), run.spent[look].seconds))
    return path
