"""What lies in a watched folder: the checkpoint, or the file of generations, of each step of a
training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from restaudit.errors import BadInput

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
class Found:
    """What was found: the path of every step, and what has no step or is of no use, each with the
    reason.
    """

    kind: Kind
    steps: Mapping[int, Path]
    others: Mapping[str, str] = field(default_factory=dict)


def find(folder: Path, pattern: str | None = None) -> Found | None:
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
    kinds: list[Kind] = [k for k, found in steps.items() if found]
    if len(kinds) > 1:
        one, two = (_name(folder, next(iter(steps[k].values()))) for k in kinds)
        raise BadInput(
            f"{folder}: holds files of generations ({one}) and checkpoints ({two}); say which to "
            "watch with --pattern"
        )
    if not kinds:
        return None
    return Found(kinds[0], dict(sorted(steps[kinds[0]].items())), others)


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
        entries = sorted(
            folder.glob(pattern.replace(STEP, "*")) if pattern is not None else folder.iterdir()
        )
    except (ValueError, NotImplementedError) as e:
        raise BadInput(
            f"--pattern {pattern}: not a pattern of names below {folder} ({e})"
        ) from None
    named = None if pattern is None or STEP not in pattern else _as_regex(pattern)
    for entry in entries:
        name = _name(folder, entry)
        if entry.name.startswith((".", "~")) or not (entry.is_dir() or is_generations(entry)):
            continue
        if named is not None:
            match = named.fullmatch(name)
            if match is not None:
                yield entry, int(match["step"])
            continue
        numbers = _numbers(name if pattern is not None else entry.name, entry.is_dir())
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
    files = [
        p
        for p in sorted(entry.iterdir())
        if p.is_file() and is_generations(p) and not p.name.startswith(".")
    ]
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
    parts = (
        r"(?P<step>\d+)" if p == STEP else "[^/]*" if p == "*" else re.escape(p)
        for p in re.split(r"(\{step\}|\*)", pattern)
    )
    return re.compile("".join(parts))


def _example(name: str, number: int) -> str:
    head, _, tail = name.rpartition(str(number))
    return f"{head}{STEP}{tail}"


def _plain(name: str) -> str:
    return name.lower().removesuffix(".gz")


def _name(folder: Path, entry: Path) -> str:
    return entry.relative_to(folder).as_posix()
