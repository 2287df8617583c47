"""What a rating is held against: every item of the run's task sets with its text, and what is known
of raters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from restaudit.errors import BadInput
from restaudit.people.rating import draw
from restaudit.people.rating.checks import Asked, Declared, Known, time_of
from restaudit.people.rating.files import read_text
from restaudit.people.rating.formats.vote import Vote
from restaudit.people.rating.sheet import choices
from restaudit.people.rating.tasks import (
    items_of,
    read_key,
    run_secret,
    sha256,
    table_of,
    task_sets,
)

if TYPE_CHECKING:
    from restaudit.evidence.record import Run

RATERS = "raters.json"


K = TypeVar("K", bound=Asked)


@dataclass(frozen=True)
class Book(Generic[K]):
    """The items of a run by id and by response, its declared raters, and the key of pseudonyms."""

    run_id: str
    items: Mapping[str, K]
    by_response: Mapping[str, list[str]]
    declared: Mapping[str, Declared]
    secret: bytes
    renamed: dict[str, str] = field(default_factory=dict)

    def item(self, vote: Vote) -> K | None:
        """The item by its id; by its response where the file lost the id and only one item has that
        text.
        """
        if vote.item_id is not None:
            return self.items.get(vote.item_id)
        digest = vote.response_sha256 or (
            sha256(vote.response) if vote.response is not None else ""
        )
        found = self.by_response.get(digest, [])
        return self.items[found[0]] if len(found) == 1 else None

    def rater(self, name: str | None) -> str | None:
        """The rater's name; an e-mail address becomes a keyed hash, since the run folder is shown
        to others.
        """
        if name is None or "@" not in name:
            return name
        self.renamed[name] = f"rater-{draw.name(self.secret, 'rater', name)[:10]}"
        return self.renamed[name]

    def says_of(self, name: str | None) -> Declared:
        """What human/raters.json says of a rater, under the name in the file or under the
        pseudonym.
        """
        return self.declared.get(str(name), self.declared.get(str(self.rater(name)), Declared()))


def open_book(record: Run, folder: Path) -> Book[Known]:
    """All of it, read and checked.

    Raises BadInput where a key does not fit the record, or nothing was drawn.
    """
    items = _items(record, folder)
    by_response: dict[str, list[str]] = {}
    for item_id, known in items.items():
        by_response.setdefault(known.item.response_sha256, []).append(item_id)
    return Book(record.run_id, items, by_response, declared_in(folder), run_secret(record))


def _items(record: Run, folder: Path) -> dict[str, Known]:
    found: dict[str, Known] = {}
    texts: dict[str, tuple[dict[str, str], datetime | None]] = {}
    for tasks in task_sets(record.path):
        key = read_key(folder, tasks.name)
        if key["run_id"] != record.run_id:
            raise BadInput(
                f"{tasks.key}: belongs to run {key['run_id']!r}, this one is {record.run_id!r}"
            )
        for item in items_of(key):
            table = key["tables"][item.iteration]
            if table not in texts:
                rows, at = table_of(record, item.iteration, table)
                texts[table] = dict(zip(rows["sample_id"], rows["text"], strict=True)), time_of(at)
            by_sample, text_time = texts[table]
            text = by_sample.get(item.sample_id)
            if text is None or sha256(text) != item.response_sha256:
                raise BadInput(
                    f"{tasks.key}: item {item.item_id} is not what {table} of the run holds; draw "
                    "again"
                )
            found[item.item_id] = Known(
                item=item,
                tasks=tasks.name,
                dimension=tasks.dimension,
                choices=choices(tasks.scale, halves=tasks.halves),
                instructions_sha256=tasks.instructions_sha256,
                order_seed=key["order_seed"],
                text=text,
                text_time=text_time,
            )
    if not found:
        raise BadInput(
            f"{record.path}: no rating tasks were drawn; first: restaudit rate export {record.path}"
        )
    return found


def declared_in(folder: Path) -> dict[str, Declared]:
    """What the optional human/raters.json says: {"NAME": {"developer": true, "model": true}}."""
    path = folder / RATERS
    if not path.exists():
        return {}
    try:
        raw = json.loads(read_text(path))
        return {
            str(k): Declared(**{f: bool(v) for f, v in facts.items()}) for k, facts in raw.items()
        }
    except (ValueError, TypeError, AttributeError) as e:
        raise BadInput(
            f'{path}: expected {{"NAME": {{"developer": true, "model": true}}}} ({e})'
        ) from None
