"""Plain tables: every measurement, every gate of every decision, and why every sample was trained
on or was not.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

from reports.exports.encoding import csv_bytes
from reports.exports.export import Content, Export
from reports.exports.facts import RunFacts
from reports.record.lineage import training_rows

if TYPE_CHECKING:
    import pyarrow as pa

LEVEL = 0.95
# Column -> type. `low` and `high` are at level 0.95; `intervals` is JSON with every level.
MEASUREMENTS = {
    "iteration": "text",
    "policy": "text",
    "best_of": "count",
    "name": "text",
    "value": "number",
    "low": "number",
    "high": "number",
    "level": "number",
    "intervals": "text",
    "baseline": "number",
    "unit": "text",
    "direction": "text",
    "n": "count",
    "n_prompts": "count",
    "method": "text",
    "version": "text",
    "human_score": "text",
    "reason": "text",
    "source": "text",
    "source_sha256": "text",
}
DECISIONS = {
    "iteration": "text",
    "policy": "text",
    "decision": "text",
    "look": "count",
    "looks": "count",
    "gate": "text",
    "verdict": "text",
    "metric": "text",
    "value": "number",
    "low": "number",
    "high": "number",
    "level": "number",
    "must_stay": "text",
    "margin": "number",
    "n": "count",
    "n_prompts": "count",
    "alarm_only": "flag",
    "ok_margin": "number",
    "ok_low": "number",
    "ok_high": "number",
    "ok_level": "number",
    "finds": "number",
    "settle": "text",
    "stage": "count",
    "stages": "count",
    "mde": "number",
    "why": "text",
    "halted": "flag",
    "overridden_by": "text",
    "override_reason": "text",
    "source": "text",
    "source_sha256": "text",
}
SAMPLES = {
    "improve": "text",
    "grow": "text",
    "sample_id": "text",
    "prompt_id": "text",
    "origin": "text",
    "reward": "number",
    "reward_01": "number",
    "threshold": "number",
    "used": "flag",
    "why": "text",
}


def measurements(facts: RunFacts) -> Iterator[dict[str, Any]]:
    """One row a measurement of an audit (columns: MEASUREMENTS)."""
    for audit in facts.audits:
        for m in audit.measurements:
            interval = m.interval(LEVEL)
            # Without an interval `level` is empty too: a level alone would claim that there is one.
            level, low, high = None, None, None
            if interval is not None:
                level, low, high = LEVEL, interval.low, interval.high
            yield {
                "iteration": audit.iteration,
                "policy": audit.policy,
                "best_of": audit.best_of,
                "name": m.name,
                "value": _float(m.value),
                "low": low,
                "high": high,
                "level": level,
                "intervals": json.dumps([[i.level, i.low, i.high] for i in m.intervals]),
                "baseline": _float(m.baseline),
                "unit": m.unit,
                "direction": m.direction,
                "n": m.n,
                "n_prompts": m.n_prompts,
                "method": m.method,
                "version": m.version,
                "human_score": m.detail.get("human_label"),
                "reason": m.reason,
                "source": audit.source.path,
                "source_sha256": audit.source.sha256,
            }


def decisions(facts: RunFacts) -> Iterator[dict[str, Any]]:
    """One row a gate of a decision (columns: DECISIONS)."""
    overrides = {o.iteration: o for o in facts.run.overrides()}
    for audit in facts.audits:
        if audit.decision is None or audit.decision_source is None:
            continue
        by, reason = None, None
        if audit.iteration in overrides:
            override = overrides[audit.iteration]
            by, reason = override.by, override.reason
        # By the ledger: a run may have been cut off between a decision to halt and the halt.
        halted = f"{audit.iteration}/halt" in facts.run.done
        for g in audit.decision.gates:
            yield {
                "iteration": audit.iteration,
                "policy": audit.policy,
                "decision": audit.decision.verdict,
                "look": audit.decision.look,
                "looks": audit.decision.looks,
                "gate": g.gate,
                "verdict": g.verdict,
                "metric": g.metric,
                "value": _float(g.value),
                "low": _float(g.low),
                "high": _float(g.high),
                "level": float(g.level),
                "must_stay": g.must_stay,
                "margin": float(g.margin),
                "n": g.n,
                "n_prompts": g.n_prompts,
                "alarm_only": g.alarm_only,
                "ok_margin": _float(g.ok_margin),
                "ok_low": _float(g.ok_low),
                "ok_high": _float(g.ok_high),
                "ok_level": _float(g.ok_level),
                "finds": _float(g.finds),
                "settle": g.settle,
                "stage": g.stage,
                "stages": audit.decision.stages,
                "mde": _float(g.mde),
                "why": g.why,
                "halted": halted,
                "overridden_by": by,
                "override_reason": reason,
                "source": audit.decision_source.path,
                "source_sha256": audit.decision_source.sha256,
            }


def write_samples(facts: RunFacts, file: IO[bytes]) -> None:
    """Every row of the Grow set of every Improve step (columns: SAMPLES); never more than one step
    in memory.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A Grow set may have a million rows, and every Improve step decides about each of them.
    with pq.ParquetWriter(file, _schema(SAMPLES), compression="zstd") as out:
        for policy in facts.policies:
            if policy.data is not None:
                rows = training_rows(facts.records, policy).assign(
                    improve=policy.name, grow=policy.data
                )
                out.write_table(
                    pa.Table.from_pandas(
                        rows[list(SAMPLES)], _schema(SAMPLES), preserve_index=False
                    )
                )


def _parquet(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), _schema(columns)), out, compression="zstd")
    return out.getvalue()


def _schema(columns: Mapping[str, str]) -> pa.Schema:
    import pyarrow as pa

    types = {"text": pa.string(), "number": pa.float64(), "count": pa.int64(), "flag": pa.bool_()}
    return pa.schema([(name, types[kind]) for name, kind in columns.items()])


def _float(value: float | None) -> float | None:
    # JSON of a record may hold a whole number, and a column has one type.
    return None if value is None else float(value)


def build(facts: RunFacts) -> Mapping[str, Content]:
    """The two small tables as CSV and Parquet, the samples as Parquet only."""
    files: dict[str, Content] = {"samples.parquet": lambda file: write_samples(facts, file)}
    for name, columns, rows in (
        ("measurements", MEASUREMENTS, list(measurements(facts))),
        ("decisions", DECISIONS, list(decisions(facts))),
    ):
        files[f"{name}.csv"] = csv_bytes(tuple(columns), rows)
        files[f"{name}.parquet"] = _parquet(columns, rows)
    return files


EXPORT = Export(
    "tables",
    "measurements, decisions and the lineage of every sample",
    "CSV (RFC 4180), Apache Parquet",
    build,
)
