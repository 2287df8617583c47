"""Runs for the tests of clause documents: fabricated ones, changed as a test needs and recorded
anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from reports.document.model import Block, Chart, Document, Facts, Paragraph, Passages, Strip, Table
from reports.record.files import Records
from restaudit.evidence import ledger, record
from restaudit.evidence.record import Run

STATES = ("healthy", "halted", "overridden", "base_only", "half", "nulls")


def records(run: Path) -> Records:
    """A run's records."""
    return Records(Run(run))


def edited(run: Path, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change a JSON file of a run and record every file anew, as if the run had written it so."""
    raw = json.loads((run / name).read_text(encoding="utf-8"))
    change(raw)
    record.write_json(raw, run / name)
    return recorded_anew(run)


def recorded_anew(
    run: Path, *, more: dict[str, tuple[str, ...]] | None = None, content: Any = None
) -> Path:
    """Write the ledger again over the files as they are; `more` adds files to steps, `content`
    changes their facts.
    """
    events = ledger.read(run)
    (run / ledger.FILE).unlink()
    prev = ledger.GENESIS
    for seq, event in enumerate(events):
        names = (*event.outputs, *(more or {}).get(event.step, ()))
        event = replace(
            event,
            seq=seq,
            prev=prev,
            outputs={n: ledger.digest_file(run / n) for n in names},
            context={n: ledger.digest_file(run / n) for n in event.context},
            content=(content or {}).get(event.step, event.content),
        )
        ledger.append(run, event)
        prev = event.hash
    return run


def rated_by_people(run: Path) -> Path:
    """Make the first look of a run one at which three people rated ten samples."""
    look = "g01/i01"
    rows = [
        {
            "sample_id": f"s{k}",
            "prompt_id": f"p{k}",
            "iteration": look,
            "look": 1,
            "rater": f"r{r}",
            "dimension": "quality",
            "score": 4.0,
            "scale_min": 1,
            "scale_max": 7,
            "inclusion": 0.5,
            "check": False,
            "anchor": False,
            "source": "sheet",
        }
        for k in range(10)
        for r in range(3)
    ]
    record.write_table(pd.DataFrame(rows), run / look / "ratings.parquet", record.RATINGS)

    def people(plan: dict[str, Any]) -> None:
        plan["config"]["human"] = {"kind": "people", "instructions": "Rate how helpful it is."}

    edited(run, "plan.json", people)
    return recorded_anew(run, more={f"{look}/audit": (f"{look}/ratings.parquet",)})


def texts(document: Document) -> Iterator[str]:
    """Every text that a document shows."""
    yield from (document.title, document.subtitle, *document.banner)
    for section in document.sections:
        yield section.title
        for block in section.blocks:
            yield from shown(block)


def shown(block: Block) -> Iterator[str]:
    """Every text of a block."""
    if isinstance(block, Paragraph):
        yield block.text
    elif isinstance(block, Facts):
        yield from (block.caption, *(t for f in block.rows for t in (f.label, f.value)))
    elif isinstance(block, Table):
        yield from (
            block.caption,
            *block.columns,
            block.note,
            *(c for r in block.rows for c in r.cells),
        )
    else:
        assert not isinstance(block, Chart | Passages | Strip), "not used by clause documents"
