"""The report, rendered again from the record by whoever registered for it."""

from __future__ import annotations

import hashlib
import json
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import pytest

from restaudit.errors import RestauditError, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.bundle.pack import Wish, pack
from restaudit.evidence.bundle.unpack import opened
from restaudit.evidence.seal.signer import Signer
from restaudit.evidence.verify import rendering, verify
from tests.evidence.runs import signed_run

Renderer = Callable[[Path, Sequence[str]], Mapping[str, str]]
PAGE = b"<p>kept: 6</p>"


def render_again(run: Path, names: Sequence[str]) -> dict[str, str]:
    """A renderer that reads the record: how many rows an Improve step kept."""
    kept = next(e.content["kept"] for e in ledger.read(run) if e.step == "g01/i01/improve")
    return {name: hashlib.sha256(f"<p>kept: {kept}</p>".encode()).hexdigest() for name in names}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Renderer], None]:
    """Register a function as an installed package would: by entry point."""

    def register(function: Renderer) -> None:
        module = types.ModuleType("renderer_of_test")
        module.again = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "renderer_of_test", module)
        point = metadata.EntryPoint("test", "renderer_of_test:again", rendering.GROUP)
        real = metadata.entry_points

        def points(*, group: str) -> object:
            return [point] if group == rendering.GROUP else real(group=group)

        monkeypatch.setattr(rendering.metadata, "entry_points", points)

    return register


def report(run: Path, page: bytes = PAGE, **more: object) -> Path:
    """Put a rendered report with its manifest into the run."""
    (run / "report").mkdir(exist_ok=True)
    (run / "report" / "report.html").write_bytes(page)
    files = {"report.html": {"sha256": hashlib.sha256(page).hexdigest(), "bytes": len(page)}}
    head = ledger.read(run)[-1].hash
    written = {"schema": 1, "files": files, "head": head, "renderer": {"test": "1"}, **more}
    (run / "report" / "manifest.json").write_text(json.dumps(written), encoding="utf-8")
    return run


def test_a_report_that_follows_from_the_record_is_confirmed_in_folder_and_bundle(
    run: Path, tmp_path: Path, registered: Callable[[Renderer], None]
) -> None:
    registered(render_again)
    report(run)
    assert verify(run).rendering == "report re-rendered to the same bytes: 1 of 1 files"
    with opened(pack(run, tmp_path / "run.zip", Wish()).path, most=1 << 30) as packed:
        assert (
            verify(packed.folder, hashed=packed.hashed).rendering
            == "report re-rendered to the same bytes: 1 of 1 files"
        )


def test_a_report_that_says_something_else_is_refused(
    run: Path, registered: Callable[[Renderer], None]
) -> None:
    registered(render_again)
    report(run, b"<p>kept: 60</p>")
    with pytest.raises(
        VerificationFailed, match=r"^report/report\.html: does not follow from the record"
    ):
        verify(run)


def test_a_rendered_file_that_was_changed_is_refused_without_any_renderer(run: Path) -> None:
    report(run)
    (run / "report" / "report.html").write_bytes(b"<p>kept: 7</p>")
    with pytest.raises(
        VerificationFailed, match=r"^report/report\.html: changed after it was rendered"
    ):
        verify(run)
    (run / "report" / "report.html").unlink()
    with pytest.raises(VerificationFailed, match=r"^report/report\.html: missing"):
        verify(run)


