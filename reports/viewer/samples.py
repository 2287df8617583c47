"""Two iterations' samples for the same prompt, side by side, as plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from reports import series
from reports.viewer import reading
from restaudit.record import BASE, Run

FIRST = 4


@dataclass(frozen=True)
class _Card:
    text: str
    reward: float
    human: float
    tokens: int


def side_by_side(run: Run, iterations: Sequence[str], human: str) -> None:
    """Choose two iterations and a prompt; every sample is shown as text, never as Markdown or HTML."""
    chosen = st.columns([1, 1, 3])
    left = chosen[0].selectbox("Left", iterations, index=0, key=f"left_{run.path.name}", format_func=series.short_name)
    right = chosen[1].selectbox(
        "Right", iterations, index=len(iterations) - 1, key=f"right_{run.path.name}", format_func=series.short_name
    )
    # A browser can send anything; only an iteration of this run becomes part of a path.
    if left not in iterations or right not in iterations:
        st.stop()
    tables = [reading.samples(run, str(i)) for i in (left, right)]
    ids = sorted(set(tables[0]["prompt_id"]) | set(tables[1]["prompt_id"]))
    if not ids:
        st.info("Neither iteration has audited samples.")
        return
    try:
        texts = reading.prompts(run)
    except series.READ_ERRORS as e:
        texts = {}
        st.warning("The prompts' texts cannot be read; prompts are shown by their identity.")
        st.code(str(e), language=None, wrap_lines=True)
    prompt = str(
        chosen[2].selectbox(
            "Prompt",
            ids,
            key=f"prompt_{run.path.name}",
            format_func=lambda i: _one_line(texts.get(str(i), str(i))),
            filter_mode="contains",
        )
    )
    st.caption("Prompt")
    st.text(texts.get(prompt, prompt))
    st.text(f"Human score: {human}")
    for column, iteration, table in zip(st.columns(2), (left, right), tables, strict=True):
        with column:
            st.subheader(f"After {series.short_name(str(iteration))}" if iteration != BASE else "Base policy")
            _texts(series.samples_of(table, prompt))


def _texts(samples: pd.DataFrame) -> None:
    if samples.empty:
        st.info("No sample of this prompt.")
    cards = [
        _Card(str(r["text"]), float(r["reward"]), float(r["human"]), int(r["n_tokens"])) for _, r in samples.iterrows()
    ]
    for card in cards[:FIRST]:
        _show(card)
    if len(cards) > FIRST:
        with st.expander(f"{len(cards) - FIRST} more of {len(cards)} samples"):
            for card in cards[FIRST:]:
                _show(card)


def _show(card: _Card) -> None:
    with st.container(border=True):
        if card.text.strip():
            st.text(card.text)
        else:
            st.caption("(an empty text)")
        st.caption(f"reward {_score(card.reward)} · human score {_score(card.human)} · {card.tokens} tokens")


def _score(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "not defined"


def _one_line(text: str) -> str:
    return " ".join(text.split())
