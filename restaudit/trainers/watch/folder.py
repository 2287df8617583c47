"""What lies in a watched folder: the checkpoint, or the file of generations, of each step of a
training.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from restaudit.console import Reporter
from restaudit.data.generations import Generations
from restaudit.errors import BadInput, Interrupted
from restaudit.models.settings import LARGEST_INDEX
from restaudit.models.tensors import NotWhole, header, opened
from restaudit.trainers.watch.generations import read
from restaudit.trainers.watch.settings import WatchSettings

Kind = Literal["generations", "checkpoints"]

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
STEP = "{step}"
# Any of these makes a folder a checkpoint, whole or not.
SIGNS = (
    "config.json",
    "adapter_config.json",
    "trainer_state.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "adapter_model.bin",
)
# Where frameworks put the transformers model inside a step's folder (verl: actor/huggingface).
INSIDE = ("", "huggingface", "hf", "actor/huggingface", "policy", "model")
_AFTER_A_WORD = re.compile(
    r"(?:steps?|checkpoint|ckpt|iter(?:ation)?|update)[-_=. ]*(\d+)", re.IGNORECASE
)


@dataclass(frozen=True)
class WatchedSteps:
    """What a watched folder holds: the path of every step, and what has no step or is of no use,
    each with the reason.
    """

    kind: Kind
    steps: Mapping[int, Path]
    others: Mapping[str, str] = field(default_factory=dict)


def find(folder: Path, pattern: str | None = None) -> WatchedSteps | None:
    """Look through `folder`; None where nothing in it is a step's yet.

    Every direct entry whose name holds a step's number counts: a file of generations, a
    checkpoint's folder, or a folder that holds one of either. `pattern` is a glob below `folder` to
    which the look is restricted; `{step}` in it stands for the number. Raises BadInput where names
    leave open which number is the step, where two entries are of one step, and where both kinds are
    there.
    """
    if not folder.is_dir():
        raise BadInput(
            f"{folder}: no such folder; expected one that holds a file or a folder for each step"
        )
    steps: dict[Kind, dict[int, Path]] = {"generations": {}, "checkpoints": {}}
    others: dict[str, str] = {}
    for entry, step in _numbered(folder, pattern, others):
        for kind, path in _held(entry, others):
            if (before := steps[kind].get(step)) is not None:
                raise BadInput(
                    f"{folder}: {_name(folder, before)} and {_name(folder, path)} are both of "
                    f"step {step}; say which are meant with --pattern, for example --pattern "
                    f"'{entry.name.replace(str(step), STEP)}'"
                )
            steps[kind][step] = path
    # A guess would be sealed, and the other kind never looked at.
    kinds: list[Kind] = [kind for kind, paths in steps.items() if paths]
    if len(kinds) > 1:
        one, two = (_name(folder, next(iter(steps[k].values()))) for k in kinds)
        raise BadInput(
            f"{folder}: holds files of generations ({one}) and checkpoints ({two}); say which to "
            "watch with --pattern"
        )
    if not kinds:
        return None
    return WatchedSteps(kinds[0], dict(sorted(steps[kinds[0]].items())), others)


def is_generations(path: Path) -> bool:
    """Whether the name is that of a file of generations."""
    return _plain(path.name).endswith(SUFFIXES)


def is_checkpoint(path: Path) -> bool:
    """Whether the folder holds a model, or the beginning of one."""
    return path.is_dir() and any(next(path.glob(sign), None) is not None for sign in SIGNS)


def _numbered(
    folder: Path, pattern: str | None, others: dict[str, str]
) -> Iterator[tuple[Path, int]]:
    """Every entry that has a step's number, and the number."""
    if pattern is not None and pattern.count(STEP) > 1:
        raise BadInput(f"--pattern {pattern}: {STEP} stands in it more than once")
    try:
        inside = folder.iterdir() if pattern is None else folder.glob(pattern.replace(STEP, "*"))
        entries = sorted(inside)
    except (ValueError, NotImplementedError) as e:
        raise BadInput(
            f"--pattern {pattern}: not a pattern of names below {folder} ({e})"
        ) from None
    named = None if pattern is None or STEP not in pattern else _as_regex(pattern)
    for entry in entries:
        name = _name(folder, entry)
        # Editors and copying programs write under such names first.
        if entry.name.startswith((".", "~")) or not (entry.is_dir() or is_generations(entry)):
            continue
        if not (entry.is_dir() or entry.is_file()):
            others[name] = "is no plain file (a pipe, a device, or a link to nothing)"
            continue
        if named is not None:
            match = named.fullmatch(name)
            if match is not None:
                yield entry, int(match["step"])
            continue
        # A pattern may reach deeper: then a folder on the way may hold the number.
        numbers = _numbers(entry.name if pattern is None else name, entry.is_dir())
        if not numbers:
            others[name] = "no number in its name"
        elif len(numbers) > 1:
            raise BadInput(
                f"{folder}: {name}: which number is the step ({', '.join(map(str, numbers))})? "
                f"Say it with --pattern, for example --pattern '{_example(name, numbers[-1])}'"
            )
        else:
            yield entry, numbers[0]


