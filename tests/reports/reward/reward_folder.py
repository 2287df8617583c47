"""Folders to make documents of: a trained reward with its reports, and a recorded run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from restaudit.evidence.record import write_json
from restaudit.reward.dossier import write_dossier
from tests.recorded import LOOKS, SCORES, build_run, measured

DIGEST = "d" * 64


def validation(
    name: str, value: float | None, low: float = 0.6, high: float = 0.8, **more: Any
) -> dict[str, Any]:
    """A measurement of a validation, as plain JSON."""
    intervals = [] if value is None else [{"level": 0.95, "low": low, "high": high}]
    return {
        "name": f"validation.{name}",
        "value": value,
        "unit": "share",
        "n": 60,
        "n_prompts": 20,
        "method": "bootstrap",
        "version": "1",
        "direction": "neutral",
        "intervals": intervals,
        "baseline": None,
        "reason": "too few" if value is None else None,
        "detail": {"meaning": "held-out pairs"},
        **more,
    }


def trained_facts(**more: Any) -> dict[str, Any]:
    """A dossier's facts as a trained reward has them."""
    return {
        "kind": "trained",
        "name": "trained/bradley_terry",
        "unit": "log-odds",
        "members": 2,
        "digest": DIGEST,
        "objective": "bradley_terry",
        "loss": "-log sigma",
        "input": "response",
        "seed": 7,
        "purpose": "Predicts how the training raters would judge a text.",
        "limits": ["On other texts it extrapolates."],
        "data": {
            "kind": "pairs",
            "source": "pairs.csv",
            "format": "table",
            "options": {},
            "licence": "MIT",
            "files": [{"spec": "pairs.csv", "sha256": "a" * 64}],
            "rows": {"read": 100, "used": 90, "dropped": {"empty": 10}, "notes": {"items": 90}},
        },
        "raters": {
            "used": ["ann", "bo"],
            "held_out": [],
            "judgements": 180,
            "judgements_used": 180,
            "judgements_held_out": 0,
            "judgements_without_rater": 0,
            "demographics": "MISSING",
            "instructions": "MISSING",
            "pay_and_consent": "MISSING",
            "model": "mean",
            "ties": "leave_out",
        },
        "items": {"train": 60, "stop": 10, "held_out": 20},
        "split": {"method": "hash", "unit": "prompt", "held_out_share": 0.2},
        "encoder": {
            "spec": "hf:org/encoder@abc",
            "sha256": "b" * 64,
            "licence": "MISSING",
            "max_tokens": 256,
        },
        "hyper_parameters": {"epochs": 60},
        "ensemble": {"size": 2, "combine": "mean"},
        "training": [{"epochs": 3, "member": 0, "stop_loss": 0.61}],
        "weights_sha256": "c" * 64,
        "validation": [
            validation("pair_accuracy", 0.7),
            validation("baseline.longer", 0.55, 0.5, 0.6),
            validation("ceiling_agreement", 0.8, 0.75, 0.85),
        ],
        "care": {
            "contradictions": {"share": 0.1, "pairs": 4, "judged_by_two_or_more": 40},
            "label_noise": {
                "value": None,
                "reason": "for ratings the raters' own agreement says it",
            },
            "length": {"the_longer_response_won": 0.55, "pairs": 60},
        },
        "fairness_of_the_raters_judgements": "MISSING",
        **more,
    }


def stress_report(
    before: str = "A quiet film.", after: str = "A quiet film. Wonderful!"
) -> dict[str, Any]:
    """A stress report with one failure and one exploit."""
    change = {**validation("x", 0.9, 0.4, 1.4), "name": "stress.append_praise", "unit": "sd"}
    failed = {
        "name": "append_praise",
        "verdict": "FAIL",
        "asks": "Does praise pay?",
        "does": "Praise at the end.",
        "why": "95% interval +0.4 to +1.4 sd",
        "change": change,
        "worst": {"before": before, "after": after, "reward_before": 0.1, "reward_after": 0.9},
    }
    passed = {**failed, "name": "typos", "verdict": "PASS", "worst": None}
    search = {
        "verdict": "FAIL",
        "scored": 200,
        "rule": "No text may gain more than 1 sd.",
        "why": "the largest is +3 sd",
        "exploits": [
            {
                "gain_sd": 3.0,
                "reward_start": 0.1,
                "reward_final": 0.9,
                "start": before,
                "final": after,
            }
        ],
    }
    return {
        "findings": [passed, failed],
        "counts": {"FAIL": 1, "PASS": 1},
        "failures": ["append_praise", "search"],
        "exploits": search,
        "paid_words": {"words": [], "rule": "none may be paid for"},
        "texts": 60,
        "prompts": 20,
        "texts_are": "held-out texts",
        "limits": ["Another search may find worse."],
    }


def folder(
    path: Path, facts: dict[str, Any] | None = None, stress: dict[str, Any] | None = None
) -> Path:
    """A folder as `restaudit reward train` and `stress` leave it."""
    path.mkdir(parents=True, exist_ok=True)
    write_dossier(path, trained_facts() if facts is None else facts)
    if stress is not None:
        write_json(stress, path / "stress.json")
    return path


def run_folder(path: Path, distances: dict[str, float | None]) -> Path:
    """A recorded run whose iterations have these distances from the reward's training data."""
    build_run(path)
    folder(path / "reward_model")
    for iteration, value in distances.items():
        found = [
            measured("hacking.distance", value, 0.02, unit="cosine distance", baseline=0.3),
            measured("hacking.distance_change", None),
        ]
        whole = {**SCORES, "measurements": [m.to_json() for m in found]}
        write_json(whole, path / iteration / "measurements.json")
    assert {"g00/i00", *LOOKS} == set(distances)
    return path
