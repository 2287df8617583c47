"""Keys at the rating desk in a real browser, while saving or the way to the browser takes long: what
is recorded is what the browser showed when the key was pressed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reports.viewer import launch
from reports.viewer.rating.desk import HELD, QUICK
from restaudit.people.rating.pairs import draw_pairs
from restaudit.people.rating.tasks import draw_tasks
from tests.browser.conftest import Visit, ended, free_port, waited
from tests.reports.make_run import make_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
ASK: dict[str, Any] = {"seed": 3, "dimension": "quality", "instructions": "Rate from 1 to 7."}
ITERATIONS = ("g00/i00", "g02/i02")
# The app on a disk that takes a second to write an answer.
SLOW = """
import sys, time
from restaudit.people.rating import store
write = store.append_line
def slowly(*args, **more):
    time.sleep(1.0)
    return write(*args, **more)
import restaudit.people.rating.exchange, restaudit.people.rating.in_app
for module in list(sys.modules.values()):
    if getattr(module, "append_line", None) is write:
        module.append_line = slowly
from streamlit.web import cli
sys.exit(cli.main(sys.argv[1:]))
"""
# Notes every key with what the page shows at that moment.
WATCH = """
() => {
    window.pressed = [];
    const shown = name => [...document.querySelectorAll(`[class*=st-key-rating_response]`)]
        .map(e => e.innerText).join('\\n');
    addEventListener('keydown', e => pressed.push([e.key, shown(), performance.now()]), true);
}
"""
BEGIN, RESPONSE = "[class*=st-key-rating_begin] button", "[class*=st-key-rating_response]"
SHOWN = """() => [...document.querySelectorAll('[class*=st-key-rating_response]')]
    .map(e => e.innerText).join('\\n')"""


class Line:
    """A way to a server on which what comes back can be held up; in seconds."""

    def __init__(self, port: int) -> None:
        self.delay, self._to = 0.0, port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                browser = self._listening.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._to))
                for a, b, back in ((browser, server, False), (server, browser, True)):
                    threading.Thread(target=self._hand_on, args=(a, b, back), daemon=True).start()

    def _hand_on(self, a: socket.socket, b: socket.socket, back: bool) -> None:
        with suppress(OSError), a, b:
            while data := a.recv(1 << 16):
                if back:
                    time.sleep(self.delay)
                b.sendall(data)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("late") / "runs"
    for name in ("slow", "held", "line", "many", "windows", "back"):
        run = make_run(folder / name)
        draw_tasks(run, list(ITERATIONS), per_iteration=8, raters=2, scale=(1, 7), name="s", **ASK)
    run = make_run(folder / "pairs")
    draw_pairs(run, (run, ITERATIONS[0]), (run, ITERATIONS[1]), n=8, raters=2, name="s", **ASK)
    return folder


@pytest.fixture(scope="module")
def line(root: Path) -> Iterator[Line]:
    """The slow app behind a line; its address in the browser is the line's."""
    port = free_port()
    way = Line(port)
    log = root.parent / "ui.log"
    command = [sys.executable, "-c", SLOW, "run", str(launch.__file__), "--server.headless=true"]
    command += ["--server.address=127.0.0.1", f"--server.port={port}"]
    environment = {"RESTAUDIT_RUNS": str(root), "RESTAUDIT_HOSTS": f"127.0.0.1:{way.port}"}
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
        try:
            waited(f"http://127.0.0.1:{port}/_stcore/health", server, log)
            yield way
        finally:
            ended(server)
            way.close()


