"""Chats, files and row rules."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restaudit.config import RowRules, TableSource
from restaudit.data import as_messages, as_text, load_feedback, normalise, prompt_id
from restaudit.data.adapters.hh import dialogue
from restaudit.data.tables import read_rows
from restaudit.errors import BadInput
from restaudit.evidence.chats import from_messages

TURN = st.text(min_size=1).filter(lambda t: t.strip() and not t.startswith("[{"))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def ratings(
    path: Path, rows: list[dict[str, Any]], rules: RowRules | None = None, **source: Any
) -> Any:
    return load_feedback(TableSource(source=write(path, rows), **source), rules or RowRules())


@given(st.lists(TURN, min_size=1, max_size=5))
def test_a_chat_survives_the_prompt_column(turns: list[str]) -> None:
    messages = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]
    assert as_messages(from_messages(messages)) == messages
    assert all(t in as_text(from_messages(messages)) for t in turns)


@given(TURN)
def test_case_and_white_space_do_not_make_a_new_prompt(text: str) -> None:
    # "ß" and its like change length between cases, so the claim is about texts whose folding is
    # stable.
    assert prompt_id(f"  {text}\n") == prompt_id(text)
    assert normalise(normalise(text)) == normalise(text)


def test_text_that_looks_like_a_list_stays_text() -> None:
    assert as_messages('[{"a": 1}] is JSON') == [{"role": "user", "content": '[{"a": 1}] is JSON'}]
    assert as_messages('[{"a": 1}]') == [{"role": "user", "content": '[{"a": 1}]'}]


def test_a_message_without_text_is_refused() -> None:
    with pytest.raises(ValueError, match="message 1 must have a role"):
        from_messages([{"role": "user", "content": None}])


@given(
    st.lists(
        st.text(alphabet=st.characters(exclude_characters=":"), min_size=1), min_size=2, max_size=8
    )
)
def test_a_dialogue_is_split_where_it_was_joined(turns: list[str]) -> None:
    turns = [" ".join(t.split()) for t in turns[: len(turns) // 2 * 2]]
    text = "".join(f"\n\n{('Human', 'Assistant')[i % 2]}: {t}" for i, t in enumerate(turns))
    parsed = dialogue(text)
    assert parsed is not None
    assert [m["content"] for m in parsed[0]] == turns[:-1]
    assert parsed[1] == turns[-1]


@pytest.mark.parametrize(
    "text",
    [None, True, "", "Human: a", "\n\nHuman: a", "\n\nAssistant: a", "\n\nHuman:a\n\nHuman: b"],
)
def test_what_is_no_dialogue_is_none(text: Any) -> None:
    assert dialogue(text) is None


@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from("abc"), st.text(), min_size=3, max_size=3),
        min_size=1,
        max_size=6,
    )
)
def test_every_format_reads_the_same_rows(
    rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    # Parquet and CSV as pandas writes them; a lone carriage return is a line end to a CSV writer.
    rows = [
        {k: v.replace("\r", " ").replace("\0", " ") for k, v in sorted(r.items())} for r in rows
    ]
    table = pd.DataFrame(rows)
    table.to_csv(folder / "t.csv", index=False, lineterminator="\n", quoting=1)
    table.to_csv(folder / "t.tsv", index=False, sep="\t", lineterminator="\n", quoting=1)
    table.to_parquet(folder / "t.parquet")
    (folder / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "t.jsonl.gz").write_bytes(
        gzip.compress("\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode())
    )
    for name in ("t.csv", "t.tsv", "t.parquet", "t.json", "t.jsonl.gz"):
        assert [dict(r.values) for r in read_rows(folder / name)] == rows, name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\nnope\n', "line 2: not valid JSON"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "line 2: expected a JSON object, got list"),
        ("a.json", b"{}", "expected a JSON list of objects, got dict"),
        ("a.json", b"[1]", "row 1: expected a JSON object, got int"),
        ("a.json", b"[", "not valid JSON"),
        ("a.csv", b"", "empty; expected a header"),
        ("a.csv", b"a,a\n", "column 'a' occurs twice"),
        ("a.csv", b'a,b\n"x\ny",1\n1,2,3\n', "line 4: expected 2 fields, got 3"),
        ("a.csv", b'a,b\n"x,1\n', "not valid CSV"),
        ("a.parquet", b"nope", "not a readable Parquet table"),
        ("a.jsonl.gz", b"\x1f\x8bnope", "a.jsonl.gz"),
        ("a.xlsx", b"", "unknown kind of file; expected .jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match="a\\.") as error:
        list(read_rows(tmp_path / name))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_column_names_the_nearest_and_the_mapping(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"line 1: no column 'score' .*did you mean 'scores'\? .*columns: \{score:"
    ):
        ratings(tmp_path / "r.jsonl", [{"text": "x", "scores": 1}])


def test_columns_are_mapped(tmp_path: Path) -> None:
    found = ratings(
        tmp_path / "r.jsonl",
        [{"body": "x", "stars": "3"}],
        columns={"text": "body", "score": "stars"},
    )
    assert found.table[["response", "score"]].to_numpy().tolist() == [["x", 3.0]]


BAD_ROWS = {
    "empty": {"text": " ", "score": 1},
    "non_utf8": {"text": "caf\udce9", "score": 1},
    "too_long": {"text": "x" * 51, "score": 1},
    "non_finite": {"text": "y", "score": float("nan")},
    "duplicate": {"text": "fine", "score": 2},
}
REASON = {"non_utf8": "not UTF-8", "too_long": "too long", "non_finite": "not finite"}


@pytest.mark.parametrize("rule", list(BAD_ROWS))
def test_a_bad_row_is_refused_with_its_place_or_counted(tmp_path: Path, rule: str) -> None:
    rows = [{"text": "fine", "score": 1}, BAD_ROWS[rule]]
    reason = REASON.get(rule, rule)
    with pytest.raises(
        BadInput, match=rf"r\.jsonl: line 2: column '\w+': {reason}; .*rows\.{rule}: count"
    ):
        ratings(tmp_path / "r.jsonl", rows, RowRules(max_chars=50, **{rule: "refuse"}))
    found = ratings(tmp_path / "r.jsonl", rows, RowRules(max_chars=50, **{rule: "count"}))
    assert dict(found.report.dropped) == {reason: 1}
    assert (found.report.read, found.report.used) == (2, 1)


def test_undecodable_bytes_are_found_in_csv_too(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes(b"text,score\ncaf\xe9,1\nfine,2\n")
    source = TableSource(source=str(tmp_path / "r.csv"))
    with pytest.raises(BadInput, match="line 2: column 'response': not UTF-8"):
        load_feedback(source, RowRules())
    assert load_feedback(source, RowRules(non_utf8="count")).table["response"].tolist() == ["fine"]


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"text": st.text(max_size=6), "score": st.floats(allow_infinity=True) | st.none()}
        ),
        max_size=12,
    )
)
def test_no_row_is_lost_without_a_count(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rules = RowRules(
        empty="count",
        duplicate="count",
        non_utf8="count",
        too_long="count",
        non_finite="count",
        max_chars=4,
    )
    path = tmp_path_factory.mktemp("rows") / "r.jsonl"
    report = ratings(path, [*rows, {"text": "\u2603 ok", "score": 0}], rules).report
    assert report.read == len(rows) + 1 == report.used + sum(report.dropped.values())


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    for bad in ("high", True, [1]):
        with pytest.raises(BadInput, match=r"line 1: column 'score': got .*expected a number"):
            ratings(tmp_path / "r.jsonl", [{"text": "x", "score": bad}])
