"""Does a run folder stay usable when it is large? Opening, listing and verifying 10,000, 100,000 and 1,000,000 samples.

Prints seconds and peak resident memory of each operation, each in a process of its own, and the ratio from one size to
the next: 10 times the samples may cost at most about 10 times the time. Run from a checkout:

    python benchmarks/record_scale.py [--sizes 10000 100000 1000000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

GROWS = 20
WORDS = 40
VOCABULARY = 20_000
AUDITED = 200
LIMIT_MIB = 2048


def build(run: Path, samples: int) -> None:
    """A finished run: 20 Grow sets with token ids, texts and rewards, an audited Improve step after each."""
    import numpy as np
    import pandas as pd

    from probes.base import Interval, Measurement
    from restaudit import ledger, record
    from restaudit.config import GatePolicy
    from restaudit.gates import decide

    rng = np.random.default_rng(samples)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = np.array(["".join(rng.choice(letters, n)) for n in rng.integers(2, 10, VOCABULARY)], dtype=object)
    # Word frequencies fall like 1/rank (Zipf), as in real text: that decides how well the tables compress.
    share = 1 / np.arange(1, VOCABULARY + 1)
    share /= share.sum()
    policy = GatePolicy.model_validate(
        {"rules": [{"name": "harm", "metric": "divergence.human_change", "must_stay": "above", "margin": -0.2,
                    "action": "HALT", "reason": "people rate the outputs lower"}]}
    )  # fmt: skip

    def step(name: str, **tables: tuple[pd.DataFrame, Sequence[str]]) -> None:
        for key, (table, columns) in tables.items():
            record.write_table(table, run / f"{_folder(name)}/{key}.parquet", columns)
        _record(name, [f"{_folder(name)}/{key}.parquet" for key in tables])

    def _record(name: str, files: list[str]) -> None:
        events.append(
            ledger.Event(
                seq=len(events),
                step=name,
                prev=events[-1].hash if events else ledger.GENESIS,
                outputs={f: ledger.digest_file(run / f) for f in files},
                at={"time": "2026-01-01T00:00:00Z", "seconds": 1.0},
            )
        )
        ledger.append(run, events[-1])

    def scored(rows: int) -> pd.DataFrame:
        ids = rng.choice(VOCABULARY, size=(rows, WORDS), p=share)
        reward = rng.normal(size=rows)
        return pd.DataFrame(
            {
                "sample_id": [f"{i:08x}" for i in rng.integers(0, 2**32, rows)],
                "prompt_id": [f"{i:06x}" for i in np.repeat(rng.integers(0, 2**24, rows // 10 + 1), 10)[:rows]],
                "group": None,
                "family": None,
                "text": [" ".join(row) for row in words[ids]],
                "token_ids": list(ids.astype(np.int32)),
                "n_tokens": WORDS,
                "finished": True,
                "logprob": rng.normal(-60, 10, rows),
                "reward": reward,
                "reward_01": 1 / (1 + np.exp(-reward)),
                "reward_spread": rng.gamma(2, 0.1, rows),
                "origin": "policy",
                "human": rng.normal(size=rows),
                "kl": rng.gamma(2, 1.0, rows),
                "kl_tokens": WORDS,
            }
        )

    events: list[ledger.Event] = []
    run.mkdir(parents=True)
    names = [f"g{g:02d}/{part}" for g in range(1, GROWS + 1) for part in ("grow", "score", "i01/audit")]
    plan = {
        "schema": record.SCHEMA,
        "config": {"name": run.name, "gates": policy.model_dump(mode="json")},
        "steps": ["plan", *names, "end"],
        "looks": GROWS,
    }
    record.write_json(plan, run / "plan.json")
    _record("plan", ["plan.json"])
    for g in range(1, GROWS + 1):
        grow = f"g{g:02d}"
        (run / grow / "i01").mkdir(parents=True)
        table = scored(samples // GROWS)
        step(f"{grow}/grow", samples=(table, record.SAMPLES))
        step(f"{grow}/score", grow=(table, record.GROW))
        record.write_table(scored(AUDITED), run / grow / "i01/audit.parquet", record.AUDIT)
        value = 0.1 * g
        intervals = (Interval(0.95, value - 0.1, value + 0.1), Interval(1 - 0.1 / GROWS, value - 0.2, value + 0.2))
        found = [
            Measurement(f"divergence.{name}", value, "sd", AUDITED, 20, "bootstrap", "1", intervals=intervals)
            for name in ("human_change", "reward_change")
        ]
        record.write_json({"measurements": [m.to_json() for m in found]}, run / grow / "i01/measurements.json")
        decision = decide(policy, found, iteration=f"{grow}/i01", look=g, looks=GROWS)
        record.write_json(decision.to_json(), run / grow / "i01/decision.json")
        files = ("audit.parquet", "measurements.json", "decision.json")
        _record(f"{grow}/i01/audit", [f"{grow}/i01/{f}" for f in files])
    _record("end", [])


def _folder(step: str) -> str:
    return step.rpartition("/")[0]


def open_run(run: Path) -> int:
    """Open a run and read every measurement and decision: what a reader's first page needs."""
    from restaudit.record import Run

    opened = Run(run)
    return sum(len(opened.measurements(i)) + (opened.decision(i) is not None) for i in opened.iterations())


