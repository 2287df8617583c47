"""What the record says to one question, and what the readings of a run share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probes.base import Measurement
from reports.document.model import Chart, Row, Table
from reports.record.files import Records, Source
from reports.record.series import iterations, short_name
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.shown import number, together
from restaudit.gates import Decision

NO_LOOK = "the run has not audited a policy yet"
NO_ITERATION = "the run has not audited an iteration yet"
# Columns of a table over iterations, and of one at a single look.
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
    """What the record says: a value and perhaps tables, or why there is nothing.

    value           a sentence or, about a reward model, plain JSON; None where tables say it all
    absent          why there is nothing
    not_applicable  the question makes no sense here, for the reason in `absent`
    """

    value: Any = None
    sources: tuple[Source, ...] = ()
    tables: tuple[Table | Chart, ...] = ()
    absent: str = ""
    not_applicable: bool = False

    @property
    def says(self) -> bool:
        """Whether the record answers."""
        return self.value not in (None, "") or bool(self.tables)


Read = Callable[[Records], Reading]


def absent(reason: str, *sources: Source) -> Reading:
    """Nothing is recorded, for this reason."""
    return Reading(absent=reason, sources=sources)


def not_applicable(reason: str, *sources: Source) -> Reading:
    """The question makes no sense here."""
    return Reading(absent=reason, sources=sources, not_applicable=True)


def named(functions: Iterable[Read]) -> dict[str, Read]:
    """Readings by the name that the clause data calls them."""
    return {f.__name__: f for f in functions}


def plan(records: Records) -> Mapping[str, Any]:
    """The sealed plan, as the ledger has it."""
    sealed_plan: Mapping[str, Any] = records.json("plan.json")
    return sealed_plan


def config(records: Records, section: str) -> Mapping[str, Any]:
    """A section of the sealed configuration; empty where the plan has none."""
    part = plan(records)["config"].get(section)
    return part if isinstance(part, Mapping) else {}


def sealed(records: Records, place: str) -> Source:
    """A place in the sealed plan."""
    return records.source("plan.json", place)


def recorded(records: Records, name: str) -> Mapping[str, Any] | None:
    """A recorded JSON file, or None where no finished step recorded it."""
    if not records.has(name):
        return None
    content = records.json(name)
    return content if isinstance(content, Mapping) else None


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
    # A run that was halted and let go on ends like any other, so the end comes first.
    if "end" in records.run.done:
        return "done"
    if records.run.halt is not None:
        return "halted"
    if records.run.waits:
        return "waiting for people"
    return "not finished"


def without_folder(message: str, records: Records) -> str:
    """A message without the place of the run folder: a document must not depend on where the folder
    lies.
    """
    path = str(records.run.path)
    return message.replace(f"{path}/", "").replace(path, "the run folder")


def last_audit(records: Records) -> str | None:
    """The newest audited iteration; None where nothing was audited."""
    looks = iterations(records.run)
    return looks[-1] if looks else None


def audited(records: Records, *, base: bool = True) -> list[str]:
    """Audited iterations in order, with or without the base policy."""
    looks = iterations(records.run)
    return looks if base else looks[1:]


def decisions(records: Records) -> list[tuple[Decision, Source]]:
    """The decisions of the run in order, each with its record."""
    recorded_decisions = []
    for iteration in audited(records):
        name = f"{iteration}/decision.json"
        # The base policy has none, nor has a look whose gates were not asked yet.
        if records.has(name):
            decision = records.decision(iteration)
            recorded_decisions.append((decision, records.source(name, "gates")))
    return recorded_decisions


def measured_at(records: Records, iteration: str, *places: str) -> tuple[Source, ...]:
    """The measurements of an iteration as a source."""
    return tuple(
        records.source(f"{iteration}/measurements.json", p) for p in places or ("measurements",)
    )


def with_interval(m: Measurement) -> str:
    """A value with its interval, unit and counts; or why there is none."""
    if m.value is None:
        return f"not measured ({m.reason})"
    # Value, interval and counts go together, so that no sentence can quote one without the others.
    value, interval = figures(m)
    return f"{value} {m.unit}, 95% interval {interval}, {m.n} texts of {m.n_prompts} prompts"


def figures(m: Measurement) -> tuple[str, str]:
    """The value and the 95% interval as text."""
    if m.value is None:
        return "not measured", "–"
    interval = m.interval()
    if interval is None:
        return number(m.value), "not given"
    value, low, high = together(m.value, interval.low, interval.high)
    return value, f"{low} to {high}"


def human_named(records: Records, names: Mapping[str, str]) -> dict[str, str]:
    """Labels in which "human score" also says what it is: SIMULATED and its like stand wherever a
    figure of it does.
    """
    newest = last_audit(records)
    human: Mapping[str, Any] = {}
    if newest is not None:
        human = records.json(f"{newest}/measurements.json").get("human") or {}
    # The label's first word (SIMULATED, LEXICON, MODEL …) is enough beside every figure.
    kind = str(human.get("label") or "NONE").split(" ")[0]
    return {
        name: label.replace("human score", f"human score ({kind})") for name, label in names.items()
    }


def phrases_at(records: Records, iteration: str, names: Mapping[str, str]) -> list[str]:
    """What was measured of some measures at one iteration, a phrase each; those without a value are
    left out.
    """
    measured = records.measurements(iteration)
    labels = human_named(records, names)
    phrases = []
    for name in names:
        if name in measured and measured[name].value is not None:
            phrases.append(f"{labels[name]} {with_interval(measured[name])}")
    return phrases


def over_iterations(records: Records, caption: str, names: Mapping[str, str]) -> Table:
    """Some measurements at every audited iteration; `names` maps a measurement to what it is called
    here.
    """
    rows = []
    measured = {i: records.measurements(i) for i in audited(records)}
    for name, label in human_named(records, names).items():
        for iteration, by_name in measured.items():
            if name not in by_name:
                continue
            m = by_name[name]
            counts = (m.unit, str(m.n), str(m.n_prompts))
            cells = (label, short_name(iteration), *figures(m), *counts, m.reason or "–")
            rows.append(Row(cells, measured_at(records, iteration, name)))
    return Table(caption, SERIES, tuple(rows), prose=(7,))


def at_iteration(
    records: Records, iteration: str, caption: str, wanted: Callable[[str], bool]
) -> Table:
    """The measurements of one iteration whose name is wanted."""
    rows = []
    for name, m in records.measurements(iteration).items():
        if wanted(name):
            why = f"{m.method} (version {m.version})"
            if m.reason:
                why += f"; {m.reason}"
            cells = (name, *figures(m), number(m.baseline), m.unit, str(m.n), str(m.n_prompts), why)
            rows.append(Row(cells, measured_at(records, iteration, name)))
    return Table(f"{caption}, {short_name(iteration)}", DETAIL, tuple(rows), prose=(7,))


def cited(table: Table) -> tuple[Source, ...]:
    """The records of a table, one a file."""
    # The rows cite their places; under the answer a file once is enough to go and look.
    by_file: dict[str, Source] = {}
    for row in table.rows:
        for source in row.sources:
            by_file.setdefault(source.path, source)
    return tuple(by_file.values())


def joined(parts: Sequence[str], most: int = 12) -> str:
    """Parts as one sentence's list; a long one is cut, and says how many there are."""
    shown = "; ".join(parts[:most])
    if len(parts) > most:
        shown += f"; and {len(parts) - most} more"
    return shown
