"""Where samples lie in a run: the audit of an iteration, and the scored Grow sets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reports.record import lineage, series
from reports.record.files import Records
from restaudit.evidence.record import BASE, ITERATION, Run

GROW = re.compile(r"g\d\d|step-[1-9]\d{0,8}")


@dataclass(frozen=True)
class Place:
    """A table of samples: `name` is an iteration ("g01/i02") for an audit, a Grow step ("g01") for
    a Grow set.
    """

    name: str
    kind: Literal["audit", "grow"]

    @property
    def file(self) -> str:
        """The table in the run folder."""
        return f"{self.name}/{self.kind}.parquet"

    @property
    def prompts(self) -> str:
        """The table of the prompts that these samples answer."""
        return f"data/{self.kind}.parquet"

    @property
    def title(self) -> str:
        """How people call it; also what stands in the address."""
        short = self.name.replace("-", " ")
        if self.kind == "grow":
            return (
                f"G{int(self.name[1:])} Grow set"
                if self.name[0] == "g"
                else f"{short} training samples"
            )
        return "base policy audit" if self.name == BASE else f"{series.short_name(self.name)} audit"


def places(run: Run) -> list[Place]:
    """Every audit in order, then every Grow set that was scored: only what the ledger says is
    there.
    """
    records = Records(run)
    grows = [g.name for g in lineage.grows(records) if GROW.fullmatch(g.name)]
    audits = [Place(i, "audit") for i in series.iterations(run)]
    return [*audits, *(p for p in (Place(g, "grow") for g in grows) if records.has(p.file))]


def trained_on(run: Run, place: Place) -> list[str]:
    """The Improve steps ("g01/i02") that chose rows of this Grow set; none for an audit."""
    if place.kind != "grow":
        return []
    return [
        p.name
        for p in lineage.policies(Records(run))
        if p.data == place.name and ITERATION.fullmatch(p.name)
    ]


def last_audit(found: Sequence[Place]) -> Place:
    """Where the page begins: the newest audit, else the first Grow set."""
    audits = [p for p in found if p.kind == "audit"]
    return audits[-1] if audits else found[0]
