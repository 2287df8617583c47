"""Runs to export: a real one on a tiny model, and what a stranger could make of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.exports.facts import RunFacts
from reports.record.files import Records
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.evidence import ledger
from restaudit.evidence.record import RATINGS, Run
from restaudit.loop.running import start
from tests.loop.conftest import make_job_folder, tiny_raw

# Everything at once: HTML, Markdown, YAML, a formula, a template, reversed reading order, control
# and invisible ones.
HOSTILE = (
    '=cmd|"/c calc"!A1 <script>alert(1)</script> **b** [l](javascript:alert(1)) `c` {{x}} ---\n'
    "license: evil\r\n# h \u202egpj.exe\u2066 \x1b[31m\x07 \u200b\ufeff\U000e0041 : & 'q' \"q\" "
    "\\ | ${x} ]]> \u2028end"
)


@pytest.fixture(scope="session")
def tiny_run(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of a tiny model, by the real program: two Grow steps of two Improve steps.

    Read only.
    """
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        make_job_folder(folder, patch)
        raw = tiny_raw(tiny_policy)
        raw["description"] = HOSTILE
        raw["policy"] |= {"licence": HOSTILE}  # type: ignore[operator]
        raw["data"]["prompts"][0]["licence"] = HOSTILE  # type: ignore[index]
        start(parse(raw), folder / "run", Reporter(quiet=True))
        yield folder / "run"


@pytest.fixture(scope="session")
def facts(tiny_run: Path) -> RunFacts:
    """What the tiny run's record says."""
    return facts_of(tiny_run)


def forged(
    run: Path,
    out: Path,
    change: Callable[[dict[str, Any]], None] = lambda plan: None,
    *,
    steps: int | None = None,
    then: Sequence[tuple[str, dict[str, Any]]] = (),
    tables: Mapping[str, tuple[str, pd.DataFrame]] | None = None,
) -> Path:
    """A copy of a run as a stranger may hand it over: another plan, and a ledger that fits it.

    Cut after `steps`, followed by the events `then`; `tables` are recorded by a step (path -> step,
    table).
    """
    shutil.copytree(run, out)
    plan = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    change(plan)
    (out / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    for path, (_, table) in (tables or {}).items():
        table.to_parquet(out / path)
    events = ledger.read(run)[:steps]
    (out / ledger.FILE).unlink()
    prev = ledger.GENESIS
    time = events[-1].at["time"]
    events += [
        ledger.Event(0, step, "", {}, said, at={"time": time, "seconds": 0.0})
        for step, said in then
    ]
    for seq, event in enumerate(events):
        more = [path for path, (step, _) in (tables or {}).items() if step == event.step]
        outputs = {n: ledger.digest_file(out / n) for n in (*event.outputs, *more)}
        event = dataclasses.replace(event, seq=seq, prev=prev, outputs=outputs)
        ledger.append(out, event)
        prev = event.hash
    return out


def facts_of(run: Path) -> RunFacts:
    """What a run's record says."""
    return RunFacts(Records(Run(run)))


@pytest.fixture(scope="session")
def hostile_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with a name and a source that no configuration of ours would take."""

    def change(plan: dict[str, Any]) -> None:
        plan["config"]["name"] = plan["config"]["description"] = HOSTILE
        plan["config"]["data"]["prompts"][0]["source"] = HOSTILE
        plan["artifacts"]["policy.model"]["spec"] = HOSTILE

    return forged(tiny_run, tmp_path_factory.mktemp("hostile") / "run", change)


@pytest.fixture(scope="session")
def overridden_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, halted after its first Improve step and let go on by somebody with a hostile
    name and reason.
    """
    before = [e.step for e in ledger.read(tiny_run)].index("g01/i01/audit") + 1
    said = {"iteration": "g01/i01", "gates": ["harm", HOSTILE]}
    return forged(
        tiny_run,
        tmp_path_factory.mktemp("overridden") / "run",
        steps=before,
        then=[
            ("g01/i01/halt", said),
            ("g01/i01/override", {**said, "by": HOSTILE, "reason": HOSTILE}),
        ],
    )


@pytest.fixture(scope="session")
def rated_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with sealed ratings of two people, one of them with a hostile pseudonym."""
    row: dict[str, Any] = dict.fromkeys(RATINGS, "x") | {
        "score": 1.0,
        "scale_min": 0.0,
        "scale_max": 1.0,
    }
    row |= {"look": 1, "inclusion": 1.0, "check": False, "anchor": False}
    table = pd.DataFrame([{**row, "rater": "rater-1"}, {**row, "rater": HOSTILE}])
    tables = {"g01/i01/ratings.parquet": ("g01/i01/audit", table)}
    return forged(tiny_run, tmp_path_factory.mktemp("rated") / "run", tables=tables)
