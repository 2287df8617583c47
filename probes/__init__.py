"""Measurements of a language model's outputs: statistics and probes over plain tables, useful on
their own.

from probes import Evidence, measure
measurements, seconds = measure(Evidence(outputs=table))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probes.base import Embed, Evidence, Interval, Measurement, Probe, Scorer

if TYPE_CHECKING:
    from probes.catalogue import PROBES, measure

__all__ = ["PROBES", "Embed", "Evidence", "Interval", "Measurement", "Probe", "Scorer", "measure"]


def __getattr__(name: str) -> Any:
    # Who only reads measurements (verify, status, the viewer) should not wait for everything that
    # makes them.
    if name in {"PROBES", "measure"}:
        from probes import catalogue

        return getattr(catalogue, name)
    raise AttributeError(f"module 'probes' has no attribute {name!r}")
