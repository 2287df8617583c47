"""Two verifiers, and a record with any of its values changed: neither crashes, and they refuse the
same.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import rfc8785
from hypothesis import event, given, settings
from hypothesis import strategies as st

from restaudit.errors import VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.override import override
from restaudit.evidence.verify import verify
from tests.evidence.runs import edit_json, rechain, signed_run

VALUES = (None, True, 0, 1, -5.5, 0.95, "", "x", "OK", "HALT", "above", "g01/i02", [], {}, 2**40)
FILES = (
    "plan.json",
    *(f"g01/i0{k}/{name}.json" for k in (1, 2) for name in ("decision", "measurements")),
)
# What only the first verifier checks: the sentences of decisions, and the form of values that no
# gate reads.
ONLY_THE_FIRST = (
    "why",
    "not measurements a decision can follow from",
    "not a plan",
    "is no override anybody stands",
    "not a ledger event",
    "records a path outside",
)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value inside."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inside:
        yield (*here, key)
        yield from places(part, (*here, key))


def change(value: Any, luck: random.Random) -> Any:
    """Replace or remove one value somewhere inside; returns the same object."""
    where = luck.choice(list(places(value)))
    holder = value
    for key in where[:-1]:
        holder = holder[key]
    if luck.random() < 0.2:
        del holder[where[-1]]
    else:
        holder[where[-1]] = luck.choice(VALUES)
    return value


def change_an_event(run: Path, luck: random.Random) -> None:
    """Change one event as it lies in the ledger, and hash everything after it again."""
    lines = [json.loads(x) for x in (run / ledger.FILE).read_bytes().splitlines()]
    change(luck.choice(lines), luck)
    out, prev = [], ledger.GENESIS
    for line in lines:
        body = {k: v for k, v in line.items() if k != "hash"} | {"prev": prev}
        prev = hashlib.sha256(rfc8785.dumps(body)).hexdigest()
        out.append(rfc8785.dumps({**body, "hash": prev}) + b"\n")
    (run / ledger.FILE).write_bytes(b"".join(out))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Unsigned, so that nothing but the content can be refused: done, halted, overridden."""
    place = tmp_path_factory.mktemp("kinds")
    made = [signed_run(place / str(k), None, halted=k > 0) for k in range(3)]
    override(made[2], by="Ada Moreau", reason="the raters saw an older version")
    return made


@settings(max_examples=100)
@given(
    luck=st.randoms(use_true_random=False),
    kind=st.integers(0, 2),
    what=st.sampled_from([*FILES, ledger.FILE]),
)
def test_any_value_changed_by_whoever_rebuilds_the_chain(
    runs: list[Path],
    tmp_path: Path,
    second: ModuleType,
    luck: random.Random,
    kind: int,
    what: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(runs[kind], run)
    if what == ledger.FILE:
        change_an_event(run, luck)
    else:
        edit_json(run / what, lambda value: change(value, luck))
        rechain(run)
    refused = _message(lambda: verify(run))
    monkeypatch.setattr(sys, "argv", ["verify_bundle.py", str(run)])
    code = second.main()
    told = capsys.readouterr().err
    event(f"{refused is not None}, {code}")
    if code:
        assert refused is not None, told
    elif refused is not None:
        assert any(words in refused for words in ONLY_THE_FIRST), refused


def _message(check: Callable[[], object]) -> str | None:
    try:
        check()
    except VerificationFailed as e:
        return str(e)
    return None
