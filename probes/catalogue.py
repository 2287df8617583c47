"""The catalogue of probes, and the one function that runs them."""

from __future__ import annotations

import time

from probes import agreement, capability, toxicity
from probes import preferences as benchmarks
from probes.base import Evidence, Measurement, Probe
from probes.bias import probe as bias
from probes.divergence import probe as divergence
from probes.diversity import probe as diversity
from probes.drift import probe as drift
from probes.hacking import probe as hacking
from probes.rows import check

# To add a probe: a module with PROBE, a line here, a section in docs/probes.md.
PROBES: tuple[Probe, ...] = (
    divergence.PROBE,
    agreement.PROBE,
    diversity.PROBE,
    bias.PROBE,
    drift.PROBE,
    hacking.PROBE,
    toxicity.PROBE,
    capability.PROBE,
    benchmarks.PROBE,
)


def measure(evidence: Evidence) -> tuple[list[Measurement], dict[str, float]]:
    """Run every probe that `evidence.only` asks for; returns measurements in order, and the seconds
    each probe took.

    Raises ValueError, naming table, column and row, for evidence that is not what it says; what
    merely cannot be measured comes back as a Measurement without a value and with the reason.
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
