"""What only people can say of a run: the template, its strict check, and the file it is kept in.

A form is bound to one run by the run's id and the hash of the ledger's first event, which sealed
the plan.
"""

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

from reports.frameworks.schema import feeds, questions, topics
from reports.frameworks.yaml_once import load_once
from reports.record.files import Source
from restaudit.errors import BadInput
from restaudit.evidence.yaml_text import as_yaml

FILE = "report/declarations.yaml"
SCHEMA = "restaudit.declarations/1"
TOP = ("schema", "run_id", "plan_event", "declared_by", "role", "date", "signature_file", "answers")
NUMBERS = ("compute.original_flop",)
MOST_BYTES = 2_000_000


@dataclass(frozen=True)
class Bound:
    """The run that a form is about: its id, and the hash of the event that sealed its plan."""

    run_id: str
    plan_event: str


@dataclass(frozen=True)
class Declarations:
    """Who said what, when, of which run. `answers`: key -> text, never blank.

    signature_file  name of a DSSE envelope over this file, or ""; nothing here verifies it
    sha256          of the stored file; "" before it is stored
    """

    declared_by: str
    role: str
    date: str
    about: Bound
    answers: Mapping[str, str] = field(default_factory=dict)
    signature_file: str = ""
    sha256: str = ""

    def source(self, place: str) -> Source:
        """A place in the stored file. The ledger does not cover it."""
        return Source(FILE, place, self.sha256)


def template(about: Bound, recorded: Iterable[str], known: Declarations | None) -> str:
    """YAML with every question that a person may answer, asked once, and what was declared before.

    `recorded` names the questions that the record answers by itself: a declaration is shown beside
    it.
    """
    recorded = set(recorded)
    lines = [
        (
            "# What only people can say about this run. Leave empty what you do not know: it is "
            "shown as MISSING."
        ),
        "# An answer that begins with 'N-A:' says that the question does not apply, and why.",
        "# Nobody checks what stands here; documents show it as DECLARED, with your name. Each "
        "question is asked once, and",
        "# 'feeds' names the clauses that the answer goes into.",
        *_pair("schema", SCHEMA),
        "# which run this form is about; do not change these two",
        *_pair("run_id", about.run_id),
        *_pair("plan_event", about.plan_event),
        "# who answers, in which role, and on which day (for example 2026-01-31)",
        *_pair("declared_by", known.declared_by if known else ""),
        *_pair("role", known.role if known else ""),
        *_pair("date", known.date if known else ""),
        "# name of the file with a DSSE signature over this form, if there will be one; it is "
        "named and not checked here",
        *_pair("signature_file", known.signature_file if known else ""),
        "answers:",
    ]
    for topic in topics():
        mine = [q for q in topic.fields if q.declare]
        lines += ["", f"  # == {topic.title} =="] if mine else []
        for q in mine:
            lines += ["", *(f"  # {part}" for part in textwrap.wrap(q.asks, 110))]
            fed = f"feeds: {', '.join(feeds().get(q.key, ()))}; who could say: {q.who}"
            lines += [f"  # {part}" for part in textwrap.wrap(fed, 110)]
            if q.key in recorded:
                lines.append("  # the record answers this; what you write is shown beside it")
            lines += [
                f"  {line}" for line in _pair(q.key, known.answers.get(q.key, "") if known else "")
            ]
    return "\n".join(lines) + "\n"


def read(path: Path, about: Bound) -> Declarations:
    """Read and check a filled template or the stored file, and give it the SHA-256 of the file.

    Raises BadInput, naming the key, for anything that is not valid: an unknown key or one given
    twice, an answer without name or date, a date that is none, a form about another run.
    """
    raw, sha256 = _mapping(path)
    _known(path, "", raw, TOP)
    if raw.get("schema") != SCHEMA:
        raise BadInput(
            f"{path}: schema: {raw.get('schema')!r}; expected {SCHEMA!r}, as restaudit declare "
            "writes"
        )
    _about_this(path, raw, about)
    given = raw.get("answers") or {}
    if not isinstance(given, dict):
        raise BadInput(f"{path}: answers: expected a mapping from question to answer")
    _known(path, "answers.", given, [k for k, q in questions().items() if q.declare])
    answers = {k: v for k in sorted(given) if (v := _answer(path, k, given[k]))}
    by, role, signature = (
        _line(path, k, raw.get(k)) for k in ("declared_by", "role", "signature_file")
    )
    if answers and not any(c.isalnum() for c in by):
        raise BadInput(
            f"{path}: declared_by: empty; {len(answers)} answers need the name of who gives them"
        )
    day = _date(path, raw.get("date")) if answers or raw.get("date") else ""
    if signature and (Path(signature).name != signature or signature in (".", "..")):
        raise BadInput(
            f"{path}: signature_file: {signature!r}; expected the name of a file beside the "
            "declarations"
        )
    return Declarations(by, role, day, about, answers, signature, sha256)


