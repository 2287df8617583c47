"""Signatures beside the record: every envelope verifies and says what the plan, the chain and the
report say.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput, VerificationFailed
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
    subjects_of,
    verified,
)
from restaudit.evidence.verify.files import TEMPORARY, sha256_of, stays_inside

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
    the rendered files, `report_files` how many, `report_at` the event they belong to. `beside`
    lists files under report/ that no signature covers.
    """

    signer: str | None = None
    trusted: bool = False
    heads: int = 0
    through: int | None = None
    report_by: str | None = None
    report_files: int = 0
    report_at: int | None = None
    beside: tuple[str, ...] = ()


def check_signatures(
    run: Path,
    events: Sequence[Event],
    plan: Mapping[str, Any],
    *,
    finished: bool,
    trusted: PublicKey | None,
) -> Signed:
    """Check everything under signatures/, and that nothing is missing there that the sealed plan
    promises.

    Raises VerificationFailed, naming the file.
    """
    signer = plan.get("signer")
    if signer is not None and not isinstance(signer, str):
        raise VerificationFailed("plan.json: not a plan: expected signer to be a key id")
    files = _files(run)
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
    through = max(heads, default=0) if signer or heads else None
    beside: tuple[str, ...] = ()
    if report_by:
        beside = tuple(name for name in _report_names(run) if name not in subjects)
    return Signed(
        signer=signer,
        trusted=trusted is not None,
        heads=len(heads),
        through=through,
        report_by=report_by,
        report_files=len(subjects),
        report_at=report_at,
        beside=beside,
    )


def read_keys(run: Path) -> dict[str, PublicKey]:
    """The public keys that lie beside the signatures, by key id."""
    return _keys(_files(run))


def _files(run: Path) -> dict[str, bytes]:
    """Every file under signatures/, read; only plain files of sane size may be there."""
    folder = run / FOLDER
    if folder.is_symlink():
        raise VerificationFailed(
            f"{FOLDER}: is a symbolic link; a run folder holds only plain files"
        )
    found: dict[str, bytes] = {}
    total = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = f"{FOLDER}/{path.name}"
        if path.name.startswith(TEMPORARY):
            continue
        info = path.lstat()
        if not stat.S_ISREG(info.st_mode):
            raise VerificationFailed(f"{name}: is not a plain file")
        if info.st_size > LARGEST:
            raise VerificationFailed(f"{name}: {info.st_size:,} bytes; no signature is that large")
        total += info.st_size
        if total > LARGEST_TOTAL:
            raise VerificationFailed(
                f"{name}: with those before it more than {LARGEST_TOTAL:,} bytes of signatures"
            )
        found[path.name] = path.read_bytes()
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
    subjects = subjects_of(verified(files[REPORT_FILE], name, key), REPORT, name)
    seq, head = head_in(subjects, name)
    if seq >= len(events) or events[seq].hash != head:
        raise VerificationFailed(
            f"{name}: the report was signed for a record whose head is {head}, not for this one"
        )
    return key.key_id, {n: d for n, d in subjects.items() if not n.startswith(HEAD_PREFIX)}, seq


def _check_report_files(run: Path, subjects: Mapping[str, str]) -> None:
    for name, expected in subjects.items():
        if not stays_inside(name) or not name.startswith("report/"):
            raise VerificationFailed(
                f"{FOLDER}/{REPORT_FILE}: signs {name!r}, which is not under report/"
            )
        path = run
        for part in Path(name).parts:
            path = path / part
            if path.is_symlink():
                raise VerificationFailed(
                    f"{name}: {part} is a symbolic link; a run folder holds only plain files"
                )
        if not path.is_file():
            raise VerificationFailed(f"{name}: missing; the report's signature names it")
        if (got := sha256_of(path)) != expected:
            raise VerificationFailed(
                f"{name}: changed after it was signed: expected sha256 {expected}, got {got}"
            )


def _report_names(run: Path) -> list[str]:
    return sorted(p.relative_to(run).as_posix() for p in (run / "report").rglob("*") if p.is_file())


def _key(keys: Mapping[str, PublicKey], key_id: str, name: str) -> PublicKey:
    if key_id not in keys:
        raise VerificationFailed(
            f"{FOLDER}/{key_id}.pem: missing, so {FOLDER}/{name} cannot be checked; bring the key "
            "along with --key"
        )
    return keys[key_id]
