"""What people declare: a template to fill, every mistake named, and nothing passed off as
verified.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.reward.commands import Format, rendered
from restaudit.errors import BadInput
from restaudit.reward_audit.document import document_of
from restaudit.reward_audit.document.declared import SCHEMA, read_declarations
from restaudit.reward_audit.document.declaring import keep, to_fill
from restaudit.reward_audit.document.fields import declarable
from restaudit.reward_audit.document.material import declarations_of
from tests.reward.document_folder import DIGEST, folder, run_folder

APPROVAL = {
    "by": "Ada L.",
    "role": "safety lead",
    "date": "2026-03-01",
    "decision": "only for internal tests",
}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A trained reward's folder."""
    return folder(tmp_path / "rm")


def filled(path: Path, answers: dict[str, Any], **more: Any) -> Path:
    """A filled template."""
    whole = {
        "schema": SCHEMA,
        "declared_by": "Ada L.",
        "date": "2026-03-02",
        "answers": answers,
        **more,
    }
    path.write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
    return path


def test_the_template_asks_every_declarable_field_and_is_itself_valid_and_empty(
    made: Path, tmp_path: Path
) -> None:
    text = to_fill(made, made)
    raw = yaml.safe_load(text)
    assert raw["answers"].keys() == {f.key for f in declarable()}
    assert not any(v for k, v in raw["answers"].items() if k != "governance.approval")
    assert "# In which band were they paid" in text
    (tmp_path / "t.yaml").write_text(text, encoding="utf-8")
    found = read_declarations(tmp_path / "t.yaml")
    assert (found.answers, found.declared_by, found.reward_digest) == ({}, "", DIGEST)


def test_an_answer_is_shown_as_declared_and_a_second_template_keeps_it(
    made: Path, tmp_path: Path
) -> None:
    answers = {
        "raters.pool": "students of one school",
        "raters.pay_band": "12-15 EUR an hour",
        "data.personal": "N-A: film reviews without names",
        "governance.approval": APPROVAL,
        "governance.changelog": [{"date": "2026-02-01", "change": "first version"}],
    }
    kept, path = keep(made, made, filled(tmp_path / "f.yaml", answers))
    assert path == made / "declarations.yaml"
    assert kept.reward_digest == DIGEST
    document = document_of(made, made)
    assert document.answer("raters.pool").status == "DECLARED"
    assert document.answer("raters.pool").evidence[0].path == "declarations.yaml"
    na = document.answer("data.personal")
    assert (na.status, na.reason) == ("N-A", "film reviews without names (declared by Ada L.)")
    assert document.answer("governance.approval").value == APPROVAL
    assert (
        "only for internal tests, by Ada L. (safety lead) on 2026-03-01 (DECLARED; nobody "
        "verified it)"
    ) in dict(document.summary)["Approved by"]
    again = yaml.safe_load(to_fill(made, made))
    assert again["answers"]["raters.pool"] == "students of one school"
    assert again["declared_by"] == "Ada L."


def test_a_declaration_never_takes_the_place_of_the_record(made: Path, tmp_path: Path) -> None:
    keep(made, made, filled(tmp_path / "f.yaml", {"data.licence": "CC0"}))
    found = document_of(made, made).answer("data.licence")
    assert (found.status, found.value, found.declared) == ("RECORDED", "MIT", "CC0")
    for form in (Format.MARKDOWN, Format.HTML, Format.CARD):
        page = rendered(document_of(made, made), form).decode("utf-8").replace("\\", "")
        assert "Declared besides (nobody verified it)" in page


def test_the_template_marks_what_the_record_answers(made: Path) -> None:
    lines = to_fill(made, made).splitlines()
    marked = {
        lines[n + 1].strip().partition(":")[0]
        for n, line in enumerate(lines)
        if "the record answers" in line
    }
    assert "data.licence" in marked
    assert "raters.pool" not in marked


