"""Which rows of the evidence a probe reads, and the checks that every table passes before anything
is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import pandas as pd

from probes.base import Evidence

REQUIRED = ("prompt_id", "sample_id", "text", "n_tokens")
NUMBERS = (
    "n_tokens",
    "reward",
    "reward_spread",
    "human",
    "inclusion",
    "logprob",
    "kl",
    "kl_tokens",
)
RATINGS = ("sample_id", "rater", "dimension", "score")

# What several probes say, so that they say it in the same words.
IS_BASE = "this is the base policy: there is nothing to compare it with"
NO_EMBED = "no embedding of texts was given"
NO_TEXT = "the policy has no text"
RATIO = "ratio to the base policy"

Notes = dict[str, str | int]


def check(evidence: Evidence) -> None:
    """Refuse evidence that cannot be read as it says it is.

    Raises ValueError naming the table, the column and the row: a missing column, a sample named
    twice, a missing prompt id, an infinite or non-numeric score, a base policy that answered none
    of the audited prompts, a rating of a sample that is not there or without a number, a prompt or
    reference that is no text, or levels and resamples out of range.
    """
    if not evidence.levels or not all(0 < level < 1 for level in evidence.levels):
        raise ValueError(
            f"levels: {evidence.levels!r}; expected at least one number between 0 and 1, for "
            "example 0.95"
        )
    if evidence.resamples < 100:
        raise ValueError(
            f"resamples: {evidence.resamples}; expected at least 100, or percentiles mean nothing"
        )
    tables = {
        "outputs": evidence.outputs,
        "base": evidence.base,
        "grow": evidence.grow,
        "d_eval": evidence.d_eval,
    }
    for name, table in tables.items():
        if table is not None:
            _check_table(name, table)
    if evidence.base is not None and not set(evidence.base["prompt_id"]) & set(
        evidence.outputs["prompt_id"]
    ):
        raise ValueError(
            "base: has no prompt_id in common with outputs; sample both policies on the same "
            "prompts"
        )
    if evidence.ratings is not None:
        _check_ratings(
            evidence.ratings, [t for t in (evidence.outputs, evidence.base) if t is not None]
        )
    for name, text in evidence.prompts.items():
        if not isinstance(text, str):
            raise ValueError(
                f"prompts: {name!r} is {type(text).__name__}; expected the prompt as plain text"
            )
    for name, texts in evidence.references.items():
        if isinstance(texts, str) or not all(isinstance(t, str) for t in texts):
            raise ValueError(
                f"references: {name!r} is not a list of texts; expected the prompt's references"
            )


def _check_ratings(ratings: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> None:
    missing = [c for c in RATINGS if c not in ratings.columns]
    if missing:
        raise ValueError(
            f"ratings: lacks the column(s) {', '.join(missing)}; a rating has {', '.join(RATINGS)}"
        )
    for column in RATINGS[:3]:
        if ratings[column].isna().any():
            row = int(np.flatnonzero(ratings[column].isna())[0])
            raise ValueError(f"ratings: row {row} has no {column}; every rating needs one")
    if len(ratings) and not pd.api.types.is_numeric_dtype(ratings["score"]):
        raise ValueError(f"ratings: column score is {ratings['score'].dtype}; expected numbers")
    undefined = ~np.isfinite(numbers(ratings, "score"))
    if undefined.any():
        row = int(np.flatnonzero(undefined)[0])
        raise ValueError(
            f"ratings: row {row}, column score is not finite; leave out what nobody rated"
        )
    known = {str(s) for table in tables for s in table["sample_id"]}
    stray = np.flatnonzero(~ratings["sample_id"].astype(str).isin(known))
    if stray.size:
        name = ratings["sample_id"].iloc[int(stray[0])]
        raise ValueError(
            f"ratings: row {int(stray[0])} rates sample {name!r}, which is neither in outputs nor "
            "in base"
        )


def _check_table(name: str, table: pd.DataFrame) -> None:
    missing = [c for c in REQUIRED if c not in table.columns]
    if missing:
        raise ValueError(
            f"{name}: lacks the column(s) {', '.join(missing)}; a table has {', '.join(REQUIRED)}"
        )
    for column in ("prompt_id", "sample_id"):
        if table[column].isna().any():
            row = int(np.flatnonzero(table[column].isna())[0])
            raise ValueError(f"{name}: row {row} has no {column}; every sample needs one")
    if table["sample_id"].duplicated().any():
        twice = table.loc[table["sample_id"].duplicated(), "sample_id"].iloc[0]
        raise ValueError(
            f"{name}: sample_id {twice!r} names more than one row; expected one row a sample"
        )
    for column in NUMBERS:
        if column not in table.columns:
            continue
        if not (pd.api.types.is_numeric_dtype(table[column]) or table[column].isna().all()):
            raise ValueError(
                f"{name}: column {column} is {table[column].dtype}; expected numbers (NaN = "
                "undefined)"
            )
        infinite = np.isinf(numbers(table, column))
        if infinite.any():
            row = int(np.flatnonzero(infinite)[0])
            raise ValueError(
                f"{name}: row {row}, column {column} is infinite; expected a number, or NaN if "
                "undefined"
            )


def numbers(table: pd.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """One column as float64, shape (rows,); NaN where undefined, all NaN where the table has no
    such column.
    """
    if column not in table.columns:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(dtype=np.float64, na_value=np.nan)


def defined(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The rows where every one of these columns holds a number."""
    keep = np.ones(len(table), dtype=bool)
    for column in columns:
        keep &= ~np.isnan(numbers(table, column))
    return table[keep]


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of prompts that belong to no counterfactual family, in a fixed order."""
    if "family" not in table.columns:
        return _ordered(table)
    return _ordered(table[table["family"].isna()])


def plain_or_all(table: pd.DataFrame) -> pd.DataFrame:
    """The plain rows, or all rows where no prompt is plain."""
    rows = plain(table)
    if rows.empty:
        return _ordered(table)
    return rows


def counterfactual(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of counterfactual prompts (a family and a group each), in a fixed order."""
    if "family" not in table.columns or "group" not in table.columns:
        return table.iloc[:0].assign(family=None, group=None)
    rows = table[table["family"].notna() & table["group"].notna()]
    return _ordered(rows.assign(family=rows["family"].astype(str), group=rows["group"].astype(str)))


