"""The Verify page says what `restaudit verify` says, one stage a line, and names the first thing
that is wrong.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from make_run import State, make_run
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from reports.rendering import write_report
from reports.viewer.documents import checking, making
from reports.viewer.documents.checking import OF_BUNDLE, CheckLine, Outcome, check_bundle, check_run
from reports.viewer.text import size
from restaudit.commands.cli import app
from restaudit.evidence import ledger
from restaudit.evidence.bundle.pack import Wish, pack
from restaudit.evidence.record import Run, write_json
from restaudit.evidence.seal.anchor import anchor_of
from restaudit.evidence.seal.keys import load_private, load_public, new_key
from restaudit.evidence.seal.signer import Signer
from restaudit.evidence.verify import Stage
from tests.evidence.runs import signed_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Temporary folders go below a place of this test's own; the result lists what is still
    there.
    """
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return lambda: sorted(p.name for p in place.iterdir())


def _page(root: Path, monkeypatch: pytest.MonkeyPatch, view: str = "run") -> AppTest:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(root))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()
    at.switch_page("app_pages/evidence.py").run()
    at.segmented_control(key="evidence_view").set_value(view).run()
    assert not at.exception, at.exception
    return at


def _click(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click().run()
    assert not at.exception, at.exception
    return at


def _marks(at: AppTest) -> dict[str, str]:
    """Title of a stage -> its sign."""
    known = {s.title for s in Stage}
    found = {}
    for m in at.markdown:
        for title in known:
            if title in m.value.replace("\\", ""):
                found[title] = next(c for c in "✓✕!–·…" if c in m.value)
    return found


def _texts(at: AppTest) -> str:
    return "\n".join(t.value for t in at.text)


def _check(run: Path) -> Outcome:
    return check_run(run, lambda _: None, lambda *_: None)


# --- the run


def test_a_good_run_is_right_in_every_line_and_says_plainly_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    write_report(Run(run), ["md", "html"])
    at = _click(_page(tmp_path, monkeypatch), "check_run")
    marks = _marks(at)
    lacking = {Stage.SIGNATURES.title: "!", Stage.ANCHOR.title: "!"}
    assert marks == {s.title: "✓" for s in Stage if s not in (Stage.ARCHIVE, *OF_BUNDLE)} | lacking
    assert "UNSIGNED: the sealed plan names no key" in _texts(at)
    assert "UNANCHORED: nothing outside" in _texts(at)
    assert "report re-rendered to the same bytes: 2 of 2 files" in _texts(at)
    assert at.success
    assert _texts(at).index("state: finished") < _texts(at).index("UNSIGNED: the sealed plan")
    assert "last decision: " in _texts(at)
    assert Run(run).events[-1].hash in [c.value for c in at.code]


def test_the_lines_say_what_the_command_says(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "half")
    said = " ".join(CliRunner().invoke(app, ["verify", str(run)]).output.split())
    for line in _check(run).lines:
        if line.title in (Stage.SIGNATURES.title, Stage.ANCHOR.title):
            assert all(" ".join(text.split()) in said for text in line.said)


@pytest.mark.parametrize(
    "name",
    [
        "g02/i01/audit.parquet",
        "data/grow.parquet",
        "plan.json",
        "g01/i01/adapter/adapter.safetensors",
    ],
)
def test_a_tampered_file_is_named_and_later_stages_are_not_called_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = make_run(tmp_path / "run") / name
    path.write_bytes(path.read_bytes().replace(b"a", b"b", 1) + b" ")
    at = _click(_page(tmp_path, monkeypatch), "check_run")
    assert at.error[0].value == "The check stops at the first thing that is wrong:"
    assert at.code[0].value.startswith(f"{name}: changed")
    marks = _marks(at)
    assert marks.pop(Stage.CHAIN.title) == "✓"
    assert marks.pop(Stage.FILES.title) == "✕"
    assert set(marks.values()) == {"–"}
    assert not at.success


def test_a_report_that_was_changed_leaves_what_is_known_of_the_record(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (path,) = write_report(Run(run), ["md"])
    path.write_bytes(path.read_bytes() + b"x")
    done = _check(run)
    assert done.wrong is not None
    assert done.wrong.startswith("report/report.md: changed after it was rendered")
    marks = {line.title: line.mark for line in done.lines}
    assert marks[Stage.REPORT.title] == "wrong"
    assert marks[Stage.SIGNATURES.title] == "note"
    assert "unreached" not in marks.values()


def test_a_line_never_goes_back_and_files_are_counted_in_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    seen: list[tuple[CheckLine, ...]] = []
    counted: list[tuple[str, int, int]] = []
    check_run(run, seen.append, lambda *a: counted.append(a))
    order = ["waiting", "now", "right"]
    for k in range(len(seen[0])):
        marks = [lines[k].mark for lines in seen]
        ranks = [order.index(m) for m in marks if m in order]
        assert ranks == sorted(ranks)
    assert {stage for stage, _, _ in counted} == {"Hashing"}
    assert sum(n for _, n, _ in counted) == counted[0][2] > 0


@pytest.mark.parametrize("state", ["halted", "overridden", "half", "base_only", "nulls"])
def test_other_states_are_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    run = make_run(tmp_path / state, state)
    at = _click(_page(tmp_path, monkeypatch), "check_run")
    wrong = _check(run).wrong
    assert bool(at.error) == (wrong is not None or (state == "halted" and bool(at.error)))
    if wrong is None:
        assert at.success
    else:
        assert wrong in [c.value for c in at.code]


def _newer(run: Path) -> None:
    """A run of a later version: its plan says so, and its ledger sealed that plan."""
    plan = json.loads((run / "plan.json").read_text())
    write_json(plan | {"schema": 3}, run / "plan.json")
    events = ledger.read(run)
    (run / ledger.FILE).unlink()
    for e in events:
        sealed = {"plan.json": ledger.digest_file(run / "plan.json")} if e.step == "plan" else {}
        prev = ledger.read(run)[-1].hash if e.seq else ledger.GENESIS
        ledger.append(run, replace(e, prev=prev, outputs={**e.outputs, **sealed}))


def _cut(run: Path, name: str, share: float) -> None:
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: int(share * len(data))])


