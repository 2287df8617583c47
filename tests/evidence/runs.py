"""A small signed run, written by the real Writer and Signer; its texts are real enough to be looked
for afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from restaudit.evidence import ledger, record
from restaudit.evidence.seal.signer import Signer
from restaudit.evidence.steps import Content, Writer
from restaudit.gates import decide
from tests.recorded import LOOKS, POLICY, SCORES, SENTENCES, grow_table, measured

QUOTED = "a film about a chess"
# Its first look is undecided after one stage, and sampled on; its second look is not.
STAGED = POLICY.model_copy(update={"stage_shares": (0.5, 0.5)})
STEPS = [
    "plan",
    "reward_model",
    f"{record.BASE}/audit",
    "g01/grow",
    *(f"{iteration}/{part}" for iteration in LOOKS for part in ("improve", "audit")),
    "end",
]


def signed_run(
    run: Path, signer: Signer | None, *, halted: bool = False, until: str | None = None
) -> Path:
    """Do all steps, or those before `until`; a `halted` run ends in the halt of its last look."""
    made = _makers(halted)
    key_id = signer.key_id if signer is not None else None
    with Writer(run, signer=signer) as writer:
        for step in [*STEPS[:-1], f"{LOOKS[-1]}/halt" if halted else "end"]:
            if step == until:
                break
            folder, make, context = made[step]
            if step == "plan":
                writer.step(
                    step, folder, lambda out: _plan(out, key_id), context=("environment.json",)
                )
            else:
                writer.step(step, folder, make, context=context)
    return run


def ratings(scores: tuple[float, ...] = (4.0, 5.0, 2.0)) -> pd.DataFrame:
    """People's ratings with every column of the record."""
    rows = [
        {
            "sample_id": f"s{k}",
            "prompt_id": f"p{k // 2}",
            "iteration": LOOKS[0],
            "look": 1,
            "rater": "ann",
            "dimension": "overall",
            "score": score,
            "scale_min": 1.0,
            "scale_max": 5.0,
            "inclusion": 0.5,
            "check": False,
            "anchor": False,
            "source": "native",
        }
        for k, score in enumerate(scores)
    ]
    return pd.DataFrame(rows)


def _plan(out: Path, signer: str | None) -> Content:
    plan: dict[str, Any] = {
        "schema": record.SCHEMA,
        "config": {"name": "signed", "gates": STAGED.model_dump(mode="json")},
        "steps": STEPS,
        "looks": list(LOOKS),
    }
    record.write_json({**plan, **({"signer": signer} if signer else {})}, out / "plan.json")
    record.write_json({"python": "3.11"}, out / "environment.json")
    (out / "data").mkdir()
    prompts = pd.DataFrame(
        {
            "prompt_id": [f"p{k}" for k in range(3)],
            "prompt": SENTENCES[:3],
            "references": [[SENTENCES[3]], [], [SENTENCES[4]]],
            "group": None,
            "family": None,
            "source": "reviews",
            "split": "audit",
        }
    )
    record.write_table(prompts, out / "data" / "audit.parquet", record.PROMPTS)
    record.write_json({"closest": [SENTENCES[0]]}, out / "data" / "report.json")
    return {"name": "signed"}


Maker = tuple[str, Callable[[Path], Content], tuple[str, ...]]


def _makers(halted: bool) -> dict[str, Maker]:
    table = grow_table()

    def reward(out: Path) -> Content:
        (out / "weights.safetensors").write_bytes(bytes(range(256)) * 64)
        record.write_json({"examples": [SENTENCES[1]]}, out / "dossier.json")
        return {"digest": "d"}

    def grow(out: Path) -> Content:
        record.write_table(table, out / "grow.parquet", record.GROW)
        tokens = table.assign(token_ids=[[k, k + 1] for k in range(len(table))])
        record.write_table(tokens, out / "samples.parquet", record.SAMPLES)
        return {"samples": len(table)}

    def improve(out: Path) -> Content:
        record.write_table(table.assign(threshold=0.5), out / "kept.parquet", record.KEPT)
        return {"kept": len(table)}

    def audit(look: int) -> Callable[[Path], Content]:
        def make(out: Path) -> Content:
            iteration = LOOKS[look - 1] if look else record.BASE
            record.write_table(
                table.assign(kl=0.1 * look, kl_tokens=12), out / "audit.parquet", record.AUDIT
            )
            value = -0.9 if halted and look == len(LOOKS) else 0.4
            detail = {"human_label": "LEXICON", "commonest_opening": QUOTED}
            found = [measured(value=value, detail=detail), measured("divergence.gap", 0.3)]
            record.write_json(
                {**SCORES, "measurements": [m.to_json() for m in found]}, out / "measurements.json"
            )
            if look == 1:
                record.write_table(ratings(), out / "ratings.parquet", record.RATINGS)
            if look == 0:
                return {}
            place = {"iteration": iteration, "look": look, "looks": len(LOOKS)}
            earlier, stage = None, 1
            if look == 1:
                unclear = [measured(value=-0.2, detail=detail), measured("divergence.gap", 0.3)]
                document = {**SCORES, "measurements": [m.to_json() for m in unclear]}
                record.write_json(document, out / record.stage_file(1))
                earlier, stage = decide(STAGED, unclear, **place), 2
            decision = decide(STAGED, found, **place, stage=stage, earlier=earlier)
            record.write_json(decision.to_json(), out / "decision.json")
            return {"verdict": decision.verdict}

        return make

    last = LOOKS[-1]
    made: dict[str, Maker] = {
        "plan": ("", lambda _: {}, ()),
        "reward_model": ("reward_model", reward, ()),
        f"{record.BASE}/audit": (record.BASE, audit(0), ()),
        "g01/grow": ("g01", grow, ()),
        "end": ("", lambda _: {}, ()),
        f"{last}/halt": ("", lambda _: {"iteration": last, "gates": ["harm"]}, ()),
    }
    for look, iteration in enumerate(LOOKS, start=1):
        made[f"{iteration}/improve"] = (iteration, improve, ())
        made[f"{iteration}/audit"] = (iteration, audit(look), ())
    return made


# --- tampering


def rechain(run: Path, edit: Callable[[ledger.Event], ledger.Event | None] = lambda e: e) -> None:
    """Rebuild the ledger over the files as they are now: what whoever can write the folder can do
    without the key.
    """
    events = ledger.read(run)
    (run / ledger.FILE).unlink()
    prev, seq = ledger.GENESIS, 0
    for old in events:
        if (e := edit(old)) is None:
            continue
        outputs, context = (
            {n: ledger.digest_file(run / n) for n in files} for files in (e.outputs, e.context)
        )
        ledger.append(run, ledger.Event(seq, e.step, prev, outputs, e.content, context, e.at))
        prev, seq = ledger.read(run)[-1].hash, seq + 1


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    record.write_json(change(json.loads(path.read_text(encoding="utf-8"))), path)


def loosen(plan: dict[str, Any]) -> dict[str, Any]:
    plan["config"]["gates"]["rules"][0]["margin"] = -9.0
    return plan
