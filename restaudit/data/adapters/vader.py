"""VADER (Hutto and Gilbert 2014, ICWSM): words and snippets, each rated -4..4 by ten or more
people. MIT licence.
"""

from __future__ import annotations

import math

from restaudit.data.records import Dropped, Feedbacks, RatingRecord
from restaudit.data.tables import OpenedSource
from restaudit.errors import BadInput
from restaudit.files.strict import parse_row

LEXICON_RATERS = 10
LOW, HIGH = -4, 4
# Roundings differ between the files; 195 tweets differ by more than that (up to several points).
MEANS_AGREE = 0.02


def lexicon(opened: OpenedSource) -> Feedbacks:
    """`vader_lexicon.txt`: word, mean, standard deviation, [ten ratings]; raters are called "0" to
    "9" by position.

    The mean is not read: it follows from the ratings (for one word of version 3.3.2, "lmfao", the
    file's differs). Entries that do not hold ten ratings in -4..4 are counted as malformed; words
    given twice (14 emoticons and abbreviations) are duplicates by the row rules, which keep the
    first.
    """
    for number, line in opened.lines():
        where, fields = f"line {number}", line.split("\t")
        if not line.strip():
            continue
        ratings = _ratings(fields[3]) if len(fields) == 4 else None
        if ratings is None or len(ratings) != LEXICON_RATERS:
            yield Dropped(where, "malformed")
        else:
            yield RatingRecord(where, "", fields[0], _by_position(ratings))


def snippets(opened: OpenedSource) -> Feedbacks:
    """A `*_GroundTruth` file (id, mean, text) joined with its `*_anonDataRatings` file (id, mean,
    sd, [ratings]).

    Raters are called "0", "1", … by POSITION in the list. The files are anonymous: position 3 of
    two rows need not be the same person, so a set of positions is a panel (who rated differs by
    row), not a set of people. Rows whose two files disagree about the mean are dropped and counted
    (195 of the 4,200 tweets).
    """
    if len(opened.artifacts) != 2:
        raise BadInput(
            f"{opened.name}: options.ratings must name the …_anonDataRatings file that goes with it"
        )
    # By id and not by line: the two files need not be in one order.
    rated: dict[str, tuple[float, list[float] | None]] = {}
    for number, line in opened.lines(1):
        fields = line.split("\t")
        if len(fields) == 4:
            rated[fields[0]] = (_number(fields[1]), _ratings(fields[3]))
        elif line.strip():
            raise BadInput(
                f"{opened.artifacts[1].spec}: line {number}: expected id, mean, sd, [ratings] "
                "with tabs"
            )
    for number, line in opened.lines():
        where, fields = f"line {number}", line.split("\t")
        if not line.strip():
            continue
        mean, ratings = rated.get(fields[0], (math.nan, None))
        if len(fields) != 3 or (fields[0] in rated and not ratings):
            yield Dropped(where, "malformed")
        elif ratings is None:
            yield Dropped(where, "no ratings under this id")
        elif not abs(mean - _number(fields[1])) <= MEANS_AGREE:
            yield Dropped(where, "its two files disagree")
        else:
            yield RatingRecord(where, "", fields[2], _by_position(ratings))


def _by_position(ratings: list[float]) -> dict[str | None, float]:
    return {str(i): value for i, value in enumerate(ratings)}


def _ratings(field: str) -> list[float] | None:
    """The bracketed list, or None where it is not a list of numbers in -4..4."""
    try:
        values, end = parse_row(field)
    except ValueError:
        return None
    if field[end:].strip():
        return None
    if not isinstance(values, list):
        return None
    for value in values:
        # By type and not isinstance, since a bool is an int.
        if type(value) not in (int, float) or not LOW <= value <= HIGH:
            return None
    return [float(v) for v in values]


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return math.nan
