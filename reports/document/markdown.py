"""The document as Markdown (CommonMark with GitHub's tables); text of unknown origin is only
text.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.document.model import (
    Block,
    Chart,
    Document,
    Fact,
    Facts,
    Look,
    Paragraph,
    Passages,
    Strip,
    Table,
    cited,
    numbers,
)
from reports.record.files import Source
from restaudit.evidence.shown import markdown_text

MOST = 4000
Known = dict[tuple[str, str], int]


def markdown(document: Document) -> bytes:
    """The whole document, UTF-8. The same document gives the same bytes."""
    known = document.sources()
    parts = [f"# {_text(document.title)}", _text(document.subtitle)]
    parts += [f"> **{_text(line)}**" for line in document.banner]
    parts += [_block(b, known) for b in document.front]
    for n, section in enumerate(document.sections, 1):
        parts.append(f"## {n}. {_text(section.title)}")
        parts += [_block(b, known) for b in section.blocks]
    parts.append("## Sources")
    listed = [(str(n), path, sha) for (path, sha), n in known.items()]
    parts.append(_rows(("number", "record", "SHA-256"), listed))
    parts += [
        f"Made from the record of {_text(name)} whose ledger head is `{_text(head)}`."
        for name, head in document.heads
    ]
    return ("\n\n".join(p for p in parts if p) + "\n").encode("utf-8")


def _block(block: Block, known: Known) -> str:
    if isinstance(block, Paragraph):
        text = _text(block.text) + _cites(block.sources, known)
        word, _, rest = text.partition(": ")
        kinds = {
            "text": text,
            "note": f"*{text}*",
            "warning": f"> **Note.** {text}",
            "verdict": f"**{word}:** {rest}",
        }
        return kinds[block.kind]
    if isinstance(block, Facts):
        head = [f"**{_text(block.caption)}**\n"] if block.caption else []
        return "\n".join([*head, *(_fact(fact, known) for fact in block.rows)])
    if isinstance(block, Table):
        return _table(block, known)
    if isinstance(block, Chart):
        return f"**{_text(block.title)}.** {_text(block.said)}\n\n{_table(block.table, known)}"
    if isinstance(block, Strip):
        looks = " → ".join(_look(look, known) for look in block.looks)
        return f"**{_text(block.caption)}**: {looks or 'nothing was decided yet'}"
    return _passages(block, known)


def _fact(fact: Fact, known: Known) -> str:
    status = f" ({fact.status})" if fact.status else ""
    value = f"{_text(fact.value)}{_cites(fact.sources, known)}"
    return f"- **{_text(fact.label)}**{status}: {value}"


def _look(look: Look, known: Known) -> str:
    note = f" ({_text(look.note)})" if look.note else ""
    return f"{_text(look.name)} **{_text(look.verdict)}**{note}{_cites(look.sources, known)}"


def _passages(block: Passages, known: Known) -> str:
    parts = [f"**{_text(block.caption)}**", f"*{_text(block.rule)}*{_cites(block.sources, known)}"]
    for row in block.rows:
        parts.append(f"**{_text(row.heading)}**")
        columns = ("whose", "text", "scores")
        parts.append(_rows(columns, list(zip(block.columns, row.texts, row.notes, strict=True))))
    return "\n\n".join(parts)


def _table(table: Table, known: Known) -> str:
    if any(cited(table)):
        cells = [(*row.cells, _cites(row.sources, known).strip()) for row in table.rows]
        rows = _rows((*table.columns, "source"), cells, raw_last=True)
    else:
        rows = _rows(table.columns, [row.cells for row in table.rows])
    note = f"\n\n*{_text(table.note)}*" if table.note else ""
    return f"**{_text(table.caption)}**\n\n{rows}{note}"


def _rows(columns: Sequence[str], cells: Sequence[Sequence[str]], *, raw_last: bool = False) -> str:
    lines = ["| " + " | ".join(_text(c) for c in columns) + " |", "|" + "---|" * len(columns)]
    for row in cells:
        shown = [_text(c) for c in row]
        # Numbers of sources are ours, and their brackets are escaped already.
        if raw_last:
            shown[-1] = row[-1]
        lines.append("| " + " | ".join(shown) + " |")
    if not cells:
        lines.append("| none" + " | " * len(columns))
    return "\n".join(lines)


def _cites(sources: Sequence[Source], known: Known) -> str:
    # Brackets alone would be the beginning of a link.
    cites = ", ".join(str(n) for n in numbers(sources, known))
    return f" \\[{cites}\\]" if cites else ""


def _text(text: str) -> str:
    return markdown_text(str(text), MOST)
