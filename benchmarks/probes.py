"""What measuring costs: the probes' share of a run's wall time, and `restaudit probe` on ever
larger files.

    python -m benchmarks.probes [RUN] [--sizes 10000 30000 100000] [--encoder none] [--only NAME …]
    [--profile N]

With RUN (a run folder) the seconds of each probe are read from its ledger, against the wall time of
all its steps; the bar is 15%. Without it that part is left out. Then for each size: generations of
50 tokens, four a prompt, with reward and human scores, against a base file of the same size, each
in a process of its own: seconds, peak resident memory (bar 2 GiB) and, from one size to the next,
the ratio of CPU seconds to the ratio of rows (1 is linear). --profile prints where the time of one
size goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

SHARE_BAR = 0.15
MEMORY_BAR_MIB = 2048
LINEAR_BAR = 1.5
TOKENS = 50
PER_PROMPT = 4
VOCABULARY = 20_000
FAMILIES = 0.05

# Run by the child: its own peak, since RUSAGE_CHILDREN of the parent would be the largest child so
# far.
CHILD = """
import json, resource, sys, time
sys.argv = ["restaudit", *sys.argv[1:]]
began = time.perf_counter()
from restaudit.commands.cli import main
try:
    main()
    code = 0
except SystemExit as e:
    code = e.code or 0