def _held(entry: Path, others: dict[str, str]) -> Iterator[tuple[Kind, Path]]:
    """The file of generations or the checkpoint that an entry is, or holds."""
    if entry.is_file():
        yield "generations", entry
        return
    if (model := next((entry / p for p in INSIDE if is_checkpoint(entry / p)), None)) is not None:
        yield "checkpoints", model
        return
    files = []
    for path in sorted(entry.iterdir()):
        if path.is_file() and is_generations(path) and not path.name.startswith("."):
            files.append(path)
    if len(files) > 1:
        raise BadInput(
            f"{entry}: holds {len(files)} files that could be its generations ({files[0].name}, "
            f"{files[1].name} …); "
            f"say which with --pattern, for example --pattern '*/{files[0].name}'"
        )
    if files:
        yield "generations", files[0]
    else:
        others[entry.name] = "holds neither a model nor a file of generations yet"


def _numbers(name: str, folder: bool) -> list[int]:
    """The numbers in a name that could be the step: the one after a word such as "step", or all
    there are.
    """
    stem = name if folder else _plain(name).rpartition(".")[0]
    after = [int(n) for n in _AFTER_A_WORD.findall(stem)]
    return list(dict.fromkeys(after or [int(n) for n in re.findall(r"\d+", stem)]))


def _as_regex(pattern: str) -> re.Pattern[str]:
    placeholders = {STEP: r"(?P<step>\d+)", "*": "[^/]*"}
    parts = re.split(r"(\{step\}|\*)", pattern)
    return re.compile("".join(placeholders.get(part, re.escape(part)) for part in parts))


def _example(name: str, number: int) -> str:
    head, _, tail = name.rpartition(str(number))
    return f"{head}{STEP}{tail}"


def _plain(name: str) -> str:
    return name.lower().removesuffix(".gz")


def _name(folder: Path, entry: Path) -> str:
    return entry.relative_to(folder).as_posix()


# --- whether what lies there is whole: it may be half written when it is looked at

STATE = "trainer_state.json"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "adapter_model.bin")

# Name, size and time of every file at a place.
Signature = tuple[tuple[str, int, int], ...]


def signature(path: Path) -> Signature:
    """Name, size and time of every file at `path`: what changes while something writes there."""
    entries = []
    for file in sorted(_files(path)):
        try:
            stat = file.stat()
        except FileNotFoundError:  # taken away between the listing and now
            continue
        entries.append((file.relative_to(path).as_posix(), stat.st_size, stat.st_mtime_ns))
    return tuple(entries)


def checkpoint_lacks(folder: Path, *, state: bool = False) -> str | None:
    """What a checkpoint lacks to be whole, or None: a full model or a PEFT adapter, in safetensors.

    `state`: its siblings have a trainer_state.json, which trainers write after the weights.
    """
    adapter = (folder / "adapter_config.json").exists()
    config = "adapter_config.json" if adapter else "config.json"
    lack = _json_lacks(folder / config) or _model_lacks(folder, adapter)
    return lack or (_json_lacks(folder / STATE) if state else None)


def _model_lacks(folder: Path, adapter: bool) -> str | None:
    single = folder / ("adapter_model.safetensors" if adapter else "model.safetensors")
    if single.exists():
        return _weights_lack(single)
    if not adapter and (folder / INDEX).exists():
        return _shards_lack(folder)
    if any(next(folder.glob(p), None) is not None for p in PICKLES):
        return "its weights are pickles (.bin), which are not loaded: save them as safetensors"
    # An adapter is small, and is never cut into shards.
    return f"no {single.name}" if adapter else f"no {single.name} and no {INDEX}"


def _shards_lack(folder: Path) -> str | None:
    index = _json(folder / INDEX)
    if isinstance(index, str):
        return index
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not shards:
        return f"{INDEX} names no file"
    names = list(shards.values())
    # Any other name would be looked for elsewhere, or is none.
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        return f"{INDEX} names what is no file in its folder"
    for name in sorted(set(names)):
        lack = _weights_lack(folder / name)
        if lack is not None:
            return lack
    return None


def _weights_lack(path: Path) -> str | None:
    """What a safetensors file lacks: its header tells how long it must be."""
    try:
        # The header is read and the weights are not: gigabytes would be read at every look into the
        # folder.
        header(path)
    except FileNotFoundError:
        return f"{path.name} is not there"
    except NotWhole as e:
        return f"{path.name} {e.why}"
    except (BadInput, OSError) as e:
        return str(e)
    return None


def _json_lacks(path: Path) -> str | None:
    found = _json(path)
    return found if isinstance(found, str) else None


