"""`restaudit declare` and `restaudit compliance` as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from reports.frameworks import commands
from reports.frameworks.schema import frameworks
from restaudit.errors import BadInput
from tests.reports.make_run import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", "halted")


def typed(*words: object) -> Result:
    app = typer.Typer()
    app.command()(commands.declare)
    app.command()(commands.compliance)
    return CliRunner().invoke(app, [str(w) for w in words])


def test_a_form_is_printed_filled_kept_and_shown(run: Path, tmp_path: Path) -> None:
    form = tmp_path / "form.yaml"
    printed = typed("declare", run)
    assert printed.exit_code == 0
    assert typed("declare", run, "--out", form).exit_code == 0
    assert form.read_text(encoding="utf-8") == printed.output
    raw = yaml.safe_load(form.read_text(encoding="utf-8"))
    raw |= {"declared_by": "Ada \x1b[31m Moreau", "date": "2026-03-02"}
    raw["answers"]["system.purpose"] = "Film reviews."
    form.write_text(yaml.safe_dump(raw), encoding="utf-8")
    kept = typed("declare", run, "--from", form)
    assert kept.exit_code == 0
    assert "1 answers, kept in" in kept.output
    assert "\x1b" not in kept.output
    drawn = typed("compliance", run, "--framework", "eu-annex-iv", "--format", "md,json")
    assert drawn.exit_code == 0
    assert drawn.output.count("not conformity") == 2
    text = (run / "report" / "compliance" / "eu-annex-iv.md").read_text(encoding="utf-8")
    assert "Film reviews." in text
    assert text.index("What is missing") < text.index("Point 1: general description")


def test_all_frameworks_are_written_by_default(run: Path) -> None:
    found = typed("compliance", run, "--format", "json")
    assert found.exit_code == 0
    written = {p.stem for p in (run / "report" / "compliance").glob("*.json")}
    assert written == set(frameworks())


def test_an_override_is_printed_before_anything_else(tmp_path: Path) -> None:
    found = typed(
        "compliance",
        make_run(tmp_path / "o", "overridden"),
        "--framework",
        "ca-ab-2013",
        "--format",
        "json",
    )
    assert found.output.startswith("OVERRIDE at g01/i02: <script>")


def test_out_is_a_file_for_one_document_and_a_folder_for_several(run: Path, tmp_path: Path) -> None:
    one = tmp_path / "deep" / "annex.md"
    assert (
        typed(
            "compliance", run, "--framework", "iso-42001", "--format", "md", "--out", one
        ).exit_code
        == 0
    )
    assert one.is_file()
    several = tmp_path / "several"
    assert (
        typed(
            "compliance", run, "--framework", "iso-42001", "--format", "md,json", "--out", several
        ).exit_code
        == 0
    )
    assert sorted(p.name for p in several.iterdir()) == ["iso-42001.json", "iso-42001.md"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--framework", "iso42001"), "did you mean iso-42001"),
        (("--format", "odt"), "--format odt: expected one or more of"),
    ],
)
def test_bad_words_are_named(run: Path, words: tuple[str, ...], message: str) -> None:
    found = typed("compliance", run, *words)
    assert isinstance(found.exception, BadInput)
    assert message in str(found.exception)
    assert not (run / "report").exists()


def test_a_form_is_never_written_over_and_out_does_not_go_with_from(
    run: Path, tmp_path: Path
) -> None:
    form = tmp_path / "form.yaml"
    form.write_text("mine")
    for words in (("--out", form), ("--out", form, "--from", form)):
        assert isinstance(typed("declare", run, *words).exception, BadInput)
    assert form.read_text() == "mine"
    assert isinstance(
        typed("compliance", run, "--framework", "iso-42001", "--out", form / "x.html").exception,
        BadInput,
    )


def test_a_link_is_not_written_through(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.html"
    target.write_text("kept")
    link = tmp_path / "link.html"
    link.symlink_to(target)
    found = typed("compliance", run, "--framework", "iso-42001", "--out", link)
    assert isinstance(found.exception, BadInput)
    assert target.read_text() == "kept"
