"""What a study shows, by rule: an interval that excludes zero is a difference, one that does not is
none resolved.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from probes.statistics.crossed import Crossed, crossed, of_these_seeds
from reports.document.model import Paragraph, Row, Table
from reports.run_report.tables import NOTHING, figure
from reports.study.material import BUDGETS, At, StudyMaterial, every_seed, shown
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


def conclusions(of: StudyMaterial, human: str) -> list[Paragraph | Table]:
    """One sentence a pair and budget about the human score, and the table they follow from.

    Every interval has the level 1 - 0.05/k for the k sentences together (Bonferroni), so that all
    of them hold at once with 95% confidence.
    """
    pairs = list(itertools.combinations(of.study.methods, 2))
    level = 1 - (1 - LEVEL) / (len(pairs) * len(BUDGETS))
    said, rows = [], []
    for budget in BUDGETS:
        for a, b in pairs:
            at_a, at_b = of.at(a, budget), of.at(b, budget)
            if at_a is None or at_b is None:
                who = a if at_a is None else b
                none = (NOTHING, NOTHING, NOTHING)
                rows.append(
                    Row((f"{a} less {b}", budget, f"{who} has no look within this budget", *none))
                )
                continue
            rows.append(_row(of, (a, at_a), (b, at_b), budget, level))
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
    return [*said, Paragraph(_stopped(of)), table]


def _stopped(of: StudyMaterial) -> str:
    """How many runs of each method the recipe's own gates would have stopped."""
    counts = []
    for method in of.study.methods:
        runs = of.runs[method]
        broken = [
            any(
                g.verdict == "WARN" and g.gate.endswith(HALTS)
                for d in r.of.decisions
                for g in d.gates
            )
            for r in runs
        ]
        counts.append(f"{sum(broken)} of {len(broken)} with {method}")
    return f"Runs that the recipe's own gates would have stopped: {', '.join(counts)}."


def _row(
    of: StudyMaterial,
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
    difference = of.gains(at_a, "human") - of.gains(at_b, "human")
    if not every_seed(difference):
        return Row(
            (f"{a} less {b}", budget, "the human score was not measured", *[NOTHING] * 3), sources
        )
    found = crossed(difference, level)
    here = of_these_seeds(difference, level)
    sign = _sign(here)
    if found.low is None or found.high is None:
        rule = f"no interval: {found.reason}"
        return Row((f"{a} less {b}", budget, rule, shown(found), NOTHING, shown(here)), sources)
    size = minimum_detectable_effect((found.high - found.low) / 2, level)
    if _sign(found):
        rule = f"{'more' if found.low > 0 else 'less'} human score with {a} than with {b}"
    else:
        rule = "no difference was resolved at this size"
        if sign:
            rule += f"; of the policies trained here, those of {a if sign > 0 else b} had more"
    return Row((f"{a} less {b}", budget, rule, shown(found), figure(size), shown(here)), sources)


def _sign(found: Crossed) -> int:
    """1 or -1 where the interval excludes zero, else 0."""
    if found.low is None or found.high is None:
        return 0
    return 1 if found.low > 0 else -1 if found.high < 0 else 0