def _json(path: Path) -> dict[str, Any] | str:
    """A JSON object, or what is wrong with it. A trainer's state may hold NaN."""
    try:
        with opened(path) as file:
            data = file.read(LARGEST_INDEX + 1)
        if len(data) > LARGEST_INDEX:
            return f"{path.name} is larger than {LARGEST_INDEX:,} bytes, the most that is read"
        found = json.loads(data)
    except FileNotFoundError:
        return f"no {path.name}"
    except BadInput as e:
        return str(e)
    except (OSError, ValueError, RecursionError):
        return f"{path.name} is not whole"
    return found if isinstance(found, dict) else f"{path.name} is no JSON object"


def _files(path: Path) -> Iterable[Path]:
    return (p for p in path.rglob("*") if p.is_file()) if path.is_dir() else (path,)


# --- looking again and again until what is waited for is there, whole, and no longer changing

T = TypeVar("T")

# Seconds between two looks, for which a file must have been the same before it is taken.
POLL = 2.0


@dataclass(frozen=True)
class NotYet:
    """Why something is not there yet."""

    why: str


@dataclass
class Watcher:
    """Looks at a folder.

    Without `follow` one look must do; with it, what is not there is waited for.

    What is followed is taken when it has been the same for POLL seconds, and is whole. `columns`
    are the names of all columns that were read so far, the files' own ones too where --column gave
    them.
    """

    settings: WatchSettings
    reporter: Reporter
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    interrupted: Callable[[], bool] = lambda: False
    columns: set[str] = field(default_factory=set)
    _since: dict[Path, tuple[Signature, float]] = field(default_factory=dict)
    _last: tuple[Path, Signature, Generations] | None = None

    def until(self, ready: Callable[[WatchedSteps | None], T | NotYet]) -> T:
        """What `ready` makes of the folder, as soon as it is not NotYet.

        Raises BadInput with the reason where nothing is waited for, or nothing has changed for
        `idle_timeout` seconds.
        """
        last_reason, before, since = None, None, self.clock()
        while True:
            watched = find(self.settings.folder, self.settings.pattern)
            now = self._signatures(watched)
            answer = ready(watched)
            if not isinstance(answer, NotYet):
                return answer
            if not self.settings.follow:
                raise BadInput(answer.why)
            # Anything that changes shows that the training is alive, also a file that is not waited
            # for.
            if now != before:
                before, since = now, self.clock()
            if self.interrupted():
                raise Interrupted(f"stopped while waiting; {answer.why}")
            idle = self.settings.idle_timeout
            if idle is not None and self.clock() - since >= idle:
                raise BadInput(f"{answer.why} (nothing has changed there for {idle:g} s)")
            if answer.why != last_reason:
                last_reason = answer.why
                self.reporter.line(f"waiting: {last_reason}")
            self.sleep(POLL)

    def lacks(self, watched: WatchedSteps, path: Path) -> NotYet | None:
        """Why what lies at `path` cannot be taken yet, or None."""
        if self.settings.follow and (
            path not in self._since or self.clock() - self._since[path][1] < POLL
        ):
            return NotYet(f"{path} is new, or still being written")
        if watched.kind == "checkpoints":
            paths = watched.steps.values()
            # A trainer that writes its state writes it last; many write none at all.
            state = path in paths and any((p / STATE).exists() for p in paths if p != path)
            lack = checkpoint_lacks(path, state=state)
            if lack is None:
                return None
            return NotYet(f"{path} is no whole checkpoint: {lack}{self._perhaps()}")
        try:
            self.generations(path)
        except BadInput as e:
            return NotYet(f"{e}{self._perhaps()}")
        return None

    def generations(self, path: Path) -> Generations:
        """The file's generations; that it did not change while it was read is made sure of."""
        before = signature(path)
        # Read once although it is asked for twice: whether it can be read, and what it holds.
        if self._last is not None and self._last[:2] == (path, before):
            return self._last[2]
        generations = read(path, self.settings.columns)
        if signature(path) != before:
            raise BadInput(f"{path} changed while it was read")
        self._last = (path, before, generations)
        self.columns |= {*generations.table.columns}
        for name, own in self.settings.columns.items():
            if f"{name} is column '{own}'" in generations.notes:
                self.columns.add(own)
        return generations

    def _signatures(self, watched: WatchedSteps | None) -> dict[Path, Signature]:
        """Signatures of all that is there now; since when each has been the same is remembered."""
        paths = [] if watched is None else [*watched.steps.values()]
        if self.settings.base is not None:
            paths.append(self.settings.base)
        now = {path: signature(path) for path in paths}
        at = self.clock()
        since = {path: (seen, at) for path, seen in now.items()}
        for path, earlier in self._since.items():
            if now.get(path) == earlier[0]:
                since[path] = earlier
        self._since = since
        return now

    def _perhaps(self) -> str:
        """What to do where a run without --follow meets what may be half written."""
        if self.settings.follow:
            return ""
        return "; if it is still being written, wait for it, or give --follow"
