"""What a study shows, by rule: an interval that excludes zero is a difference, one that does not is none resolved."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from probes.crossed import crossed
from reports.document.model import Paragraph, Row, Table
from reports.run_report.tables import NOTHING, figure
from reports.study.material import BUDGETS, At, StudyMaterial
from restaudit.gates import minimum_detectable_effect

LEVEL = 0.95


def conclusions(of: StudyMaterial, human: str) -> list[Paragraph | Table]:
    """One sentence a pair and budget about the human score, and the table they follow from.

    Every interval has the level 1 - 0.05/k for the k sentences together (Bonferroni), so that all of them hold at once
    with 95% confidence.
    """
    pairs = list(itertools.combinations(of.study.methods, 2))
    level = 1 - (1 - LEVEL) / (len(pairs) * len(BUDGETS))
    said, rows = [], []
    for budget, what in BUDGETS.items():
        for a, b in pairs:
            at_a, at_b = of.at(a, budget), of.at(b, budget)
            if at_a is None or at_b is None:
                who = a if at_a is None else b
                rows.append(Row((f"{a} less {b}", what, NOTHING, NOTHING, f"{who} has no look within this budget")))
                continue
            rows.append(_row(of, (a, at_a), (b, at_b), what, level))
    resolved = [r.cells[4] for r in rows if r.cells[4].startswith(("more", "less"))]
    if resolved:
        said.append(Paragraph(f"Resolved at this size: {len(resolved)} of {len(rows)} differences of the human score."))
    else:
        said.append(Paragraph(
            "No difference of the human score between any two methods was resolved at this size. That shows no "
            "equality: the table says how large a difference would have been found.", "warning"))  # fmt: skip
    table = Table(
        f"Human gain of one method less another's ({human}; base-policy standard deviations)",
        ("difference", "at equal", f"estimate [{level:.1%}]", "could be found", "by rule"), tuple(rows), prose=(1, 4),
        note="Could be found: the difference that such an interval excludes zero for in 80% of studies of this size "
             "(normal theory).")  # fmt: skip
    return [*said, table]


def _row(
    of: StudyMaterial, one: tuple[str, Sequence[At]], other: tuple[str, Sequence[At]], what: str, level: float
) -> Row:
    """A pair at one budget; both methods have the same seeds and prompts, so that the differences are paired."""
    (a, at_a), (b, at_b) = one, other
    found = crossed(of.gains(at_a, "human") - of.gains(at_b, "human"), level)
    sources = tuple(x.side.cite(x.look, "audit.parquet") for x in (*at_a, *at_b))
    if found.low is None or found.high is None:
        return Row((f"{a} less {b}", what, figure(found.mean), NOTHING, f"no interval: {found.reason}"), sources)
    span = f"{figure(found.mean)} [{figure(found.low)}, {figure(found.high)}]"
    size = minimum_detectable_effect((found.high - found.low) / 2, level)
    if found.low > 0:
        rule = f"more human score with {a} than with {b}"
    elif found.high < 0:
        rule = f"less human score with {a} than with {b}"
    else:
        rule = "no difference was resolved at this size"
    return Row((f"{a} less {b}", what, span, figure(size), rule), sources)
