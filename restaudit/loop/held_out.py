"""What an audit reads beside its prompts: benchmark items and held-out human text, stored with the
iteration.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from restaudit.config import AuditConfig
from restaudit.evidence.record import BASE, ITEMS, read_table, write_table
from restaudit.loop.human_text import HUMAN_TEXT, measured
from restaudit.loop.job import Job
from restaudit.models.artifacts import Artifact, resolve

ITEMS_FILE = "items.parquet"
TEXT_FILE = "human_text.parquet"


@dataclass(frozen=True)
class HeldOut:
    """This policy's tables and the base policy's (None for the base policy itself, and where
    nothing was asked for).
    """

    items: pd.DataFrame | None = None
    base_items: pd.DataFrame | None = None
    human_text: pd.DataFrame | None = None
    base_human_text: pd.DataFrame | None = None


def held_out_artifacts(audit: AuditConfig) -> dict[str, Artifact]:
    """The files of benchmarks and human text, fetched and checked before a run begins, by the key
    that asks for them.

    Raises BadInput for a benchmark nobody knows, and for data that cannot be had.
    """
    found: dict[str, Artifact] = {}
    if audit.benchmarks.tasks:
        from restaudit.tasks import artifacts

        found |= {
            f"audit.benchmarks/{name}": a for name, a in artifacts(audit.benchmarks.tasks).items()
        }
    text = audit.human_text
    if text is not None and text.source != "references":
        found["audit.human_text"] = resolve(text.source, sha256=text.sha256, licence=text.licence)
    return found


def held_out(
    job: Job, iteration: str, out: Path, *, policy: str, look: int, looks: Sequence[str]
) -> HeldOut:
    """Run what the configuration asks for at this look on the policy as it stands; writes the
    tables into `out`.

    A policy that is the base policy itself (best-of-N) gets the base policy's tables. A table that
    is not due at this look is empty and says why in `attrs["reason"]`.
    """
    config = job.config.audit
    items = text = None
    seconds: dict[str, float] = {}
    if config.benchmarks.tasks:
        began = time.perf_counter()
        items = _items(job, iteration, out, policy, look, looks)
        seconds["benchmark items"] = time.perf_counter() - began
    if config.human_text is not None:
        began = time.perf_counter()
        text = _human_text(job, iteration, out, policy, look, looks)
        seconds["human text"] = time.perf_counter() - began
    if seconds:
        job.writer.note("probe_seconds", {k: round(v, 4) for k, v in seconds.items()})
    if iteration == BASE:
        return HeldOut(items, None, text, None)
    return HeldOut(
        items, _of_base(job, ITEMS_FILE, ITEMS), text, _of_base(job, TEXT_FILE, HUMAN_TEXT)
    )


def _items(
    job: Job, iteration: str, out: Path, policy: str, look: int, looks: Sequence[str]
) -> pd.DataFrame:
    config = job.config.audit.benchmarks
    if (reason := _not_due("audit.benchmarks", config.when, look, looks)) is not None:
        return _empty(ITEMS, reason)
    from restaudit.tasks import run_tasks

    if policy == BASE != iteration:
        table = read_table(job.run / BASE / ITEMS_FILE, ITEMS)
    else:
        folder = Path(config.include_path) if config.include_path else None
        with job.reporter.task(f"benchmarks {iteration}", len(config.tasks), "tasks") as advance:
            table = run_tasks(
                job.policy,
                config.tasks,
                limit=config.limit,
                seed=job.seed("benchmarks"),
                include_path=folder,
                progress=advance,
            )
    write_table(table, out / ITEMS_FILE, ITEMS)
    return table


def _human_text(
    job: Job, iteration: str, out: Path, policy: str, look: int, looks: Sequence[str]
) -> pd.DataFrame:
    config = job.config.audit.human_text
    assert config is not None
    if (reason := _not_due("audit.human_text", config.when, look, looks)) is not None:
        return _empty(HUMAN_TEXT, reason)
    if policy == BASE != iteration:
        table = read_table(job.run / BASE / TEXT_FILE, HUMAN_TEXT)
    else:
        table = measured(job.policy, config, job.prompts("audit"))
    write_table(table, out / TEXT_FILE, HUMAN_TEXT)
    return table


def _not_due(
    key: str, when: Literal["ends", "every"], look: int, looks: Sequence[str]
) -> str | None:
    if when == "every" or look in (0, len(looks)):
        return None
    return (
        f"{key}.when is 'ends': measured for the base policy and at the last planned look "
        f"({looks[-1]}) only"
    )


def _empty(columns: Sequence[str], reason: str) -> pd.DataFrame:
    table = pd.DataFrame(columns=list(columns))
    table.attrs["reason"] = reason
    return table


def _of_base(job: Job, name: str, columns: Sequence[str]) -> pd.DataFrame | None:
    path = job.run / BASE / name
    return read_table(path, columns) if path.exists() else None
