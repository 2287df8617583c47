"""What a rater sees next and what was done so far: pure functions of the files in RUN/human."""

from __future__ import annotations

import hashlib
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
from restaudit.people.waiting import tasks_name

BREAK_EVERY = 25
# A second key press that was meant for the text before comes sooner than anybody can read one.
QUICK = 0.4

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


def stamp(run: Path) -> str:
    """Changes when a set of tasks or what is said of raters changes, and not when somebody
    rates.
    """
    return _stamp(
        p
        for p in human_folder(run).glob("*.json*")
        if p.name.startswith(("key-", "tasks-", "pairs-", "raters"))
    )


def ratings_stamp(run: Path) -> str:
    """Changes when a rating is added or taken back."""
    return _stamp(
        human_folder(run) / name
        for name in (RATINGS_FILE, CHOICES_FILE)
        if (human_folder(run) / name).exists()
    )


def open_set(run: Run, name: str) -> OpenSet:
    """Read a set and check every text of its sheet.

    Raises BadInput where tasks, key and run do not fit each other.
    """
    tasks = all_sets(run).get(name) or load_tasks(run.path, name)
    if isinstance(tasks, PairSet):
        pairs = open_pairs(run, human_folder(run.path))
        asked = read_pairs(tasks.path)
        return OpenSet(tasks, asked, pairs, {r.item_id: r for r in asked.rows}, file_of(tasks))
    book = open_book(run, human_folder(run.path))
    sheet = read_sheet(tasks.path)
    in_order = sorted(
        (k.item for k in book.items.values() if k.tasks == name), key=lambda i: i.order
    )
    texts = {i.item_id: book.items[i.item_id].text for i in in_order}
    fits = (
        [r.item_id for r in sheet.rows] == list(texts)
        and all(
            r.response == texts[r.item_id] and r.response_sha256 == sha256(r.response)
            for r in sheet.rows
        )
        and sheet.run_id == run.run_id
        and sha256(sheet.instructions) == sheet.instructions_sha256 == tasks.instructions_sha256
    )
    if not fits:
        raise BadInput(
            f"{tasks.path}: does not show what was drawn for this set; it was changed or is of "
            "another run"
        )
    return OpenSet(tasks, sheet, book, {r.item_id: r for r in sheet.rows}, file_of(tasks))


def secret_of(run: Run) -> bytes:
    """The key of this run's pseudonyms."""
    return run_secret(run)


def known_raters(rows: Sequence[Entry]) -> list[str]:
    """Everybody who rated anything of this run."""
    return sorted({r["rater_id"] for r in rows})


def rows_of(run: Path, file: str = RATINGS_FILE) -> list[dict[str, Any]]:
    """Every rating of the run as it is stored; every choice between two texts with CHOICES_FILE for the
    file.
    """
    return read_rows(human_folder(run), file)


def first_choice(
    sets: Sequence[AnySet], waits: str | None, notes: Sequence[Entry], rater: str | None
) -> str:
    """The set a rater most likely came for: the one the run waits for, else the last begun, else
    the newest.
    """
    names = {t.name for t in sets}
    begun = [
        n["tasks"]
        for n in notes
        if n["rater_id"] == rater and n["what"] == "read" and n.get("tasks") in names
    ]
    if waits in names:
        return str(waits)
    return (
        str(begun[-1])
        if begun
        else max(sets, key=lambda t: (t.key.stat().st_mtime_ns, t.name)).name
    )


def standing(
    opened: OpenSet, rows: Sequence[Entry], notes: Sequence[Entry], rater: str
) -> Standing:
    """Where this rater stands. An item that has its ratings from others already is not due."""
    name = opened.tasks.name
    mine = [r for r in rows if r.get("tasks") == name and r["rater_id"] == rater]
    rated = {r["item_id"] for r in mine}
    others = Counter(
        r["item_id"] for r in rows if r.get("tasks") == name and r["rater_id"] != rater
    )
    own = [n for n in notes if n.get("tasks") == name and n["rater_id"] == rater]
    skipped: dict[str, int] = {}
    for n in own:
        item = str(n.get("item_id"))
        if n["what"] == "skipped":
            skipped.pop(item, None)
            skipped[item] = int(n.get("after", 0))
        elif n["what"] == "unskipped":
            skipped.pop(item, None)
    open_items = [i for i in opened.shown if i not in rated and others[i] < opened.tasks.raters]
    aside = [i for i in skipped if i in open_items]
    return Standing(
        done=len(mine),
        due=tuple(i for i in open_items if i not in skipped),
        aside=tuple(aside),
        last=_last(mine, aside, skipped),
        read=any(
            n["what"] == "read" and n.get("sha256") == opened.sheet.instructions_sha256 for n in own
        ),
        handed_in=any(n["what"] == "handed_in" for n in own),
        given=dict(sorted(Counter(r["rater_id"] for r in rows if r.get("tasks") == name).items())),
    )


