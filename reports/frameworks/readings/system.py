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
from reports.record.lineage import BASE_MODEL, Policy, policies
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
    said = (
        f"run {run.name}, id {run.run_id}, sealed "
        f"{first.at.get('time', 'at an unrecorded time')}, restaudit {version}; state: "
        f"{state(records)}; {len(run.events)} recorded steps, last event {records.head}"
    )
    return Reading(said, (ledger(records, "line 1"), sealed(records, "restaudit")))


def description(records: Records) -> Reading:
    """What whoever configured the run wrote about it."""
    said = str(plan(records)["config"].get("description") or "").strip()
    return (
        Reading(said, (sealed(records, "config.description"),))
        if said
        else absent("the configuration says nothing")
    )


def lineage(records: Records) -> Reading:
    """Every policy, which one it was trained from, on what, and the digest of its weights."""
    if not _artifacts(records):
        return absent(NO_ARTIFACTS)
    found = policies(records)
    base = sealed(records, f"artifacts.{BASE_MODEL}")
    rows = tuple(
        Row(
            _policy(records, p),
            (step_place(records, _step(p)) if _step(p) in records.run.done else base,),
        )
        for p in found
    )
    columns = (
        "policy",
        "trained from",
        "on the samples of",
        "rows kept",
        "share written by a policy",
        "weights digest",
    )
    table = Table("Policies by the digest of their weights", columns, rows, note=DIGEST)
    newest = found[-1]
    said = (
        f"policies: {len(found)}; the newest is {short_name(newest.name)}, weights digest "
        f"{newest.digest}"
    )
    if newest.parent is not None:
        said += f", trained from {short_name(newest.parent)}"
    return Reading(said, (base,), (table,))


def _step(policy: Policy) -> str:
    return policy.step or f"{BASE.split('/')[0]}/bc"


def _policy(records: Records, p: Policy) -> tuple[str, ...]:
    name = "base policy" if p.name == BASE else short_name(p.name)
    kept = p.facts.get("kept")
    return (
        name,
        short_name(p.parent) if p.parent else "–",
        p.data or "–",
        number(kept) if p.data else "–",
        written_share(records, p),
        p.digest,
    )


def policy_model(records: Records) -> Reading:
    """The pre-trained model that is trained on, and how much of it is trained."""
    made, artifacts = config(records, "policy"), _artifacts(records)
    if not made or BASE_MODEL not in artifacts:
        return absent("the plan does not name the base model")
    base = artifacts[BASE_MODEL]
    lora = made.get("lora") or {}
    how = (
        f"LoRA of rank {lora.get('rank')}"
        if made.get("training") == "lora"
        else str(made.get("training"))
    )
    size = parameters(records)
    said = (
        f"{base['spec']}, SHA-256 {base['sha256']}, licence {base.get('licence') or UNSTATED}; "
        f"trained by {how}; "
        f"parameters: {number(int(size)) if size is not None else 'not recorded'}"
    )
    return Reading(
        said, (sealed(records, f"artifacts.{BASE_MODEL}"), sealed(records, "config.policy"))
    )


def third_parties(records: Records) -> Reading:
    """Every model and data set that comes from somewhere else: where from, its digest, its
    licence.
    """
    artifacts = _artifacts(records)
    if not artifacts:
        return absent(NO_ARTIFACTS)
    rows = tuple(
        Row(
            (name, str(a["spec"]), str(a.get("licence") or UNSTATED), str(a["sha256"])),
            (sealed(records, f"artifacts.{name}"),),
        )
        for name, a in sorted(artifacts.items())
    )
    table = Table(
        "Models and data sets of others",
        ("used as", "where from", "licence", "SHA-256"),
        rows,
        prose=(1, 2),
    )
    without = [name for name, a in sorted(artifacts.items()) if not a.get("licence")]
    said = f"{len(rows)} parts of others, each pinned by SHA-256"
    said += f"; no licence is recorded for {', '.join(without)}" if without else ""
    return Reading(said, (sealed(records, "artifacts"),), (table,))


def software(records: Records) -> Reading:
    """Versions of the program, of Python and of the libraries."""
    found = recorded(records, ENVIRONMENT)
    packages = (found or {}).get("packages")
    if found is None or not isinstance(packages, Mapping):
        return absent(f"{ENVIRONMENT} with the versions was not recorded")
    said = (
        f"restaudit {found.get('restaudit', 'unknown')}, Python {found.get('python', 'unknown')}, "
    )
    said += ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
    return Reading(said, (records.source(ENVIRONMENT, "packages"),))


def hardware(records: Records) -> Reading:
    """The machine that the run was done on."""
    found = recorded(records, ENVIRONMENT)
    if found is None or "device" not in found:
        return absent(f"{ENVIRONMENT} with the device was not recorded")
    labels = {
        "device": "device",
        "gpu": "GPU",
        "processor": "processor",
        "platform": "platform",
        "threads": "threads",
        "dtype": "number format",
    }
    said = "; ".join(
        f"{labels[k]}: {found[k] if found[k] is not None else 'none'}" for k in labels if k in found
    )
    return Reading(said, (records.source(ENVIRONMENT),))


def modality(records: Records) -> Reading:
    """What goes in and what comes out, and how long it may be."""
    made, loop = config(records, "policy"), config(records, "loop")
    sampling = loop.get("sampling")
    if not made or not isinstance(sampling, Mapping):
        return absent("the plan does not say how outputs are drawn")
    said = (
        f"text in (at most {made.get('max_prompt_tokens')} tokens), text out (at most "
        f"{sampling.get('max_tokens')} tokens in this run, temperature "
        f"{sampling.get('temperature')}, top-k {sampling.get('top_k')})"
    )
    return Reading(
        said, (sealed(records, "config.policy"), sealed(records, "config.loop.sampling"))
    )


def integrity(records: Records) -> Reading:
    """What protects inputs and record against unnoticed change, and what does not."""
    formats = sorted({name.rsplit(".", 1)[-1] for name in records.digests if "." in name})
    pinned, signer = _artifacts(records), plan(records).get("signer")
    signed = (
        f"the sealed plan names the signing key {signer}; restaudit verify checks its signatures"
    )
    said = joined(
        [
            (
                f"{len(pinned)} models and data sets are pinned by SHA-256 and refused where they "
                "differ"
            ),
            (
                f"{len(records.digests)} recorded files ({', '.join(formats)}) carry a SHA-256 in "
                "a hash-chained ledger"
            ),
            "prompts for training, for choosing checkpoints and for judging are kept apart by hash",
            signed if signer else "the sealed plan names no signing key: the record is unsigned",
            "the chain shows that the record agrees with itself: unless its last hash was lodged "
            "with somebody else, its owner could rebuild it",
        ]
    )
    return Reading(
        said,
        (sealed(records, "artifacts"), sealed(records, "signer"), ledger(records, "all lines")),
    )


def _artifacts(records: Records) -> Mapping[str, Any]:
    found = plan(records).get("artifacts")
    return found if isinstance(found, Mapping) else {}


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
