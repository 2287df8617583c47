"""A framework's document of a run: gaps first, then what it rests on, then clause by clause."""

from __future__ import annotations

from collections import Counter

from reports.document.model import Block, Document, Fact, Facts, Paragraph, Row, Section, Table
from reports.frameworks.answers import Answer, answer
from reports.frameworks.declared import FILE, Declarations
from reports.frameworks.reading import state
from reports.frameworks.schema import Clause, Framework, dates, framework, questions
from reports.frameworks.scope import screen_blocks
from reports.record.files import Records
from reports.record.series import human_score, iterations
from restaudit.errors import BadInput
from restaudit.evidence.statuses import MEANINGS

NO_VERDICT = (
    "This document says what is written down about a run. It gives no verdict of conformity."
)
COVERAGE = "Documentation coverage"
PEOPLE = "PEOPLE"


def framework_document(
    records: Records, framework_id: str, declarations: Declarations | None
) -> Document:
    """The document of one framework; the same record and declarations give the same document.

    Raises BadInput for an unknown framework or a run without a sealed plan, VerificationFailed
    where a file that is read is not as it was recorded.
    """
    of = framework(framework_id)
    if not records.run.events:
        raise BadInput(
            f"{records.run.path}: its plan is not sealed yet, so there is nothing to document"
        )
    configured = records.json("plan.json").get("config")
    if not isinstance(configured, dict) or "name" not in configured:
        raise BadInput(f"{records.run.path}/plan.json: it holds no configuration with a name")
    answers = {key: answer(questions()[key], records, declarations) for key in of.keys}
    shown: dict[str, str] = {}
    parts = tuple(
        Section(
            part.key,
            part.title,
            tuple(b for c in part.clauses for b in _clause(c, answers, shown, declarations)),
        )
        for part in of.parts
    )
    return Document(
        kind=of.id,
        title=of.title,
        subtitle=(
            f"run {records.run.name} ({records.run.run_id}); {of.version}; questions as of "
            f"{of.as_of}"
        ),
        banner=_banner(records, answers),
        sections=(_gaps(of, answers), _about(of, records, answers, declarations), *parts),
        heads=((records.run.name, records.head),),
    )


def coverage(answers: dict[str, Answer]) -> str:
    """How many fields are answered; a count of what is written down, and nothing else."""
    n, of = sum(a.answered for a in answers.values()), len(answers)
    counts = Counter(a.status for a in answers.values())
    return (
        f"{COVERAGE}: {n} of {of} answered, not conformity; {counts['MISSING']} are missing and "
        f"{counts['N-A']} do not apply."
    )


def by_clause(of: Framework, answers: dict[str, Answer]) -> str:
    """How many clauses have all, some or none of their fields answered; a field that does not apply
    is left out.
    """
    counts = {"all": 0, "some": 0, "none": 0}
    for clause in of.clauses:
        asked = [answers[k].answered for k in clause.answer if answers[k].status != "N-A"]
        counts["all" if all(asked) else "some" if any(asked) else "none"] += 1
    return (
        f"Of {len(of.clauses)} clauses, {counts['all']} have every field answered, "
        f"{counts['some']} some, {counts['none']} none."
    )


def _banner(records: Records, answers: dict[str, Answer]) -> tuple[str, ...]:
    run = records.run
    said = [
        (
            f"OVERRIDE at {o.iteration}: {o.by} let the run go on after HALT "
            f"({', '.join(o.gates)}): {o.reason}"
        )
        for o in run.overrides()
    ]
    if run.halt is not None:
        said.append(
            f"HALTED at {run.halt.iteration}: the sealed policy stopped this run "
            f"({', '.join(run.halt.gates)})."
        )
    elif (where := state(records)) != "done":
        said.append(f"This run is {where}. What is said here may change.")
    if (human := _human(records)) is not None:
        said.append(human)
    return (*said, NO_VERDICT, coverage(answers))


def _human(records: Records) -> str | None:
    """A sentence where no person judged the texts of this run."""
    if audits := iterations(records.run):
        records.checked(f"{audits[0]}/measurements.json")
    found = human_score(records.run)
    if found.name.startswith(PEOPLE):
        return None
    if found.name == "NONE":
        return (
            "No human score: nobody, and nothing in place of people, judged the texts of this "
            f"run. {found.description}"
        )
    return (
        f"The human score is {found.name}. It is not people's judgement of these texts. "
        f"{found.description}"
    )


