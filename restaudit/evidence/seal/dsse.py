"""DSSE envelopes (github.com/secure-systems-lab/dsse, v1) with one Ed25519 signature over an
in-toto Statement v1.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import rfc8785

from restaudit.errors import VerificationFailed
from restaudit.evidence.seal.keys import PrivateKey, PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
LARGEST = 4 << 20


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
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
    except (binascii.Error, InvalidSignature):
        raise VerificationFailed(
            f"{name}: the signature does not fit: what was signed, or the signature, was changed"
        ) from None
    try:
        statement = json.loads(payload)
    except (ValueError, RecursionError):
        raise VerificationFailed(f"{name}: signed, but not JSON") from None
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT:
        raise VerificationFailed(f"{name}: signed, but not an in-toto Statement v1")
    again = {
        **envelope,
        "payload": _base64(payload),
        "signatures": [{**signed, "sig": _base64(signature)}],
    }
    if rfc8785.dumps(again) + b"\n" != data:
        raise VerificationFailed(f"{name}: the envelope was changed around its signature")
    return statement


def _envelope(data: bytes, name: str) -> dict[str, Any]:
    try:
        envelope = json.loads(data)
        (signed,) = envelope["signatures"]
        texts = (envelope["payload"], envelope["payloadType"], signed["keyid"], signed["sig"])
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise VerificationFailed(
            f"{name}: not a DSSE envelope with one signature ({type(e).__name__})"
        ) from None
    if not all(isinstance(t, str) for t in texts) or texts[1] != PAYLOAD_TYPE:
        raise VerificationFailed(f"{name}: not a DSSE envelope of an in-toto statement")
    return dict(envelope)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
