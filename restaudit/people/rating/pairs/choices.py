"""Pairs out as a file, choices back in, and what a choice is held against: every pair of the run's
sets with both texts. By the checks that ratings pass, all of a file or nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.files.given import whole_text
from restaudit.people.rating.checks import (
    Book,
    RatingRow,
    declared_in,
    iso,
    same_set,
    same_text,
    time_of,
)
from restaudit.people.rating.exchange import ImportReport, place_for, take_votes
from restaudit.people.rating.formats.vote import Vote
from restaudit.people.rating.pairs.drawing import (
    FIRST,
    SECOND,
    PairItem,
    items_of,
    load_pairs,
    pair_sets,
    read_key,
)
from restaudit.people.rating.pairs.sheet import (
    CHOICES,
    LAYOUTS,
    PairSheet,
    PairVote,
    ShownPair,
    csv_of,
    read_choices,
    read_sheet,
    sheet_text,
)
from restaudit.people.rating.store import CHOICES_FILE, made_human_folder, write_text
from restaudit.people.rating.tasks import run_secret, sha256, table_of

if TYPE_CHECKING:
    from restaudit.evidence.record import Run


@dataclass(frozen=True)
class KnownPair:
    """A pair that raters choose from, with what a choice must agree with."""

    item: PairItem
    shown: ShownPair
    tasks: str
    dimension: str
    instructions_sha256: str
    order_seed: str
    sides: Mapping[str, Any]
    text_time: datetime | None

    @property
    def item_id(self) -> str:
        """The name of the item."""
        return self.item.item_id

    @property
    def repeats(self) -> str | None:
        """The item that this one repeats, with its sides the other way round."""
        return self.item.repeats

    def wrong(self, vote: Vote) -> Iterator[str]:
        """Every reason why the vote is no choice between these two texts, in the places they were
        shown.
        """
        if isinstance(vote, PairVote):
            yield from self._texts(vote)
        yield from same_set(
            vote, dimension=self.dimension, instructions_sha256=self.instructions_sha256
        )
        if _choice(vote.score) not in CHOICES:
            yield f"choice {vote.score!r}; expected A, B or T (a tie)"

    def _texts(self, vote: PairVote) -> Iterator[str]:
        for name, text, digest, own, own_digest in (
            (
                "response_a",
                vote.response_a,
                vote.a_sha256,
                self.shown.response_a,
                self.shown.a_sha256,
            ),
            (
                "response_b",
                vote.response_b,
                vote.b_sha256,
                self.shown.response_b,
                self.shown.b_sha256,
            ),
        ):
            if digest is not None and digest != own_digest:
                yield (
                    f"its {name}_sha256 is not that of item {self.item_id}: another response "
                    "was shown"
                )
            elif text is not None and not same_text(text, own):
                yield (
                    f"its {name} (sha256 {sha256(text)[:12]}…) is not the run's text of item "
                    f"{self.item_id}"
                )

    def row(self, vote: Vote, rater: str, run_id: str) -> RatingRow:
        """The choice, unblinded.

        `score` is 1 where the second side is preferred, -1 the first, 0 for a tie.
        """
        item, choice = self.item, _choice(vote.score)
        sides = {}
        for side in (FIRST, SECOND):
            text = {"sample_id": item.sample(side), "response_sha256": item.digest(side)}
            sides[side] = self.sides[side] | text
        return {
            "run_id": run_id,
            "tasks": self.tasks,
            "item_id": item.item_id,
            "prompt_id": item.prompt_id,
            **sides,
            "shown_as_a": item.a,
            "rater_id": rater,
            "choice": choice,
            "score": _preference(choice, shown_as_a=item.a),
            "dimension": self.dimension,
            "started_at": iso(time_of(vote.started_at)),
            "submitted_at": iso(time_of(vote.submitted_at)),
            "instructions_sha256": self.instructions_sha256,
            # What a second import is compared with.
            "response_sha256": item.digest(FIRST),
            "blinded": True,
            "order": item.order,
            "order_seed": self.order_seed,
            "inclusion_prob": item.inclusion_prob,
            "role": item.role,
            "repeats": item.repeats,
        }


def open_pairs(record: Run, folder: Path) -> Book[KnownPair]:
    """All pairs of the run, read and checked.

    Raises BadInput where key, tasks and record do not fit one another.
    """
    items: dict[str, KnownPair] = {}
    for one in pair_sets(record.path):
        key, sheet = read_key(folder, one.name), read_sheet(one.path)
        items |= _known(record, key, sheet, load_pairs(record.path, one.name).path)
    if not items:
        raise BadInput(
            f"{record.path}: no pairs were drawn; first: restaudit rate pairs {record.path}"
        )
    # By id alone: a pair is not known by one of its texts.
    return Book(record.run_id, items, {}, declared_in(folder), run_secret(record))


def _known(
    record: Run, key: Mapping[str, Any], sheet: PairSheet, path: Path
) -> dict[str, KnownPair]:
    if key["run_id"] != record.run_id:
        raise BadInput(f"{path}: belongs to run {key['run_id']!r}, this one is {record.run_id!r}")
    items, shown = items_of(key), {r.item_id: r for r in sheet.rows}
    # Texts of another run are in no ledger of this one: what was drawn stands in the key, and the
    # file that raters get must still show it.
    fits = (
        [r.item_id for r in sheet.rows] == [i.item_id for i in items]
        and sheet.run_id == record.run_id
        and sha256(sheet.instructions) == sheet.instructions_sha256 == key["instructions_sha256"]
        and all(_as_drawn(i, shown[i.item_id]) for i in items)
    )
    if not fits:
        raise BadInput(
            f"{path}: does not show what was drawn for this set; it was changed or is of another "
            "run"
        )
    sides = {}
    times = []
    for side in (FIRST, SECOND):
        sides[side] = {"run_id": key[side]["run_id"], "iteration": key[side]["iteration"]}
        recorded_at = _recorded_at(record, key, items, side, path)
        if recorded_at is not None:
            times.append(recorded_at)
    pairs = {}
    for item in items:
        pairs[item.item_id] = KnownPair(
            item,
            shown[item.item_id],
            key["name"],
            key["dimension"],
            key["instructions_sha256"],
            key["order_seed"],
            sides,
            max(times, default=None),
        )
    return pairs


def _as_drawn(item: PairItem, shown: ShownPair) -> bool:
    a, b = (FIRST, SECOND) if item.a == FIRST else (SECOND, FIRST)
    a_fits = sha256(shown.response_a) == shown.a_sha256 == item.digest(a)
    b_fits = sha256(shown.response_b) == shown.b_sha256 == item.digest(b)
    return a_fits and b_fits


def _recorded_at(
    record: Run, key: Mapping[str, Any], items: list[PairItem], side: str, path: Path
) -> datetime | None:
    """When the texts of one side were recorded; those of this run are compared with its table."""
    where = key[side]
    if where["run_id"] != record.run_id:
        return time_of(where["recorded_at"])
    rows, at = table_of(record, where["iteration"], where["table"])
    texts = dict(zip(rows["sample_id"], rows["text"], strict=True))
    for i in items:
        text = texts.get(i.sample(side))
        if text is None or sha256(text) != i.digest(side):
            raise BadInput(
                f"{path}: item {i.item_id} is not what {where['table']} of the run holds; draw "
                "again"
            )
    return time_of(at)


def _choice(value: Any) -> str:
    return value.strip().upper() if isinstance(value, str) else ""


def _preference(choice: str, *, shown_as_a: str) -> int:
    """1 where the second side is preferred, -1 the first, 0 for a tie."""
    if choice == "T":
        return 0
    second = "B" if shown_as_a == FIRST else "A"
    if choice == second:
        return 1
    return -1


# --- pairs out as a file, choices back in


def export_pairs(run: Path, name: str, *, format: str, out: Path) -> list[Path]:
    """Write a drawn set of pairs to `out`, "native" (JSON Lines) or "csv", with the instructions
    beside it.

    Raises BadInput for another layout, a link, a folder that is not there, or a place inside the
    record.
    """
    if format not in LAYOUTS:
        raise BadInput(f"format {format!r}: pairs are written as {' or '.join(LAYOUTS)}")
    sheet = read_sheet(load_pairs(run, name).path)
    ending, text_of = ("jsonl", sheet_text) if format == "native" else ("csv", csv_of)
    out = place_for(run, out, f"{name}.{ending}")
    files = {
        out: text_of(sheet),
        out.with_name(f"{out.name}.instructions.txt"): sheet.instructions + "\n",
    }
    for path, text in files.items():
        write_text(path, text)
    return list(files)


def import_choices(
    run: Path, file: Path, *, rater: str | None = None, skip_known: bool = False
) -> ImportReport:
    """Add the choices of a file to RUN/human/choices.jsonl: all of them, or none.

    As `import_ratings`, for files that `export_pairs` wrote. Raises RatingsRefused with row
    numbers, BadInput where the file cannot be read.
    """
    from restaudit.evidence.record import Run

    file = Path(file)
    text = whole_text(file)
    try:
        layout, file_votes = read_choices(text)
    except BadInput as e:
        raise BadInput(f"{file}: {e}") from None
    if not file_votes.votes:
        raise BadInput(
            f"{file}: no line of it has a choice (A, B or T); {sum(file_votes.skipped.values())} "
            "have none"
        )
    record = Run(run)
    return take_votes(
        record.path,
        open_pairs(record, made_human_folder(record.path)),
        file_votes,
        layout,
        text,
        file=file,
        timed=layout == "native",
        rater=rater,
        skip_known=skip_known,
        into=CHOICES_FILE,
    )
