"""Measurements of a language model's outputs: statistics and probes over plain tables, useful on their own.

from probes import Evidence, measure
measurements, seconds = measure(Evidence(outputs=table))
"""

from __future__ import annotations

import time

from probes import bias, divergence, diversity, drift
from probes.base import Embed, Evidence, Interval, Measurement, Probe, Scorer
from probes.rows import check

__all__ = ["PROBES", "Embed", "Evidence", "Interval", "Measurement", "Probe", "Scorer", "measure"]

# The catalogue. To add a probe: a module with PROBE, a line here, a section in docs/probes.md.
PROBES: tuple[Probe, ...] = (
    divergence.PROBE,
    diversity.PROBE,
    bias.PROBE,
    drift.PROBE,
)


def measure(evidence: Evidence) -> tuple[list[Measurement], dict[str, float]]:
    """Run every probe that `evidence.only` asks for; returns measurements in order, and the seconds each probe took.

    Raises ValueError, naming table, column and row, for evidence that is not what it says; what merely cannot be
    measured comes back as a Measurement without a value and with the reason.
    """
    check(evidence)
    found: list[Measurement] = []
    seconds: dict[str, float] = {}
    for probe in PROBES:
        if not evidence.wants(*probe.measures):
            continue
        began = time.perf_counter()
        found += [m for m in probe.run(evidence) if evidence.wants(m.name)]
        seconds[probe.name] = time.perf_counter() - began
    return found, seconds
