"""Where samples lie in a run, and the rows of one page: texts, scores, prompts, and which Improve
steps trained on them.

Only the columns asked for are read, and never the texts of more than a batch at once.
`pyarrow.dataset` was tried first: it decodes a whole row group of texts before it gives the first
row, and the record writes up to a million rows a row group. `ParquetFile.iter_batches` gives them
as it decodes them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import streamlit as st

from reports.record import lineage, series
from reports.record.files import Records
from reports.viewer.reading import AS_RUN
from restaudit.errors import BadInput
from restaudit.evidence.chats import as_text
from restaudit.evidence.record import BASE, ITERATION, LARGEST_TABLE, Run, with_ratings
from restaudit.files import parquet, plain

BASIC = (
    "sample_id",
    "prompt_id",
    "group",
    "text",
    "n_tokens",
    "finished",
    "reward",
    "reward_01",
    "reward_spread",
    "human",
)
# An audit has the divergence from the base policy, a Grow set who wrote a row.
SOMETIMES = ("kl", "origin")
PAGES = 128
# Rows a batch, and bytes that are read ahead: what a page holds in memory of a table of any size.
ROWS, BUFFER = 8192, 1 << 18
CHECKED = 256
TEXTS = frozenset({"sample_id", "prompt_id", "group", "text", "origin", "prompt"})
GROW = re.compile(r"g\d\d|step-[1-9]\d{0,8}")


# --- places: the audit of an iteration, and the scored Grow sets


@dataclass(frozen=True)
class Place:
    """A table of samples: `name` is an iteration ("g01/i02") for an audit, a Grow step ("g01") for
    a Grow set.
    """

    name: str
    kind: Literal["audit", "grow"]

    @property
    def file(self) -> str:
        """The table in the run folder."""
        return f"{self.name}/{self.kind}.parquet"

    @property
    def prompts(self) -> str:
        """The table of the prompts that these samples answer."""
        return f"data/{self.kind}.parquet"

    @property
    def title(self) -> str:
        """How people call it; also what stands in the address."""
        if self.kind == "audit":
            audited = "base policy" if self.name == BASE else series.short_name(self.name)
            return f"{audited} audit"
        if self.name[0] == "g":
            return f"G{int(self.name[1:])} Grow set"
        # Training by steps has no Grow sets: its samples are named by the step that drew them.
        return f"{self.name.replace('-', ' ')} training samples"


def places(run: Run) -> list[Place]:
    """Every audit in order, then every Grow set that was scored: only what the ledger says is
    there.
    """
    records = Records(run)
    audits = [Place(iteration, "audit") for iteration in series.iterations(run)]
    grows = [Place(g.name, "grow") for g in lineage.grows(records) if GROW.fullmatch(g.name)]
    return [*audits, *(place for place in grows if records.has(place.file))]


def trained_on(run: Run, place: Place) -> list[str]:
    """The Improve steps ("g01/i02") that chose rows of this Grow set; none for an audit."""
    if place.kind != "grow":
        return []
    policies = [p for p in lineage.policies(Records(run)) if p.data == place.name]
    return [p.name for p in policies if ITERATION.fullmatch(p.name)]


def last_audit(every: Sequence[Place]) -> Place:
    """Where the page begins: the newest audit, else the first Grow set."""
    audits = [place for place in every if place.kind == "audit"]
    return audits[-1] if audits else every[0]


# --- tables

# A run folder, and the name of a table in it.
Table = tuple[Path, str]


def recorded(run: Run, name: str) -> Table:
    """A table of the run folder, whose bytes are as the ledger has them.

    They are hashed once for as long as the file's size and time of change stay the same. Raises
    VerificationFailed or BadInput.
    """
    source = Records(run).source(name)
    try:
        with plain.opened(run.path, name, LARGEST_TABLE) as f:
            now = os.fstat(f.fileno())
    except FileNotFoundError:
        raise BadInput(f"{run.path / name}: missing from the run folder") from None
    _hashed(str(run.path), name, source.sha256, now.st_size, now.st_mtime_ns)
    return run.path, name


@st.cache_data(max_entries=CHECKED, show_spinner=False)
def _hashed(folder: str, name: str, sha256: str, size: int, changed: int) -> str:
    # The arguments are the key under which Streamlit remembers that nothing was raised.
    Records(Run(folder)).checked(name)
    return f"{sha256} {size} {changed}"


def batches(table: Table, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of a table with the number of their first row.

    Raises BadInput for a table that is none.
    """
    path = table[0] / table[1]
    try:
        # A row group may hold a million texts: read as they are decoded, and not all of them first.
        with plain.opened(*table) as opened:
            parquet.check_claims(path, opened)
            file = pq.ParquetFile(opened, buffer_size=BUFFER, pre_buffer=False)
            missing = [c for c in columns if c not in file.schema_arrow.names]
            if missing:
                raise BadInput(f"{path}: lacks the column(s) {', '.join(missing)}")
            _check_types(path, file.schema_arrow, columns)
            first = 0
            for batch in file.iter_batches(ROWS, columns=list(columns)):
                yield first, batch
                first += batch.num_rows
    except (pa.ArrowException, OSError) as e:
        raise BadInput(f"{path}: not a readable Parquet table ({e})") from None


