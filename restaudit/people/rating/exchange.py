"""Tasks out and ratings in, as files of rating tools.

A file is taken whole or, where one row is not what it should be, not at all: half a file would have
to be told from a whole one by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.files.given import whole_text
from restaudit.people.rating.checks import Book, K, RatingRow, iso, open_book, problems
from restaudit.people.rating.formats import detect, named
from restaudit.people.rating.formats.vote import FileVotes, Vote
from restaudit.people.rating.sheet import read_sheet
from restaudit.people.rating.status import RaterProgress, per_rater
from restaudit.people.rating.store import (
    FOLDER,
    RATINGS_FILE,
    add_rows,
    append_row,
    locked,
    made_human_folder,
    read_rows,
    write_text,
)
from restaudit.people.rating.tasks import load_tasks, sha256

# A cell can have a million characters.
SHOWN_PROBLEMS, SHOWN_OF_ONE = 20, 400


class RatingsRefused(BadInput):
    """A file of ratings was refused, all of it.

    `problems` has one line for each reason, with its row.
    """

    def __init__(self, file: Path, problems: Sequence[str], ratings: int) -> None:
        self.problems = tuple(problems)
        shown = "\n".join(f"  {p[:SHOWN_OF_ONE]}" for p in self.problems[:SHOWN_PROBLEMS])
        more = len(self.problems) - SHOWN_PROBLEMS
        rest = f"\n  and {more} more" if more > 0 else ""
        super().__init__(
            f"{file}: refused, nothing of its {ratings} ratings was taken:\n{shown}{rest}"
        )


@dataclass(frozen=True)
class ImportReport:
    """What an import took. `accepted` counts ratings, `checks` those among them that repeat a text.

    `known` counts ratings that were in already, `untimed` accepted ones without a time, `skipped`
    what was no vote. `per_rater` is what each rater of this file has given so far to the sets of
    tasks that the file rates.
    """

    format: str
    accepted: int
    checks: int
    known: int
    untimed: int
    skipped: Mapping[str, int]
    tasks: tuple[str, ...]
    per_rater: tuple[RaterProgress, ...]
    notes: tuple[str, ...]


def import_ratings(
    run: Path,
    file: Path,
    *,
    format: str | None = None,
    rater: str | None = None,
    skip_known: bool = False,
) -> ImportReport:
    """Add the ratings of a file to run/human/ratings.jsonl: all of them, or none.

    `format` is found from the file where that is unambiguous; `rater` names the rater of rows that
    name none. With `skip_known`, a rating that is in already, just the same, is passed over, since
    most tools export everything each time. Raises RatingsRefused with row numbers (checks.py has
    the rules), BadInput where the file cannot be read.
    """
    from restaudit.evidence.record import Run

    file = Path(file)
    text = whole_text(file)
    try:
        layout = named(format) if format is not None else detect(text)
        file_votes = layout.read(text)
    except BadInput as e:
        raise BadInput(f"{file}: {e}") from None
    if not file_votes.votes:
        skipped = [f"{count} x {what}" for what, count in sorted(file_votes.skipped.items())]
        what = ", ".join(skipped) or "nothing"
        raise BadInput(
            f"{file}: read as {layout.name}, it holds no rating by a person; it holds: {what}"
        )
    record = Run(run)
    return take_votes(
        record.path,
        open_book(record, made_human_folder(record.path)),
        file_votes,
        layout.name,
        text,
        file=file,
        timed=layout.timed,
        rater=rater,
        skip_known=skip_known,
    )


def take_votes(
    run: Path,
    book: Book[K],
    file_votes: FileVotes,
    layout: str,
    text: str,
    *,
    file: Path,
    timed: bool,
    rater: str | None,
    skip_known: bool,
    into: str = RATINGS_FILE,
) -> ImportReport:
    """Add the votes of a file to RUN/human/`into`: all of them, or none. Raises RatingsRefused."""
    folder = made_human_folder(run)
    # What is checked against the stored ratings must not be added beside another import's.
    with locked(folder):
        old = read_rows(folder, into)
        new, known, wrong = _checked(
            file_votes.votes, book, old, rater=rater, timed=timed, skip_known=skip_known
        )
        if wrong:
            raise RatingsRefused(file, wrong, len(file_votes.votes))
        beside = {
            "source": layout,
            "file_sha256": sha256(text),
            "imported_at": iso(datetime.now(UTC)),
        }
        new = [row | beside for row in new]
        if new:
            add_rows(folder, old, new, into)
    return _report(book, layout, file_votes, [*old, *new], new, known)


def take_vote(
    run: Path, book: Book[K], vote: Vote, *, source: str, patience: float, file: str = RATINGS_FILE
) -> RatingRow:
    """Add one vote by the rules of `import_ratings`, and return it as it is stored.

    Raises RatingsRefused with the reasons; BadInput where the ratings stay locked for `patience`
    seconds.
    """
    folder = made_human_folder(run)
    with locked(folder, patience=patience):
        old = read_rows(folder, file)
        rows, _, wrong = _checked([vote], book, old, rater=None, timed=True, skip_known=False)
        if wrong:
            raise RatingsRefused(folder, wrong, 1)
        row = rows[0] | {
            "source": source,
            "file_sha256": None,
            "imported_at": iso(datetime.now(UTC)),
        }
        append_row(folder, row, file)
    return row


def _checked(
    votes: Sequence[Vote],
    book: Book[K],
    old: Sequence[RatingRow],
    *,
    rater: str | None,
    timed: bool,
    skip_known: bool,
) -> tuple[list[RatingRow], int, list[str]]:
    """The rows to add, how many are in already, and everything that is wrong."""
    now = datetime.now(UTC)
    stored = {(r["item_id"], r["rater_id"]): r for r in old}
    places: dict[tuple[str, str], str] = {}
    rows: list[RatingRow] = []
    wrong: list[str] = []
    known = 0
    for vote in votes:
        item, name = book.item(vote), vote.rater or rater
        who, facts = book.rater(name), book.facts_of(name)
        reasons = [*problems(vote, item, who, facts, run_id=book.run_id, timed=timed, now=now)]
        if item is not None and who is not None:
            row = None
            if not reasons:
                row = item.row(vote, who, book.run_id)
            pair = (item.item_id, who)
            earlier = stored.get(pair)
            if pair in places:
                reasons.append(f"rater {who!r} rated item {pair[0]} in {places[pair]} already")
            elif earlier is not None:
                same = row is not None and _same(earlier, row)
                known += same
                # Most tools export everything each time, so that the same ratings come again.
                if not (same and skip_known):
                    reasons.append(_already(pair, earlier, same=same))
            elif row is not None:
                rows.append(row)
            places.setdefault(pair, vote.where)
        wrong += [f"{vote.where}: {reason}" for reason in reasons]
    return rows, known, wrong


def _report(
    book: Book[K],
    name: str,
    file_votes: FileVotes,
    rows: Sequence[RatingRow],
    new: Sequence[RatingRow],
    known: int,
) -> ImportReport:
    tasks = tuple(sorted({r["tasks"] for r in new}))
    raters = {r["rater_id"] for r in new}
    repeats = {i: k.repeats for i, k in book.items.items() if k.repeats is not None}
    theirs = [r for r in rows if r.get("tasks") in tasks and r["rater_id"] in raters]
    notes = []
    if book.renamed:
        notes.append(f"{len(book.renamed)} e-mail address(es) stored as pseudonyms")
    # Read as UTC, such a time may be hours off, so the import says how many there are.
    naive = sum(_has_no_zone(v.submitted_at) for v in file_votes.votes)
    if naive:
        notes.append(f"{naive} time(s) name no zone and were read as UTC")
    return ImportReport(
        format=name,
        accepted=len(new),
        checks=sum(r["role"] == "check" for r in new),
        known=known,
        untimed=sum(r["submitted_at"] is None for r in new),
        skipped=dict(sorted(file_votes.skipped.items())),
        tasks=tasks,
        per_rater=per_rater(theirs, repeats),
        notes=tuple(notes),
    )


def _already(pair: tuple[str, str], earlier: RatingRow, *, same: bool) -> str:
    item_id, rater = pair
    field = "choice" if "choice" in earlier else "score"
    hint = f" with {field} {earlier.get(field)}"
    if same:
        hint = ", just the same; to pass over such: --skip-known"
    return f"rater {rater!r} rated item {item_id} in an earlier import{hint}"


def _same(a: RatingRow, b: RatingRow) -> bool:
    compared = ("score", "submitted_at", "dimension", "response_sha256")
    return all(a.get(field) == b.get(field) for field in compared)


def _has_no_zone(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value.strip()).tzinfo is None
    except ValueError:
        return False


# --- tasks out

# Files of human/ that are the desk's own: an export must not take the place of one.
OWN = ("key-", "tasks-", "ratings", "raters", "desk", "pairs-", "choices")


def export_tasks(run: Path, name: str, *, format: str, out: Path) -> list[Path]:
    """Write a drawn set of tasks to `out` and return the files written: tasks, instructions, the
    tool's set-up.

    Raises BadInput for a link, a folder that is not there, or a place inside the run folder outside
    human/.
    """
    layout = named(format)
    sheet = read_sheet(load_tasks(run, name).path)
    out = place_for(run, out, f"{name}{layout.suffix}")
    files = {
        out: layout.write(sheet),
        out.with_name(f"{out.name}.instructions.txt"): sheet.instructions + "\n",
    }
    if layout.setup is not None:
        ending, text = layout.setup(sheet, out.name)
        files[out.with_name(f"{out.name}.setup{ending}")] = text
    for path, text in files.items():
        write_text(path, text)
    return list(files)


def place_for(run: Path, out: Path, example: str) -> Path:
    """Where a file for raters may be written: `out`, if that is outside the record and not a folder
    or a link.
    """
    out = Path(out)
    if not out.parent.is_dir():
        raise BadInput(f"{out}: the folder {out.parent} is not there; make it first")
    if out.is_symlink():
        raise BadInput(f"{out}: is a symbolic link; give the file itself")
    if out.is_dir():
        raise BadInput(f"{out}: is a folder; name a file, for example {out / example}")
    # Raters get this file, and must not be sent into the run folder, which tells everything.
    place, record = out.resolve(), Path(run).resolve()
    own = place.name.startswith(OWN)
    if place.is_relative_to(record) and (own or place.parent != record / FOLDER):
        raise BadInput(f"{out}: lies in the run folder, which holds the record; write it elsewhere")
    return out
