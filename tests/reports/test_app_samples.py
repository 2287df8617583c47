"""The Samples page: what its filters find, what it says of a sample, and that a run's text is only
ever text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from reports.record.lineage import why_lines
from reports.viewer import text
from reports.viewer.samples import query as asking
from reports.viewer.samples import rows as reading
from reports.viewer.samples.query import Query, matching
from reports.viewer.samples.rows import Place, places, samples, trained_on
from reports.viewer.text import escaped
from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.record import Run
from tests.reports import make_run as fabricated
from tests.reports.make_run import HOSTILE, make_run

ROOT = Path(__file__).parents[2]
GROW, AUDIT = Place("g01", "grow"), Place("g02/i02", "audit")


def _varied(make: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """Samples as fabricated, a few of them empty, cut off, or without a reference human score."""

    def samples_of(*given: Any, **named: Any) -> pd.DataFrame:
        table = make(*given, **named)
        table.loc[[8, 9], "text"] = [" \n", ""]
        table.loc[[10, 11, 12], "finished"] = False
        table.loc[20, "group"] = HOSTILE[1]
        return table

    return samples_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fabricated, "_samples", _varied(fabricated._samples))
        make_run(folder / "run")
    return folder


@pytest.fixture
def run(root: Path) -> Run:
    return Run(root / "run")


def _page(root: Path, monkeypatch: pytest.MonkeyPatch, **address: str | list[str]) -> AppTest:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(root))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()
    at.switch_page("app_pages/samples.py")
    for key, value in {"run": "run", **address}.items():
        at.query_params[key] = value
    return at.run()


def _texts(at: AppTest) -> list[str]:
    return [t.value for t in at.text]


def _count(at: AppTest) -> str:
    return next(t for t in _texts(at) if re.match(r"\d+ of \d+ samples", t))


def _cards(at: AppTest) -> int:
    return sum(b.label.startswith("Across") for b in at.button)


def _markup(at: AppTest) -> str:
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
    return "\n".join(str(e.value) for kind in kinds for e in at.get(kind))


def _names(run: Run, place: Place, query: Query) -> list[str]:
    return [
        s.sample_id for s in samples(run, place, tuple(int(p) for p in matching(run, place, query)))
    ]


# What is found.


def test_places_are_what_the_ledger_has(run: Run) -> None:
    found = places(run)
    assert [p.name for p in found] == [
        "g00/i00",
        "g01/i01",
        "g01/i02",
        "g02/i01",
        "g02/i02",
        "g01",
        "g02",
    ]
    assert [p.title for p in found][:2] == ["base policy audit", "G1·I1 audit"]
    assert trained_on(run, GROW) == ["g01/i01", "g01/i02"]
    assert trained_on(run, AUDIT) == []


CASES: dict[str, tuple[Query, Callable[[pd.DataFrame], Any]]] = {
    "text, any case": (Query(text="TAKE 1"), lambda t: t["text"].str.contains("take 1")),
    "text is no pattern": (
        Query(text="(1)) :red["),
        lambda t: t["text"].str.contains("(1)) :red[", regex=False),
    ),
    "reward from": (Query(reward=(0.4, None)), lambda t: t["reward"] >= 0.4),
    "reward range": (Query(reward=(0.0, 0.4)), lambda t: t["reward"].between(0.0, 0.4)),
    "human known": (Query(human="known"), lambda t: t["human"].notna()),
    "human not known": (Query(human="not known"), lambda t: t["human"].isna()),
    "human range": (Query(human_range=(None, 0.2)), lambda t: t["human"] <= 0.2),
    "group": (Query(group="group A"), lambda t: t["group"] == "group A"),
    "a group that looks like markup": (Query(group=HOSTILE[1]), lambda t: t["group"] == HOSTILE[1]),
    "no group": (Query(group=asking.NO_GROUP), lambda t: t["group"].isna()),
    "empty": (Query(flags=("empty",)), lambda t: t["text"].str.strip() == ""),
    "cut off": (Query(flags=("cut off",)), lambda t: ~t["finished"]),
    "same text twice": (
        Query(flags=("same text twice",)),
        lambda t: t["text"].duplicated(keep=False),
    ),
    "one prompt": (Query(prompt="grow003"), lambda t: t["prompt_id"] == "grow003"),
    "several at once": (
        Query(reward=(0.4, None), human="known"),
        lambda t: (t["reward"] >= 0.4) & t["human"].notna(),
    ),
    "nothing": (Query(text="no sample says this"), lambda t: t["text"] == "no sample says this"),
}


@pytest.mark.parametrize("rows", [5, 8192])
@pytest.mark.parametrize("case", CASES)
def test_a_filter_finds_what_the_table_has(
    run: Run, monkeypatch: pytest.MonkeyPatch, case: str, rows: int
) -> None:
    monkeypatch.setattr(reading, "ROWS", rows)
    asking.matching.clear()
    asking._same.clear()
    query, wanted = CASES[case]
    table = run.grow("g01")
    assert _names(run, GROW, query) == list(table.loc[wanted(table), "sample_id"])


def test_kept_and_left_out_are_the_recorded_kept_set_and_the_rest(run: Run) -> None:
    kept, every = list(run.kept("g01/i02")["sample_id"]), list(run.grow("g01")["sample_id"])
    assert 0 < len(kept) < len(every)
    assert _names(run, GROW, Query(kept="g01/i02")) == kept
    assert _names(run, GROW, Query(kept="not g01/i02")) == [s for s in every if s not in kept]
    for sample in samples(run, GROW, tuple(range(len(every)))):
        assert dict(sample.kept)["g01/i02"] == (sample.sample_id in kept)


@pytest.mark.parametrize(
    ("sort", "column", "ascending"),
    [
        ("highest reward", "reward", False),
        ("lowest reward", "reward", True),
        ("highest human score", "human", False),
        ("lowest human score", "human", True),
        ("widest ensemble", "reward_spread", False),
        ("longest", "n_tokens", False),
        ("shortest", "n_tokens", True),
    ],
)
def test_an_order_puts_what_is_not_known_last(
    run: Run, sort: str, column: str, ascending: bool
) -> None:
    table = run.audit(AUDIT.name)
    wanted = table.sort_values(column, ascending=ascending, kind="stable", na_position="last")
    assert _names(run, AUDIT, Query(sort=sort)) == list(wanted["sample_id"])


def test_equal_texts_stand_together(run: Run) -> None:
    found = samples(
        run, GROW, tuple(int(p) for p in matching(run, GROW, Query(sort="same text together")))
    )
    order = [s.text for s in found]
    counts = [order.count(t) for t in order]
    assert counts == sorted(counts, reverse=True)
    assert len(set(order)) == 1 + sum(a != b for a, b in pairwise(order))


def test_peoples_ratings_are_the_human_score(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = list(run.audit(AUDIT.name)["sample_id"])
    rated = pd.DataFrame(
        {
            "sample_id": ids[:3],
            "score": [1.0, 2.0, 5.0],
            "inclusion": 0.5,
            "check": False,
            "anchor": False,
        }
    )
    monkeypatch.setattr(Run, "ratings", lambda self, iteration: rated)
    asking.matching.clear()
    samples.clear()
    assert _names(run, AUDIT, Query(human="known", sort="highest human score")) == ids[2::-1]
    assert [s.human for s in samples(run, AUDIT, (0, 1, 2))] == [1.0, 2.0, 5.0]
    assert math.isnan(samples(run, AUDIT, (5,))[0].human)
    asking.matching.clear()
    samples.clear()


def test_rows_come_in_the_order_that_was_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROWS", 7)
    ids = np.array(run.grow("g01")["sample_id"])
    places_ = [40, 3, 3, 0, 47]
    got = reading.rows_at((run.path, GROW.file), places_, ["sample_id"])
    assert [r["sample_id"] for r in got] == list(ids[places_])


# What the page shows.


def test_the_page_begins_with_the_newest_audit_and_turns(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(root, monkeypatch)
    assert not at.exception
    assert at.selectbox(key="samples_where").value == "g02/i02"
    assert _count(at) == "48 of 48 samples"
    assert _cards(at) == 25
    assert _cards(_page(root, monkeypatch, page="2")) == 23


def test_filters_stand_in_the_address_and_in_words_and_begin_at_the_first_page(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(root, monkeypatch, page="2", where="g01")
    at.text_input(key="samples_q").set_value("take 1").run()
    at.selectbox(key="samples_kept").set_value("not g01/i02").run()
    at.number_input(key="samples_reward_from").set_value(0.1).run()
    assert not at.exception
    assert {k: at.query_params.get(k) for k in ("q", "kept", "reward_from", "page")} == {
        "q": "take 1",
        "kept": "not g01/i02",
        "reward_from": "0.1",
        "page": None,
    }
    said = _count(at)
    assert said.endswith(": with “take 1” in the text; left out of G1·I2; reward from 0.1")
    again = _page(root, monkeypatch, where="g01", q="take 1", kept="not g01/i02", reward_from="0.1")
    assert _count(again) == said
    at.button(key="clear_filters").click().run()
    assert _count(at) == "48 of 48 samples"
    assert at.query_params["where"] == "g01"


def test_flags_are_chosen_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = _page(root, monkeypatch, where="g01", flags=["empty", "same text twice"])
    assert _count(at) == "0 of 48 samples: empty; same text twice"
    assert any("No sample is like this" in i.value for i in at.info)
    assert (
        _count(_page(root, monkeypatch, where="g01", flags="cut off")) == "3 of 48 samples: cut off"
    )


def test_one_click_says_why_a_sample_was_trained_on(
    root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(root, monkeypatch, where="g01", kept="g01/i02")
    name = next(iter(run.kept("g01/i02")["sample_id"]))
    assert any("trained on in G1·I2" in m.value for m in at.markdown)
    next(b for b in at.button if b.label == "Why trained on?").click().run()
    assert not at.exception
    assert at.query_params["why"] == name
    lines = [line.strip() for line in why_lines(run, name)]
    assert set(lines) <= set(_texts(at))
    assert any("trained on: its reward is above the threshold" in line for line in lines)
    elsewhere = _page(root, monkeypatch, why=name)
    assert set(lines) <= set(_texts(elsewhere))


def test_the_reasons_are_those_of_every_improve_step_of_the_samples_own_grow_set(run: Run) -> None:
    for grow in ("g01", "g02"):
        steps = [f"{grow}/i01", f"{grow}/i02"]
        kept = {step: set(run.kept(step)["sample_id"]) for step in steps}
        for name in list(run.grow(grow)["sample_id"])[::7]:
            lines = why_lines(run, name)
            said = ["trained on:" if name in kept[step] else "not trained on:" for step in steps]
            assert len(lines) == 2 + len(steps)
            assert all(f": {word} " in line for word, line in zip(said, lines[2:], strict=True))


def test_a_sample_that_no_grow_set_has_is_a_message(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(root, monkeypatch, why=HOSTILE[0])
    assert not at.exception
    assert any("No Grow set of this run has such a sample" in i.value for i in at.info)
    assert HOSTILE[0] not in _markup(at)


def test_hostile_text_is_only_text(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = _page(root, monkeypatch, where="g01")
    texts = _texts(at)
    assert all(text in texts for text in HOSTILE)
    markup = _markup(at)
    assert not any(text in markup for text in HOSTILE)
    assert r":color[\:]red\[stop\]" in markup  # the group of one sample, escaped
    found = _page(root, monkeypatch, where="g01", q=HOSTILE[0], group=HOSTILE[1])
    assert not found.exception
    assert not any(text in _markup(found) for text in HOSTILE)


def test_what_the_address_asks_for_in_vain_is_said_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {
        "where": "../../etc",
        "sort": "zzz",
        "page": "99",
        "group": "<b>",
        "reward_from": "abc",
        "human": "maybe",
        "kept": "g01/i02",
        "flags": "odd",
        "view": "other",
    }
    at = _page(root, monkeypatch, **wrong)
    assert not at.exception
    assert _count(at) == "48 of 48 samples"
    assert (
        sum("left out" in i.value for i in at.info) == 2
    )  # above the views, and above the filters
    texts = _texts(at)
    for what, key in {
        "Where": "where",
        "Order": "sort",
        "Page": "page",
        "Group": "group",
        "Reward from": "reward_from",
        "Only samples that are": "flags",
        "View": "view",
    }.items():
        assert f"{what}: {wrong[key]}" in texts


@pytest.mark.parametrize("value", ["-1", "0", "1.5", "9" * 400, "²", ""])
def test_an_odd_page_number_is_the_first_page(
    root: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    at = _page(root, monkeypatch, page=value)
    assert not at.exception
    assert _cards(at) == 25


def test_a_prompt_opens_across_iterations_and_the_search_is_still_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _page(root, monkeypatch, q="take 1")
    next(b for b in at.button if b.label == "Across iterations").click().run()
    assert not at.exception
    assert at.query_params["view"] == "One prompt"
    assert at.query_params["prompt"] == "audit002"
    assert (at.query_params["left"], at.query_params["right"]) == ("g00/i00", "g02/i02")
    table = at.dataframe[0].value
    assert list(table["where"]) == [p.title for p in places(Run(root / "run")) if p.kind == "audit"]
    assert list(table["samples"]) == [2] * 5
    assert "A film with ⟦+g02/i02+⟧ written on it, take 0: it holds up." in _texts(at)
    at.segmented_control(key="samples_view").set_value("Search").run()
    assert at.text_input(key="samples_q").value == "take 1"


def test_grow_sets_stand_side_by_side_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = _page(root, monkeypatch, view="One prompt", left="g01", right="g02", prompt="grow005")
    assert not at.exception
    assert sum("g01/grow written on it" in t or "⟦−g01/grow−⟧" in t for t in _texts(at)) == 2
    assert list(at.dataframe[0].value["where"]) == ["G1 Grow set", "G2 Grow set"]
    wrong = _page(root, monkeypatch, view="One prompt", prompt="nobody", left="g09")
    assert {"Prompt: nobody", "Left: g09"} <= set(_texts(wrong))


# What is damaged.


def test_a_table_that_was_changed_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "run")
    at = _page(tmp_path, monkeypatch, where="g01")
    assert not at.error
    table = pd.read_parquet(folder / "g01/grow.parquet")
    table.assign(reward=9.0).to_parquet(folder / "g01/grow.parquet")
    for view in ("Search", "One prompt"):
        at = _page(tmp_path, monkeypatch, where="g01", left="g01", view=view)
        assert not at.exception
        assert at.error
        assert any("g01/grow.parquet: changed after it was recorded" in c.value for c in at.code)
    with pytest.raises(VerificationFailed):
        reading.recorded(Run(folder), "g01/grow.parquet")


@pytest.mark.parametrize(
    "damage", ["no table", "no column", "words for numbers", "numbers for words"]
)
def test_a_recorded_table_that_is_none_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    folder = make_run(tmp_path / "run")
    file = folder / "g02/i02/audit.parquet"
    table = pd.read_parquet(file)
    if damage == "no table":
        file.write_bytes(b"PAR1 not a table PAR1")
    elif damage == "no column":
        table.drop(columns="reward").to_parquet(file)
    elif damage == "words for numbers":
        table.assign(reward="much").to_parquet(file)
    else:
        table.assign(text=1, group=2).to_parquet(file)
    _record_again(folder)
    for address in ({}, {"q": "film"}, {"view": "One prompt"}):
        at = _page(tmp_path, monkeypatch, **address)
        assert not at.exception
        assert at.error


def _record_again(folder: Path) -> None:
    """A ledger that agrees with the files as they are now."""
    events = ledger.read(folder)
    (folder / ledger.FILE).unlink()
    prev = ledger.GENESIS
    for e in events:
        outputs = {n: ledger.digest_file(folder / n) for n in e.outputs}
        again = ledger.Event(e.seq, e.step, prev, outputs, e.content, e.context, e.at)
        ledger.append(folder, again)
        prev = again.hash


def test_a_link_in_place_of_a_table_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    file = folder / "g01/grow.parquet"
    file.rename(tmp_path / "elsewhere.parquet")
    file.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(BadInput, match="symbolic link"):
        reading.recorded(Run(folder), "g01/grow.parquet")


# Words.


def _without_marks(text: str) -> str:
    return re.sub(r"⟦[+−]|[+−]⟧", "", text)


def test_marks_stand_around_the_words_that_the_other_text_lacks() -> None:
    assert text.marked("the film is very good", "the film was good") == (
        "the film ⟦−is very−⟧ good",
        "the film ⟦+was+⟧ good",
    )
    assert text.marked("a\n\nb  c", "a\n\nx  c") == ("a\n\n⟦−b−⟧  c", "a\n\n⟦+x+⟧  c")


@pytest.mark.parametrize(
    ("left", "right", "why_not"),
    [
        ("same", "same", "the same"),
        ("", "a", "empty"),
        ("one two", "three four", "share 0%"),
        ("a ⟦+b+⟧", "a b", "characters"),
        ("a " * 900, "a b", "more than 800 words"),
    ],
)
def test_where_marks_would_say_nothing_a_sentence_says_why(
    left: str, right: str, why_not: str
) -> None:
    said = text.marked(left, right)
    assert isinstance(said, str)
    assert why_not in said


@given(
    st.lists(st.sampled_from(["a", "b", "the", "x\ny", " "]), max_size=30).map(" ".join),
    st.lists(st.sampled_from(["a", "b", "the", "z"]), max_size=30).map(" ".join),
)
@settings(max_examples=200, deadline=None)
def test_marks_never_change_the_words(left: str, right: str) -> None:
    said = text.marked(left, right)
    if isinstance(said, tuple):
        assert tuple(_without_marks(t) for t in said) == (left, right)


def test_text_is_shown_with_its_lines_and_without_what_reorders_or_hides_it() -> None:
    assert text.multiline("a\n\tb\r\nc") == "a\n\tb\r\nc"
    assert text.multiline("a\u202eb\x1b[31m\x00") == "a\ufffdb\ufffd[31m\ufffd"
    assert text.multiline("x" * 30, most=10) == f"{'x' * 10} […] (20 more characters)"
    assert text.one_line("a\n b\u202e " + "c" * 50, 10) == "a b\ufffd cccc…"


@given(st.text(st.characters(codec="utf-8"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_escaped_text_has_no_mark_that_is_not_escaped(text: str) -> None:
    shown = re.sub(r":color\[(\\[:@.])\]", r"\1", escaped(text, 1000))
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", shown)
    assert not set(bare) & set("`*_[]{}|$~#<>:")


def test_what_streamlit_looks_for_in_the_finished_text_stands_in_pieces() -> None:
    apart = r":color[\:]"
    assert escaped(":red[x] a: b", 99) == rf"{apart}red\[x\] a\: b"
    assert escaped("https://x.org", 99) == f"https{apart}//x.org"
    assert escaped(":streamlit: :material/home:", 99) == (
        rf"{apart}streamlit\: {apart}material/home{apart}"
    )
    assert escaped("WWW.x.org a@b.org", 99) == r"WWW:color[\.]x.org a:color[\@]b.org"
