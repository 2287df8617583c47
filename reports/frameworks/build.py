"""A framework's document of a run: gaps first, then what it rests on, then clause by clause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from reports.document.model import (
    MEANINGS,
    Block,
    Chart,
    Document,
    Fact,
    Facts,
    Paragraph,
    Row,
    Section,
    Table,
)
from reports.frameworks.answers import Answer, run_answer
from reports.frameworks.declared import Declarations
from reports.frameworks.readings.material import state
from reports.frameworks.schema import Clause, Date, Framework, dates, framework, run_questions
from reports.frameworks.scope import screen_blocks
from reports.record.files import Records
from reports.record.series import human_score, iterations
from restaudit.errors import BadInput

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
    # The readings take the configuration for granted, so a plan without one is refused here.
    configured = records.json("plan.json").get("config")
    if not isinstance(configured, dict) or "name" not in configured:
        raise BadInput(f"{records.run.path}/plan.json: it holds no configuration with a name")
    questions = run_questions().questions
    answers = {key: run_answer(questions[key], records, declarations) for key in of.keys}
    # Many clauses ask for the same field: its table stands where it is first asked for.
    shown: dict[str, str] = {}
    parts = []
    for part in of.parts:
        blocks: list[Block] = []
        for clause in part.clauses:
            blocks += _clause(clause, answers, shown, declarations)
        parts.append(Section(part.key, part.title, tuple(blocks)))
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


def coverage(answers: Mapping[str, Answer]) -> str:
    """How many fields are answered; a count of what is written down, and nothing else."""
    answered = sum(answer.answered for answer in answers.values())
    by_status = Counter(answer.status for answer in answers.values())
    missing, aside = by_status["MISSING"], by_status["N-A"]
    return (
        f"{COVERAGE}: {answered} of {len(answers)} answered, not conformity; "
        f"{missing} {'is' if missing == 1 else 'are'} missing and "
        f"{aside} {'does' if aside == 1 else 'do'} not apply."
    )


def by_clause(of: Framework, answers: Mapping[str, Answer]) -> str:
    """How many clauses have all, some or none of their fields answered; a field that does not apply
    is left out.
    """
    counts = {"all": 0, "some": 0, "none": 0}
    for clause in of.clauses:
        fields = [answers[key] for key in clause.answer]
        answered = [field.answered for field in fields if field.status != "N-A"]
        # A clause of which nothing applies leaves nothing open, so it counts as answered.
        if all(answered):
            counts["all"] += 1
        elif any(answered):
            counts["some"] += 1
        else:
            counts["none"] += 1
    return (
        f"Of {len(of.clauses)} clauses, {counts['all']} have every field answered, "
        f"{counts['some']} some, {counts['none']} none."
    )


def _banner(records: Records, answers: Mapping[str, Answer]) -> tuple[str, ...]:
    """What nobody may miss, on the first page: overrides, a halt, and whose judgement it rests
    on.
    """
    run = records.run
    lines = [
        f"OVERRIDE at {o.iteration}: {o.by} let the run go on after HALT "
        f"({', '.join(o.gates)}): {o.reason}"
        for o in run.overrides()
    ]
    where = state(records)
    # A halt says more than that the run has not ended, so it takes the place of that line.
    if run.halt is not None:
        lines.append(
            f"HALTED at {run.halt.iteration}: the sealed policy stopped this run "
            f"({', '.join(run.halt.gates)})."
        )
    elif where != "done":
        lines.append(f"This run is {where}. What is said here may change.")
    human = _human(records)
    if human is not None:
        lines.append(human)
    return (*lines, NO_VERDICT, coverage(answers))


def _human(records: Records) -> str | None:
    """A sentence where no person judged the texts of this run."""
    audits = iterations(records.run)
    # `human_score` reads the first audit as it lies there; it is compared with the ledger here.
    if audits:
        records.checked(f"{audits[0]}/measurements.json")
    score = human_score(records.run)
    if score.name.startswith(PEOPLE):
        return None
    if score.name == "NONE":
        return (
            "No human score: nobody, and nothing in place of people, judged the texts of this "
            f"run. {score.description}"
        )
    return (
        f"The human score is {score.name}. It is not people's judgement of these texts. "
        f"{score.description}"
    )


def _gaps(of: Framework, answers: Mapping[str, Answer]) -> Section:
    title = "What is missing"
    rows = []
    for key, answer in answers.items():
        if answer.status == "MISSING":
            clauses = ", ".join(clause.id for clause in of.clauses if key in clause.answer)
            question = answer.question
            cells = (clauses, question.asks, answer.reason, question.who)
            rows.append(Row(cells, answer.sources))
    if not rows:
        nothing = (
            "No field is missing. That counts fields, and says nothing about what stands in them."
        )
        return Section("gaps", title, (Paragraph(nothing),))
    table = Table(
        f"{len(rows)} of {len(answers)} fields",
        ("clause", "question", "why", "who could say"),
        tuple(rows),
        prose=(1, 2, 3),
    )
    form = (
        "People answer with a form: restaudit declare RUN writes it, and restaudit declare RUN "
        "--from FORM keeps it."
    )
    return Section("gaps", title, (table, Paragraph(form, "note")))


def _about(
    of: Framework,
    records: Records,
    answers: Mapping[str, Answer],
    declarations: Declarations | None,
) -> Section:
    by_status = Counter(answer.status for answer in answers.values())
    statuses = tuple(
        Row((status, str(by_status[status]), meaning)) for status, meaning in MEANINGS.items()
    )
    text = (Fact("Text", of.version), Fact("Source", of.source), Fact("Looked at", str(of.as_of)))
    blocks: list[Block] = [
        Paragraph(f"{coverage(answers)} {by_clause(of, answers)}"),
        Table("Fields by status", ("status", "fields", "meaning"), statuses, prose=(2,)),
        Facts(text, "What was asked"),
        *(Paragraph(limit, "note") for limit in of.limits),
        _declared(declarations),
    ]
    mine = [day for day in dates() if of.id in day.for_]
    if mine:
        columns = ("date", "what applies", "source", "as of", "note")
        rows = tuple(map(_date, mine))
        blocks.append(Table("Dates, as of the day given", columns, rows, prose=(1, 2)))
    if of.screen:
        blocks += screen_blocks(records, declarations)
    return Section("about", "What this rests on", tuple(blocks))


def _date(day: Date) -> Row:
    note = "check before quoting" if day.check else "–"
    return Row((str(day.date), day.says, day.source, str(day.as_of), note))


def _declared(declarations: Declarations | None) -> Block:
    """Who declared what, and that nobody verified it."""
    if declarations is None or not declarations.answers:
        return Paragraph(
            "Nobody has declared anything about this run: what only people can say is missing.",
            "warning",
        )
    role = ""
    if declarations.role:
        role = f", {declarations.role}"
    signed = "The form names no signature file."
    if declarations.signature_file:
        signed = f"Signature file named: {declarations.signature_file}; it was not checked here."
    text = (
        f"DECLARED answers were given by {declarations.declared_by}{role} on {declarations.date}. "
        f"Nobody verified them. They stand in {declarations.file}, SHA-256 {declarations.sha256}, "
        f"which the ledger does not cover. {signed}"
    )
    return Paragraph(text, "warning", (declarations.source("all answers"),))


def _clause(
    clause: Clause,
    answers: Mapping[str, Answer],
    shown: dict[str, str],
    declarations: Declarations | None,
) -> list[Block]:
    """A clause's fields, and the tables that stand here first; `shown` says where a table stands
    already.
    """
    rows: list[Fact] = []
    tables: list[Table | Chart] = []
    for key in clause.answer:
        answer = answers[key]
        value = answer.reason
        if answer.answered:
            value = str(answer.value)
        if answer.status == "MISSING":
            value += f". Who could say: {answer.question.who}"
        if answer.tables and key in shown:
            value += f" (table under {shown[key]})"
        elif answer.tables:
            shown[key] = clause.id
            tables += answer.tables
        rows.append(Fact(answer.question.asks, value, answer.status, answer.sources))
        if answer.declared is not None and declarations is not None:
            besides = f"{declarations.declared_by} adds, unverified: {answer.declared}"
            source = declarations.source(f"answers.{key}")
            rows.append(Fact(answer.question.asks, besides, "DECLARED", (source,)))
    blocks: list[Block] = [Facts(tuple(rows), f"{clause.id}: {clause.asks}"), *tables]
    if clause.note:
        blocks.append(Paragraph(clause.note, "note"))
    return blocks
