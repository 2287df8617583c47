"""The answers about a reward model as a model card for the Hugging Face hub: YAML front matter, the
headings the hub recommends, failures first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from reports.document.model import Chart, Table, table_of
from reports.frameworks.answers import NOBODY, Answer
from reports.reward.answers import Failure, RewardAnswers, by_file
from restaudit.evidence.shown import MOST_IN_ANSWER, lines_of, markdown_text, plain, sentence

# The hub's name for a value of the validation that says how good the reward is.
METRICS = {
    "validation.pair_accuracy": "accuracy",
    "validation.pearson": "pearsonr",
    "validation.spearman": "spearmanr",
}
# Names of licences that the hub knows; any other has to be called "other".
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
# Enough of a digest to tell files apart; the whole of it stands in the JSON.
FIRST_DIGITS = 12
MOST_WHO = 400
MOST_IN_SUMMARY = 600
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


def hub_card(of: RewardAnswers) -> str:
    """The card.

    Every question has its place under one heading; the same answers give the same bytes.
    """
    by_key = {answer.question.key: answer for answer in of.answers}
    # The hub's parser wants every value on one line.
    front = yaml.safe_dump(front_matter(of), sort_keys=False, allow_unicode=True, width=1000)
    parts = [
        f"---\n{front}---",
        f"# Reward model {markdown_text(of.name)}",
        *_verdict_and_failures(of),
        "## Summary",
        _rows(("what", "in short"), of.summary, most=MOST_IN_SUMMARY),
    ]
    for level, heading, keys in HEADINGS:
        parts += [f"{'#' * level} {heading}", *(_answered(by_key[key]) for key in keys)]
    return "\n\n".join([*parts, *_gaps(of)]) + "\n"


# --- the front matter


def front_matter(of: RewardAnswers) -> dict[str, Any]:
    """The card's metadata: only what is on record; an undeclared licence is "unknown"."""
    metadata: dict[str, Any] = {
        "license": _licence(of),
        "pipeline_tag": "text-classification",
        "tags": _tags(of),
    }
    # What is not on record has no key: an empty one would read as a stated "none".
    models = _on_the_hub(of.answer("model.base").value)
    if models:
        metadata["base_model"] = models
    results = _results(of)
    if results:
        metadata["model-index"] = [{"name": _named(of.name), "results": results}]
    return metadata


def _licence(of: RewardAnswers) -> str:
    answer = of.answer("purpose.licence")
    if answer.status != "DECLARED":
        return "unknown"
    licence = str(answer.value).lower()
    return licence if licence in LICENCES else "other"


def _tags(of: RewardAnswers) -> list[str]:
    loss = of.answer("model.loss").value
    tags = ["reward-model", "restaudit"]
    # A reward from elsewhere may have told nothing of its loss.
    if isinstance(loss, Mapping) and loss.get("objective"):
        tags.append(plain(str(loss["objective"])).replace("_", "-"))
    return tags


def _on_the_hub(base: Any) -> list[str]:
    """Names of the form org/name of what it builds on, where that is a model of the hub."""
    # One model is recorded as a mapping, several as a list of them.
    listed = [base] if isinstance(base, Mapping) else base
    if not isinstance(listed, list):
        return []
    names = []
    for model in listed:
        on_hub = HUB.fullmatch(str(model.get("spec", "")))
        if on_hub is not None:
            names.append(on_hub[1])
    return names


def _results(of: RewardAnswers) -> list[dict[str, Any]]:
    """What validation measured, with the interval and n as the metric's arguments."""
    metrics = []
    for m in of.validation:
        if m["name"] not in METRICS or m["value"] is None:
            continue
        name = m["name"].removeprefix("validation.").replace("_", " ")
        arguments = {"n": m["n"]}
        for interval in m["intervals"]:
            ends = [round(interval["low"], 6), round(interval["high"], 6)]
            arguments[f"interval_{interval['level']:g}"] = ends
        metrics.append(
            {
                "type": METRICS[m["name"]],
                "value": round(m["value"], 6),
                "name": f"{name}, held-out judgements",
                "args": arguments,
            }
        )
    if not metrics:
        return []
    source = of.answer("data.source").value
    if isinstance(source, Mapping):
        source = source["source"]
    name = _named(str(source))
    task = {"type": "text-classification", "name": "Agreement with people"}
    return [
        {"task": task, "dataset": {"name": name, "type": "human-judgements"}, "metrics": metrics}
    ]


