"""Signatures beside the record: every envelope verifies and says what the plan, the chain and the
report say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence.bundle.manifest import wrong_name
from restaudit.evidence.ledger import Event
from restaudit.evidence.seal.keys import PublicKey, parse_public
from restaudit.evidence.seal.statements import (
    FOLDER,
    HEAD_PREFIX,
    LARGEST,
    PLAN_FILE,
    REPORT,
    REPORT_FILE,
    has_signed_head,
    head_file,
    head_in,
    head_statement,
    key_id_of,
    plan_statement,
    restated,
    subjects_of,
    verified,
)
from restaudit.evidence.verify.files import REPORT as REPORT_FOLDER
from restaudit.evidence.verify.files import check_digest, is_temporary, read
from restaudit.evidence.verify.shapes import Plan

# In bytes, of all files under signatures/. One takes about a thousand.
LARGEST_TOTAL = 32 << 20
HINT = (
    "if a crash came between the event and its signature, restaudit resume RUN --key FILE writes it"
)


@dataclass(frozen=True)
class Signed:
    """What was found signed.

    `signer` is the key id that the sealed plan names (None: the record is not signed); `trusted`
    says whether that, or else the report's, is the key the reader brought along. `heads` counts
    signed heads, `through` is the last signed event's number. `report_by` is the key that signed
    the rendered files, `report_files` which, `report_at` the event they belong to. `keys` are all
    keys at hand, by key id.
    """

    signer: str | None = None
    trusted: bool = False
    heads: int = 0
    through: int | None = None
    report_by: str | None = None
    report_files: tuple[str, ...] = ()
    report_at: int | None = None
    keys: Mapping[str, PublicKey] = field(default_factory=dict)

    @property
    def answers(self) -> str | None:
        """The key that must have signed what a reader shall believe: the one brought along, which
        the plan then names or the report is signed with, or else the one that the plan names.
        """
        return self.report_by if self.trusted and self.signer is None else self.signer


def check_signatures(
    run: Path,
    names: Sequence[str],
    events: Sequence[Event],
    plan: Plan,
    *,
    finished: bool,
    trusted: PublicKey | None,
) -> Signed:
    """Check everything under signatures/ among these files, and that nothing is missing there that
    the sealed plan promises.

    Raises VerificationFailed, naming the file.
    """
    signer = plan.signer
    files = _files(run, names)
    keys = _keys(files)
    if trusted is not None:
        if signer is not None and trusted.key_id != signer:
            raise VerificationFailed(
                f"plan.json: sealed with key {signer}, which is not the key you trust "
                f"({trusted.key_id})"
            )
        keys[trusted.key_id] = trusted
    heads = _check_record(files, keys, events, signer, finished=finished)
    report_by, subjects, report_at = _check_report(files, keys, events)
    _check_report_files(run, subjects)
    if trusted is not None and trusted.key_id not in (signer, report_by):
        raise VerificationFailed(
            "plan.json: names no key, and no report is signed with the key you trust "
            f"({trusted.key_id}): this record is UNSIGNED"
        )
    known = {PLAN_FILE, REPORT_FILE, *(f"{k}.pem" for k in keys), *(head_file(k) for k in heads)}
    unknown = sorted(set(files) - known)
    # A file that nothing checks would look as if it had been checked with the others.
    if unknown:
        raise VerificationFailed(f"{FOLDER}/{unknown[0]}: belongs to no signature of this run")
    return Signed(
        signer=signer,
        trusted=trusted is not None,
        heads=len(heads),
        through=max(heads, default=0) if signer or heads else None,
        report_by=report_by,
        report_files=tuple(subjects),
        report_at=report_at,
        keys=keys,
    )


def _files(run: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Every file under signatures/, read, by its name there; only files of sane size may be
    there.
    """
    found: dict[str, bytes] = {}
    total = 0
    for name in names:
        if not name.startswith(f"{FOLDER}/") or is_temporary(name):
            continue
        found[name.removeprefix(f"{FOLDER}/")] = data = read(run, name, LARGEST)
        total += len(data)
        if total > LARGEST_TOTAL:
            raise VerificationFailed(
                f"{name}: with those before it more than {LARGEST_TOTAL:,} bytes of signatures"
            )
    return found


def _keys(files: Mapping[str, bytes]) -> dict[str, PublicKey]:
    keys: dict[str, PublicKey] = {}
    for name, data in files.items():
        if not name.endswith(".pem"):
            continue
        try:
            key = parse_public(data, f"{FOLDER}/{name}")
        except BadInput as e:
            raise VerificationFailed(str(e)) from None
        if f"{key.key_id}.pem" != name or key.pem != data:
            raise VerificationFailed(
                f"{FOLDER}/{name}: is not the key of that name; its id is {key.key_id}"
            )
        keys[key.key_id] = key
    return keys


