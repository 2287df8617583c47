"""What only people can say: read, strictly checked, and kept beside the record.

One reader for every set of questions (see forms.py): what one form refuses, all refuse.
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import textwrap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from reports.frameworks.forms import (
    APPROVED,
    BLANKS,
    HINTS,
    MOST_BYTES,
    N_A,
    Form,
    FormSubject,
    run_subject,
)
from reports.frameworks.schema import Question, feeds
from reports.record.files import Records, Source
from restaudit.errors import BadInput
from restaudit.files import given, plain
from restaudit.files.strict import NotStrict, parse_yaml


@dataclass(frozen=True)
class Declarations:
    """Who said what, when, of what. `answers`: key -> text or plain JSON, never blank.

    bound           values of the keys that bind them to what they are about
    signature_file  name of a DSSE envelope over this file, or ""; nothing here verifies it
    file, sha256    where they are kept, relative to the folder, and the file's digest; "" before
    """

    declared_by: str
    date: str
    bound: Mapping[str, str]
    answers: Mapping[str, Any] = field(default_factory=dict)
    role: str = ""
    signature_file: str = ""
    file: str = ""
    sha256: str = ""

    def source(self, place: str) -> Source:
        """A place in the kept file. No ledger covers it."""
        return Source(self.file, place, self.sha256)


# --- the form


def template(subject: FormSubject, recorded: Iterable[str], known: Declarations | None) -> str:
    """YAML with every question that a person may answer, asked once, and what was declared before.

    `recorded` names the questions that the record answers by itself: a declaration is shown beside
    it, never in its place.
    """
    form, by_record = subject.form, set(recorded)
    lines = [f"# {line}" for line in form.intro]
    head = {"schema": form.schema, **subject.bound}
    for key in form.keys[:-1]:
        if key in form.notes:
            lines.append(f"# {form.notes[key]}")
        # A kept file has no instructions_file: its text stands among the answers.
        before = getattr(known, key, "") if known else ""
        lines += _pair(key, head.get(key, before))
    lines.append("answers:")
    for topic in form.questions().topics:
        asked = [question for question in topic.fields if question.declare]
        if form.by_topic and asked:
            lines += ["", f"  # == {topic.title} =="]
        for question in asked:
            # What was declared before stands there again: a new form must not lose it.
            answer = BLANKS.get(question.kind, "")
            if known is not None:
                answer = known.answers.get(question.key, answer)
            lines += ["", *_comments(form, question, question.key in by_record)]
            lines += [f"  {line}" for line in _pair(question.key, answer)]
    return "\n".join(lines) + "\n"


def _comments(form: Form, question: Question, by_record: bool) -> list[str]:
    """What stands above a question in the form."""
    lines = textwrap.wrap(question.asks, form.width)
    if form.by_topic:
        clauses = ", ".join(feeds().get(question.key, ()))
        lines += textwrap.wrap(f"feeds: {clauses}; who could say: {question.who}", form.width)
    if question.kind in HINTS:
        lines.append(HINTS[question.kind])
    if by_record:
        lines.append("the record answers this; what you write is shown beside it")
    return [f"  # {line}" for line in lines]


def _pair(key: str, value: Any) -> list[str]:
    return as_yaml({key: value}).rstrip("\n").split("\n")


# --- kept beside the record


def stored(subject: FormSubject, *, others: Collection[str] = ()) -> Declarations | None:
    """What was declared about it; None where nothing was.

    A run may fit its reward again: what is bound to one of `others`, its other rewards, is not
    about this one, and is left out. Raises BadInput where the file is not valid.
    """
    if not plain.is_file(subject.folder, subject.file):
        return None
    data = plain.read(subject.folder, subject.file, subject.form.most_bytes)
    found = _checked(subject.path, data, subject.form)
    if any(value in others for value in found.bound.values()):
        return None
    _refuse_another(subject.path, subject, found.bound)
    return replace(found, file=subject.file)


def run_declarations(records: Records) -> Declarations | None:
    """What was declared about a run; None where nothing was, as about one without a sealed plan."""
    if not records.run.events:
        return None
    return stored(run_subject(records))


def keep(subject: FormSubject, filled: Path) -> Declarations:
    """Check a filled form, and keep it in the place of what was declared before.

    Raises BadInput where it is not valid, or about something else.
    """
    found = read(filled, subject.form, subject)
    found = replace(found, bound=dict(subject.bound), file=subject.file)
    return replace(found, sha256=store(found, subject))


def store(declared: Declarations, subject: FormSubject) -> str:
    """Write checked declarations and return their SHA-256; the same ones give the same bytes."""
    form = subject.form
    values = {
        "schema": form.schema,
        **declared.bound,
        "declared_by": declared.declared_by,
        "role": declared.role,
        "date": declared.date,
        "signature_file": declared.signature_file,
        "answers": dict(declared.answers),
    }
    data = as_yaml({key: values[key] for key in form.keys if key in values}).encode("utf-8")
    try:
        plain.write(subject.folder, subject.file, data)
    except OSError as e:
        raise BadInput(f"{subject.path}: cannot be written: {e.strerror}") from None
    return hashlib.sha256(data).hexdigest()


# --- the one reader


def read(path: Path, form: Form, subject: FormSubject | None = None) -> Declarations:
    """Read and check a filled form, and give it the SHA-256 of the file.

    Raises BadInput, naming the key, for anything that is not valid: an unknown key or one given
    twice, an answer without name or date, one without a letter or digit, a date that is none, and,
    where a `subject` is given, a form about another one.
    """
    return _checked(path, _given_bytes(path, form.most_bytes), form, subject)


def _checked(
    path: Path, data: bytes, form: Form, subject: FormSubject | None = None
) -> Declarations:
    """What `read` says, of the bytes of a filled form or a kept file."""
    raw = _mapping(path, data, form)
    _known(path, "", raw, form.keys)
    if raw.get("schema") != form.schema:
        raise BadInput(
            f"{path}: schema: {raw.get('schema')!r}; expected {form.schema!r}, as {form.command} "
            "writes"
        )
    bound = {key: _line(path, key, raw.get(key)) for key in form.bound_by}
    if subject is not None:
        _refuse_another(path, subject, bound)
    answers = _answers(path, form, raw)
    by, role, signature = (
        _line(path, key, raw.get(key)) for key in ("declared_by", "role", "signature_file")
    )
    if answers and not _says(by):
        raise BadInput(
            f"{path}: declared_by: empty; {len(answers)} answers need the name of who gives them"
        )
    # An empty form needs no day, but one that is given must be a date.
    day = ""
    if answers or raw.get("date"):
        day = _date(path, "date", raw.get("date"))
    # A name and no path: a document would otherwise point out of the folder.
    if signature and (Path(signature).name != signature or signature in (".", "..")):
        raise BadInput(
            f"{path}: signature_file: {signature!r}; expected the name of a file beside the "
            "declarations"
        )
    sha256 = hashlib.sha256(data).hexdigest()
    return Declarations(by, day, bound, answers, role, signature, sha256=sha256)


def _mapping(path: Path, data: bytes, form: Form) -> dict[str, Any]:
    # References (*name) let a small file grow to gigabytes in memory.
    try:
        raw = parse_yaml(data, aliases=False)
    except NotStrict as e:
        raise BadInput(f"{path}: {e}") from None
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: expected a mapping with the keys {', '.join(form.keys)}")
    return raw


def _given_bytes(path: Path, most: int) -> bytes:
    with given.opened(path) as f:
        data = f.read(most + 1)
    if len(data) > most:
        raise BadInput(f"{path}: larger than {most:,} bytes; expected at most that many")
    return data


def _known(path: Path, where: str, keys: Iterable[Any], valid: Collection[str]) -> None:
    for key in keys:
        if key not in valid:
            near = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.4)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise BadInput(f"{path}: {where}{key}: unknown key{hint}")


def _refuse_another(path: Path, subject: FormSubject, bound: Mapping[str, str]) -> None:
    form = subject.form
    for key, expected in subject.bound.items():
        got = bound[key]
        if got != expected and not (form.unbound and got == ""):
            raise BadInput(
                f"{path}: {key}: {got!r}, and this {form.thing} has {expected!r}: the form is "
                f"about another {form.thing}; get one for this {form.thing} with {form.command}"
            )


def _answers(path: Path, form: Form, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Every answer that says something, by key."""
    given = raw.get("answers") or {}
    if not isinstance(given, dict):
        raise BadInput(f"{path}: answers: expected a mapping from question to answer")
    questions = form.questions()
    for key in given:
        question = questions.questions.get(key)
        # A message of its own: "unknown" alone would send a person to look for a typing error.
        if question is not None and not question.declare:
            raise BadInput(
                f"{path}: answers.{key}: unknown key; the record answers that one, and nobody can "
                "declare it"
            )
    _known(path, "answers.", given, [question.key for question in questions.declarable])
    answers = {}
    for key in sorted(given):
        answer = _answer(path, form, questions.questions[key], given[key])
        if answer is not None:
            answers[key] = answer
    file = _line(path, "instructions_file", raw.get("instructions_file"))
    if file:
        key = next(q.key for q in questions.declarable if q.kind == "instructions")
        if key in answers:
            raise BadInput(
                f"{path}: instructions_file: answers.{key} says them already; give one of the two"
            )
        answers[key] = _instructions(path, path.parent / file)
    return dict(sorted(answers.items()))


