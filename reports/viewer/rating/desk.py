"""What a rater sees next and what was done so far: pure functions of the files in RUN/human."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.evidence.record import Run, writer_alive
from restaudit.people.rating import Progress, TaskSet, draw, in_app, load_tasks, progress, task_sets
from restaudit.people.rating.checks import Book, open_book
from restaudit.people.rating.formats.vote import Vote
from restaudit.people.rating.pairs import PairSet, open_pairs, pair_sets
from restaudit.people.rating.pairs.sheet import PairSheet, PairVote
from restaudit.people.rating.pairs.sheet import read_sheet as read_pairs
from restaudit.people.rating.pairs.wins import pair_progress
from restaudit.people.rating.sheet import Sheet, read_sheet
from restaudit.people.rating.store import CHOICES_FILE, RATINGS_FILE, human_folder, read_rows, whole
from restaudit.people.rating.tasks import run_secret, sha256
from restaudit.people.waiting import is_sealed

# After so many texts a break is proposed; nobody has to take one.
BREAK_EVERY = 25
# Seconds: a second key press that was meant for the text before comes sooner than anybody can read
# one.
QUICK = 0.4
# How many times as long a key must have been let go, so that one that repeats counts once.
HELD = 1.5
HANDED_IN = "you handed this set in and may have seen its results"
LONGEST_NAME = 40
RATER_NAME = re.compile(r"[^\W_][\w .-]*")

AnySet = TaskSet | PairSet
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class OpenSet:
    """A set of tasks whose sheet was checked against the run: what raters see, and what their
    ratings are held to.

    `file` is where the answers are stored.
    """

    tasks: AnySet
    sheet: Sheet | PairSheet
    book: Book[Any]
    shown: Mapping[str, Any]
    file: str


@dataclass(frozen=True)
class Standing:
    """Where one rater stands in one set.

    `due` are items still to rate, in their order; `aside` those that were skipped. `last` is what
    undo takes back: ("rated" or "skipped", item). `given` counts ratings by rater, repeats too.
    """

    done: int
    due: tuple[str, ...]
    aside: tuple[str, ...]
    last: tuple[str, str] | None
    read: bool
    handed_in: bool
    given: Mapping[str, int]


# --- sets of either kind: single texts that are scored, and pairs of which one is chosen


def all_sets(run: Run) -> dict[str, AnySet]:
    """Every set of the run by name; a name is of one kind only."""
    sets: list[AnySet] = [*task_sets(run.path), *pair_sets(run.path)]
    return {tasks.name: tasks for tasks in sets}


def file_of(tasks: AnySet) -> str:
    """The file of human/ that answers to this set are stored in."""
    return CHOICES_FILE if isinstance(tasks, PairSet) else RATINGS_FILE


def progress_of(run: Run, tasks: AnySet) -> Progress:
    """How far it is rated."""
    if isinstance(tasks, PairSet):
        return pair_progress(run.path, tasks.name)
    return progress(run.path, tasks.name)


def called(tasks: AnySet) -> str:
    """What it holds, in words."""
    kind = "pairs of texts" if isinstance(tasks, PairSet) else "texts"
    return f"{tasks.items} {kind}"


def open_set(run: Run, name: str) -> OpenSet:
    """Read a set and check every text of its sheet.

    Raises BadInput where tasks, key and run do not fit each other.
    """
    tasks = all_sets(run).get(name) or load_tasks(run.path, name)
    folder, file = human_folder(run.path), file_of(tasks)
    if isinstance(tasks, PairSet):
        pairs = read_pairs(tasks.path)
        shown = {row.item_id: row for row in pairs.rows}
        return OpenSet(tasks, pairs, open_pairs(run, folder), shown, file)
    book = open_book(run, folder)
    sheet = read_sheet(tasks.path)
    if not _fits(sheet, book, tasks, run):
        raise BadInput(
            f"{tasks.path}: does not show what was drawn for this set; it was changed or is of "
            "another run"
        )
    return OpenSet(tasks, sheet, book, {row.item_id: row for row in sheet.rows}, file)


def _fits(sheet: Sheet, book: Book[Any], tasks: TaskSet, run: Run) -> bool:
    """Whether a sheet shows the drawn texts, in the drawn order, with the drawn instructions.

    The sheet lies where anybody may edit it; the key says what was drawn, and the record what the
    texts are.
    """
    drawn = [known.item for known in book.items.values() if known.tasks == tasks.name]
    drawn.sort(key=lambda item: item.order)
    if [row.item_id for row in sheet.rows] != [item.item_id for item in drawn]:
        return False
    for row in sheet.rows:
        text = book.items[row.item_id].text
        if row.response != text or row.response_sha256 != sha256(row.response):
            return False
    digests = {sha256(sheet.instructions), sheet.instructions_sha256, tasks.instructions_sha256}
    return sheet.run_id == run.run_id and len(digests) == 1


def first_choice(
    sets: Sequence[AnySet], waits: str | None, notes: Sequence[Entry], rater: str | None
) -> str:
    """The set a rater most likely came for: the one the run waits for, else the last begun, else
    the newest.
    """
    names = {tasks.name for tasks in sets}
    if waits in names:
        return str(waits)
    for note in reversed(notes):
        begun = note["rater_id"] == rater and note["what"] == "read"
        if begun and note.get("tasks") in names:
            return str(note["tasks"])
    return max(sets, key=lambda tasks: (tasks.key.stat().st_mtime_ns, tasks.name)).name


# --- what has changed since a page was drawn


def stamp(run: Path) -> str:
    """Changes when a set of tasks or what is said of raters changes, and not when somebody
    rates.
    """
    ours = ("key-", "tasks-", "pairs-", "raters")
    return _stamp(p for p in human_folder(run).glob("*.json*") if p.name.startswith(ours))


def ratings_stamp(run: Path) -> str:
    """Changes when a rating is added or taken back."""
    files = [human_folder(run) / name for name in (RATINGS_FILE, CHOICES_FILE)]
    return _stamp(path for path in files if path.exists())


def _stamp(paths: Iterable[Path]) -> str:
    facts = sorted((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in paths)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


# --- the name a rater goes by


def secret_of(run: Run) -> bytes:
    """The key of this run's pseudonyms."""
    return run_secret(run)