def store(found: Declarations, path: Path) -> str:
    """Write checked declarations and return their SHA-256; the same ones give the same bytes."""
    whole = {
        "schema": SCHEMA,
        "run_id": found.about.run_id,
        "plan_event": found.about.plan_event,
        "declared_by": found.declared_by,
        "role": found.role,
        "date": found.date,
        "signature_file": found.signature_file,
        "answers": dict(found.answers),
    }
    text = as_yaml(whole)
    if path.is_symlink() or path.parent.is_symlink():
        raise BadInput(f"{path}: a symbolic link; declarations are kept in the run folder itself")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _mapping(path: Path) -> tuple[dict[str, Any], str]:
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise BadInput(f"{path}: {path.stat().st_size} bytes; expected at most {MOST_BYTES}")
        data = path.read_bytes()
        raw = load_once(data.decode("utf-8"))
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise BadInput(f"{path}: not UTF-8 text (byte {e.start})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        mark = getattr(e, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise BadInput(
            f"{path}{line}: not valid YAML: {getattr(e, 'problem', None) or e}"
        ) from None
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: expected a mapping with the keys {', '.join(TOP)}")
    return raw, hashlib.sha256(data).hexdigest()


def _known(path: Path, where: str, given: Mapping[Any, Any], valid: Iterable[str]) -> None:
    valid = list(valid)
    for key in given:
        if key in valid:
            continue
        near = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.4)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        if where and key in questions():
            hint = "; the record answers that one, and nobody can declare it"
        raise BadInput(f"{path}: {where}{key}: unknown key{hint}")


def _about_this(path: Path, raw: Mapping[str, Any], about: Bound) -> None:
    for key, expected in (("run_id", about.run_id), ("plan_event", about.plan_event)):
        if (got := _line(path, key, raw.get(key))) != expected:
            raise BadInput(
                f"{path}: {key}: {got!r}, and this run has {expected!r}: the form is about "
                "another run; get one for this run with restaudit declare"
            )


def _answer(path: Path, key: str, value: Any) -> str:
    """An answer as text; "" where it is blank."""
    where = f"answers.{key}"
    if isinstance(value, list):
        return "; ".join(part for v in value if (part := _said(path, where, v)))
    said = _said(path, where, value)
    if said and not any(c.isalnum() for c in said):
        raise BadInput(
            f"{path}: {where}: {said!r} has no letter or digit; leave it empty where nothing is "
            "known"
        )
    if said and key in NUMBERS and not said.startswith("N-A:"):
        _positive(path, where, said)
    return said


def _positive(path: Path, where: str, said: str) -> None:
    try:
        number = float(said)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise BadInput(f"{path}: {where}: {said!r}; expected a positive number such as 6.0e21")


def _said(path: Path, where: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, int | float):
        return str(value)
    raise BadInput(
        f"{path}: {where}: expected text or a list of texts, got a {type(value).__name__}"
    )


def _line(path: Path, where: str, value: Any) -> str:
    said = _said(path, where, value)
    if "\n" in said:
        raise BadInput(f"{path}: {where}: expected one line of text")
    return said


def _date(path: Path, value: Any) -> str:
    said = _said(path, "date", value)
    try:
        return datetime.date.fromisoformat(said).isoformat()
    except ValueError:
        raise BadInput(f"{path}: date: {said!r}; expected a date such as 2026-01-31") from None


def _pair(key: str, value: Any) -> list[str]:
    return as_yaml({key: value}).rstrip("\n").split("\n")