def answer(
    run: Path, opened: OpenSet, *, item_id: str, rater: str, score: float | str, started: datetime
) -> None:
    """Write a rating (a number) or a choice (A, B or T).

    Raises RatingsRefused or BadInput where it was not taken.
    """
    row, sheet = opened.shown[item_id], opened.sheet
    now = datetime.now(UTC)
    said: dict[str, Any] = {
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
        vote = PairVote(score=score, a_sha256=row.a_sha256, b_sha256=row.b_sha256, **said)
    else:
        low, high = sheet.choices[0], sheet.choices[-1]
        vote = Vote(
            score=whole(float(score)),
            response_sha256=row.response_sha256,
            scale_min=whole(low),
            scale_max=whole(high),
            **said,
        )
    in_app.give(run, opened.book, vote, opened.file)


def undo(run: Run, opened: OpenSet, at: Standing, rater: str) -> str:
    """Take back the last thing this rater did in this set, and return its item.

    Raises BadInput if it is too late.
    """
    if at.last is None:
        raise BadInput("there is nothing to take back")
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
        return "you handed this set in and may have seen its results"
    if sealed(run, name):
        return "a decision of this run used the ratings of this set; they are in its record"
    if writer_alive(run.path):
        return (
            "a process is writing this run now and may be reading the ratings; wait until it stops"
        )
    return None


def sealed(run: Run, name: str) -> bool:
    """Whether a look decided with this set's ratings, which are then part of the record."""
    looks = run.plan.get("looks") or []
    return any(
        tasks_name(i) == name and f"{i}/wait" in run.done and f"{i}/audit" in run.done
        for i in looks
    )


def still_rating(name: str, rows: Sequence[Entry], notes: Sequence[Entry]) -> list[str]:
    """Who began a set here and has not handed it in: its scores would unblind them."""
    here = {n["rater_id"] for n in notes if n.get("tasks") == name and n["what"] == "read"}
    here |= {
        r["rater_id"] for r in rows if r.get("tasks") == name and r.get("source") == in_app.SOURCE
    }
    done = {n["rater_id"] for n in notes if n.get("tasks") == name and n["what"] == "handed_in"}
    return sorted(here - done)


def keys(sheet: Sheet) -> list[str | None]:
    """The key that gives each score: its own digit, 0 for a ten, else its place; none on a scale of
    more than 9.
    """
    labels = list(sheet.labels)
    if all(len(k) == 1 for k in labels) or (
        labels[-1] == "10" and all(len(k) == 1 and k != "0" for k in labels[:-1])
    ):
        return [k[-1] for k in labels]
    return [str(k) if len(labels) <= 9 else None for k in range(1, len(labels) + 1)]


def _last(
    mine: Sequence[Entry], aside: Sequence[str], skipped: Mapping[str, int]
) -> tuple[str, str] | None:
    if aside and skipped[aside[-1]] >= len(mine):
        return "skipped", aside[-1]
    return (
        ("rated", str(mine[-1]["item_id"]))
        if mine and mine[-1].get("source") == in_app.SOURCE
        else None
    )


def _stamp(paths: Any) -> str:
    facts = sorted((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in paths)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


# Sets of rating tasks of either kind: single texts that are scored, and pairs of which one is
# chosen.


AnySet = TaskSet | PairSet


def all_sets(run: Run) -> dict[str, AnySet]:
    """Every set of the run by name; a name is of one kind only."""
    found: list[AnySet] = [*task_sets(run.path), *pair_sets(run.path)]
    return {t.name: t for t in found}


def file_of(tasks: AnySet) -> str:
    """The file of human/ that answers to this set are stored in."""
    return CHOICES_FILE if isinstance(tasks, PairSet) else RATINGS_FILE


def progress_of(run: Run, tasks: AnySet) -> Progress:
    """How far it is rated."""
    return (pair_progress if isinstance(tasks, PairSet) else progress)(run.path, tasks.name)


def called(tasks: AnySet) -> str:
    """What it holds, in words."""
    return f"{tasks.items} pairs of texts" if isinstance(tasks, PairSet) else f"{tasks.items} texts"


# The name a rater goes by: a pseudonym that somebody types, or one that follows from their login.


LONGEST_NAME = 40
RATER_NAME = re.compile(r"[^\W_][\w .-]*")


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
