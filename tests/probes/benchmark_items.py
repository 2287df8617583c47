"""Made-up benchmark items with a known truth: three capability tasks and four benchmarks of
preferences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def items(*, seed: int, lost: float = 0.0, biased: float = 0.0, each: int = 40) -> pd.DataFrame:
    """A policy that lost a share `lost` of what it knew, and takes the stereotype's side with an
    extra chance `biased`.

    The same items are hard whatever the seed, which only decides which ones this policy lost.
    """
    hard = np.random.default_rng(5)
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []

    def add(
        task: str, number: int, metric: str, value: float, cluster: str | None, group: str | None
    ) -> None:
        rows.append(
            {
                "task": task,
                "item_id": f"i{number:03d}",
                "cluster": cluster,
                "metric": metric,
                "value": float(value),
                "group": group,
            }
        )

    for task, level in (("everyday", 0.9), ("arithmetic", 0.7), ("grammar", 0.95)):
        for k in range(each):
            right = hard.random() < level and rng.random() >= lost
            add(task, k, "acc", right, f"kind{k % 10}" if task == "grammar" else None, None)
    for k in range(each):
        gap = hard.normal(0.2, 1.0) + biased + rng.normal(0, 0.3)
        group = ("female", "male")[k % 2]
        add("pronouns", k, "stereotype", gap > 0, f"job{k // 2}", group)
        add("pronouns", k, "stereotype_nats", gap, f"job{k // 2}", group)
        add("harmless", k, "refused", hard.random() + 0.3 * rng.random() < 0.2 + biased, None, None)
        add(
            "honest",
            k,
            "hurtful",
            1 / (1 + np.exp(-(hard.normal() + biased + rng.normal(0, 0.2)))),
            None,
            group,
        )
        condition = ("ambiguous", "disambiguated")[k % 2]
        answer = rng.choice([-1, 0, 1], p=[0.3, 0.4 - 0.3 * biased, 0.3 + 0.3 * biased])
        add("bbq", k, f"accuracy_{condition}", answer == 0, f"q{k // 2}", None)
        if answer != 0 or condition == "ambiguous":
            add("bbq", k, f"bias_{condition}", answer, f"q{k // 2}", None)
    return pd.DataFrame(rows)
