"""Tables that people open in a spreadsheet: no cell of them runs as a formula, and reading them back
gives the text that was written.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Excel and LibreOffice take a cell for a formula by its first character, some after white space or
# quotation marks, and East Asian ones by full-width signs too (OWASP, "CSV injection"). An
# apostrophe in front makes it text, and takes the place of one that was there already.
FORMULA = frozenset("=+-@")
PASSED_OVER = frozenset("'\"`´‘’‚‛“”„‟«»")
STARTS = frozenset("'\t\r\n")
# A number, or two of an interval, which a table of ours shows as text.
NUMBER = r"[+-]?\d[\d.,]*(?:e[+-]?\d+)?%?"
NUMBERS = re.compile(rf"\[?{NUMBER}(?:(?: to | – |, | and ){NUMBER})?\]?", re.IGNORECASE)


def guard(cell: str) -> str:
    """The cell with an apostrophe before anything that a spreadsheet would compute."""
    return f"'{cell}" if _starts_formula(cell) else cell


def unguard(cell: str) -> str:
    """The cell as it was before `guard`."""
    if cell[:1] == "'" and _starts_formula(cell[1:]):
        return cell[1:]
    return cell


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A sheet for people, as CSV with a byte order mark, without which Excel misreads anything but
    ASCII; texts are guarded, None is an empty cell.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([guard(column) for column in columns])
    for row in rows:
        writer.writerow([guard(cell) if isinstance(cell, str) else cell for cell in row])
    return "\ufeff" + out.getvalue()


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    """A table as the app shows it: its viewer offers it as CSV just as it is shown.

    Plain numbers, also those that are text, are as they were.
    """
    import pandas as pd

    shown = table.copy(deep=False)
    for name in table.columns:
        cells = table[name].tolist()
        guarded_cells = [_shown(cell) for cell in cells]
        # Only where something changes: a column keeps its kind.
        if any(a is not b for a, b in zip(cells, guarded_cells, strict=True)):
            shown[name] = pd.Series(guarded_cells, index=table.index, dtype=object)
    return shown


def _shown(cell: Any) -> Any:
    return guard(cell) if isinstance(cell, str) and not NUMBERS.fullmatch(cell) else cell


def _starts_formula(cell: str) -> bool:
    if cell[:1] in STARTS:
        return True
    for sign in cell:
        # Full-width and small forms are the same sign in another shape.
        if unicodedata.normalize("NFKC", sign)[:1] in FORMULA:
            return True
        passed = sign.isspace() or sign in PASSED_OVER
        if not passed and unicodedata.category(sign) not in ("Cc", "Cf"):
            return False
    return False
