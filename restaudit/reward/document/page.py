"""The document as one HTML file: no script, nothing fetched, and text of unknown origin escaped everywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any

from restaudit.reward.document.chart import chart
from restaudit.reward.document.fields import frameworks
from restaudit.reward.document.markdown import FIRST_DIGITS, references
from restaudit.reward.document.model import NOBODY, Document, Failure, FieldAnswer, Section, Table, by_file
from restaudit.reward.document.style import CSS
from restaudit.shown import MOST_IN_ANSWER, NUMBERS, lines_of, plain, sentence
from restaudit.statuses import MEANINGS

LONG = 28  # a cell from this length on may wrap, and its column is kept wide enough to read


def html(document: Document) -> str:
    """The whole page. The same document gives the same bytes; the policy allows this style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(CSS.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    name = _text(document.name)
    body = [
        f"<h1>Reward model {name}</h1>",
        *(f'<p class="override">{_text(line, MOST_IN_ANSWER)}</p>' for line in document.overrides),
        _verdict(document),
        _failures(document),
        '<h2 id="summary">Summary</h2>',
        _pairs(document.summary, kind="summary"),
        _contents(document),
        _statuses(),
        *(_section(s) for s in document.sections),
        _gaps(document),
        _files(document),
    ]
    lines = "\n".join(p for p in body if p)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy, quote=True)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Reward model {escape(plain(document.name))}</title>\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n<main>\n{lines}\n</main>\n</body>\n</html>\n"
    )


def _text(text: str, most: int = 240) -> str:
    """Escaped, and kept from turning the direction of what stands around it."""
    return f"<bdi>{escape(plain(text, most), quote=True)}</bdi>"


def _verdict(document: Document) -> str:
    bad = " bad" if document.verdict.startswith("DO NOT") else ""
    reasons = " ".join(_text(r, MOST_IN_ANSWER) for r in document.reasons)
    return f'<div class="verdict{bad}"><strong>{escape(document.verdict)}</strong>{reasons}</div>'


def _failures(document: Document) -> str:
    if document.failures is None:
        return '<h2 id="failures">Failures of the stress tests</h2>\n<p>Not known: nobody stressed it.</p>'
    head = f'<h2 id="failures">Failures of the stress tests: {len(document.failures)}</h2>'
    return "\n".join([head, *map(_failure, document.failures)] if document.failures else [head, "<p>None failed.</p>"])


def _failure(f: Failure) -> str:
    shown = "" if f.table is None else _table(f.table)
    return f'<div class="failure"><h3>{_text(f.name)}</h3>\n<p>{_text(f.says, MOST_IN_ANSWER)}</p>{shown}</div>'


def _contents(document: Document) -> str:
    links = [(s.topic.key, s.topic.title) for s in document.sections]
    links += [("gaps", f"What nobody said ({len(document.gaps)})"), ("files", "What this was made from")]
    items = "".join(f'<li><a href="#{escape(k)}">{escape(t)}</a></li>' for k, t in links)
    return f'<nav aria-label="Sections"><ol>{items}</ol></nav>'


def _statuses() -> str:
    items = "".join(f"<dt>{_status(s)}</dt><dd>{escape(m)}</dd>" for s, m in MEANINGS.items())
    return f'<h2 id="sections">How to read the answers</h2>\n<dl>{items}</dl>'


def _status(word: str) -> str:
    return f'<span class="status {escape(word)}">{escape(word)}</span>'


def _section(section: Section) -> str:
    head = f'<h2 id="{escape(section.topic.key)}">{escape(section.topic.title)}</h2>'
    refers = f'<p class="soft">{escape(references(section))}</p>'
    return f'<section class="topic">{head}\n{refers}\n' + "\n".join(map(_answer, section.answers)) + "</section>"


def _answer(a: FieldAnswer) -> str:
    parts = [f'<div class="answer" id="{escape(a.key)}"><h3>{escape(a.asks)}{_status(a.status)}</h3>']
    why = [_text(sentence(a.reason), MOST_IN_ANSWER)] if a.reason and a.reason != NOBODY else []
    why += [f"Who could say: {escape(a.who)}."] if a.status == "MISSING" else []
    if why:
        parts.append(f'<p class="soft">{" ".join(why)}</p>')
    parts += [_value(a.value), *map(_table, a.tables)]
    if a.declared is not None:
        parts += ["<p>Declared besides (nobody verified it):</p>", _value(a.declared)]
    if a.evidence:
        parts.append(f'<p class="soft">Evidence: {"; ".join(_evidence(*e) for e in by_file(a.evidence))}</p>')
    return "\n".join(p for p in parts if p) + "</div>"


def _evidence(path: str, at: str, sha256: str) -> str:
    return f"{_text(path)}{f' › {_text(at)}' if at else ''} (sha256 {sha256[:FIRST_DIGITS]})"


def _value(said: Any) -> str:
    """A value as a paragraph, a list, or pairs; "" for None."""
    if said is None:
        return ""
    found = lines_of(said)
    if len(found) == 1 and not found[0][0]:
        return f"<blockquote>{_text(found[0][1], MOST_IN_ANSWER)}</blockquote>"
    if all(not label for label, _ in found):
        return "<ul>" + "".join(f"<li>{_text(v, MOST_IN_ANSWER)}</li>" for _, v in found) + "</ul>"
    return _pairs(found)


def _pairs(pairs: Sequence[tuple[str, str]], kind: str = "") -> str:
    items = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v, MOST_IN_ANSWER)}</dd>" for k, v in pairs)
    return f"<dl{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{items}</dl>"


def _table(table: Table) -> str:
    """The table in a box that scrolls where it is too wide, then its picture."""
    caption = _text(table.caption)
    head = "".join(f'<th scope="col">{_text(c)}</th>' for c in table.columns)
    body = "\n".join(f"<tr>{_row(row)}</tr>" for row in table.rows)
    label = escape(plain(table.caption), quote=True)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{label}"><table><caption>{caption}'
        f"</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n{chart(table)}"
    )


def _row(row: Sequence[str]) -> str:
    first = f'<th scope="row" class="{_kind(row[0])}">{_text(row[0])}</th>'
    return first + "".join(f'<td class="{_kind(c)}">{_text(c)}</td>' for c in row[1:])


def _kind(cell: str) -> str:
    if NUMBERS.fullmatch(cell):
        return "n"
    return "t" if len(cell) >= LONG else "s"


def _gaps(document: Document) -> str:
    head = f'<h2 id="gaps">What nobody said: {len(document.gaps)}</h2>'
    items = "".join(
        f'<li><a href="#{escape(a.key)}">{escape(a.asks)}</a> '
        f'<span class="soft">Who could say: {escape(a.who)}.</span></li>'
        for a in document.gaps
    )
    return f"{head}\n<ul>{items}</ul>" if items else f"{head}\n<p>Nothing is missing.</p>"


def _files(document: Document) -> str:
    said = "Nobody declared anything."
    if document.declared_by is not None:
        name, date = map(_text, document.declared_by)
        said = f"Declared answers: {name}, {date}; nobody verified them."
    listed = _table(Table("Files, relative to the folder", ("file", "sha256"), tuple(document.files.items())))
    titles = "".join(f"<li>{escape(f.title)}</li>" for f in frameworks().values())
    return (
        f'<h2 id="files">What this was made from</h2>\n<p>{said}</p>\n{listed}\n'
        f"<p>Questions follow, in our own words:</p>\n<ul>{titles}</ul>"
    )
