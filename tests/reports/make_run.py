"""Fabricates run folders with the real record, ledger and gates functions, so that reports are
tested without training.

As a script: `python -m tests.reports.make_run FOLDER [STATE]` writes one run.
"""

from __future__ import annotations

import atexit
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from probes.base import Interval, Measurement
from probes.divergence.curves import FORMS, fit
from restaudit.config import GatePolicy, LoopConfig
from restaudit.config.reading import load
from restaudit.evidence import ledger, record
from restaudit.gates import decide, levels_needed
from restaudit.loop.select import kept_set
from tests.recorded import as_of_schema_1
from tests.reports.fabric import (
    DATA_REPORT,
    DOSSIER,
    ENVIRONMENT,
    HALTED,
    HEALTHY,
    HOSTILE,
    POLICY,
    PROMPTS,
    SAMPLES,
    SPLITS,
    Point,
)

__all__ = ["HALTED", "HEALTHY", "HOSTILE", "PROMPTS", "SAMPLES", "State", "make_run", "resealed"]

State = Literal["healthy", "halted", "overridden", "broken", "base_only", "half", "nulls", "old"]


def make_run(folder: Path | str, state: State = "healthy", *, name: str = "reviews-trial") -> Path:
    """Write one run folder and return its path.

    healthy    two Grow steps of two Improve steps, done
    halted     a gate stopped it at g01/i02
    overridden a gate stopped it at g01/i02 and somebody let it go on
    broken     like healthy, with one ledger line changed afterwards
    base_only  only the base policy was audited, stopped
    half       stopped before anything was measured
    nulls      no human score is configured: everything that needs one is null with the reason
    old        like healthy, sealed before there were two questions (schema 1)
    """
    run = Path(folder)
    if any(globals()[k] is not v for k, v in AS_WRITTEN.items()):
        return _make(run, state, name)  # a test put something of its own in the place of a part
    (run / "data").mkdir(parents=True)  # refuses a folder that has a run already
    shutil.copytree(_made(state, name), run, dirs_exist_ok=True)
    return run


