"""The documentation, without building it: every page has its place and its links, and says first
what the reader gets. `make docs` checks the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
DOORS = ["Run an audit", "Audit my trainer", "Read and rate", "Hand over to a regulator"]
BESIDE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
MOST_WORDS = 1500


def entries(nav: Any) -> Iterator[str]:
    for value in nav.values() if isinstance(nav, dict) else nav:
        yield from [value] if isinstance(value, str) else entries(value)


def group(name: str) -> list[str]:
    return next(list(entries(part[name])) for part in SITE["nav"] if name in part)


IN_NAV = list(entries(SITE["nav"]))
PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))
DECISIONS = [p for p in PAGES if re.match(r"decisions/\d", p)]
# Under a door, but read like a reference: one looks up a format, or an attack.
CATALOGUES = {"exports.md", "threat-model.md"}
GUIDES = sorted(set(PAGES) - set(DECISIONS) - set(group("Reference")) - CATALOGUES)
WRITTEN = [*(f"docs/{p}" for p in PAGES), "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def parsed(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text("utf-8"))


def links(path: Path) -> list[str]:
    found: list[str] = []
    for token in parsed(path):
        for part in token.children or []:
            target = part.attrGet("href") or part.attrGet("src")
            if target and not re.match(r"[a-z]+:", str(target)):
                found.append(str(target))
    return found


def anchors(path: Path) -> set[str]:
    """The anchors that a forge makes of headings."""
    tokens = parsed(path)
    titles = [
        "".join(part.content for part in following.children or [])
        for token, following in pairwise(tokens)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_has_a_place_in_the_site() -> None:
    assert sorted([*IN_NAV, *DECISIONS]) == sorted([*PAGES, *BESIDE])


def test_the_list_of_decisions_has_them_all() -> None:
    listed = [f"decisions/{target}" for target in links(DOCS / "decisions" / "README.md")]
    assert listed == DECISIONS


def test_the_first_page_has_the_four_doors_of_the_site() -> None:
    text = (DOCS / "index.md").read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == DOORS
    assert [name for part in SITE["nav"] for name in part][1:5] == DOORS
    for door, part in zip(DOORS, text.split("\n## ")[1:], strict=True):
        assert "```\n" in part, f"{door}: the first command"
        assert "**What comes out:**" in part, door
        read_on = part.split("**Read on:**")[1]
        assert len(re.findall(r"\]\([a-z/-]+\.md\)", read_on)) >= 4, f"{door}: the next pages"


@pytest.mark.parametrize("page", [p for p in PAGES if p not in DECISIONS] + ["contributing.md"])
def test_a_page_says_first_what_the_reader_gets(page: str) -> None:
    """A paragraph of prose stands before any command, table, picture or list."""
    tokens = parsed(ROOT / BESIDE[page] if page in BESIDE else DOCS / page)
    kinds = [token.type for token in tokens[:4]]
    assert kinds == ["heading_open", "inline", "heading_close", "paragraph_open"], kinds
    words = tokens[4].content.split()
    assert 12 <= len(words) <= 90, f"{page} begins with {len(words)} words: two or three sentences"


@pytest.mark.parametrize("page", GUIDES)
def test_a_guide_can_be_read_in_one_sitting(page: str) -> None:
    words = len((DOCS / page).read_text("utf-8").split())
    assert words <= MOST_WORDS, f"{page}: {words} words; split it, or move figures to a reference"


@pytest.mark.parametrize("name", WRITTEN)
def test_links_lead_somewhere_on_the_forge(name: str) -> None:
    here = ROOT / name
    for link in links(here):
        path, _, anchor = link.partition("#")
        target = (here.parent / path).resolve() if path else here
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name}: {link}"


def test_pages_that_the_source_names_exist() -> None:
    named = {
        match
        for folder in ("restaudit", "probes", "reports", "tools")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".html", ".j2"} and path.is_file()
        for match in re.findall(r"(?<![/\w])docs/[\w./-]*\w", path.read_text("utf-8"))
    }
    assert len(named) > 10
    # A decision may be named by its number alone; ggml's own docs are no page of ours.
    missing = {n for n in named if not (ROOT / n).exists() and not any(ROOT.glob(f"{n}-*.md"))} - {
        "docs/gguf.md"
    }
    assert not missing


def test_the_site_fetches_nothing_from_elsewhere() -> None:
    assert SITE["theme"]["font"] is False
    extra = [*SITE["extra_css"], *SITE["extra"]["polyfills"]]
    assert extra
    assert all((DOCS / name).is_file() for name in extra)
