"""The samples of one page: their texts, scores and prompts, and which Improve steps trained on
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from reports.record import series
from reports.viewer.reading import AS_RUN
from reports.viewer.samples.places import Place, trained_on
from reports.viewer.samples.tables import batches, columns_of, recorded, rows_at
from restaudit.evidence.record import Run, with_ratings

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
SOMETIMES = ("kl", "origin")
PAGES = 128


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
    raw = rows_at(table, positions, [*BASIC, *(c for c in SOMETIMES if c in there)])
    names = [str(r["sample_id"]) for r in raw]
    kept = {step: _kept_of(run, step, names) for step in trained_on(run, place)}
    human = _human(run, place, raw)
    return [
        Sample(
            position=position,
            sample_id=name,
            prompt_id=str(r["prompt_id"]),
            group=None if r["group"] is None else str(r["group"]),
            text=str(r["text"] or ""),
            tokens=int(r["n_tokens"]),
            finished=bool(r["finished"]),
            reward=_number(r["reward"]),
            reward_01=_number(r["reward_01"]),
            spread=_number(r["reward_spread"]),
            human=h,
            kl=_number(r.get("kl")),
            origin=str(r.get("origin") or ""),
            kept=tuple((step, name in mine) for step, mine in kept.items()),
        )
        for position, name, r, h in zip(positions, names, raw, human, strict=True)
    ]


@st.cache_data(max_entries=PAGES, show_spinner=False, hash_funcs=AS_RUN)
def prompt_texts(run: Run, place: Place, ids: tuple[str, ...]) -> dict[str, str]:
    """The texts of these prompts, as a person reads them."""
    wanted = pa.array(ids, type=pa.large_string())
    found: dict[str, str] = {}
    for _, batch in batches(recorded(run, place.prompts), ("prompt_id", "prompt")):
        mine = batch.filter(
            pc.fill_null(pc.is_in(batch.column("prompt_id"), value_set=wanted), False)
        )
        found.update(
            (str(r["prompt_id"]), series.as_text(str(r["prompt"]))) for r in mine.to_pylist()
        )
    return found


@st.cache_data(max_entries=PAGES, show_spinner=False, hash_funcs=AS_RUN)
def prompt_names(run: Run, place: Place) -> list[str]:
    """The names of the prompts that a place has samples of, sorted."""
    found: set[str] = set()
    for _, batch in batches(recorded(run, place.file), ("prompt_id",)):
        found |= {str(p) for p in pc.unique(batch.column("prompt_id")).to_pylist()}
    return sorted(found)


def _kept_of(run: Run, step: str, names: Sequence[str]) -> set[str]:
    wanted = pa.array(list(names), type=pa.large_string())
    found: set[str] = set()
    for _, batch in batches(recorded(run, f"{step}/kept.parquet"), ("sample_id",)):
        ids = batch.column("sample_id")
        found |= set(ids.filter(pc.fill_null(pc.is_in(ids, value_set=wanted), False)).to_pylist())
    return found


def _human(run: Run, place: Place, raw: Sequence[dict[str, Any]]) -> list[float]:
    import pandas as pd

    ratings = run.ratings(place.name) if place.kind == "audit" else None
    if ratings is None:
        return [_number(r["human"]) for r in raw]
    table = with_ratings(pd.DataFrame({"sample_id": [r["sample_id"] for r in raw]}), ratings)
    return [float(v) for v in table["human"]]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