# --- one answer


def _answer(path: Path, form: Form, question: Question, value: Any) -> Any:
    """An answer as plain JSON, or None where it is blank."""
    where = f"answers.{question.key}"
    if question.kind == "instructions" and isinstance(value, dict):
        return _recorded_text(path, where, value)
    if question.kind == "approval":
        return _approval(path, where, value)
    if question.kind == "changes":
        return _changes(path, where, value)
    if isinstance(value, list):
        texts = [_text(path, where, part) for part in value]
        texts = [text for text in texts if text]
        if not texts:
            return None
        return texts if form.kept_lists else "; ".join(texts)
    text = _text(path, where, value)
    if not text:
        return None
    if text.startswith(N_A):
        return text
    if question.kind == "number":
        _positive(path, where, text)
    if question.kind == "instructions":
        return _with_digest(text)
    return text


def _text(path: Path, where: str, value: Any) -> str:
    """A text that says something, or ""."""
    text = _plain_text(path, where, value)
    if text and not _says(text):
        raise BadInput(
            f"{path}: {where}: {text!r} has no letter or digit; leave it empty where nothing is "
            "known"
        )
    return text


def _says(text: str) -> bool:
    """Whether a text is more than a placeholder such as "--" or "??"."""
    return any(c.isalnum() for c in text)


