"""What single readings say of runs whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports.document.model import Table
from reports.frameworks.answers import Answer, run_answer
from reports.frameworks.readings import READINGS
from reports.frameworks.readings.material import Reading
from reports.frameworks.schema import run_questions
from reports.record.lineage import policies
from restaudit.evidence import record
from tests.reports.frameworks.runs import edited, rated_by_people, recorded_anew, records
from tests.reports.make_run import PROMPTS, SAMPLES, make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def read(run: Path, name: str) -> Reading:
    return READINGS[name](records(run))


def said(run: Path, key: str) -> Answer:
    return run_answer(run_questions().questions[key], records(run), None)


def table_of(found: Reading | Answer) -> Table:
    (table,) = found.tables
    assert isinstance(table, Table)
    return table


def cells(found: Reading | Answer) -> list[tuple[str, ...]]:
    return [row.cells for row in table_of(found).rows]


def test_lineage_names_every_policy_its_parent_and_the_digest_of_its_weights(run: Path) -> None:
    found = read(run, "lineage")
    truth = policies(records(run))
    assert [r[-1] for r in cells(found)] == [p.digest for p in truth]
    assert [r[0] for r in cells(found)] == ["base policy", "G1·I1", "G1·I2", "G2·I1", "G2·I2"]
    assert truth[-1].digest in found.value


def test_overrides_carry_the_name_and_the_reason_and_a_clean_run_says_so(tmp_path: Path) -> None:
    overridden = make_run(tmp_path / "o", "overridden")
    text = read(overridden, "overrides").value
    assert "<script>" in text
    assert "harm, collapse" in text
    assert read(make_run(tmp_path / "h", "halted"), "overrides").value == (
        "nobody overrode a gate; a gate stopped the run at g01/i02"
    )
    assert read(make_run(tmp_path / "c"), "overrides").value == "nobody overrode a gate"


def test_the_plan_is_compared_with_what_ran(tmp_path: Path) -> None:
    whole = read(make_run(tmp_path / "w"), "plan_and_run")
    assert whole.value.endswith("; 0 steps that the plan did not list")
    assert not whole.tables
    halted = read(make_run(tmp_path / "h", "halted"), "plan_and_run")
    rows = cells(halted)
    assert ("not done", "end", "a gate stopped the run at g01/i02 (harm, collapse)") in rows
    assert ("not in the plan", "g01/i02/halt", "a gate stopped the run") in rows


def test_the_risk_register_has_a_row_a_gate_and_no_made_up_treatment(tmp_path: Path) -> None:
    found = read(make_run(tmp_path / "h", "halted"), "risk_register")
    by_gate = {r[0].split(" ", 1)[1]: r for r in cells(found)}
    assert set(by_gate) == {"harm", "gap", "collapse", "disparity"}
    assert by_gate["harm"][3:6] == ("HALT", "G1·I2", "HALT")
    assert all(r[6] == "MISSING: a person writes it" for r in cells(found))
    assert "not a risk management system" in table_of(found).note


def test_the_changelog_has_an_entry_an_iteration_with_halt_and_override(tmp_path: Path) -> None:
    found = read(make_run(tmp_path / "o", "overridden"), "changelog")
    assert [(r[0], r[1]) for r in cells(found)] == [
        ("G1·I1", "trained"),
        ("G1·I2", "trained"),
        ("G1·I2", "halt"),
        ("G1·I2", "override"),
    ]
    assert "human score (LEXICON) -0.62" in cells(found)[1][3]


def test_disparities_come_with_intervals_of_the_newest_look(run: Path) -> None:
    found = read(run, "disparities")
    assert found.value.startswith("at G2·I2: ")
    assert "95% interval" in found.value
    assert [r[0] for r in cells(found)] == [
        "bias.reward_gap",
        "bias.human_gap",
        "bias.acceptance_ratio",
    ]


def test_nothing_is_measured_before_the_first_audit(tmp_path: Path) -> None:
    run = make_run(tmp_path / "half", "half")
    for key in (
        "measured.outcomes",
        "measured.disparities",
        "measured.abilities",
        "gates.decisions",
        "measured.error",
    ):
        found = said(run, key)
        assert found.status == "MISSING"
        assert "audited" in found.reason


def test_what_was_not_measured_is_listed_with_the_reason(tmp_path: Path) -> None:
    found = read(make_run(tmp_path / "n", "nulls"), "not_measured")
    rows = {r[0]: r for r in cells(found)}
    assert "no human score is configured" in rows["divergence.human_change"][2]
    assert (
        rows["energy and other effects on the environment"][2] == "the program does not meter them"
    )


def test_energy_is_missing_until_somebody_metered_it(run: Path) -> None:
    assert said(run, "compute.energy").status == "MISSING"
    metered = edited(
        run,
        "environment.json",
        lambda e: e.update(energy_kwh=1.25, energy_method="meter at the socket"),
    )
    found = said(metered, "compute.energy")
    assert (found.status, found.value) == ("MEASURED", "run: 1.25 kWh, method: meter at the socket")


def test_the_synthetic_share_and_its_generators(run: Path) -> None:
    found = read(run, "synthetic")
    digests = {p.name: p.digest for p in policies(records(run))}
    first = cells(found)[0]
    assert first[0] == "g01 Grow"
    assert first[-1] == digests["g00/i00"]
    assert "share of rows trained on that a policy wrote: G1·I1: 100%" in found.value


def test_equal_texts_among_the_rows_trained_on_are_counted(run: Path) -> None:
    found = read(run, "training_duplicates")
    of = records(run)
    grow = of.table("g01/grow.parquet", ("sample_id", "text"))
    kept = set(of.table("g01/i01/kept.parquet", ("sample_id",))["sample_id"])
    texts = [" ".join(t.split()).casefold() for t in grow[grow["sample_id"].isin(kept)]["text"]]
    expected = sum(texts.count(t) > 1 for t in texts)
    assert cells(found)[0][1:3] == (str(len(texts)), str(expected))


def test_ratings_by_people_are_counted_and_others_do_not_apply(run: Path, tmp_path: Path) -> None:
    assert said(run, "raters.ratings").status == "N-A"
    assert said(run, "raters.independence").status == "N-A"
    rated = rated_by_people(make_run(tmp_path / "rated"))
    found = said(rated, "raters.ratings")
    assert found.status == "RECORDED"
    assert cells(found)[0] == ("G1·I1", "3", "10", "30", "0", "0")
    assert said(rated, "raters.independence").status == "MISSING"
    assert "Rate how helpful it is." in said(rated, "raters.instructions").value


def test_counts_of_data_follow_from_the_record(run: Path) -> None:
    text = read(run, "data_counts").value
    assert f"prompts: audit {PROMPTS}, d_eval {PROMPTS}, grow {PROMPTS}" in text
    assert "samples written by a policy of this run" in text


def test_the_reward_is_read_from_its_dossier_and_says_what_it_lacks(run: Path) -> None:
    assert "Pays for vowels." in read(run, "reward_model").value
    assert said(run, "reward.data").status == "MISSING"
    assert said(run, "reward.validation").status == "MISSING"
    assert read(run, "reward_limits").value == "It sees letters only."


def test_a_validated_reward_shows_its_figures_with_intervals(run: Path) -> None:
    row = {
        "name": "validation.pearson",
        "value": 0.83,
        "unit": "r",
        "n": 100,
        "n_prompts": 90,
        "method": "bootstrap",
        "version": "1",
        "direction": "neutral",
        "intervals": [{"level": 0.95, "low": 0.8, "high": 0.86}],
        "baseline": None,
        "reason": None,
        "detail": {"meaning": "held-out items"},
    }
    found = said(
        edited(run, "reward_model/dossier.json", lambda d: d.update(validation=[row])),
        "reward.validation",
    )
    assert found.status == "MEASURED"
    assert "0.830 r, 95% interval 0.800 to 0.860, 100 texts of 90 prompts" in found.value


def test_calibration_beside_the_record_is_cited_by_its_own_digest(run: Path) -> None:
    assert said(run, "measured.alarms").status == "MISSING"
    (run / "report").mkdir(exist_ok=True)
    (run / "report" / "calibration.json").write_text("{")
    found = said(run, "measured.alarms")
    assert (found.status, str(run) in found.reason) == ("MISSING", False)


def test_software_hardware_and_parts_are_as_recorded(run: Path) -> None:
    assert "torch 2.13.0" in read(run, "software").value
    assert "device: cpu" in read(run, "hardware").value
    assert "no licence is recorded for audit.encoder" in read(run, "third_parties").value
    without = edited(run, "plan.json", lambda p: p.pop("artifacts"))
    assert said(without, "model.parts").status == "MISSING"
    assert said(without, "system.lineage").status == "MISSING"


def test_whether_the_record_is_signed_is_said(run: Path) -> None:
    assert "the record is unsigned" in read(run, "integrity").value
    signed = edited(run, "plan.json", lambda p: p.update(signer="ab" * 32))
    assert f"names the signing key {'ab' * 32}" in read(signed, "integrity").value


def test_gates_are_shown_as_sealed_and_none_is_said(run: Path) -> None:
    assert read(run, "gate_policy").value.startswith("4 gates, of which 2 stop training")
    none = edited(run, "plan.json", lambda p: p["config"]["gates"].update(rules=[]))
    for key in ("gates.policy", "gates.triggers", "risk.register"):
        assert said(none, key).status == "MISSING"


def test_a_refit_that_is_planned_and_not_done_is_missing(run: Path) -> None:
    assert said(run, "reward.refits").status == "N-A"
    planned = edited(
        run, "plan.json", lambda p: p["config"]["reward"].update(refit={"samples": 60})
    )
    assert said(planned, "reward.refits").reason == "planned, and not done yet"


def test_a_refit_is_told_with_what_it_changed(run: Path) -> None:
    facts: dict[str, Any] = {
        "judgements": 60,
        "raters": 3,
        "policy": "g01/i02",
        "pair_accuracy_before": 0.6,
        "pair_accuracy_after": 0.7,
        "before": "a" * 64,
        "after": "b" * 64,
    }
    again = recorded_anew(run, content={})
    events = (again / "ledger.jsonl").read_text().splitlines()
    assert json.loads(events[0])["step"] == "plan"
    from restaudit.evidence import ledger

    last = ledger.read(again)[-1]
    ledger.append(
        again, ledger.Event(last.seq + 1, "g02/refit", last.hash, {}, facts, at={"seconds": 1.0})
    )
    found = said(again, "reward.refits")
    assert found.status == "RECORDED"
    assert "pair accuracy 0.60 -> 0.70" in found.value


def test_samples_a_look_are_counted_in_every_figure(run: Path) -> None:
    assert f"{PROMPTS * SAMPLES} texts of {PROMPTS} prompts" in read(run, "outcomes").value
    assert record.BASE in records(run).run.iterations()


@pytest.mark.parametrize(
    "name", ["outcomes", "disparities", "disparities_over_time", "baseline", "retest", "changelog"]
)
def test_what_stands_for_people_is_named_wherever_its_figure_is(run: Path, name: str) -> None:
    found = read(run, name)
    rows = [c for r in cells(found) for c in r if "human score" in c] if found.tables else []
    for text in (found.value, *rows):
        assert text.count("human score") == text.count("human score (LEXICON)")
    assert rows or "human score" in found.value
