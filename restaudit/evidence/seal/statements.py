"""What is signed: in-toto statements about the sealed plan, a head of the ledger, a rendered
report, a bundle.

No statement holds a clock: what a signer says about the time proves nothing (docs/evidence.md,
"Anchor").
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785

from restaudit.errors import VerificationFailed
from restaudit.evidence.ledger import Event, FileDigest
from restaudit.evidence.seal.keys import PrivateKey, PublicKey
from restaudit.files.strict import parse_json

FOLDER = "signatures"
PLAN_FILE, REPORT_FILE = "plan.dsse.json", "report.dsse.json"
PLAN, HEAD, REPORT, BUNDLE = (
    f"urn:restaudit:{kind}:v1" for kind in ("plan", "head", "report", "bundle")
)
HEAD_PREFIX = "ledger.jsonl#"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
LARGEST = 4 << 20
SIGNED_PARTS = ("audit", "halt", "override", "end")


def head_file(seq: int) -> str:
    """The file that holds the signature of the head after event `seq`."""
    return f"head-{seq:04d}.dsse.json"


def has_signed_head(event: Event) -> bool:
    """Whether the head after this event is signed: after every audit, halt, override, and the
    end.
    """
    return event.step.rpartition("/")[2] in SIGNED_PARTS


def run_id_of(events: Sequence[Event]) -> str:
    """The random identity of the run these events belong to."""
    return str(events[0].at.get("run_id", "")) if events else ""


def plan_statement(events: Sequence[Event]) -> dict[str, Any]:
    """The sealed plan, and the first event, which binds it to this run."""
    first = events[0]
    subjects = {"plan.json": first.outputs["plan.json"].sha256, _head_name(0): first.hash}
    return _statement(PLAN, subjects, {"run_id": run_id_of(events)})


def head_statement(events: Sequence[Event], seq: int) -> dict[str, Any]:
    """The head after event `seq`: through the chain it stands for every event and file before
    it.
    """
    event = events[seq]
    return _statement(
        HEAD, {_head_name(seq): event.hash}, {"run_id": run_id_of(events), "step": event.step}
    )


def report_statement(events: Sequence[Event], files: Mapping[str, FileDigest]) -> dict[str, Any]:
    """Rendered files (names from the run folder on), and the head they belong to."""
    subjects = {name: digest.sha256 for name, digest in files.items()}
    last = len(events) - 1
    return _statement(
        REPORT, {**subjects, _head_name(last): events[last].hash}, {"run_id": run_id_of(events)}
    )


def bundle_statement(events: Sequence[Event], manifest: FileDigest) -> dict[str, Any]:
    """A bundle's manifest, and the head of the run it was made from."""
    last = len(events) - 1
    subjects = {"manifest.json": manifest.sha256, _head_name(last): events[last].hash}
    return _statement(BUNDLE, subjects, {"run_id": run_id_of(events)})


def restated(kind: str, subjects: Mapping[str, str], events: Sequence[Event]) -> dict[str, Any]:
    """The whole statement of this kind about these subjects of this run: what a signed one must be,
    and nothing beside.
    """
    return _statement(kind, subjects, {"run_id": run_id_of(events)})


def subjects_of(statement: Mapping[str, Any], kind: str, name: str) -> dict[str, str]:
    """Name and SHA-256 of every subject.

    Raises VerificationFailed, beginning with `name`, for another statement.
    """
    if statement.get("predicateType") != kind:
        raise VerificationFailed(
            f"{name}: signed as {statement.get('predicateType')!r}; expected {kind}"
        )
    try:
        pairs = [(s["name"], s["digest"]["sha256"]) for s in statement["subject"]]
        subjects = dict(pairs)
    except (KeyError, TypeError):
        raise VerificationFailed(f"{name}: signed, but its subjects cannot be read") from None
    are_texts = all(isinstance(n, str) and isinstance(d, str) for n, d in pairs)
    # A name that stands there twice could be read as either of its digests.
    if not are_texts or len(subjects) != len(pairs):
        raise VerificationFailed(f"{name}: signed, but its subjects cannot be read")
    return subjects