def _plain_text(path: Path, where: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    # YAML reads a bare yes, a date and a number as such: a person meant the word that was typed.
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
    text = _plain_text(path, where, value)
    if "\n" in text:
        raise BadInput(f"{path}: {where}: expected one line of text")
    return text


def _date(path: Path, where: str, value: Any) -> str:
    text = _plain_text(path, where, value)
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise BadInput(f"{path}: {where}: {text!r}; expected a date such as 2026-01-31") from None


def _positive(path: Path, where: str, text: str) -> None:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    # Not a number compares false with everything, so it is refused here too.
    if not 0 < number < float("inf"):
        raise BadInput(f"{path}: {where}: {text!r}; expected a positive number such as 6.0e21")


def _approval(path: Path, where: str, value: Any) -> dict[str, str] | None:
    if value in (None, "", {}):
        return None
    if not isinstance(value, dict):
        raise BadInput(f"{path}: {where}: expected {', '.join(APPROVED)}")
    _known(path, f"{where}.", value, APPROVED)
    parts = {key: _line(path, f"{where}.{key}", value.get(key)) for key in APPROVED}
    # The form has four empty lines for it: left empty, nobody approved anything.
    if not any(parts.values()):
        return None
    for key, text in parts.items():
        if not _says(text):
            raise BadInput(f"{path}: {where}.{key}: empty; an approval needs {', '.join(APPROVED)}")
    return {**parts, "date": _date(path, f"{where}.date", parts["date"])}


def _changes(path: Path, where: str, value: Any) -> list[dict[str, str]] | None:
    if not isinstance(value, list | None):
        raise BadInput(f"{path}: {where}: expected a list of {{date, change}}")
    rows = []
    for n, row in enumerate(value or []):
        at = f"{where}[{n}]"
        if not isinstance(row, dict) or set(row) != {"date", "change"}:
            raise BadInput(f"{path}: {at}: expected date and change, and nothing else")
        change = _text(path, f"{at}.change", row["change"])
        if not change:
            raise BadInput(f"{path}: {at}: expected date and change, and nothing else")
        rows.append({"date": _date(path, f"{at}.date", row["date"]), "change": change})
    return rows or None


def _instructions(path: Path, file: Path) -> dict[str, str]:
    called = f"{path}: instructions_file: {file}"
    try:
        data = _given_bytes(file, MOST_BYTES)
    except BadInput as e:
        raise BadInput(f"{path}: instructions_file: {e}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise BadInput(f"{called}: not UTF-8 text (byte {e.start})") from None
    if not _says(text):
        raise BadInput(f"{called}: {len(data)} bytes; expected text of 1 to {MOST_BYTES} bytes")
    return _with_digest(text)


def _with_digest(text: str) -> dict[str, str]:
    return {"text": text, "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest()}


def _recorded_text(path: Path, where: str, value: Mapping[str, Any]) -> dict[str, str]:
    text = value.get("text")
    if set(value) != {"text", "sha256"} or not isinstance(text, str):
        raise BadInput(f"{path}: {where}: expected text, or text with its sha256 as it was stored")
    kept = _with_digest(text)
    if kept["sha256"] != value["sha256"]:
        raise BadInput(
            f"{path}: {where}: the text was changed after it was stored (sha256 {kept['sha256']})"
        )
    return kept


# --- YAML


def as_yaml(value: Any) -> str:
    """YAML in the order given, letters as they are; with escapes where plain letters would not read
    back the same.
    """
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    # PyYAML writes U+0085 as it is, and reads it as a line break.
    if parse_yaml(text) == value:
        return text
    return yaml.safe_dump(value, sort_keys=False, width=100)
