"""A Hugging Face model card of the last audited policy: YAML metadata with a model-index, and a
short text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes.base import Measurement
from reports.exports.encoding import HUB, clean
from reports.exports.export import Content, Export
from reports.exports.facts import AuditFacts, RunFacts, cited
from reports.exports.sentences import OF_A_MODEL
from reports.record.lineage import PolicyRecord
from restaudit.evidence.shown import markdown_text, number, together

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

FILE = "hf/README.md"
LEVEL = 0.95
MOST = 2000
BENCHMARKS = ("capability.", "benchmarks.")
COMPARED = "_change"
# What Markdown or YAML could take for more than text.
INERT = frozenset("<>&[]`*\\!#|{}$~^@")


@dataclass(frozen=True)
class Weights:
    """What the card of exported weights says besides.

    iteration   the audit that it is about
    library     what loads the weights, as the hub calls it
    licence     the hub's word for the base model's licence, and its name where the hub has no word
                for it
    paragraphs  Markdown, in which text of a run is escaped already
    """

    iteration: str
    library: str | None
    licence: tuple[str, str | None]
    tags: tuple[str, ...]
    paragraphs: tuple[str, ...]


# The hub's own word for a licence that nobody stated; the text says that it is missing.
NO_WEIGHTS = Weights("", None, ("unknown", None), (), ())


def card(facts: RunFacts, weights: Weights = NO_WEIGHTS) -> str:
    """The README: front matter that `huggingface_hub` wrote and reads back, then Markdown without
    any run's markup.

    It is about the last audit, or about exported `weights` and the audit that looked at them.
    """
    from huggingface_hub import ModelCard

    audits = list(facts.audits)
    # Figures of another look would be read as those of the weights beside the card.
    if weights is not NO_WEIGHTS:
        audits = [audit for audit in audits if audit.iteration == weights.iteration]
    audit, policy = None, "base policy"
    if audits:
        audit = audits[-1]
        policy = audit.policy
    name = f"{facts.run.name} {policy}"
    text = "\n\n".join(_sections(facts, audit, name, weights.paragraphs)) + "\n"
    return str(ModelCard(f"---\n{_front_matter(facts, audit, name, weights)}\n---\n\n{text}"))


def _front_matter(facts: RunFacts, audit: AuditFacts | None, name: str, weights: Weights) -> str:
    """The metadata as YAML; what the record does not have is left out."""
    from huggingface_hub import ModelCardData

    licence, licence_name = weights.licence
    # The hub links a base model by its name there: a path or a package would be a dead link.
    base_model = None
    if facts.base is not None:
        on_hub = HUB.fullmatch(facts.base.spec)
        base_model = on_hub[1] if on_hub else None
    results = []
    if audit is not None:
        results = [_result(audit, m) for m in _benchmarks(audit)]
    data = ModelCardData(
        base_model=base_model,
        datasets=_datasets(facts) or None,
        library_name=weights.library,
        license=licence,
        license_name=_inert(licence_name) if licence_name else None,
        metrics=sorted({result.metric_type for result in results}) or None,
        # The hub wants a name where there are results, and none where there are not.
        model_name=_inert(name) if results else None,
        eval_results=results or None,
        pipeline_tag="text-generation",
        tags=["restaudit", "reinforced-self-training", "synthetic-data", *weights.tags],
    )
    return data.to_yaml()


def _datasets(facts: RunFacts) -> list[str]:
    """Prompts that come from the hub, by their names there."""
    names = set()
    for data in facts.data:
        on_hub = HUB.fullmatch(data.spec or "")
        if data.kind == "prompts" and on_hub is not None:
            names.add(on_hub[1])
    return sorted(names)


def _benchmarks(audit: AuditFacts) -> Iterator[Measurement]:
    """Measured scores themselves, without their changes since the base policy."""
    for m in audit.measurements:
        # The hub lists scores of models; a change since another model would be read as one.
        of_its_own = m.name.startswith(BENCHMARKS) and not m.name.endswith(COMPARED)
        if of_its_own and m.value is not None:
            yield m


def _result(audit: AuditFacts, m: Measurement) -> EvalResult:
    from huggingface_hub import EvalResult

    task = _inert(m.name.partition(".")[2])
    interval = m.interval(LEVEL)
    args: dict[str, Any] = {
        "audit": _inert(audit.label),
        "n": m.n,
        "clusters": m.n_prompts,
        "unit": _inert(m.unit),
        "method": _inert(m.method),
    }
    if interval is not None:
        args |= {
            "interval_level": LEVEL,
            "interval_low": interval.low,
            "interval_high": interval.high,
        }
    return EvalResult(
        task_type="text-generation",
        dataset_type=f"restaudit/{task}",
        dataset_name=task,
        metric_type=_inert(str(m.detail.get("metric", m.unit))),
        metric_value=m.value,
        metric_name=_inert(m.name),
        metric_args=args,
        dataset_args={"source": _inert(cited(audit.source))},
    )


def _sections(
    facts: RunFacts, audit: AuditFacts | None, name: str, of_weights: Sequence[str]
) -> Iterator[str]:
    yield f"# {_text(name)}"
    for o in facts.run.overrides():
        yield (
            f"**HALT at {_text(o.iteration)} was overridden** by {_text(o.by)} "
            f"(gates: {_text(', '.join(o.gates))}). Reason given: {_text(o.reason)}"
        )
    halt = facts.run.halt
    if halt is not None:
        yield (
            f"**This run was halted at {_text(halt.iteration)}** by its gates "
            f"{_text(', '.join(halt.gates))}."
        )
    if audit is None:
        yield "No policy of this run was audited. Nothing is said about how it behaves."
    elif audit.decision is not None:
        d = audit.decision
        yield f"**Decision of the sealed gate policy: {d.verdict}** (look {d.look} of {d.looks})."
    else:
        yield "This is the base policy; no gate decides about it."
    yield f"Human score: {_text(facts.human.name)}: {_text(facts.human.description)}"
    yield from of_weights
    yield "## Where it comes from"
    yield "\n".join(_origin(facts, audit))
    if audit is not None:
        yield "## What was measured"
        yield f"Audit {_text(audit.label)}."
        yield _measured(audit)
        missing = [m for m in audit.measurements if m.value is None]
        if missing:
            yield "## What was not measured"
            yield "\n".join(f"- {_text(m.name)}: MISSING: {_text(m.reason or '')}" for m in missing)
    yield "## What nobody said"
    yield "\n".join(f"- {_text(g.said)}" for g in OF_A_MODEL)
    yield f"Made from the record of run {_text(facts.run_id)}, ledger head `{facts.head}`."


def _origin(facts: RunFacts, audit: AuditFacts | None) -> Iterator[str]:
    if facts.base is not None:
        yield (
            f"- Base model: {_text(facts.base.spec)}, SHA-256 {facts.base.sha256 or 'MISSING'}, "
            f"licence of the base model: {_licence(facts.base.licence)}"
        )
    else:
        yield "- Base model: MISSING: the record names none"
    audited = "" if audit is None else audit.policy
    for policy in _line(facts.policies, audited):
        made = "the base policy"
        if policy.parent:
            made = f"from {_text(policy.parent)} on Grow set {_text(policy.data or '')}"
        yield f"- {_text(policy.name)}: {made}; digest `{policy.digest}`"
    for data in facts.data:
        if data.kind in ("prompts", "judgements"):
            yield f"- {_text(data.title)}; licence: {_licence(data.licence)}"
    for reward in facts.rewards:
        yield f"- Reward model: {_text(reward.name)}, digest {reward.digest or 'MISSING'}"


def _licence(licence: str | None) -> str:
    if not licence:
        return "MISSING: not recorded"
    return _text(licence)


def _line(policies: Sequence[PolicyRecord], name: str) -> list[PolicyRecord]:
    """The policies from the base to this one."""
    by_name = {policy.name: policy for policy in policies}
    line: list[PolicyRecord] = []
    policy = by_name.get(name)
    # A record of a stranger may go round in a circle.
    while policy is not None and policy not in line:
        line.insert(0, policy)
        policy = by_name.get(policy.parent or "")
    return line


def _measured(audit: AuditFacts) -> str:
    rows = [
        "| measurement | value | 95% interval | unit | n | prompts | human score |",
        "|---|---|---|---|---|---|---|",
    ]
    for m in audit.measurements:
        # What has no value stands in a list of its own, with the reason.
        if m.value is None:
            continue
        interval = m.interval(LEVEL)
        if interval is None:
            value, span = number(m.value), _text(f"none: {m.reason}")
        else:
            value, low, high = together(m.value, interval.low, interval.high)
            span = f"{low} to {high}"
        label = _text(str(m.detail.get("human_label", "")))
        rows.append(
            f"| {_text(m.name)} | {value} | {span} | {_text(m.unit)} | {m.n} | {m.n_prompts} "
            f"| {label} |"
        )
    return "\n".join([*rows, "", f"Source: {_text(cited(audit.source))}"])


def _inert(value: str) -> str:
    """For the front matter, which a reader that knows none takes for Markdown: no tags, links or
    code.
    """
    return "".join("\ufffd" if c in INERT else c for c in clean(value))


def _text(value: str) -> str:
    return markdown_text(clean(value), MOST)


def build(facts: RunFacts) -> Mapping[str, Content]:
    """The file of this export, in a folder of its own as the hub wants it."""
    return {FILE: card(facts).encode()}


EXPORT = Export(
    "hf", "model card of the last audited policy", "Hugging Face model card metadata", build
)
