"""The declarations form: every question once, by group, document and who could know.

What is typed is kept as a draft until it is saved.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import streamlit as st

from reports.frameworks.declared import Declarations, run_declarations, stored
from reports.frameworks.forms import RUN_FILE, FormSubject, run_subject
from reports.frameworks.schema import Question
from reports.record.files import Records
from reports.viewer import frame, hosts
from reports.viewer.documents import drafts, making
from reports.viewer.documents.document_view import warn_signed
from reports.viewer.documents.drafts import folder_of
from reports.viewer.documents.form import (
    Given,
    Group,
    as_yaml,
    by_owner,
    checked,
    fed,
    frameworks,
    groups,
    kept,
    question_of,
)
from reports.viewer.documents.offering import identity, offer
from reports.viewer.people import Person, acting
from reports.viewer.text import escaped, said
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.evidence.shown import plain

UPLOAD_MB = 2
LONGEST = 20_000
ALL = "all documents"
TOP = ("declared_by", "role", "signature_file")


def show(run: Run, who: Person) -> None:
    """The view."""
    records = Records(run)
    about = run_subject(records)
    before = stored(about)
    place, folder = f"declare:{run.path.name}:", folder_of(run.run_id, who.identity or "")
    # Once for each tab and run: a redraw must not overwrite what is being typed.
    if f"{place}opened" not in st.session_state:
        _fill(place, before)
        st.session_state[f"{place}opened"] = before.sha256 if before else ""
        drafts.begin(place, folder, _given(place, who))
    st.caption(
        "What only people can say. It is shown as DECLARED, with your name; nobody checks it. "
        "Leave empty what you do not know: it is shown as MISSING. `N-A:` and a reason says that "
        "a question does not apply."
    )
    _said_before(before)
    warn_signed(run)
    drafts.offer(place, folder, lambda given: _fill(place, given))
    _fields(place, folder, who, making.recorded(run))
    _save(records, place, folder, who, before)
    st.caption(
        "What you type is kept as soon as you leave a field, outside the run, until you save it. "
        "After a reload of the tab it is offered here again."
    )
    _files(run, about, place, who)


def _said_before(before: Declarations | None) -> None:
    if before is None:
        said("Nobody has declared anything about this run.")
    else:
        said(
            plain(
                f"Kept so far: {_count(before)} by {before.declared_by or 'nobody'}, "
                f"{before.date}, in {RUN_FILE}.",
                400,
            )
        )


@st.fragment
def _fields(place: str, folder: Path, who: Person, by_record: frozenset[str]) -> None:
    """Everything that is typed.

    Each answer is sent as soon as its field is left, and only this part is drawn again. Not a form
    of Streamlit's: that would keep in the browser what nobody has sent, and a reload would lose it.
    """
    with frame.guarded():
        hosts.require()
    _person(place, who)
    _questions(place, by_record)
    drafts.keep_typed(place, folder, _given(place, who))


def _person(place: str, who: Person) -> None:
    if who.login:
        # A name that a login vouches for cannot be typed over.
        st.session_state[f"{place}declared_by"] = who.name
    name, role, day = st.columns(3)
    name.text_input(
        "Your name",
        key=f"{place}declared_by",
        max_chars=200,
        disabled=who.login,
        persist_state="session",
    )
    role.text_input("Your role", key=f"{place}role", max_chars=200, persist_state="session")
    day.date_input("Date", key=f"{place}date", format="YYYY-MM-DD", persist_state="session")


def _questions(place: str, by_record: frozenset[str]) -> None:
    every = groups()
    answered = {group.title: _answered(place, group) for group in every}
    titles = list(answered)
    title = st.segmented_control(
        "Questions about",
        titles,
        default=titles[0],
        required=True,
        key=f"{place}group",
        persist_state="session",
    )
    group = next((g for g in every if g.title == title), every[0])
    st.caption(
        f"{answered[group.title]} of {len(group.questions)} answered here, "
        f"{sum(answered.values())} of {sum(len(g.questions) for g in every)} in all."
    )
    for who, questions in by_owner(_asked(place, group)).items():
        st.subheader(escaped(f"For {who}"), anchor=False)
        for question in questions:
            _question(place, question, recorded=question.key in by_record)


def _asked(place: str, group: Group) -> list[Question]:
    """The questions of a group that the reader wants to see: those of one document, or all."""
    documents = sorted({name for q in group.questions for name in frameworks(q)})
    wanted = st.selectbox(
        "Only what this document asks",
        [ALL, *documents],
        key=f"{place}document",
        persist_state="session",
    )
    # A document of another group of questions.
    if wanted not in documents:
        return list(group.questions)
    return [q for q in group.questions if wanted in frameworks(q)]


def _question(place: str, question: Question, *, recorded: bool) -> None:
    with st.container(gap="xsmall"):
        st.text_area(
            escaped(question.asks),
            key=f"{place}{question.key}",
            height=80,
            max_chars=LONGEST,
            persist_state="session",
        )
        note = fed(question)
        if recorded:
            note += " The record answers this; what you write is shown beside it."
        st.caption(escaped(note))


def _answered(place: str, group: Group) -> int:
    return sum(bool(_typed(place, question.key).strip()) for question in group.questions)


def _save(
    records: Records, place: str, folder: Path, who: Person, before: Declarations | None
) -> None:
    now = before.sha256 if before else ""
    # What was stored when this form was opened is not what is stored now.
    other = st.session_state[f"{place}opened"] != now
    if other:
        st.warning(
            "Somebody else saved answers while this form was open. Saving takes their place.",
            title="Others were here",
        )
        st.checkbox("Put mine in the place of theirs", key=f"{place}replace")
    if st.button(
        "Save",
        key=f"{place}save",
        type="primary",
        icon=":material/save:",
        disabled=not who.may_write,
    ):
        if other and not st.session_state.get(f"{place}replace"):
            frame.problem(
                "Not saved",
                "What you typed is still here.",
                "Say first that yours replace what was saved.",
            )
            return
        try:
            who = acting("Saving", lambda one: one.may_write)
            # As a file of the command would be: the app accepts nothing that `restaudit declare`
            # refuses.
            saved = kept(records, as_yaml(run_subject(records), _given(place, who)))
            drafts.forget_saved(place, folder, _given(place, who))
        except BadInput as e:
            _refused(e)
            return
        st.session_state[f"{place}opened"] = stored_digest(records)
        st.session_state[f"{place}saved"] = f"{_count(saved)} by {saved.declared_by or 'nobody'}"
        # Drawn anew from the top: the lines above the form tell what is stored.
        st.rerun()
    if done := st.session_state.pop(f"{place}saved", None):
        st.success(
            (
                "They are shown as DECLARED in the clause documents now. The ledger does not cover "
                f"{RUN_FILE}."
            ),
            title="Saved",
        )
        said(plain(done))
    if not who.may_write:
        said(who.why_not("Saving").replace("`", ""))


def stored_digest(records: Records) -> str:
    """SHA-256 of what is stored now."""
    declarations = run_declarations(records)
    return declarations.sha256 if declarations else ""


def _files(run: Run, about: FormSubject, place: str, who: Person) -> None:
    with st.expander("The form as a file", icon=":material/upload_file:"):
        st.caption("The form as it stands above, to go on with later or in an editor.")
        st.text_input(
            "Name of the file that signs the form, if there will be one",
            key=f"{place}signature_file",
            max_chars=200,
            persist_state="session",
        )
        data = as_yaml(about, _given(place, who))
        offer(
            f"{place}file",
            (*identity(run), data),
            f"{run.path.name}-declarations.yaml",
            "application/yaml",
            lambda: data,
        )
        given = st.file_uploader(
            f"A filled form (YAML, at most {UPLOAD_MB} MB)",
            ["yaml", "yml"],
            key=f"{place}upload",
            max_upload_size=UPLOAD_MB,
        )
        if given is None:
            return
        try:
            form = checked(Records(run), given.getvalue())
        except BadInput as e:
            _refused(e)
            return
        said(plain(f"A valid form: {_count(form)} by {form.declared_by or 'nobody'}, {form.date}."))
        st.button(
            "Fill the form above with it", key=f"{place}take", on_click=_fill, args=(place, form)
        )
        st.caption("It takes the place of what is typed above. Nothing is saved yet.")


def _refused(error: BadInput) -> None:
    where, named = "", question_of(str(error))
    if named is not None:
        title, question = named
        where = f"The question is “{question.asks}”, under {title}. "
    st.error(f"{escaped(where)}What you typed is still here.", title="Not accepted")
    st.code(str(error), language=None, wrap_lines=True)


def _fill(place: str, known: Declarations | Given | None) -> None:
    """Put these declarations into the form; widgets of other groups take them when they are
    drawn.
    """
    for key in TOP:
        st.session_state[f"{place}{key}"] = getattr(known, key) if known else ""
    day = datetime.date.fromisoformat(known.date) if known and known.date else None
    st.session_state[f"{place}date"] = day or datetime.datetime.now(datetime.UTC).date()
    for group in groups():
        _fill_group(place, group, known)


def _fill_group(place: str, group: Group, known: Declarations | Given | None) -> None:
    answers = known.answers if known else {}
    for question in group.questions:
        st.session_state[f"{place}{question.key}"] = answers.get(question.key, "")


def _count(known: Declarations) -> str:
    count = len(known.answers)
    return "1 answer" if count == 1 else f"{count} answers"


def _typed(place: str, key: str) -> str:
    return str(st.session_state.get(f"{place}{key}") or "")


def _given(place: str, who: Person) -> Given:
    day = st.session_state.get(f"{place}date")
    keys = [question.key for group in groups() for question in group.questions]
    return Given(
        declared_by=who.name if who.login else _typed(place, "declared_by"),
        role=_typed(place, "role"),
        date=day.isoformat() if isinstance(day, datetime.date) else "",
        signature_file=_typed(place, "signature_file"),
        answers={key: _typed(place, key) for key in keys},
    )
