"""The document as DOCX through python-docx, zipped again so that the same document gives the same
bytes.
"""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Sequence
from typing import Any

from reports.charts.drawing import drawn
from reports.document.html import MOST, passage
from reports.document.model import (
    Block,
    Chart,
    Document,
    Facts,
    Paragraph,
    Passages,
    Strip,
    Table,
    cited,
    numbers,
)
from reports.document.widths import widths
from restaudit.errors import BadInput
from restaudit.evidence.shown import plain

# A clock in the properties would make every copy different.
DATE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
PAGE = 265  # millimetres between the margins
# python-docx refuses a property of more than 255 characters.
MOST_TITLE = 200
# The first day that an archive can name.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
Known = dict[tuple[str, str], int]


def docx(document: Document) -> bytes:
    """An Office Open XML text. Raises BadInput where python-docx is not installed."""
    try:
        from docx import Document as Empty
    except ImportError:
        raise BadInput(
            "a DOCX needs python-docx, which is not installed: pip install 'restaudit[reports]'"
        ) from None
    out = Empty()
    known = document.sources()
    core = out.core_properties
    # The empty document of python-docx names that library as its author, and says so in a comment.
    core.title = plain(document.title, MOST_TITLE)
    core.author = core.last_modified_by = "restaudit"
    core.comments = ""
    core.created = core.modified = DATE
    core.revision = 1
    _page(out)
    out.add_heading(_t(document.title), level=0)
    out.add_paragraph(_t(document.subtitle))
    for line in document.banner:
        out.add_paragraph(style="Intense Quote").add_run(_t(line)).bold = True
    for block in document.front:
        _block(out, block, known, front=True)
    for n, section in enumerate(document.sections, 1):
        out.add_heading(f"{n}. {_t(section.title)}", level=1)
        for block in section.blocks:
            _block(out, block, known)
    out.add_heading("Sources", level=1)
    _rows(out, ("number", "record", "SHA-256"), [(str(n), p, s) for (p, s), n in known.items()])
    for name, head in document.heads:
        out.add_paragraph(f"Made from the record of {_t(name)} whose ledger head is {_t(head)}.")
    raw = io.BytesIO()
    out.save(raw)
    return _without_times(raw.getvalue())


def _page(out: Any) -> None:
    from docx.enum.section import WD_ORIENT
    from docx.shared import Mm, Pt

    # Across: tables of eight columns stand on these pages.
    page = out.sections[0]
    page.orientation = WD_ORIENT.LANDSCAPE
    page.page_width, page.page_height = Mm(297), Mm(210)
    page.left_margin = page.right_margin = Mm(16)
    page.top_margin = page.bottom_margin = Mm(15)
    out.styles["Normal"].font.size = Pt(9.5)


def _block(out: Any, block: Block, known: Known, *, front: bool = False) -> None:
    if isinstance(block, Paragraph):
        style = "Intense Quote" if block.kind == "warning" else None
        run = out.add_paragraph(style=style).add_run(
            f"{_t(block.text)}{_cites(block.sources, known)}"
        )
        run.italic = block.kind == "note"
        run.bold = block.kind == "verdict"
    elif isinstance(block, Facts):
        if block.caption:
            out.add_heading(_t(block.caption), level=2)
        for fact in block.rows:
            status = f" ({fact.status})" if fact.status else ""
            line = out.add_paragraph(style="List Bullet")
            line.add_run(f"{_t(fact.label)}{status}: ").bold = True
            line.add_run(f"{_t(fact.value)}{_cites(fact.sources, known)}")
    elif isinstance(block, Table):
        _table(out, block, known)
    elif isinstance(block, Chart):
        _chart(out, block)
        if not front:
            _table(out, block.table, known)
    elif isinstance(block, Strip):
        out.add_heading(_t(block.caption), level=2)
        rows = [(k.name, k.verdict, k.note, _cites(k.sources, known)) for k in block.looks]
        _rows(out, ("look", "decision", "because of", "source"), rows)
    else:
        _passages(out, block, known)


def _chart(out: Any, chart: Chart) -> None:
    from docx.shared import Mm

    from reports.document.chart import figure

    out.add_heading(_t(chart.title), level=2)
    png = drawn(
        lambda: figure(chart), ".png", title=plain(chart.title), text=plain(chart.said, 1000)
    )
    out.add_picture(io.BytesIO(png), width=Mm(150))
    # python-docx has no call for the words that stand for a picture.
    picture = out.inline_shapes[-1]._inline.docPr
    picture.set("descr", _t(f"{chart.title}. {chart.said}"))
    picture.set("name", f"chart {len(out.inline_shapes)}")


def _passages(out: Any, block: Passages, known: Known) -> None:
    out.add_heading(_t(block.caption), level=2)
    out.add_paragraph().add_run(f"{_t(block.rule)}{_cites(block.sources, known)}").italic = True
    for row in block.rows:
        out.add_paragraph().add_run(_t(row.heading)).bold = True
        cells = tuple(f"{passage(t)}\n({_t(n)})" for t, n in zip(row.texts, row.notes, strict=True))
        _rows(out, [_t(c) for c in block.columns], [cells], raw=True)


def _table(out: Any, table: Table, known: Known) -> None:
    caption = out.add_paragraph()
    # A caption at the foot of a page belongs to nothing.
    caption.paragraph_format.keep_with_next = True
    caption.add_run(_t(table.caption)).bold = True
    if any(cited(table)):
        cells = [(*row.cells, _cites(row.sources, known).strip()) for row in table.rows]
        _rows(out, (*table.columns, "source"), cells)
    else:
        _rows(out, table.columns, [row.cells for row in table.rows])
    if table.note:
        out.add_paragraph().add_run(_t(table.note)).italic = True


def _rows(
    out: Any, columns: Sequence[str], cells: Sequence[Sequence[str]], *, raw: bool = False
) -> None:
    """A table; `raw` cells are shown as they are (they were made harmless before and keep their
    lines).
    """
    from docx.shared import Mm, Pt

    body = cells if raw else [[_t(value) for value in row] for row in cells]
    shown = [[_t(value) for value in columns], *body]
    shares = widths([[row[k] for row in shown] for k in range(len(columns))])[0]
    wide = [Mm(PAGE * share / sum(shares)) for share in shares]
    made = out.add_table(rows=len(shown), cols=len(columns), style="Table Grid")
    # Word goes by the width of every cell, LibreOffice by that of the column.
    made.autofit = False
    for column, width in zip(made.columns, wide, strict=True):
        column.width = width
    for n, (row, values) in enumerate(zip(made.rows, shown, strict=True)):
        for cell, value, width in zip(row.cells, values, wide, strict=True):
            cell.width = width
            run = cell.paragraphs[0].add_run(value)
            run.font.size, run.bold = Pt(8), n == 0
    # The header is repeated on every page; python-docx has no call for that.
    header = made.rows[0]._tr.get_or_add_trPr()
    header.append(header.makeelement(f"{{{header.nsmap['w']}}}tblHeader", {}))


def _cites(sources: Any, known: Known) -> str:
    cites = ", ".join(str(n) for n in numbers(sources, known))
    return f" [{cites}]" if cites else ""


def _t(text: str) -> str:
    return plain(str(text), MOST)


def _without_times(data: bytes) -> bytes:
    """The same archive with sorted names and a fixed date: python-docx writes the time of day into
    every entry.
    """
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in sorted(old.namelist()):
            info = zipfile.ZipInfo(name, ZIP_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(info, old.read(name))
    return out.getvalue()
