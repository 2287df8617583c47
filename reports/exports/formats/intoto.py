"""in-toto Statement v1 with SLSA provenance v1 for every policy's weights, unsigned
(https://slsa.dev/provenance/v1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from reports.exports.encoding import json_bytes, package_url, token
from reports.exports.export import Content, Export
from reports.exports.facts import ENVIRONMENT, MISSING, PLAN, Data, Facts, span
from reports.record.lineage import Policy
from restaudit.evidence.ledger import FILE as LEDGER

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:restaudit:build-type:improve:1"
BUILDER = "urn:restaudit:builder:local"

Json = dict[str, Any]


def statement(facts: Facts, policy: Policy) -> Json:
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


def _dependencies(facts: Facts, policy: Policy) -> list[Json]:
    found = [_file(facts, PLAN, "the sealed plan")]
    if facts.base is not None and facts.base.sha256:
        found.append(_from(facts.base.spec, facts.base.sha256, "the base model"))
    parent = next((p for p in facts.policies if p.name == policy.parent), None)
    if parent is not None:
        found += [
            _file(facts, name, f"weights of {parent.name}, which training started from")
            for name in parent.weights
        ]
    wanted = {
        f"kept:{policy.name}": "the rows that were trained on",
        f"grow:{policy.data}": "the Grow set",
    }
    found += [_file(facts, d.path, wanted[d.ref]) for d in facts.data if d.ref in wanted and d.path]
    reward = facts.reward_for(policy.data) if policy.data else None
    found += (
        [_file(facts, name, f"the reward model {reward.name}") for name in reward.files]
        if reward
        else []
    )
    return found + [_taken(d) for d in facts.data if d.kind in ("prompts", "judgements")]


def _byproducts(facts: Facts, policy: Policy) -> list[Json]:
    # The head is no file's SHA-256, so its digest goes by a name of our own.
    found: list[Json] = [
        {
            "name": LEDGER,
            "digest": {"restaudit_ledger_head": facts.head},
            "annotations": {
                "is": "the ledger, by the hash of its last event when this was exported"
            },
        }
    ]
    found += (
        [_file(facts, ENVIRONMENT, "versions and device")] if facts.records.has(ENVIRONMENT) else []
    )
    for audit in facts.audits_of(policy.name):
        found.append(_file(facts, audit.source.path, f"what audit {audit.iteration} measured"))
        if audit.decision is not None and audit.decision_source is not None:
            found.append(
                {
                    **_file(facts, audit.decision_source.path, "the decision of the sealed policy"),
                    "annotations": {"verdict": audit.decision.verdict, "look": audit.decision.look},
                }
            )
    halts = [
        o
        for o in facts.run.overrides()
        if o.iteration in {a.iteration for a in facts.audits_of(policy.name)}
    ]
    found += [
        {
            "name": f"override of HALT at {o.iteration}",
            "digest": {"restaudit_ledger_head": facts.head},
            "annotations": {"by": o.by, "reason": o.reason, "gates": list(o.gates)},
        }
        for o in halts
    ]
    return found


def _taken(data: Data) -> Json:
    if data.spec is not None and data.sha256:
        return _from(data.spec, data.sha256, data.kind)
    absent = {"restaudit:status": MISSING, "reason": "no SHA-256 was recorded"}
    return {
        "name": data.title,
        "uri": _uri(data.spec or data.title),
        "annotations": {"is": data.kind, **absent},
    }


def _from(spec: str, sha256: str, what: str) -> Json:
    return {"uri": _uri(spec), "digest": {"sha256": sha256}, "annotations": {"is": what}}


def _file(facts: Facts, name: str, what: str) -> Json:
    return {
        "name": name,
        "digest": {"sha256": facts.records.source(name).sha256},
        "annotations": {"is": what},
    }


def _uri(spec: str) -> str:
    return package_url(spec) or f"urn:restaudit:source:{quote(spec, safe='')}"


def build(facts: Facts) -> Mapping[str, Content]:
    """One statement a policy that has weights of its own."""
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
