"""What differs between two reward models' dossiers: facts by path, and measurements side by
side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """A fact (by its path in the dossier) that the two do not share; `(absent)` where one has
    none.
    """

    path: str
    left: str
    right: str


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """Every fact that differs, sorted by path; measurements of the validation are named by their
    own names.

    What building them took (seconds, device) is left out: it says nothing about the models.
    """
    a, b = (
        dict(_flat({k: v for k, v in facts.items() if k != "compute"})) for facts in (left, right)
    )
    return [
        Difference(path, a.get(path, ABSENT), b.get(path, ABSENT))
        for path in sorted(a.keys() | b.keys())
        if a.get(path) != b.get(path)
    ]


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [
            pair for k, v in value.items() for pair in _flat(v, f"{path}.{k}" if path else str(k))
        ]
    if isinstance(value, list) and all(isinstance(v, Mapping) for v in value) and value:
        return [
            pair
            for n, v in enumerate(value)
            for pair in _flat(_kept(v), f"{path}.{v.get('name', n)}")
        ]
    return [(path, str(value))]


def _kept(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a measurement, its value and interval; of anything else, everything."""
    if not {"value", "intervals"} <= item.keys():
        return item
    between = [f"{i['low']:.4g}..{i['high']:.4g}" for i in item["intervals"]]
    return {"value": item["value"], "interval": ", ".join(between), "n": item["n"]}
