"""The page "Reports and exports": what is downloaded is what the command line writes, what is typed
is never lost.
"""

from __future__ import annotations

import io
import json
import math
import os
import time
import zipfile
from pathlib import Path
from typing import Any, get_args

import pytest
from claims import login
from make_run import HOSTILE, State, make_run
from streamlit.testing.v1 import AppTest

from reports.document.render import FORMATS, Format, render
from reports.frameworks.declared import run_declarations
from reports.record.files import Records
from reports.reward.commands import DossierFormat, answers, rendered
from reports.run_report.build import run_report
from reports.viewer import logins
from reports.viewer.documents import making
from reports.viewer.documents.form import groups
from reports.viewer.people import person
from restaudit.evidence.record import Run
from restaudit.evidence.seal.keys import load_private, new_key
from restaudit.evidence.seal.signer import Signer
from restaudit.evidence.verify import verify
from tests.evidence.runs import signed_run

ROOT = Path(__file__).parents[2]
FIRST_BYTES: dict[Format, bytes] = {
    "html": b"<!DOCTYPE html>",
    "pdf": b"%PDF",
    "docx": b"PK",
    "md": b"# ",
    "json": b"{",
}


def _page(
    root: Path, monkeypatch: pytest.MonkeyPatch, view: str, user: dict[str, Any] | None = None
) -> AppTest:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(root))
    # Drafts of declarations lie in the user's cache folder.
    monkeypatch.setenv("RESTAUDIT_CACHE", str(root / ".cache"))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()
    if user is not None:
        at.user = user
    at.switch_page("app_pages/documents.py").run()
    return _view(at, view)


def _view(at: AppTest, view: str) -> AppTest:
    if at.get("segmented_control"):
        at.segmented_control(key="documents_view").set_value(view).run()
    assert not at.exception, at.exception
    return at


def _files(run: Path) -> dict[str, bytes]:
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def _click(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click().run()
    assert not at.exception, at.exception
    return at


@pytest.mark.parametrize("form", FORMATS)
def test_a_prepared_report_is_the_rendered_document_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format
) -> None:
    run = make_run(tmp_path / "run")
    before = _files(run)
    at = _page(tmp_path, monkeypatch, "report")
    assert not at.download_button
    at.segmented_control(key="report_format").set_value(form).run()
    _click(at, "report_prepare")
    data = at.session_state["report_file"].data
    assert data.startswith(FIRST_BYTES[form])
    assert data == render(run_report(Run(run)), form)
    assert at.download_button(key="report_download").label.startswith(f"Download run-report.{form}")
    assert _files(run) == before


def test_the_download_goes_when_another_format_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch, "report")
    _click(at, "report_prepare")
    assert at.download_button
    at.segmented_control(key="report_format").set_value("md").run()
    assert not at.download_button


def test_a_report_is_kept_in_the_run_folder_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch, "report")
    at.segmented_control(key="report_format").set_value("md").run()
    _click(at, "report_keep")
    assert at.success
    assert (run / "report/report.md").read_bytes() == render(run_report(Run(run)), "md")
    assert any(c.value == str(run / "report/report.md") for c in at.code)


def test_clauses_begin_with_coverage_and_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch, "clauses")
    at.selectbox(key="framework").set_value("eu-annex-iv").run()
    said = at.subheader[0].value
    assert "not conformity" in said
    assert at.header[0].value == making.clause_document(Run(run), "eu-annex-iv").sections[0].title
    _click(at, "clauses_prepare")
    assert at.session_state["clauses_file"].data == render(
        making.clause_document(Run(run), "eu-annex-iv"), "html"
    )


def _reward_page(root: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(root))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()
    return at.switch_page("app_pages/reward.py").run()


@pytest.mark.parametrize("form", FORMATS)
def test_the_reward_models_document_is_prepared_as_the_command_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format
) -> None:
    run = make_run(tmp_path / "run")
    before = _files(run)
    at = _reward_page(tmp_path, monkeypatch)
    at.segmented_control(key="dossier_format").set_value(form).run()
    _click(at, "dossier_prepare")
    data = at.session_state["dossier_file"].data
    assert data.startswith(FIRST_BYTES[form])
    assert data == rendered(answers(run), DossierFormat(form))
    assert at.download_button(key="dossier_download").label.startswith(
        f"Download run-reward-model.{form}"
    )
    assert _files(run) == before


def test_a_stress_report_of_another_reward_is_said_and_no_document_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(tmp_path / "run") / "report" / "stress.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"findings": [], "failures": [], "counts": {}, "reward_digest": "e" * 64})
    )
    at = _click(_reward_page(tmp_path, monkeypatch), "dossier_prepare")
    assert any("about another reward than this one" in c.value for c in at.code)
    assert not at.download_button


