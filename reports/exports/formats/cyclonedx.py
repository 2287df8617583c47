"""CycloneDX 1.7 machine-learning bill of materials (https://cyclonedx.org/docs/1.7/json/)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from probes.base import Measurement
from reports.exports.encoding import SPDX_IDS, json_bytes, package_url, pypi_url
from reports.exports.export import Content, Export
from reports.exports.facts import (
    MISSING,
    PLAN,
    AuditFacts,
    Data,
    Model,
    RewardFacts,
    RunFacts,
    cited,
    grow_of,
)
from reports.exports.sentences import NOT_ASKED, OF_A_MODEL, OF_DATA, Gap, hyperparameters
from reports.record.files import Source
from reports.record.lineage import PolicyRecord
from restaudit import __version__
from restaudit.evidence.ledger import FILE as LEDGER

FILE = "bom.cdx.json"
RUN = "run"
REWARD_RULE = "SHA-256 of the canonical JSON (RFC 8785) of all that the reward is made of"
DIGEST_RULE = (
    "SHA-256 of the canonical JSON (RFC 8785) of the base model's digest and the "
    "digests of all weight files"
)
LEVEL = 0.95

Json = dict[str, Any]


def bom(facts: RunFacts) -> Json:
    """The bill of materials: models, data and packages, with the lineage as the graph of
    dependencies.
    """
    components = [
        *(_model(m) for m in facts.models),
        *(_policy(facts, p) for p in facts.policies),
        *(_reward(r) for r in facts.rewards),
        *(_data(d) for d in facts.data),
        *(_package(n, v) for n, v in facts.packages.items()),
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{facts.uuid}",
        # It rises while the run goes on, as the standard wants of a document that keeps its serial
        # number.
        "version": len(facts.run.events),
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "restaudit", "version": __version__}]
            },
            "component": {
                "type": "application",
                "bom-ref": RUN,
                "name": facts.run.name,
                "version": facts.run_id,
                "description": (
                    "A run of reinforced self-training (ReST) with an audit of every iteration."
                ),
            },
            "properties": _run_properties(facts),
        },
        "components": components,
        # The environment lists the packages that matter most to a run, not all that were installed.
        "compositions": [{"aggregate": "incomplete", "assemblies": [RUN], "dependencies": [RUN]}],
        "dependencies": _dependencies(facts, [str(c["bom-ref"]) for c in components]),
    }


def _run_properties(facts: RunFacts) -> list[Json]:
    human = facts.human
    properties = [
        ("runId", facts.run_id),
        ("runVersion", facts.version),
        ("state", facts.state),
        ("ledgerHead", facts.head),
        ("humanScore", f"{human.name}: {human.description}"),
        ("source", cited(Source(LEDGER, "", facts.head))),
    ]
    for o in facts.run.overrides():
        gates = ", ".join(o.gates)
        override = f"{o.iteration}: gates {gates}; by {o.by}; reason: {o.reason}"
        properties.append(("override", override))
    # Two facts that a whole kind of component hangs on: without a word, their absence reads as none.
    absent = []
    if facts.base is None:
        absent.append(("baseModel", "the record of this run names no base model"))
    if not facts.environment:
        absent.append(("packages", "the record of this run has no environment.json"))
    return [*_properties(properties), *_missing(absent)]


def _model(model: Model) -> Json:
    return _known(
        {
            "type": "machine-learning-model",
            "bom-ref": f"model:{model.role}",
            "name": model.spec,
            "description": f"Taken from elsewhere as {model.role}.",
            "hashes": _hashes(model.sha256),
            "licenses": _licences(model.licence),
            "purl": package_url(model.spec),
            "properties": [
                *_properties([("role", model.role), ("source", cited(model.source))]),
                *_no_licence(model.licence),
                *_no_hash(model.sha256),
            ],
        }
    )


def _policy(facts: RunFacts, policy: PolicyRecord) -> Json:
    event = facts.event(policy.step) if policy.step else None
    # The base policy is no step's work: the sealed plan says where its weights come from.
    source = facts.at(event.step) if event else facts.records.source(PLAN, "artifacts")
    properties = [("policy", policy.name), ("digestRule", DIGEST_RULE)]
    properties += [(f"parameter:{k}", v) for k, v in hyperparameters(facts, policy)]
    properties.append(("source", cited(source)))
    files = [
        {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": _hashes(sha256)}
        for name, sha256 in policy.weights.items()
    ]
    description = "The base policy."
    if policy.parent is not None:
        description = (
            f"Made from {policy.parent} by one Improve step on samples of Grow set {policy.data}."
        )
    return _known(
        {
            "type": "machine-learning-model",
            "bom-ref": f"policy:{policy.name}",
            "name": f"{facts.run.name} {policy.name}",
            "version": policy.name,
            "hashes": _hashes(policy.digest),
            "components": files or None,
            "description": description,
            "modelCard": _card(facts, policy),
            "properties": [*_properties(properties), *_gaps(OF_A_MODEL)],
        }
    )


def _card(facts: RunFacts, policy: PolicyRecord) -> Json:
    audits = facts.audits_of(policy.name)
    used = f"kept:{policy.name}"
    trained_on = [{"ref": data.ref} for data in facts.data if data.ref == used]
    card: Json = {
        "modelParameters": _known(
            {
                "approach": {"type": "reinforcement-learning"},
                "task": "text generation",
                "datasets": trained_on or None,
                "inputs": [{"format": "text"}],
                "outputs": [{"format": "text"}],
            }
        )
    }
    metrics: list[Json] = []
    properties: list[Json] = []
    for audit in audits:
        metrics += [_metric(audit, m) for m in audit.measurements if m.value is not None]
        properties += _audit_properties(audit)
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    card["properties"] = properties or _missing(
        [("performanceMetrics", "no audit looked at this policy")]
    )
    return card


def _metric(audit: AuditFacts, m: Measurement) -> Json:
    interval = m.interval(LEVEL)
    where = f"audit {audit.label}; {m.unit}; n={m.n}, {m.n_prompts} prompts"
    # The schema wants values as text; repr keeps every digit, so that a number reads back exactly.
    metric: Json = {"type": m.name, "value": repr(m.value)}
    if interval is not None:
        where += f"; {LEVEL:.0%} interval"
        metric["confidenceInterval"] = {
            "lowerBound": repr(interval.low),
            "upperBound": repr(interval.high),
        }
    else:
        where += f"; no interval: {m.reason or 'not computed at this level'}"
    group = m.detail.get("group")
    if isinstance(group, str):
        where += f"; group: {group}"
    return {**metric, "slice": where}


def _audit_properties(audit: AuditFacts) -> Iterable[Json]:
    at = audit.iteration
    yield from _properties([(f"source:{at}", cited(audit.source))])
    for m in audit.measurements:
        # What a metric of the standard has no field for.
        body = _known(
            {
                "baseline": m.baseline,
                "humanScore": m.detail.get("human_label"),
                "method": m.method,
                "version": m.version,
                "reason": m.reason,
            }
        )
        name = f"measurement:{at}:{m.name}"
        yield from _properties([(name, json.dumps(body, sort_keys=True))])
        if m.value is None:
            yield from _missing([(f"{at}:{m.name}", m.reason or "")])
    if audit.decision is not None and audit.decision_source is not None:
        d = audit.decision
        gates = "; ".join(f"{g.gate} {g.verdict}: {g.metric} {g.why}" for g in d.gates)
        decision = f"{d.verdict} at look {d.look} of {d.looks}: {gates}"
        source = cited(audit.decision_source)
        yield from _properties([(f"decision:{at}", decision), (f"decisionSource:{at}", source)])


def _reward(reward: RewardFacts) -> Json:
    dossier = reward.dossier
    described = ("kind", "objective", "loss", "unit", "members")
    properties = [(key, str(dossier[key])) for key in described if key in dossier]
    properties += [
        ("digestRule", REWARD_RULE),
        ("files", ", ".join(reward.files)),
        ("source", cited(reward.source)),
    ]
    card: Json = {}
    limits = [str(limit) for limit in dossier.get("limits", ())]
    if limits:
        card["considerations"] = {"technicalLimitations": limits}
    recorded = [m for m in dossier.get("validation") or () if isinstance(m, dict)]
    metrics = [_validation(m) for m in recorded if m.get("value") is not None]
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    else:
        card["properties"] = _missing(
            [("performanceMetrics", "the reward's dossier holds no validation")]
        )
    return _known(
        {
            "type": "machine-learning-model",
            "bom-ref": reward.ref,
            "name": reward.name,
            "description": "The reward model: what training selects samples by.",
            "hashes": _hashes(reward.digest),
            "modelCard": card,
            "properties": [*_properties(properties), *_no_hash(reward.digest), *_no_licence(None)],
        }
    )


def _validation(m: Mapping[str, Any]) -> Json:
    interval = next((i for i in m.get("intervals", ()) if i["level"] == LEVEL), None)
    meaning = m.get("detail", {}).get("meaning", "held-out items")
    metric: Json = {
        "type": str(m["name"]),
        "value": repr(m["value"]),
        "slice": f"{meaning}; {m['unit']}; n={m['n']}",
    }
    if interval:
        metric["confidenceInterval"] = {
            "lowerBound": repr(interval["low"]),
            "upperBound": repr(interval["high"]),
        }
    return metric


def _data(data: Data) -> Json:
    properties = [("kind", data.kind), ("source", cited(data.source))]
    if data.path:
        properties.append(("path", data.path))
    if data.rows is not None:
        properties.append(("rows", str(data.rows)))
    if data.made_by:
        properties.append(("madeBy", data.made_by))
    # Of data from elsewhere its publishers say what people must; a missing licence is said of all.
    written_here = data.kind in ("grow", "kept")
    gaps: list[Json] = []
    if written_here:
        gaps = _gaps(gap for gap in OF_DATA if gap.key != "licence")
    return _known(
        {
            "type": "data",
            "bom-ref": f"data:{data.ref}",
            "name": data.title,
            "hashes": _hashes(data.sha256),
            "licenses": _licences(data.licence),
            "purl": package_url(data.spec) if data.spec else None,
            "data": [{"type": "dataset", "bom-ref": data.ref, "name": data.title}],
            "properties": [
                *_properties(properties),
                *_no_hash(data.sha256),
                *_no_licence(data.licence),
                *gaps,
            ],
        }
    )


def _package(name: str, version: str) -> Json:
    return {
        "type": "library",
        "bom-ref": f"package:{name}",
        "name": name,
        "version": version,
        "purl": pypi_url(name, version),
    }


def _dependencies(facts: RunFacts, refs: list[str]) -> list[Json]:
    """The lineage: what each component was made from, of what the document has."""
    graph: dict[str, set[str]] = {RUN: set()}
    graph[RUN] |= {f"package:{name}" for name in facts.packages}
    graph[RUN] |= {f"policy:{policy.name}" for policy in facts.policies}
    graph[RUN] |= {f"model:{model.role}" for model in facts.models}
    for policy in facts.policies:
        parent = f"policy:{policy.parent}" if policy.parent else "model:policy.model"
        graph[f"policy:{policy.name}"] = {parent, f"data:kept:{policy.name}"}
    prompts = {f"data:{data.ref}" for data in facts.data if data.kind == "prompts"}
    judgements = {f"data:{data.ref}" for data in facts.data if data.kind == "judgements"}
    for data in facts.data:
        component = f"data:{data.ref}"
        if data.kind == "grow":
            graph[component] = {f"policy:{data.made_by}", "data:split:grow"}
            reward = facts.reward_for(data.ref.split(":")[1])
            if reward is not None:
                graph[component].add(reward.ref)
        if data.kind == "kept":
            graph[component] = {f"data:{grow_of(data)}"}
        if data.kind == "split":
            graph[component] = prompts
    for reward in facts.rewards:
        graph[reward.ref] = {*judgements, "model:reward.encoder"}
    # The standard wants every reference to lead to a component of the document.
    known = {RUN, *refs}
    return [
        {"ref": ref, "dependsOn": sorted(graph.get(ref, set()) & known)} for ref in sorted(known)
    ]


def _hashes(sha256: str | None) -> list[Json] | None:
    if not sha256:
        return None
    return [{"alg": "SHA-256", "content": sha256}]


def _licences(licence: str | None) -> list[Json] | None:
    if not licence:
        return None
    # The schema takes identifiers of the SPDX list only; any other text is a licence's name.
    field = "id" if licence in SPDX_IDS else "name"
    return [{"license": {field: licence}}]


def _properties(pairs: Iterable[tuple[str, str]]) -> list[Json]:
    return [{"name": f"restaudit:{name}", "value": value} for name, value in pairs]


def _missing(absent: Iterable[tuple[str, str]]) -> list[Json]:
    properties = []
    for name, why in absent:
        properties += _properties([(f"status:{name}", MISSING), (f"reason:{name}", why)])
    return properties


def _gaps(gaps: Iterable[Gap]) -> list[Json]:
    return _missing((g.key, f"{g.asks}: {NOT_ASKED}; who could say: {g.who}") for g in gaps)


def _no_licence(licence: str | None) -> list[Json]:
    if licence:
        return []
    return _missing([("licence", "no licence was recorded")])


def _no_hash(sha256: str | None) -> list[Json]:
    if sha256:
        return []
    return _missing([("hash", "no SHA-256 was recorded")])


def _known(body: Mapping[str, Any]) -> Json:
    return {k: v for k, v in body.items() if v is not None}


def build(facts: RunFacts) -> Mapping[str, Content]:
    """The file of this export."""
    return {FILE: json_bytes(bom(facts))}


EXPORT = Export("cyclonedx", "machine-learning bill of materials", "CycloneDX 1.7 JSON", build)
