"""Every page opens in a real browser without an exception box or a console error, on a laptop and
on a phone.
"""

from __future__ import annotations

import pytest

from reports.viewer.pages import PAGES, Page
from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
AXE_PAGES = (
    "runs.py",
    "run.py",
    "divergence.py",
    "bias.py",
    "samples.py",
    "rate.py",
    "documents.py",
)


def _path(page: Page) -> str:
    return "" if page is PAGES[0] else page.file.removesuffix(".py")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.file)
def test_a_page_opens(visit: Visit, page: Page) -> None:
    tab = visit.open(_path(page), "healthy" if page.of_run else None)
    assert tab.locator("[data-testid=stException]").count() == 0
    assert tab.get_by_role("heading", level=1).first.inner_text() == page.title
    assert visit.errors == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.file)
def test_a_page_fits_a_phone(visit: Visit, page: Page) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    tab = visit.open(_path(page), "healthy" if page.of_run else None)
    wide = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
    assert wide <= 392
    assert tab.locator("[data-testid=stException]").count() == 0


@pytest.mark.parametrize("state", ["halted", "broken"])
def test_a_run_that_did_not_end_well_says_so(visit: Visit, state: str) -> None:
    tab = visit.open("run", state)
    assert tab.locator("[data-testid=stException]").count() == 0
    assert tab.get_by_role("alert").count() >= 1
    assert visit.errors == []


def test_the_chosen_run_stays_when_another_page_is_opened(visit: Visit) -> None:
    tab = visit.open("run", "halted")
    tab.get_by_role("link", name="Bias").first.click()
    tab.wait_for_selector("h1:has-text('Bias')")
    visit.settle()
    assert "run=halted" in tab.url


@pytest.mark.parametrize("file", AXE_PAGES)
def test_axe_finds_nothing_serious(visit: Visit, file: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = next(p for p in PAGES if p.file == file)
    tab = visit.open(_path(page), "healthy" if page.of_run else None)
    # Streamlit's own list of pages puts headings among list items; that is not ours to mend.
    found = axe.run(tab, {"exclude": [["[data-testid=stSidebarNav]"]]}).response["violations"]
    serious = [
        f"{v['id']}: {node['html'][:160]}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]
    assert "\n".join(serious) == ""