def _check_record(
    files: Mapping[str, bytes],
    keys: Mapping[str, PublicKey],
    events: Sequence[Event],
    signer: str | None,
    *,
    finished: bool,
) -> list[int]:
    """The plan's and the heads' signatures; returns the numbers of the events whose head is
    signed.
    """
    if signer is None:
        stray = next((n for n in files if n == PLAN_FILE or n.startswith("head-")), None)
        if stray is not None:
            raise VerificationFailed(
                f"{FOLDER}/{stray}: the sealed plan names no key, so nothing is signed here"
            )
        return []
    if PLAN_FILE not in files:
        raise VerificationFailed(
            f"{FOLDER}/{PLAN_FILE}: missing, but the sealed plan names key {signer}: signatures "
            f"were removed ({HINT})"
        )
    key = _key(keys, signer, PLAN_FILE)
    _check(files, PLAN_FILE, key, plan_statement(events), "the sealed plan")
    heads = []
    for k, event in enumerate(events):
        if not has_signed_head(event):
            continue
        name = head_file(k)
        if name in files:
            _check(
                files,
                name,
                key,
                head_statement(events, k),
                f"the head after event {k} ('{event.step}')",
            )
            heads.append(k)
        # A head is signed after its event was written: a run that was killed may lack the last one.
        elif finished or k < len(events) - 1:
            raise VerificationFailed(
                f"{FOLDER}/{name}: missing, but '{event.step}' is recorded and every such head is "
                f"signed ({HINT})"
            )
    # Whoever cuts the end of a ledger can rebuild its chain, but not make a signature disappear that
    # they forgot.
    for name in files:
        number = name.removeprefix("head-").removesuffix(".dsse.json")
        if name.startswith("head-") and number.isdecimal() and int(number) >= len(events):
            raise VerificationFailed(
                f"{FOLDER}/{name}: signs event {int(number)}, but the ledger ends before it: its "
                "last events were cut"
            )
    return heads


def _check(
    files: Mapping[str, bytes], name: str, key: PublicKey, expected: Mapping[str, Any], what: str
) -> None:
    statement = verified(files[name], f"{FOLDER}/{name}", key)
    if statement == expected:
        return
    was = {s["name"]: s["digest"]["sha256"] for s in expected["subject"]}
    subjects = subjects_of(statement, expected["predicateType"], f"{FOLDER}/{name}")
    other = next(
        (n for n in sorted(was, reverse=True) if subjects.get(n) != was[n]), None
    )  # plan.json before heads
    detail = (
        f"{other}: signed {subjects.get(other)}, found {was[other]}"
        if other
        else "it names another run or step"
    )
    raise VerificationFailed(f"{FOLDER}/{name}: is not a signature of {what} ({detail})")


def _check_report(
    files: Mapping[str, bytes], keys: Mapping[str, PublicKey], events: Sequence[Event]
) -> tuple[str | None, dict[str, str], int | None]:
    """The report's signature: (key id, files and their SHA-256, the event it belongs to)."""
    if REPORT_FILE not in files:
        return None, {}, None
    name = f"{FOLDER}/{REPORT_FILE}"
    key = _key(keys, key_id_of(files[REPORT_FILE], name), REPORT_FILE)
    statement = verified(files[REPORT_FILE], name, key)
    subjects = subjects_of(statement, REPORT, name)
    seq, head = head_in(subjects, name)
    if seq >= len(events) or events[seq].hash != head:
        raise VerificationFailed(
            f"{name}: the report was signed for a record whose head is {head}, not for this one"
        )
    if f"{HEAD_PREFIX}{seq}" not in subjects or statement != restated(REPORT, subjects, events):
        raise VerificationFailed(f"{name}: signs something else beside a report of this run")
    return key.key_id, {n: d for n, d in subjects.items() if not n.startswith(HEAD_PREFIX)}, seq


def _check_report_files(run: Path, subjects: Mapping[str, str]) -> None:
    for name, expected in subjects.items():
        if not name.startswith(REPORT_FOLDER) or wrong_name(name) is not None:
            raise VerificationFailed(
                f"{FOLDER}/{REPORT_FILE}: signs {name!r}, which is not under report/"
            )
        check_digest(run, name, expected, by="it was signed")


def _key(keys: Mapping[str, PublicKey], key_id: str, name: str) -> PublicKey:
    if key_id not in keys:
        raise VerificationFailed(
            f"{FOLDER}/{key_id}.pem: missing, so {FOLDER}/{name} cannot be checked; bring the key "
            "along with --key"
        )
    return keys[key_id]
