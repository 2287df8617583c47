"""manifest.json of a bundle: what is in it, what was left out, and what was replaced.

Canonical JSON (RFC 8785).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

import rfc8785

from restaudit.errors import VerificationFailed
from restaudit.evidence.ledger import FileDigest
from restaudit.files.plain import TEMPORARY

FILE = "manifest.json"
SIGNATURE = "manifest.dsse.json"
FORMAT = "restaudit-bundle"
SCHEMA = 1
LARGEST = 8 << 20
TEXTS, WEIGHTS = "texts", "weights"


@dataclass(frozen=True)
class Redacted:
    """A recorded file whose texts were taken out: what it was, what stands in its place, and what
    was done.
    """

    original: FileDigest
    replacement: FileDigest
    how: str


@dataclass(frozen=True)
class LeftOut:
    """A recorded file that is not in the bundle; `why` is "texts" or "weights"."""

    original: FileDigest
    why: str


@dataclass(frozen=True)
class Manifest:
    """Everything a bundle says about itself.

    `files` are all files of the bundle but the manifest and its signature. `notes` say in words
    what a redaction hides and what it does not.
    """

    run_id: str
    seq: int
    head: str
    comparison_digest: str
    without: tuple[str, ...]
    files: Mapping[str, FileDigest]
    redacted: Mapping[str, Redacted] = field(default_factory=dict)
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Canonical JSON and a line end."""
        body = {"format": FORMAT, "schema": SCHEMA, **asdict(self)}
        return (
            rfc8785.dumps({**body, "without": list(self.without), "notes": list(self.notes)})
            + b"\n"
        )


def parse(data: bytes) -> Manifest:
    """The manifest in these bytes.

    Raises VerificationFailed, beginning with its name, for anything else.
    """
    # Here, since whoever packs or lists names needs none of the shapes.
    from restaudit.evidence.verify.shapes import BundleShape, shaped

    if len(data) > LARGEST:
        raise VerificationFailed(f"{FILE}: more than {LARGEST:,} bytes, which is not read")
    manifest = _parsed(shaped(data, BundleShape, FILE).model_dump())
    if manifest.to_bytes() != data:
        raise VerificationFailed(f"{FILE}: not the canonical JSON that restaudit writes")
    _check(manifest)
    return manifest


def _parsed(raw: Mapping[str, Any]) -> Manifest:
    redacted = {
        name: Redacted(FileDigest(**r["original"]), FileDigest(**r["replacement"]), r["how"])
        for name, r in raw["redacted"].items()
    }
    left_out = {
        name: LeftOut(FileDigest(**left["original"]), left["why"])
        for name, left in raw["left_out"].items()
    }
    return Manifest(
        run_id=raw["run_id"],
        seq=raw["seq"],
        head=raw["head"],
        comparison_digest=raw["comparison_digest"],
        without=tuple(raw["without"]),
        files={name: FileDigest(**digest) for name, digest in raw["files"].items()},
        redacted=redacted,
        left_out=left_out,
        notes=tuple(raw["notes"]),
    )


def _check(manifest: Manifest) -> None:
    """A bundle may leave out or replace only what its options leave out or replace."""
    if list(manifest.without) != sorted(set(manifest.without)):
        raise VerificationFailed(f"{FILE}: 'without' holds a word twice, or in another order")
    for name, redacted in manifest.redacted.items():
        if TEXTS not in manifest.without or not may_be_redacted(name):
            raise VerificationFailed(
                f"{FILE}: calls {name} redacted, which no option of a bundle does"
            )
        if manifest.files.get(name) != redacted.replacement:
            raise VerificationFailed(
                f"{FILE}: calls {name} redacted, but lists another replacement"
            )
    for name, left in manifest.left_out.items():
        if left.why not in manifest.without or left.why != why_left_out(name):
            raise VerificationFailed(
                f"{FILE}: calls {name} left out, which no option of a bundle does"
            )
        if name in manifest.files:
            raise VerificationFailed(f"{FILE}: calls {name} left out, and lists it too")
    for name in (FILE, SIGNATURE):
        if name in manifest.files:
            raise VerificationFailed(f"{FILE}: lists {name} among its files")


def may_be_redacted(name: str) -> bool:
    """Whether a bundle may hold a recorded file without its texts: tables, and measurements."""
    return name.endswith((".parquet", "/measurements.json"))


def why_left_out(name: str) -> str | None:
    """The option that leaves a recorded file out of a bundle; None where none does."""
    from restaudit.evidence.bundle.redact import has_no_texts, is_weights

    if is_weights(name):
        return WEIGHTS
    # What the decisions rest on stays: a bundle without it says nothing.
    return None if has_no_texts(name) or may_be_redacted(name) else TEXTS


# --- names a bundle may hold: plain ASCII paths, the same file on every machine and to every reader


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
        if part.startswith(TEMPORARY):
            return f"holds {part!r}, which is work in hand that no reader looks at"
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