def pseudonym(identity: str, secret: bytes) -> str:
    """The name of somebody who logged in: a keyed hash, as an import gives one to an e-mail
    address.
    """
    return f"rater-{draw.name(secret, 'rater', identity)[:10]}"


def checked_name(typed: str, known: Iterable[str]) -> tuple[str | None, str | None]:
    """The rater's name and what is wrong with it.

    A name that is there in other letters is that one: Ana is ana.
    """
    name = " ".join(typed.split())
    if not name:
        return None, None
    if "@" in name:
        return (
            None,
            "Choose a pseudonym, not an e-mail address: the name is stored with every rating.",
        )
    if len(name) > LONGEST_NAME:
        return None, f"This name has {len(name)} characters; use at most {LONGEST_NAME}."
    if not RATER_NAME.fullmatch(name):
        return (
            None,
            "Use letters, digits, spaces and . _ - in the name, and begin with a letter or digit.",
        )
    return next((k for k in known if k.casefold() == name.casefold()), name), None


def token(*shown: Any) -> str:
    """A short digest of what a browser shows: the set, the rater, the text. A button that bears it
    is another one when any of these is another.
    """
    return hashlib.sha256(json.dumps(shown, default=str).encode()).hexdigest()[:16]


# --- how far one is


def rows_of(run: Path, file: str = RATINGS_FILE) -> list[dict[str, Any]]:
    """Every rating of the run as it is stored; with CHOICES_FILE every choice between two texts."""
    return read_rows(human_folder(run), file)


def known_raters(rows: Sequence[Entry]) -> list[str]:
    """Everybody who rated anything of this run."""
    return sorted({row["rater_id"] for row in rows})


def standing(
    opened: OpenSet, rows: Sequence[Entry], notes: Sequence[Entry], rater: str
) -> Standing:
    """Where this rater stands. An item that has its ratings from others already is not due."""
    rows = [row for row in rows if row.get("tasks") == opened.tasks.name]
    mine = [row for row in rows if row["rater_id"] == rater]
    rated = {row["item_id"] for row in mine}
    by_others = Counter(row["item_id"] for row in rows if row["rater_id"] != rater)
    notes = [note for note in notes if note.get("tasks") == opened.tasks.name]
    own_notes = [note for note in notes if note["rater_id"] == rater]
    skipped = _skipped(own_notes)
    unrated = []
    for item in opened.shown:
        if item not in rated and by_others[item] < opened.tasks.raters:
            unrated.append(item)
    # In the order in which they were skipped, so that undo takes the last one back.
    aside = [item for item in skipped if item in unrated]
    # Instructions that were changed since are new instructions: whoever read the old ones reads
    # these first.
    read = [note.get("sha256") for note in own_notes if note["what"] == "read"]
    return Standing(
        done=len(mine),
        due=tuple(item for item in unrated if item not in skipped),
        aside=tuple(aside),
        last=_last(mine, aside, skipped),
        read=opened.sheet.instructions_sha256 in read,
        handed_in=any(note["what"] == "handed_in" for note in own_notes),
        given=dict(sorted(Counter(row["rater_id"] for row in rows).items())),
    )


