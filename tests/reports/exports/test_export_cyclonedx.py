"""CycloneDX: what the standard's own schema accepts, and what the record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from reports.exports.facts import RunFacts
from reports.exports.formats import cyclonedx
from reports.exports.formats.cyclonedx import bom, build
from tests.reports.exports.conftest import facts_of
from tests.reports.make_run import State, make_run

validation = pytest.importorskip(
    "cyclonedx.validation.json", reason="cyclonedx-python-lib is not installed"
)


def problem(document: bytes) -> Any:
    from cyclonedx.schema import SchemaVersion

    return validation.JsonStrictValidator(SchemaVersion.V1_7).validate_str(document.decode())


def file_of(facts: RunFacts) -> bytes:
    content = build(facts)[cyclonedx.FILE]
    assert isinstance(content, bytes)
    return content


def properties(holder: dict[str, Any]) -> dict[str, str]:
    return {p["name"]: p["value"] for p in holder.get("properties", [])}


def test_the_schema_accepts_a_run(facts: RunFacts) -> None:
    assert problem(file_of(facts)) is None


def test_the_schema_accepts_hostile_names_and_an_override(
    hostile_run: Path, overridden_run: Path
) -> None:
    for run in (hostile_run, overridden_run):
        assert problem(file_of(facts_of(run))) is None


@pytest.mark.parametrize("state", [s for s in get_args(State) if s != "broken"])
def test_the_schema_accepts_a_run_in_every_state(tmp_path: Path, state: State) -> None:
    assert problem(file_of(facts_of(make_run(tmp_path / "run", state)))) is None


def test_the_validator_refuses_a_wrong_model_card(facts: RunFacts) -> None:
    body = bom(facts)
    body["components"][0]["modelCard"] = {"nonsense": 1}
    assert problem(json.dumps(body).encode()) is not None


def test_a_measurement_keeps_value_interval_n_and_source(facts: RunFacts) -> None:
    policy = next(c for c in bom(facts)["components"] if c["bom-ref"] == "policy:g02/i02")
    audit = next(a for a in facts.audits if a.iteration == "g02/i02")
    m = next(m for m in audit.measurements if m.name == "divergence.reward_change")
    metric = next(
        x
        for x in policy["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        if x["type"] == m.name
    )
    interval = m.interval()
    assert interval is not None
    assert float(metric["value"]) == m.value
    assert float(metric["confidenceInterval"]["lowerBound"]) == interval.low
    assert f"n={m.n}, {m.n_prompts} prompts" in metric["slice"]
    assert audit.source.sha256 in properties(policy["modelCard"])["restaudit:source:g02/i02"]


def test_what_was_not_measured_is_listed_with_its_reason_and_has_no_value(facts: RunFacts) -> None:
    policy = next(c for c in bom(facts)["components"] if c["bom-ref"] == "policy:g01/i01")
    missing = [m for m in facts.audits_of("g01/i01")[0].measurements if m.value is None]
    said = properties(policy["modelCard"])
    assert missing
    for m in missing:
        assert said[f"restaudit:status:g01/i01:{m.name}"] == "MISSING"
        assert said[f"restaudit:reason:g01/i01:{m.name}"] == m.reason
        metrics = policy["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        assert m.name not in {x["type"] for x in metrics}


def test_the_graph_of_dependencies_is_the_lineage(facts: RunFacts) -> None:
    graph = {d["ref"]: d["dependsOn"] for d in bom(facts)["dependencies"]}
    assert graph["policy:g00/i00"] == ["model:policy.model"]
    assert graph["policy:g01/i02"] == ["data:kept:g01/i02", "policy:g01/i01"]
    assert graph["data:kept:g01/i02"] == ["data:grow:g01"]
    assert graph["data:grow:g02"] == ["data:split:grow", "policy:g01/i02", "reward"]
    assert graph["data:split:grow"] == ["data:prompts:0"]


def test_every_policy_has_the_digest_of_the_lineage_and_the_files_of_its_weights(
    facts: RunFacts,
) -> None:
    found = {c["bom-ref"]: c for c in bom(facts)["components"]}
    for policy in facts.policies:
        component = found[f"policy:{policy.name}"]
        assert component["hashes"] == [{"alg": "SHA-256", "content": policy.digest}]
        files = {c["name"]: c["hashes"][0]["content"] for c in component.get("components", [])}
        assert files == dict(policy.weights)


def test_a_trained_policy_has_the_sealed_settings_and_what_the_ledger_noted(
    facts: RunFacts,
) -> None:
    found = {c["bom-ref"]: properties(c) for c in bom(facts)["components"]}
    said = found["policy:g02/i01"]
    assert (
        json.loads(said["restaudit:parameter:config.loop.thresholds"])
        == facts.config["loop"]["thresholds"]
    )
    assert json.loads(said["restaudit:parameter:kept"]) == facts.policies[3].facts["kept"]
    assert "restaudit:parameter:config.loop.thresholds" not in found["policy:g00/i00"]


def test_the_list_of_packages_is_not_called_complete(facts: RunFacts) -> None:
    assert bom(facts)["compositions"] == [
        {"aggregate": "incomplete", "assemblies": ["run"], "dependencies": ["run"]}
    ]


def test_the_human_score_is_called_what_it_is(facts: RunFacts) -> None:
    assert "SIMULATED" in properties(bom(facts)["metadata"])["restaudit:humanScore"]