def test_instructions_from_a_file_are_kept_as_text_with_their_digest(
    made: Path, tmp_path: Path
) -> None:
    text = "Prefer the answer that is true.\r\nNot the longer one.\n"
    (tmp_path / "told.txt").write_bytes(text.encode())
    _, path = keep(made, made, filled(tmp_path / "f.yaml", {}, instructions_file="told.txt"))
    found = document_of(made, made).answer("raters.instructions")
    assert found.value == {"text": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert found.status == "DECLARED"
    path.write_text(path.read_text(encoding="utf-8").replace("longer", "shorter"), encoding="utf-8")
    with pytest.raises(BadInput, match="changed after it was stored"):
        document_of(made, made)


@pytest.mark.parametrize(
    "text",
    ["a: b # c", "\u202eabc\x07", "=1+1", "line\n\n  # two\n---\n", "ünïcode 例", "- [x] yes"],
)
def test_what_is_kept_is_what_was_said(made: Path, tmp_path: Path, text: str) -> None:
    keep(made, made, filled(tmp_path / "f.yaml", {"raters.pool": text}))
    assert document_of(made, made).answer("raters.pool").value == text.strip()


def test_declarations_of_a_run_stay_out_of_its_recorded_folders(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", {"g00/i00": 0.3, "g01/i01": 0.4, "g01/i02": 0.5})
    before = sorted(p.name for p in (run / "reward_model").iterdir())
    _, path = keep(
        run, run / "reward_model", filled(tmp_path / "f.yaml", {"raters.pool": "readers"})
    )
    assert path == run / "report" / "reward_declarations.yaml" == declarations_of(run)
    assert sorted(p.name for p in (run / "reward_model").iterdir()) == before
    assert document_of(run, run / "reward_model").answer("raters.pool").value == "readers"


def test_declarations_about_another_reward_are_refused(made: Path, tmp_path: Path) -> None:
    other = filled(tmp_path / "f.yaml", {"raters.pool": "x"}, reward_digest="e" * 64)
    with pytest.raises(BadInput, match="declare anew"):
        keep(made, made, other)


@pytest.mark.parametrize(
    ("answers", "more", "message"),
    [
        ({"raters.pol": "x"}, {}, "answers.raters.pol: unknown key (did you mean 'raters.pool'?)"),
        (
            {"stress.tests": "all passed"},
            {},
            "answers.stress.tests: unknown key; the record answers that one",
        ),
        ({}, {"declard_by": "x"}, "declard_by: unknown key (did you mean 'declared_by'?)"),
        ({"raters.pool": "x"}, {"declared_by": ""}, "declared_by: empty; 1 answers need the name"),
        (
            {"raters.pool": "x"},
            {"date": "yesterday"},
            "date: 'yesterday'; expected a date such as 2026-01-31",
        ),
        (
            {"raters.pool": {"a": 1}},
            {},
            "answers.raters.pool: expected text or a list of texts, got a dict",
        ),
        (
            {"governance.approval": {**APPROVAL, "role": ""}},
            {},
            "answers.governance.approval.role: empty",
        ),
        (
            {"governance.approval": {**APPROVAL, "rol": "x"}},
            {},
            "answers.governance.approval.rol: unknown key",
        ),
        ({"governance.approval": "yes"}, {}, "expected by, role, date, decision"),
        ({"governance.changelog": [{"date": "2026-01-01"}]}, {}, "answers.governance.changelog[0]"),
        ({}, {"instructions_file": "nowhere.txt"}, "nowhere.txt: cannot be read"),
        ({"raters.instructions": "x"}, {"instructions_file": "f.yaml"}, "give one of the two"),
        (
            {},
            {"schema": "restaudit.reward-declarations/9"},
            "expected 'restaudit.reward-declarations/1'",
        ),
        ([], {}, "answers: expected a mapping"),
    ],
)
def test_a_mistake_is_one_clear_message(
    tmp_path: Path, answers: Any, more: dict[str, Any], message: str
) -> None:
    path = filled(tmp_path / "f.yaml", answers or {}, **more)
    if isinstance(answers, list):
        path.write_text(
            path.read_text(encoding="utf-8").replace("answers: {}", "answers: [1]"),
            encoding="utf-8",
        )
    with pytest.raises(BadInput) as caught:
        read_declarations(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["{", "- a\n", "\x00", "a: 2026-99-99\n"])
def test_a_file_that_is_no_yaml_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput):
        read_declarations(tmp_path / "f.yaml")
