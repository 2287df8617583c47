"""The Compare page: runs of the folder side by side; what cannot stand side by side is refused with
every reason.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qsl

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from reports.run_report.comparison import comparison
from reports.viewer import comparing
from restaudit.evidence.record import Run
from tests.reports.make_run import HOSTILE, make_run
from tests.reports.test_app_samples import _markup, _record_again, _texts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "one", name="honest")
    make_run(folder / "two", "overridden", name="hacked")
    make_run(folder / "nobody", "nulls", name="nobody")
    make_run(folder / "young", "base_only", name="young")
    make_run(folder / "bad", "broken", name="bad")
    return folder


def _page(root: Path, monkeypatch: pytest.MonkeyPatch, *chosen: str) -> AppTest:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(root))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()
    at.switch_page("app_pages/compare.py")
    if chosen:
        at.query_params["compare"] = list(chosen)
    return at.run()


def test_nothing_is_compared_before_two_runs_are_chosen(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chosen in ((), ("one",), ("one", "one")):
        at = _page(root, monkeypatch, *chosen)
        assert not at.exception
        assert not at.header
        assert any("same base policy" in i.value for i in at.info)
    assert sorted(at.multiselect(key="compare").options) == ["bad", "nobody", "one", "two", "young"]


def test_two_runs_stand_side_by_side_with_the_figures_of_the_report(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(root, monkeypatch)
    at.multiselect(key="compare").set_value(["one", "two"]).run()
    assert not at.exception
    document = comparison([Run(root / "one"), Run(root / "two")])
    assert [h.value for h in at.header] == [s.title for s in document.sections]
    assert len(at.get("vega_lite_chart")) == 1
    cells = [str(c) for frame in at.dataframe for c in frame.value.to_numpy().ravel()]
    assert "honest less hacked" in cells
    texts = _texts(at)
    assert {"one, called honest below", "two, called hacked below"} <= set(texts)
    assert {f"{label}: {head}" for label, head in document.heads} <= set(texts)


def test_an_override_is_read_first_and_only_as_text(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(root, monkeypatch, "one", "two")
    assert any(t.startswith("hacked: OVERRIDE at G1·I2") and HOSTILE[0] in t for t in _texts(at))
    assert "Read this first" in _markup(at)
    assert not any(text in _markup(at) for text in HOSTILE)


def test_what_is_not_comparable_is_refused_with_every_reason(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(root, monkeypatch, "one", "nobody", "young")
    assert not at.exception
    assert not at.header
    assert any("would not say which policy is better" in e.value for e in at.error)
    reasons = [t for t in _texts(at) if t.startswith("• ")]
    assert any("no iteration after the base policy was audited yet" in r for r in reasons)
    assert any(r.startswith("• human score: honest has LEXICON") for r in reasons)
    make_run(tmp_path / "a")
    other = make_run(tmp_path / "b")
    plan = json.loads((other / "plan.json").read_text())
    plan["artifacts"]["policy.model"]["sha256"] = "99" * 32
    plan["config"]["loop"]["sampling"]["max_tokens"] = 5
    (other / "plan.json").write_text(json.dumps(plan))
    _record_again(other)
    at = _page(tmp_path, monkeypatch, "a", "b")
    reasons = [t for t in _texts(at) if t.startswith("• ")]
    assert [r.split(":")[0] for r in reasons] == [
        "• the same run is given twice",
        "• base policy",
        "• sampling of audit answers",
    ]


def test_only_runs_of_the_list_are_opened(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "outside")
    path = f"../{tmp_path.name}/outside"
    at = _page(root, monkeypatch, "one", path, HOSTILE[0])
    assert not at.exception
    assert at.multiselect(key="compare").value == ["one"]
    assert any("not in this folder" in i.value for i in at.info)
    assert f"{path}, {HOSTILE[0]}" in _texts(at)
    assert not at.header


def test_a_run_that_cannot_be_read_is_a_message(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(root, monkeypatch, "one", "bad")
    assert not at.exception
    assert any(
        "cannot be read" in (e.proto.title or e.value) or "Take it out" in e.value for e in at.error
    )
    assert any(c.value.startswith("bad: ") for c in at.code)
    assert not at.header


def test_a_changed_table_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "a", name="a")
    file = make_run(tmp_path / "b", "overridden", name="b") / "g01/i02/audit.parquet"
    pd.read_parquet(file).assign(human=9.0).to_parquet(file)
    at = _page(tmp_path, monkeypatch, "a", "b")
    assert not at.exception
    assert at.error
    assert any("g01/i02/audit.parquet: changed after it was recorded" in c.value for c in at.code)


def test_a_folder_with_one_run_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "a")
    at = _page(tmp_path, monkeypatch)
    assert not at.exception
    assert any("fewer than two runs" in i.value for i in at.info)


def test_a_link_carries_the_chosen_folders() -> None:
    def script() -> None:
        import streamlit as st

        from reports.viewer import comparing
        from reports.viewer.pages import BY_FILE

        def here() -> None:
            comparing.link(["one", "a & b"])
            comparing.link(["one"])

        st.navigation(
            [st.Page(here, title="Here"), st.Page(BY_FILE["compare.py"].path, title="Compare")]
        ).run()

    at = AppTest.from_function(script, default_timeout=60).run()
    assert not at.exception
    full, dead = at.get("page_link")
    assert parse_qsl(full.proto.query_string) == [("compare", "one"), ("compare", "a & b")]
    assert dead.proto.disabled


@pytest.mark.parametrize(
    ("names", "labels"),
    [(["a", "b"], ["a", "b"]), (["a", "a", "b"], ["a (1)", "a (2)", "b"]), ([], [])],
)
def test_labels_are_those_of_the_comparison(names: list[str], labels: list[str]) -> None:
    assert comparing.labels(names) == labels
