"""The answers about a reward model drawn as a document like every other: verdict and failures, a
summary, answers by topic, gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.document.model import (
    MEANINGS,
    Block,
    Chart,
    Document,
    Fact,
    Facts,
    Line,
    Paragraph,
    Row,
    Section,
    Table,
    table_of,
)
from reports.frameworks.answers import NOBODY, Answer
from reports.frameworks.readings.reward_model import in_words
from reports.frameworks.schema import Topic, reward_questions
from reports.reward.answers import AnsweredTopic, RewardAnswers, by_file
from restaudit.evidence.shown import MOST_IN_ANSWER, lines_of, plain, sentence

LONG = 28  # a column with a cell from this length on holds sentences
MOST_MARKS = 40  # more rows than that no page can hold
MOST_IN_LINE = 180  # an answer of several parts that is longer stands in a table
BELOW = "below"


def reward_document(of: RewardAnswers) -> Document:
    """The document.

    The same answers give the same document; long texts are cut, which those of JSON are not.
    """
    summary = Facts(tuple(Fact(label, text) for label, text in of.summary))
    return Document(
        kind="reward",
        title=f"Reward model {of.name}",
        subtitle=f"A reward of kind {of.kind}, digest {of.digest[:16]}",
        banner=of.overrides,
        sections=(
            _verdict(of),
            Section("summary", "Summary", (summary, _statuses())),
            *map(_topic, of.topics),
            _gaps(of),
            _made_from(of),
        ),
        heads=(),
    )


def _verdict(of: RewardAnswers) -> Section:
    word = Paragraph(f"{of.verdict}. {' '.join(of.reasons)}", "warning")
    caption = "Failures of the stress tests"
    if of.failures is None:
        failures = [Paragraph(f"{caption}: not known, nobody stressed it.")]
        return Section("verdict", "Verdict", (word, *failures))
    if not of.failures:
        return Section("verdict", "Verdict", (word, Paragraph(f"{caption}: none failed.")))
    blocks: list[Block] = [word, Paragraph(f"{caption}: {len(of.failures)}.")]
    for failure in of.failures:
        blocks.append(Facts((Fact(failure.name, plain(failure.says, MOST_IN_ANSWER)),)))
        if failure.table is not None:
            blocks.append(_shown(failure.table))
    return Section("verdict", "Verdict", tuple(blocks))


def _statuses() -> Facts:
    meanings = tuple(Fact(word, meaning) for word, meaning in MEANINGS.items())
    return Facts(meanings, "How to read the answers")


def _topic(answered: AnsweredTopic) -> Section:
    """A section: consecutive questions stand in one list, and what an answer needs a table for
    stands behind it.
    """
    blocks: list[Block] = [Paragraph(_references(answered.topic), "note")]
    rows: list[Fact] = []
    for answer in answered.answers:
        facts, tables = _answer(answer)
        rows += facts
        if tables:
            blocks += [Facts(tuple(rows)), *tables]
            rows = []
    if rows:
        blocks.append(Facts(tuple(rows)))
    return Section(answered.topic.key, answered.topic.title, tuple(blocks))


def _references(topic: Topic) -> str:
    """Which parts of the two papers a section answers."""
    papers = reward_questions().papers

    def listed(name: str) -> str:
        return "; ".join(f"{part} {papers[name].parts[part]}" for part in topic.parts[name])

    return f"Casper et al.: {listed('casper')}. Reward Reports: {listed('reward_reports')}."


def _answer(answer: Answer) -> tuple[list[Fact], list[Block]]:
    """The lines of one answer, which cite its records, and its tables, which need not do it
    again.
    """
    asks = answer.question.asks
    tables: list[Block] = [_shown(block) for block in answer.tables]
    parts: Sequence[tuple[str, str]] = []
    if answer.value is not None:
        parts = lines_of(answer.value)
    text = _in_line(parts)
    if len(parts) > 1 and len(text) > MOST_IN_LINE:
        tables.insert(0, _shown(_listed(asks, parts)))
        text = ""
    # Where tables say it all, the line says where to look.
    if not text and tables:
        text = BELOW
    sentences = [text]
    if answer.status == "MISSING":
        sentences.insert(0, f"Who could say: {answer.question.who}.")
    # The status MISSING says "not provided" already.
    if answer.reason != NOBODY:
        sentences.insert(0, sentence(answer.reason))
    shown = plain(" ".join(filter(None, sentences)), MOST_IN_ANSWER)
    facts = [Fact(asks, shown, answer.status, tuple(by_file(answer.sources)))]
    if answer.declared is not None:
        label = f"{asks} Declared besides (nobody verified it)"
        declared = plain(_in_line(lines_of(answer.declared)), MOST_IN_ANSWER)
        facts.append(Fact(label, declared, "DECLARED"))
    return facts, tables


def _in_line(parts: Sequence[tuple[str, str]]) -> str:
    texts = []
    for label, text in parts:
        texts.append(f"{label}: {text}" if label else text)
    return "; ".join(texts)


def _listed(asks: str, parts: Sequence[tuple[str, str]]) -> Table:
    """An answer of many parts, a row a part."""
    if any(label for label, _ in parts):
        return Table(asks, ("what", "answer"), tuple(map(Row, parts)))
    return Table(asks, ("answer",), tuple(Row((text,)) for _, text in parts))


def _shown(block: Table | Chart) -> Table | Chart:
    """A table of texts that are cut, and a picture where there are several values to compare."""
    table = table_of(block)
    # `plain` cuts: a text of the training data may be longer than a page.
    rows = [Row(tuple(plain(cell) for cell in row.cells)) for row in table.rows]
    # Columns of sentences get the width that is left, figures what they need.
    prose = []
    for k in range(len(table.columns)):
        if any(len(row.cells[k]) >= LONG for row in rows):
            prose.append(k)
    table = Table(table.caption, table.columns, tuple(rows), tuple(prose))
    # A picture of one value says no more than the value.
    if not isinstance(block, Chart) or len(block.labels) < 2:
        return table
    if len(block.labels) <= MOST_MARKS:
        return replace(block, table=table)
    labels, points = block.labels[:MOST_MARKS], block.lines[0].points[:MOST_MARKS]
    return replace(
        block,
        title=f"{block.title} (the first {MOST_MARKS} of {len(block.labels)})",
        labels=labels,
        lines=(Line("value", points),),
        table=table,
        said=in_words(labels, points, block.reference),
    )


def _gaps(of: RewardAnswers) -> Section:
    title = "What nobody said"
    if not of.gaps:
        return Section("gaps", title, (Paragraph("Nothing is missing."),))
    table = Table(
        f"{len(of.gaps)} of {len(of.answers)} questions",
        ("question", "who could say"),
        tuple(Row((gap.question.asks, gap.question.who)) for gap in of.gaps),
        prose=(0, 1),
        note="People answer with a form: restaudit reward declare.",
    )
    return Section("gaps", title, (table,))


def _made_from(of: RewardAnswers) -> Section:
    declared = "Nobody declared anything."
    if of.declared_by is not None:
        name, date = of.declared_by
        declared = f"Declared answers: {name}, {date}; nobody verified them."
    files = tuple(Row(pair) for pair in of.files.items())
    titles = "; ".join(paper.title for paper in reward_questions().papers.values())
    blocks = (
        Paragraph(declared),
        Table("Files, relative to the folder", ("file", "SHA-256"), files, prose=(0, 1)),
        Paragraph(f"Questions follow, in our own words: {titles}", "note"),
    )
    return Section("files", "What this was made from", blocks)
