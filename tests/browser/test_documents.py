"""A reviewer downloads the PDF of a run from the app, and checks the run there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_the_pdf_can_be_downloaded(visit: Visit) -> None:
    tab = visit.open("documents")
    tab.get_by_text("PDF", exact=True).click()
    visit.settle()
    tab.get_by_role("button", name="Prepare").first.click()
    button = tab.get_by_role("button", name="Download healthy-report.pdf")
    button.wait_for(timeout=60_000)
    with tab.expect_download(timeout=60_000) as coming:
        button.click()
    assert coming.value.suggested_filename == "healthy-report.pdf"
    data = Path(coming.value.path()).read_bytes()
    assert data.startswith(b"%PDF-1.7")
    assert data.rstrip().endswith(b"%%EOF")
    assert visit.errors == []


def test_a_run_is_checked_in_the_app(visit: Visit) -> None:
    tab = visit.open("evidence")
    tab.get_by_role("button", name="Check now").click()
    tab.get_by_text("UNANCHORED").first.wait_for(timeout=60_000)
    assert tab.locator("[data-testid=stException]").count() == 0
    assert visit.errors == []
