"""Argilla 2: records with fields, metadata, suggestions (a model's) and responses (people's),
nested or flattened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from restaudit.errors import BadInput
from restaudit.people.rating.formats.vote import (
    FileVotes,
    Record,
    ToolFormat,
    Vote,
    carried,
    json_rows,
    one_object,
    text_or_none,
)
from restaudit.people.rating.sheet import Sheet, as_rows

QUESTION = "score"
FIELDS = ("prompt", "response")


def write(sheet: Sheet) -> str:
    """Records for `dataset.records.from_json(file)`; suggestions stay empty."""
    records = []
    for row in as_rows(sheet):
        metadata = {k: v for k, v in row.items() if k not in (*FIELDS, "blinded")}
        records.append(
            {
                "id": row["item_id"],
                "fields": {k: row[k] for k in FIELDS},
                "metadata": metadata,
                "suggestions": {},
                "responses": {},
                "vectors": {},
            }
        )
    return json.dumps(records, ensure_ascii=False, indent=1) + "\n"


def read(text: str) -> FileVotes:
    """Every submitted response to the question `score` is a vote.

    Suggestions, drafts and discarded ones are none.
    """
    file_votes = FileVotes()
    for where, record in _records(text):
        nested = "fields" in record
        flat = dict(record)
        if nested:
            flat = {**_mapping(record, "fields"), **_mapping(record, "metadata")}
        fields = carried({**flat, "item_id": flat.get("item_id") or record.get("id")})
        suggestions = _suggestions(record, nested=nested)
        file_votes.skipped["model suggestion"] += len(suggestions)
        responses = list(_nested(record, where) if nested else _flattened(record, where))
        file_votes.skipped["not rated"] += not responses
        for number, (value, user, status, at) in enumerate(responses, start=1):
            here = f"{where}, response {number}"
            if status is None:
                raise BadInput(
                    f"{here}: has no status, so a draft cannot be told from a rating; export the "
                    "records flattened: json.dump(dataset.records.to_list(flatten=True), file)"
                )
            if status != "submitted":
                file_votes.skipped[f"response that is not submitted ({status})"] += 1
                continue
            # A model may answer under its own user as well as suggest.
            agent = user is not None and user in suggestions
            model = "its user is the agent of a suggestion" if agent else None
            file_votes.votes.append(
                Vote(where=here, rater=user, score=value, submitted_at=at, model=model, **fields)
            )
    file_votes.skipped = +file_votes.skipped
    return file_votes


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like an Argilla record."""
    return ("fields" in record and "responses" in record) or any(
        k.endswith(".responses") for k in record
    )


def _records(text: str) -> list[tuple[str, Record]]:
    """Records of a list, of JSON Lines, or of to_dict(orient="names"), which has a list a
    column.
    """
    columns = one_object(text)
    if not columns or not all(isinstance(values, list) for values in columns.values()):
        return json_rows(text)
    size = max(len(values) for values in columns.values())
    if any(len(values) != size for values in columns.values()):
        raise BadInput("the columns of this Argilla export are of unequal length")
    records = []
    for n in range(size):
        records.append((f"row {n + 1}", {name: values[n] for name, values in columns.items()}))
    return records


Answer = tuple[Any, str | None, str | None, Any]


def _flattened(record: Record, where: str) -> Iterator[Answer]:
    key = f"{QUESTION}.responses"
    values = record.get(key)
    if not values:
        return
    users = record.get(f"{key}.users") or []
    statuses: Any = record.get(f"{key}.status")
    if not statuses and isinstance(values, list):
        statuses = [None] * len(values)
    lists = all(isinstance(one, list) for one in (values, users, statuses))
    if not lists or not len(values) == len(users) == len(statuses):
        raise BadInput(f"{where}: {key}, .users and .status are not of one length")
    for value, user, status in zip(values, users, statuses, strict=True):
        yield value, text_or_none(user), text_or_none(status), None


def _nested(record: Record, where: str) -> Iterator[Answer]:
    """{question: [{value, user_id, status}]}, or the older [{user_id, status, values: {question:
    {value}}}].
    """
    responses = record.get("responses") or {}
    answers = responses
    if isinstance(responses, Mapping):
        answers = responses.get(QUESTION) or []
    if not isinstance(answers, list):
        raise BadInput(f"{where}: its responses are no list")
    for answer in answers:
        if not isinstance(answer, Mapping):
            continue
        value = answer.get("value")
        if answer.get("values"):
            value = _mapping(_mapping(answer, "values"), QUESTION).get("value")
        at = answer.get("updated_at") or answer.get("inserted_at")
        yield value, text_or_none(answer.get("user_id")), text_or_none(answer.get("status")), at


def _suggestions(record: Record, *, nested: bool) -> set[str]:
    """The agents of a record's suggestions; a suggestion of nobody named counts under a name no
    user has.
    """
    if not nested:
        if record.get(f"{QUESTION}.suggestion") is None:
            return set()
        return {text_or_none(record.get(f"{QUESTION}.suggestion.agent")) or ""}
    suggestions = record.get("suggestions") or {}
    if isinstance(suggestions, Mapping):
        suggestions = list(suggestions.values())
    if not isinstance(suggestions, list):
        return {""}  # of nobody named
    return {text_or_none(s.get("agent")) or "" for s in suggestions if isinstance(s, Mapping)}


def _mapping(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


FORMAT = ToolFormat(name="argilla", suffix=".json", write=write, read=read, fits=fits, timed=False)
