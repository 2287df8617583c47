"""Verification of what comes after HALT: it was obeyed, or a person let the run go on and said
why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restaudit.errors import VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.override import override
from restaudit.evidence.verify import verify
from tests.recorded import finish_step

SAID = {
    "iteration": "g01/i02",
    "gates": ["harm"],
    "by": "Ada Moreau",
    "reason": "the raters saw an older version",
}


def _overridden(run: Path, **said: Any) -> Path:
    finish_step(run, "g01/i02/override", content={**SAID, **said})
    return run


def test_a_run_that_went_on_after_an_override_passes(
    make_recorded_run: Callable[..., Path],
) -> None:
    run = _overridden(make_recorded_run("overridden", halted=True))
    report = verify(run)
    assert (report.finished, report.decisions) == (False, 2)
    finish_step(run, "end")
    assert verify(run).finished


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"by": ""}, "by: expected 2 to 100 characters"),
        ({"by": "  - "}, "by: expected 2 to 100 characters"),
        ({"by": 7}, "by: expected text, got int"),
        ({"reason": ""}, "reason: expected 10 to 2000 characters"),
        ({"reason": "........................"}, "reason: expected 10 to 2000 characters"),
        ({"reason": "because " * 300}, "reason: expected 10 to 2000 characters"),
        ({"reason": "we looked\x1b[2Jat it again"}, "reason: holds control characters"),
        ({"by": "Ada\u202eMoreau"}, "by: holds control characters"),
        ({"gates": ["collapse"]}, "expected it to answer the halt at g01/i02 by harm"),
        ({"iteration": "g01/i01"}, "expected it to answer the halt at g01/i02 by harm"),
    ],
)
def test_an_override_without_a_name_or_a_reason_somebody_could_judge_is_found(
    make_recorded_run: Callable[..., Path], said: dict[str, Any], problem: str
) -> None:
    run = _overridden(make_recorded_run("bad_override", halted=True), **said)
    with pytest.raises(VerificationFailed, match=problem):
        verify(run)


def test_an_override_where_nothing_halted_is_found(make_recorded_run: Callable[..., Path]) -> None:
    run = _overridden(make_recorded_run("nothing_halted", finished=False))
    with pytest.raises(
        VerificationFailed,
        match="'g01/i02/override' overrides no halt; 'g01/i02/audit' stands before",
    ):
        verify(run)


def test_a_second_override_of_one_halt_is_found(make_recorded_run: Callable[..., Path]) -> None:
    run = _overridden(_overridden(make_recorded_run("twice", halted=True)))
    with pytest.raises(
        VerificationFailed, match="overrides no halt; 'g01/i02/override' stands before it"
    ):
        verify(run)


@pytest.mark.parametrize("gates", [["harm"], []])
def test_a_halt_that_no_gate_called_for_is_found(
    make_recorded_run: Callable[..., Path], gates: list[str]
) -> None:
    run = make_recorded_run("no_reason", finished=False)
    finish_step(run, "g01/i02/halt", content={"iteration": "g01/i02", "gates": gates})
    with pytest.raises(
        VerificationFailed, match="follows no decision in which its gates said HALT"
    ):
        verify(run)


def test_a_halt_that_hides_which_gate_it_was_is_found(
    make_recorded_run: Callable[..., Path],
) -> None:
    run = make_recorded_run("hides", halted=True, finished=False)
    finish_step(run, "g01/i02/halt", content={"iteration": "g01/i02", "gates": ["gap"]})
    with pytest.raises(
        VerificationFailed, match="follows no decision in which its gates said HALT"
    ):
        verify(run)


def test_going_on_from_a_halt_nobody_overrode_is_found(
    make_recorded_run: Callable[..., Path],
) -> None:
    run = make_recorded_run("went_on_later", halted=True)
    finish_step(run, "end")
    with pytest.raises(
        VerificationFailed, match="'end' was done after 'g01/i02/halt', which nobody overrode"
    ):
        verify(run)


def test_an_override_that_a_crash_cut_short_is_given_again(
    make_recorded_run: Callable[..., Path],
) -> None:
    """A halted run holds nothing after its halt; what a crash left there, the next override
    replaces.
    """
    run = make_recorded_run("torn_override", halted=True)
    with (run / ledger.FILE).open("ab") as f:
        f.write(b'{"at":{"sec')
    with pytest.raises(VerificationFailed, match="of a halted run; if a crash cut an override"):
        verify(run)
    override(run, by="Ada Moreau", reason="the raters saw an older version")
    assert verify(run).overrides[0].by == "Ada Moreau"
