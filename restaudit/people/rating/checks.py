"""What a vote is held against, and each rule by which it is no rating of this run by a person.

A `Book` has every item of the run's task sets with its text, and what is known of raters. `problems`
are in words for whoever sent the file. docs/rating-tools.md, "What is refused", has this file's table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.files.strict import parse_json
from restaudit.people.rating import draw
from restaudit.people.rating.formats.vote import Vote, flagged
from restaudit.people.rating.sheet import choices
from restaudit.people.rating.store import read_text, whole
from restaudit.people.rating.tasks import (
    TaskItem,
    items_of,
    read_key,
    run_secret,
    sha256,
    table_of,
    task_sets,
)

if TYPE_CHECKING:
    from restaudit.evidence.record import Run


# Fields that would tell a rater, or whoever assigns items to raters, which policy wrote a text.
UNBLINDING = frozenset(
    {
        "iteration",
        "iterations",
        "model",
        "model_name",
        "model_id",
        "policy",
        "checkpoint",
        "grow",
        "look",
        "threshold",
        "reward",
        "reward_01",
        "reward_spread",
        "sample_id",
    }
)
RATERS = "raters.json"
# A rating as it is stored: a line of human/ratings.jsonl or human/choices.jsonl.
RatingRow = dict[str, Any]
NEWLINES = re.compile(r"\r\n?")
# Numbers above this are milliseconds: as seconds they would lie in the year 5138.
MILLISECONDS = 1e11
# Seconds that a tool's clock may be ahead: a time that names no zone is read as UTC.
AHEAD = 86400.0
# Names are shown on pages and in tables.
LONGEST_NAME = 200


class RatedItem(Protocol):
    """What a vote is held against, whether it scores one text or chooses between two.

    `text_time` is when a step recorded the text (the newer one of two).
    """

    @property
    def item_id(self) -> str:
        """The name of the item."""

    @property
    def tasks(self) -> str:
        """The set it belongs to."""

    @property
    def repeats(self) -> str | None:
        """The item that this one repeats."""

    @property
    def text_time(self) -> datetime | None:
        """When what is judged was recorded."""

    def wrong(self, vote: Vote) -> Iterator[str]:
        """Every reason why the vote is not one on this item."""

    def row(self, vote: Vote, rater: str, run_id: str) -> RatingRow:
        """The vote as it is stored, unblinded; only for a vote with nothing wrong."""


@dataclass(frozen=True)
class KnownText:
    """A text of this run that raters score, with what a rating of it must agree with."""

    item: TaskItem
    tasks: str
    dimension: str
    choices: tuple[float, ...]
    instructions_sha256: str
    order_seed: str
    text: str
    text_time: datetime | None

    @property
    def item_id(self) -> str:
        """The name of the item."""
        return self.item.item_id

    @property
    def repeats(self) -> str | None:
        """The item that this one repeats."""
        return self.item.repeats

    def wrong(self, vote: Vote) -> Iterator[str]:
        """Every reason why the vote is no rating of this text: digests, dimension, instructions,
        scale, score.
        """
        if vote.response_sha256 is not None and vote.response_sha256 != self.item.response_sha256:
            yield (
                f"its response_sha256 is not that of item {self.item.item_id}: another response "
                "was rated"
            )
        elif vote.response is not None and not same_text(vote.response, self.text):
            digest = sha256(vote.response)[:12]
            yield (
                f"its response (sha256 {digest}…) is not the run's text of item {self.item.item_id}"
            )
        yield from same_set(
            vote, dimension=self.dimension, instructions_sha256=self.instructions_sha256
        )
        for name, value, own in (
            ("scale_min", vote.scale_min, self.choices[0]),
            ("scale_max", vote.scale_max, self.choices[-1]),
        ):
            # Read as a score is: "1", 1 and 1.0 are one number in tools' files.
            if value not in (None, "") and score_of(value, (own, own + 1)) != own:
                yield (
                    f"{name} is {value!r}; the scale of these tasks is {self.choices[0]:g} to "
                    f"{self.choices[-1]:g}"
                )
        score = score_of(vote.score, self.choices)
        if isinstance(score, str):
            yield score

    def row(self, vote: Vote, rater: str, run_id: str) -> RatingRow:
        """The vote, unblinded, with the fields of GOVERNANCE.md's canonical row."""
        item = self.item
        score = score_of(vote.score, self.choices)
        assert isinstance(score, float)  # or `wrong` would have said so
        return {
            "run_id": run_id,
            "tasks": self.tasks,
            "item_id": item.item_id,
            "iteration": item.iteration,
            "prompt_id": item.prompt_id,
            "sample_id": item.sample_id,
            "response_sha256": item.response_sha256,
            "rater_id": rater,
            "score": whole(score),
            "scale_min": whole(self.choices[0]),
            "scale_max": whole(self.choices[-1]),
            "dimension": self.dimension,
            "started_at": iso(time_of(vote.started_at)),
            "submitted_at": iso(time_of(vote.submitted_at)),
            "instructions_sha256": self.instructions_sha256,
            "blinded": True,
            "order": item.order,
            "order_seed": self.order_seed,
            "inclusion_prob": item.inclusion_prob,
            "role": item.role,
            "repeats": item.repeats,
        }


