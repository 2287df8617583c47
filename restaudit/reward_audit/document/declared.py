"""What only people can say: a template to fill, its check, and the file it is kept in."""

from __future__ import annotations

import datetime
import difflib
import hashlib
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from restaudit.errors import BadInput
from restaudit.evidence.yaml_text import as_yaml
from restaudit.reward_audit.document.fields import all_fields, declarable

SCHEMA = "restaudit.reward-declarations/1"
INSTRUCTIONS, APPROVAL, CHANGELOG = (
    "raters.instructions",
    "governance.approval",
    "governance.changelog",
)
APPROVED = ("by", "role", "date", "decision")
TOP = ("schema", "declared_by", "date", "reward_digest", "instructions_file", "answers")
MOST_BYTES = 2_000_000


@dataclass(frozen=True)
class Declarations:
    """Who said what, when, of which reward. `answers`: field key -> plain JSON, never blank."""

    declared_by: str
    date: str
    reward_digest: str
    answers: Mapping[str, Any] = field(default_factory=dict)


def template(reward_digest: str, recorded: Iterable[str], known: Declarations | None) -> str:
    """YAML with every declarable field, its question as a comment, and what was declared before.

    `recorded` names the fields that the record answers by itself: a declaration is shown beside it,
    never in its place.
    """
    recorded = set(recorded)
    lines = [
        (
            "# What only people can say about this reward model. Leave empty what you do not "
            "know: it is shown as MISSING."
        ),
        "# An answer that begins with 'N-A:' says that the question does not apply, and why.",
        "# Nobody checks what stands here; the document shows it as DECLARED, with your name.",
        *_pair("schema", SCHEMA),
        *_pair("declared_by", known.declared_by if known else ""),
        *_pair("date", known.date if known else ""),
        *_pair("reward_digest", reward_digest),
        "# a text file with the instructions to the raters; kept as text with its sha256",
        *_pair("instructions_file", ""),
        "answers:",
    ]
    blanks: dict[str, Any] = {APPROVAL: dict.fromkeys(APPROVED, ""), CHANGELOG: []}
    for f in declarable():
        lines += ["", *(f"  # {part}" for part in textwrap.wrap(f.asks, 100))]
        if f.key == CHANGELOG:
            lines.append("  # a list of {date: 2026-01-31, change: what changed}")
        if f.key in recorded:
            lines.append("  # the record answers this; what you write is shown beside it")
        value = known.answers.get(f.key) if known else None
        lines += [
            f"  {line}" for line in _pair(f.key, blanks.get(f.key, "") if value is None else value)
        ]
    return "\n".join(lines) + "\n"


def read_declarations(path: Path) -> Declarations:
    """Read and check a filled template or a stored file.

    Raises BadInput, naming the key, for anything that is not valid: an unknown key, an answer
    without `declared_by` or `date`, an approval without one of by, role, date and decision,
    instructions that do not have the recorded digest.
    """
    raw = _mapping(path)
    _known(path, "", raw, TOP)
    if raw.get("schema") != SCHEMA:
        raise BadInput(
            f"{path}: schema: {raw.get('schema')!r}; expected {SCHEMA!r}, as restaudit reward "
            "declare writes"
        )
    given = raw.get("answers") or {}
    if not isinstance(given, dict):
        raise BadInput(f"{path}: answers: expected a mapping from field to answer")
    _known(path, "answers.", given, [f.key for f in declarable()])
    answers = {k: v for k in given if (v := _answer(path, k, given[k])) is not None}
    if (file := _line(path, "instructions_file", raw.get("instructions_file"))) != "":
        if INSTRUCTIONS in answers:
            raise BadInput(
                f"{path}: instructions_file: answers.{INSTRUCTIONS} says them already; give one "
                "of the two"
            )
        answers[INSTRUCTIONS] = _instructions(path, path.parent / file)
    by, digest = (_line(path, key, raw.get(key)) for key in ("declared_by", "reward_digest"))
    if answers and not by:
        raise BadInput(
            f"{path}: declared_by: empty; {len(answers)} answers need the name of who gives them"
        )
    day = _date(path, "date", raw.get("date")) if answers or raw.get("date") else ""
    return Declarations(by, day, digest, dict(sorted(answers.items())))


def store(found: Declarations, path: Path) -> None:
    """Write checked declarations; the same declarations give the same bytes.

    Raises BadInput where it cannot.
    """
    whole = {
        "schema": SCHEMA,
        "declared_by": found.declared_by,
        "date": found.date,
        "reward_digest": found.reward_digest,
        "answers": dict(found.answers),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_yaml(whole), encoding="utf-8")
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None


def about_this(found: Declarations, digest: str, path: Path) -> None:
    """Raise BadInput where declarations were made about another reward than the one with this
    digest.
    """
    if found.reward_digest and found.reward_digest != digest:
        raise BadInput(
            f"{path}: declared about the reward with digest {found.reward_digest}, and this one "
            f"is {digest}; declare anew with restaudit reward declare"
        )


