"""Why was this sample trained on? One row of a Grow set, from the sealed rule and the recorded rewards."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from reports import lineage, series
from reports.records import Records
from reports.run_report.tables import figure
from restaudit.errors import BadInput
from restaudit.record import Run, printable


def why_lines(run: Run, sample: str) -> list[str]:
    """Who wrote the sample, its reward, and for each Improve step whether it was trained on and by which rule.

    Raises BadInput for a name that no Grow set has, naming the closest ones.
    """
    records = Records(run)
    grows = {g.name: g for g in lineage.grows(records)}
    by_name = {p.name: p for p in lineage.policies(records)}
    trained_on = list(dict.fromkeys(p.data for p in by_name.values() if p.data is not None))
    grow, names = _holder(records, trained_on, sample)
    lines: list[str] = []
    for policy in (p for p in by_name.values() if grow is not None and p.data == grow):
        rows = lineage.training_rows(records, policy)
        row = rows[rows["sample_id"] == sample].iloc[0]
        if not lines:
            writer = by_name[grows[str(grow)].policy]
            who = (
                f"a policy of this run, {series.short_name(writer.name)} ({writer.digest[:16]}…)"
                if row["origin"] == "policy"
                else "a person: it is a reference of the data"
            )
            lines.append(f"{printable(sample)}: written by {who}, for prompt {printable(str(row['prompt_id']))}")
            lines.append(f"  reward {figure(float(row['reward']))}, {float(row['reward_01']):.4f} on the 0..1 scale")
        said = "trained on" if row["used"] else "not trained on"
        lines.append(
            f"  {series.short_name(policy.name)}: {said}: {row['why']} ({float(row['reward_01']):.4f} against τ "
            f"{float(row['threshold']):.4f})"
        )
    if not lines:
        begin = [n for n in names if sample and n.startswith(sample)]
        close = begin[:3] or difflib.get_close_matches(sample, names, n=3, cutoff=0.5) or names[:3]
        hint = f"; close to it: {', '.join(close)}" if close else "; nothing was trained in this run yet"
        raise BadInput(f"{run.path}: no Grow set has a sample {printable(sample)!r}{hint}")
    return lines


def _holder(records: Records, grows: Sequence[str], sample: str) -> tuple[str | None, list[str]]:
    """The Grow set that holds a sample, or None and every name there is."""
    names: list[str] = []
    for grow in grows:
        here = records.table(f"{grow}/grow.parquet", ("sample_id",))["sample_id"].astype(str)
        if (here == sample).any():
            return grow, []
        names += here.tolist()
    return None, names
