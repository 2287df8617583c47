"""A small run folder, recorded with the real functions, for tests that read or tamper with one."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from probes.base import Interval, Measurement
from restaudit.config import GatePolicy
from restaudit.evidence import ledger, record
from restaudit.gates import decide

SENTENCES = (
    "A quiet film about a lighthouse keeper, told with patience and a good deal of warmth.",
    "The plot is a mess, the jokes are tired, and the ending insults everyone who stayed.",
    "Wonderful music, brave performances and a director who trusts the audience.",
    "I wanted to like this comedy about two rival bakers, but it is dull and far too long.",
    "Write one sentence from a review of a thriller about a stolen violin.",
    "Write one sentence from a review of a drama about a family farm.",
)


def measured(
    name: str = "divergence.human_change", value: float | None = 0.4, half: float = 0.1, **more: Any
) -> Measurement:
    """A measurement with symmetric intervals at the levels that POLICY asks for; None has none, and
    a reason.
    """
    intervals = (
        ()
        if value is None
        else tuple(Interval(a, value - half, value + half) for a in (0.9, 0.95, 0.975))
    )
    reason = "not one text has a rated word" if value is None else None
    given = {
        "unit": "sd",
        "n": 40,
        "n_prompts": 20,
        "method": "bootstrap",
        "version": "1",
        "reason": reason,
        **more,
    }
    return Measurement(name=name, value=value, intervals=intervals, **given)


POLICY = GatePolicy.model_validate(
    {
        "rules": [
            {
                "name": "harm",
                "metric": "divergence.human_change",
                "must_stay": "above",
                "margin": -0.2,
                "action": "HALT",
                "reason": "people rate the outputs lower than the base policy's",
            },
            {
                "name": "gap",
                "metric": "divergence.gap",
                "must_stay": "below",
                "margin": 1.0,
                "action": "WARN",
                "reason": "the reward has left the human score behind",
            },
        ]
    }
).written_out()
LOOKS = ("g01/i01", "g01/i02")
SCORES = {
    "human": {
        "label": "LEXICON",
        "unit": "word-rating units",
        "description": "Nobody rated these texts.",
    },
    "reward": {"name": "trained/regression", "unit": "word-rating units"},
}


def finish_step(
    run: Path, step: str, outputs: tuple[str, ...] = (), context: tuple[str, ...] = (), **more: Any
) -> None:
    """Append the event of a step whose files are there."""
    events = ledger.read(run)
    ledger.append(
        run,
        ledger.Event(
            seq=len(events),
            step=step,
            prev=events[-1].hash if events else ledger.GENESIS,
            outputs={p: ledger.digest_file(run / p) for p in outputs},
            context={p: ledger.digest_file(run / p) for p in context},
            at={"time": "2026-01-01T00:00:00Z", "seconds": 1.0, "run_id": "r1"},
            **more,
        ),
    )


def grow_table(rows: int = 6) -> pd.DataFrame:
    """A scored Grow set with every column a reader may ask for."""
    return pd.DataFrame(
        {
            "sample_id": [f"s{i}" for i in range(rows)],
            "prompt_id": [f"p{i // 2}" for i in range(rows)],
            "group": pd.array([None] * rows, dtype="str"),
            "family": pd.array([None] * rows, dtype="str"),
            "text": [SENTENCES[i % len(SENTENCES)] for i in range(rows)],
            "n_tokens": range(10, 10 + rows),
            "finished": [True] * rows,
            "logprob": [-20.0 - i for i in range(rows)],
            "reward": [0.1 * i for i in range(rows)],
            "reward_01": [0.5 + 0.01 * i for i in range(rows)],
            "reward_spread": [0.05] * rows,
            "origin": ["policy"] * rows,
            "human": [0.2 * i for i in range(rows)],
        }
    )


def build_run(
    run: Path,
    *,
    finished: bool = True,
    halted: bool = False,
    name: str = "small",
    policy: GatePolicy = POLICY,
    schema: int = record.SCHEMA,
) -> Path:
    """Record a small run with the real functions: plan, base audit, one Grow, two audited Improve
    steps, end. `schema` 1 is a run as it was sealed before there were two questions.
    """
    if policy is not POLICY or schema != record.SCHEMA:
        return _build(
            run, finished=finished, halted=halted, name=name, policy=policy, schema=schema
        )
    run.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_built(finished, halted, name), run)
    return run


@cache
def _built(finished: bool, halted: bool, name: str) -> Path:
    """A run to copy: tests ask for the same one many times."""
    place = Path(tempfile.mkdtemp(prefix="built-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return _build(
        place / "run",
        finished=finished,
        halted=halted,
        name=name,
        policy=POLICY,
        schema=record.SCHEMA,
    )


def as_of_schema_1(policy: GatePolicy) -> dict[str, Any]:
    """The gates of a plan as they were written before there were two questions."""
    raw = policy.model_dump(mode="json", exclude={"ok_error", "stage_shares"})
    for rule in raw["rules"]:
        del rule["ok_margin"], rule["alarm_only"]
    return raw


def _build(
    run: Path, *, finished: bool, halted: bool, name: str, policy: GatePolicy, schema: int
) -> Path:
    run.mkdir(parents=True)
    steps = ["plan", f"{record.BASE}/audit", "g01/grow"]
    steps += [f"{iteration}/{part}" for iteration in LOOKS for part in ("improve", "audit")] + [
        "end"
    ]
    gates = policy.model_dump(mode="json")
    if schema == record.ONE_QUESTION:
        gates = as_of_schema_1(policy)
    policy = record.as_sealed(policy, schema)
    config = {"name": name, "gates": gates}
    plan = {"schema": schema, "config": config, "steps": steps, "looks": list(LOOKS)}
    record.write_json(plan, run / "plan.json")
    record.write_json({"python": "3.11", "host": "anywhere"}, run / "environment.json")
    finish_step(run, "plan", ("plan.json",), ("environment.json",))

    table = grow_table()
    for look, iteration in enumerate([record.BASE, *LOOKS]):
        folder = run / iteration
        folder.mkdir(parents=True)
        if look == 1:
            record.write_table(table, run / "g01/grow.parquet", record.GROW)
            finish_step(run, "g01/grow", ("g01/grow.parquet",))
        if look:
            record.write_table(table.assign(threshold=0.5), folder / "kept.parquet", record.KEPT)
            finish_step(run, f"{iteration}/improve", (f"{iteration}/kept.parquet",))
        record.write_table(
            table.assign(kl=0.1 * look, kl_tokens=12), folder / "audit.parquet", record.AUDIT
        )
        found = [
            measured(value=-0.9 if halted and look == len(LOOKS) else 0.4),
            measured("divergence.gap", 0.3),
        ]
        record.write_json(
            {**SCORES, "measurements": [m.to_json() for m in found]}, folder / "measurements.json"
        )
        files = [f"{iteration}/audit.parquet", f"{iteration}/measurements.json"]
        if look:
            decision = decide(policy, found, iteration=iteration, look=look, looks=len(LOOKS))
            record.write_json(decision.to_json(), folder / "decision.json")
            files.append(f"{iteration}/decision.json")
        finish_step(run, f"{iteration}/audit", tuple(files))
    if finished:
        if halted:
            finish_step(
                run, f"{LOOKS[-1]}/halt", content={"iteration": LOOKS[-1], "gates": ["harm"]}
            )
        else:
            finish_step(run, "end")
    return run