@dataclass(frozen=True)
class RaterFacts:
    """What the run's human/raters.json says of one rater."""

    developer: bool = False
    model: bool = False


def problems(
    vote: Vote,
    known: RatedItem | None,
    rater: str | None,
    declared: RaterFacts,
    *,
    run_id: str,
    timed: bool,
    now: datetime,
) -> Iterator[str]:
    """Every reason to refuse this vote; none when it is a person's blinded rating of this run's
    text.
    """
    if vote.run_id is not None and vote.run_id != run_id:
        yield f"belongs to run {vote.run_id!r}, this one is {run_id!r}"
    if known is None:
        what = f"item {vote.item_id!r}" if vote.item_id else "a response without an item_id"
        yield f"{what} is in no set of rating tasks of this run"
    else:
        yield from known.wrong(vote)
        yield from _times(vote, known.text_time, timed=timed, now=now)
    yield from _blinded(vote)
    if rater is None:
        yield "has no rater; add one, or name the file's rater with --rater"
    elif len(rater) > LONGEST_NAME:
        yield f"its rater's name has {len(rater)} characters; at most {LONGEST_NAME}"
    if vote.model is not None or declared.model:
        yield (
            f"is no person's rating: {vote.model or 'human/raters.json says this rater is a model'}"
        )
    if vote.developer or declared.developer:
        yield f"rater {rater!r} is flagged as a developer of the model, who may not judge it"


def score_of(value: Any, choices: tuple[float, ...]) -> float | str:
    """The score as one of the choices, or what is wrong with it."""
    scale = f"{choices[0]:g} to {choices[-1]:g} in steps of {choices[1] - choices[0]:g}"
    number = math.nan
    # A tick is True in some tools' files, and float(True) would be a score of 1.
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number of 400 digits
            number = float(value)
    elif isinstance(value, str):
        try:
            number = float(value.strip())
        except ValueError:
            number = math.nan
    if math.isnan(number):
        return f"score {value!r} is not one number; expected {scale}"
    if number not in choices:
        return f"score {value!r} is not on the scale; expected {scale}"
    return number


def time_of(value: Any) -> datetime | None:
    """An ISO 8601 time (UTC where it names no zone) or Unix seconds or milliseconds; None where it
    is neither.
    """
    if value is None or isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | float):
            seconds = value / 1000 if abs(value) > MILLISECONDS else value
            return datetime.fromtimestamp(seconds, UTC)
        time = datetime.fromisoformat(str(value).strip())
        if time.tzinfo is None:
            return time.replace(tzinfo=UTC)
        return time.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def same_text(response: str, text: str) -> bool:
    """Whether they are one text; line ends may differ, which spreadsheets and browsers rewrite."""
    if response == text:
        return True
    return NEWLINES.sub("\n", response).strip() == NEWLINES.sub("\n", text).strip()


def same_set(vote: Vote, *, dimension: str, instructions_sha256: str) -> Iterator[str]:
    """What of a vote is not of the set that its item belongs to."""
    if vote.dimension is not None and vote.dimension != dimension:
        yield f"rates the dimension {vote.dimension!r}; {dimension!r} was asked for"
    if vote.instructions_sha256 is not None and vote.instructions_sha256 != instructions_sha256:
        yield "its instructions_sha256 is not that of the instructions of these tasks"


def _times(vote: Vote, text_time: datetime | None, *, timed: bool, now: datetime) -> Iterator[str]:
    if vote.submitted_at in (None, ""):
        if timed:
            yield "has no time of submission (submitted_at)"
        return
    submitted = time_of(vote.submitted_at)
    if submitted is None:
        yield (
            f"submitted_at {vote.submitted_at!r} is not a time; expected ISO 8601, like "
            "2026-11-25T14:03:00Z"
        )
        return
    # Who rated before a text was recorded did not rate it, or saw it where nothing was blinded.
    if text_time is not None and submitted < text_time:
        yield f"was submitted at {iso(submitted)}, before the text was recorded at {iso(text_time)}"
    if (submitted - now).total_seconds() > AHEAD:
        yield f"was submitted at {iso(submitted)}, which is in the future"
    started: datetime | None = submitted
    if vote.started_at not in (None, ""):
        started = time_of(vote.started_at)
    if started is None:
        yield f"started_at {vote.started_at!r} is not a time; expected ISO 8601"
    elif started > submitted:
        yield f"was started at {iso(started)}, after it was submitted at {iso(submitted)}"


