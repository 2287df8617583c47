"""RO-Crate 1.1 metadata after the Process Run Crate profile 0.5
(https://w3id.org/ro/wfrun/process/0.5).

A crate's metadata file belongs into the root of what it describes. A finished run takes no further
file, so this one is put into a copy of the run folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from reports.exports.encoding import json_bytes, package_url, token
from reports.exports.export import Content, Export
from reports.exports.facts import MISSING, RunFacts, last_time, span
from reports.exports.flow import RULE, data_read, models_read, reads
from reports.exports.sentences import NOT_ASKED, OF_DATA, Gap
from restaudit.errors import BadInput
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import Event

FILE = "ro-crate-metadata.json"
CRATE = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
PROGRAM = "#restaudit"
NO_LICENCE = "#licence-missing"
# The two terms that the context of RO-Crate 1.1 may lack.
TERMS = {
    "sha256": "http://schema.org/sha256",
    "additionalProperty": "http://schema.org/additionalProperty",
}
MEDIA = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".parquet": "application/vnd.apache.parquet",
}

Json = dict[str, Any]


def crate(facts: RunFacts) -> Json:
    """The metadata. Raises BadInput where the ledger has no time, which the standard demands."""
    published = last_time(facts)
    if published is None:
        raise BadInput(
            f"{facts.run.path}: the ledger has no time of any step; RO-Crate wants one, and none "
            "is made up"
        )
    files = [_file(facts, name) for name in sorted(facts.records.digests)]
    # The ledger comes without size and digest: it grows while the run goes on.
    chain = f"The hash chain of all steps; its last event has the hash {facts.head}."
    files.append(
        {
            "@id": LEDGER,
            "@type": "File",
            "name": LEDGER,
            "encodingFormat": MEDIA[".jsonl"],
            "description": chain,
        }
    )
    inputs = reads(facts)
    actions = [_action(facts, event, inputs[event.step]) for event in facts.run.events]
    gaps = [_gap(g) for g in OF_DATA]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": _ref(PROFILE),
        "name": facts.run.name,
        "identifier": f"urn:uuid:{facts.uuid}",
        "datePublished": published,
        "description": f"Record of a run of reinforced self-training ({facts.state}). "
        "datePublished is the time of its "
        f"last recorded step; whether it was published is not recorded. {RULE} Human score: "
        f"{facts.human.name}: {facts.human.description}",
        "license": _ref(NO_LICENCE),
        "hasPart": [_ref(f["@id"]) for f in files],
        "mentions": [_ref(a["@id"]) for a in actions],
        "additionalProperty": [_ref(g["@id"]) for g in gaps],
    }
    graph = [
        {"@id": FILE, "@type": "CreativeWork", "conformsTo": _ref(CRATE), "about": _ref("./")},
        root,
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        {
            "@id": NO_LICENCE,
            "@type": "CreativeWork",
            "name": MISSING,
            "description": f"Under which licence the run folder is given on: {NOT_ASKED}.",
        },
        {
            "@id": PROGRAM,
            "@type": "SoftwareApplication",
            "name": "restaudit",
            "softwareVersion": facts.version,
            "softwareRequirements": [f"{n}=={v}" for n, v in facts.packages.items()],
        },
        *_elsewhere(facts),
        *files,
        *actions,
        *gaps,
        *_people(facts),
    ]
    return {"@context": [f"{CRATE}/context", TERMS], "@graph": graph}


def _file(facts: RunFacts, name: str) -> Json:
    digest = facts.records.digests[name]
    suffix = name[name.rfind(".") :]
    body: Json = {
        "@id": quote(name),
        "@type": "File",
        "name": name,
        "sha256": digest.sha256,
        "contentSize": str(digest.bytes),
        "encodingFormat": MEDIA.get(suffix, "application/octet-stream"),
    }
    for data in facts.data:
        if data.path == name:
            body["description"] = data.title
            break
    for audit in facts.audits:
        source = audit.decision_source
        if audit.decision is not None and source is not None and source.path == name:
            body["description"] = (
                f"Decision about {audit.policy} at {audit.iteration}: {audit.decision.verdict}"
            )
    return body


def _action(facts: RunFacts, event: Event, used: tuple[str, ...]) -> Json:
    results = [_ref(quote(n)) for n in sorted((*event.outputs, *event.context))]
    taken = [_ref(f"#model-{token(role)}") for role in models_read(facts, event)]
    taken += [_ref(f"#data-{token(d.ref)}") for d in data_read(facts, event)]
    began, ended = span(event)
    # The profile wants ActivateAction for a step that wrote no file.
    body: Json = {
        "@id": f"#step-{token(event.step)}",
        "@type": "CreateAction" if results else "ActivateAction",
        "name": event.step,
        "instrument": _ref(PROGRAM),
        "object": [*(_ref(quote(n)) for n in used), *taken],
        "description": f"Line {event.seq + 1} of {LEDGER}.",
    }
    if results:
        body["result"] = results
    if ended is not None:
        body |= {"startTime": began, "endTime": ended}
    for k, o in enumerate(facts.run.overrides(), 1):
        if event.step == f"{o.iteration}/override":
            body.setdefault("agent", []).append(_ref(f"#person-{k}"))
            body["description"] += f" Reason given: {o.reason}"
    return body


def _elsewhere(facts: RunFacts) -> list[Json]:
    """Models and data that lie outside the run folder: contextual, since the crate does not hold
    them.
    """
    outside: list[Json] = []
    for m in facts.models:
        outside.append(
            {
                "@id": f"#model-{token(m.role)}",
                "@type": "CreativeWork",
                "name": m.spec,
                "description": f"Model taken as {m.role}. Licence: {m.licence or MISSING}.",
                "identifier": [*_urls(m.spec), f"sha256:{m.sha256 or MISSING}"],
            }
        )
    for d in facts.data:
        if d.spec is not None:
            outside.append(
                {
                    "@id": f"#data-{token(d.ref)}",
                    "@type": "CreativeWork",
                    "name": d.title,
                    "description": f"Data taken from elsewhere. Licence: {d.licence or MISSING}.",
                    "identifier": [*_urls(d.spec), f"sha256:{d.sha256 or MISSING}"],
                }
            )
    return outside


def _urls(spec: str) -> list[str]:
    url = package_url(spec)
    # Only what has a public name: a path of this machine would identify nothing.
    return [url] if url else []


def _people(facts: RunFacts) -> list[Json]:
    return [
        {
            "@id": f"#person-{k}",
            "@type": "Person",
            "name": o.by,
            "description": "The name that was given with an "
            f"override of HALT at {o.iteration}; nobody checked it.",
        }
        for k, o in enumerate(facts.run.overrides(), 1)
    ]


def _gap(gap: Gap) -> Json:
    return {
        "@id": f"#gap-{gap.key}",
        "@type": "PropertyValue",
        "propertyID": "restaudit:status",
        "name": gap.key,
        "value": MISSING,
        "description": gap.said,
    }


def _ref(to: str) -> Json:
    return {"@id": to}


def build(facts: RunFacts) -> Mapping[str, Content]:
    """The file of this export."""
    return {FILE: json_bytes(crate(facts))}


EXPORT = Export(
    "rocrate",
    "index of the run folder's files and steps",
    "RO-Crate 1.1, Process Run Crate 0.5",
    build,
)