def test_why_a_report_was_not_rendered_again_is_said(
    run: Path,
    tmp_path: Path,
    signer: Signer,
    registered: Callable[[Renderer], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert verify(run).rendering is None
    report(run)

    def failing(error: Exception) -> Renderer:
        def render(_run: Path, _names: Sequence[str]) -> Mapping[str, str]:
            raise error

        return render

    for function, said in (
        (
            failing(ImportError("No module named 'typst'")),
            "a library is missing (No module named 'typst')",
        ),
        (failing(RestauditError("matplotlib 3.11 was used")), "matplotlib 3.11 was used"),
        (failing(KeyError("x")), "'test' failed (KeyError: 'x')"),
    ):
        registered(function)
        assert verify(run).rendering == f"report not re-rendered: {said}"
    assert verify(run, render=False).rendering == "report not re-rendered: --no-render was given"
    registered(lambda _run, _names: {})
    assert verify(run).rendering == (
        "report not re-rendered: the versions at hand are not those that rendered it"
    )
    monkeypatch.setattr(rendering.metadata, "entry_points", lambda group: [])
    assert verify(run).rendering == (
        "report not re-rendered: nothing that could render it again is installed"
    )
    half = report(signed_run(tmp_path / "half", signer, until="g01/i02/improve"))
    signed_run(half, signer)
    assert (
        verify(half).rendering
        == "report not re-rendered: it shows the record as it was 3 event(s) ago"
    )
    made = pack(run, tmp_path / "run.zip", Wish(texts=True, report=True))
    with opened(made.path, most=1 << 30) as packed:
        assert (
            verify(packed.folder, hashed=packed.hashed).rendering
            == "report not re-rendered: the texts it shows are not in this bundle"
        )


@pytest.mark.parametrize(
    "more",
    [
        {"schema": 2},
        {"head": "0" * 64},
        {"files": []},
        {"files": {"../plan.json": {"sha256": "x"}}},
    ],
)
def test_a_manifest_that_is_none_or_of_another_record_is_refused(
    run: Path, more: dict[str, object]
) -> None:
    report(run, **more)
    with pytest.raises(VerificationFailed, match=r"^report/manifest\.json: "):
        verify(run)


# --- what nothing vouches for


def test_a_page_that_nothing_vouches_for_is_said_first_and_a_key_makes_it_a_failure(
    run: Path,
    public_file: Path,
    key_file: Path,
    restaudit: Callable[..., tuple[int, str, str]],
    registered: Callable[[Renderer], None],
) -> None:
    registered(render_again)
    forged = b"<p>kept: 60</p>"
    earlier = ledger.read(run)[3].hash
    for more, why in (
        ({"head": earlier}, "it shows the record as it was 5 event(s) ago"),
        ({}, "the versions at hand are not those that rendered it"),
    ):
        registered(render_again if more else lambda _run, _names: {})
        report(run, forged, **more)
        code, out, _ = restaudit("verify", run)
        assert code == 0
        assert out.startswith(f"NOT CHECKED: report/manifest.json: not signed, and {why}\n")
        assert f"NOT CHECKED: report/report.html: not signed, and {why}\n" in out
        assert "re-rendered to the same" not in out
        code, out, err = restaudit("verify", run, "--key", public_file)
        assert code == 5
        assert out.startswith("NOT CHECKED: report/manifest.json")
        assert "report/manifest.json: NOT CHECKED: " in err
        assert "sign the report" in err
    (run / "report" / "manifest.json").unlink()
    code, out, _ = restaudit("verify", run)
    assert code == 0
    assert out.startswith("NOT CHECKED: report/report.html: not signed, and no report/manifest")
    registered(render_again)
    report(run)
    code, out, _ = restaudit("verify", run, "--key", public_file)
    assert code == 0  # the record vouches for it
    assert "NOT CHECKED" not in out
    assert restaudit("verify", run, "--key", public_file, "--no-render")[0] == 5
    assert restaudit("sign", run, "--key", key_file)[0] == 0
    assert restaudit("verify", run, "--key", public_file, "--no-render")[0] == 0


def test_a_file_beside_a_page_that_follows_from_the_record_is_not_vouched_for_by_it(
    run: Path, registered: Callable[[Renderer], None]
) -> None:
    registered(render_again)
    report(run)
    (run / "report" / "exports").mkdir()
    (run / "report" / "exports" / "card.md").write_text("all is well", encoding="utf-8")
    (unchecked,) = verify(run).unchecked
    assert unchecked.name == "report/exports/card.md"
    assert unchecked.why == "not signed, and report/manifest.json does not name it"
