"""Where the reward is worse: its agreement with people slice by slice, and each slice against all
other items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtr, stdtrit

from probes.base import Array, Measurement
from probes.statistics.multiplicity import holm
from probes.statistics.resample import FEWEST_UNITS
from probes.statistics.stats import (
    Estimate,
    Resampling,
    linearised,
    mean_of,
    prompt_means,
    unmeasured,
)
from probes.texts.word_lists import groups, mentions
from restaudit.reward.validation.judged import (
    Judged,
    agreement,
    joined,
    measured,
    nothing,
    topic_texts,
    unit_of,
    words,
)

FEWEST = 30
MOST_ANNOTATORS = 20
WORSE = 0.05
KINDS = ("length", "topic", "mentions", "source", "hard", "annotator")
NO_SLICE = {
    "topic": "too few different prompts or texts for two clusters of 30, or they share no words",
    "mentions": "no item names a listed group",
    "source": "the items have no column `source`",
    "hard": "no item has two judges",
    "annotator": "no judgement names its annotator",
    "length": "there are no items",
}


def slices(judged: Judged, **resampling: Unpack[Resampling]) -> list[Measurement]:
    """For every slice: agreement with people (`slice.…`), for ratings also how far the reward
    overrates it, and how much worse it is than all other items (`slice_gap.…`).

    The gap is the mean loss inside less outside: share of wrong pairs, or absolute error in rating
    units. Its p-value is corrected over all slices by Holm, and `detail.worse` says whether it is
    above 0 at 5% after that. Below 30 items a slice is null.
    """
    measurements: list[Measurement] = []
    table = judged.usable
    place = {item: k for k, item in enumerate(judged.table["item_id"])}
    index = table["item_id"].map(place).to_numpy(dtype=np.int64)
    kinds = set()
    for one in slices_of(judged):
        kinds.add(one.by)
        rows = one.rows[index]
        measurements += _slice(judged, table, rows, f"{one.by}.{one.name}", one.says, **resampling)
    votes = judged.judgements
    for rater in _annotators(votes):
        kinds.add("annotator")
        rows = (votes["rater"].astype(str) == rater).to_numpy()
        says = f"judgements by annotator {rater}"
        measurements += _slice(judged, votes, rows, f"annotator.{rater}", says, **resampling)
    for by in KINDS:
        if by not in kinds:
            name, meaning = f"slice.{by}", f"slices by {by}"
            measurements.append(nothing(name, unit_of(judged), meaning, NO_SLICE[by]))
    return _corrected(measurements)


def worse(measurements: Sequence[Measurement]) -> list[str]:
    """Names of the slices that are worse than all other items, after Holm's correction."""
    shown = [m for m in measurements if m.detail.get("worse")]
    return [m.name.removeprefix("validation.slice_gap.") for m in shown]


def _annotators(votes: pd.DataFrame) -> list[str]:
    """The annotators with the most judgements, at most 20."""
    counts = votes["rater"].dropna().astype(str).value_counts()
    named = sorted(counts.index, key=lambda r: (-int(counts[r]), len(r), r))[:MOST_ANNOTATORS]
    return sorted(named, key=lambda r: (len(r), r))


def _slice(
    judged: Judged,
    table: pd.DataFrame,
    rows: npt.NDArray[np.bool_],
    name: str,
    says: str,
    **resampling: Unpack[Resampling],
) -> list[Measurement]:
    inside = table[rows]
    ratings = judged.kind == "ratings"
    if len(inside) < FEWEST:
        too_few = f"{len(inside)} items; at least {FEWEST} are needed"
        own = over = gap = unmeasured(too_few, n=len(inside))
    else:
        own, gap = agreement(judged, inside, **resampling), _gap(table, rows, **resampling)
        if ratings:
            over = _mean(inside, "over", **resampling)
    measurements = [measured(own, f"slice.{name}", unit_of(judged), says)]
    if ratings:
        meaning = f"{says}: what the reward's line says less what people say"
        measurements.append(measured(over, f"slice_over.{name}", "rating units", meaning))
    loss = "absolute error, rating units" if ratings else "share wrong"
    difference = measured(gap, f"slice_gap.{name}", loss, f"{says}: loss inside less outside")
    return [*measurements, replace(difference, direction="lower")]