@pytest.fixture
def windows(browser: Any, line: Line) -> Iterator[Any]:
    """Opens the desk of a run for a rater in a browser of its own, ready to rate."""
    contexts = []

    def opened(run: str, rater: str = "ana", context: Any = None) -> Visit:
        line.delay = 0.0
        if context is None:
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            contexts.append(context)
        visit = Visit(context.new_page(), f"http://127.0.0.1:{line.port}")
        visit.page.goto(f"{visit.address}/rate?run={run}&rater={rater}")
        visit.settle()
        visit.page.wait_for_selector(f"{BEGIN}, {RESPONSE}", timeout=60_000)
        if visit.page.locator(BEGIN).count():
            visit.page.locator(BEGIN).click()
        visit.page.wait_for_selector(RESPONSE, timeout=60_000)
        visit.settle()
        visit.page.evaluate(WATCH)
        visit.page.wait_for_timeout(600)
        return visit

    yield opened
    line.delay = 0.0
    for context in contexts:
        context.close()


def _rows(root: Path, run: str, file: str = "ratings.jsonl") -> list[dict[str, Any]]:
    path = root / run / "human" / file
    if not path.exists():
        return []
    return [json.loads(text) for text in path.read_text().splitlines()]


def _texts(root: Path, run: str) -> dict[str, str]:
    lines = (root / run / "human" / "tasks-s.jsonl").read_text().splitlines()
    return {row["item_id"]: row["response"] for row in map(json.loads, lines) if "item_id" in row}


def _idle(visit: Visit) -> None:
    visit.page.wait_for_timeout(1500)
    visit.settle()


def _said(visit: Visit) -> str:
    return str(visit.page.locator("[data-testid=stProgress]").first.inner_text())


def _as_pressed(root: Path, run: str, visits: list[Visit], rater: str = "ana") -> None:
    """Every rating is a key that was pressed while its text was in sight, and none was given
    twice.
    """
    pressed = [tuple(p) for visit in visits for p in visit.page.evaluate("() => window.pressed")]
    texts, rows = _texts(root, run), [r for r in _rows(root, run) if r["rater_id"] == rater]
    assert rows
    assert len({row["item_id"] for row in rows}) == len(rows)
    for row in rows:
        keys = [key for key, shown, _ in pressed if texts[row["item_id"]] in shown]
        assert str(row["score"]) in keys, (row["score"], texts[row["item_id"]], pressed)


def test_a_second_key_while_an_answer_is_saved_rates_no_other_text(
    windows: Any, root: Path
) -> None:
    visit = windows("slow")
    first = visit.page.evaluate(SHOWN)
    visit.page.keyboard.press("6")
    for key in "525":
        visit.page.wait_for_timeout(250)
        visit.page.keyboard.press(key)
    _idle(visit)
    assert [r["score"] for r in _rows(root, "slow")] == [6]
    assert visit.page.evaluate(SHOWN) != first
    assert "not counted" in _said(visit) or "answer stands" in _said(visit)
    visit.page.wait_for_timeout(500)
    visit.page.keyboard.press("2")
    _idle(visit)
    assert [r["score"] for r in _rows(root, "slow")] == [6, 2]
    _as_pressed(root, "slow", [visit])


@pytest.mark.parametrize("key", ["4", "s", "u"])
def test_a_key_that_is_held_down_counts_once_at_most(windows: Any, root: Path, key: str) -> None:
    visit, before = windows("held"), len(_rows(root, "held"))
    noted = len(_rows(root, "held", "desk.jsonl"))
    for _ in range(120):
        visit.page.keyboard.down(key)
        visit.page.wait_for_timeout(33)
    visit.page.keyboard.up(key)
    _idle(visit)
    at = [time for *_, time in visit.page.evaluate("() => window.pressed")]
    # On a busy machine the browser itself may hold the repeats up, as if the key were let go.
    gaps = sum(later - one > 500 * QUICK * HELD for one, later in pairwise(at))
    notes = [n["what"] for n in _rows(root, "held", "desk.jsonl")][noted:]
    assert abs(len(_rows(root, "held")) - before) <= 1 + gaps
    assert notes.count("skipped") <= 1 + gaps
    assert notes.count("taken_back") + notes.count("unskipped") <= 1 + gaps


