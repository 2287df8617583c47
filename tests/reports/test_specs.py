"""Charts of the app: made once for the same figures, and drawn as they were."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import streamlit as st
from make_run import make_run
from streamlit.testing.v1 import AppTest

import reports
from reports.viewer import charts

ROOT = Path(__file__).parents[2]


def test_no_page_converts_charts_by_itself() -> None:
    every = list(Path(reports.__path__[0]).rglob("*.py"))
    assert len(every) > 50
    assert [
        p.name for p in every if re.search(r"st\.altair_chart\(", p.read_text(encoding="utf-8"))
    ] == []


@pytest.mark.parametrize(("page", "make"), [("run", "lines"), ("divergence", "document_chart")])
def test_a_chart_is_made_once_and_again_for_other_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, make: str
) -> None:
    make_run(tmp_path / "one", name="one")
    make_run(tmp_path / "two", "halted", name="two")
    monkeypatch.setenv("RESTAUDIT_RUNS", str(tmp_path))
    # Tests before this one may have drawn the same figures.
    st.cache_data.clear()
    st.cache_data.clear()  # other tests drew the same figures in this process
    st.cache_resource.clear()
    made: list[str] = []
    real = getattr(charts, make)
    monkeypatch.setattr(charts, make, lambda *a, **k: made.append(make) or real(*a, **k))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60)
    at.switch_page(f"app_pages/{page}.py")
    at.query_params["run"] = "one"
    at.run()
    assert not at.exception
    drawn, count = [c.proto.spec for c in at.get("vega_lite_chart")], len(made)
    assert 0 < count <= len(drawn)
    at.run()
    assert [c.proto.spec for c in at.get("vega_lite_chart")] == drawn
    assert len(made) == count
    at.selectbox(key="run").set_value("two").run()
    assert not at.exception
    assert len(made) > count
