"""Going on after HALT: a person's name and reason enter the ledger first, and every report shows
them first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.evidence.record import Halt, Override, Run
from restaudit.evidence.steps import Writer
from restaudit.files.signs import printable

if TYPE_CHECKING:
    from restaudit.evidence.seal.signer import Signer

# Shortest and longest, in characters. A reason of fewer is no reason anybody could judge.
NAME = (2, 100)
REASON = (10, 2000)


def override(run: Path | str, *, by: str, reason: str, given: Signer | None = None) -> Override:
    """Record that `by` lets a halted run go on, and why; `restaudit resume` then goes on.

    Raises BadInput where the run is not halted, its plan was changed after sealing, another process
    writes it, `given` is not the signer that the plan names, or the name or reason is missing, too
    long, or holds control characters.
    """
    from restaudit.evidence.seal.signer import signer_for

    facts = {"by": by.strip(), "reason": reason.strip()}
    for option in facts:
        if (problem := wrong_text(option, facts[option])) is not None:
            raise BadInput(f"--{option}: {problem}")
    run = Path(run)
    record, _ = _halted(run)
    signer = signer_for(run, record.plan, given)
    with Writer(run, signer=signer) as writer:
        # Once more, now that nobody else can write: the halt may have been answered in between.
        _, halt = _halted(run)
        gates = list(halt.gates)
        content = {"iteration": halt.iteration, "gates": gates, **facts}
        writer.step(f"{halt.iteration}/override", "", lambda _: content)
        return Override.of(writer.events[-1])


def wrong_text(what: str, text: object) -> str | None:
    """What is wrong with the name (`by`) or the `reason` of an override; None where nothing is."""
    shortest, longest = NAME if what == "by" else REASON
    if not isinstance(text, str):
        return f"expected text, got {type(text).__name__}"
    if printable(text) != text:
        return "holds control characters or line breaks; expected one line of plain text"
    if not shortest <= len(text.strip()) <= longest or not any(c.isalnum() for c in text):
        return f"expected {shortest} to {longest} characters of text, got {len(text.strip())}"
    return None


def wrong_content(content: Mapping[str, Any], iteration: str, gates: list[str]) -> str | None:
    """What is wrong with an override event after the halt of these gates at this iteration; None
    where nothing is.
    """
    for what in ("by", "reason"):
        if (problem := wrong_text(what, content.get(what))) is not None:
            return f"{what}: {problem}"
    if content.get("iteration") != iteration or content.get("gates") != gates:
        return f"expected it to answer the halt at {iteration} by {', '.join(gates)}"
    return None


def _halted(run: Path) -> tuple[Run, Halt]:
    record = Run(run)
    record.check_sealed()
    if record.halt is None:
        raise BadInput(
            f"{run}: this run is {record.state}, so there is nothing to override; an override "
            "answers a HALT that stopped the run"
        )
    return record, record.halt
