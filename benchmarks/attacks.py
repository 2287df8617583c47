"""The table of attacks and random changes on both verifiers, mutations of every file that is read,
and inputs made to fill the memory.

    python -m benchmarks.attacks [--changes N] [--mutations N]

Prints by area how many attacks were tried and how many held: both verifiers said what the table
says, a reader ended in rows or in one sentence. Exit code 1 where one did not hold, a reader took a
gibibyte, or it all took five minutes of processor time (on a shared machine the clock on the wall
is the neighbours').
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.fuzz_data import blasts, fuzz_data
from benchmarks.fuzz_models import fuzz_models
from benchmarks.fuzz_records import fuzz_records
from restaudit.evidence import ledger
from tests.evidence import attacks
from tests.evidence.attacks import ATTACKS, FOLDER, MEASURED, Bench
from tests.evidence.mutations import mutations
from tests.evidence.verifiers import first, measured, second

MIB = 1 << 20
MOST_MEMORY, MOST_TIME = 1024, 300  # MiB, seconds
MEMORY = Path("/dev/shm")

# (area, what was tried, whether it held)
Row = tuple[str, str, bool]
# (seed, mutations a reader) to how many were tried, how many held, and the others
Fuzz = Callable[[int, int], tuple[int, int, Sequence[object]]]


# --- areas


def of_the_table(bench: Bench) -> Iterator[Row]:
    """Every row of tests/evidence/attacks.py, by its area."""
    for attack in ATTACKS:
        what = bench.damaged(attack)
        key = bench.public_file if attack.key else None
        codes = {first(what, key)[0], second(what, key)[0]}
        yield attack.area, str(attack), codes == {attack.expected}


def of_chance(bench: Bench, count: int) -> Iterator[Row]:
    """Random changes, of which both verifiers must make the same."""
    for mutation in mutations(bench, count, seed=count):
        key = bench.public_file if mutation.key else None
        is_same = first(mutation.what, key)[0] == second(mutation.what, key)[0]
        yield "random changes", mutation.done, is_same


def of_readers(count: int) -> Iterator[Row]:
    """Mutations of every file that something else than the verifiers reads: each ends in what was
    read or in one sentence.
    """
    fuzzed: tuple[tuple[str, Fuzz], ...] = (
        ("readers of data", fuzz_data),
        ("readers of models", fuzz_models),
        ("readers of runs", fuzz_records),
    )
    for area, fuzz in fuzzed:
        tried, held, failures = fuzz(18, count)
        yield from ((area, "", True) for _ in range(held))
        yield from ((area, str(failure), False) for failure in failures)
        if held + len(failures) != tried:
            yield area, f"{tried - held - len(failures)} gave no answer", False


# --- inputs made to fill the memory


def a_line_of_a_gibibyte(run: Path) -> Path:
    path = run / ledger.FILE
    with path.open("r+b") as f:
        f.truncate(path.stat().st_size + (1 << 30))  # sparse: takes no room on the disk
    return run


def lists_in_measurements(run: Path) -> Path:
    """The JSON that takes most memory for its size, recorded with its true digest."""
    (run / MEASURED).write_bytes(b"[" + b"[]," * (8 * MIB // 3 - 2) + b"[]]")
    attacks.refit(run)
    return run


def mappings_in_a_plan(run: Path) -> Path:
    plan = json.loads((run / "plan.json").read_bytes())
    plan["more"] = "HERE"
    data = json.dumps(plan).encode()
    room = (8 * MIB - len(data)) // 8 - 2
    whole = data.replace(b'"HERE"', b"[" + b'{"a":1},' * room + b"1]")
    (run / "plan.json").write_bytes(whole)
    attacks.refit(run)
    return run


def signatures_without_end(run: Path) -> Path:
    (run / FOLDER).mkdir()
    for number in range(9):
        (run / FOLDER / f"{number}.pem").write_bytes(bytes(4 * MIB))
    return run


def a_bomb(run: Path) -> Path:
    """A quarter of a gibibyte of zeros in 256 KiB, which the manifest names as it is."""
    files = attacks.files_of(run)
    manifest = attacks.fitting(files)
    manifest["files"]["report/x"] = {"sha256": "0" * 64, "bytes": 1 << 28}
    out = run.with_name("run.zip")
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(attacks.entry("manifest.json"), attacks.rfc8785.dumps(manifest) + b"\n")
        for name, data in files.items():
            archive.writestr(attacks.entry(name), data)
        with archive.open(attacks.entry("report/x"), "w", force_zip64=True) as f:
            for _ in range(256):
                f.write(bytes(MIB))
    return out


def a_bomb_that_states_little(run: Path) -> Path:
    """64 MiB behind headers that state a thousand bytes."""
    out = attacks.with_entry(attacks.entry("report/x"), bytes(64 * MIB))(run)
    assert out is not None
    data = out.read_bytes().replace(struct.pack("<L", 64 * MIB), struct.pack("<L", 1000))
    out.write_bytes(data)
    return out


def a_manifest_of_8_mebibytes(run: Path) -> Path:
    files = attacks.files_of(run)
    body = b"[" + b"[]," * (8 * MIB // 3 - 2) + b"[]]"
    return attacks.zipped({"manifest.json": body, **files}, run.with_name("run.zip"))


def entries_without_end(run: Path) -> Path:
    out = run.with_name("run.zip")
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(50_000):
            archive.writestr(attacks.entry(f"report/{number}", method=zipfile.ZIP_STORED), b"")
    return out


HOSTILE: tuple[Callable[[Path], Path], ...] = (
    a_line_of_a_gibibyte,
    lists_in_measurements,
    mappings_in_a_plan,
    signatures_without_end,
    a_bomb,
    a_bomb_that_states_little,
    a_manifest_of_8_mebibytes,
    entries_without_end,
)


def of_memory(bench: Bench) -> Iterator[tuple[str, str, int, bool]]:
    """Each input on each verifier, and each bomb on its reader, in a process of its own: (input,
    who read it, MiB, held).
    """
    for hostile in HOSTILE:
        what = hostile(bench.copy("unsigned", "run"))
        for name, is_first in (("restaudit verify", True), ("verify_bundle.py", False)):
            code, mebibytes, _ = measured(what, is_first=is_first)
            # A plan may hold more than is read of it.
            expected = 0 if hostile is mappings_in_a_plan else 5
            is_held = code == expected and mebibytes < MOST_MEMORY
            yield hostile.__name__.replace("_", " "), name, mebibytes, is_held
    folder = bench.place / "bombs"
    folder.mkdir()
    for blast in blasts(folder):
        yield blast.bomb.name, "reader of data", blast.peak // MIB, blast.held


# --- the table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=500, help="how many random changes")
    parser.add_argument(
        "--mutations", type=int, default=40, help="how many mutations for each reader of files"
    )
    wanted = parser.parse_args()
    warnings.filterwarnings("ignore", message="Duplicate name")
    began = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="attacks-", dir=MEMORY if MEMORY.is_dir() else None))
    tempfile.tempdir = str(place)
    try:
        is_held = _all(Bench(place), wanted.changes, wanted.mutations)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    used = os.times()
    seconds = sum(used[:4])  # of this process and of the verifiers it started
    print(f"time: {seconds:.0f} s of CPU (bar {MOST_TIME} s), {time.monotonic() - began:.0f} s")
    return int(not is_held or seconds > MOST_TIME)


def _all(bench: Bench, changes: int, mutations_each: int) -> bool:
    tried: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for rows in (of_the_table(bench), of_chance(bench, changes), of_readers(mutations_each)):
        for area, name, is_held in rows:
            tried[area] += 1
            held[area] += is_held
            if not is_held:
                print(f"NOT HELD: {name}")
    print(f"{'area':<20}{'tried':>8}{'held':>8}")
    for area, count in tried.items():
        print(f"{area:<20}{count:>8}{held[area]:>8}")
    print(f"{'all':<20}{tried.total():>8}{held.total():>8}")
    most, is_small = 0, True
    for name, verifier, mebibytes, is_held in of_memory(bench):
        print(f"{name}, {verifier}: {mebibytes} MiB{'' if is_held else '  NOT HELD'}")
        most, is_small = max(most, mebibytes), is_small and is_held
    print(f"peak memory: {most} MiB (bar {MOST_MEMORY} MiB)")
    return is_small and held.total() == tried.total()


if __name__ == "__main__":
    sys.exit(main())
