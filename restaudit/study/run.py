"""Do a study: search the learning rates, then every method with every seed, one process after the
other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from probes.texts.grams import coded, grams, rarefied
from probes.texts.sets import words_of
from restaudit.config import Config
from restaudit.console import Reporter
from restaudit.errors import Exit, Interrupted, RestauditError
from restaudit.evidence.record import BASE, D_EVAL, Run, read_table, write_json
from restaudit.study.plan import Study, config_of, search_config

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


# The search for a learning rate: what was tried, how it is judged on D_eval, and which rate is
# taken.


FILE = "search.json"
JUDGED_BY = "mean reward on D_eval after one Grow step's worth of samples"


@dataclass(frozen=True)
class Tried:
    """One rate: mean reward on D_eval, and distinct-2 there over the base policy's at as many
    bigrams.
    """

    reward: float
    variety: float


@dataclass(frozen=True)
class Search:
    """What the search found by method and learning rate, and the rate chosen of each method."""

    reward: Mapping[str, Mapping[str, float]]
    chosen: Mapping[str, str]
    variety: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def judged(run: Run) -> Tried:
    """The last policy of a run of the search, on D_eval; nobody's judgement and no audit prompt is
    used.
    """
    base, last = (
        read_table(run.path / i / "d_eval.parquet", D_EVAL, ["text", "reward"])
        for i in (BASE, run.iterations()[-1])
    )
    then, now = (
        np.bincount(grams(coded([words_of(t) for t in table["text"]]), 2).code)
        for table in (base, last)
    )
    size = int(min(now.sum(), then.sum()))
    variety = rarefied(now, size) / rarefied(then, size) if size else 0.0
    return Tried(float(np.mean(last["reward"])), variety)


def choose(tried: Mapping[str, Tried], least: float | None) -> str:
    """The rate with the highest reward among those that keep `least` variety; where none does, that
    with the most.
    """
    kept = {rate: t for rate, t in tried.items() if least is None or t.variety >= least}
    if not kept:
        return max(tried, key=lambda rate: tried[rate].variety)
    return max(kept, key=lambda rate: kept[rate].reward)


def write(
    folder: Path,
    found: Mapping[str, Mapping[str, Tried]],
    given: Mapping[str, str],
    least: float | None,
) -> Search:
    """Choose every method's rate, with `given` those that needed no search, and write it down."""
    chosen = {**given, **{m: choose(t, least) for m, t in found.items()}}
    reward = {m: {rate: t.reward for rate, t in tried.items()} for m, tried in found.items()}
    variety = {m: {rate: t.variety for rate, t in tried.items()} for m, tried in found.items()}
    write_json(
        {
            "judged_by": JUDGED_BY,
            "least_variety": least,
            "reward": reward,
            "variety": variety,
            "chosen": chosen,
        },
        folder / FILE,
    )
    return Search(reward, chosen, variety)


def searched(folder: Path) -> Search:
    """The search of a study; empty before it is done."""
    path = folder / FILE
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return Search(found.get("reward", {}), found.get("chosen", {}), found.get("variety", {}))