def _mean(rows: pd.DataFrame, column: str, **resampling: Unpack[Resampling]) -> Estimate:
    values = np.asarray(prompt_means(table=rows, column=column), dtype=np.float64)
    n = int(rows[column].notna().sum())
    return mean_of(
        values=values, n=n, undefined="the reward or the ratings do not vary", **resampling
    )


def _gap(
    table: pd.DataFrame, rows: npt.NDArray[np.bool_], **resampling: Unpack[Resampling]
) -> Estimate:
    """Mean loss inside less outside, both from the same resampled units; t interval, so that a
    p-value goes with it.
    """
    loss = table["loss"].to_numpy(dtype=np.float64)
    if np.isnan(loss).any():
        return unmeasured("the reward or the ratings do not vary", n=len(table))
    sides = [table["prompt_id"][side].nunique() for side in (rows, ~rows)]
    if (~rows).sum() < FEWEST:
        return unmeasured(
            f"{int((~rows).sum())} items are outside; at least {FEWEST} are needed", n=len(table)
        )
    if min(sides) < FEWEST_UNITS:
        return unmeasured(
            f"inside or outside has {min(sides)} prompts; at least {FEWEST_UNITS} are needed",
            n=len(table),
        )
    # Sums and counts by prompt: a prompt can have items on both sides, so inside and outside are
    # not independent and must be resampled together.
    parts = pd.DataFrame(
        {"in": loss * rows, "n_in": 1.0 * rows, "out": loss * ~rows, "n_out": 1.0 * ~rows}
    )
    totals = parts.groupby(table["prompt_id"].to_numpy()).sum().to_numpy()

    def statistic(sums: Array) -> Array:
        difference: Array = sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
        return difference

    return linearised(totals=totals, statistic=statistic, n=len(table), levels=resampling["levels"])


def _corrected(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The gaps with p (two-sided, of the t interval), p_holm and worse in their detail."""
    gaps = [m for m in measurements if m.name.startswith("validation.slice_gap.") and m.intervals]
    tested = {m.name: _p(m) for m in gaps}
    if not tested:
        return list(measurements)
    # Holm and not Bonferroni: it is never weaker, and needs no more of the slices, which overlap.
    adjusted = dict(zip(tested, holm(list(tested.values())).tolist(), strict=True))
    corrected = []
    for m in measurements:
        if m.name not in tested:
            corrected.append(m)
            continue
        p_holm = adjusted[m.name]
        detail = {
            **m.detail,
            "p": tested[m.name],
            "p_holm": p_holm,
            "slices_tested": len(tested),
            "worse": bool(p_holm <= WORSE and (m.value or 0) > 0),
        }
        corrected.append(replace(m, detail=detail))
    return corrected


def _p(m: Measurement) -> float:
    i, freedom = m.intervals[0], m.n_prompts - 1
    # The interval is value ± t·error, so its width gives the error back.
    error = (i.high - i.low) / (2 * float(stdtrit(freedom, 0.5 + i.level / 2)))
    return float(2 * stdtr(freedom, -abs(m.value or 0.0) / error))


# --- which slices there are: by length, topic, group mentioned, source, and how hard items are

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
    vectors = judged.embeddings
    if vectors is None:
        width = min(50, len(names) - 1)
        if width < 2:
            return []
        vectors = TruncatedSVD(width, random_state=0).fit_transform(weights)
    # Unit length, so that k-means goes by direction (cosine) and not by how long a text is.
    label = KMeans(count, n_init=4, random_state=0).fit(normalize(vectors)).labels_
    clusters = []
    for k in np.unique(label):
        rows = np.asarray(label == k)
        typical: list[str] = []
        if weights is not None:
            apart = np.asarray(weights[rows].mean(axis=0) - weights[~rows].mean(axis=0)).ravel()
            typical = names[np.argsort(-apart, kind="stable")[:NAMED_BY]].tolist()
        says = f"cluster named by its most typical words: {', '.join(typical) or 'none'}"
        clusters.append(Slice("topic", str(k + 1), says, rows))
    return clusters if len(clusters) > 1 else []


def _mentioned(judged: Judged) -> Iterator[Slice]:
    texts_of_items = judged.table[["prompt", "left", "right"]].to_numpy()
    counts: Array = mentions([joined(texts) for texts in texts_of_items])
    for k, group in enumerate(groups()):
        rows = counts[:, k] > 0
        if rows.any():
            says = f"prompt or text names {group} by a listed word"
            yield Slice("mentions", str(group), says, rows)


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
