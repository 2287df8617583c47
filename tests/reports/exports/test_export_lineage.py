"""SPDX, PROV, RO-Crate and in-toto: accepted by their libraries, and the lineage that the record
has.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from reports.exports.export import exports
from reports.exports.facts import RunFacts
from reports.exports.flow import reads
from reports.exports.formats import intoto, prov, rocrate, spdx
from restaudit.evidence.record import Run
from tests.reports.exports.conftest import HOSTILE, facts_of, forged
from tests.reports.make_run import State, make_run

STATES = [s for s in get_args(State) if s != "broken"]


def text_of(name: str, facts: RunFacts, file: str) -> str:
    content = exports()[name].build(facts)[file]
    assert isinstance(content, bytes)
    return content.decode()


@pytest.fixture(params=["tiny", "hostile", "overridden", "rated", *STATES])
def any_facts(request: pytest.FixtureRequest, tmp_path: Path) -> RunFacts:
    """What the record says of a run in some state."""
    if request.param in STATES:
        return facts_of(make_run(tmp_path / "run", request.param))
    return facts_of(request.getfixturevalue(f"{request.param}_run"))


# --- SPDX


def load_spdx(text: str) -> tuple[Any, Any]:
    model = pytest.importorskip("spdx_python_model", reason="spdx-python-model is not installed")
    loaded: tuple[Any, Any] = model.load_data(json.loads(text))
    return loaded


def test_spdx_is_loaded_by_the_reference_bindings_and_written_again(any_facts: RunFacts) -> None:
    text = text_of("spdx", any_facts, spdx.FILE)
    model, objects = load_spdx(text)
    out = io.BytesIO()
    model.JSONLDSerializer().write(objects, out)
    assert len(json.loads(out.getvalue())["@graph"]) == len(json.loads(text)["@graph"])
    ids = {e["spdxId"] for e in json.loads(text)["@graph"] if "spdxId" in e}
    for e in json.loads(text)["@graph"]:
        for to in [*e.get("to", ()), *e.get("element", ()), *e.get("rootElement", ())]:
            assert to in ids or to == spdx.NO_ASSERTION


def test_the_spdx_bindings_refuse_what_the_standard_does_not_know(facts: RunFacts) -> None:
    body = json.loads(text_of("spdx", facts, spdx.FILE))
    body["@graph"][1]["nonsense"] = 1
    with pytest.raises(Exception, match="nonsense"):
        load_spdx(json.dumps(body))


def test_spdx_says_what_every_policy_was_trained_on_and_descends_from(facts: RunFacts) -> None:
    graph = json.loads(text_of("spdx", facts, spdx.FILE))["@graph"]

    def related(start: str, how: str) -> list[str]:
        found = [
            e["to"]
            for e in graph
            if e.get("relationshipType") == how and e["from"].endswith(f"#{start}")
        ]
        return [to.split("#")[1] for many in found for to in many]

    assert related("policy-g02/i01", "trainedOn") == ["kept:g02/i01"]
    assert related("policy-g02/i01", "descendantOf") == ["policy-g01/i02"]
    assert related("policy-g01/i02", "generates") == ["grow:g02"]
    assert related("policy-g00/i00", "descendantOf") == ["model-policy.model"]


def test_spdx_claims_no_profile_whose_facts_are_missing(facts: RunFacts) -> None:
    graph = json.loads(text_of("spdx", facts, spdx.FILE))["@graph"]
    (document,) = (e for e in graph if e["type"] == "SpdxDocument")
    assert document["profileConformance"] == ["core", "software", "simpleLicensing"]
    for e in graph:
        if e["type"] == "ai_AIPackage":
            assert "suppliedBy" not in e
            assert "releaseTime" not in e


# --- PROV


def test_prov_is_read_by_the_library_makes_the_round_trip_and_fits_the_submission_s_schema(
    any_facts: RunFacts,
) -> None:
    pytest.importorskip("prov.model", reason="prov is not installed")
    import jsonschema
    import prov.tests
    from prov.model import ProvDocument

    text = text_of("prov", any_facts, prov_file())
    document = ProvDocument.deserialize(content=text, format="json")
    again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert document == again
    schema = json.loads(
        (Path(prov.tests.__file__).parent / "schemas" / "prov-json.schema.json").read_text()
    )
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert not list(validator.iter_errors(json.loads(text)))


def prov_file() -> str:
    return prov.FILE


def test_prov_has_every_recorded_file_with_its_digest_and_the_step_that_made_it(
    facts: RunFacts,
) -> None:
    body = json.loads(text_of("prov", facts, prov_file()))
    made = {r["prov:entity"]: r["prov:activity"] for r in body["wasGeneratedBy"].values()}
    for event in facts.run.events:
        for name, digest in {**event.outputs, **event.context}.items():
            assert body["entity"][f"run:file/{name}"]["restaudit:sha256"] == digest.sha256
            assert made[f"run:file/{name}"] == f"run:step/{event.step}"
        assert body["activity"][f"run:step/{event.step}"]["prov:endTime"] == event.at["time"]


def test_prov_uses_only_what_was_there_before_and_derives_policies_from_their_parents(
    facts: RunFacts,
) -> None:
    body = json.loads(text_of("prov", facts, prov_file()))
    order = {f"run:step/{e.step}": e.seq for e in facts.run.events}
    made = {r["prov:entity"]: order[r["prov:activity"]] for r in body["wasGeneratedBy"].values()}
    used = list(body["used"].values())
    assert len(used) > 20
    for r in used:
        assert made.get(r["prov:entity"], -1) < order[r["prov:activity"]]
    derived = {
        (r["prov:generatedEntity"], r["prov:usedEntity"]) for r in body["wasDerivedFrom"].values()
    }
    assert ("run:policy/g02/i01", "run:policy/g01/i02") in derived
    assert ("run:file/g02/i01/kept.parquet", "run:file/g02/grow.parquet") in derived
    assert ("run:policy/g02/i01", "run:file/g02/i01/kept.parquet") in derived


def test_an_improve_step_read_the_grow_set_and_the_weights_it_started_from(facts: RunFacts) -> None:
    found = reads(facts)["g01/i02/improve"]
    assert {
        "g01/grow.parquet",
        "g01/i01/adapter/adapter_model.safetensors",
        "data/d_eval.parquet",
        "plan.json",
    } <= set(found)
    assert not any(n.startswith("g01/i02/") for n in found)


def test_prov_names_who_overrode_and_raters_by_their_pseudonyms(
    overridden_run: Path, rated_run: Path
) -> None:
    agents = json.loads(text_of("prov", facts_of(overridden_run), prov_file()))["agent"]
    assert agents["run:agent/override-1"]["prov:type"]["$"] == "prov:Person"
    rated = json.loads(text_of("prov", facts_of(rated_run), prov_file()))
    assert rated["agent"]["run:agent/rater-rater-1"]["restaudit:note"] == "a pseudonym"
    assert {r["prov:entity"] for r in rated["wasAttributedTo"].values()} == {
        "run:file/g01/i01/ratings.parquet"
    }


# --- RO-Crate


def test_rocrate_loads_a_copy_of_the_run_with_every_file_and_step(
    tiny_run: Path, tmp_path: Path
) -> None:
    library = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    facts = facts_of(tiny_run)
    copy = shutil.copytree(tiny_run, tmp_path / "crate")
    (copy / rocrate.FILE).write_text(text_of("rocrate", facts, rocrate.FILE), encoding="utf-8")
    crate = library.ROCrate(str(copy))
    assert crate.version == "1.1"
    files = {e.id: e for e in crate.data_entities}
    assert set(files) == {*facts.records.digests, "ledger.jsonl"}
    assert files["g01/grow.parquet"]["sha256"] == facts.records.digests["g01/grow.parquet"].sha256
    assert all((copy / name).is_file() for name in files)
    actions = [e for e in crate.contextual_entities if e.type in ("CreateAction", "ActivateAction")]
    assert {a["name"] for a in actions} == {e.step for e in facts.run.events}
    improve = next(a for a in actions if a["name"] == "g01/i02/improve")
    assert "g01/i01/adapter/adapter_model.safetensors" in {o.id for o in improve["object"]}
    assert "g01/i02/adapter/adapter_model.safetensors" in {o.id for o in improve["result"]}
    assert improve["instrument"]["softwareVersion"] == facts.version


def test_every_reference_of_the_crate_leads_to_an_entity(any_facts: RunFacts) -> None:
    graph = json.loads(text_of("rocrate", any_facts, rocrate.FILE))["@graph"]
    ids = [e["@id"] for e in graph]
    assert len(ids) == len(set(ids))

    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [r for v in value for r in references(v)]
        return [value["@id"]] if isinstance(value, dict) else []

    for entity in graph[1:]:
        for value in entity.values():
            assert set(references(value)) <= set(ids)


# --- in-toto

# slsa.dev/provenance/v1: what is there, and what must be.
FIELDS = {
    "": ({"buildDefinition", "runDetails"}, {"buildDefinition", "runDetails"}),
    "buildDefinition": (
        {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"},
        {"buildType", "externalParameters"},
    ),
    "runDetails": ({"builder", "metadata", "byproducts"}, {"builder"}),
    "runDetails.builder": ({"id", "version", "builderDependencies"}, {"id"}),
    "runDetails.metadata": ({"invocationId", "startedOn", "finishedOn"}, set()),
}
DESCRIPTOR = {"uri", "digest", "name", "downloadLocation", "mediaType", "content", "annotations"}


def statements(facts: RunFacts) -> dict[str, Any]:
    return {n: json.loads(b) for n, b in intoto.build(facts).items() if isinstance(b, bytes)}


def test_every_statement_has_the_fields_of_slsa_provenance_and_no_others(
    any_facts: RunFacts,
) -> None:
    for body in statements(any_facts).values():
        assert set(body) == {"_type", "subject", "predicateType", "predicate"}
        assert body["_type"] == "https://in-toto.io/Statement/v1"
        assert body["predicateType"] == "https://slsa.dev/provenance/v1"
        assert body["subject"]
        for path, (known, needed) in FIELDS.items():
            found: Any = body["predicate"]
            for part in filter(None, path.split(".")):
                found = found[part]
            assert needed <= set(found) <= known, path
        details = body["predicate"]["runDetails"]
        for one in [
            *body["predicate"]["buildDefinition"]["resolvedDependencies"],
            *details["byproducts"],
        ]:
            assert set(one) <= DESCRIPTOR
            # A ResourceDescriptor has one of these three at least.
            assert set(one) & {"uri", "digest", "content"}
        assert all(isinstance(v, str) for v in details["builder"]["version"].values())
        assert all(set(s) == {"name", "digest"} for s in body["subject"])


def test_every_sha256_of_a_statement_that_names_a_file_is_that_of_the_file(tiny_run: Path) -> None:
    facts = facts_of(tiny_run)
    found = statements(facts)
    assert set(found) == {
        f"intoto/{n}.intoto.json" for n in ("g01-i01", "g01-i02", "g02-i01", "g02-i02")
    }
    for body in found.values():
        predicate = body["predicate"]
        for one in [
            *body["subject"],
            *predicate["buildDefinition"]["resolvedDependencies"],
            *predicate["runDetails"]["byproducts"],
        ]:
            if "sha256" in one.get("digest", {}) and "uri" not in one:
                assert one["digest"]["sha256"] == facts.records.digests[one["name"]].sha256


def test_a_statement_names_parent_data_reward_and_decision(facts: RunFacts) -> None:
    body = statements(facts)["intoto/g01-i02.intoto.json"]["predicate"]
    names = {d.get("name") for d in body["buildDefinition"]["resolvedDependencies"]}
    wanted = {
        "plan.json",
        "g01/grow.parquet",
        "g01/i02/kept.parquet",
        "g01/i01/adapter/adapter_model.safetensors",
        "reward_model/dossier.json",
    }
    assert wanted <= names
    decision = next(
        b for b in body["runDetails"]["byproducts"] if b["name"] == "g01/i02/decision.json"
    )
    audit = next(a for a in facts.audits if a.iteration == "g01/i02")
    assert audit.decision is not None
    assert decision["annotations"]["verdict"] == audit.decision.verdict


def test_an_override_stands_in_the_statement_of_the_policy_it_was_about(
    overridden_run: Path,
) -> None:
    byproducts = statements(facts_of(overridden_run))["intoto/g01-i01.intoto.json"]["predicate"][
        "runDetails"
    ]["byproducts"]
    said = [b["annotations"] for b in byproducts if b["name"].startswith("override")]
    assert len(said) == 1
    assert said[0]["by"].startswith(HOSTILE[:20])


def test_a_run_without_times_is_refused_where_the_standard_demands_one(
    tiny_run: Path, tmp_path: Path
) -> None:
    run = Run(forged(tiny_run, tmp_path / "run"))
    facts = facts_of(run.path)
    for event in facts.run.events:
        object.__setattr__(event, "at", {})
    for name, file in (
        ("spdx", spdx.FILE),
        ("rocrate", rocrate.FILE),
        ("croissant", "croissant.json"),
    ):
        with pytest.raises(Exception, match="has no time of any step"):
            text_of(name, facts, file)
    assert (
        json.loads(text_of("prov", facts, prov_file()))["activity"]["run:step/plan"][
            "restaudit:time"
        ]
        == "MISSING"
    )
