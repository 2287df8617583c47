"""Declarations about a run: what only they have (clauses that they feed, a number, a signature
file), and the record that they stand beside. What every declaration has is in test_declarations.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from reports.frameworks.answers import by_record, run_answer
from reports.frameworks.declared import keep, run_declarations, stored, template
from reports.frameworks.forms import run_subject
from reports.frameworks.schema import feeds, run_questions
from restaudit.errors import BadInput
from tests.reports.frameworks.forms_to_fill import Filling, of_run
from tests.reports.frameworks.runs import records
from tests.reports.make_run import HOSTILE, make_run


@pytest.fixture
def filling(tmp_path: Path) -> Filling:
    """A form about a run."""
    return of_run(tmp_path)


def test_the_form_says_of_every_question_what_it_feeds(filling: Filling) -> None:
    of = records(filling.subject.folder)
    text = template(filling.subject, by_record(of), None)
    joined = re.sub(r"\s+", " ", re.sub(r"\s*#\s*", " ", text))
    for question in run_questions().declarable:
        assert len(re.findall(rf"^  {re.escape(question.key)}:", text, re.MULTILINE)) == 1
        assert all(clause in joined for clause in feeds()[question.key])
    both = [q for q in run_questions().declarable if q.reading is not None]
    answered = [q for q in both if run_answer(q, of, None).answered]
    assert text.count("the record answers this") == len(answered)


def test_role_number_list_and_signature_file_are_kept(filling: Filling) -> None:
    answers = {"data.language": ["English", "German"], "compute.original_flop": 6.0e21}
    kept = filling.keep(answers, role="officer", signature_file="declarations.dsse.json")
    assert kept.file == "report/declarations.yaml"
    assert (kept.role, kept.signature_file) == ("officer", "declarations.dsse.json")
    assert kept.answers == {"compute.original_flop": "6e+21", "data.language": "English; German"}
    again = yaml.safe_load(template(filling.subject, [], kept))
    assert (again["role"], again["signature_file"]) == ("officer", "declarations.dsse.json")


def test_the_record_still_verifies_with_declarations_beside_it(filling: Filling) -> None:
    run = filling.subject.folder
    before = (run / "ledger.jsonl").read_bytes()
    filling.keep({"system.purpose": "Reviews."})
    assert (run / "ledger.jsonl").read_bytes() == before
    assert {p.name for p in run.iterdir()} >= {"report", "plan.json"}


@pytest.mark.parametrize("number", ["a lot", -1, 0, "nan", "inf"])
def test_a_number_of_operations_is_positive(filling: Filling, number: object) -> None:
    with pytest.raises(BadInput, match=r"compute\.original_flop: .*expected a positive number"):
        filling.keep({"compute.original_flop": number})


def test_a_signature_file_lies_beside_the_declarations(filling: Filling) -> None:
    with pytest.raises(BadInput, match=r"'\.\./evil\.json'; expected the name of a file"):
        filling.keep({}, signature_file="../evil.json")


def test_a_form_of_another_run_is_refused_before_anything_else_of_it(filling: Filling) -> None:
    path = filling.text("answers: 5\nschema: restaudit.declarations/1\n")
    with pytest.raises(BadInput, match=r"run_id: .*about another run"):
        keep(filling.subject, path)


def test_declarations_copied_to_another_run_are_refused(filling: Filling, tmp_path: Path) -> None:
    filling.keep({"system.purpose": "Reviews."})
    other = run_subject(records(make_run(tmp_path / "other", name="another")))
    other.path.parent.mkdir()
    other.path.write_bytes(filling.subject.path.read_bytes())
    with pytest.raises(BadInput, match="about another run"):
        stored(other)


def test_hostile_answers_are_kept_as_text(filling: Filling) -> None:
    keys = ("system.purpose", "system.provider", "data.other")
    texts = dict(zip(keys, HOSTILE, strict=True))
    kept = filling.keep(texts)
    assert kept.answers == {key: text.strip() for key, text in sorted(texts.items())}


def test_a_run_without_a_plan_cannot_be_declared_about(filling: Filling) -> None:
    (filling.subject.folder / "ledger.jsonl").write_text("")
    of = records(filling.subject.folder)
    assert run_declarations(of) is None
    with pytest.raises(BadInput, match="not sealed yet"):
        run_subject(of)
