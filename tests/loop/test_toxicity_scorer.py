"""Scorers of toxicity: what is scored, what is refused before a run begins, and what is still read
of runs that were sealed with a scorer that is no more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from restaudit.config import (
    AuditConfig,
    Config,
    GatePolicy,
    HfToxicity,
    NoToxicity,
    PythonToxicity,
    RetiredToxicity,
)
from restaudit.config.reading import load, recipe_names
from restaudit.console import Reporter
from restaudit.errors import BadInput
from restaudit.evidence import ledger, record
from restaudit.evidence.verify import verify
from restaudit.loop.toxicity import load_scorer, toxicity_artifacts
from restaudit.models.artifacts import resolve
from tests.reports.make_run import make_run, resealed
from tests.reward.test_hf_reward import classifier

TEXTS = ["you fool", "wonderful music", "", "the plot is a mess, the jokes are tired"]
OLD_PLAN = Path(__file__).parents[1] / "evidence" / "plan_sealed_with_hatesonar.json"


# --- a text classifier by name or path


def model(encoder: Path, out: Path, *, names: list[str], problem: str | None = None) -> Path:
    """A tiny classifier that calls its labels so."""
    classifier(encoder, out, labels=len(names), seed=5)
    settings = json.loads((out / "config.json").read_text(encoding="utf-8"))
    settings["id2label"] = {str(place): name for place, name in enumerate(names)}
    settings["label2id"] = {name: place for place, name in enumerate(names)}
    settings["problem_type"] = problem
    (out / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return out


def chosen(folder: Path, *labels: str, **more: Any) -> HfToxicity:
    given = {"labels": labels, "known_failure": "Made of random numbers.", "max_tokens": 64, **more}
    return HfToxicity.model_validate({"kind": "hf", "model": str(folder), **given})


def raw_logits(folder: Path, texts: list[str]) -> np.ndarray:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    loaded = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        rows = [loaded(**tokenizer(t, return_tensors="pt")).logits[0].tolist() for t in texts]
    return np.array(rows)


def test_labels_that_exclude_each_other_are_added_up(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = model(tiny_encoder, tmp_path / "m", names=["clean", "rude", "hateful"])
    scorer = load_scorer(chosen(folder, "rude", "hateful"))
    assert scorer is not None
    raised = np.exp(raw_logits(folder, TEXTS))
    expected = 1 - raised[:, 0] / raised.sum(axis=1)
    assert scorer.scores(TEXTS) == pytest.approx(expected, abs=1e-6)
    assert scorer.scores([]).shape == (0,)


@pytest.mark.parametrize(
    ("names", "problem"),
    [(["rude", "threat", "insult"], "multi_label_classification"), (["toxic"], None)],
)
def test_of_labels_that_can_hold_together_the_likeliest_counts(
    tiny_encoder: Path, tmp_path: Path, names: list[str], problem: str | None
) -> None:
    folder = model(tiny_encoder, tmp_path / "m", names=names, problem=problem)
    scorer = load_scorer(chosen(folder, *names))
    assert scorer is not None
    expected = (1 / (1 + np.exp(-raw_logits(folder, TEXTS)))).max(axis=1)
    assert scorer.scores(TEXTS) == pytest.approx(expected, abs=1e-6)


def test_a_text_has_the_same_score_whatever_is_scored_beside_it(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    scorer = load_scorer(chosen(model(tiny_encoder, tmp_path / "m", names=["a", "b"]), "b"))
    assert scorer is not None
    alone = [float(scorer.scores([text])[0]) for text in TEXTS]
    assert scorer.scores(TEXTS) == pytest.approx(alone, abs=1e-6)


def test_it_says_what_it_is_how_it_fails_and_how_much_of_a_text_it_reads(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = model(tiny_encoder, tmp_path / "m", names=["clean", "rude"])
    given = chosen(folder, "rude")
    scorer = load_scorer(given)
    assert scorer is not None
    assert scorer.name == f"{folder} (rude)"
    assert scorer.sha256 == resolve(str(folder)).sha256
    assert toxicity_artifacts(given)["audit.toxicity"].sha256 == scorer.sha256
    expected = "Made of random numbers. It reads the first 64 tokens of a text."
    assert scorer.known_failure == expected
    with pytest.raises(BadInput, match=r"expected 0{64}, got"):
        load_scorer(chosen(folder, "rude", sha256="0" * 64))


def test_what_cannot_score_is_refused_when_it_is_loaded(
    tiny_encoder: Path, tiny_policy: Path, tmp_path: Path
) -> None:
    folder = model(tiny_encoder, tmp_path / "m", names=["clean", "rude"])
    with pytest.raises(BadInput, match="no label 'toxic'; it has: clean, rude"):
        load_scorer(chosen(folder, "toxic"))
    with pytest.raises(BadInput, match="names every label"):
        load_scorer(chosen(folder, "clean", "rude"))
    with pytest.raises(BadInput, match=r"audit\.toxicity\.max_tokens is 99999"):
        load_scorer(chosen(folder, "rude", max_tokens=99999))
    with pytest.raises(BadInput, match=r"no trained weights for .*; expected a text classifier"):
        load_scorer(chosen(tiny_encoder, "LABEL_0"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="not a sequence-classification model"):
        load_scorer(chosen(folder, "rude"))


def test_a_classifier_needs_its_known_failure_said() -> None:
    with pytest.raises(ValidationError, match="known_failure"):
        HfToxicity.model_validate({"kind": "hf", "model": "m", "labels": ["toxic"]})


# --- none, or a callable


def test_no_scorer_is_the_default_in_every_recipe() -> None:
    assert isinstance(AuditConfig().toxicity, NoToxicity)
    assert load_scorer(NoToxicity()) is None
    assert toxicity_artifacts(NoToxicity()) == {}
    for name in recipe_names():
        assert isinstance(load(name).audit.toxicity, NoToxicity)


def test_a_python_callable_scores_with_the_digest_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
def rude(texts):
    return [float('fool' in t) for t in texts]

def loud(texts):
    return [2.0] * len(texts)
"""
    (tmp_path / "my_scorer_of_rudeness.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    made = PythonToxicity(
        kind="python", callable="my_scorer_of_rudeness:rude", known_failure="knows one word"
    )
    scorer = load_scorer(made)
    assert scorer is not None
    assert scorer.scores(["you fool", "hello"]).tolist() == [1.0, 0.0]
    assert (scorer.known_failure, len(scorer.sha256)) == ("knows one word", 64)
    loud = load_scorer(made.model_copy(update={"callable": "my_scorer_of_rudeness:loud"}))
    assert loud is not None
    with pytest.raises(BadInput, match="from 0 to 1"):
        loud.scores(["hello"])


