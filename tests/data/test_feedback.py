"""Ratings and pairs in long form, from one's own tables and from public sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from restaudit.config import RowRules, TableSource
from restaudit.data import load_feedback
from restaudit.data.records import disjoint
from restaudit.errors import BadInput

RULES = RowRules(empty="count")


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def load(path: Path, rows: list[dict[str, Any]], **source: Any) -> Any:
    return load_feedback(TableSource(source=jsonl(path, rows), **source), RULES)


def test_wide_raters_become_one_row_a_judgement(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "response": "a", "anna": 1, "ben": None},
        {"prompt": "p", "response": "b", "anna": 2, "ben": "3"},
    ]
    found = load(tmp_path / "r.jsonl", rows, options={"rater_columns": ["anna", "ben"]})
    assert found.kind == "ratings"
    assert found.table[["response", "rater", "score"]].to_numpy().tolist() == [
        ["a", "anna", 1.0],
        ["b", "anna", 2.0],
        ["b", "ben", 3.0],
    ]
    assert found.table["item_id"].nunique() == 2


def test_long_raters_of_one_text_share_its_item(tmp_path: Path) -> None:
    rows = [{"text": "t", "rater": r, "score": s} for r, s in (("x", 1), ("y", 2), ("y", 3))]
    found = load(tmp_path / "r.jsonl", rows)
    assert found.table["item_id"].nunique() == 1
    assert found.table[["rater", "score"]].to_numpy().tolist() == [["x", 1.0], ["y", 2.0]]
    assert dict(found.report.dropped) == {"duplicate": 1}


def test_disagreeing_annotators_give_rows_both_ways_on_one_item(tmp_path: Path) -> None:
    row = {
        "prompt": "p",
        "chosen": "a",
        "rejected": "b",
        "x": "chosen",
        "y": 2,
        "z": "tie",
        "w": None,
    }
    found = load(tmp_path / "p.jsonl", [row], options={"annotator_columns": ["x", "y", "z", "w"]})
    assert found.kind == "pairs"
    assert found.table[["chosen", "rejected", "rater"]].to_numpy().tolist() == [
        ["a", "b", "x"],
        ["b", "a", "y"],
    ]
    assert found.table["item_id"].nunique() == 1
    assert found.report.notes["tied judgements"] == 1


def test_a_pair_that_everybody_ties_is_counted_not_used(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "x": 0},
        {"prompt": "p", "chosen": "c", "rejected": "c", "x": 1},
        {"prompt": "p", "chosen": "d", "rejected": "e", "x": 1},
    ]
    found = load(tmp_path / "p.jsonl", rows, options={"annotator_columns": ["x"]})
    assert dict(found.report.dropped) == {"tied by every rater": 1, "same response twice": 1}
    assert len(found.table) == 1


def test_unnamed_raters_may_disagree_but_not_repeat_themselves(tmp_path: Path) -> None:
    one, other = (
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "b", "rejected": "a"},
    )
    found = load(tmp_path / "p.jsonl", [one, other, one])
    assert len(found.table) == 2
    assert found.table["rater"].tolist() == [None, None]
    assert dict(found.report.dropped) == {"duplicate": 1}


def test_chats_as_trl_holds_them_are_accepted(tmp_path: Path) -> None:
    user = {"role": "user", "content": "hi"}
    reply = [{"role": "assistant", "content": c} for c in ("yes", "no")]
    whole = load(tmp_path / "a.jsonl", [{"chosen": [user, reply[0]], "rejected": [user, reply[1]]}])
    parts = load(
        tmp_path / "b.jsonl", [{"prompt": [user], "chosen": [reply[0]], "rejected": [reply[1]]}]
    )
    assert whole.table.equals(parts.table)
    assert whole.table.loc[0, ["prompt", "chosen", "rejected"]].tolist() == ["hi", "yes", "no"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "chosen": True, "rejected": "b"},
            "column 'chosen': got bool 'True'; expected text",
        ),
        (
            {"prompt": [{"role": "robot", "content": "x"}], "chosen": "a", "rejected": "b"},
            "last message must be the user's",
        ),
        (
            {"prompt": [{"role": "user", "content": 3}], "chosen": "a", "rejected": "b"},
            "message 1 must have a role",
        ),
        (
            {"prompt": "p", "chosen": [{"role": "user", "content": "x"}], "rejected": "b"},
            "must be the assistant's text",
        ),
        ({"question": "p", "answer": "a"}, "expected the columns prompt, chosen, rejected"),
        ({"prompt": "p", "chosen": "a"}, "no column 'rejected'"),
    ],
)
def test_a_row_of_the_wrong_shape_says_what_was_expected(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match="line 1: ") as error:
        load(tmp_path / "p.jsonl", [row])
    assert message in str(error.value)


def test_chats_with_different_contexts_are_refused(tmp_path: Path) -> None:
    chats = {
        c: [{"role": "user", "content": c}, {"role": "assistant", "content": "x"}]
        for c in ("chosen", "rejected")
    }
    with pytest.raises(BadInput, match="chats with different contexts"):
        load(tmp_path / "p.jsonl", [chats])


def test_a_vote_outside_the_scale_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "x": "maybe"}
    with pytest.raises(BadInput, match="column 'x': got 'maybe'; expected chosen or 1"):
        load(tmp_path / "p.jsonl", [row], options={"annotator_columns": ["x"]})


def test_ratings_and_pairs_do_not_mix(tmp_path: Path) -> None:
    rows = [{"text": "t", "score": 1}, {"prompt": "p", "chosen": "a", "rejected": "b"}]
    with pytest.raises(BadInput, match="both ratings and pairs"):
        load(tmp_path / "m.jsonl", rows)


def test_nothing_usable_is_an_error_with_the_account(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no usable row \(1 read; dropped: 1 empty\)"):
        load(tmp_path / "r.jsonl", [{"text": "", "score": 1}])


def test_an_unknown_format_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match="format 'xstest' holds no ratings or pairs; expected table, vader_lexicon"
    ):
        load(tmp_path / "r.jsonl", [{"text": "t", "score": 1}], format="xstest")


def test_parts_are_disjoint_and_complete(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "response": "r", "score": i} for i in range(60)]
    whole, low, high = (
        set(load(tmp_path / "r.jsonl", rows, options=o).table["prompt"])
        for o in ({}, {"part": "0-40"}, {"part": "40-100"})
    )
    assert not low & high
    assert low | high == whole
    sources = [TableSource(source="x", options={"part": p}) for p in ("0-40", "40-100", "30-50")]
    assert disjoint(sources[0], sources[1])
    assert not disjoint(sources[0], sources[2])
    assert not disjoint(sources[0], TableSource(source="x"))
    with pytest.raises(BadInput, match="expected percentages such as 0-35"):
        load(tmp_path / "r.jsonl", rows, options={"part": "half"})


def test_a_limit_chooses_by_hash_not_by_order(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "score": i} for i in range(40)]
    forwards = load(tmp_path / "a.jsonl", rows, limit=10)
    backwards = load(tmp_path / "b.jsonl", rows[::-1], limit=10)
    assert (
        set(forwards.table["response"])
        == set(backwards.table["response"])
        != {f"t{i}" for i in range(10)}
    )
    assert dict(forwards.report.dropped) == {"over the limit of 10": 30}


def test_lexicon_entries_that_are_not_ten_ratings_are_counted(tmp_path: Path) -> None:
    ten = str([1] * 10)
    lines = [
        f"good\t1.0\t0.0\t{ten}\r",
        "short\t1\t0\t[1, 2]",
        "no list\t1\t0\tnope",
        f"wild\t9\t0\t{[9] * 10}",
        "fields\t1",
        f"good\t1\t0\t{ten}",
    ]
    (tmp_path / "lexicon.txt").write_text("\n".join(lines), encoding="utf-8", newline="")
    found = load_feedback(
        TableSource(source=str(tmp_path / "lexicon.txt"), format="vader_lexicon"), RowRules()
    )
    assert dict(found.report.dropped) == {"malformed": 4, "duplicate": 1}
    assert found.table["rater"].tolist() == [str(i) for i in range(10)]
    assert found.table["response"].unique().tolist() == ["good"]


def test_snippets_are_joined_by_id_and_disagreeing_rows_counted(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text(
        "1\t1.5\tfine film\n2\t0\tother\n3\t1\tlost\n4\t2\tmean\nbroken", encoding="utf-8"
    )
    (tmp_path / "r.txt").write_text(
        "\ufeff1\t1.5\t0.5\t[1, 2]\n2\t0\t0\t[x]\n4\t3\t0\t[3, 3]\n", encoding="utf-8"
    )
    options = {"ratings": str(tmp_path / "r.txt")}
    found = load_feedback(
        TableSource(source=str(tmp_path / "g.txt"), format="vader_snippets", options=options),
        RowRules(),
    )
    expected = {"malformed": 2, "no ratings under this id": 1, "its two files disagree": 1}
    assert dict(found.report.dropped) == expected
    assert found.table[["response", "rater", "score"]].to_numpy().tolist() == [
        ["fine film", "0", 1.0],
        ["fine film", "1", 2.0],
    ]
    with pytest.raises(BadInput, match=r"options\.ratings must name"):
        load_feedback(
            TableSource(source=str(tmp_path / "g.txt"), format="vader_snippets"), RowRules()
        )


def test_pandalm_votes_keep_their_annotators(tmp_path: Path) -> None:
    row = {"instruction": "do", "input": "this", "response1": "a", "response2": "b"}
    votes = [(1, 2, 0), (0, 0, 0)]
    rows = [
        {**row, "response2": f"b{i}", **{f"annotator{j + 1}": v for j, v in enumerate(vs)}}
        for i, vs in enumerate(votes)
    ]
    rows.append({**rows[0], "response1": True})
    found = load(tmp_path / "p.jsonl", rows, format="pandalm")
    assert found.table[["prompt", "chosen", "rater"]].to_numpy().tolist() == [
        ["do\n\nthis", "a", "1"],
        ["do\n\nthis", "b0", "2"],
    ]
    assert dict(found.report.dropped) == {"tied by every rater": 1, "response is not text": 1}
    with pytest.raises(BadInput, match=r"column 'annotator1': got 7; expected 0 \(tie\), 1 or 2"):
        load(tmp_path / "p.jsonl", [{**rows[0], "annotator1": 7}], format="pandalm")


def test_a_hub_data_set_is_read_by_name_and_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `datasets` takes a folder of that name for the repository, which needs no network.
    (tmp_path / "org" / "name").mkdir(parents=True)
    jsonl(tmp_path / "org" / "name" / "train.jsonl", [{"text": "t", "score": 2}])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = load_feedback(TableSource(source="hf:org/name@main"), RULES)
    assert found.table[["response", "score"]].to_numpy().tolist() == [["t", 2.0]]
    with pytest.raises(BadInput, match="hf:org/name@main, split test: cannot be loaded"):
        load_feedback(TableSource(source="hf:org/name@main", split="test"), RULES)
