"""Made-up ratings: a panel of people who see the same quality with their own severity, noise and
drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

RATERS = ("ann", "ben", "cem", "dia")


def ratings(
    *,
    seed: int,
    prompts: int = 40,
    each: int = 3,
    noise: float = 0.6,
    raters: Sequence[str] = RATERS,
    severity: Mapping[str, float] | None = None,
    drift: Mapping[str, float] | None = None,
    dimensions: Sequence[str] = ("helpful",),
) -> pd.DataFrame:
    """One sample a prompt, rated on 1..7 by `each` of the raters; who drifts is higher in the
    second half.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    start = pd.Timestamp("2026-11-01T09:00:00Z")
    for dimension in dimensions:
        quality = rng.normal(4, 1.2, prompts)
        for i, prompt in enumerate(rng.permutation(prompts)):
            for who in rng.choice(np.array(raters), size=each, replace=False):
                moved = (drift or {}).get(who, 0.0) * (i >= prompts / 2)
                score = (
                    quality[prompt] + (severity or {}).get(who, 0.0) + moved + rng.normal(0, noise)
                )
                rows.append(
                    {
                        "sample_id": f"p{prompt:03d}/0",
                        "prompt_id": f"p{prompt:03d}",
                        "rater": str(who),
                        "dimension": dimension,
                        "score": float(np.clip(np.round(score), 1, 7)),
                        "submitted_at": (start + pd.Timedelta(minutes=3 * i)).isoformat(),
                    }
                )
    return pd.DataFrame(rows)


def planted(given: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence with a panel's ratings of one output a prompt."""
    return {"ratings": ratings(seed=31, prompts=20, each=3), **given}
