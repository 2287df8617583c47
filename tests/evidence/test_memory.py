"""More than fits into the memory, in a folder: refused while little of it is read."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from restaudit.evidence import ledger
from tests.evidence.runs import rechain, signed_run
from tests.evidence.verifiers import STATUS, measured

TwoVerifiers = Callable[..., tuple[int, str]]


@pytest.mark.parametrize("first", [True, False], ids=["restaudit", "verify_bundle"])
@pytest.mark.parametrize("line_end", [b"", b"\n"], ids=["without its end", "with its end"])
def test_a_line_of_a_gibibyte_does_not_fill_the_memory(
    run: Path, first: bool, line_end: bytes
) -> None:
    if not STATUS.exists():
        pytest.skip("a process's own peak memory is read from /proc, which only Linux has")
    with (run / ledger.FILE).open("ab") as f:
        f.truncate(
            (run / ledger.FILE).stat().st_size + (1 << 30)
        )  # sparse: takes no room on the disk
        f.seek(0, 2)
        f.write(line_end)
    code, mebibytes, said = measured(run, is_first=first)
    assert code == 5
    assert "ledger.jsonl: line 10: longer than 1" in said
    assert mebibytes < 300


def test_a_gibibyte_of_json_elsewhere_is_not_read_whole(
    pristine: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    """Recorded with its true digest by an operator who wants the reader's machine to fall over."""
    run = signed_run(tmp_path / "run", None, until="g01/i02/audit")
    with (run / "g01/i01/measurements.json").open("r+b") as f:
        f.truncate(17 << 20)
    rechain(run)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, said = verify_twice(run)
    assert code == 5
    assert "g01/i01/measurements.json: " in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
