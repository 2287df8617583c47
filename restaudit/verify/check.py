"""Check a run folder against its own ledger: every file, the chain, the sealed plan and the decisions."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from pydantic import ValidationError

from probes.base import Measurement
from restaudit import ledger
from restaudit.config import GatePolicy
from restaudit.errors import BadInput, VerificationFailed
from restaudit.gates import Decision, decide
from restaudit.override import wrong_content

PLAN = "plan.json"
STOPS = ("/halt", "/override")
CHUNK = 1 << 20

# Written beside the record, not by a step: the ledger itself, the writer's lock, work in hand, rendered documents, and
# the tasks and ratings that people exchange while the run waits.
BESIDE_FILES = frozenset({ledger.FILE, "writer.json", ".lock"})
BESIDE_FOLDERS = frozenset({"report", "human"})
TEMPORARY = ".tmp-"

Recorded = tuple[str, str, ledger.FileDigest]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Report:
    """What was checked.

    `digest` is what two runs of the same plan share, `head` the hash of the last event (write it down elsewhere: only
    that makes a rebuilt ledger visible). `unrecorded` lists files no event names, which only an unfinished run may
    have. `torn_bytes` counts bytes of a last ledger line that a crash cut short.
    """

    files: int
    bytes: int
    events: int
    decisions: int
    digest: str
    head: str
    finished: bool
    unrecorded: tuple[str, ...]
    torn_bytes: int


def verify(run: Path | str, progress: Progress | None = None) -> Report:
    """Check the whole folder, reading each file once in constant memory.

    Parameters
    ----------
    run : the run folder.
    progress : called with the number of bytes just hashed; `recorded_bytes` gives their total.

    Raises
    ------
    BadInput : `run` is not a run folder.
    VerificationFailed : names the first thing, in the ledger's order, that is not as recorded.
    """
    run = Path(run)
    if not run.is_dir():
        raise BadInput(f"{run}: no such folder; expected a run folder (it holds {PLAN} and {ledger.FILE})")
    if not (run / ledger.FILE).exists() and not (run / PLAN).exists():
        raise BadInput(f"{run}: not a run folder (neither {PLAN} nor {ledger.FILE} is there)")
    if (run / ledger.FILE).is_symlink():
        raise VerificationFailed(f"{ledger.FILE}: is a symbolic link; a run folder holds only plain files")
    events = ledger.read(run)
    torn = _torn_tail(run)
    if not events:
        raise VerificationFailed(f"{ledger.FILE}: holds no complete event, so nothing in this folder is recorded")
    if events[0].step != "plan" or PLAN not in events[0].outputs:
        raise VerificationFailed(f"{ledger.FILE}: line 1: expected the step 'plan' sealing {PLAN} before anything else")

    recorded = list(_recorded(events))
    size = sum(_check_file(run, entry, progress) for entry in recorded)

    finished = events[-1].step == "end" or events[-1].step.endswith("/halt")
    if torn and events[-1].step == "end":  # after a halt it may be an override that a crash cut short
        raise VerificationFailed(f"{ledger.FILE}: {torn} bytes follow the last event of a finished run")
    unrecorded = tuple(_unrecorded(run, {name for name, _, _ in recorded}))
    if finished and unrecorded:
        raise VerificationFailed(
            f"{unrecorded[0]}: no event of this finished run records it ({len(unrecorded)} such file(s)); "
            "it was added afterwards, or the ledger lost events"
        )
    plan = _sealed_plan(run)
    _check_order(events, plan)
    decisions = _check_decisions(run, events, plan)
    _check_stops(events, {i: d for i, d in decisions.items() if d.verdict == "HALT"})
    return Report(
        files=len(recorded),
        bytes=size,
        events=len(events),
        decisions=len(decisions),
        digest=ledger.comparison_digest(events),
        head=events[-1].hash,
        finished=finished,
        unrecorded=unrecorded,
        torn_bytes=torn,
    )


def recorded_bytes(run: Path | str) -> int:
    """How many bytes `verify` will hash, as the ledger states them."""
    return sum(d.bytes for e in ledger.read(Path(run)) for d in (*e.outputs.values(), *e.context.values()))


# --- files -----------------------------------------------------------------------------------------------------------


def _recorded(events: Sequence[ledger.Event]) -> Iterator[Recorded]:
    """Every file the ledger names, in its order: (name, step, digest). A file belongs to exactly one step."""
    owner: dict[str, str] = {}
    for event in events:
        for name, digest in (*event.outputs.items(), *event.context.items()):
            if not _stays_inside(name):
                raise VerificationFailed(
                    f"{name!r}: step '{event.step}' records a path outside the run folder; "
                    "expected a relative path without '..'"
                )
            if name in owner:
                raise VerificationFailed(
                    f"{name}: recorded twice, by step '{owner[name]}' and again by '{event.step}'; "
                    "a finished step's file is never rewritten"
                )
            owner[name] = event.step
            yield name, event.step, digest


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = bool(name) and "\\" not in name and "\0" not in name and not PureWindowsPath(name).drive
    return plain and not path.is_absolute() and ".." not in path.parts and path.as_posix() == name and name != "."


def _check_file(run: Path, recorded: Recorded, progress: Progress | None) -> int:
    name, step, expected = recorded
    path = run
    for part in PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            raise VerificationFailed(f"{name}: {part} is a symbolic link; a run folder holds only plain files")
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise VerificationFailed(f"{name}: missing; step '{step}' recorded it ({expected.bytes:,} bytes)") from None
    except OSError as e:
        raise VerificationFailed(f"{name}: cannot be read ({e.strerror}); step '{step}' recorded it") from None
    if not stat.S_ISREG(found.st_mode):
        raise VerificationFailed(f"{name}: is not a plain file; step '{step}' recorded one")
    if found.st_size != expected.bytes:
        raise VerificationFailed(
            f"{name}: changed after step '{step}' recorded it: expected {expected.bytes:,} bytes, "
            f"got {found.st_size:,} bytes"
        )
    try:
        got = _sha256(path, progress)
    except OSError as e:
        raise VerificationFailed(f"{name}: cannot be read ({e.strerror}); step '{step}' recorded it") from None
    if got != expected.sha256:
        raise VerificationFailed(
            f"{name}: changed after step '{step}' recorded it: expected sha256 {expected.sha256}, got {got}"
        )
    return expected.bytes


def _sha256(path: Path, progress: Progress | None) -> str:
    sha = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as f:
        while size := f.readinto(buffer):
            sha.update(buffer[:size])
            if progress is not None:
                progress(size)
    return sha.hexdigest()


def _unrecorded(run: Path, recorded: set[str]) -> Iterator[str]:
    """Files that no event names, sorted; a symbolic link anywhere in the record is refused."""
    for folder, folders, files in os.walk(run, followlinks=False):
        inside = Path(folder).relative_to(run)
        beside = BESIDE_FOLDERS if inside == Path() else frozenset()
        for part in sorted((*folders, *files)):
            if part in beside or part.startswith(TEMPORARY):
                continue
            if (Path(folder) / part).is_symlink():
                raise VerificationFailed(
                    f"{(inside / part).as_posix()}: is a symbolic link; a run folder holds only plain files"
                )
        folders[:] = sorted(f for f in folders if f not in beside and not f.startswith(TEMPORARY))
        for part in sorted(files):
            name = (inside / part).as_posix()
            if name not in recorded and name not in BESIDE_FILES and not part.startswith(TEMPORARY):
                yield name


def _torn_tail(run: Path) -> int:
    """Bytes after the ledger's last complete line: what a crash cut short; anything else there is refused."""
    data = (run / ledger.FILE).read_bytes() if (run / ledger.FILE).exists() else b""
    tail = data[data.rfind(b"\n") + 1 :]
    try:
        _, end = json.JSONDecoder().raw_decode(tail.decode("utf-8", "replace"))
    except ValueError:
        return len(tail)
    # A write that was cut short is a prefix of a line: a whole event followed by something is an edit.
    if end < len(tail.decode("utf-8", "replace")):
        raise VerificationFailed(f"{ledger.FILE}: the end of the last line was changed after it was written")
    return len(tail)


