"""potato 2: JSON Lines in; out as annotations.jsonl, CSV or TSV of `potato export`, or a rater's
user_state.json.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from restaudit.people.rating.formats.vote import (
    FileVotes,
    Record,
    ToolFormat,
    Vote,
    json_rows,
    one_object,
    table_rows,
    text_or_none,
)
from restaudit.people.rating.sheet import Sheet

SCHEMA = "score"
LABEL = re.compile(r"(?:scale[_ ]?)?(-?\d+(?:\.\d+)?)")
TICKED = frozenset({"true", "on", "checked"})
LABELS = "instance_id_to_label_to_value"


def write(sheet: Sheet) -> str:
    """Items for `data_files`. potato shows `text` as HTML, so it is escaped."""
    lines = []
    for row in sheet.rows:
        text = html.escape(f"{row.prompt}\n\n———\n\n{row.response}").replace("\n", "<br>")
        item = {"id": row.item_id, "text": text}
        lines.append(json.dumps(item, ensure_ascii=False) + "\n")
    return "".join(lines)


def setup(sheet: Sheet, tasks: str) -> tuple[str, str]:
    """A complete config.yaml: `potato start THIS`."""
    config = {
        "annotation_task_name": sheet.dimension,
        "task_dir": ".",
        "output_annotation_dir": "annotation_output/",
        "output_annotation_format": "jsonl",
        "data_files": [tasks],
        "item_properties": {"id_key": "id", "text_key": "text"},
        "num_annotators_per_item": sheet.raters,
        "user_config": {"allow_all_users": True, "users": []},
        "annotation_schemes": [
            {
                "annotation_type": "radio",
                "name": SCHEMA,
                "description": sheet.instructions,
                "labels": list(sheet.labels),
                "label_requirement": {"required": True},
            }
        ],
        "site_dir": "default",
    }
    return ".yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def read(text: str) -> FileVotes:
    """Every record with a label in the scheme `score` is a vote; records of machine annotators are
    marked as such.
    """
    file_votes = FileVotes()
    for where, item, rater, labels, at, origin in _records(text):
        own = {k: v for k, v in _of_scheme(labels).items() if _ticked(v)}
        if not own:
            file_votes.skipped["not rated"] += 1
            continue
        scores = [_score(label, value) for label, value in own.items()]
        file_votes.votes.append(
            Vote(
                where=where,
                item_id=item,
                rater=rater,
                score=scores[0] if len(scores) == 1 else scores,
                submitted_at=at,
                model=_machine(origin),
            )
        )
    return file_votes


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like one of potato's."""
    return (
        {"instance_id", "user_id"} <= set(record)
        or LABELS in record
        or ("id" in record and ("label_annotations" in record or "annotation" in record))
    )


# Where it stands, item, rater, labels, time of submission, and what its annotator is.
Annotation = tuple[str, str | None, str | None, Any, Any, Any]


def _records(text: str) -> Iterator[Annotation]:
    state = one_object(text)
    if state is not None and LABELS in state:
        yield from _of_state(state)
    elif text.lstrip()[:1] in {"{", "["}:
        for where, record in json_rows(text):
            if LABELS in record:
                yield from _of_state(record)
            else:
                yield _of_record(where, record)
    else:
        for where, cells in table_rows(text):
            yield _of_cells(where, cells)


def _of_record(where: str, record: Record) -> Annotation:
    """A line of annotations.jsonl, by whichever of the known names its fields have."""
    labels = record.get("labels", record.get("label_annotations", record.get("annotation")))
    origin = record.get("annotator_origin", record.get("origin"))
    item = text_or_none(record.get("instance_id", record.get("id")))
    return where, item, text_or_none(record.get("user_id")), labels, None, origin


def _of_cells(where: str, cells: Record) -> Annotation:
    """A row of a table: a column score.LABEL for each label, or one column with the label in it."""
    prefix = f"{SCHEMA}."
    labels = {k.removeprefix(prefix): v for k, v in cells.items() if k.startswith(prefix)}
    if not any(map(_ticked, labels.values())) and cells.get(SCHEMA):
        labels = {cells[SCHEMA]: "true"}
    item, rater = text_or_none(cells.get("instance_id")), text_or_none(cells.get("user_id"))
    return where, item, rater, {SCHEMA: labels}, None, cells.get("annotator_origin") or None


def _of_state(state: Record) -> Iterator[Annotation]:
    """One rater's user_state.json; the last change of an item is when it was submitted."""
    items = state.get(LABELS)
    rater, origin = text_or_none(state.get("user_id")), state.get("origin")
    if not isinstance(items, Mapping):
        return
    for number, (item, labels) in enumerate(items.items(), start=1):
        yield f"row {number}", str(item), rater, labels, _last_change(state, item), origin


def _last_change(state: Record, item: str) -> Any:
    traces = state.get("instance_id_to_behavioral_data")
    trace = traces.get(item) if isinstance(traces, Mapping) else None
    changes = trace.get("annotation_changes") if isinstance(trace, Mapping) else None
    times = []
    for change in changes if isinstance(changes, list) else []:
        if isinstance(change, Mapping) and change.get("timestamp"):
            times.append(change["timestamp"])
    return times[-1] if times else None


def _of_scheme(labels: Any) -> dict[str, Any]:
    """{label: value} of the scheme `score`, from {scheme: {label: value}} or [[{schema, name},
    value], …].
    """
    if isinstance(labels, list):
        values: dict[str, Any] = {}
        for pair in labels:
            if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], Mapping)):
                continue
            label, value = pair
            if label.get("schema") == SCHEMA:
                values[str(label.get("name", ""))] = value
        return values
    of_scheme = labels.get(SCHEMA) if isinstance(labels, Mapping) else None
    if isinstance(of_scheme, Mapping):
        return {str(label): value for label, value in of_scheme.items()}
    if of_scheme is None:
        return {}
    return {str(of_scheme): True}


def _ticked(value: Any) -> bool:
    return value not in (None, False, "", "false", "False")


def _score(label: str, value: Any) -> Any:
    """A radio's label is the score; a likert's label is scale_4 and its value 4.

    Both, where they contradict.
    """
    named, given = LABEL.fullmatch(label.strip()), LABEL.fullmatch(str(value).strip())
    if value is True or str(value).strip().lower() in TICKED:
        if named:
            return named.group(1)
        return label
    if named and given and named.group(1) != given.group(1):
        return [label, value]
    return given.group(1) if given else value


def _machine(origin: Any) -> str | None:
    """potato reads an origin that it cannot parse as a machine's, and so do we."""
    if origin is None or origin == {}:
        return None
    kind = origin.get("kind") if isinstance(origin, Mapping) else origin
    if kind == "human":
        return None
    return f"potato says its annotator is a machine (origin {kind!r})"


FORMAT = ToolFormat(
    name="potato",
    suffix=".jsonl",
    write=write,
    read=read,
    fits=fits,
    timed=False,
    table=True,
    setup=setup,
)
