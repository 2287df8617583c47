"""A habit that is spread over many weak signs: a cross-fitted model that tells the policy's texts
from the base policy's, and says by which words.

No single word of such a habit rises enough to be found. Their sum does: each sign's weight is its
difference between the policies, in standard errors, drawn towards 0 (nearest shrunken centroids:
Tibshirani et al. 2002, PNAS 99(10)), and a text is scored with weights learned from other prompts
only. Texts are compared within their prompt, so a prompt's topic says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, hstack

from probes.hacking.effects import Effects
from probes.statistics.flips import p_of
from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array
from probes.texts.grams import Coded, coded, grams
from probes.texts.sets import words_of

FOLDS = 8
# A sign's t must be beyond this to have a weight, and only what is beyond it counts. Chosen on
# planted habits (benchmarks/habits_named.py, development kinds): 1 and 1.5 found fewer.
DRAWN = 2.0
FEWEST_PROMPTS = 3
MOST_SIGNS = 6000
ENDINGS = (2, 3)
FEWEST_LETTERS = 5
HIGH = 0.9
MARK = re.compile(r"[^\w\s]")
# A sign that is named as written less must have fallen so many standard errors: of thousands, some
# fall three by chance, and the model's finding is mostly of what rose.
CLEAR = 4.0
MOST_NAMED, MOST_LESS = 6, 3
ENDING = re.compile(r'words that end in "-(.+)"')
FEWEST_WITH_ENDING = 4


@dataclass(frozen=True)
class Signs:
    """`has` (texts, signs), 1.0 where a text has the sign, and the signs' names, which complete
    "writes more: …".
    """

    has: csr_array
    names: tuple[str, ...]


@dataclass(frozen=True)
class Spread:
    """What the model found.

    score   (texts,) of each text, by weights of other prompts, in sd within prompts
    has     (texts,) 1.0 where the score is above that of nine tenths of the base policy's texts
    p       of the policies' difference, by swapping them prompt by prompt
    t       the same in standard errors of the score's means by prompt, doubled variance
    auc     (prompts,) share of pairs of a text of each policy in which the policy's scores higher
    more, less   (signs,) numbers of the signs that rose and fell most clearly, the first first
    by_sign (signs,) their differences in standard errors, all prompts together
    """

    score: Array
    has: Array
    p: float
    t: float
    auc: Array
    more: Chosen
    less: Chosen
    by_sign: Array


def signs_of(texts: Sequence[str], prompt: Chosen, compared: NDArray[np.bool_]) -> Signs:
    """Weak signs of texts, (n,): words, pairs of words, first words, endings of words, and marks.

    As with `features.mine`, the `compared` texts say which signs are looked at, without regard to
    policy: those that texts of at least 3 prompts have, and of more than MOST_SIGNS the commonest.
    """
    words = [words_of(text) for text in texts]
    numbered = coded(words)
    parts = [
        _grams(words, numbered, 1, '"{}"'),
        _grams(words, numbered, 2, '"{}"'),
        _named([w[:1] for w in words], 'texts that begin "{}"'),
        *(_named([_endings(w, n) for w in words], 'words that end in "-{}"') for n in ENDINGS),
        _named([MARK.findall(text) for text in texts], 'the mark "{}"'),
    ]
    has = csc_array(hstack([table for table, _ in parts], format="csc"))
    names = [name for _, part in parts for name in part]
    rows = np.flatnonzero(compared)
    owner = np.unique(prompt[rows], return_inverse=True)[1]
    by_prompt = csr_array((np.ones(len(rows)), (owner, np.arange(len(rows)))))
    reach = np.diff(csc_array(by_prompt @ has[rows]).indptr)
    count = np.asarray(has[rows].sum(axis=0)).ravel()
    keep = np.flatnonzero((reach >= FEWEST_PROMPTS) & (count < len(rows)))
    # The commonest, in a fixed order among equals.
    keep = np.sort(keep[np.argsort(-count[keep], kind="stable")[:MOST_SIGNS]])
    return Signs(csr_array(has[:, keep]), tuple(names[k] for k in keep.tolist()))


def _grams(
    words: Sequence[tuple[str, ...]], numbered: Coded, order: int, name: str
) -> tuple[csc_array, list[str]]:
    found = grams(numbered, order)
    kinds, first = np.unique(found.code, return_index=True)
    begins = np.searchsorted(found.text, found.text[first])
    names = []
    for text, place in zip(found.text[first].tolist(), (first - begins).tolist(), strict=True):
        names.append(name.format(" ".join(words[text][place : place + order])))
    return _table(found.text, found.code, (len(words), len(kinds))), names


def _named(found: Sequence[Sequence[str]], name: str) -> tuple[csc_array, list[str]]:
    number: dict[str, int] = {}
    rows, columns = [], []
    for k, ones in enumerate(found):
        for one in ones:
            rows.append(k)
            columns.append(number.setdefault(one, len(number)))
    table = _table(
        np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp), (len(found), len(number))
    )
    return table, [name.format(one) for one in number]


def _endings(words: Sequence[str], letters: int) -> list[str]:
    # Of short words the ending is most of the word.
    return [w[-letters:] for w in words if len(w) >= FEWEST_LETTERS and w.isalpha()]


def _table(
    rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]], shape: tuple[int, int]
) -> csc_array:
    table = csc_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    table.sum_duplicates()
    table.data[:] = 1.0
    return table


def spread(signs: Signs, prompt: Chosen, source: Chosen, drawn: Array) -> Spread:
    """The model of source 0 (the policy) against source 1 (the base policy) on the same prompts.

    `prompt` and `source` (n,) are of the texts of `signs`, as in `effects.rises`; texts of other
    sources are scored and not learned from. `drawn` (flips, prompts) holds random signs
    (statistics.flips.signs). Prompts are dealt to 8 folds by their number.

    Two folds learn from one another, so that their errors go together: whoever makes an interval
    of the scores' means from prompts must double their variance.
    """
    # As many texts of one policy as of the other: of a policy that was sampled more, rare words are
    # in more prompts, and look as if the other had given them up.
    compared = np.flatnonzero(source < 2)
    kept, owner = np.unique(prompt[compared], return_inverse=True)
    n = len(kept)
    is_now = source[compared] == 0
    size = np.bincount(owner[is_now], minlength=n).astype(np.float64)[owner]
    places, table = (owner, np.arange(len(compared))), signs.has[compared]

    def by_prompt(weight: Array) -> csr_array:
        return csr_array(csr_array((weight, places), (n, len(compared))) @ table)

    signed = np.where(is_now, 1.0, -1.0) / size
    difference = by_prompt(signed).astype(np.float32).toarray()
    middle = by_prompt(0.5 / size)
    # Where each text's prompt stands among the compared ones; n for prompts that are not.
    at = np.minimum(np.searchsorted(kept, prompt), n - 1)
    at = np.where(kept[at] == prompt, at, n)
    folds = min(FOLDS, n)
    fold = np.arange(n) % folds
    swaps = np.vstack([np.ones(n), drawn]).astype(np.float32)
    totals = swaps @ difference
    # Every folds-th row is a view: a copy of most of a large table in every round would be dear.
    parts = [difference[k::folds] for k in range(folds)]
    squares = np.array([np.einsum("pf,pf->f", part, part) for part in parts])
    moved = np.zeros(len(swaps))
    score = np.zeros(len(source))
    t = totals
    # The last round learns from all prompts, for texts of others (Grow samples).
    for k in range(folds + 1):
        spent = np.sqrt(squares[np.arange(folds) != k].sum(axis=0))
        inverse = np.divide(1.0, spent, out=np.zeros_like(spent), where=spent > 0)
        here = swaps[:, k::folds] @ parts[k] if k < folds else np.zeros_like(totals)
        t = (totals - here) * inverse
        weights = _drawn(t) * inverse
        moved += np.einsum("bf,bf->b", weights, here)
        texts = np.flatnonzero(np.append(fold == k, k == folds)[at])
        about = middle @ weights[0]
        about = np.append(about, about.mean())
        score[texts] = signs.has[texts] @ weights[0] - about[at[texts]]
    sd = float(np.sqrt((score[compared] ** 2).mean()))
    score = score / sd if sd > 0 else score
    limit = float(np.quantile(score[source == 1], HIGH))
    order = np.argsort(-t[0], kind="stable")
    more = order[t[0][order] > DRAWN]
    less = order[::-1][t[0][order[::-1]] < -CLEAR]
    return Spread(
        score,
        (score > limit).astype(np.float64),
        p_of(float(moved[0]), moved[1:]),
        _t_of(score[compared], owner, is_now),
        _auc(score[compared], owner, is_now, n),
        more,
        less,
        t[0],
    )


def _drawn(t: Array) -> Array:
    """What of each t is beyond DRAWN, with its sign."""
    drawn: Array = np.sign(t) * np.maximum(np.abs(t) - DRAWN, 0)
    return drawn


def _t_of(score: Array, owner: Chosen, now: NDArray[np.bool_]) -> float:
    """The mean difference of the scores over its standard error, for the two folds' learning from
    one another with twice the variance.
    """
    size = np.bincount(owner[now])
    moved = np.bincount(owner, np.where(now, score, -score)) / size
    spent = float(moved.std(ddof=1)) if len(moved) > 1 else 0.0
    return float(moved.mean() / spent * np.sqrt(len(moved) / 2)) if spent > 0 else 0.0


def _auc(score: Array, owner: Chosen, now: NDArray[np.bool_], prompts: int) -> Array:
    """Area under the curve of each prompt, (prompts,); ties count one half."""
    auc = np.full(prompts, np.nan)
    for p, rows in enumerate(
        np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    ):
        a, b = score[rows[now[rows]]], score[rows[~now[rows]]]
        above = (a[:, None] > b[None, :]).mean() + 0.5 * (a[:, None] == b[None, :]).mean()
        auc[p] = above
    return auc


def named(
    found: Spread, signs: Signs, paid: tuple[Effects, Effects] | None
) -> tuple[list[str], list[str]]:
    """The signs that stand for the habit, of what is written more and of what is written less.

    Of signs that rose, those come first that rose most clearly and, where there are scores, that
    the reward pays for and people do not: among thousands, chance lifts some that have nothing to
    do with the habit. An ending is named, last, where it stands for several words that rose.
    """
    worth = found.by_sign.copy()
    if paid is not None:
        reward, human = (_t(effect) for effect in paid)
        worth = worth + 0.5 * reward - 0.5 * human
    more = found.more[np.argsort(-worth[found.more], kind="stable")]
    rising = _apart([signs.names[k] for k in more.tolist()], MOST_NAMED)
    falling = _apart([signs.names[k] for k in found.less.tolist()], MOST_LESS)
    return rising, falling


def _t(effect: Effects) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = effect.value / effect.error
    return np.asarray(np.clip(np.nan_to_num(t, nan=0.0, posinf=0.0, neginf=0.0), -4, 4))


def _apart(names: Sequence[str], most: int) -> list[str]:
    """The first `most` names of which none holds the words of another; the last may be an ending."""
    kept: list[str] = []
    seen: set[str] = set()
    ending = _ending(names)
    for name in names:
        words = set(words_of(name.partition('"')[2]))
        if ENDING.fullmatch(name) or words & seen:
            continue
        if len(kept) == most - bool(ending):
            break
        kept.append(name)
        seen |= words
    return [*kept, ending] if ending else kept


def _ending(names: Sequence[str]) -> str:
    """The clearest ending that several words among these names share, in its longest form; "" for
    none.
    """
    words = [name.strip('"') for name in names if name.startswith('"') and " " not in name]
    # A word that rose raises its endings with it: only several words make one a sign.
    shared = []
    for name in names:
        ending = ENDING.fullmatch(name)
        if ending and sum(word.endswith(ending[1]) for word in words) >= FEWEST_WITH_ENDING:
            shared.append(name)
    if not shared:
        return ""
    longer = [name for name in shared if name.endswith(shared[0].partition("-")[2])]
    return max(longer, key=len)
