"""What the system is: which run, which policies by the digest of their weights, which parts,
software and hardware.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.document.model import Row, Table
from reports.frameworks.readings.data import written_share
from reports.frameworks.readings.material import (
    Reading,
    absent,
    config,
    joined,
    ledger,
    named,
    plan,
    recorded,
    sealed,
    state,
    step_place,
)
from reports.record.compute import parameters
from reports.record.files import Records
from reports.record.lineage import BASE_MODEL, PolicyRecord, policies
from reports.record.series import short_name
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import number

ENVIRONMENT = "environment.json"
NO_ARTIFACTS = "the plan names no model or data set by its digest"
DIGEST = (
    "The digest is the SHA-256 of the canonical JSON of the base model's SHA-256 and of every "
    "adapter file's. A policy that holds no adapter of its own has the base model's weights."
)
UNSTATED = "no licence recorded"


def run_identity(records: Records) -> Reading:
    """Which run this is, when it was sealed, and by which program."""
    run, first = records.run, records.run.events[0]
    version = plan(records).get("restaudit", "not recorded")
    sentence = (
        f"run {run.name}, id {run.run_id}, sealed "
        f"{first.at.get('time', 'at an unrecorded time')}, restaudit {version}; state: "
        f"{state(records)}; {len(run.events)} recorded steps, last event {records.head}"
    )
    return Reading(sentence, (ledger(records, "line 1"), sealed(records, "restaudit")))


def description(records: Records) -> Reading:
    """What whoever configured the run wrote about it."""
    text = str(plan(records)["config"].get("description") or "").strip()
    if not text:
        return absent("the configuration says nothing")
    return Reading(text, (sealed(records, "config.description"),))


def lineage(records: Records) -> Reading:
    """Every policy, which one it was trained from, on what, and the digest of its weights."""
    if not _artifacts(records):
        return absent(NO_ARTIFACTS)
    chain = policies(records)
    base = sealed(records, f"artifacts.{BASE_MODEL}")
    rows = []
    for policy in chain:
        # The base policy comes from a step only where it was trained on references first.
        source = base
        if _step(policy) in records.run.done:
            source = step_place(records, _step(policy))
        rows.append(Row(_policy(records, policy), (source,)))
    columns = (
        "policy",
        "trained from",
        "on the samples of",
        "rows kept",
        "share written by a policy",
        "weights digest",
    )
    title = "Policies by the digest of their weights"
    table = Table(title, columns, tuple(rows), note=DIGEST)
    newest = chain[-1]
    sentence = (
        f"policies: {len(chain)}; the newest is {short_name(newest.name)}, weights digest "
        f"{newest.digest}"
    )
    if newest.parent is not None:
        sentence += f", trained from {short_name(newest.parent)}"
    return Reading(sentence, (base,), (table,))


def _step(policy: PolicyRecord) -> str:
    return policy.step or f"{BASE.split('/')[0]}/bc"


def _policy(records: Records, p: PolicyRecord) -> tuple[str, ...]:
    name, parent, kept = short_name(p.name), "–", "–"
    if p.name == BASE:
        name = "base policy"
    if p.parent:
        parent = short_name(p.parent)
    if p.data:
        kept = number(p.facts.get("kept"))
    return (name, parent, p.data or "–", kept, written_share(records, p), p.digest)


def policy_model(records: Records) -> Reading:
    """The pre-trained model that is trained on, and how much of it is trained."""
    made, artifacts = config(records, "policy"), _artifacts(records)
    if not made or BASE_MODEL not in artifacts:
        return absent("the plan does not name the base model")
    base = artifacts[BASE_MODEL]
    method = str(made.get("training"))
    if method == "lora":
        method = f"LoRA of rank {(made.get('lora') or {}).get('rank')}"
    # Counted when the model was loaded; not every run has recorded it.
    size = parameters(records)
    counted = "not recorded" if size is None else number(int(size))
    sentence = (
        f"{base['spec']}, SHA-256 {base['sha256']}, licence {base.get('licence') or UNSTATED}; "
        f"trained by {method}; parameters: {counted}"
    )
    sources = (sealed(records, f"artifacts.{BASE_MODEL}"), sealed(records, "config.policy"))
    return Reading(sentence, sources)


def third_parties(records: Records) -> Reading:
    """Every model and data set that comes from somewhere else: where from, its digest, its
    licence.
    """
    artifacts = _artifacts(records)
    if not artifacts:
        return absent(NO_ARTIFACTS)
    rows, without = [], []
    for name, artifact in sorted(artifacts.items()):
        licence = str(artifact.get("licence") or UNSTATED)
        if licence == UNSTATED:
            without.append(name)
        cells = (name, str(artifact["spec"]), licence, str(artifact["sha256"]))
        rows.append(Row(cells, (sealed(records, f"artifacts.{name}"),)))
    columns = ("used as", "where from", "licence", "SHA-256")
    table = Table("Models and data sets of others", columns, tuple(rows), prose=(1, 2))
    sentence = f"{len(rows)} parts of others, each pinned by SHA-256"
    if without:
        sentence += f"; no licence is recorded for {', '.join(without)}"
    return Reading(sentence, (sealed(records, "artifacts"),), (table,))


def software(records: Records) -> Reading:
    """Versions of the program, of Python and of the libraries."""
    environment = recorded(records, ENVIRONMENT) or {}
    packages = environment.get("packages")
    if not isinstance(packages, Mapping):
        return absent(f"{ENVIRONMENT} with the versions was not recorded")
    programs = (
        f"restaudit {environment.get('restaudit', 'unknown')}, "
        f"Python {environment.get('python', 'unknown')}"
    )
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
    return Reading(f"{programs}, {libraries}", (records.source(ENVIRONMENT, "packages"),))


def hardware(records: Records) -> Reading:
    """The machine that the run was done on."""
    environment = recorded(records, ENVIRONMENT)
    if environment is None or "device" not in environment:
        return absent(f"{ENVIRONMENT} with the device was not recorded")
    labels = {
        "device": "device",
        "gpu": "GPU",
        "processor": "processor",
        "platform": "platform",
        "threads": "threads",
        "dtype": "number format",
    }
    parts = []
    for key, label in labels.items():
        if key in environment:
            value = environment[key]
            parts.append(f"{label}: {'none' if value is None else value}")
    return Reading("; ".join(parts), (records.source(ENVIRONMENT),))


def modality(records: Records) -> Reading:
    """What goes in and what comes out, and how long it may be."""
    made, loop = config(records, "policy"), config(records, "loop")
    sampling = loop.get("sampling")
    if not made or not isinstance(sampling, Mapping):
        return absent("the plan does not say how outputs are drawn")
    sentence = (
        f"text in (at most {made.get('max_prompt_tokens')} tokens), text out (at most "
        f"{sampling.get('max_tokens')} tokens in this run, temperature "
        f"{sampling.get('temperature')}, top-k {sampling.get('top_k')})"
    )
    sources = (sealed(records, "config.policy"), sealed(records, "config.loop.sampling"))
    return Reading(sentence, sources)


def integrity(records: Records) -> Reading:
    """What protects inputs and record against unnoticed change, and what does not."""
    formats = sorted({name.rsplit(".", 1)[-1] for name in records.digests if "." in name})
    pinned, signer = _artifacts(records), plan(records).get("signer")
    signed = "the sealed plan names no signing key: the record is unsigned"
    if signer:
        signed = (
            f"the sealed plan names the signing key {signer}; restaudit verify checks its "
            "signatures"
        )
    sentence = joined(
        [
            f"{len(pinned)} models and data sets are pinned by SHA-256 and refused where they "
            "differ",
            f"{len(records.digests)} recorded files ({', '.join(formats)}) carry a SHA-256 in "
            "a hash-chained ledger",
            "prompts for training, for choosing checkpoints and for judging are kept apart by hash",
            signed,
            "the chain shows that the record agrees with itself: unless its last hash was lodged "
            "with somebody else, its owner could rebuild it",
        ]
    )
    sealed_places = (sealed(records, "artifacts"), sealed(records, "signer"))
    return Reading(sentence, (*sealed_places, ledger(records, "all lines")))


def _artifacts(records: Records) -> Mapping[str, Any]:
    artifacts = plan(records).get("artifacts")
    return artifacts if isinstance(artifacts, Mapping) else {}


READINGS = named(
    [
        run_identity,
        description,
        lineage,
        policy_model,
        third_parties,
        software,
        hardware,
        modality,
        integrity,
    ]
)
