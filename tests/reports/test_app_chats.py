"""A chat has one form in words, and a text that is no chat stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_run import make_run

from reports.record import series
from reports.viewer.samples.rows import Place, prompt_texts
from restaudit.evidence.chats import as_text, from_messages
from restaudit.evidence.record import Run

TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "Who are you?"},
]
WORDS = "System: Be short.\n\nHuman: Hello\n\nAssistant: Hi\n\nHuman: Who are you?"


def test_chat_prompts_are_written_out_turn_by_turn() -> None:
    assert as_text(from_messages(TURNS)) == WORDS
    assert as_text(json.dumps(TURNS[1:2])) == "Hello"


@given(st.text())
def test_any_other_prompt_is_shown_as_it_is(text: str) -> None:
    try:
        chat = isinstance(json.loads(text), list)
    except ValueError:
        chat = False
    if not chat:
        assert as_text(text) == text


def test_the_reports_and_the_app_show_a_chat_as_a_reward_is_given_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "run")
    file = folder / "data/audit.parquet"
    table = pd.read_parquet(file)
    names = tuple(table["prompt_id"])
    table.assign(prompt=from_messages(TURNS)).to_parquet(file)
    # The changed table is no longer as recorded, which is another test's matter.
    monkeypatch.setattr("reports.viewer.samples.rows.recorded", lambda run, name: (run.path, name))
    run = Run(folder)
    monkeypatch.setattr(Run, "prompts", lambda self, split: pd.read_parquet(file))
    assert set(series.prompt_texts(run).values()) == {WORDS}
    shown = prompt_texts(run, Place("g01/i01", "audit"), names)
    assert shown == dict.fromkeys(names, WORDS)
