"""Declarations about a reward model: what only they have (instructions, an approval, changes), and
the document that they stand in. What every declaration has is in test_declarations.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.frameworks.declared import keep, read
from reports.frameworks.forms import REWARD_FORM
from reports.frameworks.reward_records import reward_subject
from reports.frameworks.schema import reward_questions
from reports.reward.answers import RewardAnswers, reward_answers
from reports.reward.commands import DossierFormat, rendered, to_fill
from restaudit.errors import BadInput
from tests.reports.frameworks.forms_to_fill import Filling, of_reward
from tests.reports.reward.reward_folder import DIGEST, run_folder

APPROVAL = {
    "by": "Ada L.",
    "role": "safety lead",
    "date": "2026-03-01",
    "decision": "only for internal tests",
}


@pytest.fixture
def filling(tmp_path: Path) -> Filling:
    """A form about a trained reward."""
    return of_reward(tmp_path)


def document(filling: Filling) -> RewardAnswers:
    """What its document says now."""
    return reward_answers(filling.subject.folder, filling.subject.folder)


def test_the_template_is_itself_valid_and_names_the_reward(filling: Filling) -> None:
    text = to_fill(filling.subject.folder, filling.subject.folder)
    raw = yaml.safe_load(text)
    assert raw["answers"].keys() == {q.key for q in reward_questions().declarable}
    assert not any(v for k, v in raw["answers"].items() if k != "governance.approval")
    assert "# In which band were they paid" in text
    found = read(filling.text(text), REWARD_FORM)
    assert (found.answers, found.declared_by) == ({}, "")
    assert found.bound == {"reward_digest": DIGEST}


def test_an_answer_is_shown_as_declared_and_a_second_template_keeps_it(filling: Filling) -> None:
    filling.keep(
        {
            "raters.pool": "students of one school",
            "raters.pay_band": "12-15 EUR an hour",
            "hacking.known": ["praise", "length"],
            "data.personal": "N-A: film reviews without names",
            "governance.approval": APPROVAL,
            "governance.changelog": [{"date": "2026-02-01", "change": "first version"}],
        }
    )
    shown = document(filling)
    assert shown.answer("raters.pool").status == "DECLARED"
    assert shown.answer("raters.pool").sources[0].path == "declarations.yaml"
    assert shown.answer("hacking.known").value == ["praise", "length"]
    na = shown.answer("data.personal")
    assert (na.status, na.reason) == ("N-A", "film reviews without names (declared by Ada Moreau)")
    assert shown.answer("governance.approval").value == APPROVAL
    assert (
        "only for internal tests, by Ada L. (safety lead) on 2026-03-01 (DECLARED; nobody "
        "verified it)"
    ) in dict(shown.summary)["Approved by"]
    again = yaml.safe_load(to_fill(filling.subject.folder, filling.subject.folder))
    assert again["answers"]["raters.pool"] == "students of one school"
    assert again["declared_by"] == "Ada Moreau"


def test_a_form_written_by_hand_without_the_digest_is_bound_when_it_is_kept(
    filling: Filling,
) -> None:
    kept = filling.keep({"raters.pool": "x"}, reward_digest=None)
    assert kept.bound == {"reward_digest": DIGEST}
    assert kept == filling.stored()


def test_a_declaration_never_takes_the_place_of_the_record(filling: Filling) -> None:
    filling.keep({"data.licence": "CC0"})
    answer = document(filling).answer("data.licence")
    assert (answer.status, answer.value, answer.declared) == ("RECORDED", "MIT", "CC0")
    for form in (DossierFormat.MARKDOWN, DossierFormat.HTML, DossierFormat.CARD):
        page = rendered(document(filling), form).decode("utf-8").replace("\\", "")
        assert "Declared besides (nobody verified it)" in page


def test_the_template_marks_what_the_record_answers(filling: Filling) -> None:
    lines = to_fill(filling.subject.folder, filling.subject.folder).splitlines()
    marked = {
        lines[n + 1].strip().partition(":")[0]
        for n, line in enumerate(lines)
        if "the record answers" in line
    }
    assert "data.licence" in marked
    assert "raters.pool" not in marked


def test_instructions_from_a_file_are_kept_as_text_with_their_digest(filling: Filling) -> None:
    text = "Prefer the answer that is true.\r\nNot the longer one.\n"
    (filling.at / "told.txt").write_bytes(text.encode())
    filling.keep({}, instructions_file="told.txt")
    answer = document(filling).answer("raters.instructions")
    assert answer.value == {"text": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert answer.status == "DECLARED"
    path = filling.subject.path
    path.write_text(path.read_text(encoding="utf-8").replace("longer", "shorter"), encoding="utf-8")
    with pytest.raises(BadInput, match="changed after it was stored"):
        document(filling)


@pytest.mark.parametrize(
    "text",
    ["a: b # c", "\u202eabc\x07", "=1+1", "line\n\n  # two\n---\n", "ünïcode 例", "- [x] yes"],
)
def test_what_is_kept_is_what_the_document_says(filling: Filling, text: str) -> None:
    filling.keep({"raters.pool": text})
    assert document(filling).answer("raters.pool").value == text.strip()


def test_declarations_of_a_run_stay_out_of_its_recorded_folders(
    filling: Filling, tmp_path: Path
) -> None:
    run = run_folder(tmp_path / "run", {"g00/i00": 0.3, "g01/i01": 0.4, "g01/i02": 0.5})
    before = sorted(p.name for p in (run / "reward_model").iterdir())
    subject = reward_subject(run, DIGEST)
    keep(subject, filling.form({"raters.pool": "readers"}))
    assert subject.path == run / "report" / "reward_declarations.yaml"
    assert sorted(p.name for p in (run / "reward_model").iterdir()) == before
    assert reward_answers(run, run / "reward_model").answer("raters.pool").value == "readers"


@pytest.mark.parametrize(
    ("answers", "top", "message"),
    [
        (
            {"governance.approval": {**APPROVAL, "role": ""}},
            {},
            "answers.governance.approval.role: empty",
        ),
        (
            {"governance.approval": {**APPROVAL, "by": "--"}},
            {},
            "answers.governance.approval.by: empty",
        ),
        (
            {"governance.approval": {**APPROVAL, "rol": "x"}},
            {},
            "answers.governance.approval.rol: unknown key",
        ),
        ({"governance.approval": "yes"}, {}, "expected by, role, date, decision"),
        ({"governance.changelog": [{"date": "2026-01-01"}]}, {}, "answers.governance.changelog[0]"),
        (
            {"governance.changelog": [{"date": "2026-01-01", "change": "??"}]},
            {},
            "answers.governance.changelog[0].change: '??' has no letter or digit",
        ),
        ({}, {"instructions_file": "nowhere.txt"}, "nowhere.txt: there is no such file"),
        ({}, {"instructions_file": "."}, "is a folder"),
        ({"raters.instructions": "x"}, {"instructions_file": "f.yaml"}, "give one of the two"),
    ],
)
def test_a_mistake_in_an_answer_of_parts_is_one_clear_message(
    filling: Filling, answers: dict[str, Any], top: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        filling.keep(answers, **top)
    assert message in str(caught.value)
