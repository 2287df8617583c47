"""What somebody typed into the declarations form and did not save: kept outside the run, and
offered again.

One file a browser tab, in a folder for a run and a person below the user's cache folder, readable
by the user alone. A draft is no declaration: nothing but the form reads it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reports.viewer.documents.form import Given
from restaudit.errors import BadInput
from restaudit.models.artifacts import cache_folder

FOLDER, SCHEMA, LARGEST = "drafts", 1, 4 << 20
TOKEN = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Draft:
    """Typed and not saved; `at` is when, `token` the tab's."""

    token: str
    at: datetime.datetime
    given: Given


def folder_of(run_id: str, person: str) -> Path:
    """Where a person's drafts about a run lie; `person` is what a login says of them, "" without
    one.
    """
    name = hashlib.sha256(json.dumps([run_id, person]).encode()).hexdigest()[:32]
    return cache_folder() / FOLDER / name


def keep(folder: Path, token: str, given: Given) -> None:
    """Keep what is in the form, in the place of what the same tab kept before.

    Raises BadInput where that fails.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = json.dumps({"schema": SCHEMA, "at": now, **asdict(given)}, ensure_ascii=True)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file that only its owner can read.
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as f:
            f.write(text)
        Path(temporary).replace(_file(folder, token))
    except OSError as e:
        raise BadInput(f"{folder}: cannot be written: {e.strerror}") from None


def found(folder: Path, *, but: str = "") -> tuple[list[Draft], list[str]]:
    """Drafts of other tabs, the newest first, and the names of files that are none."""
    drafts: list[Draft] = []
    unreadable: list[str] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        if path.stem == but:
            continue
        draft = _read(path)
        if draft is None:
            unreadable.append(path.name)
        else:
            drafts.append(draft)
    return sorted(drafts, key=lambda d: d.at, reverse=True), unreadable


def forget(folder: Path, token: str) -> None:
    """Remove a draft; one that is gone is gone."""
    try:
        _file(folder, token).unlink(missing_ok=True)
    except OSError as e:
        raise BadInput(f"{folder}: cannot be removed: {e.strerror}") from None


def _file(folder: Path, token: str) -> Path:
    if not TOKEN.fullmatch(token):
        raise BadInput(f"{token!r}: not the name of a draft")
    return folder / f"{token}.json"


def _read(path: Path) -> Draft | None:
    try:
        if not TOKEN.fullmatch(path.stem) or path.is_symlink() or path.stat().st_size > LARGEST:
            return None
        raw = json.loads(path.read_text(encoding="utf-8"))
        at = datetime.datetime.fromisoformat(raw["at"]).astimezone(datetime.UTC)
        return Draft(path.stem, at, _given(raw)) if raw["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _given(raw: dict[str, Any]) -> Given:
    given = Given(
        raw["declared_by"], raw["role"], raw["date"], raw["signature_file"], dict(raw["answers"])
    )
    texts = (
        given.declared_by,
        given.role,
        given.date,
        given.signature_file,
        *given.answers,
        *given.answers.values(),
    )
    if not all(isinstance(t, str) for t in texts):
        raise TypeError("expected texts")
    if given.date:
        datetime.date.fromisoformat(given.date)
    return given
