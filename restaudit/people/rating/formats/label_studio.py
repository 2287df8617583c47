"""Label Studio (labelstud.io/guide/task_format): a JSON list of tasks, each with annotations and
predictions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from xml.sax.saxutils import quoteattr

from restaudit.people.rating.formats.vote import (
    FileVotes,
    Record,
    ToolFormat,
    Vote,
    carried,
    json_rows,
    text_or_none,
)
from restaudit.people.rating.sheet import Sheet, as_rows

CONTROL = "score"
FROM_MODEL = frozenset({"prediction", "prediction-changed"})


def write(sheet: Sheet) -> str:
    """Tasks to import; predictions stay empty, so that nobody sees a model's opinion first."""
    return json.dumps([{"data": r} for r in as_rows(sheet)], ensure_ascii=False, indent=1) + "\n"


def setup(sheet: Sheet, _tasks: str) -> tuple[str, str]:
    """The labelling interface: the project's Labelling Interface > Code."""
    buttons = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in sheet.labels)
    instructions = quoteattr(sheet.instructions, {"\n": "&#10;", "\r": "&#13;"})
    return ".xml", (
        f"<!-- Set the annotations per task to {sheet.raters}, and turn predictions off. -->\n"
        f"<View>\n  <Header value={instructions}/>\n"
        '  <Text name="prompt" value="$prompt"/>\n  <Text name="response" value="$response"/>\n'
        f"  <Header value={quoteattr(sheet.dimension)}/>\n"
        f'  <Choices name="{CONTROL}" toName="response" choice="single-radio" required="true" '
        'showInline="true">\n'
        f"{buttons}\n  </Choices>\n</View>\n"
    )


def read(text: str) -> FileVotes:
    """Every submitted annotation with one result for `score` is a vote.

    Predictions, drafts and skips are none.
    """
    file_votes = FileVotes()
    for where, task in json_rows(text):
        data = task.get("data")
        fields = carried(data if isinstance(data, Mapping) else {})
        annotations = _list(task, "annotations")
        file_votes.skipped["model prediction"] += len(_list(task, "predictions"))
        file_votes.skipped["draft"] += len(_list(task, "drafts"))
        file_votes.skipped["not rated"] += not annotations
        for number, annotation in enumerate(annotations, start=1):
            here = f"{where}, annotation {number}"
            if annotation.get("was_cancelled"):
                file_votes.skipped["skipped by the rater (was_cancelled)"] += 1
                continue
            results = [r for r in _list(annotation, "result") if r.get("from_name") == CONTROL]
            if not results:
                file_votes.skipped["not rated"] += 1
                continue
            file_votes.votes.append(
                Vote(
                    where=here,
                    rater=_rater(annotation.get("completed_by")),
                    score=_score(results),
                    # The first time it was submitted is what may not lie before the text.
                    submitted_at=annotation.get("created_at") or annotation.get("updated_at"),
                    started_at=_started(annotation.get("created_at"), annotation.get("lead_time")),
                    model=_model(annotation, results),
                    **fields,
                )
            )
    file_votes.skipped = +file_votes.skipped
    return file_votes


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like a Label Studio task."""
    return isinstance(record.get("data"), Mapping) and (
        "annotations" in record or "predictions" in record
    )


def _list(record: Mapping[str, Any], key: str) -> list[Record]:
    values = record.get(key)
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, dict)]


def _score(results: list[Record]) -> Any:
    """The one number of an annotation, as a rating, a number or a choice; all of them where there
    are several.
    """
    values: list[Any] = []
    for result in results:
        values += _values(result.get("value"))
    # Several scores for one text: they go on as they are, and the checks refuse them with the row.
    return values[0] if len(values) == 1 else values


def _values(value: Any) -> Iterator[Any]:
    if not isinstance(value, Mapping):
        return
    for key in ("rating", "number", "choices", "selected"):
        if key in value:
            given = value[key]
            yield from given if isinstance(given, list) else [given]


def _rater(who: Any) -> str | None:
    if isinstance(who, Mapping):
        who = who.get("id", who.get("email"))
    return text_or_none(who)


def _model(annotation: Record, results: list[Record]) -> str | None:
    if annotation.get("parent_prediction") is not None:
        return "it was made from a model's prediction (parent_prediction)"
    for result in results:
        if result.get("origin") in FROM_MODEL:
            return f"it came from a model's prediction (origin {result['origin']!r})"
    return None


def _started(submitted: Any, seconds: Any) -> str | None:
    """When a rater began: `lead_time` is the seconds it took, and no time of its own is kept."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    if not isinstance(submitted, str):
        return None
    try:
        return (datetime.fromisoformat(submitted) - timedelta(seconds=seconds)).isoformat()
    except (ValueError, OverflowError):
        return None


FORMAT = ToolFormat(
    name="label-studio", suffix=".json", write=write, read=read, fits=fits, timed=True, setup=setup
)
