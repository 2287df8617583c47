"""Signing while a run is written: the plan before anything else, then the head after every gate; and
signing the report that was rendered from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.ledger import Event
from restaudit.evidence.record import LARGEST_BESIDE, Run, read_json
from restaudit.evidence.seal.keys import ENVIRONMENT, PrivateKey, load_private
from restaudit.evidence.seal.statements import (
    FOLDER,
    LARGEST,
    PLAN_FILE,
    REPORT_FILE,
    has_signed_head,
    head_file,
    head_statement,
    plan_statement,
    report_statement,
    sign,
    verified,
)
from restaudit.evidence.verify.files import Progress, check_file, recorded_files
from restaudit.files import plain


class Signer:
    """Signs one run with one key; what it signed is in RUN/signatures."""

    def __init__(self, key: PrivateKey) -> None:
        self.key = key

    @property
    def key_id(self) -> str:
        """What the plan calls `signer`."""
        return self.key.key_id

    def check(self, run: Path, events: Sequence[Event]) -> None:
        """Raise VerificationFailed where what this key signed earlier is gone or is not what the
        ledger holds now.

        Only the last event may lack its signature: a crash can come between the two.
        """
        for number, (name, statement) in _wanted(events):
            if not plain.is_file(run, f"{FOLDER}/{name}"):
                if number == len(events) - 1:
                    continue
                raise VerificationFailed(
                    f"{FOLDER}/{name}: missing, although the run went on after it; signatures "
                    "were removed, or the ledger was written anew"
                )
            envelope = plain.read(run, f"{FOLDER}/{name}", LARGEST)
            if verified(envelope, f"{FOLDER}/{name}", self.key.public) != statement:
                raise VerificationFailed(
                    f"{FOLDER}/{name}: signed for another ledger than the one that is here"
                )

    def sign(self, run: Path, events: Sequence[Event]) -> None:
        """Write every signature that is not there yet."""
        missing = []
        for _, (name, statement) in _wanted(events):
            if not plain.is_file(run, f"{FOLDER}/{name}"):
                missing.append((name, statement))
        if missing:
            keep_public(run, self.key)
        for name, statement in missing:
            plain.write(run, f"{FOLDER}/{name}", sign(statement, self.key))


def given_signer(key: Path | None) -> Signer | None:
    """The signer of a key file, or of the one that the environment names; None where neither is
    given.
    """
    named = os.environ.get(ENVIRONMENT)
    if key is None and named:
        key = Path(named)
    return Signer(load_private(key)) if key is not None else None


def signer_for(run: Path, plan: Mapping[str, Any], given: Signer | None) -> Signer | None:
    """The signer a run goes on with.

    Raises BadInput unless it is the one that its sealed plan names.
    """
    named = plan.get("signer")
    if named is None and given is not None:
        raise BadInput(
            f"{run}: its plan was sealed without a key, so it goes on without one: leave out "
            f"--key, and unset {ENVIRONMENT} if it is set"
        )
    if named is not None and given is None:
        raise BadInput(
            f"{run}: its plan was sealed with key {named}; go on with the same key: --key FILE"
        )
    if given is not None and named != given.key_id:
        raise BadInput(
            f"{run}: its plan was sealed with key {named}, but the key given is {given.key_id}"
        )
    return given


def keep_public(run: Path, key: PrivateKey) -> None:
    """Leave the public key beside the signatures, named by its id."""
    name = f"{FOLDER}/{key.key_id}.pem"
    if not plain.is_file(run, name):
        plain.write(run, name, key.public.pem)


def _wanted(events: Sequence[Event]) -> list[tuple[int, tuple[str, dict[str, Any]]]]:
    """Every signature that a ledger of these events should have: (event number, (file,
    statement)).
    """
    wanted: list[tuple[int, tuple[str, dict[str, Any]]]] = []
    if events:
        wanted.append((0, (PLAN_FILE, plan_statement(events))))
    wanted += [
        (k, (head_file(k), head_statement(events, k)))
        for k, e in enumerate(events)
        if has_signed_head(e)
    ]
    return wanted


# --- signing what was rendered: every file under report/, bound to the head of the ledger


def sign_report(
    folder: Path, signer: Signer, progress: Progress | None = None
) -> tuple[Path, int, str]:
    """Sign RUN/report/*; returns the envelope's path, how many files it covers and the head.

    An older one is replaced.

    The key need not be the run's: whoever answers for the report signs it. `progress` is called
    with the bytes of the record just hashed. Raises BadInput where there is no report, it was
    rendered from an earlier head, or the plan was changed after sealing; VerificationFailed where a
    file is not as recorded.
    """
    record = Run(folder)
    record.check_sealed()
    # Whoever signs a report answers for the record behind it, so that is checked first.
    for entry in recorded_files(record.events):
        check_file(folder, entry, progress)
    _check_rendered(folder, record.events[-1].hash)
    files = {
        name: ledger.digest_in(folder, name, LARGEST_BESIDE)
        for name in plain.names(folder, "report")
    }
    if not files:
        raise BadInput(f"{folder}/report: holds no file to sign; render a report first")
    keep_public(folder, signer.key)
    envelope = sign(report_statement(record.events, files), signer.key)
    path = plain.write(folder, f"{FOLDER}/{REPORT_FILE}", envelope)
    return path, len(files), record.events[-1].hash


def _check_rendered(folder: Path, head: str) -> None:
    """Refuse to bind a report to a head that it was not rendered from, as far as its manifest
    says.
    """
    manifest = "report/manifest.json"
    if not plain.is_file(folder, manifest):
        return
    try:
        rendered = read_json(folder, manifest)["head"]
    except (KeyError, TypeError) as e:
        raise BadInput(
            f"{folder / manifest}: not a report's manifest ({type(e).__name__}); render the report again"
        ) from None
    if rendered != head:
        raise BadInput(
            f"{folder}/report: was rendered before the run's last event; render it again, then "
            "sign it"
        )
