"""Reward models of three sets of real judgements, against floors: python -m benchmarks.reward_sets
[NAME ...] [--write]

Trains benchmarks/rewards/NAME.yaml (snippets, harmless, pandalm), validates it on held-out
judgements beside trivial rules and a bag of words, stresses it, and compares what comes out with
the golden summary in tests/reward/golden/. With --write the golden summaries are written anew. Exit
code 1 where a figure left its golden interval. RESTAUDIT_MIRROR may name a folder with the data.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from restaudit.evidence.record import write_json
from restaudit.reward.dossier import read_any
from restaudit.reward_audit.standalone import configured, opened, scorer, texts_of
from restaudit.reward_audit.stress import stress
from restaudit.reward_audit.verdict import verdict

HERE = Path(__file__).parent / "rewards"
GOLDEN = Path(__file__).parent.parent / "tests" / "reward" / "golden"
NAMES = ("pandalm", "harmless", "snippets")
BUDGET, MOST_TEXTS = 200, 80  # of the stress tests: long dialogues take minutes otherwise
# What the project aimed at when these sets were chosen.
AIMS = {
    "snippets": {"pearson": 0.70, "concordance": 0.76},
    "harmless": {"pair_accuracy": 0.63},
    "pandalm": {"pair_accuracy": 0.66},
}
SHOWN = (
    "pearson",
    "pair_accuracy",
    "spearman",
    "concordance",
    "baseline.longer",
    "baseline.shorter",
    "baseline.bag_of_words",
    "less.longer",
    "less.shorter",
    "less.bag_of_words",
    "learning_curve.12.5",
    "learning_curve.last_doubling",
    "calibration.error",
    "spread.error",
    "ceiling_pearson",
    "ceiling_agreement",
)


def summary(name: str, out: Path) -> dict[str, Any]:
    """Train, validate and stress one set into a new folder; figures with intervals, the verdict,
    and what failed.
    """
    began = time.monotonic()
    configured(str(HERE / f"{name}.yaml"), []).build(out)
    trained = time.monotonic() - began
    alone, where = opened(out)
    real = texts_of(alone, out, None)
    tested = stress(
        scorer(alone, where),
        real.prompts,
        real.texts,
        real.human,
        seed=0,
        budget=BUDGET,
        most=MOST_TEXTS,
    )
    report = tested.to_json() | {
        "reward_digest": read_any(where)["digest"],
        "texts_are": real.about,
        "human_is": real.human_is,
    }
    write_json(report, out / "stress.json")
    facts = read_any(out)
    rows = {m["name"].removeprefix("validation."): m for m in facts["validation"]}
    word, reasons = verdict(facts, report)
    return {
        "verdict": word,
        "reasons": reasons,
        "figures": {k: _figure(rows[k]) for k in SHOWN if k in rows},
        "worse_slices": list(facts["worse_slices"]),
        "failed": sorted({f["name"] for f in report["findings"] if f["verdict"] == "FAIL"}),
        "seconds_to_train": round(trained),
        "seconds_in_all": round(time.monotonic() - began),
    }


def deviations(found: dict[str, Any], golden: dict[str, Any]) -> list[str]:
    """What differs from the golden summary: another verdict, or a value outside the golden
    interval.
    """
    said = (
        []
        if found["verdict"] == golden["verdict"]
        else [f"verdict {found['verdict']}, was {golden['verdict']}"]
    )
    for name, was in golden["figures"].items():
        now = found["figures"].get(name)
        if now is None or (now["value"] is None) != (was["value"] is None):
            said.append(f"{name}: {now and now['value']}, was {was['value']}")
        elif was["value"] is not None and not was["low"] <= now["value"] <= was["high"]:
            said.append(
                f"{name}: {now['value']:.3f} is outside {was['low']:.3f} to {was['high']:.3f}"
            )
    return said


def _figure(m: dict[str, Any]) -> dict[str, Any]:
    if m["value"] is None:
        return {"value": None, "reason": m["reason"]}
    ends = m["intervals"][0] if m["intervals"] else {"low": m["value"], "high": m["value"]}
    return {
        "value": round(m["value"], 4),
        "low": round(ends["low"], 4),
        "high": round(ends["high"], 4),
        "n": m["n"],
    }


def main(names: list[str], *, write: bool) -> int:
    wrong = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found = summary(name, Path(folder) / name)
        print(
            f"\n{name}: {found['verdict']} ({found['seconds_to_train']} s to train, "
            f"{found['seconds_in_all']} s in all)"
        )
        for reason in found["reasons"]:
            print(f"  {reason}")
        for figure, f in found["figures"].items():
            aim = AIMS[name].get(figure)
            aimed = f"   aim {aim:.2f}" if aim else ""
            print(
                f"  {figure:20s} "
                + (
                    f"{f['value']:.3f} [{f['low']:.3f}, {f['high']:.3f}] n {f['n']}{aimed}"
                    if f["value"] is not None
                    else f"not measured: {f['reason']}"
                )
            )
        print(f"  worse slices: {', '.join(found['worse_slices']) or 'none shown'}")
        print(f"  failed stress tests: {', '.join(found['failed']) or 'none'}")
        path = GOLDEN / f"{name}.json"
        if write:
            GOLDEN.mkdir(exist_ok=True)
            timeless = {k: v for k, v in found.items() if not k.startswith("seconds")}
            write_json(timeless, path)
            print(f"  golden summary written: {path}")
        elif path.exists():
            off = deviations(found, json.loads(path.read_text(encoding="utf-8")))
            wrong += bool(off)
            print(
                "  as the golden summary says"
                if not off
                else "  NOT as the golden summary says: " + "; ".join(off)
            )
    return int(wrong > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no such set: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    sys.exit(main(given.names or list(NAMES), write=given.write))
