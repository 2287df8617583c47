"""Hooks of mkdocs (mkdocs.yml): the same Markdown reads the same on the forge and in the site.

Links are written as the forge needs them, as paths in the repository. In the site, README.md of a
folder is its index, CONTRIBUTING.md and CHANGELOG.md are pages, and every other file of the
repository that a page links to becomes a page that shows it. A link to what is not there stays as
it is, and mkdocs warns about it.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parents[1]
# Pages that lie beside docs/, because a forge looks for them there.
BESIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)((?:#[^)\s]*)?)(?=\))")
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
# What a reader would miss where the two readers of Markdown disagree.
COUNTED = ("li", "pre", "table", "h2", "h3")

log = logging.getLogger("mkdocs.restaudit")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Anchors as a forge makes them."""
    config.mdx_configs["toc"] = {
        **config.mdx_configs.get("toc", {}),
        "slugify": slugify(case="lower"),
    }
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/, and the files that pages link to."""
    for name, page in BESIDE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    for file in list(files.documentation_pages()):
        for target, _ in LINK.findall(FENCE.sub("", file.content_string)):
            path = in_repository(file.src_uri, target)
            shown = as_page(path)
            is_source = shown is not None and shown.startswith("source/")
            if is_source and files.get_file_from_path(shown) is None:
                text = (ROOT / path).read_text("utf-8")
                kind = Path(path).suffix.removeprefix(".")
                page = f"# {path}\n\n````{kind}\n{text}````\n"
                files.append(File.generated(config, shown, content=page))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Point every link at its page of the site."""
    here = page.file.src_uri

    def pointed(match: re.Match[str]) -> str:
        target, anchor = match.groups()
        path = in_repository(here, target)
        shown = as_page(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if shown is None:
            return match[0]
        return posixpath.relpath(shown, posixpath.dirname(here) or ".") + anchor

    fences = FENCE.findall(markdown)
    parts = [LINK.sub(pointed, part) for part in FENCE.split(markdown)]
    return "".join(a + b for a, b in zip(parts, [*fences, ""], strict=True))


def on_page_content(html: str, *, page: Page, **_: Any) -> str:
    """Warn where a forge would draw another list, block or table than the site does."""
    text = page.markdown or ""
    if page.file.src_uri.startswith("source/") or re.search(r"^::: ", text, re.MULTILINE):
        return html
    forge = MarkdownIt("commonmark").enable("table").render(text)
    for tag in COUNTED:
        here, there = (len(re.findall(rf"<{tag}[ >]", drawn)) for drawn in (html, forge))
        if here != there:
            log.warning(
                f"{page.file.src_uri}: {here} <{tag}> in the site, {there} on a forge. Leave a "
                "blank line before a list, and indent what belongs to an item by four spaces."
            )
    return html


def in_repository(page: str, target: str) -> str:
    """The repository's path that a page of the site links to."""
    beside = {shown: name for name, shown in BESIDE.items()}
    written = beside.get(page) or f"docs/{page}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(written), target))


def as_page(path: str) -> str | None:
    """The page of the site that shows a file outside docs/, or a folder; None for what has none."""
    if path in BESIDE:
        return BESIDE[path]
    if path.startswith("docs/") and (ROOT / path).is_dir():
        return f"{path.removeprefix('docs/')}/README.md"
    outside = not path.startswith(("docs/", "../")) and (ROOT / path).is_file()
    return f"source/{path}.md" if outside else None