def test_exports_are_one_archive_with_the_chosen_formats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    before = _files(run)
    at = _page(tmp_path, monkeypatch, "exports")
    at.multiselect(key="export_formats").set_value(["prov", "cyclonedx"]).run()
    _click(at, "exports_prepare")
    data = at.session_state["exports_file"].data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert {f["format"] for f in manifest["files"].values()} == {"prov", "cyclonedx"}
        assert set(archive.namelist()) == {*manifest["files"], "manifest.json"}
    assert data == making.exports_zip(Run(run), ("cyclonedx", "prov"))
    assert _files(run) == before


@pytest.mark.parametrize("view", ["report", "clauses", "exports", "bundle", "declare", "override"])
def test_every_view_shows_every_kind_of_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    for state in get_args(State):
        make_run(tmp_path / state, state)
    at = _page(tmp_path, monkeypatch, "report")
    for state in get_args(State):
        at.selectbox(key="run").set_value(state).run()
        _view(at, view)
        for button in ("report_prepare", "clauses_prepare", "exports_prepare", "bundle_prepare"):
            if button in [b.key for b in at.button]:
                _click(at, button)
        markup = "\n".join(
            str(e.value)
            for kind in ("markdown", "caption", "error", "warning")
            for e in at.get(kind)
        )
        assert not any(text in markup for text in HOSTILE)


# --- declarations


def test_answers_are_saved_as_restaudit_declare_saves_them_and_shown_as_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch, "declare")
    at.text_input(key="declare:run:declared_by").set_value(HOSTILE[0])
    at.text_area(key="declare:run:system.purpose").set_value(
        "To write reviews.\nNothing else."
    ).run()
    other = groups()[2]
    at.segmented_control(key="declare:run:group").set_value(other.title).run()
    at.text_area(key=f"declare:run:{other.questions[0].key}").set_value("A shop's own texts.")
    _click(at, "declare:run:save")
    assert at.success
    found = run_declarations(Records(Run(run)))
    assert found is not None
    assert found.answers == {
        "system.purpose": "To write reviews.\nNothing else.",
        other.questions[0].key: "A shop's own texts.",
    }
    assert found.declared_by == HOSTILE[0]
    document = render(making.clause_document(Run(run), "eu-annex-iv"), "md").decode()
    assert "DECLARED" in document
    assert "To write reviews." in document
    shown = _page(tmp_path, monkeypatch, "clauses")
    shown.selectbox(key="framework").set_value("eu-annex-iv").run()
    shown.selectbox(key="clause_section_eu-annex-iv").set_value(1).run()
    said = "\n".join([c.value for c in shown.caption] + [t.value for t in shown.text])
    assert "DECLARED" in said
    assert "To write reviews. ⏎ Nothing else." in said


@pytest.mark.parametrize(
    ("key", "typed", "said"),
    [
        ("declared_by", "", "declared_by: empty"),
        ("compute.original_flop", "a lot", "expected a positive number"),
        ("system.purpose", "...", "has no letter or digit"),
        ("signature_file", "../x", "expected the name of a file"),
    ],
)
def test_a_bad_form_is_refused_by_name_and_stays_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, typed: str, said: str
) -> None:
    run = make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch, "declare")
    at.text_input(key="declare:run:declared_by").set_value("Ada")
    at.text_area(key="declare:run:system.provider").set_value("The shop").run()
    at.session_state[f"declare:run:{key}"] = typed
    _click(at, "declare:run:save")
    assert any(said in c.value for c in at.code)
    assert not any("/tmp" in c.value for c in at.code)
    assert not (run / "report").exists()
    assert at.session_state[f"declare:run:{key}"] == typed
    assert at.text_area(key="declare:run:system.provider").value == "The shop"


def test_what_was_typed_is_there_after_another_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch, "declare")
    at.text_area(key="declare:run:system.purpose").set_value("typed").run()
    at.switch_page("app_pages/run.py").run()
    _view(at.switch_page("app_pages/documents.py").run(), "declare")
    assert at.text_area(key="declare:run:system.purpose").value == "typed"


def test_a_filled_file_is_read_into_the_form_and_a_bad_one_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch, "declare")
    at.text_input(key="declare:run:declared_by").set_value("Ada")
    at.text_area(key="declare:run:system.purpose").set_value("Reviews")
    _click(at, "declare:run:file_prepare")
    form = at.session_state["declare:run:file_file"].data
    again = _page(tmp_path, monkeypatch, "declare")
    again.file_uploader(key="declare:run:upload").upload("form.yaml", form).run()
    _click(again, "declare:run:take")
    assert again.text_area(key="declare:run:system.purpose").value == "Reviews"
    assert again.text_input(key="declare:run:declared_by").value == "Ada"
    for bad in (
        b"\xff\xfe",
        b"[1, 2",
        form.replace(b"run_id:", b"run_idd:"),
        form.replace(b"plan_event: ", b"#"),
        b"",
    ):
        at = _page(tmp_path, monkeypatch, "declare")
        at.file_uploader(key="declare:run:upload").upload("form.yaml", bad).run()
        assert not at.exception
        assert at.error[0].value.endswith("What you typed is still here.")


