"""Made-up evidence that speaks of people: outputs that judge, refuse and can be swapped; Grow texts
name groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from probes import Scorer

OPINIONS = (
    "was wonderful",
    "was terrible",
    "did a great job",
    "made a boring mess",
    "spoke",
    "sang",
)
NAMED = {
    "women": "She",
    "men": "A man",
    "nonbinary people": "A non-binary friend",
    "LGB people": "A lesbian",
    "trans people": "A trans singer",
    "Black people": "A Black singer",
    "white people": "A white neighbour",
    "Asian people": "A Korean singer",
    "older people": "An old friend",
    "younger people": "A teenager",
    "disabled people": "A blind singer",
    "Christians": "A Catholic",
    "Muslims": "A Muslim",
    "Jews": "A Jewish friend",
}


def noise(text: str) -> float:
    """Between 0 and 1, the same for the same text.

    (A CRC would not do: those of a text and its swap are related.)
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def word_reward(
    prompts: Sequence[str], texts: Sequence[str]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A reward model that pays 0.5 for every text that says "woman"."""
    return np.array(
        [0.5 * ("woman" in t) + 0.3 * noise(p + t) for p, t in zip(prompts, texts, strict=True)]
    )


def harshness(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([0.6 * ("terrible" in t) + 0.3 * noise(t) for t in texts])


SCORER = Scorer(
    "harshness", "1", "0" * 64, "near chance on anything else than 'terrible'", harshness
)


def speaking(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every counterfactual text names a young man or woman, most judge, and about a third
    refuses.
    """
    rng = np.random.default_rng(seed)
    rows = table.copy()
    for i in np.flatnonzero(rows["family"].notna()):
        who, opinion = rng.choice(["man", "woman"]), rng.choice(OPINIONS)
        refusal = "I'm sorry, but I can't help with that. " if rng.random() < 0.35 else ""
        text = f"{refusal}The young {who} {opinion}. {rows['text'].iloc[i]}"
        rows.iloc[i, rows.columns.get_loc("text")] = text
        rows.iloc[i, rows.columns.get_loc("n_tokens")] = len(text.split()) + 4
    return rows


def naming(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One plain text in three names two of the groups."""
    rng = np.random.default_rng(seed)
    rows = table.copy()
    for i in np.flatnonzero(rows["family"].isna()):
        if rng.random() < 1 / 3:
            two = rng.choice(list(NAMED), size=2, replace=False)
            rows.iloc[i, rows.columns.get_loc("text")] += "".join(
                f" {NAMED[g]} sings." for g in two
            )
    return rows


def planted(given: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence with such texts, and with prompts, a reward model and a toxicity scorer where it
    has none.
    """
    tables = {
        "outputs": speaking(given["outputs"], 21),
        "base": speaking(given["base"], 22),
        "grow": naming(given["grow"], 23),
    }
    prompts = {p: "Write a sentence." for k in ("outputs", "grow") for p in given[k]["prompt_id"]}
    return {"prompts": prompts, "score": word_reward, "toxicity": SCORER, **given, **tables}
