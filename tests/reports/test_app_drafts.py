"""Declarations that were typed and not saved: kept outside the run, offered after a reload, and
nothing but a form.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from claims import login
from make_run import HOSTILE, make_run
from streamlit.testing.v1 import AppTest

from reports.frameworks.declared import run_declarations
from reports.record.files import Records
from reports.viewer.documents import drafts
from reports.viewer.documents.form import Given
from restaudit.errors import BadInput
from restaudit.evidence.record import Run

ROOT = Path(__file__).parents[2]
PURPOSE = "declare:run:system.purpose"
SAVE = "declare:run:save"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("RESTAUDIT_CACHE", str(tmp_path / "cache"))
    return make_run(tmp_path / "runs" / "run")


def _tab(user: dict[str, Any] | None = None) -> AppTest:
    """The form in a new browser tab."""
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()
    if user is not None:
        at.user = user
    at.switch_page("app_pages/documents.py").run()
    at.segmented_control(key="documents_view").set_value("declare").run()
    assert not at.exception, at.exception
    return at


def _files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.json"))


def _offered(at: AppTest, what: str) -> list[str]:
    return [b.key for b in at.button if f"draft_{what}_" in b.key]


def _click(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click().run()
    assert not at.exception, at.exception
    return at


def _everything(run: Path) -> dict[str, bytes]:
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_what_was_typed_is_offered_after_a_reload_and_gone_when_it_is_saved(
    run: Path, tmp_path: Path
) -> None:
    before = _everything(run)
    at = _tab()
    assert _files(tmp_path) == []
    at.text_input(key="declare:run:declared_by").set_value(HOSTILE[1]).run()
    at.text_area(key=PURPOSE).set_value("To write\nreviews.").run()
    assert _everything(run) == before
    (file,) = _files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = _tab()
    assert again.text_area(key=PURPOSE).value == ""
    (take,) = _offered(again, "take")
    assert any("1 answer(s) by" in t.value for t in again.text)
    _click(again, take)
    assert again.text_area(key=PURPOSE).value == "To write\nreviews."
    assert again.text_input(key="declare:run:declared_by").value == HOSTILE[1]
    assert _offered(again, "take") == []
    assert len(_files(tmp_path)) == 1
    _click(again, SAVE)
    saved = run_declarations(Records(Run(run)))
    assert saved is not None
    assert saved.answers["system.purpose"] == "To write\nreviews."
    assert _files(tmp_path) == []
    assert _offered(_tab(), "take") == []


def test_a_form_that_nobody_typed_into_leaves_nothing(run: Path, tmp_path: Path) -> None:
    at = _tab()
    at.segmented_control(key="documents_view").set_value("report").run()
    at.segmented_control(key="documents_view").set_value("declare").run()
    assert _files(tmp_path) == []


def test_two_tabs_keep_a_draft_each(run: Path, tmp_path: Path) -> None:
    one, two = _tab(), _tab()
    one.text_area(key=PURPOSE).set_value("one").run()
    two.text_area(key=PURPOSE).set_value("two").run()
    third = _tab()
    assert len(_offered(third, "take")) == 2
    _click(third, _offered(third, "drop")[0])
    assert len(_offered(third, "take")) == len(_files(tmp_path)) == 1
    # The newest comes first, so the first tab's is left; what the second still has open is kept
    # again.
    assert json.loads(_files(tmp_path)[0].read_text())["answers"]["system.purpose"] in (
        "one",
        "two",
    )
    two.text_area(key=PURPOSE).set_value("two and more").run()
    assert {json.loads(f.read_text())["answers"]["system.purpose"] for f in _files(tmp_path)} >= {
        "two and more"
    }


def test_a_draft_is_offered_to_the_person_who_typed_it_only(run: Path, tmp_path: Path) -> None:
    ada, ben = (login(name=n, email=f"{n}@example.org", roles=["approver"]) for n in ("Ada", "Ben"))
    _tab(ada).text_area(key=PURPOSE).set_value("mine").run()
    assert len(_files(tmp_path)) == 1
    assert _offered(_tab(ben), "take") == []
    assert _offered(_tab(), "take") == []
    assert len(_offered(_tab(ada), "take")) == 1


def test_a_file_that_is_no_draft_is_said_and_not_offered(run: Path, tmp_path: Path) -> None:
    folder = drafts.folder_of(Run(run).run_id, "")
    drafts.write(
        folder, "0" * 16, Given("Ada", "", "2026-01-02", answers={"system.purpose": "typed"})
    )
    good = (folder / f"{'0' * 16}.json").read_text()
    for k, bad in enumerate(
        [
            "{",
            "[]",
            good.replace('"schema": 1', '"schema": 2'),
            good.replace("2026-01-02", "soon"),
            good.replace('"typed"', "3"),
            good.replace('"at": "2', '"at": "x'),
        ]
    ):
        (folder / f"{k + 1:016x}.json").write_text(bad)
    (folder / "a.json").write_text(good)
    found, unreadable = drafts.drafts_in(folder)
    assert [d.given.declared_by for d in found] == ["Ada"]
    assert len(unreadable) == 7
    at = _tab()
    assert len(_offered(at, "take")) == 1
    assert any("7 file(s)" in c.value for c in at.caption)


def test_a_draft_that_cannot_be_kept_is_said_and_the_form_goes_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _tab()
    (tmp_path / "cache").write_text("a file where the folder should be")
    at.text_area(key=PURPOSE).set_value("typed").run()
    assert not at.exception
    assert [e.value for e in at.error] == ["A reload loses it: save it."]
    assert at.text_area(key=PURPOSE).value == "typed"


def test_a_name_of_a_draft_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not the name of a draft"):
        drafts.remove(tmp_path, "../x")