def test_answers_that_somebody_saved_meanwhile_are_not_replaced_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    mine, theirs = (_page(tmp_path, monkeypatch, "declare") for _ in range(2))
    for at, name in ((theirs, "Bo"), (mine, "Ada")):
        at.text_input(key="declare:run:declared_by").set_value(name)
        at.text_area(key="declare:run:system.purpose").set_value(f"says {name}")
        _click(at, "declare:run:save")
    found = run_declarations(Records(Run(run)))
    assert found is not None
    assert found.declared_by == "Bo"
    mine.checkbox(key="declare:run:replace").check()
    _click(mine, "declare:run:save")
    found = run_declarations(Records(Run(run)))
    assert found is not None
    assert found.answers == {"system.purpose": "says Ada"}


def test_with_a_login_answers_are_saved_in_its_name_and_not_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    viewer = login(name="Vi", roles=["viewer"])
    for nobody in (
        {"is_logged_in": False},
        viewer,
        {**viewer, "roles": "rater"},
        {**viewer, "roles": None},
    ):
        out = _page(tmp_path, monkeypatch, "declare", nobody)
        assert out.button(key="declare:run:save").disabled
        out = _page(tmp_path, monkeypatch, "report", nobody)
        assert out.button(key="report_keep").disabled
        assert any("needs" in t.value and "approver" in t.value for t in out.text)
    user = login(name="Ada", email="ada@example.org", roles=["approver"])
    at = _page(tmp_path, monkeypatch, "declare", user)
    assert at.text_input(key="declare:run:declared_by").disabled
    at.text_area(key="declare:run:system.purpose").set_value("Reviews")
    _click(at, "declare:run:save")
    found = run_declarations(Records(Run(run)))
    assert found is not None
    assert found.declared_by == "Ada (ada@example.org)"


def test_a_signed_report_folder_is_spoken_of_before_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    (run / "signatures").mkdir()
    (run / "signatures/report.dsse.json").write_text("{}")
    for view in ("report", "declare"):
        at = _page(tmp_path, monkeypatch, view)
        assert any("restaudit sign" in w.value for w in at.warning)


# --- override


def _override(at: AppTest, name: str | None, reason: str) -> AppTest:
    if name is not None:
        at.text_input(key="override:run:name").set_value(name)
    at.text_area(key="override:run:reason").set_value(reason)
    return _click(at, "override:run:next")


def test_an_override_is_confirmed_recorded_and_shown_with_the_command_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", "halted")
    at = _page(tmp_path, monkeypatch, "override")
    assert any("anybody who can open it can do this" in w.value for w in at.warning)
    _override(at, "Ada Moreau", "the low ratings come from\none rater")
    assert Run(run).halt is not None
    _click(at, "override:run:record")
    made = Run(run).overrides()
    assert [(o.by, o.reason) for o in made] == [
        ("Ada Moreau", "the low ratings come from one rater")
    ]
    assert any("Overridden by Ada Moreau" in t.value for t in at.text)
    assert any(c.value == f"restaudit resume {run}" for c in at.code)


def test_a_name_or_reason_that_says_nothing_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", "halted")
    at = _page(tmp_path, monkeypatch, "override")
    for name, reason in (
        ("A", "a reason long enough"),
        ("Ada", "short"),
        ("Ada", "‮ turned around text"),
    ):
        _override(at, name, reason)
        assert at.error
        assert at.text_area(key="override:run:reason").value == reason
    assert Run(run).halt is not None


def test_going_back_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", "halted")
    at = _override(_page(tmp_path, monkeypatch, "override"), "Ada", "looked at the evidence")
    _click(at, "override:run:back")
    assert at.text_area(key="override:run:reason").value == "looked at the evidence"
    assert Run(run).halt is not None


@pytest.mark.parametrize("user", [{"is_logged_in": False}, login(name="Bo", roles=["rater"])])
def test_with_a_login_only_an_approver_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: dict[str, Any]
) -> None:
    make_run(tmp_path / "run", "halted")
    at = _page(tmp_path, monkeypatch, "override", user)
    assert at.info
    assert not any((b.key or "").startswith("override:") for b in at.button)
    if not user["is_logged_in"]:
        assert at.button(key="documents_login")


def test_an_approver_overrides_in_their_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", "halted")
    user = login(name="Ada", email="ada@example.org", roles="rater approver")
    at = _page(tmp_path, monkeypatch, "override", user)
    _override(at, None, "looked at the evidence")
    at.user = user
    _click(at, "override:run:record")
    assert [o.by for o in Run(run).overrides()] == ["Ada (ada@example.org)"]


