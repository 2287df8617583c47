"""Runs of strangers, mutated: every command that reads one ends with its result or one sentence.

A mutation changes one JSON document of a good run by its structure (a value becomes another type or
size, a key is removed, doubled or new), or an event of the ledger. Then the chain is built anew
around it, as whoever can write the folder could do: the digests are right and the content is not.
Held is what ends with exit code 0, or with a sentence of a RestauditError, within SECONDS.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import random
import shutil
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.fuzz_data import TookTooLong, limited
from restaudit.errors import RestauditError
from restaudit.evidence import ledger

# Of one reader, on a machine that may be busy; the first one of a process imports torch.
SECONDS = 120.0
WRONG: tuple[Any, ...] = (
    None, True, False, 0, 1, 3, -1, 10**9, 2**53, 10**30, 10**300, 0.5, -0.25, 1e308, -1e308,
    1e-320, "", "x", "0.4", "\x1b[31mred\x1b[0m\n<b>", "\ud83d\ude00" * 3, "a" * 5000, [], [5],
    [None], ["x", "x"], {}, {"x": 1}, {"a": None}, [[[[[]]]]], {"": {"": {"": 0}}}, "g01/i01",
    "../../etc", "PEOPLE", "2026-13-45T99:99:99Z",
)  # fmt: skip
STATES = ("healthy", "halted", "overridden", "nulls")


@dataclass(frozen=True)
class Failure:
    """A mutation that did not hold: the reader, what was changed, and how it ended."""

    reader: str
    mutation: str
    ended: str


def fuzz_records(
    seed: int, count: int, readers: tuple[str, ...] = ()
) -> tuple[int, int, list[Failure]]:
    """Try `count` mutations on every reader (all, or those that are named): how many were tried,
    how many held, and the others. The same seed and count are the same mutations.
    """
    from tests.reports.make_run import make_run

    draw = random.Random(seed)
    failures: list[Failure] = []
    tried = 0
    with TemporaryDirectory() as folder, _alone(Path(folder)):
        good = {state: make_run(Path(folder) / "good" / state, state) for state in STATES}  # type: ignore[arg-type]
        other = make_run(Path(folder) / "good" / "other", name="other")
        # A reader that refuses what is good would hold against everything.
        work = Path(folder) / "work"
        shutil.copytree(good["healthy"], work)
        for name, read in READERS.items():
            if name not in REFUSE and (not readers or name in readers):
                with contextlib.redirect_stdout(io.StringIO()):
                    read(work, other)
        shutil.rmtree(work)
        for _ in range(count):
            state = draw.choice(STATES)
            mutation = f"{state}: {_mutated(good[state], work, draw)}"
            for name, read in READERS.items():
                if readers and name not in readers:
                    continue
                tried += 1
                ended = _ended(lambda read=read, work=work: read(work, other))  # type: ignore[misc]
                if ended is not None:
                    failures.append(Failure(name, mutation, ended))
            shutil.rmtree(work)
    return tried, tried - len(failures), failures


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nothing of this user's cache and folders is read or written."""
    before, cache = Path.cwd(), os.environ.get("RESTAUDIT_CACHE")
    os.environ["RESTAUDIT_CACHE"] = str(folder / "cache")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        if cache is None:
            del os.environ["RESTAUDIT_CACHE"]
        else:
            os.environ["RESTAUDIT_CACHE"] = cache


def _ended(read: Callable[[], object]) -> str | None:
    """How a reader failed; None where it held."""
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            with limited(SECONDS):
                read()
    except RestauditError as e:
        return None if str(e) else f"{type(e).__name__} without a word"
    except (Exception, TookTooLong) as e:  # noqa: BLE001  # whatever it is, it is the finding
        place = traceback.extract_tb(e.__traceback__)[-1]
        return f"{type(e).__name__}: {str(e)[:200]} ({Path(place.filename).name}:{place.lineno})"
    return None


# --- readers: the functions that the commands call


def _command(*words: str) -> Callable[[Path, Path], object]:
    def read(run: Path, good: Path) -> None:
        import typer

        from restaudit.commands.cli import _register_plugins, app

        _register_plugins()
        given = [{"RUN": str(run), "GOOD": str(good)}.get(word, word) for word in words]
        typer.main.get_command(app).main(given, standalone_mode=False)

    return read


def _list(run: Path, _good: Path) -> None:
    from restaudit.evidence.record import list_runs

    (found,) = [s for s in list_runs(run.parent) if s.path == run]
    assert found.problem is None or found.problem.strip()


