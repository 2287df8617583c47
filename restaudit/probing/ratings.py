"""People's single ratings of the rows of a generations file, and the human score that follows from
them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from restaudit.data.columns import Columns, read_columns
from restaudit.data.generations import Generations
from restaudit.data.values import floats, ids, labels, shares
from restaudit.errors import BadInput

ONLY = "quality"
NAMES = ("sample_id", "rater", "score", "prompt_id", "dimension", "submitted_at", "inclusion")
ALIASES = {"rater": ("rater_id",), "inclusion": ("inclusion_prob",)}


def read_ratings(
    path: Path, outputs: Generations, base: Generations | None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Ratings of rows of `outputs` and `base`, as Evidence.ratings wants them, and what to say
    about them.

    Needs sample_id, rater and score; dimension (or "quality"), submitted_at and inclusion where
    there. Raises BadInput for a sample that is in neither file or in both, a score that is no
    number, and one rater twice on one sample.
    """
    raw = read_columns(path, names=NAMES, required=NAMES[:3], aliases=ALIASES, given={})
    dimensions = labels(raw, "dimension") if "dimension" in raw.values else [ONLY] * len(raw.where)
    table = pd.DataFrame(
        {
            "sample_id": ids(raw, "sample_id"),
            "rater": ids(raw, "rater"),
            "dimension": [d or ONLY for d in dimensions],
            "score": floats(raw, "score"),
        }
    )
    owners = _owners(outputs, base)
    _check(raw, table, owners)
    table.insert(1, "prompt_id", table["sample_id"].map(owners))
    if "submitted_at" in raw.values:
        table["submitted_at"] = pd.Series(labels(raw, "submitted_at"), dtype=object)
    if "inclusion" in raw.values:
        table["inclusion"] = shares(raw, "inclusion")
    names = sorted(set(table["dimension"]))
    note = (
        f"{len(table)} ratings of {table['sample_id'].nunique()} samples by "
        f"{table['rater'].nunique()} raters ({', '.join(names)})"
    )
    return table, (note,)


def with_ratings(one: Generations, ratings: pd.DataFrame, dimension: str | None) -> Generations:
    """The generations with `human` = the mean rating of each rated row, NaN elsewhere (and
    `inclusion` where given).

    Raises BadInput where ratings have several dimensions and none is chosen, or the chosen one is
    not among them.
    """
    names = sorted(set(ratings["dimension"]))
    if dimension is None and len(names) > 1:
        raise BadInput(
            f"ratings have the dimensions {', '.join(names)}; say which is the human score: "
            f"--dimension {names[0]}"
        )
    if dimension is not None and dimension not in names:
        raise BadInput(f"--dimension {dimension}: ratings have {', '.join(names)}")
    chosen = ratings[ratings["dimension"] == (dimension or names[0])]
    means = chosen.groupby("sample_id")["score"].mean()
    more = {"human": one.table["sample_id"].map(means).astype("float64")}
    if "inclusion" in chosen.columns:
        more["inclusion"] = (
            one.table["sample_id"]
            .map(chosen.groupby("sample_id")["inclusion"].first())
            .astype("float64")
        )
    rated = int(more["human"].notna().sum())
    note = f"human is the mean of people's ratings ({rated} of {len(one.table)} rows are rated)"
    if "human" in one.table.columns:
        note += "; the file's own human column is not used"
    return one.with_columns((note,), **more)


def _owners(outputs: Generations, base: Generations | None) -> dict[str, str]:
    found = dict(zip(outputs.table["sample_id"], outputs.table["prompt_id"], strict=True))
    if base is None:
        return found
    others = dict(zip(base.table["sample_id"], base.table["prompt_id"], strict=True))
    both = sorted(set(found) & set(others))
    if both:
        raise BadInput(
            f"sample_id {both[0]!r} is in {outputs.source} and in {base.source}: a rating could "
            "mean either; give the samples of the two files different ids"
        )
    return found | others


def _check(raw: Columns, table: pd.DataFrame, owners: dict[str, str]) -> None:
    stray = np.flatnonzero(~table["sample_id"].isin(owners).to_numpy())
    if stray.size:
        row = int(stray[0])
        raise raw.bad(
            row,
            "sample_id",
            f"{table['sample_id'].iloc[row]!r} is in no file of generations that was given",
        )
    missing = np.flatnonzero(table["score"].isna().to_numpy())
    if missing.size:
        raise raw.bad(
            int(missing[0]),
            "score",
            "is empty; expected a number (leave out the row where nobody rated)",
        )
    twice = np.flatnonzero(table.duplicated(["sample_id", "rater", "dimension"]).to_numpy())
    if twice.size:
        row = int(twice[0])
        raise raw.bad(
            row,
            "rater",
            f"{table['rater'].iloc[row]!r} rates this sample twice; expected one rating each",
        )
