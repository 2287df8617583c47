"""A run in whose record every name and text is hostile, page by page: nothing of it becomes a link, an
image, a script, a style or an icon.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from restaudit.people.rating.pairs import draw_pairs
from restaudit.people.rating.tasks import draw_tasks
from tests.browser.conftest import Visit, ended, free_port, waited
from tests.reports.hostile import LINE, make_hostile

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
ITERATIONS = ("g00/i00", "g01/i02")
# Folders cannot hold a slash.
FOLDERS = ("h", "www.evil.example", "a@evil.example ![x](c) :streamlit: `g` **h**")
VIEWS = (
    "",
    "run",
    "divergence",
    "bias",
    "diversity",
    "capability",
    "samples",
    "samples?where=g01",
    "samples?view=One%20prompt",
    "samples?view=Prompt",
    "samples?why=g01-001-0",
    "samples?q=evil&group=evil&sort=evil",
    "reward",
    "lineage",
    "rate?rater=ana&set=s",
    "rate?rater=ana&set=p",
    "rate?rater=http://evil.example/r&set=www.evil.example",
    *(f"documents?documents_view={view}" for view in ("Report", "Exports", "Bundle")),
    "documents?documents_view=Clause%20by%20clause",
    "documents?documents_view=Declare",
    "documents?documents_view=Override",
    "evidence",
    "compare?compare=h&compare=www.evil.example",
    "study",
)
# What of the page is not the app's own: links and pictures that lead elsewhere, code, our icons drawn
# by the record. Streamlit's own menu has none of them.
FOUND = """() => {
    const own = href => !href || href.startsWith(location.origin) || href.startsWith('blob:')
        || href.startsWith('data:');
    const found = [];
    for (const e of document.querySelectorAll('[href], [src], [action], [xlink\\\\:href]'))
        for (const name of ['href', 'src', 'action'])
            if (e[name] && !own(String(e[name].baseVal ?? e[name])))
                found.push(`${e.tagName} ${name} ${e[name].baseVal ?? e[name]}`);
    for (const e of document.querySelectorAll('script, style, iframe, object, embed, [onerror], [onclick]'))
        if (/evil|alert|\\*\\{\\}/.test(e.outerHTML)) found.push(e.outerHTML.slice(0, 200));
    for (const e of document.querySelectorAll('img[alt*="logo"], [aria-label="home icon"]'))
        found.push(e.outerHTML.slice(0, 200));
    for (const e of document.querySelectorAll('.stMarkdownColoredText, .katex, [data-testid=stMarkdownContainer] h1'))
        if (/^[zi]$|e\\^f|ef/.test(e.innerText)) found.push(e.outerHTML.slice(0, 200));
    return found;
}"""
MARKS = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200b\x1b\x07"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "runs"
    more: dict[str, Any] = {"raters": 1, "seed": 3, "dimension": LINE[:60], "instructions": LINE}
    for name in FOLDERS:
        run = make_hostile(folder / name)
        draw_tasks(run, list(ITERATIONS), per_iteration=4, scale=(1, 7), name="s", **more)
        draw_pairs(run, (run, ITERATIONS[0]), (run, ITERATIONS[1]), n=4, name="p", **more)
    (folder / "broken www.evil.example").mkdir()
    (folder / "broken www.evil.example" / "plan.json").write_text(f'{{"{LINE}": 1}}')
    return folder


@pytest.fixture(scope="module")
def hostile(root: Path) -> Iterator[str]:
    port, log = free_port(), root.parent / "ui.log"
    command = [sys.executable, "-m", "restaudit.commands.cli", "ui", str(root), "--port", str(port)]
    environment = {**os.environ, "STREAMLIT_SERVER_HEADLESS": "true"}
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            waited(f"http://127.0.0.1:{port}/_stcore/health", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            ended(server)


@pytest.fixture
def tab(browser: Any, hostile: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 1200})
    visit = Visit(context.new_page(), hostile)
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.page.on("dialog", lambda dialog: asked.append(f"a dialog: {dialog.message}"))
    yield visit
    elsewhere = [
        url for url in asked if not url.startswith((hostile, "data:", "blob:", "ws://127."))
    ]
    context.close()
    assert elsewhere == []


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v or "runs")
def test_nothing_of_the_texts_is_more_than_text(tab: Visit, view: str) -> None:
    _is_text(tab, f"{view}{'&' if '?' in view else '?'}run={FOLDERS[0]}")


@pytest.mark.parametrize("folder", FOLDERS[1:], ids=["address", "marks"])
@pytest.mark.parametrize("page", ["run", "samples", "documents", "evidence"])
def test_nothing_of_a_folders_name_is_more_than_text(tab: Visit, page: str, folder: str) -> None:
    _is_text(tab, f"{page}?run={quote(folder)}")


def _is_text(tab: Visit, address: str) -> None:
    page = tab.page
    page.goto(f"{tab.address}/{address}")
    tab.settle()
    _open_everything(tab)
    assert page.evaluate(FOUND) == []
    shown = page.locator("[data-testid=stMain]").inner_text()
    assert not set(shown) & set(MARKS)
    assert page.locator("[data-testid=stException]").count() == 0
    # Otherwise there would be nothing of the record to look at.
    assert "cannot be shown" not in shown
    assert "cannot be read" not in shown or address.startswith("?")
    assert page.title() == "restaudit" or "evil" not in page.title()


def _open_everything(tab: Visit) -> None:
    """Open what is folded away, and read what shows itself under the mouse."""
    page = tab.page
    for closed in page.locator("[data-testid=stExpander] summary").all():
        if closed.locator("xpath=..").get_attribute("open") is None:
            closed.click()
    tab.settle()
    for target in page.locator("[data-testid=stTooltipHoverTarget]").all()[:12]:
        if target.is_visible():
            target.hover()
            page.wait_for_timeout(120)
            assert page.evaluate(FOUND) == []
    for popover in page.locator("[data-testid=stPopover] button").all():
        popover.click()
        page.wait_for_timeout(200)
        assert page.evaluate(FOUND) == []
        page.keyboard.press("Escape")
