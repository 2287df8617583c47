"""The scope screen computes a ratio, with a wide zone in which it says nothing, and never a legal
conclusion.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.document.model import Block, Facts, Paragraph
from reports.frameworks.build import framework_document
from reports.frameworks.declared import Declarations
from reports.frameworks.forms import RUN_FILE, run_subject
from reports.frameworks.readings.process import NO_FLOP, total_flop
from reports.frameworks.schema import scope
from reports.frameworks.scope import CONFIRM, ORIGINAL, screen_blocks, screens
from tests.reports.frameworks.runs import recorded_anew, records, shown
from tests.reports.make_run import make_run


def said(blocks: tuple[Block, ...]) -> list[str]:
    rows = next(b for b in blocks if isinstance(b, Facts) and b.caption == "Ratio").rows
    return [f"{f.status} {f.value}" for f in rows]


@given(flop=st.floats(1, 1e30), original=st.none() | st.floats(1e10, 1e27))
def test_the_outcome_follows_from_the_ratio_alone(flop: float, original: float | None) -> None:
    for s in screens(flop, original, scope()):
        assert s.ratio == pytest.approx(flop / s.limit)
        assert (s.outcome == "likely below") == (s.ratio <= 0.1)
        assert (s.outcome == "likely above") == (s.ratio >= 10)


def test_a_declared_original_replaces_the_stand_ins() -> None:
    assert [s.limit for s in screens(1e20, None, scope())] == [
        pytest.approx(1e23 / 3),
        pytest.approx(1e25 / 3),
    ]
    (one,) = screens(1e20, 6e21, scope())
    assert (one.limit, one.outcome) == (pytest.approx(2e21), "likely below")
    assert [s.outcome for s in screens(2e21, 6e21, scope())] == ["not computable"]
    assert [s.outcome for s in screens(2e22, 6e21, scope())] == ["likely above"]


def test_a_run_without_a_parameter_count_is_not_computable(tmp_path: Path) -> None:
    run = recorded_anew(make_run(tmp_path / "run"), content={"scale": {"d_eval_reward": 0.1}})
    assert total_flop(records(run)) is None
    lines = said(screen_blocks(records(run), None))
    assert lines[0] == f"MISSING {NO_FLOP}"
    assert all("not computable" in line for line in lines[2:])


def test_tokens_that_cannot_be_counted_are_not_computable(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "g01/i01/audit.parquet").unlink()
    lines = said(screen_blocks(records(run), None))
    assert lines[0] == (
        "MISSING the tokens of this record cannot be counted (g01/i01/audit.parquet: missing from "
        "the run folder)"
    )
    assert all("not computable" in line for line in lines[2:])


def test_a_finished_run_is_compared_and_a_human_confirms(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    lines = said(screen_blocks(records(run), None))
    assert lines[0].startswith("COMPUTED ")
    assert lines[1] == "MISSING not provided; stand-ins are used"
    assert all("likely below" in line and line.endswith(CONFIRM) for line in lines[2:])
    declared = Declarations(
        "Ada",
        "2026-03-02",
        run_subject(records(run)).bound,
        {ORIGINAL: "6e21"},
        file=RUN_FILE,
        sha256="cd" * 32,
    )
    lines = said(screen_blocks(records(run), declared))
    assert lines[1] == "DECLARED 6e+21 FLOP"
    assert len(lines) == 3


@pytest.mark.parametrize("state", ["half", "base_only", "overridden"])
def test_a_run_that_may_go_on_has_no_total(tmp_path: Path, state: str) -> None:
    run = make_run(tmp_path / "run", state)  # type: ignore[arg-type]
    assert all(
        "not computable" in line and "not finished" in line
        for line in said(screen_blocks(records(run), None))[2:]
    )


def test_thresholds_stand_with_source_and_day_and_no_conclusion(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    blocks = screen_blocks(records(run), None)
    text = "\n".join(t for b in blocks for t in shown(b))
    assert "no legal conclusion" in text
    assert text.count("As of 2026-11-22") == 3
    assert text.count("Check before quoting") == 2
    assert "lower bound" in text
    for word in ("you are", "is not a provider", "is exempt"):
        assert word not in text


def test_only_documents_on_general_purpose_models_carry_the_screen(tmp_path: Path) -> None:
    run = records(make_run(tmp_path / "run"))
    for name, expected in (
        ("eu-annex-xi", True),
        ("eu-training-content", True),
        ("eu-annex-iv", False),
    ):
        about = framework_document(run, name, None).sections[1].blocks
        found = any(isinstance(b, Paragraph) and "computes a ratio" in b.text for b in about)
        assert found is expected
