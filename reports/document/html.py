"""The document as one HTML file: no script, nothing fetched, a content-security policy, and all
text escaped.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from reports.document.chart import svg
from reports.document.model import Chart, Document, cited, numbers
from restaudit.evidence.shown import plain

TEMPLATES = Path(__file__).parent / "templates"
SIGNS = {"OK": "✓", "SILENT": "·", "UNDECIDED": "?", "INCONCLUSIVE": "?", "WARN": "!", "HALT": "✕"}
CONCLUSIONS = ("CLEARED", "UNDECIDED", "WARNED", "STOPPED")
WORDS = frozenset({*SIGNS, "FAIL", "PASS", "MISSING"})
MOST, MOST_PASSAGE = 4000, 2000


def html(document: Document) -> bytes:
    """The whole page, UTF-8. The same document gives the same bytes."""
    css = (TEMPLATES / "document.css").read_text(encoding="utf-8")
    # The policy names our style sheet by its hash: a style that a text smuggled in stays without
    # effect, and so does any script.
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    known = document.sources()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    template = _environment().get_template("document.html.j2")
    page: str = template.render(
        d=document,
        css=_trusted(css),
        policy=policy,
        known=known,
        numbers=lambda sources: numbers(sources, known),
        cited=lambda table: any(cited(table)),
        svg=_picture,
        word=_word,
        sign=lambda verdict: SIGNS.get(verdict, "?"),
    )
    return page.encode("utf-8")


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        # A name that the template misspells would else be an empty place on the page.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["t"] = lambda text: plain(str(text), MOST)
    environment.filters["passage"] = passage
    environment.filters["conclusion"] = lambda text: text if text in CONCLUSIONS else "UNKNOWN"
    # It becomes the name of a class: only words that we know may do that.
    environment.filters["verdict"] = lambda text: text if text in SIGNS else "UNKNOWN"
    return environment


def passage(text: str, most: int = MOST_PASSAGE) -> str:
    """A sample text, line by line, each only shown; cut in the middle where it is longer than
    `most` characters.
    """
    cut = plain(text, most)
    return "\n".join(cut.split(" ⏎ "))


def _word(cell: str) -> Any:
    """A verdict in a cell stands out; a value may be parted from its interval; everything else is
    text.
    """
    if cell in WORDS:
        return _trusted(f'<span class="word {cell}">{cell}</span>')
    return _trusted(escape(plain(cell, MOST)).replace(" [", " <wbr>["))


def _picture(chart: Chart) -> Any:
    """The chart's own SVG (no text of it is unescaped), fit for the page's policy and for other
    drawings beside it.
    """
    drawing = without_styles(svg(chart))
    # Matplotlib numbers the parts of every drawing alike (figure_1, axes_1), and an id may stand
    # only once on a page.
    mark = f"c{hashlib.sha256(drawing.encode('utf-8')).hexdigest()[:10]}"
    return _trusted(re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{mark}-", drawing))


def without_styles(drawing: str) -> str:
    """SVG whose style attributes are written as presentation attributes, and whose style elements
    are gone.

    A content-security policy that allows one style sheet forbids both.
    """

    def attributes(style: re.Match[str]) -> str:
        pairs = (part.split(":", 1) for part in style.group(1).split(";") if ":" in part)
        return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs)

    drawing = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", drawing, flags=re.DOTALL)
    # Matplotlib's metadata name addresses on the web.
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    return re.sub(r'\s+style="([^"]*)"', attributes, drawing)


def _trusted(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)