UNREADABLE: dict[str, tuple[Callable[[Path], object], Stage, str]] = {
    "a changed event": (
        lambda run: make_run(run.parent / "other", "broken").rename(run),
        Stage.CHAIN,
        "changed after",
    ),
    "no ledger": (lambda run: (run / ledger.FILE).unlink(), Stage.CHAIN, "holds no complete event"),
    "an empty ledger": (
        lambda run: _cut(run, ledger.FILE, 0.0),
        Stage.CHAIN,
        "holds no complete event",
    ),
    "no plan": (lambda run: (run / "plan.json").unlink(), Stage.FILES, "plan.json: missing"),
    "half a plan": (lambda run: _cut(run, "plan.json", 0.5), Stage.FILES, "plan.json: changed"),
    "a newer version": (_newer, Stage.PLAN, "schema 3; this version of restaudit verifies 1 and 2"),
    "half a table": (
        lambda run: _cut(run, "g01/i01/decision.json", 0.5),
        Stage.FILES,
        "g01/i01/decision.json: changed",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_folder_that_cannot_be_read_is_checked_and_the_first_wrong_thing_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    damage, stage, message = UNREADABLE[case]
    run = tmp_path / "run"
    if case != "a changed event":
        make_run(run)
    damage(run)
    at = _click(_page(tmp_path, monkeypatch), "check_run")
    marks = _marks(at)
    order = [s.title for s in Stage if s.title in marks]
    at_stage = order.index(stage.title)
    assert [marks[title] for title in order[:at_stage]] == ["✓"] * at_stage
    assert marks[stage.title] == "✕"
    assert {marks[title] for title in order[at_stage + 1 :]} == {"–"}
    assert any(message in c.value for c in at.code), [c.value for c in at.code]
    assert not at.success


def test_another_page_of_a_folder_that_cannot_be_read_leads_to_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run", "broken")
    monkeypatch.setenv("RESTAUDIT_RUNS", str(tmp_path))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()
    at.switch_page("app_pages/bias.py").run()
    assert not at.exception
    assert "changed after it was written" in at.code[0].value
    assert [link.label for link in at.get("page_link")] == ["Verify: what is wrong first"]


def test_a_bundle_can_be_checked_beside_a_run_that_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run", "broken")
    at = _page(tmp_path, monkeypatch, "bundle")
    assert at.get("file_uploader")


def test_a_run_that_is_being_written_can_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import socket

    run = make_run(tmp_path / "run", "base_only")
    write_json({"pid": os.getpid(), "host": socket.gethostname()}, run / "writer.json")
    (run / "g01").mkdir(exist_ok=True)
    (run / "g01/half.parquet").write_bytes(b"not recorded yet")
    at = _click(_page(tmp_path, monkeypatch), "check_run")
    assert at.success
    assert "not recorded yet: g01/half.parquet" in _texts(at)


# --- keys and anchors


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(load_private(new_key(tmp_path / "key.pem")[0]))


def test_self_signed_and_unanchored_until_a_key_and_an_anchor_are_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signer: Signer
) -> None:
    run = signed_run(tmp_path / "runs/run", signer)
    at = _click(_page(tmp_path / "runs", monkeypatch), "check_run")
    assert "SELF-SIGNED: the key is only the one that the folder itself names" in _texts(at)
    assert _marks(at)[Stage.SIGNATURES.title] == "!"
    witnessed = anchor_of(Run(run).events, Run(run).plan, 3)
    at.file_uploader(key="key_run").upload("key.pem", (tmp_path / "key.pub.pem").read_bytes())
    at.file_uploader(key="anchor_run").upload("a.json", witnessed.to_bytes()).run()
    _click(at, "check_run")
    assert "SIGNED with the key you trust" in _texts(at)
    assert "ANCHORED: the head the witness saw (event 3)" in _texts(at)
    assert _marks(at)[Stage.SIGNATURES.title] == _marks(at)[Stage.ANCHOR.title] == "✓"


def test_another_key_and_an_anchor_of_another_run_are_wrong(tmp_path: Path, signer: Signer) -> None:
    run = signed_run(tmp_path / "runs/run", signer)
    other = load_public(new_key(tmp_path / "other.pem")[1])
    done = check_run(run, lambda _: None, lambda *_: None, trusted=other)
    assert done.wrong is not None
    assert "which is not the key you trust" in done.wrong
    elsewhere = make_run(tmp_path / "elsewhere")
    anchor = anchor_of(Run(elsewhere).events, Run(elsewhere).plan)
    done = check_run(run, lambda _: None, lambda *_: None, anchor=anchor)
    assert next(line.title for line in done.lines if line.mark == "wrong") == Stage.ANCHOR.title


@pytest.mark.parametrize("bad", [b"", b"nothing", b"{}", b"\xff" * 70000, b"[" * 60000])
@pytest.mark.parametrize("place", ["key_run", "anchor_run"])
def test_a_file_that_is_no_key_or_anchor_is_a_message_and_nothing_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, bad: bytes
) -> None:
    make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch)
    at.file_uploader(key=place).upload("x.pem" if place == "key_run" else "x.json", bad).run()
    assert not at.exception
    assert at.error
    assert not any("/tmp" in c.value for c in at.code)
    assert at.button(key="check_run").disabled


