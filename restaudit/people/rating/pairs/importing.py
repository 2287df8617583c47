"""Pairs out as a file, choices back in: all of a file or nothing of it, by the checks that ratings
pass.
"""

from __future__ import annotations

from pathlib import Path

from restaudit.errors import BadInput
from restaudit.people.rating.exporting import place_for
from restaudit.people.rating.files import desk, read_text, write_text
from restaudit.people.rating.importing import ImportReport, take_reading
from restaudit.people.rating.pairs.asked import (
    LAYOUTS,
    csv_text,
    read_choices,
    read_sheet,
    sheet_text,
)
from restaudit.people.rating.pairs.book import open_pairs
from restaudit.people.rating.pairs.drawing import load_pairs
from restaudit.people.rating.store import CHOICES


def export_pairs(run: Path, name: str, *, format: str, out: Path) -> list[Path]:
    """Write a drawn set of pairs to `out`, "native" (JSON Lines) or "csv", with the instructions
    beside it.

    Raises BadInput for another layout, a link, a folder that is not there, or a place inside the
    record.
    """
    if format not in LAYOUTS:
        raise BadInput(f"format {format!r}: pairs are written as {' or '.join(LAYOUTS)}")
    sheet = read_sheet(load_pairs(run, name).path)
    out = place_for(run, out, f"{name}.{'jsonl' if format == 'native' else 'csv'}")
    files = {
        out: sheet_text(sheet) if format == "native" else csv_text(sheet),
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
    text = read_text(file)
    try:
        layout, reading = read_choices(text)
    except BadInput as e:
        raise BadInput(f"{file}: {e}") from None
    if not reading.votes:
        raise BadInput(
            f"{file}: no line of it has a choice (A, B or T); {sum(reading.skipped.values())} "
            "have none"
        )
    record = Run(run)
    return take_reading(
        record.path,
        open_pairs(record, desk(record.path)),
        reading,
        layout,
        text,
        file=file,
        timed=layout == "native",
        rater=rater,
        skip_known=skip_known,
        into=CHOICES,
    )