def list_folder(run: Path) -> int:
    """List the runs of the folder this run is in."""
    from restaudit.record import list_runs

    return len([s for s in list_runs(run.parent) if s.state == "done"])


def list_samples(run: Path) -> int:
    """Go through every sample with text and reward, one Grow set at a time."""
    from restaudit.record import Run

    opened = Run(run)
    return sum(len(opened.grow(f"g{g:02d}", ["sample_id", "text", "reward"])) for g in range(1, GROWS + 1))


def verify_run(run: Path) -> int:
    """Re-hash every file, the chain and the decisions."""
    from restaudit.verify import verify

    return verify(run).bytes


OPERATIONS: dict[str, Callable[[Path], int]] = {
    "open": open_run,
    "list runs": list_folder,
    "list samples": list_samples,
    "verify": verify_run,
}


def measure(operation: str, run: Path) -> dict[str, float]:
    """Seconds (imports not counted, best of 3) and peak resident MiB of this process (imports counted)."""
    import restaudit.record
    import restaudit.verify  # noqa: F401

    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        count = OPERATIONS[operation](run)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"count": count, "seconds": min(seconds), "mib": peak / (2**20 if sys.platform == "darwin" else 2**10)}


def _child(*arguments: str) -> str:
    # The parent imports nothing large: on Linux a child's peak starts at its parent's size.
    root = Path(__file__).resolve().parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


def main() -> int:
    """Build, measure, print; exit 1 when an operation needs 2 GiB or more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--keep", type=Path, help="build the runs here and leave them")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "RUN", "SAMPLES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, run, samples = args.child
        if what == "build":
            build(Path(run), int(samples))
        else:
            print(json.dumps(measure(what, Path(run))))
        return 0

    with tempfile.TemporaryDirectory() as temporary:
        root = args.keep or Path(temporary)
        print(f"{'samples':>10}  {'operation':<13} {'seconds':>9} {'peak MiB':>9}  {'x time':>7}   what")
        before: dict[str, dict[str, float]] = {}
        last, worst = 0, 0.0
        for samples in args.sizes:
            run = root / f"runs-{samples}" / f"scale-{samples}"
            began = time.perf_counter()
            if not run.exists():
                _child("--child", "build", str(run), str(samples))
            size = sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
            note = f"{size / 2**20:.0f} MiB in {GROWS} Grow sets"
            print(f"{samples:>10,}  {'build':<13} {time.perf_counter() - began:>9.2f} {'':>9}  {'':>7}   {note}")
            for operation in OPERATIONS:
                now = json.loads(_child("--child", operation, str(run), "0"))
                worst = max(worst, now["mib"])
                ratio = f"{now['seconds'] / before[operation]['seconds']:.1f}" if operation in before else ""
                speed = f"{now['count'] / now['seconds'] / 2**20:.0f} MiB/s" if operation == "verify" else ""
                row = f"{now['seconds']:>9.4f} {now['mib']:>9.0f}  {ratio:>7}   {speed}"
                print(f"{samples:>10,}  {operation:<13} {row}".rstrip())
                before[operation] = now
            if last:
                print(f"{'':>10}  ({samples / last:g} times the samples; 'x time' is against the size before)")
            last = samples
        print(f"largest peak: {worst:.0f} MiB (limit {LIMIT_MIB})")
    return 0 if worst < LIMIT_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
