"""The catalogue of probes: what there is, what people call it, and the one function that runs it."""

from __future__ import annotations

import pkgutil
import time
from functools import cache
from importlib import import_module

import probes
from probes.base import Evidence, Measurement, Metric, Probe
from probes.rows import check


def discover() -> tuple[Probe, ...]:
    """Every PROBE of the modules of `probes`, and of `probe.py` in its folders, by order, then
    name.
    """
    found_probes: list[Probe] = []
    for entry in pkgutil.iter_modules(probes.__path__, "probes."):
        if entry.name == __name__:
            continue
        name = f"{entry.name}.probe" if entry.ispkg else entry.name
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            # A folder without probe.py is a toolbox. Anything else that is missing is an error.
            if not entry.ispkg or error.name != name:
                raise
            continue
        if isinstance(getattr(module, "PROBE", None), Probe):
            found_probes.append(module.PROBE)
    # plan.json and measurements.json of every run so far are in this order, so that a new probe
    # must not move the others.
    return tuple(sorted(found_probes, key=lambda probe: (probe.order, probe.name)))


PROBES: tuple[Probe, ...] = discover()

# In the order in which people read; the section of a probe that is not listed comes last.
_READING_ORDER = (
    "divergence",
    "hacking",
    "bias",
    "diversity",
    "drift",
    "capability",
    "toxicity",
    "agreement",
    "preferences",
)


def _sections() -> dict[str, str]:
    titles: dict[str, str] = {}
    for probe in PROBES:
        for metric in probe.measures:
            # The first probe of a section names it; one that comes later only joins it.
            titles.setdefault(metric.section, probe.title)
    listed = {key: titles[key] for key in _READING_ORDER if key in titles}
    return {**listed, **titles}


SECTIONS: dict[str, str] = _sections()
"""Sections in which measurements are shown: key -> title, in the order in which people read."""


@cache
def metric_of(name: str) -> Metric | None:
    """What the measurement is called, its unit, section and direction; None where no probe knows
    it.

    A name of its own goes before a family; of two families the one with the longer name.
    """
    metrics = {m.name: m for probe in PROBES for m in probe.measures}
    if name in metrics and not metrics[name].family:
        return metrics[name]
    families = [m for m in metrics.values() if m.family and name.startswith(m.name)]
    families = [m for m in families if len(name) > len(m.name)]
    if not families:
        return None
    family = max(families, key=lambda m: len(m.name))
    return family.member(name.removeprefix(family.name))


def measure(evidence: Evidence) -> tuple[list[Measurement], dict[str, float]]:
    """Run every probe that `evidence.only` asks for; returns measurements in order, and the seconds
    each probe took.

    Raises ValueError, naming table, column and row, for evidence that is not what it says; what
    merely cannot be measured comes back as a Measurement without a value and with the reason.
    """
    check(evidence)
    measurements: list[Measurement] = []
    seconds: dict[str, float] = {}
    for probe in PROBES:
        if not evidence.wants(*probe.names):
            continue
        began = time.perf_counter()
        measurements += [m for m in probe.run(evidence) if evidence.wants(m.name)]
        seconds[probe.name] = time.perf_counter() - began
    return measurements, seconds