def _mapping(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise BadInput(f"{path}: not UTF-8 text (byte {e.start})") from None
    except (yaml.YAMLError, ValueError) as e:
        mark = getattr(e, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise BadInput(
            f"{path}{line}: not valid YAML: {getattr(e, 'problem', None) or e}"
        ) from None
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: expected a mapping with the keys {', '.join(TOP)}")
    return raw


def _known(path: Path, where: str, given: Mapping[Any, Any], valid: Iterable[str]) -> None:
    valid = list(valid)
    for key in given:
        if key in valid:
            continue
        near = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.4)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        if where and any(f.key == key for f in all_fields()):
            hint = "; the record answers that one, and nobody can declare it"
        raise BadInput(f"{path}: {where}{key}: unknown key{hint}")


def _answer(path: Path, key: str, value: Any) -> Any:
    """An answer as plain JSON, or None where it is blank."""
    where = f"answers.{key}"
    if key == INSTRUCTIONS and isinstance(value, dict):
        return _recorded_text(path, where, value)
    if key == APPROVAL:
        return _approval(path, where, value)
    if key == CHANGELOG:
        return _changes(path, where, value)
    if isinstance(value, list):
        parts = [_said(path, where, v) for v in value]
        return [p for p in parts if p != ""] or None
    said = _said(path, where, value)
    if said == "":
        return None
    return _with_digest(said) if key == INSTRUCTIONS and not said.startswith("N-A:") else said


def _said(path: Path, where: str, value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(value)
    raise BadInput(
        f"{path}: {where}: expected text or a list of texts, got a {type(value).__name__}"
    )


def _approval(path: Path, where: str, value: Any) -> dict[str, str] | None:
    if value in (None, "", {}):
        return None
    if not isinstance(value, dict):
        raise BadInput(f"{path}: {where}: expected {', '.join(APPROVED)}")
    _known(path, f"{where}.", value, APPROVED)
    said = {
        k: _line(path, f"{where}.{k}", _said(path, f"{where}.{k}", value.get(k))) for k in APPROVED
    }
    if not any(said.values()):
        return None
    if blank := [k for k in APPROVED if not said[k]]:
        raise BadInput(
            f"{path}: {where}.{blank[0]}: empty; an approval needs {', '.join(APPROVED)}"
        )
    return {**said, "date": _date(path, f"{where}.date", said["date"])}


def _changes(path: Path, where: str, value: Any) -> list[dict[str, str]] | None:
    if not isinstance(value, list | None):
        raise BadInput(f"{path}: {where}: expected a list of {{date, change}}")
    found = []
    for n, row in enumerate(value or []):
        if (
            not isinstance(row, dict)
            or set(row) != {"date", "change"}
            or not _said(path, where, row["change"])
        ):
            raise BadInput(f"{path}: {where}[{n}]: expected date and change, and nothing else")
        found.append(
            {
                "date": _date(path, f"{where}[{n}].date", row["date"]),
                "change": _said(path, where, row["change"]),
            }
        )
    return found or None


def _date(path: Path, where: str, value: Any) -> str:
    said = str(_said(path, where, value))
    try:
        return datetime.date.fromisoformat(said).isoformat()
    except ValueError:
        raise BadInput(f"{path}: {where}: {said!r}; expected a date such as 2026-01-31") from None


def _line(path: Path, where: str, value: Any) -> str:
    said = _said(path, where, value)
    if not isinstance(said, str) or "\n" in said:
        raise BadInput(f"{path}: {where}: expected one line of text")
    return said


def _instructions(path: Path, file: Path) -> dict[str, str]:
    try:
        data = file.read_bytes()
        text = data.decode("utf-8")
    except OSError as e:
        raise BadInput(f"{path}: instructions_file: {file}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise BadInput(
            f"{path}: instructions_file: {file}: not UTF-8 text (byte {e.start})"
        ) from None
    if not text.strip() or len(data) > MOST_BYTES:
        raise BadInput(
            f"{path}: instructions_file: {file}: {len(data)} bytes; expected text of 1 to "
            f"{MOST_BYTES} bytes"
        )
    return _with_digest(text)


def _with_digest(text: str) -> dict[str, str]:
    return {"text": text, "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest()}


def _recorded_text(path: Path, where: str, value: Mapping[str, Any]) -> dict[str, str]:
    text = value.get("text")
    if set(value) != {"text", "sha256"} or not isinstance(text, str):
        raise BadInput(f"{path}: {where}: expected text, or text with its sha256 as it was stored")
    if (found := _with_digest(text))["sha256"] != value["sha256"]:
        raise BadInput(
            f"{path}: {where}: the text was changed after it was stored (sha256 {found['sha256']})"
        )
    return found


def _pair(key: str, value: Any) -> list[str]:
    return as_yaml({key: value}).rstrip("\n").split("\n")
