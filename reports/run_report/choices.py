"""What people chose between the texts of runs that stand side by side, where the rating desk has
such pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from probes.statistics.resample import Estimate
from reports.document.model import Paragraph, Row, Table
from reports.record import series
from reports.record.files import Source
from restaudit.evidence.ledger import digest_in
from restaudit.evidence.record import Run
from restaudit.evidence.shown import figure
from restaudit.people.rating.pairs import pair_sets
from restaudit.people.rating.pairs.wins import Wins, wins

NONE = (
    "Nobody chose between texts of these runs: restaudit rate pairs RUN --against RUN draws "
    "blinded pairs."
)


def choices(runs: Mapping[str, Run]) -> Table | Paragraph:
    """Win rates of every set of pairs whose two sides are runs of this comparison (label -> run),
    of different ones.

    These are ratings given after the runs; they lie beside the record, and the ledger does not
    cover them.
    """
    labels = {run.run_id: label for label, run in runs.items()}
    rows = []
    for label, run in runs.items():
        for pairs in pair_sets(run.path):
            sides = {pairs.first["run_id"], pairs.second["run_id"]}
            # Pairs within one run compare its iterations, and say nothing of one run against another.
            if len(sides) == 2 and sides <= set(labels):
                rows.append(_row(wins(run.path, pairs.name), labels, _beside(label, pairs.key)))
    if not rows:
        return Paragraph(NONE, "note")
    columns = ("pairs", "preferred", "to", "on", "prompts", "raters", "their agreement (alpha)")
    return Table(
        "Blinded choices by people",
        columns,
        tuple(rows),
        prose=(1, 2),
        note=(
            "Share of prompts on which the text at the left was preferred, a tie counting half, "
            "with its 95% interval over "
            "prompts. Given at the rating desk after the runs; the ledger does not cover them."
        ),
    )


def _row(result: Wins, labels: Mapping[str, str], source: Source) -> Row:
    cells = (
        result.name,
        _side(result.second, labels),
        _side(result.first, labels),
        _rate(result.rate),
        str(result.prompts),
        str(result.raters),
        figure(result.agreement.value),
    )
    return Row(cells, (source,))


def _side(side: Mapping[str, str], labels: Mapping[str, str]) -> str:
    return f"{labels[side['run_id']]}, {series.short_name(side['iteration'])}"


def _rate(rate: Estimate) -> str:
    if rate.value is None:
        return f"not known: {rate.reason}"
    if not rate.intervals:
        return f"{rate.value:.0%}"
    interval = rate.intervals[0]
    return f"{rate.value:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def _beside(label: str, key: Path) -> Source:
    # No ledger has this file: its digest is made now, so that a later change can be seen at all.
    digest = digest_in(key.parent, key.name).sha256
    return Source(f"{label}: human/{key.name}", "beside the record", digest)
