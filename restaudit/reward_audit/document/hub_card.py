"""The document as a Hugging Face model card: YAML front matter, the headings the hub recommends,
failures first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from restaudit.evidence.shown import markdown_text, plain
from restaudit.reward_audit.document.markdown import answered, gaps, summary, verdict_and_failures
from restaudit.reward_audit.document.model import Document

# The hub's name for a value of the validation that says how good the reward is.
METRICS = {
    "validation.pair_accuracy": "accuracy",
    "validation.pearson": "pearsonr",
    "validation.spearman": "spearmanr",
}
LICENCES = (
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc0-1.0",
    "gpl-3.0",
    "openrail",
    "unlicense",
)
HUB = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@[\w.-]+)?", re.ASCII)
# Level, heading, and the fields that answer it.
HEADINGS: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (2, "Model Details", ()),
    (
        3,
        "Model Description",
        (
            "purpose.recorded",
            "purpose.owner",
            "purpose.licence",
            "model.what",
            "model.base",
            "model.digests",
        ),
    ),
    (2, "Uses", ()),
    (3, "Direct Use", ("purpose.intent", "purpose.why_reward", "policy.selection")),
    (3, "Out-of-Scope Use", ("purpose.not_for",)),
    (
        2,
        "Bias, Risks, and Limitations",
        (
            "purpose.cannot_see",
            "purpose.not_asked",
            "model.whose_values",
            "quality.groups",
            "feedback.lost",
            "hacking.known",
            "stress.tests",
            "stress.words",
            "stress.exploits",
            "stress.errors",
            "stress.not_measured",
            "policy.elsewhere",
            "governance.risks",
        ),
    ),
    (
        3,
        "Recommendations",
        (
            "governance.triggers",
            "governance.monitoring",
            "governance.recourse",
            "governance.cadence",
        ),
    ),
    (2, "Training Details", ()),
    (
        3,
        "Training Data",
        (
            "data.source",
            "data.files",
            "data.licence",
            "data.dates",
            "data.selection",
            "data.writers",
            "data.personal",
            "raters.counts",
            "raters.pool",
            "raters.selection",
            "raters.demographics",
            "raters.training",
            "raters.pay_band",
            "raters.consent",
            "raters.independence",
            "raters.instructions",
            "raters.interface",
            "raters.too_hard",
            "feedback.kind",
            "feedback.ties",
            "quality.agreement",
            "quality.contradictions",
            "quality.noise",
            "quality.length",
            "quality.repeated",
            "quality.checks",
        ),
    ),
    (
        3,
        "Training Procedure",
        ("model.loss", "model.disagreement", "model.training", "model.seed", "model.tricks"),
    ),
    (4, "Preprocessing", ("data.counts", "data.splits", "data.cleaning", "quality.duplicates")),
    (4, "Training Hyperparameters", ("model.hyper",)),
    (2, "Evaluation", ("evaluation.fit", "evaluation.standard")),
    (3, "Results", ("validation.held_out", "validation.outside")),
    (
        3,
        "In a Run",
        (
            "policy.gains",
            "policy.gates",
            "policy.leakage",
            "shift.distance",
            "shift.kl",
            "shift.retrained",
        ),
    ),
    (2, "Environmental Impact", ("compute.used", "compute.energy")),
    (2, "More Information", ("governance.changelog", "governance.audits")),
    (2, "Model Card Authors", ("governance.approval",)),
)


def hub_card(document: Document) -> str:
    """The card.

    Every field has its place under one heading; the same document gives the same bytes.
    """
    answers = {a.key: a for a in document.answers}
    front = yaml.safe_dump(front_matter(document), sort_keys=False, allow_unicode=True, width=1000)
    parts = [
        f"---\n{front}---",
        f"# Reward model {markdown_text(document.name)}",
        verdict_and_failures(document),
        "## Summary",
        summary(document),
    ]
    for level, heading, keys in HEADINGS:
        parts += [f"{'#' * level} {heading}", *(answered(answers[k]) for k in keys)]
    return "\n\n".join([*parts, gaps(document)]) + "\n"


def front_matter(document: Document) -> dict[str, Any]:
    """The card's metadata: only what is on record; an undeclared licence is "unknown"."""
    found: dict[str, Any] = {
        "license": _licence(document),
        "pipeline_tag": "text-classification",
        "tags": _tags(document),
    }
    if models := _on_the_hub(document.answer("model.base").value):
        found["base_model"] = models
    if results := _results(document):
        found["model-index"] = [{"name": _named(document.name), "results": results}]
    return found


def _licence(document: Document) -> str:
    said = document.answer("purpose.licence")
    if said.status != "DECLARED":
        return "unknown"
    return str(said.value).lower() if str(said.value).lower() in LICENCES else "other"


def _tags(document: Document) -> list[str]:
    objective = document.answer("model.loss").value
    named = objective.get("objective") if isinstance(objective, Mapping) else None
    return ["reward-model", "restaudit", *([plain(str(named)).replace("_", "-")] if named else [])]


def _on_the_hub(base: Any) -> list[str]:
    """Names of the form org/name of what it builds on, where that is a model of the hub."""
    listed = base if isinstance(base, list) else [base] if isinstance(base, Mapping) else []
    specs = [str(m.get("spec", "")) for m in listed]
    return [found[1] for s in specs if (found := HUB.fullmatch(s))]


def _results(document: Document) -> list[dict[str, Any]]:
    """What validation measured, with the interval and n as the metric's arguments."""
    metrics = [
        {
            "type": METRICS[m["name"]],
            "value": round(m["value"], 6),
            "name": (
                f"{m['name'].removeprefix('validation.').replace('_', ' ')}, held-out judgements"
            ),
            "args": {
                "n": m["n"],
                **{
                    f"interval_{i['level']:g}": [round(i["low"], 6), round(i["high"], 6)]
                    for i in m["intervals"]
                },
            },
        }
        for m in document.validation
        if m["name"] in METRICS and m["value"] is not None
    ]
    if not metrics:
        return []
    source = document.answer("data.source").value
    name = _named(str(source["source"] if isinstance(source, Mapping) else source))
    task = {"type": "text-classification", "name": "Agreement with people"}
    return [
        {"task": task, "dataset": {"name": name, "type": "human-judgements"}, "metrics": metrics}
    ]


def _named(text: str) -> str:
    """A name in the metadata, which the hub shows on its own pages: no markup in it either."""
    return plain(text, 200).replace("<", "‹").replace(">", "›")