def test_a_private_key_is_refused_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signer: Signer
) -> None:
    make_run(tmp_path / "runs/run")
    at = _page(tmp_path / "runs", monkeypatch)
    at.file_uploader(key="key_run").upload("key.pem", (tmp_path / "key.pem").read_bytes()).run()
    assert any("this is a PRIVATE key: never hand it out" in c.value for c in at.code)


# --- bundles


@pytest.mark.parametrize("wish", [Wish(), Wish(weights=True), Wish(texts=True, weights=True)])
def test_a_bundle_made_on_one_page_is_right_on_the_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_leftovers: Callable[[], list[str]],
    wish: Wish,
) -> None:
    run = make_run(tmp_path / "runs/run")
    made = making.bundle(Run(run), wish, lambda *_: None)
    data = made.path.read_bytes()
    assert data.startswith(b"PK")
    pack(run, tmp_path / "cli.zip", wish)
    assert data == (tmp_path / "cli.zip").read_bytes()
    at = _page(tmp_path / "runs", monkeypatch, "bundle")
    at.file_uploader(key="bundle_upload").upload("b.zip", data).run()
    _click(at, "check_bundle")
    assert at.success
    assert _marks(at)[Stage.ARCHIVE.title] == "✓"
    assert _marks(at)[Stage.LIST.title] == ("!" if wish.weights else "✓")
    assert ("PARTIAL" in _texts(at)) == wish.weights
    made.folder.remove()
    assert no_leftovers() == []