def _blinded(vote: Vote) -> Iterator[str]:
    # What a row carries, its rater could see in the tool, or whoever assigned it to raters could.
    unblinding: list[str] = []
    blinded: Any = None
    for name, value in vote.hints.items():
        field_name = name.strip().lower()
        if field_name in UNBLINDING and value not in (None, "", [], {}):
            unblinding.append(name)
        if field_name == "blinded" and blinded is None:
            blinded = value
    if unblinding:
        yield f"is not blinded: it carries {', '.join(sorted(unblinding))}"
    if blinded not in (None, "") and not flagged(blinded):
        yield f"is not blinded: blinded is {blinded!r}"


def iso(time: datetime | None) -> str | None:
    """A time as files hold it: ISO 8601, UTC, to the second."""
    if time is None:
        return None
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


# --- what a rating is held against

K = TypeVar("K", bound=RatedItem)


@dataclass(frozen=True)
class Book(Generic[K]):
    """The items of a run by id and by response, its declared raters, and the key of pseudonyms."""

    run_id: str
    items: Mapping[str, K]
    by_response: Mapping[str, list[str]]
    declared: Mapping[str, RaterFacts]
    secret: bytes
    renamed: dict[str, str] = field(default_factory=dict)

    def item(self, vote: Vote) -> K | None:
        """The item by its id; by its response where the file lost the id and only one item has that
        text.
        """
        if vote.item_id is not None:
            return self.items.get(vote.item_id)
        digest = vote.response_sha256
        if not digest and vote.response is not None:
            digest = sha256(vote.response)
        # A repeat or an anchor has the text of another item: which one was rated is not known then.
        with_this_text = self.by_response.get(digest or "", [])
        if len(with_this_text) != 1:
            return None
        return self.items[with_this_text[0]]

    def rater(self, name: str | None) -> str | None:
        """The rater's name; an e-mail address becomes a keyed hash, since the run folder is shown
        to others.
        """
        if name is None or "@" not in name:
            return name
        self.renamed[name] = f"rater-{draw.name(self.secret, 'rater', name)[:10]}"
        return self.renamed[name]

    def facts_of(self, name: str | None) -> RaterFacts:
        """What human/raters.json says of a rater, under the name in the file or under the
        pseudonym.
        """
        by_pseudonym = self.declared.get(str(self.rater(name)), RaterFacts())
        return self.declared.get(str(name), by_pseudonym)


def open_book(record: Run, folder: Path) -> Book[KnownText]:
    """All of it, read and checked.

    Raises BadInput where a key does not fit the record, or nothing was drawn.
    """
    items = _items(record, folder)
    by_response: dict[str, list[str]] = {}
    for item_id, known in items.items():
        by_response.setdefault(known.item.response_sha256, []).append(item_id)
    return Book(record.run_id, items, by_response, declared_in(folder), run_secret(record))


def _items(record: Run, folder: Path) -> dict[str, KnownText]:
    items: dict[str, KnownText] = {}
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
            # human/ lies outside the ledger: a key may have been changed, or be of another run.
            if text is None or sha256(text) != item.response_sha256:
                raise BadInput(
                    f"{tasks.key}: item {item.item_id} is not what {table} of the run holds; draw "
                    "again"
                )
            items[item.item_id] = KnownText(
                item=item,
                tasks=tasks.name,
                dimension=tasks.dimension,
                choices=choices(tasks.scale, halves=tasks.halves),
                instructions_sha256=tasks.instructions_sha256,
                order_seed=key["order_seed"],
                text=text,
                text_time=text_time,
            )
    if not items:
        raise BadInput(
            f"{record.path}: no rating tasks were drawn; first: restaudit rate export {record.path}"
        )
    return items


def declared_in(folder: Path) -> dict[str, RaterFacts]:
    """What the optional human/raters.json says: {"NAME": {"developer": true, "model": true}}."""
    path = folder / RATERS
    if not plain.is_file(folder, RATERS):
        return {}
    try:
        raters = {}
        for name, facts in parse_json(read_text(path)).items():
            flags = {str(flag): bool(value) for flag, value in facts.items()}
            raters[str(name)] = RaterFacts(**flags)
        return raters
    except (ValueError, TypeError, AttributeError) as e:
        raise BadInput(
            f'{path}: expected {{"NAME": {{"developer": true, "model": true}}}} ({e})'
        ) from None
