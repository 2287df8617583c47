"""The clause data: every file loads strictly, every key leads somewhere, dates and numbers say
where they are from.
"""

from __future__ import annotations

import datetime
import re
from importlib import resources
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from reports.document.model import Status
from reports.frameworks.readings import READINGS
from reports.frameworks.schema import (
    SHARED,
    Framework,
    Question,
    dates,
    feeds,
    framework,
    frameworks,
    reward_questions,
    run_questions,
    scope,
)
from restaudit.errors import BadInput

EXPECTED = {
    "ca-ab-2013",
    "eu-annex-iv",
    "eu-annex-xi",
    "eu-articles",
    "eu-training-content",
    "iso-42001",
    "nist-ai-600-1",
    "nist-ai-rmf",
    "reward-report",
}
# The actions that GOVERNANCE.md lists; a number that is not among them was not asked for.
ACTIONS = {
    "MS-1.1-009",
    "MS-1.3-003",
    "MS-2.3-001",
    "MS-2.5-002",
    "MS-2.5-005",
    "MS-2.7-008",
    "MS-2.8-002",
    "MS-2.9-002",
    "MS-2.10-003",
    "MS-2.11-004",
    "MS-2.11-005",
    "MS-2.12-003",
    "MS-2.13-001",
    "MS-4.2-005",
    "MG-2.4-004",
    "MG-3.1-003",
    "MG-3.2-002",
    "MG-3.2-003",
    "MG-3.2-009",
}
FORBIDDEN = re.compile(
    r"(?i)\b(compliant|unbiased|safe|guaranteed?|certified)\b|conformity (is )?granted"
)


def raw(name: str) -> str:
    return (resources.files("reports.frameworks") / "data" / f"{name}.yaml").read_text(
        encoding="utf-8"
    )


def test_the_frameworks_are_those_that_were_asked_for() -> None:
    assert set(frameworks()) == EXPECTED
    assert all(title for title in frameworks().values())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_file_is_strict(name: str) -> None:
    assert framework(name).id == name
    text = yaml.safe_load(raw(name))
    with pytest.raises(ValidationError, match="Extra inputs"):
        Framework.model_validate({**text, "verdict": "fine"})
    text["parts"][0]["clauses"].append(text["parts"][0]["clauses"][0])
    with pytest.raises(ValidationError, match="clause id used twice"):
        Framework.model_validate(text)


def test_every_clause_leads_to_questions_and_every_question_to_clauses() -> None:
    used = {key for name in frameworks() for key in framework(name).keys}
    assert used == set(run_questions().questions) == set(feeds())


def test_every_reading_exists_and_every_reading_is_used() -> None:
    asked = run_questions().questions.values()
    assert {q.reading for q in asked if q.reading is not None} == set(READINGS)


def test_a_question_is_asked_once() -> None:
    keys = [f.key for t in run_questions().topics for f in t.fields]
    assert len(keys) == len(set(keys))
    asked = [f.asks for t in run_questions().topics for f in t.fields]
    assert len(asked) == len(set(asked))


def test_statuses_are_those_of_the_document_model() -> None:
    asked = (*run_questions().questions.values(), *reward_questions().questions.values())
    assert {q.status for q in asked if q.status} <= set(get_args(Status))
    with pytest.raises(ValidationError, match="reading and status go together"):
        Question(key="a.b", asks="?", who="x", status="MEASURED")
    with pytest.raises(ValidationError, match="not DECLARED"):
        Question(key="a.b", asks="?", who="x", reading="lineage", status="DECLARED")
    with pytest.raises(ValidationError, match="a reading or facts"):
        Question(key="a.b", asks="?", who="x", reading="x", facts={"": "y"}, status="RECORDED")
    with pytest.raises(ValidationError, match="neither the record nor a person"):
        Question(key="a.b", asks="?", who="x")


def test_annex_iv_has_every_point_and_letter() -> None:
    ids = [c.id for c in framework("eu-annex-iv").clauses]
    assert [i for i in ids if i.startswith("1(")] == [f"1({x})" for x in "abcdefgh"]
    assert [i for i in ids if i.startswith("2(")] == [f"2({x})" for x in "abcdefgh"]
    assert {i.split(" ")[0].split("(")[0] for i in ids} == {str(n) for n in range(1, 10)}


def test_the_generative_profile_has_the_listed_actions_and_no_other() -> None:
    assert {c.id for c in framework("nist-ai-600-1").clauses} == ACTIONS


def test_points_that_only_people_answer_have_no_reading() -> None:
    of = framework("eu-annex-iv")
    for clause in of.clauses:
        if clause.id in {"7", "8", "9"}:
            assert all(run_questions().questions[k].reading is None for k in clause.answer)
    content = {c.id: c for c in framework("eu-training-content").clauses}
    for number in ("2.1", "2.2", "2.3", "2.4", "2.6", "3.1", "3.2"):
        assert all(run_questions().questions[k].reading is None for k in content[number].answer)
    assert all(run_questions().questions[k].reading for k in content["2.5"].answer)


def test_dates_and_thresholds_have_source_and_day() -> None:
    assert dates()
    for d in dates():
        assert d.source
        assert d.as_of <= datetime.date(2026, 12, 31)
        assert set(d.for_) <= EXPECTED
    numbers = scope()
    assert (numbers.general_purpose.flop, numbers.systemic.flop) == (1e23, 1e25)
    assert numbers.share == pytest.approx(1 / 3)
    for t in (numbers.general_purpose, numbers.systemic):
        assert t.source
        assert t.check
    assert all(framework(name).source and framework(name).as_of for name in EXPECTED)


def test_the_limits_that_must_be_stated_are_stated() -> None:
    assert "OPERATION" in " ".join(framework("eu-articles").limits)
    assert "4a" in " ".join(framework("eu-articles").limits)
    assert "secondary sources" in " ".join(framework("iso-42001").limits)


@pytest.mark.parametrize("name", [*sorted(EXPECTED), *SHARED])
def test_no_word_in_the_data_promises_what_nobody_can(name: str) -> None:
    assert FORBIDDEN.findall(raw(name)) == []


def test_an_unknown_framework_names_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"did you mean eu-annex-iv\?"):
        framework("annex-iv")
