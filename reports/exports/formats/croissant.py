"""Croissant 1.1 with the RAI vocabulary 1.0, for the data that the run's policies wrote
(http://mlcommons.org/croissant).

As with RO-Crate, paths are those of the run folder: the file belongs into the root of a copy of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reports.exports.encoding import json_bytes, token
from reports.exports.export import Content, Export
from reports.exports.facts import MISSING, Data, RunFacts, cited, grow_of, last_time, span
from reports.exports.sentences import OF_DATA, disparities, filtering, listed
from restaudit.errors import BadInput
from restaudit.evidence.record import GROW, KEPT

FILE = "croissant.json"
CONFORMS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
# Appendix 1 of the specification.
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
# Column -> type and what it holds.
COLUMNS = {
    "sample_id": ("sc:Text", "name of the sample"),
    "prompt_id": ("sc:Text", "the prompt it answers, in data/grow.parquet"),
    "group": ("sc:Text", "the counterfactual group of the prompt, where it has one"),
    "family": ("sc:Text", "prompts that differ only by their group"),
    "text": ("sc:Text", "the text, as the policy or a person wrote it"),
    "n_tokens": ("sc:Integer", "tokens of the text"),
    "finished": ("sc:Boolean", "whether the policy ended it itself"),
    "logprob": (
        "sc:Float",
        "log-probability of the whole text under the policy that wrote it, in nats",
    ),
    "reward": ("sc:Float", "the reward model's score, in its own unit"),
    "reward_01": ("sc:Float", "the reward on the scale 0 to 1 that thresholds are compared with"),
    "reward_spread": ("sc:Float", "standard deviation of the reward's ensemble"),
    "origin": ("sc:Text", '"policy" for a sample, "reference" for a text of a person'),
    "human": (
        "sc:Float",
        "the held-out human score; the data set's description says what stands for people",
    ),
    "threshold": ("sc:Float", "the threshold that the row's reward is above, 0 to 1"),
}

Json = dict[str, Any]


def dataset(facts: RunFacts) -> Json:
    """The description. Raises BadInput where the ledger has no time, which the standard demands."""
    published = last_time(facts)
    if published is None:
        raise BadInput(
            f"{facts.run.path}: the ledger has no time of any step; Croissant wants one, and none "
            "is made up"
        )
    tables = [d for d in facts.data if d.kind in ("grow", "kept")]
    gaps = {g.key: g.said for g in OF_DATA}
    human = facts.human
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "@id": f"urn:uuid:{facts.uuid}",
        "conformsTo": CONFORMS,
        "name": f"{facts.run.name}: data that the run wrote and trained on",
        "description": "Samples of a language model with their rewards, and the rows that each "
        "Improve step kept. "
        f"{len(tables)} tables. Record: {facts.run_id}, ledger head {facts.head}. Human score: "
        f"{human.name}: {human.description} datePublished is the time of the last recorded step; "
        f"whether it was published is not recorded.",
        "license": {"@type": "sc:CreativeWork", "name": MISSING, "description": gaps["licence"]},
        "creator": {
            "@type": "sc:Organization",
            "name": MISSING,
            "description": (
                "MISSING: who ran this is not recorded. Who could say: the operator of the run."
            ),
        },
        "url": f"urn:uuid:{facts.uuid}",
        "datePublished": published,
        # A run only adds tables: by the specification's rule that raises the minor version.
        "version": f"1.{len(tables)}.0",
        "keywords": ["synthetic text", "reinforced self-training", "reward model"],
        "distribution": [_file(d) for d in tables],
        "recordSet": [_records(d, tables) for d in tables],
        **{f"rai:{k}": v for k, v in _responsible(facts, tables).items()},
    }


def _file(data: Data) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": token(data.ref),
        "name": str(data.path),
        "description": data.title,
        "contentUrl": data.path,
        "contentSize": f"{data.bytes} B",
        "encodingFormat": "application/x-parquet",
        "sha256": data.sha256,
    }


def _records(data: Data, tables: list[Data]) -> Json:
    name = f"records-{token(data.ref)}"
    columns = GROW if data.kind == "grow" else KEPT
    grow = grow_of(data)
    fields = [_field(name, c, token(data.ref)) for c in columns]
    # The first column is the sample's name, by which a reader joins a kept set to its Grow set.
    if data.kind == "kept" and any(d.ref == grow for d in tables):
        fields[0]["references"] = {"field": {"@id": f"records-{token(grow)}/sample_id"}}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": data.title,
        "key": {"@id": f"{name}/sample_id"},
        "description": f"{data.row_count} rows. {cited(data.source)}",
        "field": fields,
    }


def _field(records: str, column: str, file: str) -> Json:
    kind, holds = COLUMNS[column]
    return {
        "@type": "cr:Field",
        "@id": f"{records}/{column}",
        "name": column,
        "description": holds,
        "dataType": kind,
        "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
    }


def _responsible(facts: RunFacts, tables: list[Data]) -> Json:
    """The RAI properties: from the record what it has; what only people know is MISSING, with who
    could say.
    """
    gaps = {gap.key: gap.said for gap in OF_DATA}
    human = facts.human
    kept = [data.ref.removeprefix("kept:") for data in tables if data.kind == "kept"]
    prompts = [data.title for data in facts.data if data.kind == "prompts"]
    rewards = [
        f"{r.name} (sha256 of all it is made of: {r.digest or MISSING})" for r in facts.rewards
    ]
    properties = {
        "dataCollection": " ".join(_sampled(facts)) or _not_sampled(tables),
        "dataCollectionType": ["Others: sampled from a language model"],
        "dataCollectionRawData": "; ".join(prompts)
        or "MISSING: the record names no source of prompts.",
        "dataCollectionMissingData": "A score that could not be given is empty; the reason is not "
        "kept row by row.",
        "dataPreprocessingProtocol": [f"{policy}: {filtering(facts, policy)}" for policy in kept],
        "dataAnnotationProtocol": "Every row is scored by the reward model; `human` is filled by "
        f"the human score of the run: {human.name}: {human.description}",
        "dataAnnotationPlatform": [f"restaudit {facts.version}"],
        "dataAnnotationAnalysis": [_agreement(facts)],
        "annotationsPerItem": "One reward a row. Human labels a row: MISSING: the Grow tables do "
        "not record them.",
        "annotatorDemographics": [_demographics(facts)],
        "machineAnnotationTools": rewards or ["MISSING: the record names no reward model."],
        "dataBiases": _biases(facts, kept)
        or ["MISSING: no audit measured what the filter does to groups."],
        "dataLimitations": _limits(facts),
        "dataUseCases": ["Trained on in this run, as the kept sets say.", gaps["purpose"]],
        "dataSocialImpact": "MISSING: restaudit does not judge it. Who could say: people who know "
        "the use.",
        "personalSensitiveInformation": [gaps["personalData"]],
        "dataReleaseMaintenancePlan": gaps["maintenance"],
    }
    times = _times(facts)
    if times:
        properties["dataCollectionTimeframe"] = [min(times), max(times)]
    # The vocabulary wants one value or more of each property that is there.
    return {key: value for key, value in properties.items() if value != []}


def _biases(facts: RunFacts, kept: list[str]) -> list[str]:
    lines = []
    for audit in facts.audits:
        if audit.iteration in kept:
            lines += [f"{audit.iteration}: {name}: {text}" for name, text in disparities(audit)]
    return lines


def _times(facts: RunFacts) -> list[str]:
    """When sampling began and ended, of every Grow step whose time the ledger has."""
    sampled = {grow.step for grow in facts.grows}
    times = []
    for event in facts.run.events:
        if event.step in sampled:
            times += [time for time in span(event) if time is not None]
    return times


def _sampled(facts: RunFacts) -> Iterator[str]:
    sampling = listed(facts.config.get("loop", {}).get("sampling"))
    for g in facts.grows:
        yield (
            f"{g.name}: {g.samples} samples of policy {g.policy} ({g.tokens} tokens) with "
            f"{sampling}, and {g.references} texts of people."
        )


def _not_sampled(tables: list[Data]) -> str:
    return "MISSING: how it was sampled is not recorded." if tables else "Nothing was sampled yet."


def _agreement(facts: RunFacts) -> str:
    for audit in facts.audits:
        for m in audit.measurements:
            if m.name != "agreement.alpha":
                continue
            if m.value is None:
                return f"MISSING: agreement of raters: {m.reason}."
            return f"Krippendorff's alpha {m.value!r}, n={m.n}; {m.method}, version {m.version}."
    return "MISSING: agreement of raters: it was not measured."


def _demographics(facts: RunFacts) -> str:
    for reward in facts.rewards[:1]:
        raters = reward.dossier.get("raters")
        # A dossier that a stranger brought along may hold anything here.
        if isinstance(raters, dict) and raters.get("demographics") not in (None, MISSING):
            return str(raters["demographics"])
    return (
        "MISSING: nothing is recorded of the people whose judgements the reward goes back to. "
        "Who could say: the publisher of the judgements."
    )


def _limits(facts: RunFacts) -> list[str]:
    limits = [
        "A model wrote the texts. That a row was kept says that a reward model scored it high, no "
        "more."
    ]
    for reward in facts.rewards[:1]:
        limits += [str(limit) for limit in reward.dossier.get("limits", ())]
    return limits


def build(facts: RunFacts) -> Mapping[str, Content]:
    """The file of this export."""
    return {FILE: json_bytes(dataset(facts))}


EXPORT = Export("croissant", "the synthetic data sets", "Croissant 1.1, RAI 1.0", build)
