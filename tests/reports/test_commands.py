"""`restaudit chart`, `restaudit ui` and what is printed after a run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer
from make_run import make_run
from typer.testing import CliRunner

from reports import commands
from restaudit.errors import BadInput


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    commands.register(app)
    return app


def test_chart_writes_into_the_report_folder_of_the_run(app: typer.Typer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    result = CliRunner().invoke(app, ["chart", str(run)])
    assert result.exit_code == 0
    assert result.output.strip() == str(run / "report" / "reward_human.svg")
    assert (run / "report" / "reward_human.svg").stat().st_size > 1000


def test_chart_writes_where_it_is_told(app: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "picture.png"
    result = CliRunner().invoke(app, ["chart", str(make_run(tmp_path / "run")), "--out", str(out)])
    assert result.exit_code == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_chart_of_no_run_says_so(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["chart", str(tmp_path)])
    assert isinstance(result.exception, BadInput)
    assert "not a run folder" in str(result.exception)


def test_after_a_run_both_pictures_are_there_and_the_next_command_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = (run / "ledger.jsonl").read_bytes()
    drawn = f"chart: {run / 'report' / 'reward_human.svg'}"
    assert commands.after_run(run) == [drawn, f"report it: restaudit report {run}"]
    assert (run / "report" / "reward_human.png").exists()
    assert (run / "ledger.jsonl").read_bytes() == before


def test_a_run_is_not_failed_for_its_picture(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "g01/i01/measurements.json").unlink()
    (line,) = commands.after_run(run)
    assert "not drawn" in line
    assert "measurements.json" in line
    assert f"restaudit chart {run}" in line


def test_a_damaged_measurement_is_one_clear_message(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "g01/i01/measurements.json").write_text('{"measurements": [{"name": 3}]}')
    with pytest.raises(BadInput, match=r"g01/i01/measurements\.json: .*human"):
        commands.draw(run, [tmp_path / "chart.svg"])
    assert "not drawn" in commands.after_run(run)[0]


def test_without_matplotlib_the_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    run = make_run(tmp_path / "run")
    assert "pip install 'restaudit[charts]'" in commands.after_run(run)[0]
    with pytest.raises(BadInput, match=r"restaudit\[charts\]"):
        commands.draw(run, [tmp_path / "chart.svg"])


def test_without_streamlit_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'restaudit\[app\]'"):
        commands.viewer_command(8501)


def test_the_app_listens_on_this_machine_only_and_reports_nothing() -> None:
    command = commands.viewer_command(8600)
    assert command[:4] == [sys.executable, "-m", "streamlit", "run"]
    assert Path(command[4]).is_file()
    assert {
        "--server.address=127.0.0.1",
        "--server.port=8600",
        "--server.enableXsrfProtection=true",
        "--server.enableCORS=true",
        "--browser.gatherUsageStats=false",
    } <= set(command)


def test_ui_refuses_a_file(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["ui", str(tmp_path / "file")])
    assert isinstance(result.exception, BadInput)


def test_the_packaged_configuration_equals_the_one_of_the_checkout() -> None:
    root = Path(__file__).parents[2]
    packaged = commands.VIEWER.parent / ".streamlit" / "config.toml"
    assert packaged.read_text() == (root / ".streamlit" / "config.toml").read_text()


def test_the_command_line_does_not_load_streamlit_matplotlib_or_pandas() -> None:
    import subprocess

    check = (
        "import sys, reports.commands; print([m for m in ('streamlit','matplotlib','pandas') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
