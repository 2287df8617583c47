"""One prompt: what every iteration answered in numbers, and two of them side by side with the words
that differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import pandas as pd
import streamlit as st

from reports.viewer import frame
from reports.viewer.samples.address import Address
from reports.viewer.samples.cards import body, mean
from reports.viewer.samples.query import Query, matching
from reports.viewer.samples.rows import (
    Place,
    Sample,
    places,
    prompt_names,
    prompt_texts,
    recorded,
    samples,
)
from reports.viewer.text import ADDED, GONE, OPEN, SHUT, marked, multiline, one_line, said
from restaudit.errors import RestauditError
from restaudit.evidence.record import Run
from restaudit.files.spreadsheet import guarded

FIRST, MOST_PAIRS = 4, 24
MOST_PROMPTS = 2000
NUMBERS = ("reward", "ensemble spread", "human score", "tokens", "KL")
PROMPT, VIEW, ACROSS = "prompt", "view", "One prompt"


@st.fragment
def one_prompt(run: Run) -> None:
    """Choose two places and a prompt; every sample is shown as text, never as Markdown or HTML."""
    with frame.guarded():
        every = places(run)
        address = Address(st.container(gap="xsmall"))
        columns = st.columns([1, 1, 3])
        # Audits ask the same prompts; a Grow set asks others, and would share none with them.
        same = [p for p in every if p.kind == every[0].kind]
        with columns[0]:
            left = _place(address, "Left", every, same[0], "left")
        with columns[1]:
            right = _place(address, "Right", every, same[-1], "right")
        for place in (left, right):
            recorded(run, place.file)
        # Prompts of either side: one that a side lacks is part of what differs.
        ids = sorted({*prompt_names(run, left), *prompt_names(run, right)})
        if not ids:
            st.info("Neither of the two has samples.")
            return
        with columns[2]:
            prompt, texts = _prompt(address, run, left, ids)
        said(multiline(texts.get(prompt, prompt)))
        _numbers(run, [p for p in every if p.kind == left.kind], prompt)
        _pairs(address, run, (left, right), prompt)


def show_across(run: Run, place: Place, prompt: str) -> None:
    """A callback that opens a prompt: the first place of its kind against the one it was seen
    in.
    """
    same = [p.name for p in places(run) if p.kind == place.kind]
    other = place.name if place.name != same[0] else same[-1]
    # All at once: every change of the address is one step of the browser's way back.
    st.query_params.update({"left": same[0], "right": other, VIEW: ACROSS, PROMPT: prompt})
    st.rerun()


def prompts_of(run: Run, place: Place, ids: tuple[str, ...]) -> dict[str, str]:
    """The prompts' texts; where they cannot be read, a message, and none."""
    try:
        recorded(run, place.prompts)
        return prompt_texts(run, place, ids)
    except RestauditError as e:
        st.warning("The prompts' texts cannot be read; prompts are shown by their identity.")
        st.code(one_line(str(e), 600), language=None, wrap_lines=True)
        return {}


def _place(address: Address, label: str, every: Sequence[Place], default: Place, key: str) -> Place:
    by_name = {p.name: p for p in every}
    names = list(by_name)
    chosen = address.pick(
        label, names, key, default=default.name, written=lambda n: by_name[n].title
    )
    return by_name[chosen]


def _prompt(
    address: Address, run: Run, place: Place, ids: Sequence[str]
) -> tuple[str, dict[str, str]]:
    """The chosen prompt; its name is in the address, and not its text."""
    asked = st.query_params.get(PROMPT)
    offered = list(ids[:MOST_PROMPTS])
    # A link to a prompt beyond the list must still open it.
    if asked is not None and asked in ids and asked not in offered:
        offered.append(asked)
    texts = prompts_of(run, place, tuple(offered))
    chosen = address.pick(
        "Prompt", offered, PROMPT, written=lambda i: one_line(texts.get(i, i), 160)
    )
    if len(ids) > MOST_PROMPTS:
        st.caption(
            f"The first {MOST_PROMPTS:,} of {len(ids):,} prompts; the others open from the search."
        )
    return chosen, texts


def _numbers(run: Run, every: Sequence[Place], prompt: str) -> None:
    rows = []
    for place in every:
        mine = _samples(run, place, prompt)
        if mine:
            rows.append(
                {
                    "where": place.title,
                    "samples": len(mine),
                    "reward": mean([s.reward for s in mine]),
                    "ensemble spread": mean([s.spread for s in mine]),
                    "human score": mean([s.human for s in mine]),
                    "tokens": mean([float(s.tokens) for s in mine]),
                    "KL": mean([s.kl for s in mine]),
                }
            )
    right = st.column_config.TextColumn(alignment="right")
    st.caption("Means over this prompt's samples; “–” where nothing is known.")
    st.dataframe(
        guarded(pd.DataFrame(rows)),
        hide_index=True,
        key="prompt_numbers",
        height="content" if len(rows) < 9 else 320,
        alt="This prompt in every iteration: mean scores",
        column_config=dict.fromkeys(NUMBERS, right),
    )


def _pairs(address: Address, run: Run, sides: tuple[Place, Place], prompt: str) -> None:
    mark = address.switch("Mark the words that differ", "marks")
    if mark:
        st.caption(
            f"{OPEN}{GONE}only on the left{GONE}{SHUT} · {OPEN}{ADDED}only on the "
            f"right{ADDED}{SHUT}; samples are put side by side in the order of their names."
        )
    tables = [_samples(run, place, prompt) for place in sides]
    for place, mine in zip(sides, tables, strict=True):
        if not mine:
            st.info(f"{place.title[:1].upper()}{place.title[1:]}: no sample of this prompt.")
    pairs = list(zip_longest(*tables))
    for pair in pairs[:FIRST]:
        _pair(sides, pair, mark=mark)
    if len(pairs) > FIRST:
        with st.expander(f"{len(pairs) - FIRST} more of {len(pairs)} samples"):
            for pair in pairs[FIRST:MOST_PAIRS]:
                _pair(sides, pair, mark=mark)
            if len(pairs) > MOST_PAIRS:
                st.caption(f"{len(pairs) - MOST_PAIRS} more are not shown here.")


def _pair(sides: tuple[Place, Place], pair: tuple[Sample | None, ...], *, mark: bool) -> None:
    left, right = pair
    texts = [sample.text if sample else "" for sample in pair]
    why_unmarked = ""
    if mark and left and right:
        with_marks = marked(left.text, right.text)
        # A reason in place of two texts: too long, or with such marks of their own.
        if isinstance(with_marks, str):
            why_unmarked = with_marks
        else:
            texts = list(with_marks)
    for column, place, sample, text in zip(st.columns(2), sides, pair, texts, strict=True):
        if sample is not None:
            with column.container(border=True, height="stretch", gap="xsmall"):
                st.caption(place.title)
                body(sample, text)
    if why_unmarked:
        st.caption(why_unmarked)


def _samples(run: Run, place: Place, prompt: str) -> list[Sample]:
    recorded(run, place.file)
    positions = matching(run, place, Query(prompt=prompt))
    found = samples(run, place, tuple(map(int, positions)))
    # By name on both sides, so that the same two are side by side each time.
    return sorted(found, key=lambda sample: sample.sample_id)
