"""The reward's document: every question answered or MISSING, failures first, the same bytes each
time, four formats.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from reports.document.chart import figure
from reports.document.model import Chart, Facts
from reports.frameworks.readings import REWARD_READINGS
from reports.frameworks.schema import QuestionSet, reward_questions
from reports.reward.answers import SCHEMA, RewardAnswers, reward_answers
from reports.reward.commands import DossierFormat, rendered
from reports.reward.document import reward_document
from reports.reward.hub_card import HEADINGS
from restaudit.errors import BadInput
from restaudit.evidence.record import write_json
from restaudit.evidence.shown import markdown_text
from tests.reports.reward.reward_folder import (
    DIGEST,
    folder,
    run_folder,
    stress_report,
    trained_facts,
    validation,
)

PYTHON = {
    "kind": "python",
    "name": "python/x:y",
    "purpose": "Counts please.",
    "unit": "its own",
    "members": 1,
    "digest": DIGEST,
    "data": None,
    "raters": None,
    "validation": None,
    "limits": [],
}


def page_of(document: RewardAnswers, form: str) -> str:
    """The document in a format of text."""
    return rendered(document, DossierFormat(form)).decode("utf-8")


@pytest.fixture
def full(tmp_path: Path) -> RewardAnswers:
    """A stressed, validated, trained reward."""
    where = folder(tmp_path / "rm", stress=stress_report())
    return reward_answers(where, where)


# --- the questions


def test_every_part_of_both_papers_is_answered_by_a_topic() -> None:
    for name, paper in reward_questions().papers.items():
        covered = {part for topic in reward_questions().topics for part in topic.parts[name]}
        assert covered == set(paper.parts)


def test_a_topic_cannot_name_a_part_that_its_paper_does_not_have() -> None:
    raw = reward_questions().model_dump()
    raw["topics"][0]["parts"]["casper"] = ("9.9",)
    with pytest.raises(ValidationError, match=r"casper has no part 9\.9"):
        QuestionSet.model_validate(raw)


def test_every_question_is_asked_once_and_in_words_of_a_question() -> None:
    listed = [question for topic in reward_questions().topics for question in topic.fields]
    assert len(listed) == len(reward_questions().questions) > 60
    assert all(question.asks.endswith("?") for question in listed)


def test_every_reading_is_named_by_a_question_and_every_named_one_exists() -> None:
    named = {q.reading for q in reward_questions().questions.values() if q.reading}
    assert named == REWARD_READINGS.keys()


def test_nothing_is_blank(full: RewardAnswers) -> None:
    for a in full.answers:
        if a.status in ("MISSING", "N-A"):
            assert a.reason, a.question.key
            assert a.value is None, a.question.key
        else:
            assert a.value is not None or a.tables, a.question.key
            assert a.sources, a.question.key
            assert all(re.fullmatch("[0-9a-f]{64}", e.sha256) for e in a.sources), a.question.key
    assert {a.question.key for a in full.answers} == set(reward_questions().questions)


# --- what the answers say


def test_a_trained_rewards_answers_have_their_status(full: RewardAnswers) -> None:
    expected = {
        "data.licence": "RECORDED",
        "validation.held_out": "MEASURED",
        "quality.agreement": "MEASURED",
        "quality.contradictions": "COMPUTED",
        "quality.noise": "N-A",
        "raters.pay_band": "MISSING",
        "model.disagreement": "RECORDED",
        "compute.energy": "MISSING",
        "shift.distance": "N-A",
        "stress.tests": "MEASURED",
        "governance.approval": "MISSING",
        "validation.outside": "MISSING",
    }
    assert {k: full.answer(k).status for k in expected} == expected
    assert "without a run" in full.answer("shift.distance").reason
    assert "meter" in full.answer("compute.energy").question.who


def test_a_python_function_has_no_training_and_says_so(tmp_path: Path) -> None:
    where = folder(tmp_path / "rm", PYTHON)
    found = reward_answers(where, where)
    assert found.answer("model.hyper").status == "N-A"
    assert "Python function" in found.answer("model.hyper").reason
    assert found.answer("data.source").status == "MISSING"
    assert found.failures is None
    assert "nobody stressed it" in page_of(found, "md")


def test_energy_is_computed_only_where_it_was_metered(tmp_path: Path) -> None:
    compute = {"seconds": 12.0, "device": "cpu", "energy_kwh": 0.002, "energy_method": "RAPL"}
    where = folder(tmp_path / "rm", trained_facts(compute=compute))
    found = reward_answers(where, where)
    assert (found.answer("compute.used").status, found.answer("compute.energy").status) == (
        "RECORDED",
        "COMPUTED",
    )
    assert found.answer("compute.energy").value == {"kWh": 0.002, "method": "RAPL"}


def test_a_file_of_compute_beside_the_dossier_is_read_and_is_the_evidence(tmp_path: Path) -> None:
    where = folder(tmp_path / "rm")
    write_json({"seconds": 3.5, "device": "cpu"}, where / "compute.json")
    found = reward_answers(where, where).answer("compute.used")
    assert found.value["seconds"] == 3.5
    assert [e.path for e in found.sources] == ["compute.json"]


def test_the_distance_of_a_run_is_a_row_an_iteration_with_its_interval(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", {"g00/i00": 0.3, "g01/i01": 0.4, "g01/i02": None})
    found = reward_answers(run, run / "reward_model").answer("shift.distance")
    assert found.status == "MEASURED"
    chart = found.tables[0]
    assert isinstance(chart, Chart)
    assert [row.cells[:3] for row in chart.table.rows] == [
        ("g00/i00 (base policy)", "0.300", "0.280 to 0.320"),
        ("g01/i01", "0.400", "0.380 to 0.420"),
        ("g01/i02", "not measured", "not one text has a rated word"),
    ]
    assert chart.labels == ("g00/i00 (base policy)", "g01/i01")
    assert chart.reference == 0.3
    assert [e.path for e in found.sources] == [
        f"{i}/measurements.json" for i in ("g00/i00", "g01/i01", "g01/i02")
    ]


def test_a_run_that_could_not_measure_the_distance_says_why(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", {"g00/i00": None, "g01/i01": None, "g01/i02": None})
    found = reward_answers(run, run / "reward_model").answer("shift.distance")
    assert (found.status, found.reason) == ("MISSING", "not one text has a rated word")


def test_shares_and_differences_of_shares_are_never_drawn_on_one_axis(tmp_path: Path) -> None:
    where = folder(tmp_path / "rm")
    (where / "validation").mkdir()
    rows = [validation("pair_accuracy", 0.7), validation("less.longer", -0.1, -0.2, 0.1)]
    report = {"reward": {"digest": DIGEST}, "measurements": rows, "worse_slices": ["length.short"]}
    write_json(report, where / "validation" / "other.json")
    found = reward_answers(where, where).answer("validation.outside")
    assert [(chart.reference, list(chart.labels)) for chart in found.tables] == [
        (0.5, ["pair accuracy"]),
        (0.0, ["less.longer"]),
    ]
    assert found.value == ["other: worse than elsewhere on length.short"]


def test_a_validation_of_another_reward_is_refused(tmp_path: Path) -> None:
    where = folder(tmp_path / "rm")
    (where / "validation").mkdir()
    write_json(
        {"reward": {"digest": "e" * 64}, "measurements": []}, where / "validation" / "other.json"
    )
    with pytest.raises(BadInput, match="about another reward"):
        reward_answers(where, where)


@pytest.mark.parametrize(
    "damaged", [{"findings": []}, {"findings": [{}], "failures": [], "counts": {}}]
)
def test_a_report_of_another_shape_is_refused_and_says_how_to_make_it_anew(
    tmp_path: Path, damaged: dict
) -> None:
    where = folder(tmp_path / "rm", stress=damaged)
    with pytest.raises(BadInput):
        reward_answers(where, where)


# --- the formats


@pytest.mark.parametrize("form", list(DossierFormat))
def test_the_same_folder_gives_the_same_bytes_wherever_it_lies(
    tmp_path: Path, form: DossierFormat
) -> None:
    one, two = (folder(tmp_path / name / "rm", stress=stress_report()) for name in ("a", "b"))
    first = rendered(reward_answers(one, one), form)
    assert (
        first
        == rendered(reward_answers(one, one), form)
        == rendered(reward_answers(two, two), form)
    )
    assert str(tmp_path).encode("utf-8") not in first


@pytest.mark.parametrize("form", ["md", "html", "card"])
def test_the_verdict_and_failures_come_first_then_summary_sections_and_gaps(
    full: RewardAnswers, form: str
) -> None:
    page = page_of(full, form).partition("</nav>" if form == "html" else "# Reward model")[2]
    at = [
        page.index(s)
        for s in (full.verdict, "Failures of the stress tests: 2", "append praise", "Summary")
    ]
    heading = "Model Details" if form == "card" else "How were they chosen"
    at += [page.index(heading), page.rindex("What nobody said")]
    assert at == sorted(at)


@pytest.mark.parametrize("form", ["md", "card"])
def test_every_gap_is_listed_with_who_could_fill_it(full: RewardAnswers, form: str) -> None:
    listed = page_of(full, form).partition("What nobody said")[2]
    assert len(full.gaps) > 20
    for a in full.gaps:
        assert markdown_text(a.question.asks) in listed
    assert "whoever paid the raters" in listed


def test_every_answer_stands_in_the_document_with_its_status_and_records(
    full: RewardAnswers,
) -> None:
    facts = {
        f.label: f
        for s in reward_document(full).sections
        for b in s.blocks
        if isinstance(b, Facts)
        for f in b.rows
    }
    for a in full.answers:
        assert facts[a.question.asks].status == a.status, a.question.key
        assert facts[a.question.asks].value, a.question.key
        assert {s.path for s in facts[a.question.asks].sources} == {e.path for e in a.sources}, (
            a.question.key
        )


def test_json_holds_every_field_with_status_value_and_evidence(full: RewardAnswers) -> None:
    found = json.loads(page_of(full, "json"))
    assert found["schema"] == SCHEMA == "restaudit.reward-document/1"
    fields = {f["key"]: f for s in found["sections"] for f in s["fields"]}
    assert fields.keys() == set(reward_questions().questions)
    assert fields["data.licence"]["value"] == "MIT"
    assert fields["data.licence"]["evidence"][0]["path"] == "dossier.json"
    assert fields["data.licence"]["evidence"][0]["at"] == "data.licence"
    assert sum(found["statuses"].values()) == len(fields)
    assert len(found["gaps"]) == found["statuses"]["MISSING"]


def test_a_chart_draws_each_value_between_the_ends_of_its_interval(full: RewardAnswers) -> None:
    drawn = [b for s in reward_document(full).sections for b in s.blocks if isinstance(b, Chart)]
    chart = next(c for c in drawn if "pair accuracy" in c.labels)
    assert "pair accuracy 0.70 (0.60 to 0.80)" in chart.said
    axes = figure(chart).axes[0]
    dots = dict(
        zip((t.get_text() for t in axes.get_yticklabels()), axes.lines[0].get_xydata(), strict=True)
    )
    ends = {
        y: sorted((a, b))
        for ((a, y), (b, _)) in (s for c in axes.collections for s in c.get_segments())
    }
    assert len(dots) == len(ends) == 3
    assert all(ends[y][0] < x < ends[y][1] for x, y in dots.values())
    assert (dots["pair accuracy"][0], dots["baseline.longer"][0]) == (0.7, 0.55)
    assert dots["pair accuracy"][1] > dots["baseline.longer"][1]  # from the top down


def test_the_model_card_is_one_that_the_hubs_library_reads(full: RewardAnswers) -> None:
    hub = pytest.importorskip("huggingface_hub")
    text = page_of(full, "card")
    card = hub.ModelCard(text)
    assert isinstance(card.data, hub.ModelCardData)
    assert (card.data.license, card.data.pipeline_tag) == ("unknown", "text-classification")
    assert card.data.base_model == ["org/encoder"]
    assert card.data.tags == ["reward-model", "restaudit", "bradley-terry"]
    result = card.data.eval_results[0]
    assert (result.metric_type, result.metric_value, result.dataset_name) == (
        "accuracy",
        0.7,
        "pairs.csv",
    )
    assert result.metric_args["interval_0.95"] == [0.6, 0.8]
    for heading in (
        "## Model Details",
        "## Uses",
        "### Out-of-Scope Use",
        "## Bias, Risks, and Limitations",
        "## Training Details",
        "## Evaluation",
        "## Environmental Impact",
    ):
        assert heading in card.text


def test_the_model_card_has_a_place_for_every_field_once() -> None:
    placed = [k for _, _, keys in HEADINGS for k in keys]
    assert sorted(placed) == sorted(reward_questions().questions)


def test_a_reward_without_validation_has_a_card_without_results(tmp_path: Path) -> None:
    where = folder(tmp_path / "rm", PYTHON)
    front = yaml.safe_load(page_of(reward_answers(where, where), "card").split("---\n")[1])
    assert "model-index" not in front
    assert "base_model" not in front


def test_the_largest_errors_stand_with_the_words_behind_them(tmp_path: Path) -> None:
    where = folder(tmp_path / "rm")
    report = stress_report() | {
        "reward_digest": DIGEST,
        "human_is": "LEXICON",
        "errors": {
            "method": "occlusion",
            "unit": "sd",
            "judged": 40,
            "scored": 400,
            "limits": [],
            "reason": None,
            "errors": [
                {
                    "prompt": "",
                    "text": "Not good at all.",
                    "reward": 1.5,
                    "human": -1.0,
                    "error": 2.4,
                    "words": 4,
                    "words_tried": 4,
                    "spans": [{"words": "good", "place": 1, "change_sd": -1.8}],
                }
            ],
        },
    }
    write_json(report, where / "stress.json")
    shown = page_of(reward_answers(where, where), "md")
    assert "Not good at all." in shown
    assert "good (-1.8)" in shown.replace("\\", "")
    assert "LEXICON" in shown
    write_json(report | {"reward_digest": "e" * 64}, where / "stress.json")
    with pytest.raises(BadInput, match="about another reward"):
        reward_answers(where, where)
