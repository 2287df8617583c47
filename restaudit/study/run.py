"""Do a study: search the learning rates, then every method with every seed, one process after the
other.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from restaudit.config import Config
from restaudit.console import Reporter
from restaudit.errors import Exit, Interrupted, RestauditError
from restaudit.evidence.record import Run
from restaudit.study.plan import Study, config_of, search_config
from restaudit.study.search import Tried, judged, write

COMMAND = "from restaudit.commands.cli import main; main()"
Do = Callable[[Config, Path], None]


def run_study(folder: Path, study: Study, reporter: Reporter, do: Do | None = None) -> None:
    """Do every run that is not done yet; `do` does one (default: a process of its own, so that
    memory is its own).

    Raises Interrupted on Ctrl-C and RestauditError where a run fails; what is done stays, and the
    same call goes on.
    """
    do = do or one_process
    searched_for = {m: r for m, r in study.rates.items() if len(r) > 1}
    total = sum(map(len, searched_for.values())) + len(study.methods) * len(study.seeds)
    count = 0

    def done(config: Config, run: Path) -> Run:
        nonlocal count
        count += 1
        if not (run / "plan.json").exists() or Run(run).state != "done":
            reporter.line(f"[{count} of {total}] {run.relative_to(folder)}")
            do(config, run)
        return Run(run)

    found: dict[str, dict[str, Tried]] = {}
    for method, rates in searched_for.items():
        for rate in rates:
            run = done(search_config(study, method, rate), folder / "search" / f"{method}-{rate:g}")
            found.setdefault(method, {})[f"{rate:g}"] = judged(run)
    given = {m: f"{r[0]:g}" for m, r in study.rates.items() if m not in found}
    chosen = write(folder, found, given, study.least_variety).chosen
    for method, rate_text in chosen.items():
        of = f"of {', '.join(found[method])}" if method in found else "as the recipe says"
        reporter.line(f"learning rate of {method}: {rate_text} {of}")
    for seed in study.seeds:
        for method in study.methods:
            best = float(chosen[method]) if method in chosen else None
            done(config_of(study, method, seed, best), run_folder(folder, method, seed))


def run_folder(folder: Path, method: str, seed: int) -> Path:
    """Where one run of a study lies."""
    return folder / "runs" / f"{method}-s{seed}"


def one_process(config: Config, run: Path) -> None:
    """Start or go on with one run in a process of its own; its lines go to RUN.log beside the
    folder.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    path = run.with_suffix(".yaml")
    path.write_text(
        yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
    )
    begun = (run / "plan.json").exists()
    arguments = ["resume", str(run)] if begun else ["run", str(path), "--out", str(run)]
    log = run.parent / f"{run.name}.log"
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments, "--quiet"], stdout=out, stderr=out
        )
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            raise Interrupted("stopped; give the same command again to go on from there") from None
    if code != Exit.DONE:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1] if lines else "no output"
        raise RestauditError(f"{run}: ended with exit code {code}: {last} (all of it: {log})")
