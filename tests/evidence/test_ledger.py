"""The hash chain: what it catches, and what a crash may leave behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from restaudit.errors import VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.ledger import Event, FileDigest

# What the ledger carries: numbers below 2**53, text without lone surrogates.
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT
FLOATS = st.floats(-(2.0**53), 2.0**53, exclude_min=True, exclude_max=True)
VALUES = st.recursive(
    SCALARS | FLOATS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=3),
    max_leaves=6,
)
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
DIGESTS = st.builds(FileDigest, sha256=HEX, bytes=st.integers(0, 2**40))
FILES = st.dictionaries(TEXT, DIGESTS, max_size=2)
CONTENT = st.dictionaries(TEXT, VALUES, max_size=3)
STEPS = st.lists(st.tuples(TEXT, FILES, CONTENT, FILES, CONTENT), min_size=1, max_size=4)


def _write(run: Path, steps: Sequence[Any]) -> list[Event]:
    run.mkdir(parents=True, exist_ok=True)
    (run / ledger.FILE).unlink(missing_ok=True)
    events: list[Event] = []
    prev = ledger.GENESIS
    for seq, (step, outputs, content, context, at) in enumerate(steps):
        event = Event(seq, step, prev, outputs, content, context, at)
        ledger.append(run, event)
        events.append(event)
        prev = event.hash
    return events


def _three(run: Path) -> Path:
    """A ledger of three plain events."""
    digest = FileDigest("a" * 64, 3)
    _write(run, [(f"step{i}", {f"f{i}": digest}, {"n": i}, {}, {"seconds": 0.5}) for i in range(3)])
    return run / ledger.FILE


@given(STEPS)
def test_what_is_appended_is_read_back(tmp_path: Path, steps: Sequence[Any]) -> None:
    events = _write(_folder(tmp_path), steps)
    again = ledger.read(_folder(tmp_path))
    assert [e.hash for e in again] == [e.hash for e in events]
    assert [e.body() for e in again] == [json.loads(json.dumps(e.body())) for e in events]


def _folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@given(STEPS, st.data())
def test_a_single_changed_byte_never_goes_unnoticed(
    tmp_path: Path, steps: Sequence[Any], data: st.DataObject
) -> None:
    """Caught, or (the last newline alone) the last event counts as torn: it is not silently another
    event.
    """
    run = _folder(tmp_path)
    events = _write(run, steps)
    path = run / ledger.FILE
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    mask = data.draw(st.integers(1, 255))
    path.write_bytes(original[:at] + bytes([original[at] ^ mask]) + original[at + 1 :])
    if at == len(original) - 1:
        assert [e.hash for e in ledger.read(run)] == [e.hash for e in events[:-1]]
    else:
        with pytest.raises(VerificationFailed, match=r"ledger\.jsonl: line \d+"):
            ledger.read(run)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_removed_line_breaks_the_chain(tmp_path: Path, lost: int) -> None:
    path = _three(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for i, line in enumerate(lines) if i != lost))
    with pytest.raises(VerificationFailed, match=f"line {lost + 1}: the chain is broken"):
        ledger.read(tmp_path)


@pytest.mark.parametrize("first", [0, 1])
def test_swapped_lines_break_the_chain(tmp_path: Path, first: int) -> None:
    path = _three(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    path.write_bytes(b"".join(lines))
    with pytest.raises(VerificationFailed, match=f"line {first + 1}: the chain is broken"):
        ledger.read(tmp_path)


def test_a_repeated_line_breaks_the_chain(tmp_path: Path) -> None:
    path = _three(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[-1]]))
    with pytest.raises(VerificationFailed, match="line 4: the chain is broken"):
        ledger.read(tmp_path)


def test_an_event_rewritten_with_its_own_new_hash_breaks_the_next_link(tmp_path: Path) -> None:
    path = _three(tmp_path)
    events = ledger.read(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    old = events[1]
    forged = Event(old.seq, old.step, old.prev, old.outputs, {"n": 99}, old.context, old.at)
    (tmp_path / "forge").mkdir()
    ledger.append(tmp_path / "forge", forged)
    path.write_bytes(lines[0] + (tmp_path / "forge" / ledger.FILE).read_bytes() + lines[2])
    with pytest.raises(VerificationFailed, match="line 3: the chain is broken"):
        ledger.read(tmp_path)


@given(st.data())
def test_a_torn_last_line_is_not_an_event_and_the_next_append_overwrites_it(
    tmp_path: Path, data: st.DataObject
) -> None:
    run = _folder(tmp_path)
    run.mkdir(exist_ok=True)
    path = _three(run)
    whole = path.read_bytes()
    third = len(whole.splitlines(keepends=True)[2])
    path.write_bytes(whole[: len(whole) - data.draw(st.integers(1, third))])
    two = ledger.read(run)
    assert [e.step for e in two] == ["step0", "step1"]
    again = Event(
        2, "step2", two[-1].hash, {"f2": FileDigest("a" * 64, 3)}, {"n": 2}, {}, {"seconds": 0.5}
    )
    ledger.append(run, again)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"seq":NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"outputs":[]}',
        b"1e999",
    ],
    ids=[
        "empty",
        "list",
        "null",
        "no keys",
        "NaN",
        "not UTF-8",
        "nested",
        "outputs a list",
        "infinity",
    ],
)
def test_a_line_that_is_no_event_is_named_and_not_a_crash(tmp_path: Path, line: bytes) -> None:
    path = _three(tmp_path)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(VerificationFailed, match="line 4: not a ledger event"):
        ledger.read(tmp_path)


@pytest.mark.parametrize(
    "key", ["seq", "step", "prev", "outputs", "content", "context", "at", "hash"]
)
@pytest.mark.parametrize("value", [None, [], "x", {"a": 1}, float("nan")])
def test_no_value_in_an_event_can_be_replaced(tmp_path: Path, key: str, value: Any) -> None:
    path = _three(tmp_path)
    lines = path.read_bytes().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), key: value}).encode()
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(VerificationFailed, match="line 3"):
        ledger.read(tmp_path)


def test_an_extra_key_or_other_spacing_is_a_change(tmp_path: Path) -> None:
    path = _three(tmp_path)
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    extra = json.dumps(
        {**json.loads(lines[2]), "note": "hello"}, sort_keys=True, separators=(",", ":")
    ).encode()
    spaced = json.dumps(json.loads(lines[2])).encode()
    for forged, said in ((extra, "not a ledger event"), (spaced, "the event 'step2' was changed")):
        path.write_bytes(lines[0] + lines[1] + forged + b"\n")
        with pytest.raises(VerificationFailed, match=f"line 3: {said}"):
            ledger.read(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, 2.0**53])
def test_a_number_that_could_not_be_read_back_is_refused_before_anything_is_written(
    tmp_path: Path, value: float
) -> None:
    path = _three(tmp_path)
    before = path.read_bytes()
    last = ledger.read(tmp_path)[-1]
    with pytest.raises(ValueError, match=r"."):
        ledger.append(tmp_path, Event(3, "step3", last.hash, {}, {"n": value}))
    assert path.read_bytes() == before


def test_a_run_without_a_ledger_has_no_events(tmp_path: Path) -> None:
    assert ledger.read(tmp_path) == []


@given(STEPS, CONTENT, FILES)
def test_the_comparison_digest_ignores_clocks_and_context_only(
    tmp_path: Path, steps: Sequence[Any], at: dict[str, Any], context: dict[str, FileDigest]
) -> None:
    run = _folder(tmp_path)
    digest = ledger.comparison_digest(_write(run, steps))
    elsewhere = _write(run, [(s, o, c, context, at) for s, o, c, _, _ in steps])
    assert ledger.comparison_digest(elsewhere) == digest
    other = [(s + "!", o, c, x, a) for s, o, c, x, a in steps]
    assert ledger.comparison_digest(_write(run, other)) != digest


@given(STEPS, CONTENT)
def test_the_comparison_digest_sees_content(
    tmp_path: Path, steps: Sequence[Any], content: dict[str, Any]
) -> None:
    step, outputs, before, context, at = steps[-1]
    assume(
        json.dumps(before, sort_keys=True) != json.dumps(content, sort_keys=True)
        and before != content
    )
    changed = [*steps[:-1], (step, outputs, content, context, at)]
    run = _folder(tmp_path)
    assert ledger.comparison_digest(_write(run, steps)) != ledger.comparison_digest(
        _write(run, changed)
    )


def test_a_file_digest_is_its_sha256_and_size(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert ledger.digest_file(tmp_path / "f") == FileDigest(expected, 3)
