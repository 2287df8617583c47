"""in-toto Statement v1 with SLSA provenance v1 for every policy's weights, unsigned
(https://slsa.dev/provenance/v1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from reports.exports.encoding import json_bytes, package_url, token
from reports.exports.export import Content, Export
from reports.exports.facts import ENVIRONMENT, MISSING, PLAN, Data, RunFacts, span
from reports.record.lineage import PolicyRecord
from restaudit.evidence.ledger import FILE as LEDGER

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:restaudit:build-type:improve:1"
BUILDER = "urn:restaudit:builder:local"

Json = dict[str, Any]


def statement(facts: RunFacts, policy: PolicyRecord) -> Json:
    """What made the weights of one policy, from what, and what was decided about it."""
    step = policy.step
    assert step is not None
    event = facts.event(step)
    assert event is not None
    began, ended = span(event)
    metadata = {
        "invocationId": f"urn:uuid:{facts.uuid}#{step}",
        "startedOn": began,
        "finishedOn": ended,
    }
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": sha}} for name, sha in policy.weights.items()
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                # The sealed plan is a run's only input: what a step does follows from it and the
                # step's name.
                "externalParameters": {"plan": PLAN, "step": step, "policy": policy.name},
                "internalParameters": {
                    "policyDigest": policy.digest,
                    "start": policy.parent,
                    "grow": policy.data,
                    "ledger": dict(policy.facts),
                },
                "resolvedDependencies": _dependencies(facts, policy),
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {"restaudit": facts.version, **facts.packages},
                },
                "metadata": {k: v for k, v in metadata.items() if v is not None},
                "byproducts": _byproducts(facts, policy),
            },
        },
    }


def _dependencies(facts: RunFacts, policy: PolicyRecord) -> list[Json]:
    inputs = [_file(facts, PLAN, "the sealed plan")]
    if facts.base is not None and facts.base.sha256:
        inputs.append(_from(facts.base.spec, facts.base.sha256, "the base model"))
    for parent in facts.policies:
        if parent.name == policy.parent:
            what = f"weights of {parent.name}, which training started from"
            inputs += [_file(facts, name, what) for name in parent.weights]
    tables = {
        f"kept:{policy.name}": "the rows that were trained on",
        f"grow:{policy.data}": "the Grow set",
    }
    for data in facts.data:
        if data.ref in tables and data.path:
            inputs.append(_file(facts, data.path, tables[data.ref]))
    # The reward of the Grow set, not the newest one: a later refit had no part in this policy.
    reward = None
    if policy.data:
        reward = facts.reward_for(policy.data)
    if reward is not None:
        what = f"the reward model {reward.name}"
        inputs += [_file(facts, name, what) for name in reward.files]
    return inputs + [_taken(d) for d in facts.data if d.kind in ("prompts", "judgements")]


def _byproducts(facts: RunFacts, policy: PolicyRecord) -> list[Json]:
    # The head is no file's SHA-256, so its digest goes by a name of our own.
    head = {"restaudit_ledger_head": facts.head}
    ledger = "the ledger, by the hash of its last event when this was exported"
    byproducts: list[Json] = [{"name": LEDGER, "digest": head, "annotations": {"is": ledger}}]
    if facts.records.has(ENVIRONMENT):
        byproducts.append(_file(facts, ENVIRONMENT, "versions and device"))
    audits = facts.audits_of(policy.name)
    for audit in audits:
        byproducts.append(_file(facts, audit.source.path, f"what audit {audit.iteration} measured"))
        if audit.decision is not None and audit.decision_source is not None:
            decision = _file(facts, audit.decision_source.path, "the decision of the sealed policy")
            decided = {"verdict": audit.decision.verdict, "look": audit.decision.look}
            byproducts.append({**decision, "annotations": decided})
    iterations = {audit.iteration for audit in audits}
    for o in facts.run.overrides():
        if o.iteration in iterations:
            given = {"by": o.by, "reason": o.reason, "gates": list(o.gates)}
            name = f"override of HALT at {o.iteration}"
            byproducts.append({"name": name, "digest": head, "annotations": given})
    return byproducts


def _taken(data: Data) -> Json:
    if data.spec is not None and data.sha256:
        return _from(data.spec, data.sha256, data.kind)
    # A dependency without a digest pins nothing. It is named all the same, and says so.
    absent = {"restaudit:status": MISSING, "reason": "no SHA-256 was recorded"}
    return {
        "name": data.title,
        "uri": _uri(data.spec or data.title),
        "annotations": {"is": data.kind, **absent},
    }


def _from(spec: str, sha256: str, what: str) -> Json:
    return {"uri": _uri(spec), "digest": {"sha256": sha256}, "annotations": {"is": what}}


def _file(facts: RunFacts, name: str, what: str) -> Json:
    return {
        "name": name,
        "digest": {"sha256": facts.records.source(name).sha256},
        "annotations": {"is": what},
    }


def _uri(spec: str) -> str:
    return package_url(spec) or f"urn:restaudit:source:{quote(spec, safe='')}"


def build(facts: RunFacts) -> Mapping[str, Content]:
    """One statement a policy that has weights of its own."""
    # A statement needs a subject: a base policy without a supervised start has no file here.
    return {
        f"intoto/{token(p.name)}.intoto.json": json_bytes(statement(facts, p))
        for p in facts.policies
        if p.weights
    }


EXPORT = Export(
    "intoto",
    "provenance of every policy's weights, unsigned",
    "in-toto Statement v1, SLSA provenance v1",
    build,
)
