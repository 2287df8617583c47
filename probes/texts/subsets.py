"""The same number of samples of the same prompts from two policies, and at most so many of them,
chosen by checksum.
"""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd

from probes.rows import Notes


def matched(
    rows: pd.DataFrame, base: pd.DataFrame, most: int
) -> tuple[pd.DataFrame, pd.DataFrame, Notes]:
    """As many samples of each prompt from one policy as from the other, at most about `most` rows
    of each.

    Where both policies are the same, swapping the two then changes nothing, prompt by prompt. Which
    samples and prompts are left out is decided by checksums of their names, so neither the order of
    rows nor a generator matters. Returns both tables, in order of prompt, and what was left out.
    """
    sizes = pd.concat(
        [t.groupby("prompt_id").size() for t in (rows, base)], axis=1, join="inner"
    ).min(axis=1)
    quota = fitting(sizes, most)
    now, then = (first(table, quota) for table in (rows, base))
    notes: Notes = {"texts": len(now), "texts_left_out": len(rows) - len(now)}
    notes |= {"texts_left_out_of_base": len(base) - len(then)} if len(base) > len(then) else {}
    if len(quota) < len(sizes):
        notes["prompts_read"] = f"{len(quota)} of {len(sizes)}, chosen by checksum"
    return now, then, notes


def some(rows: pd.DataFrame, most: int, least: int = 2) -> tuple[pd.DataFrame, Notes]:
    """At most about `most` rows, few of many prompts, chosen by checksum; and what was left out
    (see `fitting`).
    """
    if rows.empty:
        return rows, {"texts": 0}
    kept = first(rows, fitting(rows.groupby("prompt_id").size(), most, least))
    return kept, {"texts": len(kept), "texts_left_out": len(rows) - len(kept)}


def fitting(sizes: pd.Series[int], most: int, least: int = 2) -> pd.Series[int]:
    """How many rows of each prompt to take so that there are at most `most` (or one prompt's): all,
    if they fit.

    `sizes` says how many each prompt has. Otherwise max(least, most // prompts) of each, and of the
    prompts those with the smallest checksums.
    """
    if sizes.sum() <= most:
        return sizes
    capped = sizes.clip(upper=max(least, most // len(sizes)))
    order = sorted(capped.index, key=lambda p: (_checksum(str(p)), str(p)))
    taken = capped.loc[order].cumsum() <= most
    taken.iloc[0] = True
    return capped.loc[order][taken].sort_index()


def first(table: pd.DataFrame, quota: pd.Series[int]) -> pd.DataFrame:
    """The rows of each prompt whose names have the smallest checksums, as many as `quota` says, in
    order of prompt.
    """
    names = table["sample_id"].to_numpy(dtype=str)
    prompts, owner = np.unique(table["prompt_id"].to_numpy(dtype=str), return_inverse=True)
    checksums = np.array([_checksum(n) for n in names.tolist()], dtype=np.int64)
    order = np.lexsort((names, checksums, owner))
    sizes = np.bincount(owner, minlength=len(prompts))
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    allowed = quota.reindex(prompts).fillna(0).to_numpy(dtype=np.int64)
    return table.iloc[order[place < allowed[owner[order]]]]


def _checksum(name: str) -> int:
    return zlib.crc32(name.encode())
