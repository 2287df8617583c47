"""Two policies' texts side by side: what is counted of each is counted once, however many
statistics read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from probes.base import Embed, Evidence
from probes.statistics.jackknife import Groups, grouped
from probes.statistics.resample import Array
from probes.texts.grams import Coded, Counts, Grams, coded, grams
from probes.texts.sets import Texts, embedded, share_of


@dataclass(frozen=True)
class Side:
    """The texts of one policy, with the groups of prompts that are left out in turn."""

    texts: Texts
    groups: Groups
    embed: Embed | None
    _grams: dict[int, Grams] = field(default_factory=dict)
    _counts: dict[int, Counts] = field(default_factory=dict)

    @cached_property
    def vectors(self) -> Array:
        """Embeddings, (n, d); only where an embedding was given."""
        if self.embed is None:
            raise ValueError("embeddings of texts are needed; give embed")
        return embedded(self.texts, self.embed)

    @cached_property
    def coded(self) -> Coded:
        """The cut words as numbers."""
        return coded(self.texts.words)

    def grams(self, order: int) -> Grams:
        """The n-grams of the cut words."""
        if order not in self._grams:
            self._grams[order] = grams(self.coded, order)
        return self._grams[order]

    def counts(self, order: int) -> Counts:
        """The n-grams' counts, in all and with each group of prompts left out."""
        if order not in self._counts:
            found = self.grams(order)
            self._counts[order] = Counts(
                found.code, self.texts.owner[found.text], found.kinds, self.groups
            )
        return self._counts[order]


@dataclass(frozen=True)
class Sides:
    """This policy's texts and those it is compared with (None if with nothing), matched; and what
    was matched.
    """

    now: Side
    then: Side | None
    detail: Mapping[str, Any]
    seed: int
    _samples: dict[int, Sides] = field(default_factory=dict)

    @property
    def groups(self) -> Groups:
        """The groups of prompts that are left out in turn, the same for both."""
        return self.now.groups

    def at_most(self, most: int | None) -> Sides:
        """The same prompts' texts for both, at most about `most` of each; `detail.measured_on` says
        which.
        """
        if most is None or self.now.texts.n <= most:
            return self
        if most not in self._samples:
            both = [s.texts for s in (self.now, self.then) if s is not None]
            kept, note = share_of(most, both)
            embed = self.now.embed
            detail = {**self.detail, "measured_on": note}
            self._samples[most] = beside(
                kept[0], kept[1] if len(kept) > 1 else None, detail, embed, self.seed
            )
        return self._samples[most]


def beside(
    now: Texts, then: Texts | None, detail: Mapping[str, Any], embed: Embed | None, seed: int
) -> Sides:
    """Both sets of texts, of the same prompts, with one split of the prompts into groups."""
    groups = grouped(units=now.units, seed=seed)
    return Sides(
        Side(now, groups, embed), None if then is None else Side(then, groups, embed), detail, seed
    )


def sides_of(
    evidence: Evidence, now: Texts, then: Texts | None, detail: Mapping[str, Any]
) -> Sides:
    """`beside` with the evidence's embedding and seed."""
    return beside(now, then, detail, evidence.embed, evidence.seed)
