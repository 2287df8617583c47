"""What other programs read: text of unknown origin that is valid in the format and nothing that a
reader would run, and names as other standards write them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from restaudit.evidence.shown import NEWLINE, invisible
from restaudit.files.signs import printable
from restaudit.files.spreadsheet import guard


def clean(text: str) -> str:
    """One line without control, reordering or invisible characters: each becomes U+FFFD, a line
    break “⏎”.
    """
    # Line breaks first: they are control characters too, and would be lost as U+FFFD.
    line = printable(NEWLINE.join(re.split(r"\r\n|\r|\n", text)))
    return "".join("\ufffd" if invisible(c) else c for c in line)


def cleaned(value: Any) -> Any:
    """Plain JSON with every string in it, keys too, cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(k)): cleaned(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(v) for v in value]
    return value


def json_bytes(value: Any) -> bytes:
    """JSON with sorted keys, cleaned strings and no NaN.

    `<`, `>` and `&` are escaped, so that a page can embed it.
    """
    # Sorted keys: the same record gives the same bytes, whatever order a dictionary was built in.
    text = json.dumps(cleaned(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    for c in "<>&":
        text = text.replace(c, f"\\u{ord(c):04x}")
    return (text + "\n").encode()


def csv_cell(value: str | float | bool | None) -> str:
    """A cell: numbers as Python writes them, nothing for None, and text that no spreadsheet takes
    for a formula.

    Text that begins like a formula, or with an apostrophe, gets one apostrophe in front
    (`files.spreadsheet`). So whoever takes one leading apostrophe away has the cleaned text again.
    """
    if value is None:
        return ""
    # Before numbers: Python counts True as an int, and would write it with a capital letter.
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return guard(clean(value))


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A table after RFC 4180 (comma, CRLF, UTF-8 without a mark) with a header."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([csv_cell(row[c]) for c in columns] for row in rows)
    return out.getvalue().encode()


# --- names: package URLs, licences, identifiers

PYPI = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*)==([^!\s]+)(?:!(.+))?")
HUB = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
# Identifiers of the SPDX licence list that models and data sets commonly carry; other licences are
# given as text.
SPDX_IDS = frozenset(
    {
        "0BSD",
        "AFL-3.0",
        "AGPL-3.0-only",
        "AGPL-3.0-or-later",
        "Apache-2.0",
        "Artistic-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-SA-3.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CDLA-Permissive-2.0",
        "CDLA-Sharing-1.0",
        "GPL-2.0-only",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "ISC",
        "LGPL-3.0-only",
        "MIT",
        "MPL-2.0",
        "ODbL-1.0",
        "OFL-1.1",
        "PDDL-1.0",
        "Unlicense",
        "Zlib",
    }
)


def package_url(spec: str) -> str | None:
    """The purl of `pypi:` and `hf:` sources; None for a path, a `url:` or what is built in."""
    package = PYPI.fullmatch(spec)
    if package is not None:
        name, version, inside = package.groups()
        # A purl names a file inside a package as its subpath, after "#".
        url = pypi_url(name, version)
        return f"{url}#{quote(inside)}" if inside else url
    model = HUB.fullmatch(spec)
    if model is not None:
        path, revision = model.groups()
        owner, _, name = path.partition("/")
        url = f"pkg:huggingface/{quote(owner)}/{quote(name)}"
        return f"{url}@{quote(revision)}" if revision else url
    return None


def pypi_url(name: str, version: str) -> str:
    """The purl of an installed Python package."""
    # PEP 503: names that differ in case or in runs of "-", "_" and "." are one package.
    normal = re.sub(r"[-_.]+", "-", name).lower()
    return f"pkg:pypi/{quote(normal)}@{quote(version, safe='')}"


def token(text: str) -> str:
    """A name that file systems and identifiers take: letters, digits, dot, underscore; the rest
    become hyphens.

    Names of steps and iterations hold no hyphen, so that two of them stay two.
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "x"
