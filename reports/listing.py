"""The list of runs as a table: one row a run folder, broken ones with their problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from reports.series import short_name
from restaudit.evidence.record import ITERATION, Summary

COLUMNS = ("folder", "state", "progress", "decisions", "problem", "started", "name")


def run_table(summaries: Sequence[Summary], sign: Callable[[str], str]) -> pd.DataFrame:
    """One row a run (columns: COLUMNS), in the order given; `sign` writes a verdict with its sign.

    `progress` is the share of planned steps that are done, in percent, NaN for a broken run.
    """
    rows = [
        {
            "folder": s.path.name,
            "name": s.name,
            "state": s.state,
            "progress": 100 * s.steps_done / s.steps_planned if s.steps_planned else float("nan"),
            "decisions": decision_strip(s, sign),
            "started": (s.started or "")[:16].replace("T", " "),
            # The folder stands in the row already; what is wrong comes first in a narrow column.
            "problem": (s.problem or "").removeprefix(f"{s.path}/").removeprefix(f"{s.path}: "),
        }
        for s in summaries
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def decision_strip(summary: Summary, sign: Callable[[str], str]) -> str:
    """The decisions of a run in one line, for example "G1·I1 ✓ OK   G1·I2 ✕ HALT"."""
    return "   ".join(
        f"{short_name(i) if ITERATION.fullmatch(i) else i} {sign(verdict)}"
        for i, verdict in summary.decisions.items()
    )
