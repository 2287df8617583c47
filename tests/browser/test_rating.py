"""A reviewer rates texts and pairs by keyboard, reloads the page, finds them kept, and sees what
they say.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reports.viewer.rating.desk import HELD, QUICK
from restaudit.people.rating.pairs import draw_pairs
from restaudit.people.rating.tasks import draw_tasks
from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def desk(runs: Path) -> Path:
    run = runs / "healthy"
    draw_tasks(
        run,
        ["g00/i00", "g02/i02"],
        per_iteration=8,
        raters=2,
        seed=3,
        dimension="quality",
        scale=(1, 7),
        instructions="Rate how well the text reads, from 1 to 7.",
        name="first",
    )
    return run / "human"


def test_ten_texts_are_rated_by_keyboard_and_kept(visit: Visit, desk: Path) -> None:
    tab = visit.open("rate")
    _begin(visit, "ann")
    for k in range(10):
        _press(visit, str(1 + k % 7))
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


def test_after_twenty_ratings_the_human_score_appears_with_its_interval(
    visit: Visit, runs: Path
) -> None:
    ask = {"dimension": "quality", "instructions": "Rate from 1 to 7.", "name": "twenty"}
    draw_tasks(
        runs / "twenty",
        ["g00/i00", "g02/i02"],
        per_iteration=9,
        raters=1,
        seed=3,
        scale=(1, 7),
        checks=2,
        **ask,
    )
    tab = visit.open("rate", "twenty")
    _begin(visit, "ann")
    for k in range(20):
        _press(visit, str(1 + (3 * k) % 7))
        tab.wait_for_selector(f"text=/^{k + 1} of 20 rated/", timeout=30_000)
        visit.settle()
    tab.get_by_role("button", name="Hand in").click()
    tab.get_by_role("button", name="Hand in and show the results").click()
    tab.get_by_text(re.compile(r"G2·I2: \d\.\d\d \(95% interval")).first.wait_for(timeout=30_000)
    tab = visit.open("divergence", "twenty")
    tab.get_by_role("heading", name="Rated by people after the run").wait_for(timeout=30_000)
    expected = re.compile(
        r"G2·I2: \d\.\d\d \(95% interval \d\.\d\d to \d\.\d\d; 9 texts, 1 rater\)"
    )
    assert tab.get_by_text(expected).count()
    assert tab.locator("[data-testid=stException]").count() == 0
    assert visit.errors == []


def test_pairs_are_chosen_by_the_keys_a_b_and_t_and_kept(visit: Visit, runs: Path) -> None:
    run = runs / "duel"
    draw_pairs(
        run,
        (run, "g00/i00"),
        (run, "g02/i02"),
        n=8,
        raters=1,
        seed=3,
        dimension="quality",
        instructions="Which reads better?",
        name="duel",
        checks=0,
    )
    tab = visit.open("rate", "duel")
    _begin(visit, "ann")
    for k, key in enumerate("abtab"):
        _press(visit, key)
        tab.wait_for_selector(f"text=/^{k + 1} of [0-9]+ rated/", timeout=30_000)
        visit.settle()
    kept = [json.loads(line) for line in (run / "human" / "choices.jsonl").read_text().splitlines()]
    assert [r["choice"] for r in kept] == ["A", "B", "T", "A", "B"]
    _press(visit, "u")
    tab.wait_for_selector("text=/^4 of [0-9]+ rated/", timeout=30_000)
    tab.reload()
    visit.settle()
    tab.wait_for_selector("text=/^4 of [0-9]+ rated/", timeout=30_000)
    assert tab.locator("[data-testid=stException]").count() == 0
    assert visit.errors == []


def _press(visit: Visit, key: str) -> None:
    # A key that comes sooner is one that was held down, and does not count.
    visit.page.wait_for_timeout(1000 * HELD * QUICK + 50)
    visit.page.keyboard.press(key)


def _begin(visit: Visit, rater: str) -> None:
    visit.page.get_by_role("textbox", name="Your rater name").fill(rater)
    visit.page.keyboard.press("Enter")
    visit.settle()
    visit.page.get_by_text("I have read this, begin").click()
    visit.settle()
