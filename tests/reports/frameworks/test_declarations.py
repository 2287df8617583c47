"""One reader for what people declare: what it refuses about a run it refuses about a reward model,
and what was said comes back as it was said.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reports.frameworks.declared import as_yaml, keep, read, store, stored, template
from reports.frameworks.forms import MOST_BYTES, REWARD_FORM, RUN_FORM, Form, FormSubject
from restaudit.errors import BadInput
from tests.reports.frameworks.forms_to_fill import KINDS, Filling

Make = Callable[[Filling], Path]


@pytest.fixture(params=sorted(KINDS))
def filling(request: pytest.FixtureRequest, tmp_path: Path) -> Filling:
    """A form about a run, then one about a reward model."""
    return KINDS[request.param](tmp_path)


def said(answer: Any, **top: Any) -> Make:
    """A form with one answer to a free question."""
    return lambda f: f.form({f.free: answer}, **top)


# What is wrong -> a form that has it, and what the message says.
BAD: dict[str, tuple[Make, str]] = {
    "a key given twice": (
        lambda f: f.text(f"answers: {{{f.free}: one, {f.free}: two}}\n"),
        "comes twice",
    ),
    "a top key given twice": (
        lambda f: f.text("declared_by: Ada\ndeclared_by: Bo\n"),
        "the key 'declared_by' comes twice",
    ),
    "an unknown key": (
        lambda f: f.form({}, declard_by="x"),
        "declard_by: unknown key (did you mean 'declared_by'?)",
    ),
    "an unknown question": (lambda f: f.form({f"{f.free}s": "x"}), "unknown key (did you mean"),
    "a question that the record answers": (
        lambda f: f.form({f.recorded: "all well"}),
        "unknown key; the record answers that one, and nobody can declare it",
    ),
    "a placeholder for an answer": (said("??"), "'??' has no letter or digit"),
    "an invisible answer": (said("\u200b - "), "has no letter or digit"),
    "a placeholder in a list": (said(["yes", "--"]), "'--' has no letter or digit"),
    "no name": (said("x", declared_by=""), "declared_by: empty; 1 answers need the name"),
    "a placeholder for a name": (said("x", declared_by="--"), "declared_by: empty"),
    "a placeholder for name and answer": (said("??", declared_by="--"), "no letter or digit"),
    "a name of two lines": (said("x", declared_by="a\nb"), "declared_by: expected one line"),
    "no date": (said("x", date=""), "date: ''; expected a date such as 2026-01-31"),
    "no day": (said("x", date="yesterday"), "date: 'yesterday'; expected a date"),
    "an answer that is a mapping": (said({"a": 1}), "expected text or a list of texts, got a dict"),
    "a list in a list": (said([["x"]]), "expected text or a list of texts, got a list"),
    "answers that are a list": (lambda f: f.form([1]), "answers: expected a mapping"),
    "another schema": (lambda f: f.form({}, schema="v2"), "schema: 'v2'; expected"),
    "another subject": (
        lambda f: f.form({}, **{f.subject.form.bound_by[-1]: "0" * 64}),
        "the form is about another",
    ),
    "broken YAML": (lambda f: f.text("a: [1"), "not valid YAML"),
    "no mapping": (lambda f: f.text("- a\n- b\n"), "expected a mapping with the keys"),
    "a reference": (lambda f: f.text("a: &x [1]\nb: *x\n"), "a reference (*name) is not allowed"),
    "an object to build": (
        lambda f: f.text("!!python/object/apply:os.system ['true']\n"),
        "not valid YAML",
    ),
    "brackets without end": (lambda f: f.text("[" * 1500), "nested more than 64 levels"),
    "a control character": (lambda f: f.text("\x00"), "not valid YAML"),
    "a day that is none": (lambda f: f.text("date: 2026-99-99\n"), "not valid YAML"),
    "too many bytes": (lambda f: f.text("#" * (f.subject.form.most_bytes + 1)), "expected at most"),
    "no such file": (lambda f: f.at / "none.yaml", "there is no such file"),
    "a folder": (lambda f: f.at, "is a folder"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_form_that_is_not_valid_is_refused_with_its_place(filling: Filling, wrong: str) -> None:
    make, message = BAD[wrong]
    path = make(filling)
    with pytest.raises(BadInput) as caught:
        keep(filling.subject, path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert not filling.subject.path.exists()


def test_bytes_that_are_no_text_are_refused(filling: Filling) -> None:
    path = filling.at / "form.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not UTF-8 text"):
        keep(filling.subject, path)


def test_a_pipe_is_refused_and_not_waited_for(filling: Filling) -> None:
    pipe = filling.at / "pipe.yaml"
    os.mkfifo(pipe)
    with pytest.raises(BadInput, match="is a named pipe"):
        keep(filling.subject, pipe)


@pytest.mark.parametrize("part", ["the file", "its folder"])
def test_a_link_in_the_folder_is_neither_read_nor_written_through(
    filling: Filling, part: str
) -> None:
    outside = filling.at / "outside"
    outside.mkdir()
    kept = filling.subject.path
    if part == "the file":
        (outside / "x.yaml").write_text("untouched")
        kept.parent.mkdir(exist_ok=True)
        kept.symlink_to(outside / "x.yaml")
    elif kept.parent == filling.subject.folder:
        pytest.skip("kept in the folder itself, which a person may name by a link")
    else:
        kept.parent.symlink_to(outside)
    with pytest.raises(BadInput, match="symbolic link"):
        filling.keep({filling.free: "Reviews."})
    with pytest.raises(BadInput, match="symbolic link"):
        filling.stored()
    assert {p.name: p.read_text() for p in outside.iterdir()} in ({}, {"x.yaml": "untouched"})


def test_what_is_kept_by_hand_is_read_as_strictly(filling: Filling) -> None:
    filling.keep({filling.free: "Reviews."})
    path = filling.subject.path
    path.write_text(path.read_text().replace("Ada Moreau", "'--'"))
    with pytest.raises(BadInput, match="declared_by: empty"):
        filling.stored()


def test_declarations_copied_from_elsewhere_are_refused_when_they_are_read(
    filling: Filling,
) -> None:
    filling.keep({filling.free: "Reviews."})
    key = filling.subject.form.bound_by[-1]
    other = replace(filling.subject, bound={**filling.subject.bound, key: "e" * 64})
    with pytest.raises(BadInput, match="about another"):
        stored(other)
    assert stored(other, others=[filling.subject.bound[key]]) is None


def test_a_filled_form_is_kept_with_its_digest_and_read_again(filling: Filling) -> None:
    answers = {filling.free: " Reviews. ", filling.other: False}
    kept = filling.keep(answers)
    assert kept == filling.stored()
    assert kept.answers == {filling.free: "Reviews.", filling.other: "no"}
    assert (kept.declared_by, kept.date) == ("Ada Moreau", "2026-03-02")
    data = filling.subject.path.read_bytes()
    assert kept.sha256 == hashlib.sha256(data).hexdigest()
    filling.keep(answers)
    assert filling.subject.path.read_bytes() == data


def test_the_form_asks_every_declarable_question_once_and_keeps_what_was_said(
    filling: Filling,
) -> None:
    known = filling.keep({filling.free: "Reviews."})
    text = template(filling.subject, [filling.other], known)
    form = yaml.safe_load(text)
    asked = [q.key for q in filling.subject.form.questions().declarable]
    assert list(form) == list(filling.subject.form.keys)
    assert list(form["answers"]) == asked
    assert (form["answers"][filling.free], form["declared_by"]) == ("Reviews.", "Ada Moreau")
    marked = text.split("the record answers this")
    assert len(marked) == 2
    assert marked[1].splitlines()[1].strip().startswith(f"{filling.other}:")


def test_an_empty_form_is_valid_and_says_nothing(filling: Filling) -> None:
    path = filling.text(template(filling.subject, [], None))
    kept = keep(filling.subject, path)
    assert kept.answers == {}
    assert filling.stored() == kept


@pytest.mark.parametrize("form", [RUN_FORM, REWARD_FORM], ids=["run", "reward"])
@given(text=st.text(min_size=1, max_size=60))
def test_any_text_comes_back_as_it_was_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, form: Form, text: str
) -> None:
    path = tmp_path_factory.mktemp("form") / "declarations.yaml"
    question = next(q for q in form.questions().declarable if q.kind == "text")
    bound = dict.fromkeys(form.bound_by, "0" * 64)
    whole = {"schema": form.schema, **bound, "declared_by": "Ada", "date": "2026-01-31"}
    # Escapes keep what YAML itself would read as a line break (U+0085, U+2028).
    path.write_text(yaml.safe_dump({**whole, "answers": {question.key: text}}), encoding="utf-8")
    subject = FormSubject(form, bound, path.parent, path.name)
    try:
        found = read(path, form, subject)
    except BadInput:
        return
    assert found.answers.get(question.key, "") == text.strip()
    sha256 = store(found, subject)
    again = read(path, form, subject)
    assert (again.answers, again.sha256) == (found.answers, sha256)


def test_a_reward_form_has_room_for_the_longest_instructions(tmp_path: Path) -> None:
    # A hundredth of the longest, all signs that are escaped twice over: the file grows in
    # proportion, and two megabytes of YAML take a quarter of a minute.
    filling = KINDS["reward"](tmp_path)
    text = "a" + "\x07" * (MOST_BYTES // 100 - 1)
    (tmp_path / "told.txt").write_text(text)
    before = set(tmp_path.rglob("*"))
    filling.keep(instructions_file="told.txt")
    kept = filling.stored()
    assert kept is not None
    assert kept.answers["raters.instructions"]["text"] == text
    written = [p.stat().st_size for p in set(tmp_path.rglob("*")) - before if p.is_file()]
    assert 100 * max(written) <= REWARD_FORM.most_bytes


# --- YAML for people


@pytest.mark.parametrize(
    "text",
    ["0\x850", "a\u2028b", "日本", "a: b", "- x", "#", "'", "\ufeff", "yes", "1e3", "a\nb\n"],
)
def test_a_text_that_yaml_would_change_is_escaped(text: str) -> None:
    assert yaml.safe_load(as_yaml({"k": text})) == {"k": text}


def test_letters_stay_as_they_are_and_order_is_kept() -> None:
    assert as_yaml({"b": "日本", "a": "é"}) == "b: 日本\na: é\n"


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=30), max_size=4))
def test_any_mapping_of_texts_comes_back(value: dict[str, str]) -> None:
    assert yaml.safe_load(as_yaml(value)) == value
