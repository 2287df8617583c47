"""The schema of the record's documents is the one that verification goes by.

To write it anew: RESTAUDIT_WRITE_SCHEMA=1 python -m pytest tests/evidence/test_shapes.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from restaudit.errors import VerificationFailed
from restaudit.evidence.verify import shapes
from tests.evidence.test_attacks import SCHEMA


def test_the_schema_is_made_from_the_shapes() -> None:
    if os.environ.get("RESTAUDIT_WRITE_SCHEMA"):
        SCHEMA.write_text(shapes.schema(), encoding="utf-8")
    assert SCHEMA.read_text(encoding="utf-8") == shapes.schema()


def test_a_plan_sealed_by_an_earlier_version_fits() -> None:
    data = Path(__file__).with_name("plan_sealed_with_hatesonar.json").read_bytes()
    assert shapes.shaped(data, shapes.Plan, "plan.json").steps[0] == "plan"


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b"{", b"[" * 100_000])
@pytest.mark.parametrize("name", shapes.DOCUMENTS)
def test_what_is_no_document_is_named(name: str, data: bytes) -> None:
    with pytest.raises(VerificationFailed, match=f"^{name}: "):
        shapes.shaped(data, shapes.DOCUMENTS[name], name)


def test_a_schema_has_every_document() -> None:
    assert {*shapes.DOCUMENTS} <= {*json.loads(shapes.schema())["$defs"]}
