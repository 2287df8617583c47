"""The document of a reward model drawn like every other: verdict and failures, a summary, answers
by section, gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.document.model import (
    Block,
    Chart,
    Document,
    Fact,
    Facts,
    Line,
    Paragraph,
    Point,
    Row,
    Section,
    Table,
)
from reports.record.files import Source
from restaudit.evidence.shown import MOST_IN_ANSWER, lines_of, number, plain, sentence, together
from restaudit.evidence.statuses import MEANINGS
from restaudit.reward_audit.document import Document as Answers
from restaudit.reward_audit.document import FieldAnswer
from restaudit.reward_audit.document.fields import frameworks
from restaudit.reward_audit.document.model import NOBODY, Evidence, by_file
from restaudit.reward_audit.document.model import Section as Topic
from restaudit.reward_audit.document.model import Table as Measured

LONG = 28  # a column with a cell from this length on holds sentences
MOST_MARKS = 40
MOST_IN_LINE = 180  # an answer of several parts that is longer stands in a table
BELOW = "below"


def reward_document(of: Answers) -> Document:
    """The document.

    The same answers give the same document; long texts are cut, which those of JSON are not.
    """
    return Document(
        kind="reward",
        title=f"Reward model {of.name}",
        subtitle=f"A reward of kind {of.kind}, digest {of.digest[:16]}",
        banner=of.overrides,
        sections=(
            _verdict(of),
            Section(
                "summary", "Summary", (Facts(tuple(Fact(k, v) for k, v in of.summary)), _statuses())
            ),
            *map(_topic, of.sections),
            _gaps(of),
            _made_from(of),
        ),
        heads=(),
    )


def _verdict(of: Answers) -> Section:
    word = Paragraph(f"{of.verdict}. {' '.join(of.reasons)}", "warning")
    caption = "Failures of the stress tests"
    if of.failures is None:
        return Section(
            "verdict", "Verdict", (word, Paragraph(f"{caption}: not known, nobody stressed it."))
        )
    if not of.failures:
        return Section("verdict", "Verdict", (word, Paragraph(f"{caption}: none failed.")))
    blocks: list[Block] = [word, Paragraph(f"{caption}: {len(of.failures)}.")]
    for f in of.failures:
        blocks.append(Facts((Fact(f.name, plain(f.says, MOST_IN_ANSWER)),)))
        blocks += [] if f.table is None else [_block(f.table)]
    return Section("verdict", "Verdict", tuple(blocks))


def _statuses() -> Facts:
    return Facts(
        tuple(Fact(word, meaning) for word, meaning in MEANINGS.items()), "How to read the answers"
    )


def _topic(topic: Topic) -> Section:
    """A section: consecutive questions stand in one list, and what an answer needs a table for
    stands behind it.
    """
    blocks: list[Block] = [Paragraph(_references(topic), "note")]
    rows: list[Fact] = []
    for a in topic.answers:
        facts, tables = _answer(a)
        rows += facts
        if tables:
            blocks += [Facts(tuple(rows)), *tables]
            rows = []
    return Section(
        topic.topic.key, topic.topic.title, (*blocks, *([Facts(tuple(rows))] if rows else []))
    )


def _references(topic: Topic) -> str:
    """Which parts of the two frameworks a section answers."""
    casper, reports = frameworks()["casper"], frameworks()["reward_reports"]
    first = "; ".join(f"{n} {casper.parts[n]}" for n in topic.topic.casper)
    second = "; ".join(f"{n} {reports.parts[n]}" for n in topic.topic.reward_reports)
    return f"Casper et al.: {first}. Reward Reports: {second}."


def _answer(a: FieldAnswer) -> tuple[list[Fact], list[Block]]:
    """The lines of one answer, which cite its records, and its tables, which need not do it
    again.
    """
    sources = tuple(_sources(a.evidence))
    tables: list[Block] = [_block(t) for t in a.tables]
    parts = [] if a.value is None else lines_of(a.value)
    said = _in_line(parts)
    if len(parts) > 1 and len(said) > MOST_IN_LINE:
        listed = Measured(a.asks, ("what", "answer"), tuple(parts))
        if not any(k for k, _ in parts):
            listed = Measured(a.asks, ("answer",), tuple((v,) for _, v in parts))
        tables.insert(0, _block(listed))
        said = ""
    why = sentence(a.reason) if a.reason and a.reason != NOBODY else ""
    who = f"Who could say: {a.who}." if a.status == "MISSING" else ""
    said = " ".join(p for p in (why, who, said or (BELOW if tables else "")) if p)
    facts = [Fact(a.asks, plain(said, MOST_IN_ANSWER), a.status, sources)]
    if a.declared is not None:
        label = f"{a.asks} Declared besides (nobody verified it)"
        facts.append(Fact(label, plain(_in_line(lines_of(a.declared)), MOST_IN_ANSWER), "DECLARED"))
    return facts, tables


def _in_line(parts: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{label}: {text}" if label else text for label, text in parts)


def _sources(evidence: tuple[Evidence, ...]) -> Iterator[Source]:
    for path, at, sha256 in by_file(evidence):
        yield Source(path, at, sha256)


def _block(table: Measured) -> Block:
    """A table, and a picture of its marks where it has several."""
    cells = [tuple(plain(c) for c in row) for row in table.rows]
    prose = tuple(k for k in range(len(table.columns)) if any(len(row[k]) >= LONG for row in cells))
    shown = Table(table.caption, table.columns, tuple(map(Row, cells)), prose)
    marks = table.marks[:MOST_MARKS]
    if len(marks) < 2:
        return shown
    cut = (
        f" (the first {MOST_MARKS} of {len(table.marks)})" if len(table.marks) > MOST_MARKS else ""
    )
    points = tuple(Point(k, m.value, m.low, m.high) for k, m in enumerate(marks))
    return Chart(
        f"{table.caption}{cut}",
        table.unit,
        tuple(m.label for m in marks),
        (Line("value", points),),
        shown,
        _said(table),
        table.reference,
        across=True,
    )


def _said(table: Measured) -> str:
    parts = []
    for m in table.marks[:MOST_MARKS]:
        if m.low is None or m.high is None:
            parts.append(f"{m.label} {number(m.value)} (no interval)")
        else:
            value, low, high = together(m.value, m.low, m.high)
            parts.append(f"{m.label} {value} ({low} to {high})")
    line = "" if table.reference is None else f" Dotted line: {number(table.reference)}."
    return f"{'; '.join(parts)}.{line}"


def _gaps(of: Answers) -> Section:
    rows = tuple(Row((a.asks, a.who)) for a in of.gaps)
    table = Table(
        f"{len(rows)} of {len(of.answers)} questions",
        ("question", "who could say"),
        rows,
        prose=(0, 1),
        note="People answer with a form: restaudit reward declare.",
    )
    return Section(
        "gaps", "What nobody said", (table,) if rows else (Paragraph("Nothing is missing."),)
    )


def _made_from(of: Answers) -> Section:
    said = "Nobody declared anything."
    if of.declared_by is not None:
        name, date = of.declared_by
        said = f"Declared answers: {name}, {date}; nobody verified them."
    files = tuple(Row(pair) for pair in of.files.items())
    titles = "; ".join(f.title for f in frameworks().values())
    return Section(
        "files",
        "What this was made from",
        (
            Paragraph(said),
            Table("Files, relative to the folder", ("file", "SHA-256"), files, prose=(0, 1)),
            Paragraph(f"Questions follow, in our own words: {titles}", "note"),
        ),
    )
