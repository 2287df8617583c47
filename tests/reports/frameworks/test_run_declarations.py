"""The form that people fill: every question once, checked strictly, bound to one run, kept beside
the record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reports.frameworks import declared as forms
from reports.frameworks.answers import answer
from reports.frameworks.declaring import bound, keep, stored, to_fill
from reports.frameworks.schema import feeds, questions
from restaudit.errors import BadInput
from restaudit.evidence import ledger
from tests.reports.frameworks.runs import records
from tests.reports.make_run import HOSTILE, make_run

Fill = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def fill(run: Path, tmp_path: Path) -> Fill:
    """Write a form for this run, with some keys changed; `answers` maps keys to what is said."""

    def write(answers: dict[str, Any] | None = None, **top: Any) -> Path:
        form = yaml.safe_load(to_fill(records(run)))
        form |= {"declared_by": "Ada Moreau", "date": "2026-03-02", **top}
        form["answers"] |= answers or {}
        path = tmp_path / "form.yaml"
        path.write_text(yaml.safe_dump(form, allow_unicode=True), encoding="utf-8")
        return path

    return write


def test_the_form_asks_every_declarable_question_once_and_says_what_it_feeds(run: Path) -> None:
    text = to_fill(records(run))
    asked = [k for k, q in questions().items() if q.declare]
    form = yaml.safe_load(text)
    assert list(form["answers"]) == asked
    for key in asked:
        assert len(re.findall(rf"^  {re.escape(key)}:", text, re.MULTILINE)) == 1
    joined = re.sub(r"\s*#\s*", " ", text)
    for key in asked:
        assert all(clause in re.sub(r"\s+", " ", joined) for clause in feeds()[key])
    both = [q for q in questions().values() if q.declare and q.reading is not None]
    of = records(run)
    assert text.count("the record answers this") == sum(answer(q, of, None).answered for q in both)


def test_a_filled_form_is_kept_with_its_digest_and_read_again(run: Path, fill: Fill) -> None:
    said = {
        "system.purpose": "Film reviews.",
        "data.language": ["English", "German"],
        "data.personal": False,
        "compute.original_flop": 6.0e21,
    }
    kept, path = keep(
        records(run), fill(said, role="officer", signature_file="declarations.dsse.json")
    )
    assert path == run / "report" / "declarations.yaml"
    assert kept == stored(records(run))
    assert kept.sha256 == ledger.digest_file(path).sha256
    assert (kept.declared_by, kept.role, kept.signature_file) == (
        "Ada Moreau",
        "officer",
        "declarations.dsse.json",
    )
    assert kept.answers == {
        "compute.original_flop": "6e+21",
        "data.language": "English; German",
        "data.personal": "no",
        "system.purpose": "Film reviews.",
    }
    again = yaml.safe_load(to_fill(records(run)))
    assert again["answers"]["system.purpose"] == "Film reviews."
    assert again["declared_by"] == "Ada Moreau"


def test_an_empty_form_is_kept_and_says_nothing(run: Path, fill: Fill) -> None:
    kept, _ = keep(records(run), fill(declared_by="", date=""))
    assert kept.answers == {}
    assert stored(records(run)) == kept


def test_the_record_still_verifies_with_declarations_beside_it(run: Path, fill: Fill) -> None:
    before = (run / "ledger.jsonl").read_bytes()
    keep(records(run), fill({"system.purpose": "Reviews."}))
    assert (run / "ledger.jsonl").read_bytes() == before
    assert {p.name for p in run.iterdir()} >= {"report", "plan.json"}


@pytest.mark.parametrize(
    ("answers", "top", "message"),
    [
        (
            {"system.purpos": "x"},
            {},
            r"answers\.system\.purpos: unknown key \(did you mean 'system\.purpose'\?\)",
        ),
        (
            {"system.lineage": "x"},
            {},
            r"answers\.system\.lineage: unknown key; the record answers that one",
        ),
        (
            {"system.purpose": "x"},
            {"declared_by": ""},
            r"declared_by: empty; 1 answers need the name",
        ),
        ({"system.purpose": "x"}, {"declared_by": "--"}, r"declared_by: empty"),
        ({"system.purpose": "x"}, {"date": ""}, r"date: ''; expected a date such as 2026-01-31"),
        ({"system.purpose": "x"}, {"date": "yesterday"}, r"date: 'yesterday'; expected a date"),
        (
            {"system.purpose": "x"},
            {"run_id": "other"},
            r"run_id: 'other'.*the form is about another run",
        ),
        (
            {"system.purpose": "x"},
            {"plan_event": "0" * 64},
            r"plan_event: .*the form is about another run",
        ),
        (
            {"system.purpose": "x"},
            {"schema": "v2"},
            r"schema: 'v2'; expected 'restaudit\.declarations/1'",
        ),
        (
            {"system.purpose": {"a": 1}},
            {},
            r"answers\.system\.purpose: expected text or a list of texts, got a dict",
        ),
        (
            {"system.purpose": "\u200b - "},
            {},
            r"answers\.system\.purpose: .* has no letter or digit",
        ),
        (
            {"compute.original_flop": "a lot"},
            {},
            r"original_flop: 'a lot'; expected a positive number",
        ),
        (
            {"compute.original_flop": -1},
            {},
            r"answers\.compute\.original_flop: '-1'; expected a positive number",
        ),
        (
            {"compute.original_flop": "nan"},
            {},
            r"answers\.compute\.original_flop: 'nan'; expected a positive number",
        ),
        (
            {"compute.original_flop": "inf"},
            {},
            r"answers\.compute\.original_flop: 'inf'; expected a positive number",
        ),
        (
            {},
            {"signature_file": "../evil.json"},
            r"signature_file: '\.\./evil\.json'; expected the name of a file",
        ),
        ({}, {"verdict": "fine"}, r"verdict: unknown key"),
        ({"system.purpose": "x"}, {"declared_by": "a\nb"}, r"declared_by: expected one line"),
    ],
)
def test_a_form_that_is_not_valid_is_refused_by_key(
    run: Path, fill: Fill, answers: dict[str, Any], top: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        keep(records(run), fill(answers, **top))
    assert not (run / "report" / "declarations.yaml").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("- a\n- b\n", "expected a mapping"),
        (
            "answers: {system.purpose: one, system.purpose: two}\n",
            "the key system.purpose is given twice",
        ),
        ("a: &x [1]\nb: *x\n", "a reference"),
        ("!!python/object/apply:os.system ['touch /tmp/owned']\n", "not valid YAML"),
        ("[" * 1500, "not valid YAML"),
        ("answers: 5\nschema: restaudit.declarations/1\n", "run_id"),
    ],
)
def test_yaml_that_is_not_a_plain_form_is_refused(
    run: Path, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "form.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        keep(records(run), path)


def test_a_form_that_is_no_text_or_too_long_is_refused(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "form.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not UTF-8"):
        keep(records(run), path)
    path.write_text("#" * (forms.MOST_BYTES + 1))
    with pytest.raises(BadInput, match="expected at most"):
        keep(records(run), path)
    with pytest.raises(BadInput, match="cannot be read"):
        keep(records(run), tmp_path / "none.yaml")


def test_declarations_copied_from_another_run_are_refused_when_they_are_read(
    run: Path, fill: Fill, tmp_path: Path
) -> None:
    _, path = keep(records(run), fill({"system.purpose": "Reviews."}))
    other = make_run(tmp_path / "other", name="another")
    (other / "report").mkdir()
    (other / "report" / "declarations.yaml").write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match="about another run"):
        stored(records(other))


def test_a_link_in_place_of_the_declarations_is_refused(
    run: Path, fill: Fill, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text("kept")
    (run / "report").mkdir(exist_ok=True)
    (run / "report" / "declarations.yaml").symlink_to(elsewhere)
    with pytest.raises(BadInput, match="symbolic link"):
        keep(records(run), fill({"system.purpose": "Reviews."}))
    with pytest.raises(BadInput, match="symbolic link"):
        stored(records(run))
    assert elsewhere.read_text() == "kept"


def test_hostile_answers_are_kept_as_text(run: Path, fill: Fill) -> None:
    said = dict(zip(("system.purpose", "system.provider", "data.other"), HOSTILE, strict=True))
    kept, _ = keep(records(run), fill(said))
    assert kept.answers == {k: v.strip() for k, v in sorted(said.items())}


@given(text=st.text(min_size=1, max_size=60))
def test_any_text_comes_back_as_it_was_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("form") / "declarations.yaml"
    about = forms.Bound("r1", "0" * 64)
    given_form = {
        "schema": forms.SCHEMA,
        "run_id": "r1",
        "plan_event": "0" * 64,
        "declared_by": "Ada",
        "date": "2026-01-31",
        "answers": {"system.purpose": text},
    }
    # Escapes keep what YAML itself would read as a line break (U+0085, U+2028).
    path.write_text(yaml.safe_dump(given_form), encoding="utf-8")
    try:
        found = forms.read(path, about)
    except BadInput:
        return
    assert found.answers.get("system.purpose", "") == text.strip()
    sha256 = forms.store(found, path)
    again = forms.read(path, about)
    assert (again.answers, again.sha256) == (found.answers, sha256)


def test_a_run_without_a_plan_cannot_be_declared_about(run: Path) -> None:
    (run / "ledger.jsonl").write_text("")
    with pytest.raises(BadInput, match="not sealed yet"):
        bound(records(run))
