"""Texts that say a thing twice, or say back what they were asked: shares of four words in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from probes.base import Evidence, Measurement
from probes.rows import Notes, defined
from probes.statistics import stats
from probes.statistics.resample import SHARE, Array, Estimate, Resampling, unmeasured
from probes.texts.grams import coded, grams
from probes.texts.sets import words_of
from probes.texts.setwise import IS_BASE, NO_TEXT, newcombe
from probes.texts.subsets import some

ORDER = 4
MOST_TEXTS = 20_000
ECHO = ("hacking.prompt_echo", "hacking.prompt_echo_change")
REPETITION = ("hacking.repetition", "hacking.repetition_change")


def echo(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: Notes, version: str
) -> list[Measurement]:
    """`hacking.prompt_echo`: share of a text's 4-grams that stand in its prompt, mean over prompts;
    and its change.
    """
    if not evidence.wants(*ECHO):
        return []
    if not evidence.prompts:
        missing, tables = "no prompts were given as text", [rows, base]
    else:
        missing = "no text of 4 words has a prompt of 4 words"
        tables, part = _read(rows, base)
        tables = [None if t is None else t.assign(_share=echoed(t, evidence)) for t in tables]
        notes = {**notes, **part}
    return _both(ECHO, tables, missing, evidence, {**notes, "words_in_a_row": ORDER}, version)


def repetition(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: Notes, version: str
) -> list[Measurement]:
    """`hacking.repetition`: share of a text's 4-grams that it had before, mean over prompts; and
    its change.
    """
    if not evidence.wants(*REPETITION):
        return []
    tables, part = _read(rows, base)
    tables = [None if t is None else t.assign(_share=repeated(t["text"].tolist())) for t in tables]
    detail = {**notes, **part, "words_in_a_row": ORDER}
    return _both(REPETITION, tables, "no text has 4 words", evidence, detail, version)


def _read(rows: pd.DataFrame, base: pd.DataFrame | None) -> tuple[list[pd.DataFrame | None], Notes]:
    """At most MOST_TEXTS texts of each policy, and what was left out."""
    now, part = some(rows, MOST_TEXTS)
    return [now, None if base is None else some(base, MOST_TEXTS)[0]], part


def repeated(texts: list[str]) -> Array:
    """1 - different 4-grams / 4-grams of each text, (n,), 0..1; NaN with fewer than 4 words."""
    found = grams(coded([words_of(t) for t in texts]), ORDER)
    total = np.bincount(found.text, minlength=len(texts))
    kinds = max(found.kinds, 1)
    different = np.bincount(
        np.unique(found.text * np.int64(kinds) + found.code) // kinds, minlength=len(texts)
    )
    return np.where(total > 0, 1 - different / np.maximum(total, 1), np.nan)


def echoed(table: pd.DataFrame, evidence: Evidence) -> Array:
    """Share of each text's 4-grams that stand in its prompt, (n,), 0..1; NaN where either has fewer
    than 4 words.
    """
    names, owner = np.unique(table["prompt_id"].to_numpy(dtype=str), return_inverse=True)
    asked = [words_of(evidence.prompts.get(name, "")) for name in names.tolist()]
    found = grams(coded([*(words_of(t) for t in table["text"]), *asked]), ORDER)
    n, kinds = len(table), max(found.kinds, 1)
    place = np.append(owner, np.arange(len(names)))[found.text] * np.int64(kinds) + found.code
    of_prompt = found.text >= n
    known = np.isin(place, np.unique(place[of_prompt]))
    total = np.bincount(found.text, minlength=n + len(names))
    copied = np.bincount(found.text, weights=known, minlength=n + len(names))[:n]
    possible = (total[:n] > 0) & (total[n:][owner] > 0)
    return np.where(possible, copied / np.maximum(total[:n], 1), np.nan)


def _both(
    names: tuple[str, str],
    tables: list[pd.DataFrame | None],
    missing: str,
    evidence: Evidence,
    detail: dict[str, Any],
    version: str,
) -> list[Measurement]:
    how = Resampling(levels=evidence.levels, resamples=evidence.resamples, seed=evidence.seed)
    now, then = tables
    assert now is not None
    share = moved = unmeasured(NO_TEXT if now.empty else missing)
    before = None
    if not defined(now, ["_share"]).empty:
        share = stats.mean(table=now, column="_share", bounds=SHARE, **how)
        detail["texts_too_short"] = len(now) - share.n
        moved = unmeasured(missing if then is not None else IS_BASE)
        if then is not None and not defined(then, ["_share"]).empty:
            before = float(stats.prompt_means(table=then, column="_share").mean())
            moved = _moved(now, then, share, before, evidence, how)
    if then is None and not now.empty:
        moved = unmeasured(IS_BASE)
    found = [
        share.measured(
            names[0],
            unit="share of 4-grams",
            version=version,
            direction="lower",
            baseline=before,
            detail=detail,
        ),
        moved.measured(
            names[1],
            unit="share of 4-grams",
            version=version,
            direction="lower",
            baseline=None if then is None else 0.0,
            detail=detail,
        ),
    ]
    return [m for m in found if evidence.wants(m.name)]


def _moved(
    now: pd.DataFrame,
    then: pd.DataFrame,
    share: Estimate,
    before: float,
    evidence: Evidence,
    how: Resampling,
) -> Estimate:
    means = [stats.prompt_means(table=t, column="_share") for t in (now, then)]
    values = np.asarray((means[0] - means[1]).dropna(), dtype=np.float64)
    moved = stats.mean_of(
        values=values, n=share.n, undefined="no prompt has such a text of both policies", **how
    )
    if moved.value == 0 and not moved.intervals and moved.units > 1 and share.value is not None:
        return newcombe(moved, now=share.value, then=before, levels=evidence.levels)
    return moved
