"""A whole run on a tiny model: prompts in a file, a Python reward and a simulated human score."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from restaudit.config import Config
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.evidence.named_code import remember

REWARD = '''
"""Rewards and a stand-in for raters, both functions of the text alone."""


def reward(texts):
    return [sum(c in "aeiou" for c in t) / (len(t) + 1) * 10 for t in texts]


def people(texts):
    return [sum(c in "aeiou" for c in t) / (len(t) + 1) * 10 - len(t) / 100 for t in texts]


def some(texts):
    return [p if len(t) % 3 else float("nan") for t, p in zip(texts, people(texts), strict=True)]


def broken(texts):
    return [float("nan") if k == 3 else 1.0 for k, _ in enumerate(texts)]
'''

GENRES = ("thriller", "comedy", "western", "musical", "drama")
TOPICS = (
    "a stolen violin",
    "two rival bakers",
    "the last train home",
    "an honest thief",
    "a winter at sea",
    "lost twins",
)


def make_job_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put prompts.jsonl and the module `rewards_of_test` into `folder`, importable from there, and
    go there.
    """
    rows = [
        {"prompt": f"Review a {g} about {t}.", "reference": f"A {g} about {t} that I loved."}
        for g in GENRES
        for t in TOPICS
    ]
    for k in range(8):
        for group, name in (("one", "Ann"), ("two", "Bob")):
            rows.append(
                {
                    "prompt": f"Review film number {k} by {name}.",
                    "reference": None,
                    "family": f"film{k}",
                    "group": group,
                }
            )
    (folder / "prompts.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    (folder / "rewards_of_test.py").write_text(REWARD, encoding="utf-8")
    # Another test of this process may have imported its own module of this name from its own folder.
    sys.modules.pop("rewards_of_test", None)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    return folder


def own_copy(run: Path, to: Path) -> Path:
    """A copy of a run to go on with: as if this user had sealed it there, code that it names
    included.
    """
    shutil.copytree(run, to)
    plan = (to / "plan.json").read_bytes()
    remember(to, plan, json.loads(plan)["config"])
    return to


@pytest.fixture
def job_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with prompts.jsonl and the module `rewards_of_test`, importable from there."""
    return make_job_folder(tmp_path, monkeypatch)


def tiny_raw(policy: Path, **loop: object) -> dict[str, object]:
    """The configuration of a run of a few seconds, before validation."""
    return {
        "name": "tiny",
        "seed": 7,
        "device": "cpu",
        "threads": 1,
        "policy": {"model": str(policy), "dtype": "float32", "lora": {"rank": 4, "alpha": 8}},
        "data": {
            "prompts": [{"source": "prompts.jsonl", "columns": {"references": "reference"}}],
            "splits": {
                "shares": {"grow": 0.5, "d_eval": 0.2, "audit": 0.3},
                "near_duplicate_jaccard": 1.0,
                "max_near_duplicate_share": 1.0,
            },
        },
        "reward": {"kind": "python", "callable": "rewards_of_test:reward"},
        "human": {"kind": "python", "callable": "rewards_of_test:people"},
        "loop": {
            "grow_steps": 2,
            "improve_steps": 2,
            "samples_per_prompt": 3,
            "sampling": {"max_tokens": 8, "batch": 32, "temperature": 2.0},
            "thresholds": {"kind": "percentile", "values": [50, 70]},
            "train": {"learning_rate": 0.02, "epochs": 2, "batch": 8},
            **loop,
        },
        "audit": {"kl_samples": 4, "resamples": 100},
        "gates": {
            "rules": [
                {
                    "name": "harm",
                    "metric": "divergence.human_change",
                    "must_stay": "above",
                    "margin": -50.0,
                    "action": "HALT",
                    "reason": "people like it less",
                }
            ]
        },
    }


@pytest.fixture
def tiny_config(tiny_policy: Path, job_folder: Path) -> Config:
    """A valid configuration of a run of a few seconds."""
    return parse(tiny_raw(tiny_policy))


@pytest.fixture
def silent() -> Reporter:
    """A reporter that draws no bars."""
    return Reporter(quiet=True)