def _check_types(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    for name in TEXTS.intersection(columns):
        kind = schema.field(name).type
        # A column of nothing but missing values has no type of its own.
        texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
        if not any(is_text(kind) for is_text in texts):
            raise BadInput(f"{path}: the column {name} holds something else than text")


def columns_of(table: Table) -> list[str]:
    """The names of a table's columns."""
    try:
        with plain.opened(*table) as f:
            return [str(n) for n in pq.read_schema(f).names]
    except (pa.ArrowException, OSError) as e:
        raise BadInput(f"{table[0] / table[1]}: not a readable Parquet table ({e})") from None


def rows_at(table: Table, positions: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some rows in the order of `positions`; reading ends with the last one of them."""
    wanted = np.unique(np.asarray(positions, dtype=np.int64))
    by_position: dict[int, dict[str, Any]] = {}
    for first, batch in batches(table, columns):
        here = wanted[(wanted >= first) & (wanted < first + batch.num_rows)]
        if len(here):
            rows = batch.take(pa.array(here - first)).to_pylist()
            by_position.update(zip(map(int, here), rows, strict=True))
        if not len(wanted) or first + batch.num_rows > wanted[-1]:
            break
    return [by_position[int(k)] for k in positions]


def numbers(batch: pa.RecordBatch, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column as numbers, NaN where there is none."""
    values = batch.column(column).to_numpy(zero_copy_only=False)
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"the column {column} holds something else than numbers") from None


# --- samples


@dataclass(frozen=True)
class Sample:
    """One sample as a card shows it; what is not known is NaN. `origin` is "" for an audit."""

    position: int
    sample_id: str
    prompt_id: str
    group: str | None
    text: str
    tokens: int
    finished: bool
    reward: float
    reward_01: float
    spread: float
    human: float
    kl: float
    origin: str
    kept: tuple[tuple[str, bool], ...]


@st.cache_data(max_entries=PAGES, show_spinner="Reading the texts", hash_funcs=AS_RUN)
def samples(run: Run, place: Place, positions: tuple[int, ...]) -> list[Sample]:
    """These rows of a place, in this order."""
    table = recorded(run, place.file)
    there = columns_of(table)
    rows = rows_at(table, positions, [*BASIC, *(name for name in SOMETIMES if name in there)])
    names = [str(row["sample_id"]) for row in rows]
    kept = {step: _kept_of(run, step, names) for step in trained_on(run, place)}
    shown = []
    for position, row, human in zip(positions, rows, _human(run, place, rows), strict=True):
        name, group = str(row["sample_id"]), row["group"]
        shown.append(
            Sample(
                position=position,
                sample_id=name,
                prompt_id=str(row["prompt_id"]),
                group=None if group is None else str(group),
                text=str(row["text"] or ""),
                tokens=int(row["n_tokens"]),
                finished=bool(row["finished"]),
                reward=_number(row["reward"]),
                reward_01=_number(row["reward_01"]),
                spread=_number(row["reward_spread"]),
                human=human,
                kl=_number(row.get("kl")),
                origin=str(row.get("origin") or ""),
                kept=tuple((step, name in chosen) for step, chosen in kept.items()),
            )
        )
    return shown


@st.cache_data(max_entries=PAGES, show_spinner=False, hash_funcs=AS_RUN)
def prompt_texts(run: Run, place: Place, ids: tuple[str, ...]) -> dict[str, str]:
    """The texts of these prompts, as a person reads them."""
    wanted = pa.array(ids, type=pa.large_string())
    texts: dict[str, str] = {}
    for _, batch in batches(recorded(run, place.prompts), ("prompt_id", "prompt")):
        asked_for = pc.is_in(batch.column("prompt_id"), value_set=wanted)
        for row in batch.filter(pc.fill_null(asked_for, False)).to_pylist():
            texts[str(row["prompt_id"])] = as_text(str(row["prompt"]))
    return texts


@st.cache_data(max_entries=PAGES, show_spinner=False, hash_funcs=AS_RUN)
def prompt_names(run: Run, place: Place) -> list[str]:
    """The names of the prompts that a place has samples of, sorted."""
    names: set[str] = set()
    for _, batch in batches(recorded(run, place.file), ("prompt_id",)):
        names |= set(map(str, pc.unique(batch.column("prompt_id")).to_pylist()))
    return sorted(names)


def _kept_of(run: Run, step: str, names: Sequence[str]) -> set[str]:
    wanted = pa.array(list(names), type=pa.large_string())
    kept: set[str] = set()
    for _, batch in batches(recorded(run, f"{step}/kept.parquet"), ("sample_id",)):
        ids = batch.column("sample_id")
        chosen = pc.fill_null(pc.is_in(ids, value_set=wanted), False)
        kept |= set(ids.filter(chosen).to_pylist())
    return kept


def _human(run: Run, place: Place, rows: Sequence[dict[str, Any]]) -> list[float]:
    """The human score of these rows: where people rated an audit, their ratings are it."""
    ratings = run.ratings(place.name) if place.kind == "audit" else None
    if ratings is None:
        return [_number(row["human"]) for row in rows]
    table = pd.DataFrame({"sample_id": [row["sample_id"] for row in rows]})
    return [float(score) for score in with_ratings(table, ratings)["human"]]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