@cache
def _made(state: State, name: str) -> Path:
    """A run to copy: its bytes depend on the state and the name alone, and tests ask for the same
    ones many times.
    """
    place = Path(tempfile.mkdtemp(prefix="made-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return _make(place / "run", state, name)


def _make(run: Path, state: State, name: str) -> Path:
    (run / "data").mkdir(parents=True)
    path = HALTED if state in ("halted", "overridden") else HEALTHY
    audited = {"base_only": 1, "half": 0}.get(state, len(path))
    steps = ["plan", "reward_model", "human_score", "scale", *_audit_steps(HEALTHY), "end"]
    policy = record.as_sealed(POLICY, record.ONE_QUESTION if state == "old" else record.SCHEMA)
    record.write_json(_plan(name, steps, policy, human=state != "nulls"), run / "plan.json")
    record.write_json(ENVIRONMENT, run / "environment.json")
    for split in SPLITS:
        record.write_table(_prompts(split), run / "data" / f"{split}.parquet", record.PROMPTS)
    record.write_json(DATA_REPORT, run / "data" / "report.json")
    sealed = ["plan.json", "data/report.json", *(f"data/{split}.parquet" for split in SPLITS)]
    _event(
        run,
        "plan",
        sealed,
        ["environment.json"],
        time="2026-03-01T09:00:00Z",
        run_id=f"{name}-0001",
    )
    _models(run, human=state != "nulls")
    for look, iteration in enumerate(list(path)[:audited]):
        if iteration.endswith("/i01"):
            _grow(run, iteration.split("/")[0])
        _audit(run, iteration, path, look, policy, human=state != "nulls")
    if state in ("healthy", "broken", "nulls", "old"):
        _event(run, "end", [])
    if state in ("halted", "overridden"):
        _event(
            run, "g01/i02/halt", [], content={"iteration": "g01/i02", "gates": ["harm", "collapse"]}
        )
    if state == "overridden":
        said = {
            "iteration": "g01/i02",
            "gates": ["harm", "collapse"],
            "by": HOSTILE[0],
            "reason": HOSTILE[2],
        }
        _event(run, "g01/i02/override", [], content=said)
    if state == "broken":
        ledger_file = run / ledger.FILE
        ledger_file.write_bytes(
            ledger_file.read_bytes().replace(b'"step":"scale"', b'"step":"scala"', 1)
        )
    return run


def resealed(run: Path) -> Path:
    """The chain written again around files that were changed, as whoever can write the folder could
    do.
    """
    events = ledger.read(run)
    (run / ledger.FILE).unlink()
    prev = ledger.GENESIS
    for e in events:
        outputs = {n: ledger.digest_file(run / n) for n in e.outputs}
        context = {n: ledger.digest_file(run / n) for n in e.context}
        again = ledger.Event(e.seq, e.step, prev, outputs, e.content, context, e.at)
        ledger.append(run, again)
        prev = again.hash
    return run


def _audit_steps(path: Mapping[str, Point]) -> list[str]:
    steps = []
    for iteration in path:
        grow = iteration.split("/")[0]
        if iteration.endswith("/i01"):
            steps += [f"{grow}/grow", f"{grow}/score"]
        steps += (
            [f"{iteration}/audit"]
            if iteration == record.BASE
            else [f"{iteration}/improve", f"{iteration}/audit"]
        )
    return steps


def _plan(name: str, steps: list[str], policy: GatePolicy, *, human: bool) -> dict[str, Any]:
    old = policy.ok_error is None
    rising = [50, 70, *range(72, 98, 2)]
    # Looks of one stage, as the policy of these runs has them.
    one_stage = ["audit.samples_per_prompt=2", "audit.counterfactual_samples=1"]
    changes = ["loop.grow_steps=2", f"loop.thresholds.values={rising}", *one_stage]
    config = load("reviews", changes).model_dump(mode="json")
    config |= {
        "name": name,
        "gates": as_of_schema_1(policy) if old else policy.model_dump(mode="json"),
        "human": config["human"] if human else {"kind": "none"},
    }
    return {
        "schema": record.ONE_QUESTION if old else record.SCHEMA,
        "restaudit": "0.1.0",
        "config": config,
        "steps": steps,
        "looks": list(HEALTHY)[1:],
        "artifacts": {
            "policy.model": {
                "spec": config["policy"]["model"],
                "sha256": "ab" * 32,
                "licence": "Apache-2.0",
            },
            "audit.encoder": {
                "spec": "pypi:an-encoder==1.0!model",
                "sha256": "cd" * 32,
                "licence": None,
            },
        },
        "prompts": dict.fromkeys(SPLITS, PROMPTS),
        "probes": [],
    }


def _models(run: Path, *, human: bool) -> None:
    """The reward model's dossier, what the human score is, and the scale."""
    (run / "reward_model").mkdir()
    (run / "human_score").mkdir()
    record.write_json(DOSSIER, run / "reward_model" / "dossier.json")
    content = {"name": DOSSIER["name"], "digest": DOSSIER["digest"], "members": 1}
    _event(run, "reward_model", ["reward_model/dossier.json"], content=content)
    record.write_json(
        {"schema": "restaudit.human-score/1", **_scores(human=human)["human"]},
        run / "human_score" / "human.json",
    )
    _event(
        run,
        "human_score",
        ["human_score/human.json"],
        content={"label": _scores(human=human)["human"]["label"]},
    )
    record.write_json({"median": 0.16, "spread": 1.0}, run / "reward_model" / "scale.json")
    parameters = {"d_eval_reward": 0.16, "parameters": 134_515_008, "trained_parameters": 921_600}
    _event(run, "scale", ["reward_model/scale.json"], content=parameters)


def _scores(*, human: bool) -> dict[str, Any]:
    lexicon = {
        "label": "LEXICON",
        "unit": "word-rating units",
        "description": "Held-out raters' ratings of single words, averaged over the rated words "
        "of a text. "
        "Nobody rated these texts.",
    }
    none = {
        "label": "NONE",
        "unit": "",
        "description": "No human score is configured for this run.",
    }
    return {
        "human": lexicon if human else none,
        "reward": {"name": "trained/regression", "unit": "word-rating units (-4 to 4)"},
    }


def _event(
    run: Path,
    step: str,
    files: list[str],
    context: Sequence[str] = (),
    *,
    content: Mapping[str, Any] | None = None,
    **at: Any,
) -> None:
    events = ledger.read(run)
    ledger.append(
        run,
        ledger.Event(
            seq=len(events),
            step=step,
            prev=events[-1].hash if events else ledger.GENESIS,
            outputs={f: ledger.digest_file(run / f) for f in files},
            content=content or {},
            context={f: ledger.digest_file(run / f) for f in context},
            at={
                "time": f"2026-03-01T09:{len(events):02d}:00Z",
                "host": "host",
                "seconds": 1.5,
                **at,
            },
        ),
    )


def _prompts(split: str) -> pd.DataFrame:
    rows = []
    for k in range(PROMPTS):
        in_family = k % 8 == 7
        rows.append(
            {
                "prompt_id": f"{split}{k:03d}",
                "prompt": HOSTILE[0]
                if k == 1
                else f"Write one sentence from a review of a film about topic {k}.",
                "references": [],
                "group": ("group A", "group B")[k // 8 % 2] if in_family else None,
                "family": f"family{k // 16}" if in_family else None,
                "source": "synthetic",
                "split": split,
            }
        )
    return pd.DataFrame(rows)


def _samples(prompts: pd.DataFrame, iteration: str, point: Point, *, human: bool) -> pd.DataFrame:
    rows = []
    for k, prompt in enumerate(prompts.itertuples()):
        for j in range(SAMPLES):
            wave = math.sin(1.7 * k + 2.3 * j)
            text = (
                HOSTILE[(k + j) % 3]
                if k < 2
                else f"A film with {iteration} written on it, take {j}: it holds up."
            )
            reward = 0.16 + point.reward + 0.5 * wave
            rows.append(
                {
                    "sample_id": f"{iteration}-{k:03d}-{j}",
                    "prompt_id": prompt.prompt_id,
                    "group": prompt.group,
                    "family": prompt.family,
                    "text": text,
                    "n_tokens": 12 + k % 9,
                    "finished": True,
                    "logprob": -30.0 - k,
                    "reward": reward,
                    "reward_01": 1 / (1 + math.exp(-reward)),
                    "reward_spread": 0.1 + 0.05 * abs(wave),
                    "human": 0.12 + 0.6 * point.human + 0.4 * wave if human and k % 5 else math.nan,
                    "kl": 0.8 * point.reward,
                    "kl_tokens": 20,
                    "origin": "policy",
                }
            )
    return pd.DataFrame(rows)


def _grow(run: Path, grow: str) -> None:
    (run / grow).mkdir()
    table = _samples(_prompts("grow"), f"{grow}/grow", HEALTHY["g01/i01"], human=True)
    record.write_table(table, run / grow / "grow.parquet", record.GROW)
    policy = record.BASE if grow == "g01" else "g01/i02"
    tokens = int(table["n_tokens"].sum())
    _event(
        run, f"{grow}/grow", [], content={"policy": policy, "samples": len(table), "tokens": tokens}
    )
    _event(
        run,
        f"{grow}/score",
        [f"{grow}/grow.parquet"],
        content={"rows": len(table), "references": 0},
    )


def _improve(run: Path, iteration: str) -> None:
    """The kept set that the sealed thresholds choose, weights that are no weights, and a training
    log.
    """
    here, (grow, step) = run / iteration, iteration.split("/i")
    loop = LoopConfig.model_validate(
        json.loads((run / "plan.json").read_text(encoding="utf-8"))["config"]["loop"]
    )
    rows = record.read_table(run, f"{grow}/grow.parquet", record.GROW)
    kept = kept_set(loop, rows, int(step))
    record.write_table(kept, here / "kept.parquet", record.KEPT)
    (here / "adapter").mkdir()
    (here / "adapter" / "adapter.safetensors").write_bytes(iteration.encode())
    log = pd.DataFrame([dict.fromkeys(record.TRAIN, 1)])
    record.write_table(log, here / "train.parquet", record.TRAIN)
    order = list(HEALTHY)
    content = {
        "start": order[order.index(iteration) - 1],
        "rows": len(rows),
        "kept": len(kept),
        "acceptance_rate": len(kept) / len(rows),
        "learning_rate": 0.0005,
        "best_epoch": 1,
        "lowest_threshold": float(kept["threshold"].min()),
        "mean_reward_01": float(rows["reward_01"].mean()),
    }
    files = ["kept.parquet", "adapter/adapter.safetensors", "train.parquet"]
    _event(run, f"{iteration}/improve", [f"{iteration}/{f}" for f in files], content=content)


def _audit(
    run: Path,
    iteration: str,
    path: Mapping[str, Point],
    look: int,
    policy: GatePolicy,
    *,
    human: bool,
) -> None:
    here = run / iteration
    here.mkdir(parents=True)
    point = path[iteration]
    samples = _samples(_prompts("audit"), iteration, point, human=human)
    record.write_table(samples, here / "audit.parquet", record.AUDIT)
    files = ["audit.parquet", "measurements.json"]
    looks = max(len(HEALTHY), len(path)) - 1
    measurements = [
        *_measurements(iteration, point, look, looks, policy, human=human),
        *_peaks(path, iteration, human=human),
    ]
    scored = {**_scores(human=human), "measurements": [m.to_json() for m in measurements]}
    record.write_json(scored, here / "measurements.json")
    if iteration != record.BASE:
        decision = decide(policy, measurements, iteration=iteration, look=look, looks=looks)
        record.write_json(decision.to_json(), here / "decision.json")
        _improve(run, iteration)
        files.append("decision.json")
    content = {"policy": iteration, "best_of": 1, "samples": len(samples)}
    _event(run, f"{iteration}/audit", [f"{iteration}/{f}" for f in files], content=content)


def _measurements(
    iteration: str, p: Point, look: int, looks: int, policy: GatePolicy, *, human: bool
) -> list[Measurement]:
    base = HEALTHY[record.BASE]
    is_base = iteration == record.BASE
    levels = tuple(dict.fromkeys((0.95, *levels_needed(policy, look=max(look, 1), looks=looks))))
    no_human = "no human score is configured (human.kind: none)"
    itself = "this is the base policy"

    def m(
        name: str,
        value: float,
        half: float,
        unit: str,
        baseline: float | None = None,
        *,
        missing: str | None = None,
    ) -> Measurement:
        # Normal theory: `half` is half the 95% interval.
        z = {level: NormalDist().inv_cdf(0.5 + level / 2) for level in levels}
        spans = tuple(
            Interval(level, value - half * z[level] / z[0.95], value + half * z[level] / z[0.95])
            for level in levels
        )
        return Measurement(
            name=name,
            value=None if missing else value,
            unit=unit,
            n=PROMPTS * SAMPLES,
            n_prompts=PROMPTS,
            method="prompt bootstrap, paired with the base policy",
            version="1",
            intervals=() if missing else spans,
            baseline=None if missing or is_base else baseline,
            reason=missing,
            error=None if missing else half / z[0.95],
        )

    change = itself if is_base else None
    human_missing = None if human else no_human
    sd = "base-policy sd"
    gap = p.reward - p.human
    return [
        m("divergence.reward", 0.16 + p.reward, 0.16, "reward units", 0.16),
        m(
            "divergence.human",
            0.12 + 0.6 * p.human,
            0.12,
            "human-score units",
            0.12,
            missing=human_missing,
        ),
        m("divergence.reward_change", p.reward, 0.16 + 0.05 * p.reward, sd, 0.0, missing=change),
        m(
            "divergence.human_change",
            p.human,
            0.19 + 0.04 * abs(p.human),
            sd,
            0.0,
            missing=human_missing or change,
        ),
        m("divergence.gap", gap, 0.12, sd, 0.0, missing=human_missing or change),
        m(
            "divergence.correlation",
            p.correlation,
            0.11,
            "Spearman r",
            base.correlation,
            missing=human_missing,
        ),
        m("diversity.distinct_2", p.distinct, 0.02, "share of word pairs", base.distinct),
        m("diversity.vendi", p.vendi, 2.1, "effective number of texts", base.vendi),
        m(
            "diversity.vendi_ratio",
            p.vendi / base.vendi,
            0.06,
            "of base policy",
            1.0,
            missing=change,
        ),
        m(
            "diversity.distinct_2_ratio",
            p.distinct / base.distinct,
            0.035,
            "of base policy",
            1.0,
            missing=change,
        ),
        m(
            "diversity.compression_ratio",
            0.42 * p.distinct / base.distinct,
            0.02,
            "bytes after / before",
            0.42,
        ),
        m("diversity.length", 24 + 6 * p.reward, 2.5, "tokens", 24.0),
        m("bias.reward_gap", 1.4 * p.group_gap, 0.08, "reward units", 0.07),
        m("bias.human_gap", p.group_gap, 0.09, "human-score units", 0.05, missing=human_missing),
        m(
            "bias.acceptance_ratio",
            1 - p.group_gap,
            0.1,
            "lowest / highest group",
            missing="nothing was filtered" if is_base else None,
        ),
        m("drift.kl", 0.8 * p.reward, 0.05, "nats per sequence", 0.0, missing=change),
    ]


def _peaks(path: Mapping[str, Point], iteration: str, *, human: bool) -> list[Measurement]:
    """What the divergence probe says of the two over-optimisation curves after this look."""
    so_far = [p for name, p in path.items() if record.BASE < name <= iteration]
    distance = np.sqrt([0.8 * p.reward for p in so_far])
    gain = np.array([p.human if human else math.nan for p in so_far])
    found = []
    for form in FORMS:
        fitted = fit(distance=distance, gain=gain, form=form)
        known = not isinstance(fitted, str)
        found.append(
            Measurement(
                name=f"divergence.peak_{form}",
                value=fitted.peak if known else None,
                unit="√nats",
                n=len(so_far),
                n_prompts=0,
                method=f"least squares through {len(so_far)} iterations",
                version="2",
                detail={k: getattr(fitted, k) for k in ("alpha", "beta", "residual")}
                if known
                else {},
                reason="no peak in reach" if known else fitted,
            )
        )
    return found


AS_WRITTEN = {k: v for k, v in globals().items() if not k.startswith("__") and k != "AS_WRITTEN"}


if __name__ == "__main__":
    folder, state = sys.argv[1], (sys.argv[2:] or ["healthy"])[0]
    if state not in get_args(State):
        raise SystemExit(f"{state}: not one of {', '.join(get_args(State))}")
    make_run(folder, state)
