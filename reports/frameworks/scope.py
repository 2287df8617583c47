"""The scope screen: counted operations beside thresholds for general-purpose models.

A ratio, never a conclusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.document.model import Block, Fact, Facts, Paragraph
from reports.frameworks.declared import Declarations
from reports.frameworks.reading import ledger, state, without_folder
from reports.frameworks.readings_process import NO_FLOP, total_flop
from reports.frameworks.schema import Scope, scope
from reports.record.compute import METHOD
from reports.record.files import Records, Source
from restaudit.errors import BadInput
from restaudit.evidence.statuses import Status

Outcome = Literal["likely below", "likely above", "not computable"]
ORIGINAL = "compute.original_flop"
COUNTED, FIRST = "Operations counted in this run", "The original model's training compute"
NO_CONCLUSION = (
    "This screen computes a ratio. It is no legal conclusion: whether a model is a "
    "general-purpose model, who is a provider, and which exemptions apply (research, free and "
    "open source) are for people to decide."
)
CONFIRM = "a human confirms"


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
        return (
            _screen(
                "a third of the original's declared training compute",
                original * numbers.share,
                flop,
                numbers,
                why,
            ),
        )
    third = "a third of {:.0e} FLOP, which stands in for an original of unknown training compute"
    return tuple(
        _screen(third.format(t.flop) + extra, t.flop * numbers.share, flop, numbers, why)
        for t, extra in (
            (numbers.general_purpose, ""),
            (numbers.systemic, " that has systemic risk"),
        )
    )


def _screen(against: str, limit: float, flop: float | None, numbers: Scope, why: str) -> Screen:
    if flop is None:
        return Screen(against, limit, None, None, "not computable", why)
    ratio = flop / limit
    if ratio >= numbers.near:
        return Screen(
            against,
            limit,
            flop,
            ratio,
            "likely above",
            f"more than {numbers.near:g} times the threshold",
        )
    if ratio <= 1 / numbers.near:
        return Screen(
            against,
            limit,
            flop,
            ratio,
            "likely below",
            f"less than 1/{numbers.near:g} of the threshold",
        )
    return Screen(
        against,
        limit,
        flop,
        ratio,
        "not computable",
        (
            f"within a factor of {numbers.near:g} of the threshold, which is closer than this "
            "count can tell"
        ),
    )


def screen_blocks(records: Records, declared: Declarations | None) -> tuple[Block, ...]:
    """The screen as blocks of a document."""
    numbers = scope()
    flop, why = _whole(records)
    said = declared.answers.get(ORIGINAL) if declared is not None else None
    original = float(said) if said and not said.startswith("N-A:") else None
    by_whom = (
        (declared.source(f"answers.{ORIGINAL}"),)
        if declared is not None and original is not None
        else ()
    )
    source = (ledger(records, "all lines"),)
    rows = [
        _counted(COUNTED, flop, "COMPUTED", why, source),
        _counted(FIRST, original, "DECLARED", "nobody said it; stand-ins are used", by_whom),
    ]
    for s in screens(flop, original, numbers, why):
        ratio = f"ratio {s.ratio:.3g} to" if s.ratio is not None else "threshold"
        said = f"{ratio} {s.limit:.3g} FLOP; {s.outcome}: {s.why}; {CONFIRM}"
        status: Status = "COMPUTED" if s.ratio is not None else "MISSING"
        rows.append(Fact(f"Against {s.against}", said, status, source + by_whom))
    thresholds = tuple(
        Fact(
            f"{t.flop:.0e} FLOP",
            f"{' '.join(t.says.split())} Source: {t.source}. As of {t.as_of}."
            + (" Check before quoting." if t.check else ""),
        )
        for t in (numbers.general_purpose, numbers.systemic)
    )
    third = Fact(
        "A third",
        f"{' '.join(numbers.share_says.split())} Source: {numbers.source}. As of {numbers.as_of}.",
    )
    return (
        Paragraph(NO_CONCLUSION),
        Facts(tuple(rows), "Ratio"),
        Facts((third, *thresholds), "Thresholds, with source and day"),
        Paragraph(
            f"How operations are counted: {METHOD} {' '.join(numbers.near_says.split())}", "note"
        ),
    )


def _counted(
    label: str, flop: float | None, status: Status, otherwise: str, sources: tuple[Source, ...]
) -> Fact:
    if flop is None:
        return Fact(label, otherwise, "MISSING", sources)
    return Fact(label, f"{flop:.3g} FLOP", status, sources)


def _whole(records: Records) -> tuple[float | None, str]:
    """The operations of the whole run, or None and why: those of a run that may go on are not all
    of them.
    """
    try:
        flop, where = total_flop(records), state(records)
    except (BadInput, KeyError, TypeError, ValueError) as e:
        return (
            None,
            f"the tokens of this record cannot be counted ({without_folder(str(e), records)})",
        )
    if flop is None:
        return None, NO_FLOP
    if where not in ("done", "halted"):
        return None, f"the run is {where}, so {flop:.3g} FLOP is not all of it"
    return (flop, "") if flop else (None, "the run recorded no tokens through the policy")
