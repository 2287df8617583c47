"""A finished run folder of any size, fabricated with the real record, ledger, selection and gates:
for benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Interval, Measurement
from restaudit.config import Config, GatePolicy
from restaudit.config.reading import load
from restaudit.evidence import ledger, record
from restaudit.gates import decide
from restaudit.loop.select import kept_set

GROWS = 20
WORDS = 40
VOCABULARY = 20_000
AUDITED = 200
PER_PROMPT = 10
RULE = {
    "name": "harm",
    "metric": "divergence.human_change",
    "must_stay": "above",
    "margin": -0.2,
    "action": "HALT",
    "reason": "people rate the outputs lower",
}
SPLITS = ("grow", "d_eval", "audit")


def build(run: Path, samples: int, grows: int = GROWS) -> None:
    """A finished run: Grow sets with token ids, texts and rewards, an audited Improve step after
    each.
    """
    made = LargeRun(run, samples, grows)
    made.plan()
    made.models()
    made.audit(record.BASE, 0)
    for g in range(1, grows + 1):
        made.grow(g)
        made.improve(g)
        made.audit(f"g{g:02d}/i01", g)
    made.event("end", [])


class LargeRun:
    """One run folder in the making."""

    def __init__(self, run: Path, samples: int, grows: int) -> None:
        self.run, self.samples, self.grows = run, samples, grows
        self.rng = np.random.default_rng(samples)
        letters = np.array(list("etaoinshrdlucmfwypvbgk"))
        lengths = self.rng.integers(2, 10, VOCABULARY)
        self.words = np.array(["".join(self.rng.choice(letters, n)) for n in lengths], dtype=object)
        # Word frequencies fall like 1/rank (Zipf), as in real text: that decides how well the
        # tables compress.
        share = 1 / np.arange(1, VOCABULARY + 1)
        self.share = share / share.sum()
        self.policy = GatePolicy.model_validate({"rules": [RULE]})
        self.looks = [f"g{g:02d}/i01" for g in range(1, grows + 1)]
        self.events: list[ledger.Event] = []
        self.prompts = [f"{i:06x}" for i in range(AUDITED // PER_PROMPT)]
        self.config: Config = load("reviews", [f"loop.grow_steps={grows}", "loop.improve_steps=1"])
        run.mkdir(parents=True)

    def event(
        self, step: str, files: Sequence[str], content: Mapping[str, Any] | None = None
    ) -> None:
        """Record a finished step."""
        self.events.append(
            ledger.Event(
                seq=len(self.events),
                step=step,
                prev=self.events[-1].hash if self.events else ledger.GENESIS,
                outputs={f: ledger.digest_file(self.run / f) for f in files},
                content=content or {},
                at={
                    "time": "2026-01-01T00:00:00Z",
                    "seconds": 1.0,
                    **({} if self.events else {"run_id": "large"}),
                },
            )
        )
        ledger.append(self.run, self.events[-1])

    def plan(self) -> None:
        """The sealed plan and the data."""
        steps = [
            f"g{g:02d}/{part}"
            for g in range(1, self.grows + 1)
            for part in ("grow", "score", "i01/improve", "i01/audit")
        ]
        config = self.config.model_dump(mode="json") | {
            "name": self.run.name,
            "gates": self.policy.model_dump(mode="json"),
        }
        plan = {
            "schema": record.SCHEMA,
            "config": config,
            "steps": [
                "plan",
                "reward_model",
                "human_score",
                "scale",
                f"{record.BASE}/audit",
                *steps,
                "end",
            ],
            "looks": self.looks,
            "artifacts": {
                "policy.model": {"spec": "a-model", "sha256": "ab" * 32, "licence": None}
            },
            "prompts": dict.fromkeys(SPLITS, len(self.prompts)),
            "probes": [],
        }
        record.write_json(plan, self.run / "plan.json")
        (self.run / "data").mkdir()
        for split in SPLITS:
            table = pd.DataFrame(
                {
                    "prompt_id": self.prompts,
                    "prompt": [f"Write about {p}." for p in self.prompts],
                    "references": [[] for _ in self.prompts],
                    "group": None,
                    "family": None,
                    "source": "synthetic",
                    "split": split,
                }
            )
            record.write_table(table, self.run / f"data/{split}.parquet", record.PROMPTS)
        splits = {
            "dropped": {},
            "exact": {},
            "near": {},
            "jaccard": 0.8,
            "max_share": 0.02,
            "method": "none",
            "sizes": dict.fromkeys(SPLITS, len(self.prompts)),
        }
        report = {"splits": splits, "rows": [], "reward_model": {"reason": "fabricated"}}
        record.write_json(report, self.run / "data/report.json")
        self.event(
            "plan",
            ["plan.json", "data/report.json", *(f"data/{split}.parquet" for split in SPLITS)],
        )

    def models(self) -> None:
        """A reward that is a program, and what the human score is."""
        for folder in ("reward_model", "human_score"):
            (self.run / folder).mkdir()
        dossier = {
            "schema": "restaudit.reward-dossier/1",
            "kind": "python",
            "name": "python/large:reward",
            "digest": "ef" * 32,
            "callable": "large:reward",
            "members": 1,
            "unit": "reward units",
            "purpose": "A benchmark.",
            "limits": [],
            "data": "MISSING",
            "raters": "MISSING",
            "validation": "MISSING",
        }
        record.write_json(dossier, self.run / "reward_model/dossier.json")
        self.event(
            "reward_model",
            ["reward_model/dossier.json"],
            {"name": dossier["name"], "digest": dossier["digest"]},
        )
        record.write_json({"label": "SIMULATED"}, self.run / "human_score/human.json")
        self.event("human_score", ["human_score/human.json"], {"label": "SIMULATED"})
        self.event("scale", [], {"parameters": 135_000_000, "trained_parameters": 1_000_000})

    def scored(self, rows: int, prefix: str, prompts: Sequence[str] | None = None) -> pd.DataFrame:
        """Rows as a Grow step writes them."""
        rng = self.rng
        ids = rng.choice(VOCABULARY, size=(rows, WORDS), p=self.share)
        reward = rng.normal(size=rows)
        names = prompts or [f"{i:06x}" for i in rng.integers(0, 2**24, rows // PER_PROMPT + 1)]
        return pd.DataFrame(
            {
                "sample_id": [f"{prefix}/{i:08x}" for i in range(rows)],
                "prompt_id": np.repeat(names, PER_PROMPT)[:rows],
                "group": None,
                "family": None,
                "text": [" ".join(row) for row in self.words[ids]],
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

    def grow(self, g: int) -> None:
        """A Grow step and its scores."""
        name = f"g{g:02d}"
        (self.run / name).mkdir()
        table = self.scored(self.samples // self.grows, name)
        record.write_table(table, self.run / name / "samples.parquet", record.SAMPLES)
        policy = record.BASE if g == 1 else f"g{g - 1:02d}/i01"
        content = {"policy": policy, "samples": len(table), "tokens": len(table) * WORDS}
        self.event(f"{name}/grow", [f"{name}/samples.parquet"], content)
        record.write_table(table, self.run / name / "grow.parquet", record.GROW)
        self.event(f"{name}/score", [f"{name}/grow.parquet"], {"rows": len(table), "references": 0})

    def improve(self, g: int) -> None:
        """The kept set that the sealed thresholds choose."""
        name = f"g{g:02d}/i01"
        here = self.run / name
        (here / "adapter").mkdir(parents=True)
        rows = record.read_table(self.run, f"g{g:02d}/grow.parquet", record.GROW)
        kept = kept_set(self.config.loop, rows, 1)
        record.write_table(kept, here / "kept.parquet", record.KEPT)
        (here / "adapter/adapter.safetensors").write_bytes(name.encode())
        record.write_table(
            pd.DataFrame([dict.fromkeys(record.TRAIN, 1)]), here / "train.parquet", record.TRAIN
        )
        content = {
            "start": record.BASE if g == 1 else f"g{g - 1:02d}/i01",
            "rows": len(rows),
            "kept": len(kept),
            "acceptance_rate": len(kept) / len(rows),
            "learning_rate": 0.0005,
            "best_epoch": 1,
            "lowest_threshold": float(kept["threshold"].min()),
        }
        files = ("kept.parquet", "adapter/adapter.safetensors", "train.parquet")
        self.event(f"{name}/improve", [f"{name}/{f}" for f in files], content)

    def audit(self, name: str, look: int) -> None:
        """An audit with two measurements, and its decision."""
        here = self.run / name
        here.mkdir(parents=True, exist_ok=True)
        record.write_table(
            self.scored(AUDITED, name, self.prompts), here / "audit.parquet", record.AUDIT
        )
        value = 0.1 * look
        intervals = (
            Interval(0.95, value - 0.1, value + 0.1),
            Interval(1 - 0.1 / self.grows, value - 0.2, value + 0.2),
        )
        found = [
            Measurement(
                f"divergence.{what}",
                value,
                "sd",
                AUDITED,
                20,
                "bootstrap",
                "1",
                intervals=intervals,
            )
            for what in ("human_change", "reward_change")
        ]
        scores = {
            "human": {"label": "SIMULATED", "unit": "units", "description": "Fabricated."},
            "reward": {"name": "python/large:reward", "unit": "reward units"},
        }
        record.write_json(
            {**scores, "measurements": [m.to_json() for m in found]}, here / "measurements.json"
        )
        files = ["audit.parquet", "measurements.json"]
        if look:
            decision = decide(self.policy, found, iteration=name, look=look, looks=self.grows)
            record.write_json(decision.to_json(), here / "decision.json")
            files.append("decision.json")
        self.event(
            f"{name}/audit", [f"{name}/{f}" for f in files], {"policy": name, "samples": AUDITED}
        )