def test_the_bundle_view_says_the_size_and_keeps_one_file_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_leftovers: Callable[[], list[str]]
) -> None:
    make_run(tmp_path / "runs/run")
    monkeypatch.setenv("RESTAUDIT_RUNS", str(tmp_path / "runs"))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()
    at.switch_page("app_pages/documents.py").run()
    at.segmented_control(key="documents_view").set_value("bundle").run()
    _click(at, "bundle_prepare")
    first = at.session_state["bundle_file"][1].path
    assert f"({size(first.stat().st_size)})" in at.download_button(key="bundle_download").label
    at.checkbox(key="bundle_weights").check().run()
    assert not at.download_button
    _click(at, "bundle_prepare")
    assert not first.exists()
    assert len(no_leftovers()) == 1


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def _packed(run: Path) -> dict[str, bytes]:
    made = making.bundle(Run(run), Wish(), lambda *_: None)
    with zipfile.ZipFile(made.path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


@pytest.mark.parametrize("case", ["no zip", "cut", "slip", "changed", "too large", "empty"])
def test_a_bad_bundle_is_a_message_and_leaves_nothing_behind(
    tmp_path: Path, no_leftovers: Callable[[], list[str]], case: str
) -> None:
    files = _packed(make_run(tmp_path / "run"))
    good = _zip(files)
    data = {
        "no zip": b"nothing" * 100,
        "cut": good[: len(good) // 2],
        "slip": _zip({**files, "../out.txt": b"x"}),
        "changed": _zip({**files, "plan.json": files["plan.json"].replace(b"0", b"1")}),
        "too large": good,
        "empty": b"",
    }[case]
    most = 1000 if case == "too large" else checking.MOST_UNPACKED
    done = check_bundle(io.BytesIO(data), lambda _: None, lambda *_: None, most=most)
    assert done.wrong is not None
    assert str(tmp_path) not in done.wrong
    assert [line.title for line in done.lines if line.mark == "wrong"] == [Stage.ARCHIVE.title]
    assert all(line.mark == "unreached" for line in done.lines[1:])
    assert no_leftovers() == []


def test_a_bundle_of_an_overridden_run_says_so(tmp_path: Path) -> None:
    from restaudit.evidence.override import override

    run = make_run(tmp_path / "run", "halted")
    override(run, by="Ada Moreau", reason="looked at the evidence")
    done = check_bundle(io.BytesIO(_zip(_packed(run))), lambda _: None, lambda *_: None)
    assert done.wrong is None, done.wrong
    assert any("OVERRIDE at g" in line and "Ada Moreau" in line for line in done.standing)