def test_a_signed_run_is_overridden_only_with_its_own_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESTAUDIT_KEY", raising=False)
    private = new_key(tmp_path / "key.pem")[0]
    run = signed_run(tmp_path / "runs/run", Signer(load_private(private)), halted=True)
    at = _override(
        _page(tmp_path / "runs", monkeypatch, "override"), "Ada", "looked at the evidence"
    )
    _click(at, "override:run:record")
    assert Run(run).halt is not None
    assert any("--key FILE" in e.value for e in at.error)
    monkeypatch.setenv("RESTAUDIT_KEY", str(private))
    _click(at, "override:run:record")
    assert [o.by for o in Run(run).overrides()] == ["Ada"]
    assert verify(run).signed.through == len(Run(run).events) - 1
    assert any(c.value.endswith("--key FILE") for c in at.code)


def test_a_run_that_was_not_halted_offers_no_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch, "override")
    assert "Override" not in at.segmented_control(key="documents_view").options
    assert not any((b.key or "").startswith("override:") for b in at.button)


def test_roles_and_names_come_from_claims_only() -> None:
    assert person({"email": "x"}).may_override
    assert not person({"is_logged_in": False, "roles": ["approver"]}).may_override
    assert not person(login(is_logged_in="true", roles=["approver"])).may_override
    assert not person(login(sub=None, roles=["approver"])).may_override
    assert not person(login(sub=None, name="A", roles=["approver"])).may_override
    assert not person(login(roles="approvers")).may_override
    assert person(login(email="a@b", roles="x,approver")).may_override


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({}, "viewer"),
        ({"roles": []}, "viewer"),
        ({"roles": ["admin", 3, None]}, "viewer"),
        ({"roles": {"approver": True}}, "viewer"),
        ({"roles": ["viewer", "rater"]}, "rater"),
        ({"roles": "restaudit:rater"}, "rater"),
        ({"restaudit_role": "approver", "roles": ["viewer"]}, "approver"),
    ],
)
def test_the_highest_role_of_the_claims_counts_and_no_claim_is_a_viewer(
    claims: dict[str, Any], role: str
) -> None:
    who = person(login(name="A", email="a@b", **claims))
    assert who.role == role
    assert (who.may_rate, who.may_ask, who.may_write) == {
        "viewer": (False, False, False),
        "rater": (True, False, False),
        "approver": (True, True, True),
    }[role]


@pytest.mark.parametrize("checked", [False, None, "false", "yes", "1"])
def test_an_address_that_nobody_checked_is_no_identity_and_no_name(checked: object) -> None:
    typed = person(login(name="Ada", email="ada@example.org", email_verified=checked))
    assert typed.identity == "https://id.example@7"
    assert typed.name == "Ada (7 at https://id.example)"
    assert person(login(email="a@b", email_verified="true")).identity == "a@b"


@pytest.mark.parametrize("name", ["Ada (ada@example.org)", "ada@example.org", "Ada\u200b", "(x)"])
def test_a_name_that_could_be_taken_for_what_the_provider_vouches_for_is_left_out(
    name: str,
) -> None:
    assert person(login(name=name, email="m@example.org")).name == "m@example.org"


def test_a_login_ends_after_a_days_work_and_without_a_time_never_began() -> None:
    now = time.time()
    for iat in (0, None, "now", True, math.nan, now - 13 * 3600, now + 3600):
        who = person(login(iat=iat, email="a@b", roles=["approver"]))
        assert (who.login, who.logged_in, who.role, who.name) == (True, False, "viewer", "")
    assert person(login(iat=now - 11 * 3600, email="a@b", roles=["approver"])).may_override


def test_a_login_that_was_ended_is_none_in_any_browser_and_the_next_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUDIT_CACHE", str(tmp_path))
    first = login(email="a@b", roles=["approver"], nonce="1")
    assert person(first).may_override
    logins.end(first)
    assert not person(first).logged_in
    assert person({**first, "nonce": "2"}).may_override
    # What has ended by its age needs no file.
    (old,) = (tmp_path / logins.FOLDER).iterdir()
    os.utime(old, (0, 0))
    logins.end({**first, "nonce": "2"})
    assert len(list((tmp_path / logins.FOLDER).iterdir())) == 1


def test_what_was_drawn_for_a_login_does_nothing_once_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", "halted")
    user = login(email="ada@example.org", roles=["approver"])
    at = _page(tmp_path, monkeypatch, "override", user)
    _override(at, None, "looked at the evidence")
    logins.end(user)
    at.user = user
    _click(at, "override:run:record")
    assert Run(run).halt is not None
    assert not Run(run).overrides()
    at.user = user
    at.switch_page("app_pages/rate.py").run()
    assert any("Log in first" in i.value or "who you are" in i.value for i in at.info)
