"""Why was this sample trained on?

One row of a Grow set, from the sealed rule and the recorded rewards.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reports import lineage, selection, series
from reports.records import Records
from reports.run_report.tables import figure
from restaudit.errors import BadInput
from restaudit.evidence.record import Run, printable

MOST_COMPARED = 2000


def why_lines(run: Run, sample: str) -> list[str]:
    """Who wrote the sample, its reward, and for each Improve step whether it was trained on and by
    which rule.

    Raises BadInput for a name that no Grow set has, naming the closest ones.
    """
    records = Records(run)
    grows = {g.name: g for g in lineage.grows(records)}
    by_name = {p.name: p for p in lineage.policies(records)}
    trained_on = list(dict.fromkeys(p.data for p in by_name.values() if p.data is not None))
    grow = next(
        (g for g in trained_on if selection.has_name(records, f"{g}/grow.parquet", sample)), None
    )
    lines: list[str] = []
    for policy, row in _rows(
        records, [p for p in by_name.values() if grow is not None and p.data == grow], sample
    ):
        if not lines:
            writer = by_name[grows[str(grow)].policy]
            who = (
                f"a policy of this run, {series.short_name(writer.name)} ({writer.digest[:16]}…)"
                if row["origin"] == "policy"
                else "a person: it is a reference of the data"
            )
            lines.append(
                f"{printable(sample)}: written by {who}, for prompt "
                f"{printable(str(row['prompt_id']))}"
            )
            lines.append(
                f"  reward {figure(float(row['reward']))}, {float(row['reward_01']):.4f} on the "
                "0..1 scale"
            )
        said = "trained on" if row["used"] else "not trained on"
        lines.append(
            f"  {series.short_name(policy.name)}: {said}: {row['why']} "
            f"({float(row['reward_01']):.4f} against τ {float(row['threshold']):.4f})"
        )
    if not lines:
        close = _close(records, trained_on, sample)
        hint = (
            f"; close to it: {', '.join(close)}"
            if close
            else "; nothing was trained in this run yet"
        )
        raise BadInput(f"{run.path}: no Grow set has a sample {printable(sample)!r}{hint}")
    return lines


def _rows(
    records: Records, policies: Sequence[lineage.Policy], sample: str
) -> Iterator[tuple[lineage.Policy, Mapping[Any, Any]]]:
    """What each of these policies, all trained on one Grow set, did with the sample's row."""
    found: selection.GrowSet | None = None
    for policy in policies:
        if not lineage.by_threshold(records):
            rows = lineage.training_rows(records, policy)
            yield policy, rows[rows["sample_id"] == sample].iloc[0].to_dict()
            continue
        found = found or selection.grow_set(records, str(policy.data))
        place = selection.place_of(found.ids, sample)
        assert place is not None  # the Grow set was chosen since it has the sample
        yield policy, selection.row(found, selection.taken(records, found, policy.name), place)


def _close(records: Records, grows: Sequence[str], sample: str) -> list[str]:
    """Names that begin like this one, as far as any does; of the first of them those that are most
    alike.
    """
    names = [selection.names_of(records, f"{g}/grow.parquet") for g in grows]
    every = pa.chunked_array([c for n in names for c in n.chunks], type=pa.large_string())
    for length in range(len(sample), -1, -1):
        alike = every.filter(pc.starts_with(every, sample[:length]))
        if len(alike) or not length:
            first = alike.slice(0, MOST_COMPARED).to_pylist()
            return (
                first
                if length == len(sample)
                else difflib.get_close_matches(sample, first, n=3, cutoff=0.5) or first
            )[:3]
    return []