def _skipped(notes: Sequence[Entry]) -> dict[str, int]:
    """Items that are skipped now, the last one at the end: item -> ratings given before it."""
    skipped: dict[str, int] = {}
    for note in notes:
        item = str(note.get("item_id"))
        if note["what"] in ("skipped", "unskipped"):
            skipped.pop(item, None)
        if note["what"] == "skipped":
            skipped[item] = int(note.get("after", 0))
    return skipped


def _last(
    mine: Sequence[Entry], aside: Sequence[str], skipped: Mapping[str, int]
) -> tuple[str, str] | None:
    """What undo takes back. A rating that was imported was not given here, and stays."""
    if aside and skipped[aside[-1]] >= len(mine):
        return "skipped", aside[-1]
    if mine and mine[-1].get("source") == in_app.SOURCE:
        return "rated", str(mine[-1]["item_id"])
    return None


def still_rating(name: str, rows: Sequence[Entry], notes: Sequence[Entry]) -> list[str]:
    """Who began a set here and has not handed it in: its scores would unblind them."""
    notes = [note for note in notes if note.get("tasks") == name]
    began = {note["rater_id"] for note in notes if note["what"] == "read"}
    done = {note["rater_id"] for note in notes if note["what"] == "handed_in"}
    for row in rows:
        if row.get("tasks") == name and row.get("source") == in_app.SOURCE:
            began.add(row["rater_id"])
    return sorted(began - done)


# --- what a rater does


def answer(
    run: Path, opened: OpenSet, *, item_id: str, rater: str, score: float | str, started: datetime
) -> None:
    """Write a rating (a number) or a choice (A, B or T).

    Raises RatingsRefused or BadInput where it was not taken.
    """
    row, sheet = opened.shown[item_id], opened.sheet
    now = datetime.now(UTC)
    common: dict[str, Any] = {
        "where": "this answer",
        "item_id": item_id,
        "rater": rater,
        "submitted_at": now.isoformat(),
        "started_at": min(started, now).isoformat(),
        "run_id": sheet.run_id,
        "dimension": sheet.dimension,
        "instructions_sha256": sheet.instructions_sha256,
        "hints": {"blinded": True},
    }
    vote: Vote
    if isinstance(sheet, PairSheet):
        vote = PairVote(score=score, a_sha256=row.a_sha256, b_sha256=row.b_sha256, **common)
    else:
        low, high = sheet.choices[0], sheet.choices[-1]
        vote = Vote(
            score=whole(float(score)),
            response_sha256=row.response_sha256,
            scale_min=whole(low),
            scale_max=whole(high),
            **common,
        )
    in_app.give(run, opened.book, vote, opened.file)


def undo(run: Run, opened: OpenSet, at: Standing, rater: str, last: tuple[str, str] | None) -> str:
    """Take back the last thing this rater did in this set, which the browser showed as `last`, and
    return its item.

    Raises BadInput if it is too late, or another thing is the last one by now.
    """
    if at.last is None:
        raise BadInput("there is nothing to take back")
    if at.last != last:
        raise BadInput("you did something else since, in another window; look at what is last now")
    if (why := closed(run, opened.tasks.name, at)) is not None:
        raise BadInput(why)
    what, item = at.last
    if what == "skipped":
        in_app.note(run.path, "unskipped", rater, tasks=opened.tasks.name, item_id=item)
    else:
        in_app.take_back(run.path, item_id=item, rater=rater, file=opened.file)
    return item


def closed(run: Run, name: str, at: Standing) -> str | None:
    """Why nothing of this set can be taken back any more; None while it can."""
    if at.handed_in:
        return HANDED_IN
    if is_sealed(run, name):
        return "a decision of this run used the ratings of this set; they are in its record"
    if writer_alive(run.path):
        return (
            "a process is writing this run now and may be reading the ratings; wait until it stops"
        )
    return None


def keys(sheet: Sheet) -> list[str | None]:
    """The key that gives each score: its own digit, 0 for a ten, else its place; none on a scale of
    more than 9.
    """
    labels = list(sheet.labels)
    digits = all(len(label) == 1 for label in labels)
    # From 1 to 10 the ten has the key 0, which no other score needs.
    to_ten = labels[-1] == "10" and "0" not in labels and all(len(k) == 1 for k in labels[:-1])
    if digits or to_ten:
        return [label[-1] for label in labels]
    if len(labels) > 9:
        return [None] * len(labels)
    return [str(place) for place in range(1, len(labels) + 1)]
