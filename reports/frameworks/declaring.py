"""`restaudit declare`: a form for this run, and a filled one checked and kept beside its
reports.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reports.frameworks.answers import answer
from reports.frameworks.declared import FILE, Bound, Declarations, read, store, template
from reports.frameworks.schema import questions
from reports.record.files import Records
from restaudit.errors import BadInput


def bound(records: Records) -> Bound:
    """What binds a form to this run. Raises BadInput for a run whose plan is not sealed yet."""
    if not records.run.events:
        raise BadInput(
            f"{records.run.path}: its plan is not sealed yet, so there is nothing to declare about"
        )
    return Bound(records.run.run_id, records.run.events[0].hash)


def to_fill(records: Records) -> str:
    """YAML with every question that a person may answer, and what was declared before."""
    asked = [q for q in questions().values() if q.declare and q.reading is not None]
    recorded = [q.key for q in asked if answer(q, records, None).answered]
    return template(bound(records), recorded, stored(records))


def stored(records: Records) -> Declarations | None:
    """What was declared about this run; None where nothing was.

    Raises BadInput where the file is not valid.
    """
    path = records.run.path / FILE
    if path.is_symlink():
        raise BadInput(f"{path}: a symbolic link; declarations are kept in the run folder itself")
    return read(path, bound(records)) if path.is_file() else None


def keep(records: Records, given: Path) -> tuple[Declarations, Path]:
    """Check a filled form and keep it in the run's report folder; returns it and where it is kept.

    It takes the place of what was declared before. Raises BadInput where it is not valid or about
    another run.
    """
    found = read(given, bound(records))
    path = records.run.path / FILE
    return replace(found, sha256=store(found, path)), path
