"""File names a bundle may hold: plain ASCII paths that mean the same file on every machine and to
every reader.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

LONGEST = 240
# Refused by Windows, or of special meaning to a shell or a file system there.
FORBIDDEN = frozenset('<>:"\\|?*')
DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)))
)


def wrong_name(name: str) -> str | None:
    """What is wrong with a name, in a few words; None where nothing is.

    The words hold only ASCII.
    """
    if not name or len(name) > LONGEST:
        return f"is {len(name)} characters long; expected 1 to {LONGEST}"
    for c in name:
        if not " " < c < "\x7f" and c != " ":
            what = unicodedata.name(c, "a character without a name")
            return (
                f"holds U+{ord(c):04X} ({what}), which can look like something else; expected "
                "plain ASCII"
            )
        if c in FORBIDDEN:
            return f"holds {c!r}, which is no part of a portable name"
    if name.startswith("/"):
        return "is an absolute path"
    parts = name.split("/")
    if ".." in parts:
        return "leaves the folder with '..'"
    if any(p in ("", ".") for p in parts):
        return "is not a plain path"
    for part in parts:
        if part[-1] in ". " or part[0] == " ":
            return "begins or ends in a space or ends in a dot, which some systems drop"
        if part.partition(".")[0].lower() in DEVICES:
            return f"holds {part!r}, which is a device on Windows"
    return None


def collision(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that are one file where case does not count, or of which one is a folder of the
    other; None if none.
    """
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.get(name.lower())) is not None:
            return other, name
        seen[name.lower()] = name
    for lower, name in seen.items():
        for parent in PurePosixPath(lower).parents:
            if (other := seen.get(str(parent))) is not None:
                return other, name
    return None
