"""Envelopes: the encoding of the specification, and not one byte that could be changed
unnoticed.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restaudit.errors import VerificationFailed
from restaudit.evidence.seal.keys import load_private
from restaudit.evidence.seal.signer import Signer
from restaudit.evidence.seal.statements import STATEMENT, key_id_of, pae, sign, verified

SAID = {
    "_type": STATEMENT,
    "subject": [{"name": "a", "digest": {"sha256": "0" * 64}}],
    "predicateType": "urn:x",
    "predicate": {},
}


def test_the_pre_authentication_encoding_is_that_of_the_specification() -> None:
    # The example of the DSSE protocol (secure-systems-lab/dsse, protocol.md).
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_an_envelope_is_read_back_and_made_twice_the_same(signer: Signer) -> None:
    data = sign(SAID, signer.key)
    assert data == sign(SAID, signer.key)
    assert verified(data, "x", signer.key.public) == SAID
    assert key_id_of(data, "x") == signer.key_id
    envelope = json.loads(data)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert json.loads(base64.b64decode(envelope["payload"])) == SAID


@given(st.data())
def test_no_byte_of_an_envelope_can_be_changed(signer: Signer, data: st.DataObject) -> None:
    good = sign(SAID, signer.key)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    with pytest.raises(VerificationFailed, match=r"^head\.json: "):
        verified(bad, "head.json", signer.key.public)


def test_another_key_another_type_and_no_statement_are_refused(
    signer: Signer, other_key: Path
) -> None:
    other = load_private(other_key)
    with pytest.raises(VerificationFailed, match="signed with key"):
        verified(sign(SAID, other), "x", signer.key.public)
    claimed = sign(SAID, other).replace(other.key_id.encode(), signer.key_id.encode())
    with pytest.raises(VerificationFailed, match="the signature does not fit"):
        verified(claimed, "x", signer.key.public)
    with pytest.raises(VerificationFailed, match="not an in-toto Statement v1"):
        verified(sign({"_type": "x"}, signer.key), "x", signer.key.public)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"signatures":[]}', b"[" * 100_000, b"\xff"])
def test_what_is_no_envelope_is_named(signer: Signer, data: bytes) -> None:
    with pytest.raises(VerificationFailed, match=r"^x: not a DSSE envelope"):
        verified(data, "x", signer.key.public)
