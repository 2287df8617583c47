"""The scope screen: counted operations beside thresholds for general-purpose models.

A ratio, never a conclusion.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from reports.document.model import Block, Fact, Facts, Paragraph, Status
from reports.frameworks.declared import Declarations
from reports.frameworks.forms import N_A
from reports.frameworks.readings.material import ledger, state, without_folder
from reports.frameworks.readings.process import NO_FLOP, total_flop
from reports.frameworks.schema import Scope, scope
from reports.record.compute import METHOD
from reports.record.files import Records, Source
from restaudit.errors import BadInput

Outcome = Literal["likely below", "likely above", "not computable"]
ORIGINAL = "compute.original_flop"
COUNTED, FIRST = "Operations counted in this run", "The original model's training compute"
NO_CONCLUSION = (
    "This screen computes a ratio. It is no legal conclusion: whether a model is a "
    "general-purpose model, who is a provider, and which exemptions apply (research, free and "
    "open source) are for people to decide."
)
CONFIRM = "needs confirmation by a person"


@dataclass(frozen=True)
class Screen:
    """One comparison: the operations counted, what they are compared with, and what that suggests.

    `flop` and `ratio` are None where they cannot be computed; `why` says it in a clause.
    """

    against: str
    limit: float
    flop: float | None
    ratio: float | None
    outcome: Outcome
    why: str


def screens(
    flop: float | None, original: float | None, numbers: Scope, why: str = NO_FLOP
) -> tuple[Screen, ...]:
    """The run against a third of the original's training compute, or against both stand-ins where
    that is unknown.

    `why` says why there is no `flop`.
    """
    if original is not None:
        against = "a third of the original's declared training compute"
        return (_screen(against, original * numbers.share, flop, numbers, why),)
    # Where nobody knows what the original took, both thresholds stand in for it.
    stand_ins = ((numbers.general_purpose, ""), (numbers.systemic, " that has systemic risk"))
    found = []
    for threshold, which in stand_ins:
        against = (
            f"a third of {threshold.flop:.0e} FLOP, which stands in for an original of unknown "
            f"training compute{which}"
        )
        found.append(_screen(against, threshold.flop * numbers.share, flop, numbers, why))
    return tuple(found)


def _screen(against: str, limit: float, flop: float | None, numbers: Scope, why: str) -> Screen:
    if flop is None:
        return Screen(against, limit, None, None, "not computable", why)
    ratio, near = flop / limit, f"{numbers.near:g}"
    if ratio >= numbers.near:
        above = f"more than {near} times the threshold"
        return Screen(against, limit, flop, ratio, "likely above", above)
    if ratio <= 1 / numbers.near:
        below = f"less than 1/{near} of the threshold"
        return Screen(against, limit, flop, ratio, "likely below", below)
    # The count leaves out prompts, attention, the reward and the probes: it is a lower bound.
    close = f"within a factor of {near} of the threshold, which is closer than this count can tell"
    return Screen(against, limit, flop, ratio, "not computable", close)


def screen_blocks(records: Records, declared: Declarations | None) -> tuple[Block, ...]:
    """The screen as blocks of a document."""
    numbers = scope()
    flop, why = _whole_run(records)
    original, by_whom = _original(declared)
    sources = (ledger(records, "all lines"),)
    rows = [
        _counted(COUNTED, flop, "COMPUTED", why, sources),
        _counted(FIRST, original, "DECLARED", "not provided; stand-ins are used", by_whom),
    ]
    for screen in screens(flop, original, numbers, why):
        ratio = "threshold"
        status: Status = "MISSING"
        if screen.ratio is not None:
            ratio, status = f"ratio {screen.ratio:.3g} to", "COMPUTED"
        text = f"{ratio} {screen.limit:.3g} FLOP; {screen.outcome}: {screen.why}; {CONFIRM}"
        rows.append(Fact(f"Against {screen.against}", text, status, sources + by_whom))
    third = _with_source(numbers.share_says, numbers.source, numbers.as_of)
    thresholds = [Fact("A third", third)]
    for threshold in (numbers.general_purpose, numbers.systemic):
        text = _with_source(threshold.says, threshold.source, threshold.as_of)
        if threshold.check:
            text += " Check before quoting."
        thresholds.append(Fact(f"{threshold.flop:.0e} FLOP", text))
    counting = f"How operations are counted: {METHOD} {_on_one_line(numbers.near_says)}"
    return (
        Paragraph(NO_CONCLUSION),
        Facts(tuple(rows), "Ratio"),
        Facts(tuple(thresholds), "Thresholds, with source and day"),
        Paragraph(counting, "note"),
    )


def _original(declared: Declarations | None) -> tuple[float | None, tuple[Source, ...]]:
    """The original model's training compute where somebody declared it, and where that stands."""
    if declared is None:
        return None, ()
    text = declared.answers.get(ORIGINAL)
    # "Does not apply" is an answer too, and gives no number to compare with.
    if not text or text.startswith(N_A):
        return None, ()
    return float(text), (declared.source(f"answers.{ORIGINAL}"),)


def _with_source(says: str, source: str, as_of: datetime.date) -> str:
    return f"{_on_one_line(says)} Source: {source}. As of {as_of}."


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _counted(
    label: str, flop: float | None, status: Status, otherwise: str, sources: tuple[Source, ...]
) -> Fact:
    if flop is None:
        return Fact(label, otherwise, "MISSING", sources)
    return Fact(label, f"{flop:.3g} FLOP", status, sources)


def _whole_run(records: Records) -> tuple[float | None, str]:
    """The operations of the whole run, or None and why: those of a run that may go on are not all
    of them.
    """
    try:
        flop, where = total_flop(records), state(records)
    except (BadInput, KeyError, TypeError, ValueError) as e:
        why = without_folder(str(e), records)
        return None, f"the tokens of this record cannot be counted ({why})"
    if flop is None:
        return None, NO_FLOP
    # A part of the operations would come out too far below the threshold.
    if where not in ("done", "halted"):
        return None, f"the run is {where}, so {flop:.3g} FLOP is not all of it"
    if not flop:
        return None, "the run recorded no tokens through the policy"
    return flop, ""