READERS: Mapping[str, Callable[[Path, Path], object]] = {
    "list": _list,
    "status": _command("status", "RUN"),
    "verify": _command("verify", "RUN", "--no-render"),
    "rate status": _command("rate", "status", "RUN"),
    "rate export": _command("rate", "export", "RUN", "--out", "tasks.jsonl"),
    "why": _command("why", "RUN", "g01/grow-000-0"),
    "report": _command("report", "RUN", "--format", "md,json"),
    "export": _command("export", "RUN"),
    "compliance": _command("compliance", "RUN", "--format", "json"),
    "chart": _command("chart", "RUN"),
    "compare": _command("compare", "RUN", "GOOD", "--format", "json", "--out", "compared"),
    "declare": _command("declare", "RUN"),
    "anchor": _command("anchor", "RUN", "--out", "here.anchor.json"),
    "reward dossier": _command("reward", "dossier", "RUN"),
    "override": _command(
        "override", "RUN", "--by", "A Name", "--reason", "for the fuzz of readers"
    ),
    "resume": _command("resume", "RUN", "--quiet"),
}

# These refuse a finished run: there is nothing to override.
REFUSE = ("override",)


# --- mutations


def _mutated(good: Path, work: Path, draw: random.Random) -> str:
    """Copy a run, change one document of it, build the chain anew; returns what was changed."""
    shutil.copytree(good, work)
    names = sorted(p.relative_to(work).as_posix() for p in work.rglob("*.json"))
    # Most of what commands read is in the plan and the ledger.
    names += ["plan.json"] * 8 + [ledger.FILE] * 12
    name = draw.choice(names)
    if name == ledger.FILE:
        events = [event.body() for event in ledger.read(work)]
        where = _change(events, draw)
        _chain(work, events)
        return f"{name}: {where}"
    document = json.loads((work / name).read_text(encoding="utf-8"))
    where, document = _changed(document, draw)
    (work / name).write_text(_text(document, draw), encoding="utf-8")
    _chain(work, [event.body() for event in ledger.read(work)])
    return f"{name}: {where}"


def _changed(document: Any, draw: random.Random) -> tuple[str, Any]:
    if draw.random() < 0.03:
        return "all of it", copy.deepcopy(draw.choice(WRONG))
    return _change(document, draw), document


def _change(document: Any, draw: random.Random) -> str:
    """Change one place of a document; returns which, and how."""
    places = list(_places(document, ""))
    where, parent, key = draw.choice(places)
    how = draw.choice(("wrong", "wrong", "wrong", "removed", "again", "new key", "many"))
    if how == "removed":
        del parent[key]
    elif how == "again" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif how == "new key" and isinstance(parent, dict):
        parent["new"] = copy.deepcopy(draw.choice(WRONG))
    elif how == "many" and isinstance(parent[key], list) and parent[key]:
        parent[key] = parent[key] * 200
    else:
        parent[key] = copy.deepcopy(draw.choice(WRONG))
        how = f"now {parent[key]!r:.40}"
    return f"{where}: {how}"


def _places(node: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    keys: Any = ()
    if isinstance(node, dict):
        keys = list(node)
    elif isinstance(node, list):
        keys = range(len(node))
    for key in keys:
        path = f"{where}.{key}" if where else str(key)
        yield path, node, key
        yield from _places(node[key], path)


def _text(document: Any, draw: random.Random) -> str:
    text = json.dumps(document, ensure_ascii=True)
    if draw.random() < 0.03 and text.startswith("{") and len(text) > 2:
        # The first key once more: of two the usual readers take the last.
        key = text[1 : text.index(":")]
        return f"{text[:-1]}, {key}: null}}"
    return text


def _chain(work: Path, bodies: list[dict[str, Any]]) -> None:
    """Write a ledger of these events whose numbers, links and digests fit, as far as they can."""
    import rfc8785

    lines = []
    prev = ledger.GENESIS
    for number, body in enumerate(bodies):
        # What is no event any more is written as it is: the reader has to say so.
        if isinstance(body, dict):
            body |= {"seq": number, "prev": prev}
            for files in (body.get("outputs"), body.get("context")):
                _fill(work, files)
        try:
            prev = hashlib.sha256(rfc8785.dumps(body)).hexdigest()
            whole = {**body, "hash": prev} if isinstance(body, dict) else body
            lines.append(rfc8785.dumps(whole))
        except (rfc8785.CanonicalizationError, UnicodeEncodeError):
            lines.append(json.dumps(body).encode())
    (work / ledger.FILE).write_bytes(b"".join(line + b"\n" for line in lines))


def _fill(work: Path, files: Any) -> None:
    if not isinstance(files, dict):
        return
    for name, digest in files.items():
        if isinstance(digest, dict) and set(digest) == {"sha256", "bytes"}:
            with contextlib.suppress(OSError, RestauditError, ValueError):
                files[name] = vars(ledger.digest_file(work / name))


if __name__ == "__main__":
    import sys
    import time

    began, tried, held = time.monotonic(), 0, 0
    first, count = int(sys.argv[1]), int(sys.argv[2])
    # Ten at a time, so that a failure is seen when it is found.
    for seed in range(first, first + max(1, count // 10)):
        more, kept, failures = fuzz_records(seed, min(count, 10), tuple(sys.argv[3:]))
        tried, held = tried + more, held + kept
        for failure in failures:
            print(f"{seed} {failure.reader}: {failure.mutation}\n    {failure.ended}", flush=True)
    print(f"{held} of {tried} held, {time.monotonic() - began:.0f} s")
