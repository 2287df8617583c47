"""Sets of rating tasks of either kind: single texts that are scored, and pairs of which one is
chosen.
"""

from __future__ import annotations

from restaudit.evidence.record import Run
from restaudit.people.rating import Progress, TaskSet, progress, task_sets
from restaudit.people.rating.pairs import PairSet, pair_sets
from restaudit.people.rating.pairs.wins import pair_progress
from restaudit.people.rating.store import CHOICES, FILE

AnySet = TaskSet | PairSet


def all_sets(run: Run) -> dict[str, AnySet]:
    """Every set of the run by name; a name is of one kind only."""
    found: list[AnySet] = [*task_sets(run.path), *pair_sets(run.path)]
    return {t.name: t for t in found}


def file_of(tasks: AnySet) -> str:
    """The file of human/ that answers to this set are stored in."""
    return CHOICES if isinstance(tasks, PairSet) else FILE


def progress_of(run: Run, tasks: AnySet) -> Progress:
    """How far it is rated."""
    return (pair_progress if isinstance(tasks, PairSet) else progress)(run.path, tasks.name)


def called(tasks: AnySet) -> str:
    """What it holds, in words."""
    return f"{tasks.items} pairs of texts" if isinstance(tasks, PairSet) else f"{tasks.items} texts"