def _gaps(of: Framework, answers: dict[str, Answer]) -> Section:
    missing = [a for a in answers.values() if a.status == "MISSING"]
    if not missing:
        said = (
            "No field is missing. That counts fields, and says nothing about what stands in them."
        )
        return Section("gaps", "What is missing", (Paragraph(said),))
    clauses = {k: ", ".join(c.id for c in of.clauses if k in c.answer) for k in answers}
    rows = tuple(
        Row((clauses[a.question.key], a.question.asks, a.value, a.question.who), a.sources)
        for a in missing
    )
    table = Table(
        f"{len(rows)} of {len(answers)} fields",
        ("clause", "question", "why", "who could say"),
        rows,
        prose=(1, 2, 3),
    )
    how = (
        "People answer with a form: restaudit declare RUN writes it, and restaudit declare RUN "
        "--from FORM keeps it."
    )
    return Section("gaps", "What is missing", (table, Paragraph(how, "note")))


def _about(
    of: Framework, records: Records, answers: dict[str, Answer], declared: Declarations | None
) -> Section:
    counts = Counter(a.status for a in answers.values())
    statuses = tuple(Row((s, str(counts[s]), meaning)) for s, meaning in MEANINGS.items())
    blocks: list[Block] = [
        Paragraph(f"{coverage(answers)} {by_clause(of, answers)}"),
        Table("Fields by status", ("status", "fields", "meaning"), statuses, prose=(2,)),
        Facts(
            (Fact("Text", of.version), Fact("Source", of.source), Fact("Looked at", str(of.as_of))),
            "What was asked",
        ),
        *(Paragraph(limit, "note") for limit in of.limits),
        _declared(declared),
    ]
    if mine := [d for d in dates() if of.id in d.for_]:
        rows = tuple(
            Row(
                (
                    str(d.date),
                    d.says,
                    d.source,
                    str(d.as_of),
                    "check before quoting" if d.check else "–",
                )
            )
            for d in mine
        )
        columns = ("date", "what applies", "source", "as of", "note")
        blocks.append(Table("Dates, as of the day given", columns, rows, prose=(1, 2)))
    if of.screen:
        blocks += screen_blocks(records, declared)
    return Section("about", "What this rests on", tuple(blocks))


def _declared(declared: Declarations | None) -> Block:
    if declared is None or not declared.answers:
        return Paragraph(
            "Nobody has declared anything about this run: what only people can say is missing.",
            "warning",
        )
    role = f", {declared.role}" if declared.role else ""
    name = declared.signature_file
    signed = (
        f"Signature file named: {name}; it was not checked here."
        if name
        else "The form names no signature file."
    )
    said = (
        f"DECLARED answers were given by {declared.declared_by}{role} on {declared.date}. Nobody "
        f"verified them. They stand in {FILE}, SHA-256 {declared.sha256}, which the ledger does "
        f"not cover. {signed}"
    )
    return Paragraph(said, "warning", (declared.source("all answers"),))


def _clause(
    clause: Clause, answers: dict[str, Answer], shown: dict[str, str], declared: Declarations | None
) -> list[Block]:
    """A clause's fields, and the tables that stand here first; `shown` says where a table stands
    already.
    """
    rows, tables = [], []
    for key in clause.answer:
        a = answers[key]
        value = (
            a.value
            if a.answered
            else f"{a.value}. Who could say: {a.question.who}"
            if a.status == "MISSING"
            else a.value
        )
        if a.table is not None and key in shown:
            value += f" (table under {shown[key]})"
        elif a.table is not None:
            shown[key] = clause.id
            tables.append(a.table)
        rows.append(Fact(a.question.asks, value, a.status, a.sources))
        if a.declared is not None and declared is not None:
            said = f"{declared.declared_by} adds, unverified: {a.declared}"
            rows.append(
                Fact(a.question.asks, said, "DECLARED", (declared.source(f"answers.{key}"),))
            )
    blocks: list[Block] = [Facts(tuple(rows), f"{clause.id}: {clause.asks}"), *tables]
    return [*blocks, Paragraph(clause.note, "note")] if clause.note else blocks
