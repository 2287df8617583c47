"""What the record says to one question, and small helpers that readings share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probes.base import Measurement
from reports.document.model import Row, Table
from reports.record.files import Records, Source
from reports.record.series import iterations, short_name
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.shown import number, together
from restaudit.gates import Decision

NO_LOOK = "the run has not audited a policy yet"
NO_ITERATION = "the run has not audited an iteration yet"
SERIES = ("measure", "iteration", "value", "95% interval", "unit", "texts", "prompts", "why not")
DETAIL = (
    "measure",
    "value",
    "95% interval",
    "base policy",
    "unit",
    "texts",
    "prompts",
    "method, or why not",
)


@dataclass(frozen=True)
class Reading:
    """What the record says: a sentence and perhaps a table, or why there is nothing.

    `not_applicable` says that the question makes no sense for this run, for the reason in `absent`.
    """

    value: str = ""
    sources: tuple[Source, ...] = ()
    table: Table | None = None
    absent: str = ""
    not_applicable: bool = False


Read = Callable[[Records], Reading]


def absent(reason: str, *sources: Source) -> Reading:
    """Nothing is recorded, for this reason."""
    return Reading(absent=reason, sources=sources)


def not_applicable(reason: str, *sources: Source) -> Reading:
    """The question makes no sense for this run."""
    return Reading(absent=reason, sources=sources, not_applicable=True)


def named(functions: Iterable[Read]) -> dict[str, Read]:
    """Readings by the name that the clause data calls them."""
    return {f.__name__: f for f in functions}


def plan(records: Records) -> Mapping[str, Any]:
    """The sealed plan, as the ledger has it."""
    found: Mapping[str, Any] = records.json("plan.json")
    return found


def config(records: Records, section: str) -> Mapping[str, Any]:
    """A section of the sealed configuration; empty where the plan has none."""
    found = plan(records)["config"].get(section)
    return found if isinstance(found, Mapping) else {}


def sealed(records: Records, place: str) -> Source:
    """A place in the sealed plan."""
    return records.source("plan.json", place)


def recorded(records: Records, name: str) -> Mapping[str, Any] | None:
    """A recorded JSON file, or None where no finished step recorded it."""
    found = records.json(name) if records.has(name) else None
    return found if isinstance(found, Mapping) else None


def ledger(records: Records, place: str) -> Source:
    """A place in the ledger."""
    return records.source(LEDGER, place)


def step_place(records: Records, step: str) -> Source:
    """The ledger line of a step."""
    event = next(e for e in records.run.events if e.step == step)
    return ledger(records, f"line {event.seq + 1}, step {step}")


def state(records: Records) -> str:
    """Where the record ends.

    It does not ask whether a process is at work: the same record gives the same document.
    """
    if "end" in records.run.done:
        return "done"
    if records.run.halt is not None:
        return "halted"
    waits = bool(records.run.events) and records.run.events[-1].step.endswith("/wait")
    return "waiting for people" if waits else "not finished"


def without_folder(said: str, records: Records) -> str:
    """A message without the place of the run folder: a document must not depend on where the folder
    lies.
    """
    path = str(records.run.path)
    return said.replace(f"{path}/", "").replace(path, "the run folder")


def last_audit(records: Records) -> str | None:
    """The newest audited iteration; None where nothing was audited."""
    audited = iterations(records.run)
    return audited[-1] if audited else None


def audited(records: Records, *, base: bool = True) -> list[str]:
    """Audited iterations in order, with or without the base policy."""
    found = iterations(records.run)
    return found if base else found[1:]


def decisions(records: Records) -> list[tuple[Decision, Source]]:
    """The decisions of the run in order, each with its record."""
    names = [f"{i}/decision.json" for i in audited(records)]
    return [
        (Decision.from_json(records.json(n)), records.source(n, "gates"))
        for n in names
        if records.has(n)
    ]


def measured_at(records: Records, iteration: str, *places: str) -> tuple[Source, ...]:
    """The measurements of an iteration as a source."""
    return tuple(
        records.source(f"{iteration}/measurements.json", p) for p in places or ("measurements",)
    )


def with_interval(m: Measurement) -> str:
    """A value with its interval, unit and counts; or why there is none."""
    if m.value is None:
        return f"not measured ({m.reason})"
    value, interval = figures(m)
    return f"{value} {m.unit}, 95% interval {interval}, {m.n} texts of {m.n_prompts} prompts"


def figures(m: Measurement) -> tuple[str, str]:
    """The value and the 95% interval as text."""
    if m.value is None:
        return "not measured", "–"
    found = m.interval()
    if found is None:
        return number(m.value), "not given"
    value, low, high = together(m.value, found.low, found.high)
    return value, f"{low} to {high}"


def human_named(records: Records, names: Mapping[str, str]) -> dict[str, str]:
    """Labels in which "human score" also says what it is: SIMULATED and its like stand wherever a
    figure of it does.
    """
    newest = last_audit(records)
    found = {} if newest is None else records.json(f"{newest}/measurements.json").get("human")
    kind = str((found or {}).get("label") or "NONE").split(" ")[0]
    return {
        name: label.replace("human score", f"human score ({kind})") for name, label in names.items()
    }


def told(records: Records, iteration: str, names: Mapping[str, str]) -> list[str]:
    """What was measured of some measures at one iteration, a phrase each; those without a value are
    left out.
    """
    found = records.measurements(iteration)
    known = {n: found[n] for n in names if n in found and found[n].value is not None}
    labels = human_named(records, names)
    return [f"{labels[n]} {with_interval(m)}" for n, m in known.items()]


def over_iterations(records: Records, caption: str, names: Mapping[str, str]) -> Table:
    """Some measurements at every audited iteration; `names` maps a measurement to what it is called
    here.
    """
    rows = []
    measured = {i: records.measurements(i) for i in audited(records)}
    for name, label in human_named(records, names).items():
        for i, found in measured.items():
            if (m := found.get(name)) is not None:
                cells = (
                    label,
                    short_name(i),
                    *figures(m),
                    m.unit,
                    str(m.n),
                    str(m.n_prompts),
                    m.reason or "–",
                )
                rows.append(Row(cells, measured_at(records, i, name)))
    return Table(caption, SERIES, tuple(rows), prose=(7,))


def at_iteration(
    records: Records, iteration: str, caption: str, wanted: Callable[[str], bool]
) -> Table:
    """The measurements of one iteration whose name is wanted."""
    rows = []
    for name, m in records.measurements(iteration).items():
        if wanted(name):
            why = f"{m.method} (version {m.version})" + (f"; {m.reason}" if m.reason else "")
            cells = (name, *figures(m), number(m.baseline), m.unit, str(m.n), str(m.n_prompts), why)
            rows.append(Row(cells, measured_at(records, iteration, name)))
    return Table(f"{caption}, {short_name(iteration)}", DETAIL, tuple(rows), prose=(7,))


def cited(table: Table) -> tuple[Source, ...]:
    """The records of a table, one a file."""
    found: dict[str, Source] = {}
    for row in table.rows:
        for s in row.sources:
            found.setdefault(s.path, s)
    return tuple(found.values())


def joined(parts: Sequence[str], most: int = 12) -> str:
    """Parts as one sentence's list; a long one is cut, and says how many there are."""
    shown = "; ".join(parts[:most])
    return shown if len(parts) <= most else f"{shown}; and {len(parts) - most} more"