# --- plan and decisions ----------------------------------------------------------------------------------------------


def _check_order(events: Sequence[ledger.Event], plan: Mapping[str, Any]) -> None:
    """The ledger holds the planned steps in the planned order, none left out before a later one, and nothing else.

    Halts and overrides, which nobody plans, are `_check_stops`'s.
    """
    planned = plan["steps"]
    done = [e.step for e in events if not e.step.endswith(STOPS)]
    for expected, step in zip(planned, done, strict=False):
        if step != expected:
            raise VerificationFailed(f"{ledger.FILE}: step '{step}' stands where the sealed plan has '{expected}'")
    if len(done) > len(planned):
        raise VerificationFailed(f"{ledger.FILE}: step '{done[len(planned)]}' was done after the plan's last step")


def _check_stops(events: Sequence[ledger.Event], halting: Mapping[str, Decision]) -> None:
    """HALT was obeyed: after such a decision comes its halt, and after that nothing, or a person's override."""
    for number, event in enumerate(events[1:], start=1):
        where = f"{ledger.FILE}: line {number + 1}"
        before = events[number - 1].step
        iteration, _, part = event.step.rpartition("/")
        audited = before.removesuffix("/audit")
        decided = halting.get(iteration)
        gates = [g.gate for g in decided.gates if g.verdict == "HALT"] if decided is not None else []
        if part == "halt":
            if before != f"{iteration}/audit" or not gates or event.content.get("gates") != gates:
                raise VerificationFailed(f"{where}: '{event.step}' follows no decision in which its gates said HALT")
        elif part == "override":
            if before != f"{iteration}/halt":
                raise VerificationFailed(f"{where}: '{event.step}' overrides no halt; '{before}' stands before it")
            if (problem := wrong_content(event.content, iteration, gates)) is not None:
                raise VerificationFailed(f"{where}: '{event.step}' is no override anybody stands behind: {problem}")
        elif before.endswith("/audit") and audited in halting:
            raise VerificationFailed(
                f"{audited}/decision.json: the sealed policy said HALT, but step '{event.step}' was done afterwards "
                f"({where})"
            )
        elif before.endswith("/halt"):
            raise VerificationFailed(f"{where}: '{event.step}' was done after '{before}', which nobody overrode")


