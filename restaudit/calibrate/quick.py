"""The probes' own intervals of the metrics that almost every stage asks for, without tables.

A trial asks for them some ten times, and nine tenths of the probes' time goes into sorting tables of
texts. These are the same functions on the same arrays, with the same resamples: a test compares
them with the probes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from probes.base import Embed, Measurement
from probes.bias.gaps import KINDS
from probes.bias.probe import VERSION as OF_GAPS
from probes.divergence.expected import CONSTANT, resampled_gains
from probes.divergence.probe import METRICS, VERSION
from probes.diversity.probe import MOST_EMBEDDED, SET_STATISTICS
from probes.diversity.probe import VERSION as OF_TEXTS
from probes.diversity.vendi import vendi
from probes.statistics.jackknife import Deleted, grouped, jackknifed
from probes.statistics.largest import equivalence_bounds, largest_difference
from probes.statistics.resample import prompt_weights, summarise, unmeasured
from restaudit.calibrate.emulate import EmulatedAudit
from restaudit.calibrate.pool import Floats
from restaudit.calibrate.screen import (
    BEYOND,
    EXPECTED,
    GAP,
    HUMAN,
    VENDI,
    cell_means,
    first_texts,
    scored,
)

GAP_METRIC = next(k.gap for k in KINDS if k.name == "human")
VENDI_METRIC = next(m for s in SET_STATISTICS for m in s.metrics if m.name == VENDI)
OF_ROWS = frozenset({HUMAN, EXPECTED, BEYOND, GAP})


@dataclass(frozen=True)
class Quick:
    """Measurements of one trial's audits against its base policy, whose seed and resamples every
    look of a trial shares.
    """

    base: EmulatedAudit
    resamples: int
    seed: int
    embed: Embed | None
    drawn: dict[int, Floats] = field(default_factory=dict)
    # The base policy's Vendi score, by samples of a prompt.
    base_vendi: dict[int, Deleted] = field(default_factory=dict)

    def knows(self, metric: str) -> bool:
        """Whether this metric can be had here: people's ratings of a part of the rows are left to
        the probes.
        """
        if metric == VENDI:
            most = self.base.size.prompts * self.base.per_prompt
            return self.embed is not None and most <= MOST_EMBEDDED
        if metric == GAP and not self.base.size.families:
            return False
        return metric in OF_ROWS and self.base.rated is None

    def measured(
        self, now: EmulatedAudit, metrics: frozenset[str], levels: tuple[float, ...]
    ) -> list[Measurement]:
        """The metrics that can be had here."""
        found = []
        if metrics & {HUMAN, EXPECTED, BEYOND}:
            found += self._gains(now, levels)
        if GAP in metrics:
            found.append(self._gap(now, levels))
        if VENDI in metrics:
            found.append(self._vendi(now, levels))
        return [m for m in found if m.name in metrics]

    def _weights(self, units: int) -> Floats:
        if units not in self.drawn:
            self.drawn[units] = prompt_weights(
                units=units, resamples=self.resamples, seed=self.seed
            )
        return self.drawn[units]

    def _gains(self, now: EmulatedAudit, levels: tuple[float, ...]) -> list[Measurement]:
        rows, before, units = scored(now, self.base)
        expected, observed = resampled_gains(rows, before, self._weights(units))
        parts = {HUMAN: observed, EXPECTED: expected, BEYOND: expected - observed}
        return [
            summarise(
                value=float(values[0]),
                replicates=values[1:],
                n=len(rows.human),
                units=units,
                undefined=CONSTANT,
                levels=levels,
            ).recorded(METRICS[name], version=VERSION, baseline=0.0)
            for name, values in parts.items()
        ]

    def _gap(self, now: EmulatedAudit, levels: tuple[float, ...]) -> Measurement:
        means = cell_means(now)
        whole = np.asarray(np.isfinite(means).all(axis=1), dtype=np.bool_)
        means = means[whole]
        units = len(means)
        if not units:
            none = unmeasured("no family has a defined human value for each of its groups")
            return none.recorded(GAP_METRIC, version=OF_GAPS)
        estimate = largest_difference(
            values=means.mean(axis=0),
            replicates=self._weights(units) @ means / units,
            n=int((~np.isnan(now.human[now.plain.stop :]).reshape(len(whole), -1)[whole]).sum()),
            units=units,
            levels=levels,
        )
        if estimate.intervals:
            bounds = equivalence_bounds(means=means, lowest=estimate.intervals)
            estimate = replace(estimate, ok_intervals=bounds)
        return estimate.recorded(GAP_METRIC, version=OF_GAPS)

    def _vendi(self, now: EmulatedAudit, levels: tuple[float, ...]) -> Measurement:
        # As many of both, as the probe takes them.
        count = min(now.per_prompt, self.base.per_prompt)
        groups = grouped(units=now.size.prompts, seed=self.seed)
        owner = np.repeat(np.arange(now.size.prompts), count)
        if count not in self.base_vendi:
            self.base_vendi[count] = vendi(self._vectors(self.base, count), owner, groups)
        deleted = vendi(self._vectors(now, count), owner, groups)
        now.known[VENDI] = deleted.value / self.base_vendi[count].value
        return jackknifed(
            deleted=deleted.over(self.base_vendi[count]),
            groups=groups,
            n=len(owner),
            levels=levels,
            log=True,
        ).recorded(VENDI_METRIC, version=OF_TEXTS)

    def _vectors(self, audit: EmulatedAudit, count: int) -> Floats:
        assert self.embed is not None
        vectors = np.asarray(self.embed(first_texts(audit, count)), dtype=np.float64)
        unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit
