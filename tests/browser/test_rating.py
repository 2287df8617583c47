"""A reviewer rates ten texts by keyboard, reloads the page, and finds them kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from restaudit.rating.tasks import draw_tasks
from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def desk(runs: Path) -> Path:
    run = runs / "healthy"
    draw_tasks(
        run, ["g00/i00", "g02/i02"], per_iteration=8, raters=2, seed=3, dimension="quality", scale=(1, 7),
        instructions="Rate how well the text reads, from 1 to 7.", name="first",
    )  # fmt: skip
    return run / "human"


def test_ten_texts_are_rated_by_keyboard_and_kept(visit: Visit, desk: Path) -> None:
    tab = visit.open("rate")
    tab.get_by_role("textbox", name="Your rater name").fill("ann")
    tab.keyboard.press("Enter")
    visit.settle()
    tab.get_by_text("I have read this, begin").click()
    visit.settle()
    for k in range(10):
        tab.keyboard.press(str(1 + k % 7))
        tab.wait_for_selector(f"text=/^{k + 1} of [0-9]+ rated/", timeout=30_000)
        visit.settle()
    kept = [json.loads(line) for line in _ratings(desk).read_text().splitlines()]
    assert [r["score"] for r in kept] == [1 + k % 7 for k in range(10)]
    assert {r["rater_id"] for r in kept} == {"ann"}
    address = tab.url
    tab.goto("about:blank")
    tab.goto(address)
    visit.settle()
    tab.wait_for_selector("text=/^10 of [0-9]+ rated/", timeout=30_000)
    assert tab.locator("[data-testid=stException]").count() == 0
    assert visit.errors == []


def _ratings(desk: Path) -> Path:
    found = sorted(desk.glob("ratings*.jsonl"))
    assert found, sorted(p.name for p in desk.iterdir())
    return found[0]
