"""Pairs: blinded, repeatable, taken back only as shown, and counted so that neither side is
favoured.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from restaudit.commands.cli import app
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.people.rating import RatingsRefused, draw_tasks, import_ratings, in_app, load_ratings
from restaudit.people.rating.pairs import (
    draw_pairs,
    export_pairs,
    import_choices,
    open_pairs,
    pair_sets,
    wins,
)
from restaudit.people.rating.pairs.drawing import FIRST, SECOND, read_key
from restaudit.people.rating.pairs.sheet import read_sheet
from restaudit.people.rating.pairs.wins import beside, in_words, pair_progress
from restaudit.people.rating.store import CHOICES_FILE, read_rows
from tests.reports.make_run import make_run

BASE, LAST = "g00/i00", "g02/i02"
ASK: dict[str, Any] = {
    "n": 16,
    "raters": 2,
    "seed": 7,
    "dimension": "quality",
    "instructions": "Which is better?",
    "name": "duel",
}
Chooser = Callable[[dict[str, Any]], str]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def _draw(run: Path, **more: Any) -> Any:
    return draw_pairs(run, (run, BASE), (run, LAST), **{**ASK, **more})


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _filled(run: Path, choose: Chooser, *, rater: str = "ana", name: str = "duel") -> Path:
    """The tasks as a rater gives them back; `choose` sees an item of the key."""
    items = {i["item_id"]: i for i in read_key(run / "human", name)["items"]}
    now = datetime.now(UTC)
    out = run.parent / f"{rater}.jsonl"
    rows = [
        {
            **r,
            "choice": choose(items[r["item_id"]]),
            "rater_id": rater,
            "submitted_at": now.isoformat(),
        }
        for r in _lines(run / "human" / f"pairs-{name}.jsonl")
    ]
    out.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return out


def _for(side: str) -> Chooser:
    return lambda item: "A" if item["a"] == side else "B"


# --- drawing


def test_raters_see_no_sign_of_a_policy(run: Path) -> None:
    one = _draw(run)
    allowed = {
        "item_id",
        "prompt",
        "response_a",
        "response_b",
        "response_a_sha256",
        "response_b_sha256",
        "run_id",
        "dimension",
        "instructions_sha256",
        "blinded",
        "choice",
        "rater_id",
        "started_at",
        "submitted_at",
        "instructions",
        "choices",
        "raters",
    }
    samples = {s for i in (BASE, LAST) for s in Run(run).audit(i)["sample_id"]}
    for row in _lines(one.path):
        assert set(row) == allowed
        assert not any(
            s in json.dumps({k: v for k, v in row.items() if "response" not in k}) for s in samples
        )


def test_sides_are_random_and_repeats_stand_the_other_way_round(run: Path) -> None:
    one = _draw(run, n=24)
    items = read_key(one.path.parent, "duel")["items"]
    by_id = {i["item_id"]: i for i in items}
    at_a = [i["a"] for i in items if i["role"] == "pair"]
    assert 0.2 < np.mean([a == FIRST for a in at_a]) < 0.8
    checks = [i for i in items if i["role"] == "check"]
    assert len(checks) == one.checks > 0
    for check in checks:
        original = by_id[check["repeats"]]
        assert {check["a"], original["a"]} == {FIRST, SECOND}
        assert check["order"] > original["order"]
    other = _draw(run, n=24, seed=8, name="other")
    again = {
        i["prompt_id"]: i["a"]
        for i in read_key(other.path.parent, "other")["items"]
        if i["role"] == "pair"
    }
    mine = {i["prompt_id"]: i["a"] for i in items if i["role"] == "pair"}
    assert any(again[p] != mine[p] for p in again.keys() & mine.keys())


def test_the_same_arguments_give_the_same_set_and_others_under_its_name_are_refused(
    run: Path,
) -> None:
    one = _draw(run)
    before = one.path.read_bytes(), one.key.read_bytes()
    one.path.unlink()
    assert _draw(run) == one
    assert (one.path.read_bytes(), one.key.read_bytes()) == before
    with pytest.raises(BadInput, match="was drawn differently"):
        _draw(run, seed=8)


def test_a_name_is_of_one_kind_only(run: Path) -> None:
    single = {
        "per_iteration": 2,
        "raters": 1,
        "seed": 1,
        "dimension": "d",
        "scale": (1, 7),
        "instructions": "i",
    }
    _draw(run)
    with pytest.raises(BadInput, match="a set of pairs is named 'duel'"):
        draw_tasks(run, [BASE], name="duel", **single)  # type: ignore[arg-type]
    draw_tasks(run, [BASE], name="texts", **single)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="a set of single texts is named 'texts'"):
        _draw(run, name="texts")


def test_one_pair_a_prompt_and_the_same_text_twice_is_a_tie_that_nobody_is_shown(run: Path) -> None:
    """Two of the fixture's prompts have texts that every policy wrote."""
    one = _draw(run, n=1000)
    items = [i for i in read_key(one.path.parent, "duel")["items"] if i["role"] == "pair"]
    assert len({i["prompt_id"] for i in items}) == len(items) == one.pairs
    assert all(i["first_sha256"] != i["second_sha256"] for i in items)
    assert any("all of them" in n for n in one.notes)
    assert one.pairs + one.same == 21  # plain prompts
    assert {i["inclusion_prob"] for i in items} == {1.0}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"n": 0}, "at least 1 prompt"),
        ({"raters": 0}, "raters"),
        ({"dimension": " "}, "is empty"),
        ({"instructions": ""}, "are empty"),
        ({"checks": -1}, "not negative"),
        ({"name": "../x"}, "may hold letters"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_and_write_nothing(
    run: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        _draw(run, **more)
    assert not list((run / "human").glob("pairs-*"))


def test_a_policy_is_not_compared_with_itself(run: Path) -> None:
    with pytest.raises(BadInput, match="name two different policies"):
        draw_pairs(run, (run, LAST), (run, LAST), **ASK)
    with pytest.raises(BadInput, match="no step of the ledger recorded"):
        draw_pairs(run, (run, BASE), (run, "g09/i01"), **ASK)


# --- choices in


def test_choices_come_back_unblinded_and_are_no_ratings(run: Path) -> None:
    one = _draw(run)
    report = import_choices(run, _filled(run, _for(SECOND)))
    assert report.accepted == one.items
    rows = read_rows(run / "human", CHOICES_FILE)
    assert {r["score"] for r in rows} == {1}
    assert {r["choice"] for r in rows} == {"A", "B"}
    assert {(r["first"]["iteration"], r["second"]["iteration"]) for r in rows} == {(BASE, LAST)}
    assert all(r["second"]["sample_id"].startswith(LAST) for r in rows)
    assert load_ratings(run).empty
    assert not (run / "human" / "ratings.jsonl").exists()
    at = pair_progress(run, "duel")
    assert (at.rated, at.wanted) == (one.items, 2 * one.items)


def test_a_spreadsheet_and_json_lines_say_the_same(run: Path, tmp_path: Path) -> None:
    _draw(run)
    other = shutil.copytree(run, tmp_path / "other")
    import_choices(run, _filled(run, _for(FIRST)))
    out = tmp_path / "sheet.csv"
    export_pairs(other, "duel", format="csv", out=out)
    choice = {r["item_id"]: r["choice"] for r in read_rows(run / "human", CHOICES_FILE)}
    import csv

    with out.open(encoding="utf-8-sig", newline="") as f:
        cells = list(csv.DictReader(f))
    with out.open("w", encoding="utf-8-sig", newline="") as f:
        writer = csv.DictWriter(f, list(cells[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(
            [{**c, "choice": choice[c["item_id"]].lower(), "rater_id": "ana"} for c in cells]
        )
    assert import_choices(other, out).untimed == len(cells)
    here, there = (
        [(r["item_id"], r["choice"], r["score"]) for r in read_rows(f / "human", CHOICES_FILE)]
        for f in (run, other)
    )
    assert here == there


def _changed(row: dict[str, Any], **new: Any) -> dict[str, Any]:
    return {**row, **new}


def _swapped(row: dict[str, Any]) -> dict[str, Any]:
    pairs = (("response_a", "response_b"), ("response_a_sha256", "response_b_sha256"))
    return {**row, **{a: row[b] for x, y in pairs for a, b in ((x, y), (y, x))}}


WRONG: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "another digest": (
        lambda r: _changed(r, response_b_sha256="0" * 64),
        "response_b_sha256 is not that of item",
    ),
    "another text": (
        lambda r: _changed(r, response_a="words of somebody else"),
        "is not the run's text",
    ),
    "sides swapped": (_swapped, "another response was shown"),
    "no such choice": (lambda r: _changed(r, choice="C"), "expected A, B or T"),
    "a number": (lambda r: _changed(r, choice=1), "expected A, B or T"),
    "other instructions": (
        lambda r: _changed(r, instructions_sha256="0" * 64),
        "not that of the instructions",
    ),
    "another dimension": (lambda r: _changed(r, dimension="wit"), "'quality' was asked for"),
    "another run": (lambda r: _changed(r, run_id="x"), "belongs to run 'x'"),
    "an unknown item": (lambda r: _changed(r, item_id="f" * 16), "in no set of rating tasks"),
    "older than the text": (
        lambda r: _changed(r, submitted_at="2020-01-01T00:00:00Z"),
        "before the text was recorded",
    ),
    "no time": (lambda r: _changed(r, submitted_at=None), "has no time of submission"),
    "nobody": (lambda r: _changed(r, rater_id=None), "has no rater"),
    "unblinded": (lambda r: _changed(r, iteration=LAST), "is not blinded"),
    "a model": (lambda r: _changed(r, is_model=True), "is no person's rating"),
    "a developer": (lambda r: _changed(r, developer="yes"), "may not judge it"),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_wrong_line_refuses_the_whole_file(run: Path, what: str) -> None:
    change, message = WRONG[what]
    _draw(run)
    path = _filled(run, _for(SECOND))
    rows = _lines(path)
    rows[2] = change(rows[2])
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(RatingsRefused, match=message) as caught:
        import_choices(run, path)
    assert caught.value.problems[0].startswith("row 3: ")
    assert not (run / "human" / CHOICES_FILE).exists()


def test_a_rater_chooses_once(run: Path) -> None:
    _draw(run)
    path = _filled(run, _for(SECOND))
    import_choices(run, path)
    with pytest.raises(RatingsRefused, match="just the same"):
        import_choices(run, path)
    assert import_choices(run, path, skip_known=True).accepted == 0
    with pytest.raises(RatingsRefused, match=r"in an earlier import with choice [AB]"):
        import_choices(run, _filled(run, _for(FIRST)))


@pytest.mark.parametrize("where", ["tasks", "key", "record"])
def test_texts_that_are_not_those_that_were_drawn_take_no_choice(run: Path, where: str) -> None:
    one = _draw(run)
    path = _filled(run, _for(SECOND))
    if where == "tasks":
        rows = _lines(one.path)
        rows[0]["response_a"] = "another text"
        one.path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    elif where == "key":
        key = json.loads(one.key.read_text())
        key["items"][0]["a"] = SECOND if key["items"][0]["a"] == FIRST else FIRST
        one.key.write_text(json.dumps(key))
    else:
        table = Run(run).audit(LAST)
        table.assign(text="another text").to_parquet(run / LAST / "audit.parquet")
    with pytest.raises(BadInput):
        import_choices(run, path)


def test_an_answer_of_the_app_is_taken_back_and_stays_in_the_log(run: Path) -> None:
    from restaudit.people.rating.pairs.sheet import PairVote

    one = _draw(run)
    book, sheet = open_pairs(Run(run), run / "human"), read_sheet(one.path)
    item = sheet.rows[0]
    now = datetime.now(UTC)
    vote = PairVote(
        where="here",
        item_id=item.item_id,
        rater="ana",
        score="T",
        submitted_at=now.isoformat(),
        started_at=(now - timedelta(seconds=9)).isoformat(),
    )
    in_app.give(run, book, vote, CHOICES_FILE)
    assert [r["score"] for r in read_rows(run / "human", CHOICES_FILE)] == [0]
    with pytest.raises(BadInput, match="no rating of"):
        in_app.take_back(run, item_id=item.item_id, rater="ana")
    in_app.take_back(run, item_id=item.item_id, rater="ana", file=CHOICES_FILE)
    assert read_rows(run / "human", CHOICES_FILE) == []
    assert [n["rating"]["choice"] for n in in_app.read_notes(run)] == ["T"]


# --- two runs


def test_two_runs_that_asked_the_same_prompts_are_compared(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", "halted", name="another-trial")
    one = draw_pairs(run, (run, LAST), (other, "g01/i02"), **ASK)
    key = read_key(one.path.parent, "duel")
    theirs = dict(
        zip(*(Run(other).audit("g01/i02")[c] for c in ("sample_id", "text")), strict=True)
    )
    shown = {t for r in _lines(one.path) for t in (r["response_a"], r["response_b"])}
    assert {theirs[i["second_sample"]] for i in key["items"]} <= shown
    shutil.rmtree(other)
    import_choices(run, _filled(run, _for(SECOND)))
    found = wins(run, "duel")
    assert found.rate.value == 1.0 if not found.same else found.rate.value < 1.0
    assert "another-trial g01/i02 was preferred to reviews-trial g02/i02" in in_words(found)


def test_prompts_asked_in_other_words_are_not_compared(run: Path, tmp_path: Path) -> None:
    from tests.reports.make_run import resealed

    other = make_run(tmp_path / "other", "halted", name="another-trial")
    table = Run(other).prompts("audit")
    table.loc[table["prompt_id"] == "audit004", "prompt"] = "Something else."
    table.to_parquet(other / "data/audit.parquet")
    one = draw_pairs(run, (run, LAST), (resealed(other), "g01/i02"), **{**ASK, "n": 1000})
    assert any("1 prompts that were asked in other words" in n for n in one.notes)
    assert "audit004" not in {i["prompt_id"] for i in read_key(one.path.parent, "duel")["items"]}


# --- counting


def test_nobody_rated_is_no_number(run: Path) -> None:
    _draw(run)
    found = wins(run, "duel")
    assert found.rate.value is None
    assert "nobody rated a pair" in in_words(found)
    assert beside(found) == []


def test_ties_count_half_and_raters_of_a_prompt_share_its_vote(run: Path) -> None:
    one = _draw(run, n=1000, checks=0)
    import_choices(run, _filled(run, lambda _: "T", rater="ben"))
    assert wins(run, "duel").rate.value == pytest.approx(0.5)
    import_choices(run, _filled(run, _for(SECOND)))
    found = wins(run, "duel")
    shown = one.pairs / (one.pairs + one.same)
    assert found.rate.value == pytest.approx(0.75 * shown + 0.5 * (1 - shown))
    assert (found.better, found.ties, found.worse) == (one.pairs, one.pairs, 0)
    assert (found.prompts, found.raters) == (one.pairs, 2)


def test_the_two_sides_are_counted_alike(run: Path) -> None:
    """The same preferences with the sides of the draw exchanged give the complement, and the
    mirrored interval.
    """
    rng = np.random.default_rng(5)
    likes = {p: rng.choice([BASE, LAST, "tie"]) for p in Run(run).audit(BASE)["prompt_id"].unique()}

    def choose(first: str, second: str) -> Chooser:
        def one(item: dict[str, Any]) -> str:
            liked = likes[item["prompt_id"]]
            return "T" if liked == "tie" else _for(FIRST if liked == first else SECOND)(item)

        return one

    found = []
    for name, first, second in (("one", BASE, LAST), ("other", LAST, BASE)):
        draw_pairs(run, (run, first), (run, second), **{**ASK, "n": 1000, "name": name})
        import_choices(run, _filled(run, choose(first, second), name=name))
        found.append(wins(run, name))
    one, other = (f.rate for f in found)
    assert one.value is not None
    assert other.value is not None
    assert one.value == pytest.approx(1 - other.value, abs=1e-9)
    assert one.intervals[0].low == pytest.approx(1 - other.intervals[0].high, abs=0.02)
    assert (found[0].better, found[0].ties) == (found[1].worse, found[1].ties)


def test_the_interval_covers_the_share_that_the_choices_come_from() -> None:
    """Simulated: prompts with their own chance of a win, two raters each, 40 prompts."""
    from restaudit.people.rating.pairs.wins import _rate

    rng = np.random.default_rng(11)
    truth, hits, tries = 0.6, 0, 120
    for _ in range(tries):
        rows = [
            {"prompt_id": f"p{k}", "score": 1 if rng.random() < chance else -1}
            for k, chance in enumerate(rng.beta(3, 2, size=40))
            for _ in range(2)
        ]
        (interval,) = _rate(rows, 0, 40).intervals
        hits += interval.low <= truth <= interval.high
    assert 0.88 <= hits / tries <= 0.995


def test_agreement_and_the_share_of_a_say_what_blinding_should_show(run: Path) -> None:
    _draw(run, n=1000)
    import_choices(run, _filled(run, lambda _: "A", rater="lazy"))
    lazy = wins(run, "duel")
    assert lazy.chose_a == 1.0
    assert any("The text at A was chosen in 100%" in line for line in beside(lazy))
    import_choices(run, _filled(run, _for(SECOND), rater="ana"))
    assert wins(run, "duel").agreement.value is not None


def test_a_rater_who_follows_the_place_is_inconsistent_on_repeats(run: Path) -> None:
    _draw(run, n=1000)
    import_choices(run, _filled(run, _for(SECOND), rater="ana"))
    import_choices(run, _filled(run, lambda _: "A", rater="lazy"))
    by = {r.rater: r for r in pair_progress(run, "duel").per_rater}
    assert by["ana"].mean_difference == 0
    assert by["lazy"].mean_difference == 2


# --- the command


def _cli(*args: object) -> str:
    found = CliRunner().invoke(app, [str(a) for a in args])
    assert found.exit_code == 0, found.output
    return found.output


def test_the_command_draws_takes_back_and_counts(run: Path, tmp_path: Path) -> None:
    said = _cli("rate", "pairs", run, "--n", 12, "--out", tmp_path / "out.jsonl", "--name", "duel")
    assert "duel:" in said
    assert (tmp_path / "out.jsonl").read_bytes() == (run / "human/pairs-duel.jsonl").read_bytes()
    assert "not known" in _cli("rate", "wins", run)
    assert "choices" not in _cli("rate", "status", run)
    taken = _cli("rate", "import", run, _filled(run, _for(SECOND)))
    assert "ratings taken (native)" in taken
    assert "G" not in _cli("rate", "status", run).split("duel")[0]
    assert "g02/i02 was preferred to g00/i00 on" in _cli("rate", "wins", run, "--name", "duel")
    assert [p.name for p in pair_sets(run)] == ["duel"]


def test_a_file_of_choices_is_not_read_as_ratings_and_the_other_way_round(
    run: Path, tmp_path: Path
) -> None:
    _draw(run)
    path = _filled(run, _for(SECOND))
    with pytest.raises(BadInput):
        import_ratings(run, path)
    (tmp_path / "other.jsonl").write_text('{"item_id": "a", "score": 3, "rater_id": "ana"}\n')
    with pytest.raises(BadInput, match="no line of it has a choice"):
        import_choices(run, tmp_path / "other.jsonl")
    assert not (run / "human" / "ratings.jsonl").exists()
