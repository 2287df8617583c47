"""What every section reads: the run, its measurements and decisions, each file compared with the
ledger once.
"""

from __future__ import annotations

from functools import cached_property

from probes.base import Measurement
from reports.record import series
from reports.record.files import Records, Source
from restaudit.evidence.conclusion import Conclusion, conclude
from restaudit.evidence.findings import DOSSIER, STRESS
from restaudit.evidence.record import BASE, Run
from restaudit.gates import Decision

PEOPLE = "PEOPLE"


class Material:
    """One run, opened for a report."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.records = Records(run)
        self.iterations = series.iterations(run)

    @cached_property
    def measured(self) -> dict[str, dict[str, Measurement]]:
        """Iteration -> name -> measurement, in order."""
        return {i: self.records.measurements(i) for i in self.iterations}

    @cached_property
    def decisions(self) -> list[Decision]:
        """Every decision in order."""
        # The base policy has none, nor has a look whose gates were not asked yet.
        return [
            self.records.decision(iteration)
            for iteration in self.iterations
            if self.records.has(f"{iteration}/decision.json")
        ]

    @cached_property
    def conclusion(self) -> Conclusion:
        """What the run concludes."""
        # What it reads is compared with the ledger first.
        for name in (*map("{}/measurements.json".format, self.iterations), DOSSIER, *STRESS):
            if self.records.has(name):
                self.records.checked(name)
        for decision in self.decisions:
            self.records.checked(f"{decision.iteration}/decision.json")
        return conclude(self.run)

    @property
    def after_base(self) -> list[str]:
        """Audited iterations but the base policy's."""
        return [i for i in self.iterations if i != BASE]

    @property
    def human(self) -> str:
        """What stands for human judgement, with its kind in words."""
        return series.human_score(self.run).name

    @property
    def human_is_people(self) -> bool:
        """Whether people rated samples of this run."""
        return self.human.startswith(PEOPLE)

    def relative(self, text: str) -> str:
        """Text without the place where the folder lies: a copy elsewhere gives the same
        document.
        """
        # The longer text first, so that a path below the folder is told relative to it.
        return text.replace(f"{self.run.path}/", "").replace(str(self.run.path), "RUN")

    def cite(self, name: str, at: str = "") -> tuple[Source, ...]:
        """A citation of a file that may not be there yet."""
        if not self.records.has(name):
            return ()
        return (self.records.source(name, at),)

    def from_measurements(self, iteration: str, at: str = "") -> Source:
        """A citation of one iteration's measurements."""
        return self.records.source(f"{iteration}/measurements.json", at)
