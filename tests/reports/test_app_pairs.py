"""People choose between two texts in the app: blinded, by key, saved at once, taken back, counted
when handed in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from claims import login
from make_run import HOSTILE
from rate_page import ROOT, click, fresh, has, open_page, status, texts
from streamlit.testing.v1 import AppTest

from restaudit.evidence.record import Run
from restaudit.people.rating import in_app
from restaudit.people.rating.asking import pair_arguments, pair_set_name
from restaudit.people.rating.pairs import PairSet, draw_pairs, wins
from restaudit.people.rating.pairs.drawing import FIRST, read_key
from restaudit.people.rating.store import CHOICES_FILE, read_rows

BASE, LAST = "g00/i00", "g02/i02"
ASK: dict[str, Any] = {
    "n": 12,
    "raters": 2,
    "seed": 7,
    "dimension": "quality",
    "instructions": "Which is better?",
    "name": "duel",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fresh(tmp_path / "runs", monkeypatch)


@pytest.fixture
def duel(run: Path) -> PairSet:
    return draw_pairs(run, (run, BASE), (run, LAST), **ASK)


def _begin(rater: str = "ana") -> AppTest:
    return click(open_page(rater), "rating_begin")


def _rows(run: Path) -> list[dict[str, Any]]:
    return read_rows(run / "human", CHOICES_FILE)


def _shown(at: AppTest) -> tuple[str, str]:
    a, b = (at.container(key=f"rating_response_{k}").text[0].value for k in "AB")
    return str(a), str(b)


def _choose(at: AppTest, *choices: str) -> AppTest:
    for c in choices:
        click(at, f"choice_{c}")
    return at


def test_choices_are_saved_at_once_and_kept_when_the_page_is_opened_again(
    run: Path, duel: PairSet
) -> None:
    at = _choose(_begin(), "A", "B", "T")
    assert status(at).startswith(f"3 of {duel.items} rated. Saved: Tie")
    where = _shown(at)
    assert [r["choice"] for r in _rows(run)] == ["A", "B", "T"]
    assert {(r["rater_id"], r["source"], r["blinded"]) for r in _rows(run)} == {
        ("ana", "app", True)
    }
    again = open_page("ana")
    assert status(again).startswith(f"3 of {duel.items} rated")
    assert _shown(again) == where
    assert not (run / "human" / "ratings.jsonl").exists()


def test_keys_are_a_b_and_t_and_nothing_tells_which_policy_is_which(
    run: Path, duel: PairSet
) -> None:
    at = _begin()
    choices = [b for b in at.button if (b.key or "").startswith("choice_")]
    assert [(str(b.key)[:8], b.label) for b in choices] == [
        ("choice_A", "A is better"),
        ("choice_T", "Tie"),
        ("choice_B", "B is better"),
    ]
    said = [t for t in texts(at) if t not in _shown(at)]
    assert not any(word in t for t in said for word in ("G2·I2", "g02/i02", "reward"))
    assert not at.dataframe


def test_a_choice_is_taken_back_and_a_skipped_pair_comes_at_the_end(
    run: Path, duel: PairSet
) -> None:
    at = _begin()
    first = _shown(at)
    click(at, "skip")
    _choose(at, "B")
    click(at, "undo")
    assert _rows(run) == []
    assert [n["rating"]["choice"] for n in in_app.read_notes(run) if n["what"] == "taken_back"] == [
        "B"
    ]
    _choose(at, *["T"] * (duel.items - 1))
    click(at, "unskip")
    assert _shown(at) == first


def test_results_come_with_handing_in_on_both_pages(run: Path, duel: PairSet) -> None:
    items = {i["item_id"]: i for i in read_key(run / "human", "duel")["items"]}
    order = sorted(items.values(), key=lambda i: i["order"])
    at = _choose(_begin(), *["B" if i["a"] == FIRST else "A" for i in order])
    assert not at.dataframe
    click(at, "rating_hand_in")
    found = wins(run, "duel")
    assert found.worse == 0
    expected = f"G2·I2 was preferred to base on {found.rate.value:.0%} of prompts"
    assert any(t.startswith(expected) and "95% interval" in t for t in texts(at))
    assert at.dataframe[0].value.loc[0, "better"] == duel.pairs
    assert not any((b.key or "").startswith("choice_") for b in open_page("ana").button)
    page = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60)
    page.switch_page("app_pages/divergence.py")
    page.run()
    assert not page.exception
    assert any(t.startswith(expected) for t in texts(page))


def test_a_rater_in_the_middle_keeps_the_result_from_the_divergence_page(
    run: Path, duel: PairSet
) -> None:
    _choose(_begin(), "A", "B")
    page = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60)
    page.switch_page("app_pages/divergence.py")
    page.run()
    assert any("in the middle of this set" in t for t in texts(page))
    assert not any("was preferred" in t for t in texts(page))


def test_pairs_made_in_the_app_are_those_the_command_makes(run: Path) -> None:
    at = open_page()
    at.number_input(key="pairs_n").set_value(9)
    click(at, "pairs_draw")
    arguments = pair_arguments(Run(run), {"n": 9})
    name = pair_set_name(arguments)
    key = run / "human" / f"pairs-key-{name}.json"
    before = key.read_bytes()
    draw_pairs(run, name=name, **arguments)
    assert key.read_bytes() == before
    assert at.selectbox(key="set").value == name
    at.selectbox(key="pairs_second").set_value(BASE)
    click(at, "pairs_draw")
    assert any("name two different policies" in t for t in texts(at))


def test_hostile_texts_are_shown_as_text_only(run: Path) -> None:
    draw_pairs(run, (run, BASE), (run, LAST), **{**ASK, "n": 1000, "instructions": HOSTILE[2]})
    at = _begin()
    seen: set[str] = set()
    while has(at, "choice_T"):
        seen |= {t.value for t in at.text}
        markup = "".join(
            str(e.value) for k in ("markdown", "caption", "subheader", "info") for e in at.get(k)
        )
        assert not any(text in markup for text in HOSTILE)
        _choose(at, "T")
    assert set(HOSTILE) & seen


def test_roles_of_a_login_hold_for_pairs_too(run: Path, duel: PairSet) -> None:
    claims = login(email="ana@example.org", roles=["rater"])
    at = open_page(user=claims)
    assert not has(at, "pairs_draw")
    _choose(click(at, "rating_begin"), "A")
    assert [r["rater_id"][:6] for r in _rows(run)] == ["rater-"]
    viewer = open_page(user={**claims, "roles": []})
    assert not any(
        (b.key or "").startswith(("choice", "rating_begin", "pairs")) for b in viewer.button
    )


@pytest.mark.parametrize("what", ["tasks", "key", "choices"])
def test_a_damaged_set_of_pairs_is_one_message(run: Path, duel: PairSet, what: str) -> None:
    if what == "tasks":
        rows = [json.loads(line) for line in duel.path.read_text().splitlines()]
        rows[0]["response_b"] = "another text"
        duel.path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    else:
        (duel.key if what == "key" else run / "human" / CHOICES_FILE).write_text("[]\n")
    at = open_page("ana")
    assert not at.exception
    assert len(at.error) == 1
    assert not has(at, "choice_A")
