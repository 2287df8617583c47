"""The standard columns, under any names: pairs, ratings or prompts of one's own."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from restaudit.data.records import Feedbacks, PairRecord, PromptRecord, Prompts, RatingRecord
from restaudit.data.tables import OpenedSource, SourceRow, listed, pick, shown
from restaudit.errors import BadInput
from restaudit.evidence.chats import from_messages
from restaudit.files.given import json_cell

# A vote as annotators' columns hold it, and what it means for the first of two responses.
_VOTES: Mapping[str, int] = {"chosen": 1, "1": 1, "rejected": -1, "2": -1, "tie": 0, "0": 0}


def feedback(opened: OpenedSource) -> Feedbacks:
    """Pairs (`prompt, chosen, rejected`) or ratings (`text`, or `prompt, response`; and `score`).

    Raters: one `rater` (ratings) or `annotator` (pairs) column, a row a judgement; or several
    columns, named in `options.rater_columns` or `options.annotator_columns`, a row an item.
    """
    for row in opened.rows():
        pair = _has(opened, row, "chosen") or _has(opened, row, "rejected")
        rated = _has(opened, row, "text") or _has(opened, row, "response")
        if pair and rated and (_has(opened, row, "score") or _columns(opened, "rater_columns")):
            raise BadInput(
                f"{opened.name}: {row.where}: the columns of pairs (chosen, rejected) and of "
                "ratings (text, response, score) are both there; leave one kind out, or give it "
                "other names"
            )
        if pair:
            yield _pair(opened, row)
        else:
            yield _rating(opened, row)


def prompts(opened: OpenedSource) -> Prompts:
    """Prompts: `prompt`, and where given `references` (or `reference`), `group` and `family`."""
    for row in opened.rows():
        references = pick(row, "references", opened.source, required=False)
        if references is None:
            references = pick(row, "reference", opened.source, required=False)
        yield PromptRecord(
            where=row.where,
            prompt=_prompt(opened, row, pick(row, "prompt", opened.source)),
            references=_references(opened, row, references),
            group=_label(pick(row, "group", opened.source, required=False)),
            family=_label(pick(row, "family", opened.source, required=False)),
        )


def _pair(opened: OpenedSource, row: SourceRow) -> PairRecord:
    prompt = pick(row, "prompt", opened.source, required=False)
    chosen, rejected = pick(row, "chosen", opened.source), pick(row, "rejected", opened.source)
    if prompt is None and _is_chat(chosen) and _is_chat(rejected):
        prompt = _common_context(opened, row, chosen, rejected)
    return PairRecord(
        where=row.where,
        prompt=_prompt(opened, row, prompt) if prompt is not None else "",
        first=_response(opened, row, "chosen", chosen),
        second=_response(opened, row, "rejected", rejected),
        votes=_votes(opened, row),
    )


def _votes(opened: OpenedSource, row: SourceRow) -> dict[str | None, int]:
    columns = _columns(opened, "annotator_columns")
    if not columns:
        return {_label(pick(row, "annotator", opened.source, required=False)): 1}
    votes: dict[str | None, int] = {}
    for column in columns:
        value = pick(row, column, opened.source)
        if value is None or str(value).strip() == "":
            continue
        # A Parquet column with a gap in it holds 1.0 for 1.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        key = str(value).strip().lower()
        if key not in _VOTES:
            expected = "chosen or 1, rejected or 2, tie or 0, or nothing"
            raise BadInput(
                f"{opened.name}: {row.where}: column '{column}': got {shown(value)}; expected {expected}"
            )
        votes[column] = _VOTES[key]
    return votes


def _rating(opened: OpenedSource, row: SourceRow) -> RatingRecord:
    if _has(opened, row, "text"):
        prompt, response = "", _response(opened, row, "text", pick(row, "text", opened.source))
    elif _has(opened, row, "response"):
        prompt = _prompt(opened, row, pick(row, "prompt", opened.source))
        response = _response(opened, row, "response", pick(row, "response", opened.source))
    else:
        raise BadInput(
            f"{opened.name}: {row.where}: expected the columns prompt, chosen, rejected (pairs) "
            "or text, score, or prompt, response, score (ratings); got "
            f"{listed([*map(str, row.values)])}. Map names with columns: {{…}}"
        )
    columns = _columns(opened, "rater_columns")
    if columns:
        scores: dict[str | None, float] = {}
        for column in columns:
            given = _number(opened, row, column, pick(row, column, opened.source))
            if given is not None:  # not everybody rates every text
                scores[column] = given
        return RatingRecord(row.where, prompt, response, scores)
    score = _number(opened, row, "score", pick(row, "score", opened.source))
    rater = _label(pick(row, "rater", opened.source, required=False))
    if score is None:
        return RatingRecord(row.where, prompt, response, {})
    return RatingRecord(row.where, prompt, response, {rater: score})


def _number(opened: OpenedSource, row: SourceRow, column: str, value: Any) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    # float() takes True for 1, which nobody means by a rating.
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return float(value)
    raise BadInput(
        f"{opened.name}: {row.where}: column '{column}': got {shown(value)}; expected a number "
        "(nan is not)"
    )


def _prompt(opened: OpenedSource, row: SourceRow, value: Any) -> str:
    value = _unpacked(opened, row, value)
    if _is_chat(value):
        if value[-1].get("role") != "user":
            raise BadInput(
                f"{opened.name}: {row.where}: column 'prompt': the last message must be the user's"
            )
        try:
            return from_messages(value)
        except ValueError as e:
            raise BadInput(f"{opened.name}: {row.where}: column 'prompt': {e}") from None
    return _text(opened, row, "prompt", value)


def _response(opened: OpenedSource, row: SourceRow, column: str, value: Any) -> str:
    value = _unpacked(opened, row, value)
    if not _is_chat(value):
        return _text(opened, row, column, value)
    last = value[-1]
    if last.get("role") != "assistant" or not isinstance(last.get("content"), str):
        raise BadInput(
            f"{opened.name}: {row.where}: column '{column}': the last message must be the "
            "assistant's text"
        )
    return str(last["content"])


def _common_context(
    opened: OpenedSource, row: SourceRow, chosen: list[Any], rejected: list[Any]
) -> list[Any]:
    if chosen[:-1] != rejected[:-1]:
        raise BadInput(
            f"{opened.name}: {row.where}: chosen and rejected are chats with different contexts; "
            "expected the same messages up to the last one, or a prompt column"
        )
    return chosen[:-1]


def _references(opened: OpenedSource, row: SourceRow, value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, str) and value.startswith("["):
        value = json_cell(opened.name, row.where, value)
    values = value if isinstance(value, list) else [value]
    return tuple(_text(opened, row, "references", v) for v in values)


def _unpacked(opened: OpenedSource, row: SourceRow, value: Any) -> Any:
    """A chat may be held in a text column (CSV) as JSON."""
    if isinstance(value, str) and value.startswith("[{"):
        inner = json_cell(opened.name, row.where, value)
        return inner if _is_chat(inner) else value
    return value


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(m, dict) and "role" in m for m in value)
    )


def _text(opened: OpenedSource, row: SourceRow, column: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadInput(
            f"{opened.name}: {row.where}: column '{column}': got {type(value).__name__} "
            f"{str(value)[:40]!r}; expected text, or a list of chat messages with role and content"
        )
    return value


def _label(value: Any) -> str | None:
    if value is None or str(value).strip() == "":
        return None
    return str(value)


def _columns(opened: OpenedSource, option: str) -> list[str]:
    value = opened.source.options.get(option, [])
    if not isinstance(value, list):
        return [str(value)]
    return [str(v) for v in value]


def _has(opened: OpenedSource, row: SourceRow, column: str) -> bool:
    return opened.source.columns.get(column, column) in row.values
