"""Text that tries to be markup, a formula, a link or another reading order is only text in every
format.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from reports.document.html import passage
from reports.document.model import (
    Block,
    Chart,
    Document,
    Fact,
    Facts,
    Line,
    Look,
    Paragraph,
    Passage,
    Passages,
    Point,
    Row,
    Section,
    Strip,
    Table,
)
from reports.document.render import FORMATS, render
from reports.record.files import Source
from tests.reports.run_report.test_report import Page

HOSTILE = (
    "<script>alert(1)</script>",
    "</td></table><img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A1",
    "+SUM(1,2)",
    "[link](javascript:alert(1)) ![i](http://evil/x.png) <http://evil>",
    '#set page(width: 1pt) #eval("1") $x$ @label *bold* _it_ `raw` // comment',
    "{{ 7*7 }} {% raw %} ${7*7}",
    "abc\u202edcb\u202c \u2066x\u2069",
    "bell\x07 esc\x1b[31m nul\x00 del\x7f bs\x08",
    "line\r\nbreak\u2028separator\u2029",
    "日本語 中文 한국어 العربية עברית ไทย हिन्दी 🙂 \U0001f9d1\u200d\U0001f4bb \ue000 \U0010fffd",
    "lone \ud800 surrogate",
    "w" * 5000,
    "",
    "]]>--><!-- \\ \\n {} | || --- ***",
    "﻿zero\u200bwidth",
)


def everywhere(*texts: str) -> Document:
    """A document that has each text in every place where text of unknown origin can stand."""
    sections = tuple(Section(f"part-{k}", text, _blocks(text)) for k, text in enumerate(texts))
    return Document(
        "run", texts[0], texts[0], texts, sections, tuple((text, "0" * 64) for text in texts)
    )


def _blocks(text: str) -> tuple[Block, ...]:
    source = Source("a/path", text, "0" * 64)
    rows = (Row((text, text), (source,)), Row(("OK", text), (source,)))
    table = Table(text, (text, "b"), rows, prose=(1,), note=text)
    lines = (Line(text, (Point(0, 1.0, 0.5, 2.0), Point(1, 2.0))), Line("two", ()))
    chart = Chart(
        text, text, (text, "b"), lines, table, said=text, reference=0.0, reference_label=text
    )
    return (
        Paragraph(text, sources=(source,)),
        Paragraph(text, "note"),
        Paragraph(text, "warning"),
        Facts((Fact(text, text, "MISSING", (source,)),), text),
        table,
        chart,
        Passages(text, text, (text, text), (Passage(text, (text, text), (text, text)),), (source,)),
        Strip(text, (Look(text, "HALT", text, (source,)), Look(text, text, text))),
    )


HIDDEN = "\x00\x07\x08\x1b\x7f\u202e\u2066\u2028"
ALLOWED = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "a",
    "main",
    "h1",
    "h2",
    "h3",
    "h4",
    "p",
    "nav",
    "ol",
    "li",
    "section",
    "span",
    "strong",
    "dl",
    "dt",
    "dd",
    "div",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "figure",
    "figcaption",
    "svg",
    "g",
    "defs",
    "path",
    "use",
    "clippath",
    "rect",
    "details",
    "summary",
    "blockquote",
    "code",
    "wbr",
}


@pytest.fixture(scope="module")
def document() -> Document:
    return everywhere(*HOSTILE)


def test_a_page_has_only_its_own_tags(document: Document) -> None:
    data = render(document, "html").decode("utf-8")
    page = Page(data)
    assert {t for t, _ in page.tags} <= ALLOWED
    assert not any(
        n.startswith("on") or n in ("style", "src", "srcdoc") for _, a in page.tags for n in a
    )
    assert all(str(a["href"]).startswith("#") for t, a in page.tags if t == "a")
    assert not set(data) & set(HIDDEN)


def test_a_word_file_is_well_formed_and_holds_no_field_link_or_control_character(
    document: Document,
) -> None:
    with zipfile.ZipFile(io.BytesIO(render(document, "docx"))) as archive:
        assert all(i.date_time == (1980, 1, 1, 0, 0, 0) for i in archive.infolist())
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                ElementTree.fromstring(archive.read(name))
        body = archive.read("word/document.xml").decode("utf-8")
        links = archive.read("word/_rels/document.xml.rels").decode("utf-8")
    assert "w:hyperlink" not in body
    assert "w:instrText" not in body
    assert "evil" not in links
    assert not set(body) & set(HIDDEN)


def test_a_pdf_is_made_and_every_glyph_is_in_a_font_that_travels_with_it(
    document: Document,
) -> None:
    data = render(document, "pdf")
    assert data.startswith(b"%PDF-1.7")
    assert b"LastResort" not in data
    assert data.count(b"DejaVuSans") >= 2


def test_a_title_may_be_anything() -> None:
    for text in (HOSTILE[3], *HOSTILE[7:9], *HOSTILE[11:14]):
        small = replace(everywhere("x"), title=text, subtitle=text)
        assert render(small, "pdf").startswith(b"%PDF")
        assert render(small, "docx").startswith(b"PK")


def test_json_gives_the_text_back_and_its_bytes_are_harmless(document: Document) -> None:
    data = render(document, "json")
    assert json.loads(data)["banner"] == list(HOSTILE)
    assert not {b for b in data if b < 32 and b != 10}
    assert b"<" not in data
    assert "\u202e".encode() not in data


def test_markdown_has_no_markup_of_the_text() -> None:
    for text in HOSTILE:
        lines = render(everywhere(text), "md").decode("utf-8").splitlines()
        titles = [line for line in lines if line.startswith("#")]
        assert titles[-1] == "## Sources"
        assert len(titles) == 3
        assert not any(
            "<script" in line or "<img" in line or re.search(r"(?<!\\)\]\(", line) for line in lines
        )
        cells = {line.replace("\\|", "").count("|") for line in lines if line.startswith("| ")}
        assert cells <= {3, 4}


def test_characters_without_a_glyph_are_written_as_their_numbers() -> None:
    from reports.document.glyphs import drawable

    assert drawable("é 日本 x 🙂") == "é ⟨U+65E5 U+672C⟩ x ⟨U+1F642⟩"
    assert drawable("العربية עברית τ ≥ –") == "العربية עברית τ ≥ –"


def test_a_passage_keeps_its_lines_and_is_cut_in_the_middle() -> None:
    assert passage("one\ntwo\r\nthree") == "one\ntwo\nthree"
    cut = passage("x" * 3000)
    assert len(cut) < 2100
    assert "[…]" in cut


def test_the_policy_of_a_page_allows_its_own_style_sheet_only() -> None:
    page = render(everywhere("x"), "html").decode()
    again = render(replace(everywhere("y"), title="other"), "html").decode()
    policy = [p.split("Content-Security-Policy")[1].split(">")[0] for p in (page, again)]
    assert policy[0] == policy[1]


def test_every_format_is_tried_here() -> None:
    assert set(FORMATS) == {"html", "docx", "pdf", "json", "md"}
