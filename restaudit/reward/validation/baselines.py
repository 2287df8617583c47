"""What a reward is held against on the same items: longer wins, shorter wins, a bag of words trained
as it was, and itself trained on less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd

from probes.base import Array, Measurement
from probes.statistics.stats import Resampling
from restaudit.errors import BadInput
from restaudit.evidence.chats import fraction
from restaudit.reward.validation.judged import (
    Judged,
    Kind,
    advantage,
    agreement,
    measured,
    nothing,
    unit_of,
    words,
)

FEWEST = 20
RIDGE, LOGISTIC = 1.0, 1.0
MOST_FEATURES = 50_000


def baselines(
    judged: Judged, train: pd.DataFrame | None, why_none: str = "", **resampling: Unpack[Resampling]
) -> list[Measurement]:
    """Each rule's agreement with the judges, and the reward's advantage over it on the same
    items, paired.

    train     the reward's training items: left, right (None for ratings), target; None where there
              are none at hand
    why_none  the reason, where `train` is None
    """
    rows, unit = judged.usable, unit_of(judged)
    length = words(rows["left"])
    if judged.kind == "pairs":
        length = length - words(rows["right"])
    rows = rows.assign(longer=length, shorter=-length)
    measurements = []
    for rule in ("longer", "shorter"):
        own = agreement(judged, rows, rule, **resampling)
        less = advantage(judged, rows, "reward", rule, **resampling)
        meaning = f"the reward less the rule '{rule} wins', on the same items"
        measurements += [
            measured(own, f"baseline.{rule}", unit, f"{rule} wins (words)"),
            measured(less, f"less.{rule}", unit, meaning),
        ]
    meaning = (
        "TF-IDF of words and pairs of words with a linear model, trained on the reward's "
        "training items"
    )
    names = (
        ("baseline.bag_of_words", meaning),
        ("less.bag_of_words", "the reward less the bag of words, paired"),
    )
    score: Callable[[Sequence[str]], Array] | str = why_none or "no training items were given"
    if rows.empty:
        score = "no item has judges who came to something"
    elif train is not None:
        kind: Kind = "ratings" if train["right"].isna().all() else "pairs"
        score = bag_of_words(kind, train)
    if isinstance(score, str):  # the reason why there is none
        missing = [nothing(name, unit, what, score, n=len(rows)) for name, what in names]
        return [*measurements, *missing]
    bag = score(rows["left"].tolist())
    if judged.kind == "pairs":
        bag = bag - score(rows["right"].tolist())
    rows = rows.assign(bag=bag)
    estimates = (
        agreement(judged, rows, "bag", **resampling),
        advantage(judged, rows, "reward", "bag", **resampling),
    )
    trained_on = len(train) if train is not None else 0
    for estimate, (name, what) in zip(estimates, names, strict=True):
        measurements.append(measured(estimate, name, unit, what, trained_on=trained_on))
    return measurements


def bag_of_words(kind: Kind, train: pd.DataFrame) -> Callable[[Sequence[str]], Array] | str:
    """A linear score of texts from TF-IDF weights of 1- and 2-grams, or the reason why none can be
    trained.

    `train` has left, right (None for ratings) and target (rating, or share of votes for `left`).
    Ratings: ridge regression. Pairs: logistic regression on the difference of the two texts'
    weights, votes as weights and every pair both ways round, so that it has no preference for a
    side. The score of a pair is the difference of two scores.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

    rows = train[train["target"].notna()]
    target = rows["target"].to_numpy(dtype=np.float64)
    if len(rows) < FEWEST:
        return f"{len(rows)} training items; at least {FEWEST} are needed"
    if kind == "ratings" and np.ptp(target) == 0:
        return "all training items are rated alike"
    left = rows["left"].tolist()
    right = rows["right"].tolist() if kind == "pairs" else []
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=MOST_FEATURES
    )
    try:
        vectorizer.fit([*left, *right])
    except ValueError:  # scikit-learn's "empty vocabulary"
        return "no word occurs in two training texts"
    if kind == "ratings":
        weights = Ridge(alpha=RIDGE, solver="lsqr").fit(vectorizer.transform(left), target).coef_
    else:
        from scipy.sparse import vstack

        difference = vectorizer.transform(left) - vectorizer.transform(right)
        # Every pair both ways round, each way once as won and once as lost, weighted by the votes:
        # whichever response stands left then cannot be learned.
        label = np.repeat([1, 0, 0, 1], len(target))
        votes = np.concatenate([target, 1 - target, target, 1 - target])
        sides = vstack([difference, difference, -difference, -difference]).tocsr()
        model = LogisticRegression(C=LOGISTIC, fit_intercept=False, max_iter=1000)
        weights = model.fit(
            sides[votes > 0], label[votes > 0], sample_weight=votes[votes > 0] / 2
        ).coef_[0]
    fixed = np.asarray(weights, dtype=np.float64)
    return lambda texts: np.asarray(vectorizer.transform(list(texts)) @ fixed, dtype=np.float64)


# --- would more data help? The same reward, trained on an eighth, a quarter, a half and all units

SHARES = (0.125, 0.25, 0.5, 1.0)
FEWEST_UNITS = 4
Rows = npt.NDArray[np.int64]


def learning_curve(
    judged: Judged,
    units: Sequence[Any],
    fit: Callable[[Rows], Array],
    **resampling: Unpack[Resampling],
) -> list[Measurement]:
    """Agreement with the judges of the held-out items `judged`, for rising shares of the
    training units.

    units  the unit (prompt or item) of each training row; rows of one unit stay together
    fit    row numbers of the training rows -> rewards of the held-out items, (items,), in the order
           of `judged.table` (for pairs the difference left less right). BadInput that it raises
           becomes a null with its message

    Subsets are nested, in the order of a hash of the unit. `last_doubling` is the gain from half to
    all units, paired on the held-out items: near 0, more data of this kind would add little.
    """
    names = np.array([str(u) for u in units], dtype=object)
    order = sorted(set(names.tolist()), key=lambda u: (fraction(u, "learning curve"), u))
    unit = unit_of(judged)
    measurements = []
    rewards: dict[float, Array] = {}
    for share in SHARES:
        chosen = order[: math.ceil(share * len(order))]
        rows = np.flatnonzero(np.isin(names, chosen)).astype(np.int64)
        name = f"learning_curve.{100 * share:g}"
        meaning = f"trained on {100 * share:g}% of the training units"
        detail = {"units": len(chosen), "rows": len(rows)}
        if len(chosen) < FEWEST_UNITS:
            why = f"{len(chosen)} training units; at least {FEWEST_UNITS} are needed"
            measurements.append(nothing(name, unit, meaning, why, **detail))
            continue
        try:
            rewards[share] = np.asarray(fit(rows), dtype=np.float64)
        except BadInput as e:
            measurements.append(nothing(name, unit, meaning, str(e), **detail))
            continue
        scored = judged.with_reward(rewards[share])
        estimate = agreement(scored, scored.usable, **resampling)
        measurements.append(measured(estimate, name, unit, meaning, **detail))
    name = "learning_curve.last_doubling"
    meaning = "all training units less half of them, on the same held-out items"
    if not {0.5, 1.0} <= rewards.keys():
        why = "training on half or on all of the units was not possible"
        return [*measurements, nothing(name, unit, meaning, why)]
    table = judged.table.assign(half=rewards[0.5])
    both = Judged(judged.kind, table, judged.votes, 1, judged.unit).with_reward(rewards[1.0])
    gain = advantage(both, both.usable, "reward", "half", **resampling)
    return [*measurements, measured(gain, name, unit, meaning)]
