"""No table that restaudit writes for people to open in a spreadsheet has a cell that runs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.exports.encoding import csv_bytes
from restaudit.files.spreadsheet import csv_text, guard, guarded, unguard
from restaudit.people.rating.formats import csv as sheet_layout
from restaudit.people.rating.pairs import sheet as pairs
from restaudit.people.rating.sheet import Sheet, ShownText

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\u3000=1", '"=1',
    "'=1", "''=1", "“=1”", "\u200b=1", "\ufeff=1", "\0=1", "＝1", "＋1", "－1", "＠x", "﹦1", "﹢1",
    "﹣1", "﹫x", ' " =1', "=cmd|' /C calc'!A0", '=HYPERLINK("http://x","y")', "'", "'plain",
)  # fmt: skip
SIGNS = re.compile(r"""[\s'"“”‘’\x00\u200b\ufeff]*[=+\-@＝＋－＠﹦﹢﹣﹫]""")


def runs(cell: str) -> bool:
    """Whether a spreadsheet might compute the cell; what an apostrophe begins it shows as text."""
    return not cell.startswith("'") and SIGNS.match(cell) is not None


@pytest.mark.parametrize("text", HOSTILE)
def test_a_formula_becomes_text_and_comes_back(text: str) -> None:
    assert not runs(guard(text))
    assert unguard(guard(text)) == text


@given(st.text(st.sampled_from("=+-@'\" \t\r\nax1＝\u200b“"), max_size=8))
def test_the_guard_is_undone_for_any_text(text: str) -> None:
    assert not runs(guard(text))
    assert unguard(guard(text)) == text


def test_plain_texts_and_numbers_stay_as_they_are() -> None:
    for text in ("", "plain", "a=b", "1-2", "(=1)", "é", "x@y"):
        assert guard(text) == text
    table = pd.DataFrame({"a": ["-0.5", "-0.5 to 0.1", "-1+cmd|x", "=1", 3], "b": [-1.0] * 5})
    assert guarded(table)["a"].tolist() == ["-0.5", "-0.5 to 0.1", "'-1+cmd|x", "'=1", 3]
    assert guarded(table)["b"].tolist() == [-1.0] * 5


def _sheets() -> Iterator[tuple[str, str]]:
    """Every table that is written as CSV, with hostile texts in it."""
    rows = tuple(ShownText(f"i{k}", text, text, "0") for k, text in enumerate(HOSTILE))
    yield "rating sheet", sheet_layout.write(Sheet("=r", "=d", (1.0, 2.0), "=x", "0", 1, rows))
    shown = tuple(pairs.ShownPair(f"i{k}", t, t, t, "0", "0") for k, t in enumerate(HOSTILE))
    yield "pairs", pairs.csv_of(pairs.PairSheet("=r", "=d", "=x", "0", 1, shown))
    yield "refit sheet", csv_text(("item_id", "text"), [("i", text) for text in HOSTILE])
    yield "export", csv_bytes(("text",), [{"text": text} for text in HOSTILE]).decode()


@pytest.mark.parametrize(("name", "text"), [*_sheets()], ids=lambda value: str(value)[:12])
def test_no_cell_of_any_table_runs(name: str, text: str) -> None:
    for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")):
        assert not [cell for cell in row if runs(cell)], name


def test_a_rating_sheet_gives_back_the_texts_that_were_written() -> None:
    rows = tuple(ShownText(f"i{k}", "p", text, "0") for k, text in enumerate(HOSTILE))
    text = sheet_layout.write(Sheet("r", "d", (1.0, 2.0), "x", "0", 1, rows))
    filled = text.replace('"","",""', '"1","ann",""')
    votes = sheet_layout.read(filled.removeprefix("\ufeff")).votes
    assert [vote.response for vote in votes] == list(HOSTILE)


def test_nothing_else_writes_csv() -> None:
    """One function makes a cell; the one other writer of CSV calls it for every cell."""
    writers = re.compile(r"csv\.(writer|DictWriter)\(|\.to_csv\(|\.to_excel\(|openpyxl|xlsxwriter")
    found = {
        str(path.relative_to(ROOT))
        for package in ("restaudit", "reports", "probes")
        for path in (ROOT / package).rglob("*.py")
        if writers.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"restaudit/files/spreadsheet.py", "reports/exports/encoding.py"}


def test_every_table_of_the_app_is_guarded() -> None:
    """The app's tables can be downloaded as CSV, just as they are shown."""
    for path in (ROOT / "reports" / "viewer").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(
            r"st\.(dataframe|data_editor)\(\s*+(?!guarded\(|# Our own words)", text
        ):
            line = text.count("\n", 0, match.start()) + 1
            pytest.fail(f"{path.relative_to(ROOT)}:{line}: st.{match[1]} without guarded(...)")