def test_a_key_for_what_a_slow_line_still_shows_rates_no_other_text(
    windows: Any, root: Path, line: Line
) -> None:
    visit = windows("line")
    first = visit.page.evaluate(SHOWN)
    line.delay = 4.0
    visit.page.keyboard.press("6")
    # The server has saved and drawn the next text; the browser shows the first one still.
    visit.page.wait_for_timeout(3000)
    assert visit.page.evaluate(SHOWN) == first
    visit.page.keyboard.press("1")
    visit.page.wait_for_timeout(1000)
    visit.page.keyboard.press("s")
    line.delay = 0.0
    visit.page.wait_for_timeout(6000)
    visit.settle()
    assert [r["score"] for r in _rows(root, "line")] == [6]
    assert "skipped" not in [n["what"] for n in _rows(root, "line", "desk.jsonl")]
    assert "not counted" in _said(visit)


def test_keys_at_random_moments_rate_what_was_shown(windows: Any, root: Path, line: Line) -> None:
    visit, random = windows("many"), Random(18)
    for _ in range(40):
        line.delay = random.choice((0.0, 0.0, 0.3, 0.8))
        visit.page.keyboard.press(random.choice("1234567"))
        visit.page.wait_for_timeout(random.choice((20, 150, 500, 1200)))
    line.delay = 0.0
    visit.page.wait_for_timeout(4000)
    _as_pressed(root, "many", [visit])


def test_a_pair_that_is_saved_slowly_is_chosen_from_once(windows: Any, root: Path) -> None:
    visit = windows("pairs")
    for key in "abt":
        visit.page.keyboard.press(key)
        visit.page.wait_for_timeout(200)
    _idle(visit)
    assert [r["choice"] for r in _rows(root, "pairs", "choices.jsonl")] == ["A"]


def test_going_back_to_the_desk_rates_the_text_that_is_shown(windows: Any, root: Path) -> None:
    visit = windows("back")
    visit.page.keyboard.press("3")
    visit.page.wait_for_timeout(200)
    visit.page.get_by_role("link", name="Bias").first.click()
    visit.page.wait_for_timeout(100)
    visit.page.go_back()
    _idle(visit)
    # The address that the browser goes back to names no rater: nobody is one until they say so.
    visit.page.keyboard.press("4")
    visit.page.get_by_text("Who rates, and which set").click()
    visit.page.get_by_role("textbox", name="Your rater name").fill("ana")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector(RESPONSE, timeout=60_000)
    # Out of the field: what is typed there is no key of the desk's.
    visit.page.locator("h1").click()
    _idle(visit)
    visit.page.evaluate(WATCH)
    visit.page.keyboard.press("5")
    _idle(visit)
    assert [r["score"] for r in _rows(root, "back")] == [3, 5]
    texts = _texts(root, "back")
    (_, shown, _), *_ = visit.page.evaluate("() => window.pressed")
    assert texts[_rows(root, "back")[-1]["item_id"]] in shown


def test_two_windows_of_a_rater_and_two_raters_at_once_lose_and_double_nothing(
    windows: Any, root: Path
) -> None:
    ana, ben = windows("windows", "ana"), windows("windows", "ben")
    again = windows("windows", "ana", ana.page.context)
    tabs = {"ana": [ana, again], "ben": [ben]}
    texts = _texts(root, "windows")
    random = Random(3)
    for _ in range(400):
        for visit in (ana, ben, again):
            visit.page.keyboard.press(random.choice("234"))
        ana.page.wait_for_timeout(random.choice((100, 700)))
        rows = _rows(root, "windows")
        if len(rows) == 2 * len(texts):
            break
    for visit in (ana, ben, again):
        _idle(visit)
    rows = _rows(root, "windows")
    assert len({(r["rater_id"], r["item_id"]) for r in rows}) == len(rows) == 2 * len(texts)
    for rater, visits in tabs.items():
        _as_pressed(root, "windows", visits, rater)
    assert not (root / "windows" / "human" / "ratings.jsonl.torn").exists()