def head_in(subjects: Mapping[str, str], name: str) -> tuple[int, str]:
    """The one head among these subjects: (seq, hash)."""
    heads = [
        (n.removeprefix(HEAD_PREFIX), d) for n, d in subjects.items() if n.startswith(HEAD_PREFIX)
    ]
    if len(heads) != 1 or not heads[0][0].isdecimal() or len(heads[0][0]) > 9:
        raise VerificationFailed(f"{name}: signed, but names no single head of a ledger")
    return int(heads[0][0]), heads[0][1]


def _head_name(seq: int) -> str:
    return f"{HEAD_PREFIX}{seq}"


def _statement(
    kind: str, subjects: Mapping[str, str], predicate: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "_type": STATEMENT,
        "subject": [{"name": n, "digest": {"sha256": d}} for n, d in sorted(subjects.items())],
        "predicateType": kind,
        "predicate": dict(predicate),
    }


# --- the envelope: DSSE v1 (github.com/secure-systems-lab/dsse), one Ed25519 signature over it


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed.

    The type is signed with the payload, with both lengths, so that the bytes of one kind of
    statement can never pass for another.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(statement: Mapping[str, Any], key: PrivateKey) -> bytes:
    """The envelope of a statement as canonical JSON and a line end; the same statement and key give
    the same bytes.
    """
    payload = rfc8785.dumps(dict(statement))
    signature = key.key.sign(pae(PAYLOAD_TYPE, payload))
    envelope: dict[str, Any] = {
        "payload": _base64(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key.key_id, "sig": _base64(signature)}],
    }
    return rfc8785.dumps(envelope) + b"\n"


def key_id_of(data: bytes, name: str) -> str:
    """Which key an envelope says it was signed with; nothing is checked but its form."""
    return str(_envelope(data, name)["signatures"][0]["keyid"])


def verified(data: bytes, name: str, key: PublicKey) -> Mapping[str, Any]:
    """The statement inside an envelope that this key signed.

    Raises VerificationFailed, beginning with `name`, where anything is not exactly what `sign`
    writes.
    """
    from cryptography.exceptions import InvalidSignature

    envelope = _envelope(data, name)
    (signed,) = envelope["signatures"]
    if signed["keyid"] != key.key_id:
        raise VerificationFailed(
            f"{name}: signed with key {signed['keyid']!r}; expected {key.key_id}"
        )
    try:
        payload, signature = (
            base64.b64decode(t, validate=True) for t in (envelope["payload"], signed["sig"])
        )
        key.key.verify(signature, pae(envelope["payloadType"], payload))
    # ValueError: not base64, or not even ASCII.
    except (ValueError, InvalidSignature):
        raise VerificationFailed(
            f"{name}: the signature does not fit: what was signed, or the signature, was changed"
        ) from None
    try:
        statement = parse_json(payload)
    except ValueError as e:
        raise VerificationFailed(f"{name}: signed, but not JSON that can be read: {e}") from None
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT:
        raise VerificationFailed(f"{name}: signed, but not an in-toto Statement v1")
    # Written once more, it must be the same bytes: whatever else stands in the envelope was not
    # signed, and somebody could put it there for a reader who believes it was.
    rewritten = {
        **envelope,
        "payload": _base64(payload),
        "signatures": [{**signed, "sig": _base64(signature)}],
    }
    if rfc8785.dumps(rewritten) + b"\n" != data:
        raise VerificationFailed(f"{name}: the envelope was changed around its signature")
    return statement


def _envelope(data: bytes, name: str) -> dict[str, Any]:
    try:
        envelope = parse_json(data)
        (signed,) = envelope["signatures"]
        texts = (envelope["payload"], envelope["payloadType"], signed["keyid"], signed["sig"])
    except (ValueError, KeyError, TypeError) as e:
        raise VerificationFailed(
            f"{name}: not a DSSE envelope with one signature ({type(e).__name__})"
        ) from None
    # What else stands there was not signed, and a reader could believe that it was.
    if len(envelope) != 3 or len(signed) != 2:
        raise VerificationFailed(f"{name}: the envelope was changed around its signature")
    if not all(isinstance(t, str) for t in texts) or texts[1] != PAYLOAD_TYPE:
        raise VerificationFailed(f"{name}: not a DSSE envelope of an in-toto statement")
    return dict(envelope)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
