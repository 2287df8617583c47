"""What people said about texts, as one long table: a row a judgement, ratings or pairs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from restaudit.config import RowRules, TableSource
from restaudit.data.adapters import EXTRA_FILES, FEEDBACK
from restaudit.data.records import (
    PART,
    Dropped,
    PairRecord,
    RatingRecord,
    RowLedger,
    RowReport,
    in_part,
    limited,
)
from restaudit.data.tables import open_source
from restaudit.errors import BadInput
from restaudit.evidence.chats import digest, first_turn, normalise
from restaudit.models.artifacts import Artifact

RATINGS = ("item_id", "prompt", "response", "rater", "score")
PAIRS = ("item_id", "prompt", "chosen", "rejected", "rater", "tied")


@dataclass(frozen=True)
class Feedback:
    """Judgements in long form.

    ratings   columns item_id, prompt, response, rater, score (float, the source's own unit)
    pairs     columns item_id, prompt, chosen, rejected, rater, tied; an item that raters disagree
              about has rows both ways, and a tied row (only where ties are asked for) says nothing
              by its order

    `item_id` names what was judged (text, or prompt and both responses, whichever way round);
    `prompt` is "" for texts that stand alone, plain text, or a JSON list of messages; `rater` is
    None where the source does not say who.
    """

    kind: Literal["ratings", "pairs"]
    table: pd.DataFrame
    report: RowReport
    licence: str | None
    artifacts: tuple[Artifact, ...]


def load_feedback(
    source: TableSource, rules: RowRules, *, ties: Literal["leave_out", "half"] = "leave_out"
) -> Feedback:
    """Read a source of ratings or pairs through its adapter and the row rules.

    Ties say nothing about which response is better: they are counted (`notes`: "tied judgements")
    and left out, and a pair that everybody ties is dropped; with `ties="half"` they stay, marked as
    tied. Raises BadInput on an unknown format, on a row the rules refuse, on a mixture of ratings
    and pairs, and when nothing is left.
    """
    adapter = FEEDBACK.get(source.format)
    if adapter is None:
        raise BadInput(
            f"{source.source}: format '{source.format}' holds no ratings or pairs; expected "
            f"{', '.join(FEEDBACK)}"
        )
    opened = open_source(source, EXTRA_FILES.get(source.format, ()))
    ledger = RowLedger(source.source, rules)
    kept: list[RatingRecord | PairRecord] = []
    for record in adapter(opened):
        ledger.read += 1
        if isinstance(record, Dropped):
            ledger.drop(record.reason)
        # By the first turn, so that conversations that begin alike stay on one side.
        elif not in_part(source, first_turn(record.prompt) or normalise(_response(record))):
            ledger.drop(f"outside part {source.options[PART]}")
        elif _passes(record, ledger, ties):
            kept.append(record)
    kept = limited(kept, source.limit, ledger, _item)
    kinds = {type(r) for r in kept}
    if len(kinds) != 1:
        held = "both ratings and pairs" if kinds else f"no usable row ({_account(ledger)})"
        raise BadInput(
            f"{source.source}: {held}; expected ratings or pairs in the format '{source.format}'"
        )
    kind: Literal["ratings", "pairs"] = "pairs" if kinds == {PairRecord} else "ratings"
    if kind == "pairs":
        table = pd.DataFrame(_pair_rows(kept, ties), columns=list(PAIRS))
        votes: Counter[int] = Counter()
        for record in kept:
            if isinstance(record, PairRecord):
                votes.update(record.votes.values())
        ledger.notes["tied judgements"] = votes[0]
        # Position balance: a source that names the winner first has no second ones, and says
        # nothing about position.
        ledger.notes["votes for the first response"] = votes[1]
        ledger.notes["votes for the second response"] = votes[-1]
    else:
        table = pd.DataFrame(_rating_rows(kept), columns=list(RATINGS)).astype({"score": "float64"})
    ledger.notes["judgements"] = len(table)
    ledger.notes["items"] = int(table["item_id"].nunique())
    return Feedback(kind, table, ledger.report(len(kept)), source.licence, opened.artifacts)


def _passes(
    record: RatingRecord | PairRecord, ledger: RowLedger, ties: Literal["leave_out", "half"]
) -> bool:
    where = record.where
    if isinstance(record, RatingRecord):
        texts = [("prompt", record.prompt), ("response", record.response)]
        texts += [("rater", rater) for rater in record.scores if rater is not None]
        if not ledger.texts_ok(where, texts, may_be_empty=frozenset({"prompt"})):
            return False
        if not ledger.some(where, "score", bool(record.scores), "expected at least one rating"):
            return False
        if not ledger.finite(where, "score", all(math.isfinite(s) for s in record.scores.values())):
            return False
        # The same text rated by another person is one more judgement, not a duplicate.
        item = _item(record)
        return ledger.first_time(where, "response", [(item, rater) for rater in record.scores])
    texts = [("prompt", record.prompt), ("chosen", record.first), ("rejected", record.second)]
    texts += [("annotator", rater) for rater in record.votes if rater is not None]
    if not ledger.texts_ok(where, texts, may_be_empty=frozenset({"prompt"})):
        return False
    if not ledger.some(where, "annotator", bool(record.votes), "expected at least one vote"):
        return False
    # No vote between a text and itself says anything, and both would be one item twice.
    if record.first == record.second:
        ledger.drop("same response twice")
        return False
    if ties == "leave_out" and not any(record.votes.values()):
        ledger.drop("tied by every rater")
        return False
    # Two opposite votes of raters who are not named are a disagreement; the same vote twice is a
    # duplicate.
    item = _item(record)
    preferred = {1: record.first, -1: record.second, 0: ""}
    keys = []
    for rater, vote in record.votes.items():
        keys.append((item, rater, preferred[vote] if rater is None else None))
    return ledger.first_time(where, "chosen", keys)


def _rating_rows(
    records: list[RatingRecord | PairRecord],
) -> Iterator[tuple[str, str, str, str | None, float]]:
    for r in records:
        if isinstance(r, RatingRecord):
            item = _item(r)
            for rater, score in r.scores.items():
                yield item, r.prompt, r.response, rater, score


def _pair_rows(
    records: list[RatingRecord | PairRecord], ties: Literal["leave_out", "half"]
) -> Iterator[tuple[str, str, str, str, str | None, bool]]:
    for r in records:
        if isinstance(r, PairRecord):
            item = _item(r)
            for rater, vote in r.votes.items():
                if vote or ties == "half":
                    chosen, rejected = (r.second, r.first) if vote < 0 else (r.first, r.second)
                    yield item, r.prompt, chosen, rejected, rater, vote == 0


def _item(record: RatingRecord | PairRecord) -> str:
    if isinstance(record, RatingRecord):
        parts = [record.prompt, record.response]
    else:
        parts = [record.prompt, *sorted((record.first, record.second))]
    return digest("\0".join(parts))[:16]


def _response(record: RatingRecord | PairRecord) -> str:
    return record.response if isinstance(record, RatingRecord) else record.first


def _account(ledger: RowLedger) -> str:
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(ledger.dropped.items()))
    return f"{ledger.read} read; dropped: {dropped or 'none'}"
