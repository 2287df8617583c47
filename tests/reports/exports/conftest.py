"""Runs to export: a real one on a tiny model, and fabricated ones in every state."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.exports.facts import Facts
from reports.records import Records
from restaudit import ledger
from restaudit.configure import parse
from restaudit.console import Reporter
from restaudit.plan import start
from restaudit.record import Run
from tests.loop.conftest import make_job_folder, tiny_raw

# Everything at once: HTML, Markdown, YAML, a formula, a template, reversed reading order, control and invisible ones.
HOSTILE = (
    '=cmd|"/c calc"!A1 <script>alert(1)</script> **b** [l](javascript:alert(1)) `c` {{x}} ---\n'
    "license: evil\r\n# h \u202egpj.exe\u2066 \x1b[31m\x07 \u200b\ufeff\U000e0041 : & 'q' \"q\" \\ | ${x} ]]> \u2028end"
)


@pytest.fixture(scope="session")
def tiny_run(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of a tiny model, by the real program: two Grow steps of two Improve steps. Read only."""
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
def facts(tiny_run: Path) -> Facts:
    """What the tiny run's record says."""
    return Facts(Records(Run(tiny_run)))


def forged(run: Path, out: Path, change: Callable[[dict[str, Any]], None], *, steps: int | None = None) -> Path:
    """A copy of a run as a stranger may hand it over: another plan, a ledger that fits it, cut after some steps."""
    shutil.copytree(run, out)
    plan = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    change(plan)
    (out / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    events = ledger.read(run)[:steps]
    (out / ledger.FILE).unlink()
    prev = ledger.GENESIS
    for event in events:
        outputs = {n: ledger.digest_file(out / n) if n == "plan.json" else d for n, d in event.outputs.items()}
        event = dataclasses.replace(event, prev=prev, outputs=outputs)
        ledger.append(out, event)
        prev = event.hash
    return out


@pytest.fixture(scope="session")
def hostile_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with a name and a source that no configuration of ours would take."""

    def change(plan: dict[str, Any]) -> None:
        plan["config"]["name"] = plan["config"]["description"] = HOSTILE
        plan["config"]["data"]["prompts"][0]["source"] = HOSTILE
        plan["artifacts"]["policy.model"]["spec"] = HOSTILE

    return forged(tiny_run, tmp_path_factory.mktemp("hostile") / "run", change)
