"""The slices a validation looks at: items by length, topic, group mentioned, source and how hard
they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from probes.base import Array
from probes.texts.mentions import groups, mentions
from restaudit.reward.validation.judged import Judged, topic_texts
from restaudit.reward.validation.paired import words

MOST_TOPICS = 6
ITEMS_A_TOPIC = 30
NAMED_BY = 3
ALIKE = 0.1
MOST_SOURCES = 20


@dataclass(frozen=True)
class Slice:
    """Some items: what they are divided by, a short name, what they are in words, and which rows,
    (items,) bool.
    """

    by: str
    name: str
    says: str
    rows: npt.NDArray[np.bool_]


def slices_of(judged: Judged) -> Iterator[Slice]:
    """Every slice of `judged.table` that has an item, in a fixed order; slices of different kinds
    overlap.
    """
    yield from _lengths(judged)
    yield from topics(judged)
    yield from _mentioned(judged)
    yield from _sources(judged)
    yield from _hard(judged)


def _lengths(judged: Judged) -> Iterator[Slice]:
    n = _words(judged)
    low, high = np.quantile(n, [1 / 3, 2 / 3]) if len(n) else (0.0, 0.0)
    what = "both responses together" if judged.kind == "pairs" else "the text"
    for name, rows, says in (
        ("short", n <= low, f"{what}: at most {low:.0f} words"),
        ("medium", (n > low) & (n <= high), f"{what}: {low:.0f} to {high:.0f} words"),
        ("long", n > high, f"{what}: over {high:.0f} words"),
    ):
        if rows.any():
            yield Slice("length", name, says, rows)


def topics(judged: Judged) -> list[Slice]:
    """At most 6 clusters by k-means of the embeddings, or of TF-IDF weights reduced to 50
    dimensions (latent semantic analysis), each named by the words that set it apart; none where
    items are too few or share no words.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    texts = topic_texts(judged.table)
    count = min(MOST_TOPICS, len(set(texts)) // ITEMS_A_TOPIC)
    if count < 2:
        return []
    vectorizer = TfidfVectorizer(
        stop_words="english", min_df=2, max_df=0.5, sublinear_tf=True, max_features=20_000
    )
    try:
        weights, names = vectorizer.fit_transform(texts), vectorizer.get_feature_names_out()
    except ValueError:  # scikit-learn's "no terms remain"
        weights, names = None, np.empty(0, dtype=object)
    found = judged.embeddings
    if found is None:
        width = min(50, len(names) - 1)
        if width < 2:
            return []
        found = TruncatedSVD(width, random_state=0).fit_transform(weights)
    label = KMeans(count, n_init=4, random_state=0).fit(normalize(found)).labels_
    out = []
    for k in np.unique(label):
        rows = np.asarray(label == k)
        typical: list[str] = []
        if weights is not None:
            apart = np.asarray(weights[rows].mean(axis=0) - weights[~rows].mean(axis=0)).ravel()
            typical = names[np.argsort(-apart, kind="stable")[:NAMED_BY]].tolist()
        says = f"cluster named by its most typical words: {', '.join(typical) or 'none'}"
        out.append(Slice("topic", str(k + 1), says, rows))
    return out if len(out) > 1 else []


def _mentioned(judged: Judged) -> Iterator[Slice]:
    whole = [
        " ".join(t for t in texts if isinstance(t, str))
        for texts in judged.table[["prompt", "left", "right"]].to_numpy()
    ]
    found: Array = mentions(whole)
    for k, group in enumerate(groups()):
        if (rows := found[:, k] > 0).any():
            yield Slice(
                "mentions", str(group), f"prompt or text names {group} by a listed word", rows
            )


def _sources(judged: Judged) -> Iterator[Slice]:
    if "source" not in judged.table.columns:
        return
    sources: pd.Series[Any] = judged.table["source"].astype(str)
    counts = sources.value_counts()
    for name in sorted(counts.index[:MOST_SOURCES]):
        yield Slice("source", name, f"items of {name}", (sources == name).to_numpy())


def _hard(judged: Judged) -> Iterator[Slice]:
    """Items that people find hard to tell apart, and pairs that length does not tell apart."""
    by_item = judged.votes.groupby("item_id")["value"]
    if judged.kind == "ratings":
        sd = judged.table["item_id"].map(by_item.std()).to_numpy(dtype=np.float64)
        if np.isfinite(sd).any():
            limit = float(np.nanquantile(sd, 2 / 3))
            yield Slice(
                "hard", "judges_disagree", f"the judges' sd is over {limit:.2g}", sd > limit
            )
        return
    both = (
        (by_item.max() - by_item.min()).reindex(judged.table["item_id"]).to_numpy(dtype=np.float64)
    )
    if (by_item.size() > 1).any():
        yield Slice("hard", "judges_disagree", "not all judges of the pair said the same", both > 0)
    a, b = (words(judged.table[side]).to_numpy(dtype=np.float64) for side in ("left", "right"))
    alike = np.abs(a - b) <= ALIKE * np.maximum(a, b)
    yield Slice(
        "hard", "length_alike", f"the responses' lengths differ by at most {ALIKE:.0%}", alike
    )


def _words(judged: Judged) -> Array:
    n = words(judged.table["left"])
    if judged.kind == "pairs":
        n = n + words(judged.table["right"])
    return np.asarray(n, dtype=np.float64)