def test_toxicity_is_never_a_gate_by_itself() -> None:
    rule = {
        "name": "rude",
        "metric": "toxicity.mean_change",
        "must_stay": "below",
        "margin": 0.1,
        "reason": "none",
    }
    with pytest.raises(ValidationError, match="never a gate by itself"):
        GatePolicy.model_validate({"rules": [rule]})
    when = {"metric": "toxicity.mean_change", "side": "above", "margin": 0.1}
    assert GatePolicy.model_validate(
        {"rules": [{**rule, "metric": "divergence.human_change", "when": when}]}
    )


# --- a scorer that is no more


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A run of the recipe that named hatesonar, with the scorer as version 0.1.0 sealed it."""
    run = make_run(tmp_path / "run")
    sealed = json.loads(OLD_PLAN.read_text(encoding="utf-8"))
    plan = record.Run(run).plan
    for section in ("audit", "human"):
        plan["config"][section] = sealed["config"][section]
    plan["artifacts"]["audit.toxicity"] = sealed["artifacts"]["audit.toxicity"]
    record.write_json(plan, run / "plan.json")
    return resealed(run)


def test_a_plan_that_names_it_is_read_as_it_was_sealed() -> None:
    sealed = json.loads(OLD_PLAN.read_text(encoding="utf-8"))["config"]
    config = Config.model_validate(sealed)
    assert isinstance(config.audit.toxicity, RetiredToxicity)
    assert config.audit.toxicity.model_dump(mode="json") == sealed["audit"]["toxicity"]


def test_a_run_that_used_it_is_verified_and_reported(old_run: Path) -> None:
    from reports.run_report.build import run_report

    assert verify(old_run).finished
    assert run_report(record.Run(old_run)).sections


def test_nothing_is_scored_with_it_again(old_run: Path) -> None:
    from restaudit.loop.running import resume

    config = Config.model_validate(record.Run(old_run).plan["config"])
    with pytest.raises(BadInput, match="hatesonar is no more"):
        load_scorer(config.audit.toxicity)
    events = (old_run / ledger.FILE).read_text(encoding="utf-8").splitlines()
    # Without its last event the run is one that a crash left.
    (old_run / ledger.FILE).write_text("\n".join(events[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"hatesonar is no more.*Use kind: none, hf .* or python"):
        resume(old_run, Reporter(quiet=True))
    assert (old_run / ledger.FILE).read_text(encoding="utf-8").splitlines() == events[:-1]
