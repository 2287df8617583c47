"""Signs that training on its own output narrows a policy: synthetic share, copying, fewer words,
fewer rare words.

Shumailov et al. 2024: models trained on what models wrote lose the tails of the distribution first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probes.base import Evidence, Interval, Measurement
from probes.drift import METRICS
from probes.rows import IS_BASE, NO_TEXT
from probes.statistics.jackknife import Chosen
from probes.statistics.resample import SHARE, Array, Estimate, bootstrap, newcombe, unmeasured
from probes.texts.grams import Coded, coded, distinct_ratio, grams
from probes.texts.sets import Texts, Vocabulary, estimated, match, shuffled, sides_of

LONGEST_COPY = 8
SHORTEST_COPY = 3
FOLDS = 5
RARE_SHARE = 0.01

Notes = Mapping[str, Any]


def _kept(evidence: Evidence) -> tuple[pd.DataFrame | None, str]:
    """The rows this Improve step trained on, or why there are none."""
    if evidence.base is None and evidence.grow is None:
        return None, "this is the base policy"
    if evidence.grow is None:
        return None, "no Grow set was given"
    if "kept" not in evidence.grow.columns:
        return None, "the Grow set does not say what was kept"
    kept = evidence.grow[evidence.grow["kept"].to_numpy(dtype=bool)]
    if kept.empty:
        return None, "nothing was kept"
    return kept, ""


def synthetic_share(evidence: Evidence, version: str) -> list[Measurement]:
    """`drift.synthetic_share`: share of the kept rows that a policy wrote, the others being human
    references.
    """
    if not evidence.wants("drift.synthetic_share"):
        return []
    kept, reason = _kept(evidence)
    estimate, detail = unmeasured(reason), {}
    if kept is not None and evidence.grow is not None and "origin" in kept.columns:
        made = pd.DataFrame(
            {"made": (kept["origin"] == "policy").to_numpy(dtype=np.float64), "rows": 1.0}
        )
        totals = made.groupby(kept["prompt_id"].astype(str).to_numpy()).sum().to_numpy()
        estimate = bootstrap(
            totals=totals,
            statistic=lambda s: s[:, 0] / s[:, 1],
            n=len(kept),
            bounds=SHARE,
            **evidence.resampling,
        )
        before = float((evidence.grow["origin"] == "policy").mean())
        detail = {
            "share_before_the_filter": before,
            "kept_rows": len(kept),
            "grow_rows": len(evidence.grow),
        }
    elif kept is not None:
        estimate = unmeasured("the Grow set does not say which rows a policy wrote (column origin)")
    return [estimate.recorded(METRICS["drift.synthetic_share"], version=version, detail=detail)]


# --- copying


def copying(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: Notes, version: str
) -> list[Measurement]:
    """`drift.copying`: share of the texts' long n-grams that stand word for word in a text trained
    on; and its change.

    The n-grams have 8 words, fewer where texts are short: half the lower quartile of the base
    policy's word counts, at least 3 words. The base policy was not trained on these texts: its
    share is what the task alone makes alike.
    """
    names = ("drift.copying", "drift.copying_change")
    if not evidence.wants(*names):
        return []
    kept, reason = _kept(evidence)
    detail: dict[str, Any] = dict(notes)
    share = moved = unmeasured(reason or NO_TEXT)
    before = None
    if kept is not None and not rows.empty:
        tables = [rows, kept] if base is None else [rows, base, kept]
        counted, facts = _copied(tables)
        detail |= {**facts, "kept_texts": len(kept)}
        undefined = f"no text has {facts['words_in_an_n_gram']} words"
        share = bootstrap(
            totals=counted[0].to_numpy(),
            statistic=lambda s: s[:, 0] / s[:, 1],
            n=len(rows),
            bounds=SHARE,
            undefined=undefined,
            **evidence.resampling,
        )
        moved = unmeasured(IS_BASE)
        if base is not None:
            then = counted[1].to_numpy()
            if then[:, 1].sum():
                before = float(then[:, 0].sum() / then[:, 1].sum())
            moved = _moved(counted[0], counted[1], share, before, len(rows), undefined, evidence)
    measurements = [
        share.recorded(METRICS[names[0]], version=version, baseline=before, detail=detail),
        moved.recorded(
            METRICS[names[1]],
            version=version,
            baseline=None if base is None else 0.0,
            detail=detail,
        ),
    ]
    return [m for m in measurements if evidence.wants(m.name)]


def _copied(tables: list[pd.DataFrame]) -> tuple[list[pd.DataFrame], dict[str, Any]]:
    """By prompt, for all tables but the last: n-grams that stand in a text of the last, and
    n-grams.
    """
    names = Vocabulary()
    words = [list(map(names.words_of, table["text"].tolist())) for table in tables]
    lengths = np.array([len(w) for w in words[-2]])
    # Half a short text at most: where texts have fewer words than the n-gram, nothing could be copied.
    order = int(np.clip(np.quantile(lengths, 0.25) // 2, SHORTEST_COPY, LONGEST_COPY))
    # All tables are numbered together, so that the same n-gram has the same number in each.
    n_grams = grams(coded([text_words for table in words for text_words in table]), order)
    starts = np.cumsum([0, *map(len, words)])
    trained_on = np.zeros(n_grams.kinds, dtype=bool)
    trained_on[n_grams.code[n_grams.text >= starts[-2]]] = True
    counted = []
    for k, table in enumerate(tables[:-1]):
        of_table = (n_grams.text >= starts[k]) & (n_grams.text < starts[k + 1])
        text = n_grams.text[of_table] - starts[k]
        copied = trained_on[n_grams.code[of_table]]
        hits = np.bincount(text, weights=copied, minlength=len(table))
        totals = np.bincount(text, minlength=len(table)).astype(np.float64)
        frame = pd.DataFrame({"hits": hits, "n_grams": totals})
        counted.append(frame.groupby(table["prompt_id"].to_numpy(dtype=object)).sum())
    too_short = int((np.array([*map(len, words[0])]) < order).sum())
    return counted, {"words_in_an_n_gram": order, "texts_too_short": too_short}


def _moved(
    now: pd.DataFrame,
    then: pd.DataFrame,
    share: Estimate,
    before: float | None,
    n: int,
    undefined: str,
    evidence: Evidence,
) -> Estimate:
    both = now.join(then.add_suffix("_base"), how="inner").sort_index().to_numpy()
    moved = bootstrap(
        totals=both,
        statistic=lambda s: s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3],
        n=n,
        undefined=undefined,
        **evidence.resampling,
    )
    known = share.value is not None and before is not None
    # No prompt moved, so resampling shows no spread; a share of 0 before and after is not exact.
    if known and moved.value == 0 and not moved.intervals and moved.units > 1:
        assert share.value is not None
        assert before is not None
        return newcombe(moved, now=share.value, then=before, levels=evidence.levels)
    return moved


# --- words


def vocabulary(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: Notes, version: str
) -> list[Measurement]:
    """`drift.vocabulary` and `drift.rare_words`: the words used, and those used rarely, over the
    base policy's.

    Both on the same number of samples a prompt and words a text (`texts.match`).
    """
    names = ("drift.vocabulary", "drift.rare_words")
    if not evidence.wants(*names):
        return []
    detail: dict[str, Any] = dict(notes)
    different = rare = unmeasured(NO_TEXT if rows.empty else IS_BASE)
    if base is not None and not rows.empty:
        now, then, matched = match(rows, base)
        assert then is not None
        detail |= matched
        if evidence.wants(names[0]):
            sides = sides_of(evidence, now, then, detail)
            assert sides.then is not None
            ratio = distinct_ratio(sides.now.counts(1), sides.then.counts(1))
            different = estimated(
                ratio, sides, evidence, log=True, undefined="one of the policies wrote no word"
            )
        if evidence.wants(names[1]):
            rare, facts = _rare(now, then, evidence)
            detail |= facts
    start = None if base is None else 1.0
    measurements = [
        different.recorded(METRICS[names[0]], version=version, baseline=start, detail=detail),
        rare.recorded(METRICS[names[1]], version=version, baseline=start, detail=detail),
    ]
    return [m for m in measurements if evidence.wants(m.name)]


def _rare(now: Texts, then: Texts, evidence: Evidence) -> tuple[Estimate, dict[str, Any]]:
    """Share of the policy's words that are rare, over the base policy's share.

    Whether a word is rare for a prompt is decided by the base policy's texts of the prompts in the
    other folds. Were it decided by the very texts that are counted, words that are rare there by
    chance would seem to become more common.
    """
    if now.units < 2:
        return unmeasured(
            "one prompt: there are no other prompts to say which words are rare", n=now.n, units=1
        ), {}
    # By checksum, so that the folds of a prompt are the same for every policy and iteration.
    fold = np.empty(now.units, dtype=np.intp)
    fold[shuffled(now.prompts)] = np.arange(now.units) % FOLDS
    words = coded([*now.words, *then.words])
    cut = int(words.lengths[: now.n].sum())
    text = np.repeat(np.arange(now.n + then.n), words.lengths)
    used = _used_in(
        Coded(words.ids[cut:], words.lengths[now.n :], words.vocabulary), fold[then.owner]
    )
    others = used.sum(axis=1, keepdims=True) - used
    texts_of_others = then.n - np.bincount(fold[then.owner], minlength=FOLDS)
    most = np.maximum(1, np.floor(RARE_SHARE * texts_of_others)).astype(np.int64)
    owner = np.concatenate([now.owner, then.owner])[text]
    is_rare = others[words.ids, fold[owner]] <= most[fold[owner]]
    by_policy = np.arange(len(owner)) < cut
    columns = []
    for side in (by_policy, ~by_policy):
        columns.append(np.bincount(owner[side], weights=is_rare[side], minlength=now.units))
        columns.append(np.bincount(owner[side], minlength=now.units))
    totals = np.stack(columns, axis=1).astype(np.float64)
    sums = totals.sum(axis=0)
    detail = {
        "rare_is": (
            f"in at most max(1, {RARE_SHARE:.0%}) of the base policy's texts of prompts in "
            "other folds"
        ),
        "folds": FOLDS,
        "rare_share": _share(sums[:2]),
        "rare_share_base": _share(sums[2:]),
    }
    estimate = bootstrap(
        totals=totals,
        statistic=_rare_ratio,
        n=now.n,
        bounds=(0.0, np.inf),
        undefined="the base policy uses no rare word",
        **evidence.resampling,
    )
    if estimate.value == 0 and not estimate.intervals and estimate.units > 1:
        estimate = _none_left(estimate, int((totals[:, 2] > 0).sum()), evidence)
    return estimate, detail


def _none_left(estimate: Estimate, prompts: int, evidence: Evidence) -> Estimate:
    """No rare word at all: from 0 to Garwood's (1936) exact Poisson limit over the base policy's
    prompts with one.
    """
    ends = tuple(
        Interval(level, 0.0, float(-np.log((1 - level) / 2) / prompts)) for level in evidence.levels
    )
    method = (
        f"exact Poisson limit, each of the base policy's {prompts} prompts with a rare word "
        "one event"
    )
    return replace(estimate, intervals=ends, method=method, reason=None, error=None)


def _rare_ratio(sums: Array) -> Array:
    return (sums[:, 0] / sums[:, 1]) / np.where(sums[:, 2] > 0, sums[:, 2] / sums[:, 3], np.nan)


def _share(sums: Array) -> float | None:
    return float(sums[0] / sums[1]) if sums[1] else None


def _used_in(words: Coded, fold: Chosen) -> NDArray[np.int64]:
    """In how many texts of each fold each word stands, (vocabulary, FOLDS)."""
    text = np.repeat(np.arange(len(words.lengths)), words.lengths)
    pairs = np.unique(text * np.int64(words.vocabulary) + words.ids)
    word, where = pairs % max(words.vocabulary, 1), fold[pairs // max(words.vocabulary, 1)]
    return np.bincount(word * FOLDS + where, minlength=words.vocabulary * FOLDS).reshape(-1, FOLDS)
