"""Counterfactual rows by family and group: a cell holds one group's rows of one family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Array
from probes.rows import numbers

Codes = np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True)
class Cells:
    """Rows of a table that belong to a family and a group.

    `rows` are their positions in the table, `at` their cells: family number × groups + group
    number.
    """

    table: pd.DataFrame
    rows: Codes
    families: tuple[str, ...]
    groups: tuple[str, ...]
    at: Codes

    @property
    def shape(self) -> tuple[int, int]:
        """Families, groups."""
        return len(self.families), len(self.groups)

    def numbers(self, column: str) -> Array:
        """The column's values of these rows; NaN where undefined."""
        return numbers(self.table, column)[self.rows]

    def texts(self) -> list[str]:
        """The texts of these rows."""
        return self.table["text"].iloc[self.rows].tolist()

    def sums(self, values: Array) -> Array:
        """Sum of the values, one a row, in every cell, shape (families, groups); the rows' order
        does not matter.
        """
        order = np.lexsort((values, self.at))
        total = np.bincount(
            self.at[order], weights=values[order], minlength=self.shape[0] * self.shape[1]
        )
        return total.astype(np.float64).reshape(self.shape)

    def means(self, values: Array) -> Array:
        """Mean of the defined values in every cell; NaN where there is none."""
        there = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            return self.sums(np.where(there, values, 0.0)) / self.sums(there.astype(np.float64))


def cells_of(table: pd.DataFrame, like: Cells | None = None) -> Cells:
    """The counterfactual rows of a table; with `like`, only those of its families and groups,
    numbered as there.
    """
    none: list[str] = []
    rows, family, group = np.empty(0, dtype=np.intp), none, none
    if "family" in table.columns and "group" in table.columns:
        both = [table[c].to_numpy(dtype=object) for c in ("family", "group")]
        rows = np.flatnonzero(pd.notna(both[0]) & pd.notna(both[1]))
        family, group = ([str(x) for x in column[rows]] for column in both)
    families, groups = (
        (like.families, like.groups) if like else (tuple(sorted(set(x))) for x in (family, group))
    )
    f, g = (_numbered(names, known) for names, known in ((family, families), (group, groups)))
    there = (f >= 0) & (g >= 0)
    return Cells(table, rows[there], families, groups, (f * len(groups) + g)[there])


def _numbered(names: list[str], known: tuple[str, ...]) -> Codes:
    """The place of each name among the known ones, -1 where it is none of them."""
    place = {k: i for i, k in enumerate(known)}
    return np.array([place.get(n, -1) for n in names], dtype=np.intp)
