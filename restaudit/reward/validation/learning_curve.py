"""Would more data help?

Agreement with people after training on an eighth, a quarter, a half and all of the units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from probes.base import Array, Measurement
from probes.statistics.stats import Resampling
from restaudit.errors import BadInput
from restaudit.evidence.chats import fraction
from restaudit.reward.validation.judged import Judged
from restaudit.reward.validation.paired import advantage, agreement, measured, nothing, unit_of

SHARES = (0.125, 0.25, 0.5, 1.0)
FEWEST_UNITS = 4
Rows = npt.NDArray[np.int64]


def learning_curve(
    judged: Judged, units: Sequence[Any], fit: Callable[[Rows], Array], **how: Unpack[Resampling]
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
    unit, found = unit_of(judged), []
    rewards: dict[float, Array] = {}
    for share in SHARES:
        chosen = order[: math.ceil(share * len(order))]
        rows = np.flatnonzero(np.isin(names, chosen)).astype(np.int64)
        name, meaning = (
            f"learning_curve.{100 * share:g}",
            f"trained on {100 * share:g}% of the training units",
        )
        detail = {"units": len(chosen), "rows": len(rows)}
        if len(chosen) < FEWEST_UNITS:
            found.append(
                nothing(
                    name,
                    unit,
                    meaning,
                    f"{len(chosen)} training units; at least {FEWEST_UNITS} are needed",
                    **detail,
                )
            )
            continue
        try:
            rewards[share] = np.asarray(fit(rows), dtype=np.float64)
        except BadInput as e:
            found.append(nothing(name, unit, meaning, str(e), **detail))
            continue
        scored = judged.with_reward(rewards[share])
        found.append(
            measured(agreement(scored, scored.usable, **how), name, unit, meaning, **detail)
        )
    name, meaning = (
        "learning_curve.last_doubling",
        "all training units less half of them, on the same held-out items",
    )
    if not {0.5, 1.0} <= rewards.keys():
        return [
            *found,
            nothing(
                name, unit, meaning, "training on half or on all of the units was not possible"
            ),
        ]
    table = judged.table.assign(half=rewards[0.5])
    both = Judged(judged.kind, table, judged.votes, 1, judged.unit).with_reward(rewards[1.0])
    return [
        *found,
        measured(advantage(both, both.usable, "reward", "half", **how), name, unit, meaning),
    ]
