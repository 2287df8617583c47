"""What raters see: nothing that tells which policy wrote a text.

Written as JSON Lines, one item a line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.files.strict import parse_json
from restaudit.people.rating.store import read_text, whole

# From 0 to 100; more scores nobody can tell apart.
MOST_CHOICES = 101


@dataclass(frozen=True)
class ShownText:
    """One item: a name that means nothing, the prompt as text, the response, and the response's
    SHA-256.
    """

    item_id: str
    prompt: str
    response: str
    response_sha256: str


@dataclass(frozen=True)
class Sheet:
    """All that a rater gets. `choices` are the scores that may be given, lowest first."""

    run_id: str
    dimension: str
    choices: tuple[float, ...]
    instructions: str
    instructions_sha256: str
    raters: int
    rows: tuple[ShownText, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The scores as they are written on a button."""
        return tuple(f"{c:g}" for c in self.choices)


def choices(scale: tuple[int, int], *, halves: bool) -> tuple[float, ...]:
    """The scores of a scale, lowest first.

    Raises BadInput above 101 of them, which nobody can tell apart.
    """
    low, high = scale
    step = 0.5 if halves else 1.0
    count = round((high - low) / step) + 1
    if count > MOST_CHOICES:
        raise BadInput(f"scale {low} to {high}: {count} possible scores; at most {MOST_CHOICES}")
    return tuple(low + step * k for k in range(count))


def as_rows(sheet: Sheet) -> list[dict[str, Any]]:
    """One plain mapping an item, with the fields of our JSON Lines that a rater's tool may carry
    along.
    """
    # Whatever is here a tool may show. Digests and the run's random id check what comes back, and
    # tell nothing of iteration, policy or reward.
    return [
        {
            "item_id": r.item_id,
            "prompt": r.prompt,
            "response": r.response,
            "response_sha256": r.response_sha256,
            "run_id": sheet.run_id,
            "dimension": sheet.dimension,
            "scale_min": whole(sheet.choices[0]),
            "scale_max": whole(sheet.choices[-1]),
            "instructions_sha256": sheet.instructions_sha256,
            "blinded": True,
        }
        for r in sheet.rows
    ]


def sheet_text(sheet: Sheet) -> str:
    """The sheet as JSON Lines; every line repeats the instructions, and has empty places for a
    rating.
    """
    empty = {"rater_id": None, "score": None, "started_at": None, "submitted_at": None}
    more = {
        "instructions": sheet.instructions,
        "choices": [whole(c) for c in sheet.choices],
        "raters": sheet.raters,
    }
    lines = []
    for row in as_rows(sheet):
        lines.append(json.dumps({**row, **more, **empty}, ensure_ascii=False, allow_nan=False))
    return "".join(f"{line}\n" for line in lines)


SHEET = ("run_id", "dimension", "instructions", "instructions_sha256")
SHOWN = ("item_id", "prompt", "response", "response_sha256")


def texts_of(row: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """These fields of a row. Raises KeyError or TypeError where one is missing, or no text."""
    texts = [row[name] for name in names]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"expected texts as {', '.join(names)}")
    return texts


def read_sheet(path: Path) -> Sheet:
    """The sheet that `sheet_text` wrote. Raises BadInput where it is not one."""
    try:
        # Not splitlines: a text may hold U+2028, which JSON leaves as it is.
        rows = [parse_json(line) for line in read_text(path).split("\n") if line]
        run_id, dimension, instructions, digest = texts_of(rows[0], SHEET)
        scores = tuple(float(score) for score in rows[0]["choices"])
        if len(scores) < 2:
            raise ValueError("fewer than two scores to choose from")
        return Sheet(
            run_id=run_id,
            dimension=dimension,
            choices=scores,
            instructions=instructions,
            instructions_sha256=digest,
            raters=int(rows[0]["raters"]),
            rows=tuple(ShownText(*texts_of(r, SHOWN)) for r in rows),
        )
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as e:
        raise BadInput(
            f"{path}: not a file of rating tasks ({type(e).__name__}: {e}); draw the tasks again"
        ) from None
