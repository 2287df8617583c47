"""Code that a plan names runs only for who sealed the plan here, or names it on the command line."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput
from restaudit.evidence import named_code
from restaudit.loop.running import resume, start
from restaudit.reward_audit.standalone import configured, loaded
from tests.loop.conftest import tiny_raw
from tests.reports.make_run import resealed

MARK = "ran.txt"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESTAUDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def begun(tiny_policy: Path, job_folder: Path, silent: Reporter) -> Path:
    """A run whose plan is sealed, and that stopped before its reward was built."""
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    run = job_folder / "mine"
    raw["reward"] = {"kind": "python", "callable": "rewards_of_test:broken"}
    with pytest.raises(BadInput):
        start(parse(raw), run, silent)
    assert (run / "plan.json").is_file()
    sys.modules.pop("rewards_of_test", None)
    # Whoever imports it leaves a mark.
    source = job_folder / "rewards_of_test.py"
    source.write_text(
        f"open({str(job_folder / MARK)!r}, 'a').close()\n{source.read_text(encoding='utf-8')}",
        encoding="utf-8",
    )
    return run


def imported(run: Path) -> bool:
    return (run.parent / MARK).exists()


def test_ones_own_run_goes_on_without_being_asked(begun: Path, silent: Reporter) -> None:
    # Its source was changed since: that is said after the import, so the import was allowed.
    with pytest.raises(BadInput, match="not the one the reward's dossier records"):
        resume(begun, silent)
    assert imported(begun)


def test_a_run_from_elsewhere_imports_nothing_until_each_name_is_given(
    begun: Path, silent: Reporter
) -> None:
    theirs = begun.with_name("theirs")
    shutil.copytree(begun, theirs)
    with pytest.raises(BadInput) as refused:
        resume(theirs, silent)
    said = str(refused.value)
    source = begun.parent / "rewards_of_test.py"
    assert f"rewards_of_test:broken (reward.callable, from {source})" in said
    for name in ("rewards_of_test:broken", "rewards_of_test:people"):
        assert f"--code {name}" in said
    with pytest.raises(BadInput, match="rewards_of_test:people"):
        resume(theirs, silent, code=["rewards_of_test:broken"])
    assert not imported(begun)
    with pytest.raises(BadInput, match="not the one the reward's dossier records"):
        resume(theirs, silent, code=["rewards_of_test:broken", "rewards_of_test:people"])
    assert imported(begun)


def test_another_plan_or_another_file_in_ones_own_place_is_asked_for(
    begun: Path, silent: Reporter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The same module from another folder: not what this user began the run with.
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(begun.parent / "rewards_of_test.py", other)
    with monkeypatch.context() as elsewhere:
        elsewhere.syspath_prepend(other)
        with pytest.raises(BadInput, match="names code that would be run"):
            resume(begun, silent)
    plan = json.loads((begun / "plan.json").read_text())
    plan["config"]["description"] = "changed"
    (begun / "plan.json").write_text(json.dumps(plan))
    resealed(begun)
    with pytest.raises(BadInput, match="names code that would be run"):
        resume(begun, silent)
    assert not imported(begun)


def test_a_note_of_another_user_or_in_another_form_allows_nothing(
    begun: Path, silent: Reporter, cache: Path
) -> None:
    (note,) = (cache / named_code.FOLDER).iterdir()
    assert note.stat().st_mode & 0o077 == 0
    for text in ("[]", "{", '{"code": []}', '{"code": {"rewards_of_test:broken": 1}}'):
        note.write_text(text)
        with pytest.raises(BadInput, match="names code that would be run"):
            resume(begun, silent)
    assert not imported(begun)


def test_a_name_that_the_plan_does_not_name_is_said(begun: Path, silent: Reporter) -> None:
    with pytest.raises(BadInput, match=r"--code os:system: no code that .* names"):
        resume(begun, silent, code=["os:system"])


def test_every_place_that_names_code_is_found() -> None:
    raw = {
        "reward": {"kind": "python", "callable": "a:r"},
        "audit": {
            "toxicity": {"callable": "a:t"},
            "benchmarks": {"tasks": ["own/everyday", "path:x.yaml"], "include_path": "own_tasks"},
        },
        "later": [{"callable": "a:l"}],
    }
    assert named_code.named(raw) == {
        "reward.callable": "a:r",
        "audit.toxicity.callable": "a:t",
        "audit.benchmarks.tasks.1": "path:x.yaml",
        "audit.benchmarks.include_path": "own_tasks",
        "later.0.callable": "a:l",
    }


def test_a_place_is_found_without_importing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "strangers" / "evil"
    inner.mkdir(parents=True)
    (inner / "payload.py").write_text("raise SystemExit('imported')")
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "pkg" / "inner.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    # A folder of this name that can be imported from hides none of them.
    (tmp_path / "elsewhere" / "strangers").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    assert named_code.place_of("strangers.evil.payload:f") == inner / "payload.py"
    assert named_code.place_of("pkg.inner:f") == tmp_path / "pkg" / "inner.py"
    assert named_code.place_of("path:a.yaml") == tmp_path / "a.yaml"
    for odd in ("no.such:f", ":f", "..:f", "a..b:f", "sys:exit"):
        assert "only importing" in str(named_code.place_of(odd))


def test_a_reward_folder_from_elsewhere_is_asked_for_too(job_folder: Path) -> None:
    file = job_folder / "reward.yaml"
    file.write_text("reward: {kind: python, callable: 'rewards_of_test:reward'}\n")
    configured(str(file), []).build(job_folder / "rm")
    assert loaded(job_folder / "rm").members == 1
    shutil.copytree(job_folder / "rm", job_folder / "theirs")
    with pytest.raises(BadInput, match="names code that would be run"):
        loaded(job_folder / "theirs")
    assert loaded(job_folder / "theirs", ["rewards_of_test:reward"]).members == 1
