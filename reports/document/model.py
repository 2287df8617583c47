"""One document model.

What a run's report, a comparison and a clause-by-clause document say; every format draws this.

Text in it is raw: names, samples and declarations as they were given. A format makes it harmless
when it draws it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reports.record.files import Source

# What an answer of a document can be: the same six in every document.
Status = Literal["MEASURED", "RECORDED", "COMPUTED", "DECLARED", "MISSING", "N-A"]
STATUSES: tuple[Status, ...] = get_args(Status)
MEANINGS: Mapping[Status, str] = {
    "MEASURED": "a measurement, with its interval where one could be had",
    "RECORDED": "taken down by the program, from its configuration, data or ledger",
    "COMPUTED": "worked out from what is recorded, by a stated method",
    "DECLARED": "said by a named person; nobody verified it",
    "MISSING": "not provided",
    "N-A": "does not apply, for the reason given",
}


@dataclass(frozen=True)
class Paragraph:
    """A paragraph.

    `kind`: "text"; "note" (small print); "warning" (what a reader must not miss); "verdict" (the
    one sentence that the document comes to; it begins with the verdict's word and a colon).
    """

    text: str
    kind: Literal["text", "note", "warning", "verdict"] = "text"
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Row:
    """Cells of a table and the records its figures come from."""

    cells: tuple[str, ...]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows under a caption.

    `prose` lists columns of sentences; others are figures or short words.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    prose: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Fact:
    """A label, what is said, and (where the document is a list of questions) the status of the
    answer.
    """

    label: str
    value: str
    status: Status | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Facts in order, under an optional caption."""

    rows: tuple[Fact, ...]
    caption: str = ""


@dataclass(frozen=True)
class Point:
    """A value over position `x` (0, 1, …) of the chart's labels, with its interval where there is
    one.
    """

    x: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A series of a chart."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class FitCurve:
    """A line that nobody measured, such as a fit: (x, y) on the axis that the chart's `places`
    stand on.
    """

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """Series over labelled positions, with the same figures as a table.

    unit       what the values count, written at the axis
    reference  a value drawn as a dotted line, or None; `reference_label` says what it is
    said       the chart in words, for who cannot see it
    places     where each label stands on an axis of numbers, called `axis`; without any, one stands
               after the other and the points of a series are joined
    curves     fits, drawn behind the points; only where there are places
    across     values go across and labels stand at the side: for one series of many things with
               long names
    """

    title: str
    unit: str
    labels: tuple[str, ...]
    lines: tuple[Line, ...]
    table: Table
    said: str
    reference: float | None = None
    reference_label: str = ""
    places: tuple[float, ...] = ()
    axis: str = ""
    curves: tuple[FitCurve, ...] = ()
    across: bool = False


@dataclass(frozen=True)
class Passage:
    """Texts that stand side by side, one a column of their group."""

    heading: str
    texts: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Passages:
    """Sample texts side by side.

    `rule` says how they were chosen; `columns` names who wrote them.
    """

    caption: str
    rule: str
    columns: tuple[str, ...]
    rows: tuple[Passage, ...]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Look:
    """One decision in the strip on the first page."""

    name: str
    verdict: str
    note: str
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Strip:
    """All decisions of a run in order."""

    caption: str
    looks: tuple[Look, ...]


Block = Paragraph | Facts | Table | Chart | Passages | Strip


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it.

    `key` is its address in the document, lower case letters and dashes.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """Everything that is shown, in order.

    kind      "run", "comparison", or the name of a framework
    banner    sentences that stand before everything else (overrides, simulated raters)
    heads     ledger heads of the runs it was made from, by run name
    front     page one, for whoever has two minutes: before the table of contents; its charts are
              drawn without their figures, which the sections have
    """

    kind: str
    title: str
    subtitle: str
    banner: tuple[str, ...]
    sections: tuple[Section, ...]
    heads: tuple[tuple[str, str], ...]
    front: tuple[Block, ...] = ()

    def sources(self) -> dict[tuple[str, str], int]:
        """(path, SHA-256) of every record that is cited -> its number, from 1, in order of first
        mention.
        """
        # Two runs that are compared have files of the same names, so the digest is a part of the key.
        known: dict[tuple[str, str], int] = {}
        for source in self._cited():
            known.setdefault((source.path, source.sha256), len(known) + 1)
        return known

    def _cited(self) -> Iterator[Source]:
        for block in self.front:
            yield from cited(block)
        for section in self.sections:
            for block in section.blocks:
                yield from cited(block)


def table_of(block: Table | Chart) -> Table:
    """A table, or the figures of a chart as one."""
    return block.table if isinstance(block, Chart) else block


def cited(block: Block) -> Iterator[Source]:
    """Every source a block cites, in order."""
    if isinstance(block, Paragraph | Passages):
        yield from block.sources
    elif isinstance(block, Chart):
        yield from cited(block.table)
    else:
        rows: Sequence[Row | Fact | Look] = block.looks if isinstance(block, Strip) else block.rows
        for row in rows:
            yield from row.sources


def numbers(sources: Sequence[Source], known: dict[tuple[str, str], int]) -> tuple[int, ...]:
    """The numbers of some sources, each once, in order."""
    return tuple(dict.fromkeys(known[s.path, s.sha256] for s in sources))
