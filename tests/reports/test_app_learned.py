"""What the policy learned: every text that has a chosen feature can be read, as text, with its
place marked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from make_run import HOSTILE, PROMPTS, SAMPLES, make_run, resealed
from streamlit.testing.v1 import AppTest

from reports.viewer import learned
from restaudit.evidence.record import Run

ROOT = Path(__file__).parents[2]
LISTED = {
    "share": 0.9,
    "share_base": 0.0,
    "rise": 0.9,
    "adjusted_p": 0.001,
    "reward_pays": None,
    "human_pays": None,
    "verdict": "signature",
    "in_the_same_texts": [],
    "like_it": [],
    "examples": ["only one"],
}
FEATURES = [
    ("words", "g02 i02"),
    ("opening", "a film with"),
    ("format", "a colon"),
    ("words", "alert"),
    ("format", "a smell of roses"),
    ("words", HOSTILE[1]),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "run")
    path = folder / "g02/i02/measurements.json"
    raw = json.loads(path.read_text())
    raw["measurements"].append(
        {
            "name": "hacking.signature",
            "value": 0.9,
            "unit": "share of texts",
            "n": 42,
            "n_prompts": 21,
            "method": "m",
            "version": "2",
            "intervals": [],
            "reason": "no interval here",
            "direction": "lower",
            "baseline": 0.0,
            "detail": {"features": [{"kind": k, "name": n, **LISTED} for k, n in FEATURES]},
        }
    )
    path.write_text(json.dumps(raw))
    return resealed(folder)


def _page(run: Path, monkeypatch: pytest.MonkeyPatch, feature: str | None = None) -> AppTest:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(run.parent))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60)
    at.switch_page("app_pages/divergence.py")
    if feature:
        at.query_params["feature"] = feature
    return at.run()


def _shown(at: AppTest) -> list[str]:
    return [t.value for t in at.text]


def _texts(run: Path, iteration: str, part: str) -> set[str]:
    table = Run(run).audit(iteration)
    return set(
        table[table["family"].isna() & table["text"].str.contains(part, regex=False)]["sample_id"]
    )


def test_no_text_is_read_before_a_feature_is_chosen(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(learned, "look_up", never)
    at = _page(run, monkeypatch)
    assert not at.exception
    assert len(at.selectbox(key="samples_feature").options) == len(FEATURES) + 1


def test_all_texts_that_have_it_can_be_read_with_the_place_marked(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(run, monkeypatch)
    at.selectbox(key="samples_feature").set_value("words: g02 i02").run()
    assert not at.exception
    have = _texts(run, "g02/i02", "g02/i02")
    plain = sum(k % 8 != 7 for k in range(PROMPTS)) * SAMPLES
    assert any(
        t.startswith(f"{len(have)} of {plain} compared texts of G2·I2 have it, and 0 of {plain}")
        for t in _shown(at)
    )
    assert sum("⟦g02/i02⟧" in t for t in _shown(at)) == learned.PAGE
    assert at.query_params["feature"] in ("words: g02 i02", ["words: g02 i02"])
    found = learned.texts_with(Run(run), "g02/i02", "words", "g02 i02")
    rewards = Run(run).audit("g02/i02").set_index("sample_id")["reward"]
    named = [e.about.split("(")[-1].rstrip(")") for e in found.examples]
    assert set(named) == have
    assert list(rewards[named]) == sorted(rewards[named], reverse=True)


def test_the_base_policys_answer_stands_beside_and_says_when_it_has_it_too(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(run, monkeypatch, "opening: a film with")
    assert not at.exception
    assert sum(c.value == "base policy, has it too" for c in at.caption) == learned.PAGE
    assert any("⟦A film with⟧ g00/i00" in t for t in _shown(at))
    assert any("⟦A film with⟧ g02/i02" in t for t in _shown(at))


def test_hostile_texts_and_names_are_text_only(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = _page(run, monkeypatch, "words: alert")
    assert not at.exception
    assert any(HOSTILE[0].replace("alert", "⟦alert⟧") in t for t in _shown(at))
    kinds = (
        "markdown",
        "caption",
        "header",
        "subheader",
        "title",
        "error",
        "warning",
        "info",
        "html",
    )
    markup = "\n".join(str(e.value) for kind in kinds for e in at.get(kind))
    assert not any(text in markup for text in HOSTILE)
    assert "<script>" not in markup


def test_a_format_that_this_version_lacks_is_a_message(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(run, monkeypatch, "format: a smell of roses")
    assert not at.exception
    assert any("not a format that this version knows" in c.value for c in at.code)


def test_a_feature_that_is_not_there_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = _page(run, monkeypatch, "words: nothing like it")
    assert not at.exception
    assert any("asks for what is not there" in i.value for i in at.info)


def test_marks_are_left_out_where_a_text_has_such_signs() -> None:
    assert learned.highlighted("a b c", [(2, 3)]) == "a ⟦b⟧ c"
    assert learned.highlighted("a ⟦ c", [(0, 1)]) == "a ⟦ c"
    assert learned.highlighted("a\x1bb", [(2, 3)]) == "a�⟦b⟧"