def _named(text: str) -> str:
    """A name in the metadata, which the hub shows on its own pages: no markup in it either."""
    return plain(text, 200).replace("<", "‹").replace(">", "›")


# --- the page, as Markdown


def _verdict_and_failures(of: RewardAnswers) -> list[str]:
    """Overrides, the verdict with its reasons, and every failure with examples."""
    parts = [f"- **{markdown_text(line, MOST_IN_ANSWER)}**" for line in of.overrides]
    reasons = " ".join(markdown_text(reason, MOST_IN_ANSWER) for reason in of.reasons)
    parts.append(f"**{of.verdict}.** {reasons}")
    heading = "## Failures of the stress tests"
    if of.failures is None:
        return [*parts, heading, "Not known: nobody stressed it."]
    failures = [_failure(failure) for failure in of.failures] or ["None failed."]
    return [*parts, f"{heading}: {len(of.failures)}", *failures]


def _failure(failure: Failure) -> str:
    text = f"**{markdown_text(failure.name)}.** {markdown_text(failure.says, MOST_IN_ANSWER)}"
    if failure.table is None:
        return text
    return f"{text}\n\n{_table(failure.table)}"


def _answered(answer: Answer) -> str:
    """One question with its status, answer and evidence."""
    question = answer.question
    first = f"**{markdown_text(question.asks)}** {answer.status}"
    why = []
    if answer.reason and answer.reason != NOBODY:
        why.append(markdown_text(sentence(answer.reason), MOST_IN_ANSWER))
    if answer.status == "MISSING":
        why.append(f"Who could say: {markdown_text(question.who, MOST_WHO)}.")
    if why:
        first += f". {' '.join(why)}"
    parts = [first, _value(answer.value), *(_table(table) for table in answer.tables)]
    if answer.declared is not None:
        parts += ["Declared besides (nobody verified it):", _value(answer.declared)]
    if answer.sources:
        places = []
        for source in by_file(answer.sources):
            place = f" › {markdown_text(source.at)}" if source.at else ""
            digest = source.sha256[:FIRST_DIGITS]
            places.append(f"{markdown_text(source.path)}{place} (sha256 {digest})")
        parts.append(f"Evidence: {'; '.join(places)}")
    return "\n\n".join(part for part in parts if part)


def _value(value: Any) -> str:
    """A value as a paragraph or a list; "" for None."""
    if value is None:
        return ""
    listed = lines_of(value)
    if len(listed) == 1 and not listed[0][0]:
        return f"> {markdown_text(listed[0][1], MOST_IN_ANSWER)}"
    lines = []
    for label, text in listed:
        before = f"{markdown_text(label)}: " if label else ""
        lines.append(f"- {before}{markdown_text(text, MOST_IN_ANSWER)}")
    return "\n".join(lines)


def _table(block: Table | Chart) -> str:
    """A table under its caption."""
    table = table_of(block)
    cells = [row.cells for row in table.rows]
    return f"*{markdown_text(table.caption)}*\n\n{_rows(table.columns, cells)}"


def _rows(columns: Sequence[str], cells: Sequence[Sequence[str]], *, most: int = 240) -> str:
    """A table; every cell is one line of text."""
    heads = " | ".join(markdown_text(column) for column in columns)
    lines = [f"| {heads} |", "|" + "---|" * len(columns)]
    for row in cells:
        texts = " | ".join(markdown_text(cell, most) for cell in row)
        lines.append(f"| {texts} |")
    return "\n".join(lines)


def _gaps(of: RewardAnswers) -> list[str]:
    """Every question nobody answered, and who could."""
    lines = []
    for gap in of.gaps:
        who = markdown_text(gap.question.who, MOST_WHO)
        asks = markdown_text(gap.question.asks)
        lines.append(f"- {asks} (`{gap.question.key}`) Who could say: {who}.")
    heading = f"## What nobody said: {len(of.gaps)}"
    return [heading, "\n".join(lines) or "Nothing is missing."]