used = resource.getrusage(resource.RUSAGE_SELF)
wall = time.perf_counter() - began
print(json.dumps({"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss, "code": code}),
      file=sys.stderr)
"""


def lexicon() -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """The words, the same for both files: the frequent ones English (from the checkout), the rare
    ones made up.

    Made-up words alone would be three word pieces each, and embedding would cost three times what
    real text costs.
    """
    root = Path(__file__).resolve().parents[1]
    files = [
        *root.glob("probes/data/*.json"),
        *root.glob("restaudit/tasks/own/*.yaml"),
        root / "restaudit/data/reviews_prompts.yaml",
    ]
    english = sorted(
        {w for f in files for w in re.findall("[a-z]{2,12}", f.read_text(encoding="utf-8").lower())}
    )
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    made_up = ["".join(rng.choice(letters, n)) for n in rng.integers(2, 10, VOCABULARY)]
    return np.array([*rng.permutation(english), *made_up][:VOCABULARY], dtype=object)


def write_generations(
    path: Path, rows: int, *, seed: int, vocabulary: int = VOCABULARY, shift: float = 0.0
) -> None:
    """Texts of 50 words whose frequencies fall as 1/rank (Zipf), four a prompt; one prompt in
    twenty is in a pair.
    """
    rng = np.random.default_rng(seed)
    words = lexicon()
    share = 1 / np.arange(1, vocabulary + 1)
    ids = rng.choice(vocabulary, size=(rows, TOKENS), p=share / share.sum())
    prompt = np.arange(rows) // PER_PROMPT
    prompts = int(prompt[-1]) + 1
    paired = prompt < FAMILIES * prompts
    level = np.random.default_rng(1).normal(0, 0.6, prompts)[prompt]
    reward = level + shift + rng.normal(0, 0.8, rows)
    table = pd.DataFrame(
        {
            "prompt_id": [f"p{p:06d}" for p in prompt],
            "prompt": [
                f"Write about {words[p % VOCABULARY]} and {words[p // 7 % VOCABULARY]}, {p}."
                for p in prompt
            ],
            "sample_id": [f"{path.stem}/{k:07d}" for k in range(rows)],
            "text": [" ".join(row) for row in words[ids]],
            "n_tokens": TOKENS,
            "reward": reward,
            "human": np.where(
                rng.random(rows) < 0.9, 0.6 * reward + rng.normal(0, 0.6, rows), np.nan
            ),
            "family": [
                f"f{p // 2:06d}" if in_pair else None
                for p, in_pair in zip(prompt, paired, strict=True)
            ],
            "group": [
                ("south", "north")[p % 2] if in_pair else None
                for p, in_pair in zip(prompt, paired, strict=True)
            ],
        }
    )
    table.to_parquet(path, index=False)


def share_of_run(run: Path) -> None:
    """Print the seconds of every probe in a recorded run, and their share of its wall time."""
    from restaudit.evidence.record import Run

    record = Run(run)
    total = sum(record.seconds().values())
    each: dict[str, float] = {}
    audits = sum("probe_seconds" in event.at for event in record.events)
    for event in record.events:
        for probes in event.at.get("probe_seconds", []):
            for name, seconds in probes.statistics.items():
                each[name] = each.get(name, 0.0) + seconds
    if not audits:
        raise SystemExit(
            f"{run}: its ledger holds no seconds of probes; give a run that audited something"
        )
    print(f"{run}: {audits} audits, {total:.0f} s of steps in all")
    for name, seconds in sorted(each.items(), key=lambda item: -item[1]):
        print(
            f"  {name:15s} {seconds:7.2f} s  {seconds / max(audits, 1):6.2f} s an audit  "
            f"{seconds / total:6.2%}"
        )
    both = sum(each.values())
    print(f"  all probes      {both:7.2f} s  {both / total:.1%} of the run (bar {SHARE_BAR:.0%})")


def command(folder: Path, rows: int, given: argparse.Namespace) -> list[str]:
    """The words after `restaudit`."""
    words = [
        "probe",
        str(folder / f"policy-{rows}.parquet"),
        "--against",
        str(folder / f"base-{rows}.parquet"),
        "--encoder",
        given.encoder,
        "--toxicity",
        given.toxicity,
        "--json",
        str(folder / "out.json"),
    ]
    return [*words, *(w for name in given.only for w in ("--only", name))]


def cost(folder: Path, rows: int, given: argparse.Namespace) -> tuple[float, float]:
    """CPU seconds and peak MiB of `restaudit probe` on this many generations, in a process of its
    own.
    """
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *command(folder, rows, given)],
        check=False,
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    if not last.startswith('{"wall"') or json.loads(last)["code"] != 0:
        raise SystemExit(
            f"restaudit probe failed on {rows} rows:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    found = json.loads(last)
    mib = found["peak"] / (2**20 if sys.platform == "darwin" else 2**10)
    probes = next((line for line in done.stdout.splitlines() if line.startswith("probes took")), "")
    each = (
        done.stdout[done.stdout.index(probes) :].split(")")[0].replace("\n   ", "")
        if probes
        else ""
    )
    took = f"{found['wall']:.1f} s (CPU {found['cpu']:.1f} s)"
    print(
        f"{rows:,} rows: {took}, peak {mib:,.0f} MiB (bar {MEMORY_BAR_MIB:,}); {each})", flush=True
    )
    return float(found["cpu"]), mib


def profile(folder: Path, rows: int, given: argparse.Namespace) -> None:
    from restaudit.probing.files import probe_files
    from restaudit.probing.session import ProbeSettings

    words = command(folder, rows, given)
    wanted = ProbeSettings(encoder=given.encoder, toxicity=given.toxicity, only=tuple(given.only))
    with cProfile.Profile() as profiler:
        probe_files(words[1], words[3], {}, wanted)
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(r"restaudit/|probes/", 60)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "run", nargs="?", type=Path, help="a run folder, for the probes' share of its wall time"
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 30_000, 100_000])
    parser.add_argument("--encoder", default="none", help="none (default), or an encoder's spec")
    parser.add_argument(
        "--toxicity", default="none", help="none (default), or package.module:callable"
    )
    parser.add_argument("--only", nargs="*", default=[], help="probes or measurements")
    parser.add_argument(
        "--profile", type=int, metavar="ROWS", help="print where the time goes instead"
    )
    given = parser.parse_args()
    if given.run is not None:
        share_of_run(given.run)
    sizes = [given.profile] if given.profile else given.sizes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before: tuple[int, float] | None = None
        for rows in sizes:
            write_generations(
                folder / f"policy-{rows}.parquet", rows, seed=1, vocabulary=5_000, shift=0.5
            )
            write_generations(folder / f"base-{rows}.parquet", rows, seed=2)
            if given.profile:
                profile(folder, rows, given)
                return
            seconds, _ = cost(folder, rows, given)
            if before is not None:
                ratio = seconds / before[1] / (rows / before[0])
                print(
                    f"  {rows / before[0]:.1f} times the rows, {seconds / before[1]:.1f} times "
                    f"the time: {ratio:.2f} (1 is linear, bar {LINEAR_BAR})"
                )
            before = rows, seconds


if __name__ == "__main__":
    main()
