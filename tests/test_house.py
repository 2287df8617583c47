"""The mirror of the house counts what is there: rooms, floors, circles, importers and dense lines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "probes/__init__.py": "",
    "probes/base.py": "class Row: ...\n",
    "probes/bias.py": "from probes import base\nfrom probes.base import Row\n",
    "restaudit/__init__.py": "",
    "restaudit/a.py": "def f():\n    from restaudit.b import g\n\n    return g\n",
    "restaudit/b/__init__.py": "",
    "restaudit/b/inner.py": "import restaudit.a\nimport probes.base\n",
    "restaudit/c.py": (
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from restaudit import a\n"
    ),
    "reports/__init__.py": "",
    "reports/page.py": (
        "from restaudit import c\n\n# why\nclass Row: ...\n\n"
        "found = 1 if c else 2 if Row else [x for x in ()]\n"
    ),
}


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    sys.modules.pop("house", None)
    import house

    return house


@pytest.fixture
def figures(house, tmp_path: Path) -> dict[str, str]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    rows = house.table(house.read_sources(tmp_path))
    return {what: today for what, today, _ in rows}


def test_files_and_their_importers_are_counted(figures: dict[str, str]) -> None:
    assert figures["files"] == str(len(FILES))
    # restaudit.a and restaudit.c; the first import of probes.base by probes.bias counts once.
    assert figures["files that one other file imports"] == "2"


def test_a_late_import_makes_a_circle_and_a_typing_import_none(figures: dict[str, str]) -> None:
    assert figures["probes/: rooms, floors"] == "2, 2"
    assert figures["restaudit/: rooms, floors"] == "3, 1"
    assert figures["restaudit/: a circle"] == "a b"
    assert figures["modules of restaudit that reports imports"] == "1"


def test_dense_lines_are_counted_and_one_class_name_for_two_things_is_named(
    figures: dict[str, str],
) -> None:
    lines = sum(bool(line.strip()) for text in FILES.values() for line in text.splitlines())
    assert figures["one-line conditionals a 1,000 lines"] == f"{2000 / lines:.1f}"
    assert figures["  of them nested"] == "1"
    assert figures["comprehensions a 1,000 lines"] == f"{1000 / lines:.1f}"
    assert figures["lines with a comment"] == f"{100 / lines:.1f}%"
    assert figures["variables found / said / of / how"] == "1 / 0 / 0 / 0"
    assert figures["classes of one name (1)"] == "Row x2"


def test_the_picture_in_the_docs_is_of_this_house(house) -> None:
    drawn = (ROOT / "docs" / "images" / "rooms.svg").read_text(encoding="utf-8")
    made = house.picture(house.read_sources(ROOT))
    assert made == drawn, "run: python tools/house.py --picture docs/images/rooms.svg"
