"""A run whose samples can be rated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rated import ASK, build

from restaudit.people.rating import TaskSet, draw_tasks


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run, built once, that nobody writes to."""
    return build(tmp_path_factory.mktemp("built") / "run")


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    """Three audited iterations, nothing drawn yet."""
    return Path(shutil.copytree(built, tmp_path / "run"))


@pytest.fixture
def tasks(run: Path) -> TaskSet:
    """A set of tasks drawn in that run: 12 samples of the base policy and of the last iteration."""
    return draw_tasks(run, ["g00/i00", "g01/i02"], per_iteration=12, name="first", **ASK)