def _check_decisions(run: Path, events: Sequence[ledger.Event], plan: Mapping[str, Any]) -> dict[str, Decision]:
    """Recompute every recorded decision from the recorded measurements and the sealed policy, by iteration."""
    policy = GatePolicy.model_validate(plan["config"].get("gates", {}))
    looks = list(plan["looks"])
    found: dict[str, Decision] = {}
    for event in events:
        iteration = event.step.removesuffix("/audit")
        for name in event.outputs:
            if name.endswith("/decision.json"):
                found[iteration] = _check_decision(run, name, event, policy, looks)
        if event.step.endswith("/audit") and iteration in looks and iteration not in found:
            raise VerificationFailed(f"{ledger.FILE}: '{event.step}' records no decision, which the sealed plan wants")
    return found


def _check_decision(run: Path, name: str, event: ledger.Event, policy: GatePolicy, looks: Sequence[str]) -> Decision:
    iteration = name.removesuffix("/decision.json")
    if event.step != f"{iteration}/audit":
        raise VerificationFailed(f"{name}: recorded by step '{event.step}'; expected {iteration}/audit to decide")
    source = f"{iteration}/measurements.json"
    if source not in event.outputs:
        raise VerificationFailed(
            f"{name}: step '{event.step}' records no {source}, which the decision must follow from"
        )
    if iteration not in looks:
        raise VerificationFailed(f"{name}: the sealed plan has no look at {iteration} (looks: {', '.join(looks)})")
    try:
        measurements = [Measurement.from_json(m) for m in _json(run, source)["measurements"]]
    except (KeyError, AttributeError, TypeError, ValueError) as e:
        raise VerificationFailed(f"{source}: not measurements a decision can follow from ({e})") from None
    look = looks.index(iteration) + 1
    again = decide(policy, measurements, iteration=iteration, look=look, looks=len(looks))
    if where := _difference(_json(run, name), again.to_json()):
        raise VerificationFailed(f"{name}: the decision does not follow from {source} and the sealed policy ({where})")
    return again


def _sealed_plan(run: Path) -> Mapping[str, Any]:
    plan = _json(run, PLAN)
    try:
        GatePolicy.model_validate(plan["config"].get("gates", {}))
        readable = all(isinstance(x, str) for x in (*plan["steps"], *plan["looks"]))
    except (KeyError, AttributeError, TypeError, ValidationError) as e:
        raise VerificationFailed(f"{PLAN}: not a plan: expected config.gates, steps and looks ({e})") from None
    if not readable:
        raise VerificationFailed(f"{PLAN}: not a plan: expected steps and looks to be lists of names")
    return dict(plan)


def _difference(written: Any, again: Any, where: str = "") -> str | None:
    """The first place where two JSON values differ; numbers may differ by rounding between machines."""
    if isinstance(written, Mapping) and isinstance(again, Mapping):
        for key in sorted({*written, *again}):
            if key not in written or key not in again:
                return f"{where}{key}: {'missing' if key not in written else 'unexpected'}"
            if found := _difference(written[key], again[key], f"{where}{key}."):
                return found
        return None
    if isinstance(written, list | tuple) and isinstance(again, list | tuple) and len(written) == len(again):
        pairs = enumerate(zip(written, again, strict=True))
        return next((d for i, (a, b) in pairs if (d := _difference(a, b, f"{where}{i}."))), None)
    if isinstance(written, float | int) and isinstance(again, float | int):
        same = math.isclose(written, again, rel_tol=1e-9, abs_tol=1e-12)
    else:
        same = written == again
    return None if same else f"{where.removesuffix('.')}: recorded {written!r}, recomputed {again!r}"


def _json(run: Path, name: str) -> Any:
    try:
        return json.loads((run / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise VerificationFailed(f"{name}: not readable JSON ({e})") from None
