"""Does a run folder stay usable when it is large?

Opening, listing, verifying, reporting 10,000 to 1,000,000 samples.

Prints seconds and peak resident memory of each operation, each in a process of its own, and the
ratio from one size to the next: 10 times the samples may cost at most about 10 times the time. Run
from a checkout:

    python -m benchmarks.record_scale [--sizes 10000 100000 1000000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LIMIT_MIB = 2048


def open_run(run: Path) -> int:
    """Open a run and read every measurement and decision: what a reader's first page needs."""
    from restaudit.evidence.record import Run

    opened = Run(run)
    return sum(
        len(opened.measurements(i)) + (opened.decision(i) is not None) for i in opened.iterations()
    )


def list_folder(run: Path) -> int:
    """List the runs of the folder this run is in."""
    from restaudit.evidence.record import list_runs

    return len([s for s in list_runs(run.parent) if s.state == "done"])


def list_samples(run: Path) -> int:
    """Go through every sample with text and reward, one Grow set at a time."""
    from restaudit.evidence.record import Run

    opened = Run(run)
    return sum(
        len(opened.grow(f"g{g:02d}", ["sample_id", "text", "reward"]))
        for g in range(1, 1 + len(list(run.glob("g*/grow.parquet"))))
    )


def verify_run(run: Path) -> int:
    """Re-hash every file, the chain and the decisions."""
    from restaudit.evidence.verify import verify

    return verify(run).bytes


def render_report(run: Path) -> int:
    """Make the report and draw it as HTML and PDF."""
    from reports.document.render import render
    from reports.run_report.build import run_report
    from restaudit.evidence.record import Run

    document = run_report(Run(run))
    return len(render(document, "html")) + len(render(document, "pdf"))


OPERATIONS: dict[str, Callable[[Path], int]] = {
    "open": open_run,
    "list runs": list_folder,
    "list samples": list_samples,
    "verify": verify_run,
    "report": render_report,
}


def measure(operation: str, run: Path) -> dict[str, float]:
    """Seconds (imports not counted, best of 3) and peak resident MiB of this process (imports
    counted).
    """
    import restaudit.evidence.record
    import restaudit.evidence.verify  # noqa: F401

    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        count = OPERATIONS[operation](run)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "count": count,
        "seconds": min(seconds),
        "mib": peak / (2**20 if sys.platform == "darwin" else 2**10),
    }


def _child(*arguments: str) -> str:
    # The parent imports nothing large: on Linux a child's peak starts at its parent's size.
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.record_scale", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout


def main() -> int:
    """Build, measure, print; exit 1 when an operation needs 2 GiB or more."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--keep", type=Path, help="build the runs here and leave them")
    parser.add_argument(
        "--child", nargs=3, metavar=("WHAT", "RUN", "SAMPLES"), help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if args.child:
        what, run, samples = args.child
        if what == "build":
            from benchmarks.large_run import build

            build(Path(run), int(samples))
        else:
            print(json.dumps(measure(what, Path(run))))
        return 0

    with tempfile.TemporaryDirectory() as temporary:
        root = (args.keep or Path(temporary)).resolve()
        print(
            f"{'samples':>10}  {'operation':<13} {'seconds':>9} {'peak MiB':>9}  {'x time':>7}   "
            "what"
        )
        before: dict[str, dict[str, float]] = {}
        last, worst = 0, 0.0
        for samples in args.sizes:
            run = root / f"runs-{samples}" / f"scale-{samples}"
            began = time.perf_counter()
            if not run.exists():
                _child("--child", "build", str(run), str(samples))
            size = sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
            note = f"{size / 2**20:.0f} MiB in {len(list(run.glob('g*/grow.parquet')))} Grow sets"
            print(
                f"{samples:>10,}  {'build':<13} {time.perf_counter() - began:>9.2f} {'':>9}  "
                f"{'':>7}   {note}"
            )
            for operation in OPERATIONS:
                now = json.loads(_child("--child", operation, str(run), "0"))
                worst = max(worst, now["mib"])
                ratio = (
                    f"{now['seconds'] / before[operation]['seconds']:.1f}"
                    if operation in before
                    else ""
                )
                speed = (
                    f"{now['count'] / now['seconds'] / 2**20:.0f} MiB/s"
                    if operation == "verify"
                    else ""
                )
                row = f"{now['seconds']:>9.4f} {now['mib']:>9.0f}  {ratio:>7}   {speed}"
                print(f"{samples:>10,}  {operation:<13} {row}".rstrip())
                before[operation] = now
            if last:
                print(
                    f"{'':>10}  ({samples / last:g} times the samples; 'x time' is against the "
                    "size before)"
                )
            last = samples
        print(f"largest peak: {worst:.0f} MiB (limit {LIMIT_MIB})")
    return 0 if worst < LIMIT_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
