"""The page Rate as its tests use it: a fabricated run, a new browser tab, and what is on disk
afterwards.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from make_run import make_run
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from reports.viewer.rating import desk

ROOT = Path(__file__).parents[2]
ASK: dict[str, Any] = {
    "raters": 2,
    "seed": 7,
    "dimension": "quality",
    "scale": (1, 7),
    "instructions": "Rate from 1 to 7.\nBe fair.",
}
ITERATIONS = ["g00/i00", "g02/i02"]


def fresh(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that is done, in the folder that the app shows; keys count however soon they come."""
    monkeypatch.setenv("RESTAUDIT_RUNS", str(root))
    monkeypatch.setattr(desk, "QUICK", 0.0)
    return make_run(root / "run")


def open_page(
    rater: str | None = None, user: dict[str, Any] | None = None, **query: str
) -> AppTest:
    """The page in a new browser tab."""
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60)
    if user is not None:
        at.user = user
    at.switch_page("app_pages/rate.py")
    for key, value in {**query, **({"rater": rater} if rater else {})}.items():
        at.query_params[key] = value
    return at.run()


def begin(rater: str = "ana") -> AppTest:
    """The first text, in a new tab, after the instructions."""
    return click(open_page(rater), "rating_begin")


def button(at: AppTest, key: str) -> Button:
    """A button by its key, or by how that begins where it also names a text."""
    (found,) = [b for b in at.button if _is(b, key)]
    return found


def _is(one: Button, key: str) -> bool:
    return one.key is not None and (one.key == key or one.key.startswith(f"{key}_"))


def click(at: AppTest, key: str) -> AppTest:
    button(at, key).click().run()
    assert not at.exception
    return at


def rate(at: AppTest, *scores: int) -> AppTest:
    """Give these scores, one text after the other."""
    for score in scores:
        click(at, f"score_{score - 1}")
    return at


def texts(at: AppTest) -> list[str]:
    return [t.value for t in at.text]


def shown(at: AppTest) -> str:
    """The response that is shown now."""
    return str(at.container(key="rating_response").text[0].value)


def status(at: AppTest) -> str:
    """The line above the bar."""
    return str(at.get("progress")[-1].text)


def has(at: AppTest, key: str) -> bool:
    """Whether there is such a button."""
    return any(_is(b, key) for b in at.button)


def rows(run: Path) -> list[dict[str, Any]]:
    """ratings.jsonl as it is."""
    path = run / "human" / "ratings.jsonl"
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else []
    )
