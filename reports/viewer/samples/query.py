"""Which samples of a place are shown and in which order: row numbers, found without holding the
texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from reports.record import series
from reports.viewer.reading import AS_RUN
from reports.viewer.samples.rows import Place, batches, numbers, recorded
from restaudit.evidence.record import Run, with_ratings

Human = Literal["any", "known", "not known"]
Flag = Literal["empty", "cut off", "same text twice"]
FLAGS: tuple[Flag, ...] = ("empty", "cut off", "same text twice")
TWICE: Flag = "same text twice"
SORTS = {
    "as recorded": None,
    "highest reward": "-reward",
    "lowest reward": "reward",
    "highest human score": "-human",
    "lowest human score": "human",
    "widest ensemble": "-reward_spread",
    "longest": "-n_tokens",
    "shortest": "n_tokens",
    "same text together": "same",
}
NO_GROUP, NOT = "(no group)", "not "
# Results that are held, so that paging through one does not search again; positions are numbers.
LISTS, PASSES = 16, 8
Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Query:
    """What to show.

    `kept` is an Improve step ("g01/i02"), with "not " in front for what it left out.
    """

    text: str = ""
    reward: tuple[float | None, float | None] = (None, None)
    human: Human = "any"
    human_range: tuple[float | None, float | None] = (None, None)
    group: str | None = None
    kept: str | None = None
    flags: tuple[Flag, ...] = ()
    prompt: str | None = None
    sort: str = "as recorded"

    @property
    def sort_column(self) -> str | None:
        """The column that the order comes from, with "-" in front for the highest first."""
        return SORTS[self.sort]

    def in_words(self) -> list[str]:
        """Every filter as a phrase."""
        phrases = []
        if self.text:
            phrases.append(f"with “{self.text}” in the text")
        if self.kept is not None:
            verb = "left out of" if self.kept.startswith(NOT) else "trained on in"
            phrases.append(f"{verb} {series.short_name(self.kept.removeprefix(NOT))}")
        if self.group is not None:
            phrases.append(f"group {self.group}")
        if self.human != "any":
            phrases.append(f"human score {self.human}")
        for name, ends in (("reward", self.reward), ("human score", self.human_range)):
            if ends != (None, None):
                phrases.append(f"{name} {_range(*ends)}")
        return [*phrases, *self.flags]


def _range(low: float | None, high: float | None) -> str:
    ends = []
    if low is not None:
        ends.append(f"from {low:g}")
    if high is not None:
        ends.append(f"to {high:g}")
    return " ".join(ends)


@dataclass(frozen=True)
class PlaceFacts:
    """What the filters offer: rows, the groups, and the range of the reward."""

    rows: int
    groups: tuple[str, ...]
    reward: tuple[float, float]


@st.cache_data(max_entries=PASSES * 8, show_spinner=False, hash_funcs=AS_RUN)
def facts(run: Run, place: Place) -> PlaceFacts:
    """The small facts of a place, in one pass over two columns."""
    rows, groups, low, high = 0, set[str](), np.inf, -np.inf
    for _, batch in batches(recorded(run, place.file), ("reward", "group")):
        rows += batch.num_rows
        for group in pc.unique(batch.column("group")).to_pylist():
            groups.add(NO_GROUP if group is None else str(group))
        reward = numbers(batch, "reward")
        if np.isfinite(reward).any():
            low, high = min(low, float(np.nanmin(reward))), max(high, float(np.nanmax(reward)))
    return PlaceFacts(rows, tuple(sorted(groups)), (float(low), float(high)))


@st.cache_data(max_entries=LISTS, show_spinner="Searching the samples", hash_funcs=AS_RUN)
def matching(run: Run, place: Place, query: Query) -> Numbers:
    """The numbers of the rows that a query names, in its order."""
    kept = _kept(run, place, query.kept)
    ratings = run.ratings(place.name) if place.kind == "audit" else None
    by_text = query.sort_column == "same"
    # A pass over all texts: only where it is needed.
    same = _same(run, place) if by_text or TWICE in query.flags else None
    sort = "" if by_text else (query.sort_column or "").lstrip("-")
    found: list[Numbers] = []
    keys: list[Numbers] = []
    columns = _columns(query, rated=ratings is not None)
    for first, batch in batches(recorded(run, place.file), columns):
        if ratings is not None and "human" in batch.schema.names:
            batch = _rated(batch, ratings)
        here = _mask(batch, query)
        if kept is not None:
            here &= kept[first : first + batch.num_rows]
        if same is not None and TWICE in query.flags:
            here &= same.counts[first : first + batch.num_rows] > 1
        rows = np.flatnonzero(here)
        found.append((rows + first).astype(np.int32))
        if sort:
            keys.append(numbers(batch, sort)[rows])
    positions = np.concatenate(found) if found else np.empty(0, dtype=np.int32)
    if by_text and same is not None:
        return positions[np.lexsort((same.which[positions], -same.counts[positions]))]
    if keys:
        key = np.concatenate(keys)
        if str(query.sort_column).startswith("-"):
            key = -key
        # Stable, so that equal values stay as recorded; NaN, a value nobody knows, comes last.
        positions = positions[np.argsort(key, kind="stable")]
    return positions


def _columns(query: Query, *, rated: bool) -> list[str]:
    """The columns that a query needs; the texts only where it looks into them."""
    sort = (query.sort_column or "").lstrip("-")
    by_human = query.human != "any" or query.human_range != (None, None) or sort == "human"
    needed = {
        "text": bool(query.text) or "empty" in query.flags,
        "reward": query.reward != (None, None) or sort == "reward",
        "reward_spread": sort == "reward_spread",
        "n_tokens": sort == "n_tokens",
        "human": by_human,
        "group": query.group is not None,
        "finished": "cut off" in query.flags,
        "prompt_id": query.prompt is not None,
        "sample_id": by_human and rated,
    }
    # A table has to be walked through by some column, and this one is the smallest.
    return [name for name, wanted in needed.items() if wanted] or ["finished"]


def _mask(batch: pa.RecordBatch, query: Query) -> Numbers:
    here = np.ones(batch.num_rows, dtype=bool)
    if query.text:
        here &= _true(pc.match_substring(batch.column("text"), query.text, ignore_case=True))
    if "empty" in query.flags:
        trimmed = pc.utf8_trim_whitespace(batch.column("text"))
        here &= _true(pc.equal(pc.utf8_length(trimmed), 0), otherwise=True)
    if "cut off" in query.flags:
        here &= ~_true(batch.column("finished"), otherwise=True)
    if query.prompt is not None:
        here &= _true(pc.equal(batch.column("prompt_id"), query.prompt))
    if query.group is not None:
        group = batch.column("group")
        if query.group == NO_GROUP:
            here &= _true(pc.is_null(group))
        else:
            here &= _true(pc.equal(group, query.group))
    for name, (low, high) in (("reward", query.reward), ("human", query.human_range)):
        # A comparison with NaN is False: what nobody knows lies in no range.
        if low is not None:
            here &= numbers(batch, name) >= low
        if high is not None:
            here &= numbers(batch, name) <= high
    if query.human != "any":
        here &= np.isfinite(numbers(batch, "human")) == (query.human == "known")
    return here


def _true(answers: pa.Array | pa.ChunkedArray, *, otherwise: bool = False) -> Numbers:
    return np.asarray(pc.fill_null(answers, otherwise).to_pandas(), dtype=bool)


def _kept(run: Run, place: Place, kept: str | None) -> Numbers | None:
    """Of every row, whether an Improve step trained on it, or left it out."""
    if kept is None:
        return None
    names = _sample_names(run, place.file)
    chosen = _sample_names(run, f"{kept.removeprefix(NOT)}/kept.parquet")
    # All names at once: a look-up table made anew for every batch takes most of the time of a large
    # run.
    inside = _true(pc.is_in(names, value_set=chosen))
    return ~inside if kept.startswith(NOT) else inside


def _sample_names(run: Run, file: str) -> pa.ChunkedArray:
    # Large strings: one chunk of plain ones holds at most 2 GB.
    parts = [
        batch.column("sample_id").cast(pa.large_string())
        for _, batch in batches(recorded(run, file), ("sample_id",))
    ]
    return pa.chunked_array(parts, type=pa.large_string())


def _rated(batch: pa.RecordBatch, ratings: pd.DataFrame) -> pa.RecordBatch:
    """With people's ratings as the human score, as `Run.audit` has it."""
    human = with_ratings(batch.select(["sample_id"]).to_pandas(), ratings)["human"]
    place = batch.schema.get_field_index("human")
    return batch.set_column(place, "human", pa.array(human.to_numpy(dtype="float64")))


@dataclass(frozen=True)
class SameTexts:
    """Of every row: how many rows have its text, and a number that equal texts share."""

    counts: Numbers
    which: Numbers


@st.cache_data(max_entries=PASSES, show_spinner="Looking for equal texts", hash_funcs=AS_RUN)
def _same(run: Run, place: Place) -> SameTexts:
    """Rows of equal texts, in one pass that holds 8 bytes a row and no text."""
    parts = []
    for _, batch in batches(recorded(run, place.file), ("text",)):
        texts = pc.fill_null(batch.column("text"), "").cast(pa.large_binary()).to_pylist()
        parts.append(np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts)))
    hashes = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return SameTexts(counts[which].astype(np.int32), which.astype(np.int32))
