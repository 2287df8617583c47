"""The rating desk: random, blinded samples of a run's outputs for people to rate, and their ratings
taken back.

tasks.py draws, blinds and writes; formats/ has one file for each tool's layout; importing.py reads
ratings and refuses what is not a person's own rating of this run's text (checks.py says why);
store.py keeps what was accepted. See docs/rating.md. The command line imports this package when it
starts, so whatever needs pandas is imported when used.
"""

from __future__ import annotations

from restaudit.people.rating.exchange import (
    ImportReport,
    RatingsRefused,
    export_tasks,
    import_ratings,
)
from restaudit.people.rating.status import Progress, RaterProgress, progress
from restaudit.people.rating.store import load_ratings
from restaudit.people.rating.tasks import TaskSet, draw_tasks, load_tasks, task_sets

__all__ = [
    "ImportReport",
    "Progress",
    "RaterProgress",
    "RatingsRefused",
    "TaskSet",
    "draw_tasks",
    "export_tasks",
    "import_ratings",
    "load_ratings",
    "load_tasks",
    "progress",
    "task_sets",
]
