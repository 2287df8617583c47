from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def opened(path: Path, *, most: int) -> Iterator[Path]:
    """A run folder as it is."""
    yield path
