"""SPDX 3.0.1 with the classes of its AI and Dataset profiles, as JSON-LD
(https://spdx.github.io/spdx-spec/v3.0.1/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from reports.exports.encoding import SPDX_IDS, json_bytes, package_url, pypi_url, token
from reports.exports.export import Content, Export
from reports.exports.facts import (
    PLAN,
    Data,
    Model,
    RewardFacts,
    RunFacts,
    cited,
    grow_of,
    last_time,
    span,
)
from reports.exports.sentences import (
    OF_A_MODEL,
    OF_DATA,
    Gap,
    disparities,
    figure,
    filtering,
    hyperparameters,
    rule,
)
from reports.record.files import Source
from reports.record.lineage import PolicyRecord
from restaudit import __version__
from restaudit.errors import BadInput
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import Event

FILE = "run.spdx3.json"
CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
CREATION = "_:creationInfo"
NO_ASSERTION = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense"
NOT_CLAIMED = (
    "Classes of the AI and Dataset profiles are used. Conformance with these two profiles is not "
    "claimed: they also want a supplier, a release time and a place to download from, which the "
    "record of a run does not have."
)

Json = dict[str, Any]


class SpdxGraph:
    """The graph while it is made: elements by name, relationships numbered in order."""

    def __init__(self, facts: RunFacts) -> None:
        self.facts = facts
        self.graph: list[Json] = []
        self._known: set[str] = set()
        self._relations = 0

    def id(self, name: str) -> str:
        """The IRI of an element of this run."""
        return f"urn:uuid:{self.facts.uuid}#{quote(name, safe='/:')}"

    def add(self, kind: str, element: str, /, **body: Any) -> str:
        """An element, once; properties that are None or empty are left out. Returns its IRI."""
        iri = self.id(element)
        if iri not in self._known:
            self._known.add(iri)
            known = {k: v for k, v in body.items() if v is not None and v != []}
            self.graph.append({"type": kind, "spdxId": iri, "creationInfo": CREATION, **known})
        return iri

    def relate(self, start: str, kind: str, to: Sequence[str]) -> None:
        """A relationship from one element to some; none where there is nothing to relate to."""
        # The standard forbids a relationship that leads nowhere.
        if to:
            self._relations += 1
            self.add(
                "Relationship",
                f"relationship-{self._relations}",
                **{"from": start, "relationshipType": kind, "to": list(to)},
            )

    def licensed(self, element: str, licence: str | None) -> None:
        """The declared licence; text that is no identifier of the SPDX list is quoted as a text of
        its own.
        """
        if licence is None:
            self.relate(element, "hasDeclaredLicense", [NO_ASSERTION])
            return
        # A text is no name: two unknown licences are told apart by their place in the graph.
        if licence in SPDX_IDS:
            name = f"licence-{licence}"
            self.add(
                "simplelicensing_LicenseExpression", name, simplelicensing_licenseExpression=licence
            )
        else:
            name = f"licence-{len(self.graph)}"
            text = self.add(
                "simplelicensing_SimpleLicensingText",
                f"{name}-text",
                simplelicensing_licenseText=licence,
            )
            ref = f"LicenseRef-{token(name)}"
            self.add(
                "simplelicensing_LicenseExpression",
                name,
                simplelicensing_licenseExpression=ref,
                simplelicensing_customIdToUri=[_entry(ref, text)],
            )
        self.relate(element, "hasDeclaredLicense", [self.id(name)])


def document(facts: RunFacts) -> Json:
    """The SPDX document.

    Raises BadInput where the ledger has no time, which the standard demands.
    """
    created = last_time(facts)
    if created is None:
        raise BadInput(
            f"{facts.run.path}: the ledger has no time of any step; SPDX wants one, and none is "
            "made up"
        )
    doc = SpdxGraph(facts)
    info = {
        "type": "CreationInfo",
        "@id": CREATION,
        "specVersion": "3.0.1",
        "created": created,
        "createdBy": [doc.id("restaudit")],
        "comment": (
            "Made from a run folder; the time is that of the last recorded step, not of "
            "this export."
        ),
    }
    doc.add("SoftwareAgent", "restaudit", name=f"restaudit {__version__}")
    packages = [
        doc.add(
            "software_Package",
            f"package-{n}",
            name=n,
            software_packageVersion=v,
            software_primaryPurpose="library",
            software_packageUrl=pypi_url(n, v),
        )
        for n, v in facts.packages.items()
    ]
    for model in facts.models:
        _model(doc, model)
    for data in facts.data:
        _data(doc, data)
    for reward in facts.rewards:
        _reward(doc, reward)
    for policy in facts.policies:
        _policy(doc, policy, packages)
    _derivations(doc)
    _overrides(doc)
    roots = [doc.id(f"policy-{p.name}") for p in facts.policies[-1:]] or [doc.id("restaudit")]
    description = (
        f"Run {facts.run_id}, restaudit {facts.version}, {facts.state}. "
        f"{cited(Source(LEDGER, '', facts.head))}"
    )
    elements = sorted(str(e["spdxId"]) for e in doc.graph)
    doc.add(
        "SpdxDocument",
        "document",
        name=facts.run.name,
        profileConformance=["core", "software", "simpleLicensing"],
        rootElement=roots,
        element=elements,
        description=description,
        comment=f"{NOT_CLAIMED} Human score: {facts.human.name}: {facts.human.description}",
    )
    return {"@context": CONTEXT, "@graph": [info, *doc.graph]}


def _model(doc: SpdxGraph, model: Model) -> None:
    comment = f"Source: {cited(model.source)}."
    if not model.sha256:
        comment += " MISSING: no SHA-256 was recorded."
    element = doc.add(
        "ai_AIPackage",
        f"model-{model.role}",
        name=model.spec,
        software_primaryPurpose="model",
        description=f"Taken from elsewhere as {model.role}.",
        verifiedUsing=_hash(model.sha256),
        software_packageUrl=package_url(model.spec),
        ai_useSensitivePersonalInformation="noAssertion",
        comment=comment,
    )
    doc.licensed(element, model.licence)


def _policy(doc: SpdxGraph, policy: PolicyRecord, packages: list[str]) -> None:
    facts = doc.facts
    event = facts.event(policy.step) if policy.step else None
    # The base policy is no step's work: the sealed plan says where its weights come from.
    source = facts.at(event.step) if event else facts.records.source(PLAN, "artifacts")
    metrics, thresholds, evidence = [], [], []
    for audit in facts.audits_of(policy.name):
        metrics += [_entry(f"{audit.label} {m.name}", figure(m)) for m in audit.measurements]
        evidence.append(audit.source)
        if audit.decision_source is not None:
            evidence.append(audit.decision_source)
        if audit.decision is not None:
            for gate in audit.decision.gates:
                key = f"{audit.iteration} {gate.metric} ({gate.gate})"
                thresholds.append(_entry(key, rule(gate)))
    training = "The base policy."
    if policy.parent:
        training = filtering(facts, policy.name)
    element = doc.add(
        "ai_AIPackage",
        f"policy-{policy.name}",
        name=f"{facts.run.name} {policy.name}",
        software_packageVersion=policy.name,
        software_primaryPurpose="model",
        verifiedUsing=_hash(policy.digest),
        builtTime=_ended(event),
        ai_typeOfModel=["language model"],
        ai_hyperparameter=[_entry(k, v) for k, v in hyperparameters(facts, policy)],
        ai_informationAboutTraining=training,
        ai_metric=metrics,
        ai_metricDecisionThreshold=thresholds,
        ai_useSensitivePersonalInformation="noAssertion",
        comment="The hash is that of the canonical JSON of the digests of base model and weight "
        f"files. Source: {cited(source)}. {_gaps(OF_A_MODEL)}",
    )
    doc.licensed(element, None)
    files = [_file(doc, name, sha256) for name, sha256 in policy.weights.items()]
    doc.relate(element, "contains", files)
    doc.relate(element, "hasEvidence", [_file(doc, s.path, s.sha256) for s in evidence])
    doc.relate(element, "usesTool", packages)


def _reward(doc: SpdxGraph, reward: RewardFacts) -> None:
    limits = [str(limit) for limit in reward.dossier.get("limits", ())]
    element = doc.add(
        "ai_AIPackage",
        reward.ref,
        name=reward.name,
        software_primaryPurpose="model",
        description="The reward model: what training selects samples by.",
        verifiedUsing=_hash(reward.digest),
        ai_limitation=" ".join(limits) or None,
        ai_useSensitivePersonalInformation="noAssertion",
        comment="The hash is that of the canonical JSON of all that the reward is made of. "
        f"Source: {cited(reward.source)}.",
    )
    doc.licensed(element, None)


def _data(doc: SpdxGraph, data: Data) -> None:
    known: Json = {}
    if data.kind == "kept":
        policy = data.ref.removeprefix("kept:")
        event = doc.facts.event(f"{policy}/improve")
        audits = doc.facts.audits_of(policy)
        bias = []
        for audit in audits:
            bias += [f"{name}: {text}" for name, text in disparities(audit)]
        known = {
            "builtTime": _ended(event),
            "dataset_dataPreprocessing": [filtering(doc.facts, policy)],
            "dataset_knownBias": bias,
        }
    if data.made_by:
        known["dataset_dataCollectionProcess"] = f"Sampled from policy {data.made_by}."
    if data.spec:
        known["software_packageUrl"] = package_url(data.spec)
    comment = f"Rows: {data.row_count}. Source: {cited(data.source)}."
    if not data.sha256:
        comment += " MISSING: no SHA-256 was recorded."
    if data.kind in ("grow", "kept"):
        comment += f" {_gaps(OF_DATA)}"
    element = doc.add(
        "dataset_DatasetPackage",
        data.ref,
        name=data.title,
        software_primaryPurpose="data",
        dataset_datasetType=["text"],
        verifiedUsing=_hash(data.sha256),
        dataset_datasetSize=data.bytes,
        dataset_hasSensitivePersonalInformation="noAssertion",
        comment=comment,
        **known,
    )
    doc.licensed(element, data.licence)


def _derivations(doc: SpdxGraph) -> None:
    """The lineage: what each policy, data set and reward was made from."""
    facts = doc.facts
    refs = {data.ref for data in facts.data}
    for policy in facts.policies:
        element = doc.id(f"policy-{policy.name}")
        parent = f"policy-{policy.parent}" if policy.parent else "model-policy.model"
        doc.relate(element, "descendantOf", [doc.id(parent)])
        if f"kept:{policy.name}" in refs:
            doc.relate(element, "trainedOn", [doc.id(f"kept:{policy.name}")])
        if facts.audits_of(policy.name) and "split:audit" in refs:
            doc.relate(element, "testedOn", [doc.id("split:audit")])
    for data in facts.data:
        _derivation(doc, data, refs)
    judgements = [doc.id(data.ref) for data in facts.data if data.kind == "judgements"]
    encoders = [doc.id(f"model-{m.role}") for m in facts.models if m.role == "reward.encoder"]
    for reward in facts.rewards:
        doc.relate(doc.id(reward.ref), "trainedOn", judgements)
        doc.relate(doc.id(reward.ref), "dependsOn", encoders)


def _derivation(doc: SpdxGraph, data: Data, refs: set[str]) -> None:
    facts, element = doc.facts, doc.id(data.ref)
    if data.kind == "grow":
        if any(policy.name == data.made_by for policy in facts.policies):
            doc.relate(doc.id(f"policy-{data.made_by}"), "generates", [element])
        reward = facts.reward_for(data.ref.split(":")[1])
        if reward is not None:
            doc.relate(element, "dependsOn", [doc.id(reward.ref)])
    if data.kind == "kept" and grow_of(data) in refs:
        doc.relate(element, "descendantOf", [doc.id(grow_of(data))])
    if data.kind == "split":
        prompts = [doc.id(other.ref) for other in facts.data if other.kind == "prompts"]
        doc.relate(element, "descendantOf", prompts)


def _overrides(doc: SpdxGraph) -> None:
    for k, o in enumerate(doc.facts.run.overrides()):
        # An annotation needs a subject in the document, and best-of-N is audited without making a
        # policy.
        subject = doc.id("restaudit")
        if any(policy.name == o.iteration for policy in doc.facts.policies):
            subject = doc.id(f"policy-{o.iteration}")
        gates = ", ".join(o.gates)
        doc.add(
            "Annotation",
            f"override-{k}",
            annotationType="review",
            subject=subject,
            statement=f"HALT at {o.iteration} by {gates} overridden by {o.by}: {o.reason}",
        )


def _file(doc: SpdxGraph, name: str, sha256: str) -> str:
    return doc.add("software_File", f"file-{name}", name=name, verifiedUsing=_hash(sha256))


def _ended(event: Event | None) -> str | None:
    """When a step ended; None where no step is meant, or the ledger has no time of it."""
    if event is None:
        return None
    return span(event)[1]


def _hash(sha256: str | None) -> list[Json] | None:
    if not sha256:
        return None
    return [{"type": "Hash", "algorithm": "sha256", "hashValue": sha256}]


def _entry(key: str, value: str) -> Json:
    return {"type": "DictionaryEntry", "key": key, "value": value}


def _gaps(gaps: Iterable[Gap]) -> str:
    return " ".join(g.said for g in gaps)


def build(facts: RunFacts) -> Mapping[str, Content]:
    """The file of this export."""
    return {FILE: json_bytes(document(facts))}


EXPORT = Export("spdx", "models, data and their lineage", "SPDX 3.0.1 JSON-LD", build)
