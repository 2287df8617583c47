"""Anchors: a head written down for somebody outside, whether a run still holds it, and when a
time-stamping authority saw it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.ledger import Event
from restaudit.evidence.seal.statements import run_id_of
from restaudit.files import given
from restaudit.files.strict import parse_json

FORMAT = "restaudit-anchor"
SCHEMA = 1
LARGEST = 65536
HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Anchor:
    """One head, and what it stands for. `signer` is the key id that the plan names, or None."""

    run_id: str
    seq: int
    head: str
    comparison_digest: str
    plan_sha256: str
    signer: str | None

    def to_bytes(self) -> bytes:
        """Sorted JSON of a few lines: small enough to print, and the same bytes for the same
        head.
        """
        body = {"format": FORMAT, "schema": SCHEMA, **asdict(self)}
        return (json.dumps(body, indent=2, sort_keys=True) + "\n").encode()

    @property
    def line(self) -> str:
        """Everything in one line, for a witness who writes it down or publishes it."""
        return (
            f"{FORMAT} {SCHEMA} run={self.run_id} seq={self.seq} head={self.head} "
            f"digest={self.comparison_digest} plan={self.plan_sha256} key={self.signer or 'none'}"
        )


def anchor_of(events: Sequence[Event], plan: Mapping[str, Any], seq: int | None = None) -> Anchor:
    """The anchor of the head after event `seq` (default: the last one)."""
    at = len(events) - 1 if seq is None else seq
    signer = plan.get("signer")
    return Anchor(
        run_id=run_id_of(events),
        seq=at,
        head=events[at].hash,
        comparison_digest=ledger.comparison_digest(events[: at + 1]),
        plan_sha256=events[0].outputs["plan.json"].sha256,
        signer=signer if isinstance(signer, str) else None,
    )


def load_anchor(path: Path) -> Anchor:
    """Read an anchor file. Raises BadInput where it is none."""
    try:
        with given.opened(path) as f:
            data = f.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        raw = parse_json(data)
        if raw.pop("format") != FORMAT or raw.pop("schema") != SCHEMA:
            raise ValueError(f"expected format {FORMAT}, schema {SCHEMA}")
        anchor = Anchor(**raw)
        digests = (anchor.head, anchor.comparison_digest, anchor.plan_sha256)
        are_digests = all(isinstance(d, str) and HEX.fullmatch(d) for d in digests)
        is_event = type(anchor.seq) is int and anchor.seq >= 0
        if not (are_digests and is_event and isinstance(anchor.run_id, str)):
            raise ValueError("a field is not what an anchor holds")
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise BadInput(f"{path}: not an anchor of restaudit ({type(e).__name__}: {e})") from None
    return anchor


def check_anchor(witnessed: Anchor, events: Sequence[Event], plan: Mapping[str, Any]) -> int:
    """How many events came after the witnessed head.

    Raises VerificationFailed where that head is not in this chain: the ledger was rebuilt, cut, or
    is another run's.
    """
    if witnessed.run_id != run_id_of(events):
        raise VerificationFailed(
            f"the anchor is of run {witnessed.run_id!r}; this is run {run_id_of(events)!r}, so "
            "the witness saw another"
        )
    if witnessed.seq >= len(events):
        raise VerificationFailed(
            f"{ledger.FILE}: ends at event {len(events) - 1}, but the witness saw event "
            f"{witnessed.seq}: the last events were cut off"
        )
    now = anchor_of(events, plan, witnessed.seq)
    if now.head != witnessed.head:
        raise VerificationFailed(
            f"{ledger.FILE}: the head after event {witnessed.seq} is {now.head}, but the witness "
            f"saw {witnessed.head}: the ledger was rebuilt"
        )
    if now != witnessed:
        raise VerificationFailed(
            "the anchor's head is in this run, but what the anchor says of it beside is not so"
        )
    return len(events) - 1 - witnessed.seq


# --- an RFC 3161 time-stamp of an anchor file, checked by the `openssl` of this machine


SECONDS = 60


def check_timestamp(data: Path, response: Path, trusted: Path) -> str:
    """The time at which a trusted authority saw the file `data`, as openssl prints it.

    Raises BadInput where openssl is missing, VerificationFailed where the time-stamp is not of this
    file, or not signed by an authority that `trusted` (certificates in PEM) vouches for.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        raise BadInput(
            "checking a time-stamp needs the program openssl, which is not on this machine"
        )
    for path in (data, response, trusted):
        given.opened(path).close()
    # Absolute, so that no file name is taken for an option.
    d, r, t = (str(p.resolve()) for p in (data, response, trusted))
    checked = _run([openssl, "ts", "-verify", "-data", d, "-in", r, "-CAfile", t])
    if checked.returncode != 0:
        lines = (checked.stdout + checked.stderr).splitlines()
        errors = [line.strip() for line in lines if "error" in line.lower()]
        why = errors[-1][-200:] if errors else "openssl refused it"
        raise VerificationFailed(
            f"{response}: not a time-stamp of {data} by an authority in {trusted}: {why}"
        )
    shown = _run([openssl, "ts", "-reply", "-in", r, "-text"]).stdout
    time = re.search(r"^Time stamp: (.+)$", shown, re.MULTILINE)
    if time is None:
        raise VerificationFailed(f"{response}: states no time")
    return time.group(1).strip()


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise VerificationFailed(f"openssl did not answer within {SECONDS} seconds") from None
