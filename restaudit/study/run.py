"""Do a study: search the learning rates, then every method with every seed, one process after the
other.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from probes.texts.grams import coded, grams, rarefied
from probes.texts.sets import words_of
from restaudit.config import Config
from restaudit.console import Reporter
from restaudit.errors import Exit, Interrupted, RestauditError
from restaudit.evidence.record import BASE, D_EVAL, Run, is_run, json_bytes, read_json, read_table
from restaudit.files import plain
from restaudit.study.plan import Study, config_of, search_config

COMMAND = "from restaudit.commands.cli import main; main()"
Do = Callable[[Config, Path], None]
SEARCH_FILE = "search.json"
# In bytes: how much of a run's output is looked through for its last line.
LOG_TAIL = 1 << 16
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
        if not is_run(run) or Run(run).state != "done":
            reporter.line(f"[{count} of {total}] {run.relative_to(folder)}")
            do(config, run)
        return Run(run)

    tried: dict[str, dict[str, Tried]] = {}
    for method, rates in searched_for.items():
        for rate in rates:
            run = done(search_config(study, method, rate), folder / "search" / f"{method}-{rate:g}")
            tried.setdefault(method, {})[f"{rate:g}"] = judged(run)
    given = {m: f"{r[0]:g}" for m, r in study.rates.items() if m not in tried}
    chosen = write(folder, tried, given, study.least_variety).chosen
    for method, rate_text in chosen.items():
        why = "as the recipe says"
        if method in tried:
            why = f"of {', '.join(tried[method])}"
        reporter.line(f"learning rate of {method}: {rate_text} {why}")
    # A seed after the other, so that a study that is interrupted has compared all methods so far.
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
    # Beside the run folder: a file in it would be one that the ledger does not know.
    study, beside = run.parent.parent, f"{run.parent.name}/{run.name}"
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    path = plain.write(study, f"{beside}.yaml", text.encode())
    arguments = ["resume", str(run)] if is_run(run) else ["run", str(path), "--out", str(run)]
    log = f"{beside}.log"
    with plain.appended(study, log) as out:
        out.seek(0, os.SEEK_END)
        child = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments, "--quiet"], stdout=out, stderr=out
        )
        try:
            code = child.wait()
        except KeyboardInterrupt:
            # A terminal sends Ctrl-C to the child as well; where only this process got it, the
            # child must end too.
            child.terminate()
            child.wait()
            raise Interrupted("stopped; give the same command again to go on from there") from None
    # Gates only warn in a study, so no run of it ends by a HALT.
    if code != Exit.DONE:
        last = _last_line(study, log)
        raise RestauditError(
            f"{run}: ended with exit code {code}: {last} (all of it: {study / log})"
        )


def _last_line(study: Path, log: str) -> str:
    with plain.opened(study, log) as f:
        size = f.seek(0, os.SEEK_END)
        f.seek(max(0, size - LOG_TAIL))
        lines = f.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no output"


# --- the search for a learning rate: what was tried, how it is judged, and which rate is taken


def judged(run: Run) -> Tried:
    """The last policy of a run of the search, on D_eval; nobody's judgement and no audit prompt is
    used.
    """

    def d_eval(iteration: str) -> pd.DataFrame:
        return read_table(run.path, f"{iteration}/d_eval.parquet", D_EVAL, ["text", "reward"])

    base, last = d_eval(BASE), d_eval(run.iterations()[-1])
    base_pairs, pairs = _pair_counts(base["text"]), _pair_counts(last["text"])
    # As many bigrams of both, so that shorter texts do not look more varied.
    size = int(min(pairs.sum(), base_pairs.sum()))
    variety = rarefied(pairs, size) / rarefied(base_pairs, size) if size else 0.0
    return Tried(float(np.mean(last["reward"])), variety)


def _pair_counts(texts: Iterable[str]) -> npt.NDArray[np.intp]:
    """How often each pair of words running occurs."""
    return np.bincount(grams(coded([words_of(text) for text in texts]), 2).code)


def choose(tried: Mapping[str, Tried], least: float | None) -> str:
    """The rate with the highest reward among those that keep `least` variety; where none does, that
    with the most.
    """
    kept = dict(tried)
    if least is not None:
        kept = {rate: result for rate, result in tried.items() if result.variety >= least}
    if not kept:
        return max(tried, key=lambda rate: tried[rate].variety)
    return max(kept, key=lambda rate: kept[rate].reward)


def write(
    folder: Path,
    tried: Mapping[str, Mapping[str, Tried]],
    given: Mapping[str, str],
    least: float | None,
) -> Search:
    """Choose every method's rate, with `given` those that needed no search, and write it down."""
    chosen = dict(given)
    reward: dict[str, dict[str, float]] = {}
    variety: dict[str, dict[str, float]] = {}
    for method, rates in tried.items():
        chosen[method] = choose(rates, least)
        reward[method] = {rate: t.reward for rate, t in rates.items()}
        variety[method] = {rate: t.variety for rate, t in rates.items()}
    found = {
        "judged_by": JUDGED_BY,
        "least_variety": least,
        "reward": reward,
        "variety": variety,
        "chosen": chosen,
    }
    plain.write(folder, SEARCH_FILE, json_bytes(found))
    return Search(reward, chosen, variety)


def searched(folder: Path) -> Search:
    """The search of a study; empty before it is done."""
    written = read_json(folder, SEARCH_FILE) if plain.is_file(folder, SEARCH_FILE) else {}
    # Studies of before have no variety.
    return Search(written.get("reward", {}), written.get("chosen", {}), written.get("variety", {}))