def sampled(table: pd.DataFrame) -> pd.DataFrame:
    """The rows the policy wrote: without the human references that the Grow set may hold."""
    if "origin" not in table.columns:
        return table
    return table[table["origin"] == "policy"]


def audited(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame | None, Notes]:
    """Plain rows of the audited policy, the base policy's rows on the same prompts, and what had to
    be left out.

    Where no prompt is plain, all rows are used and the notes say so.
    """
    return audited_of(evidence.outputs, evidence.base)


def audited_of(
    every: pd.DataFrame, base_rows: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame | None, Notes]:
    """The same of two tables."""
    notes: Notes = {}
    outputs = plain(every)
    all_rows = outputs.empty and not every.empty
    if all_rows:
        outputs = _ordered(every)
        notes["rows"] = "all rows, counterfactual ones too: no prompt is plain"
    if base_rows is None:
        return outputs, None, notes
    base = _ordered(base_rows) if all_rows else plain(base_rows)
    prompts, base_prompts = set(outputs["prompt_id"]), set(base["prompt_id"])
    if prompts - base_prompts:
        notes["prompts_left_out"] = len(prompts - base_prompts)
        notes["left_out_because"] = "the base policy has no sample on them"
    return *on_prompts(outputs, base, prompts & base_prompts), notes


def on_prompts(
    rows: pd.DataFrame, base: pd.DataFrame, prompts: AbstractSet[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of both tables that answer one of these prompts; a table with no other is not
    copied.
    """
    return _on(rows, prompts), _on(base, prompts)


def _on(table: pd.DataFrame, prompts: AbstractSet[str]) -> pd.DataFrame:
    # Mostly all of them are, and calibration asks thousands of times.
    if set(table["prompt_id"]) <= prompts:
        return table
    return table[table["prompt_id"].isin(prompts)]


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    # As plain strings: categories would bring prompts and groups back that no row has.
    names = {c: table[c].astype(str) for c in ("prompt_id", "sample_id")}
    order = np.lexsort([names[c].to_numpy(dtype=object) for c in ("sample_id", "prompt_id")])
    return table.assign(**names).iloc[order]
