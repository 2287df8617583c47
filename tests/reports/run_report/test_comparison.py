"""Runs side by side: what is compared, on which prompts, and what is refused with every reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reports.document.model import Chart, Passages, Strip, Table
from reports.document.render import FORMATS, render
from reports.run_report.comparison import comparison
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from tests.reports.make_run import make_run, resealed


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("runs")
    return [
        Run(make_run(root / "a", "healthy", name="honest")),
        Run(make_run(root / "b", "overridden", name="hacked")),
    ]


def test_two_runs_stand_side_by_side_on_the_prompts_they_share(two: list[Run]) -> None:
    document = comparison(two)
    blocks = [b for s in document.sections for b in s.blocks]
    assert [s.key for s in document.sections] == [
        "verdict",
        "scores",
        "choices",
        "behaviour",
        "texts",
        "plans",
        "compute",
    ]
    assert "24 audit prompts" in document.subtitle
    assert [b.caption for b in blocks if isinstance(b, Strip)] == [
        "honest, 4 of 4 planned looks",
        "hacked, 2 of 4 planned looks",
    ]
    chart = next(b for b in blocks if isinstance(b, Chart))
    assert [line.label for line in chart.lines] == ["honest", "hacked"]
    assert [len(line.points) for line in chart.lines] == [5, 3]
    pairs = next(
        b for b in blocks if isinstance(b, Table) and b.caption.startswith("Last policies against")
    )
    assert pairs.rows[0].cells[0] == "honest less hacked"
    texts = next(b for b in blocks if isinstance(b, Passages))
    assert texts.columns == ("honest, G2·I2", "hacked, G1·I2")
    assert len(texts.rows) == 3


def test_the_difference_is_that_of_the_shared_prompts(two: list[Run]) -> None:
    """Rewards and human scores of the fabricated runs differ by a constant: the paired difference
    is exactly that.
    """
    document = comparison(two)
    pairs = next(
        b
        for s in document.sections
        for b in s.blocks
        if isinstance(b, Table) and b.caption.startswith("Last policies against")
    )
    human, reward = pairs.rows[0].cells[1:]
    assert float(human.split(" ")[0].replace("−", "-")) == pytest.approx(
        0.6 * (0.71 - -0.62), abs=0.005
    )
    assert float(reward.split(" ")[0].replace("−", "-")) == pytest.approx(1.24 - 1.65, abs=0.005)


def test_an_override_and_a_score_of_no_person_stand_first(two: list[Run]) -> None:
    banner = comparison(two).banner
    assert banner[0].startswith("hacked: OVERRIDE at G1·I2")
    assert "No person rated these samples" in banner[1]


def test_sources_say_which_run_they_belong_to(two: list[Run]) -> None:
    for path, _ in comparison(two).sources():
        assert path.startswith(("honest: ", "hacked: "))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_draws_it_and_twice_the_same(two: list[Run], form: str) -> None:
    document = comparison(two)
    assert render(document, form) == render(document, form)  # type: ignore[arg-type]


def _changed(folder: Path, change: Callable[[dict[str, Any]], None], *, name: str) -> Run:
    """A run whose plan was another one from the beginning (its ledger agrees)."""
    run = make_run(folder, name=name)
    plan = json.loads((run / "plan.json").read_text())
    change(plan)
    (run / "plan.json").write_text(json.dumps(plan))
    return Run(resealed(run))


def test_every_reason_not_to_compare_is_named(two: list[Run], tmp_path: Path) -> None:
    def other(plan: dict[str, Any]) -> None:
        plan["artifacts"]["policy.model"]["sha256"] = "99" * 32
        plan["config"]["loop"]["sampling"]["max_tokens"] = 5

    with pytest.raises(BadInput) as e:
        comparison([two[0], _changed(tmp_path / "c", other, name="other")])
    assert "base policy: honest has abababababababab, other has 9999999999999999" in str(e.value)
    assert "sampling of audit answers" in str(e.value)
    assert "max_tokens 5" in str(e.value)


def test_another_human_score_is_refused(two: list[Run], tmp_path: Path) -> None:
    none = Run(make_run(tmp_path / "n", "nulls", name="nobody"))
    with pytest.raises(BadInput, match=r"human score: honest has LEXICON .* nobody has NONE"):
        comparison([two[0], none])


def test_a_run_without_an_audited_iteration_and_the_same_run_twice_are_refused(
    two: list[Run], tmp_path: Path
) -> None:
    base = Run(make_run(tmp_path / "base", "base_only", name="young"))
    with pytest.raises(BadInput, match="young: no iteration after the base policy was audited yet"):
        comparison([two[0], base])
    with pytest.raises(BadInput, match="the same run is given twice"):
        comparison([two[0], two[0]])


def test_the_commands_say_what_they_want(two: list[Run], tmp_path: Path) -> None:
    from restaudit.commands.cli import app

    run = str(two[0].path)
    result = CliRunner().invoke(app, ["compare", run])
    assert isinstance(result.exception, BadInput)
    assert "two or more" in str(result.exception)
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["compare", run, str(two[1].path), "--format", "md,json", "--out", str(out)]
    )
    assert result.exit_code == 0
    assert sorted(p.name for p in out.iterdir()) == ["comparison.json", "comparison.md"]


def test_why_a_sample_was_trained_on(two: list[Run]) -> None:
    from reports.record import lineage
    from reports.record.files import Records
    from reports.record.lineage import why_lines

    records = Records(two[0])
    policy = lineage.policies(records)[1]
    rows = lineage.training_rows(records, policy)
    used, unused = (rows[rows["used"] == flag].iloc[0]["sample_id"] for flag in (True, False))
    assert "G1·I1: trained on: its reward is above the threshold" in "\n".join(
        why_lines(two[0], used)
    )
    assert "G1·I1: not trained on: its reward is not above the threshold" in "\n".join(
        why_lines(two[0], unused)
    )
    with pytest.raises(
        BadInput, match=r"no Grow set has a sample 'g01/grow-000'; close to it: g01/grow-000-"
    ):
        why_lines(two[0], "g01/grow-000")
