"""Reading a generations file: every format gives the same table, and what cannot be read is refused
with its place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restaudit.data.generations import paired, read_generations
from restaudit.errors import BadInput
from tests.probing.conftest import Row, write

FORMATS = ("a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet")
# Everything UTF-8 can hold; a bare carriage return or NUL in CSV too.
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40)
@given(texts=st.lists(TEXT, min_size=1, max_size=6), prompts=st.data())
def test_any_text_comes_back_unchanged_from_every_format(
    name: str, texts: list[str], prompts: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    asked = [prompts.draw(TEXT) for _ in texts]
    table = [
        {"text": t, "prompt": p, "sample_id": f"s{k}"}
        for k, (t, p) in enumerate(zip(texts, asked, strict=True))
    ]
    path = write(tmp_path_factory.mktemp("trip") / name, table)
    read = read_generations(path)
    assert read.table["text"].tolist() == texts
    assert len(set(read.table["prompt_id"])) <= len(set(asked))


@settings(max_examples=40)
@given(
    rewards=st.lists(st.one_of(st.none(), st.floats(allow_infinity=False)), min_size=1, max_size=8)
)
def test_numbers_come_back_unchanged_and_nothing_is_undefined(
    rewards: list[float | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = [{"text": "a b", "reward": r} for r in rewards]
    folder = tmp_path_factory.mktemp("numbers")
    expected = pd.Series(
        [float("nan") if r is None else r for r in rewards], name="reward", dtype="float64"
    )
    for name in FORMATS:
        read = read_generations(write(folder / name, table)).table["reward"]
        pd.testing.assert_series_equal(read, expected, check_exact=True)


def test_every_format_gives_the_same_table(tmp_path: Path, policy_rows: list[Row]) -> None:
    first, *others = (
        read_generations(write(tmp_path / name, policy_rows)).table for name in FORMATS
    )
    for other in others:
        pd.testing.assert_frame_equal(first, other)
    assert list(first.columns) == [
        "prompt_id",
        "sample_id",
        "text",
        "reward",
        "human",
        "group",
        "family",
        "n_tokens",
    ]


def test_what_is_made_or_renamed_or_not_read_is_said(tmp_path: Path) -> None:
    table = [
        {"response": "one two three", "logprob": -3.0, "colour": "red"},
        {"response": "", "logprob": None},
    ]
    read = read_generations(write(tmp_path / "a.jsonl", table))
    assert read.table["n_tokens"].tolist() == [3, 0]
    assert read.table["prompt_id"].nunique() == 2
    assert "logprob" not in read.table
    said = "; ".join(read.notes)
    for words in (
        "text is column 'response'",
        "every row counts as a prompt",
        "sample_id made",
        "number of words",
        "logprob is not used",
        "1 of 2 texts are empty",
        "not read: colour",
    ):
        assert words in said


def test_text_wins_over_an_alias_and_a_mapping_over_both(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "t", "response": "r", "body": "b"}])
    assert read_generations(path).table["text"].tolist() == ["t"]
    assert read_generations(path, columns={"text": "body"}).table["text"].tolist() == ["b"]


def test_chats_are_read_as_prompt_and_reply(tmp_path: Path) -> None:
    table = [
        {
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
            ],
            "completion": [{"role": "assistant", "content": "Hello."}],
        }
    ]
    read = read_generations(write(tmp_path / "a.jsonl", table))
    assert read.table["text"].tolist() == ["Hello."]
    assert list(read.prompts.values()) == ["System: Be brief.\n\nHuman: Hi"]


def test_references_are_joined_by_prompt_also_from_json_in_a_cell(tmp_path: Path) -> None:
    table = [
        {"prompt_id": 7, "text": "x", "references": '["r1", "r2"]'},
        {"prompt_id": 7, "text": "y", "references": "r3"},
        {"prompt_id": 8, "text": "z", "references": ""},
    ]
    read = read_generations(write(tmp_path / "a.csv", table))
    assert read.references == {"7": ("r1", "r2", "r3")}


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "no text column": (
        "a.jsonl",
        b'{"txt": "x"}\n',
        r"no column 'text' \(columns here: txt\); .*--column text=txt",
    ),
    "two that could be it": (
        "a.jsonl",
        b'{"response": "x", "output": "y"}\n',
        "could both stand for it",
    ),
    "empty": ("a.jsonl", b"", "holds no row"),
    "a header only": ("a.csv", b"text,reward\n", "holds no row"),
    "nothing at all": ("a.csv", b"", "expected a header line"),
    "broken JSON": ("a.jsonl", b'{"text": "x"}\n{"text": \n', "line 2: not valid JSON"),
    "not an object": ("a.jsonl", b'["x"]\n', "line 1: expected a JSON object"),
    "a text is a number": (
        "a.jsonl",
        b'{"text": "x"}\n{"text": 3}\n',
        "line 2: column 'text': got int '3'",
    ),
    "a text is missing": (
        "a.jsonl",
        b'{"text": "x"}\n{"reward": 3}\n',
        "line 2: column 'text': has no value",
    ),
    "bad encoding": (
        "a.jsonl",
        b'{"text": "x"}\n{"text": "caf\xe9"}\n',
        "line 2: column 'text': not UTF-8",
    ),
    "bad encoding in CSV": ("a.csv", b"text\nx\ncaf\xe9\n", "line 3: column 'text': not UTF-8"),
    "a lone surrogate": ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1: column 'text': not UTF-8"),
    "an infinite reward": (
        "a.jsonl",
        b'{"text": "x", "reward": -Infinity}\n',
        "column 'reward': is infinite",
    ),
    "an overflowing reward": (
        "a.csv",
        b"text,reward\nx,1e400\n",
        "line 2: column 'reward': is infinite",
    ),
    "a reward in words": (
        "a.csv",
        b"text,reward\nx,high\n",
        "line 2: column 'reward': got str 'high'; expected",
    ),
    "a reward that is true": (
        "a.jsonl",
        b'{"text": "x", "reward": true}\n',
        "column 'reward': got bool",
    ),
    "half a token": (
        "a.csv",
        b"text,n_tokens\nx,1.5\n",
        "column 'n_tokens': got str '1.5'; expected a whole number",
    ),
    "no token count": (
        "a.csv",
        b"text,n_tokens\nx,\n",
        "column 'n_tokens': got str ''; expected a whole number",
    ),
    "a sample twice": (
        "a.csv",
        b"text,sample_id\nx,1\ny,2\nz,1\n",
        "line 4: column 'sample_id': '1' is also",
    ),
    "no prompt": ("a.csv", b"text,prompt_id\nx,\n", "column 'prompt_id': is empty"),
    "two prompts of one id": (
        "a.csv",
        b"text,prompt_id,prompt\nx,1,Hi\ny,1,Ho\n",
        "line 3: .* '1' has another",
    ),
    "an empty group": (
        "a.csv",
        b"text,family,group\nx,f,\n",
        "column 'group': is empty in a row that has a family",
    ),
    "a chance above 1": (
        "a.csv",
        b"text,inclusion\nx,2\n",
        "column 'inclusion': got 2; expected a chance",
    ),
    "no Parquet": ("a.parquet", b"PAR1 nothing", "not a readable Parquet table"),
    "no gzip": ("a.jsonl.gz", b"\x1f\x8b broken", "cannot be read"),
    "too many fields": ("a.csv", b"text\nx,y\n", "line 2: expected 1 fields, got 2"),
    "an unknown kind": ("a.docx", b"", "unknown kind of file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    name, data, message = REFUSED[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=message) as refused:
        read_generations(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)


def test_text_in_a_parquet_file_that_is_not_utf8_is_refused_with_its_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = pa.array([b"fine", b"caf\xe9"], type=pa.binary())
    column = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="row 2: column 'text': not UTF-8"):
        read_generations(tmp_path / "a.parquet")


def test_a_grow_set_needs_to_say_what_was_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path / "g.csv", [{"text": "x", "kept": "true"}, {"text": "y", "kept": "False"}]
    )
    assert read_generations(path, kept=True).table["kept"].tolist() == [True, False]
    with pytest.raises(BadInput, match="column 'kept': got str 'perhaps'; expected true or false"):
        read_generations(write(tmp_path / "h.csv", [{"text": "x", "kept": "perhaps"}]))
    with pytest.raises(BadInput, match="no column 'kept'"):
        read_generations(write(tmp_path / "i.csv", [{"text": "x"}]), kept=True)


# --- pairing


def _pair(tmp_path: Path, one: list[Row], other: list[Row]) -> tuple[list[str], list[str], str]:
    a, b = paired(
        read_generations(write(tmp_path / "a.jsonl", one)),
        read_generations(write(tmp_path / "b.jsonl", other)),
    )
    return a.table["prompt_id"].tolist(), b.table["prompt_id"].tolist(), "; ".join(a.notes)


def test_files_are_paired_by_prompt_whatever_its_case_where_one_has_no_id(tmp_path: Path) -> None:
    one = [
        {"text": "x", "prompt": "Say  hi", "prompt_id": "p1"},
        {"text": "y", "prompt": "Go", "prompt_id": "p2"},
    ]
    a, b, notes = _pair(tmp_path, one, [{"text": "z", "prompt": "say hi"}])
    assert a[0] == b[0]
    assert a[1] != b[0]
    assert "1 prompts are in both files; 1 of" in notes


def test_files_are_never_paired_by_the_order_of_rows(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing tells which rows answer the same prompt"):
        _pair(tmp_path, [{"text": "x"}], [{"text": "y"}])
    with pytest.raises(BadInput, match="nothing tells"):
        _pair(tmp_path, [{"text": "x", "prompt_id": 1}], [{"text": "y", "prompt": "p"}])


def test_files_without_a_common_prompt_are_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no prompt in common \(for example 'Hi' and 'Ho'\)"):
        _pair(tmp_path, [{"text": "x", "prompt": "Hi"}], [{"text": "y", "prompt": "Ho"}])


def test_one_id_for_two_prompts_is_refused(tmp_path: Path) -> None:
    one, other = ({"text": "x", "prompt_id": 1, "prompt": p} for p in ("Hi", "Ho"))
    with pytest.raises(BadInput, match=r"prompt_id '1' is 'hi' in .*'ho' in"):
        _pair(tmp_path, [one], [other])


def test_the_same_ids_in_json_and_csv_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"text": "x", "prompt_id": 1}) + "\n", encoding="utf-8"
    )
    (tmp_path / "b.csv").write_text("text,prompt_id\ny,1\n", encoding="utf-8")
    a, b = paired(read_generations(tmp_path / "a.jsonl"), read_generations(tmp_path / "b.csv"))
    assert a.table["prompt_id"].tolist() == b.table["prompt_id"].tolist() == ["1"]
