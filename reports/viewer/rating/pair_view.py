"""Two texts side by side, and the keys A, B and T; what people chose, when a rater has handed
in.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from reports.record import series
from reports.viewer.rating import desk
from reports.viewer.text import escaped, said
from restaudit.evidence.record import ITERATION, Run
from restaudit.evidence.shown import plain
from restaudit.files.spreadsheet import guarded
from restaudit.people.rating.pairs.sheet import PairSheet, ShownPair
from restaudit.people.rating.pairs.wins import Wins, beside, in_words, named, wins

LABELS = {"A": "A is better", "T": "Tie", "B": "B is better"}
PROMPT_HEIGHT, TEXT_HEIGHT, MOST_NAME, MOST_SAID = 96, 196, 80, 600


def texts(sheet: PairSheet, item: ShownPair, token: str, answer: Callable[[str], None]) -> None:
    """The prompt, both responses as text, and a button for each choice; `token` names this pair in
    their keys.
    """
    with st.container(border=True, height=PROMPT_HEIGHT, gap="xxsmall", key="rating_prompt"):
        st.caption("Prompt")
        said(item.prompt)
    sides = (("A", item.response_a), ("B", item.response_b))
    for column, (name, text) in zip(st.columns(2, gap="small"), sides, strict=True):
        with column.container(
            border=True, height=TEXT_HEIGHT, gap="xxsmall", key=f"rating_response_{name}"
        ):
            st.caption(f"Response {name}")
            said(text or "(an empty text)")
    said(f"Which has the better {plain(sheet.dimension, MOST_NAME)}?")
    with st.container(horizontal=True, gap="small", key="rating_scores"):
        # The tie stands between the two, so that neither side is nearer to the hand.
        for choice, label in LABELS.items():
            st.button(
                label,
                key=f"choice_{choice}_{token}",
                shortcut=choice,
                width=112,
                on_click=answer,
                args=(choice,),
            )


def show_choices(run: Run, name: str, *, rater: str | None, title: str) -> None:
    """How often people preferred the second policy's text, with its 95% interval."""
    result = _counted((str(run.path), name, run.events[-1].hash, desk.ratings_stamp(run.path)))
    st.subheader(escaped(title))
    st.badge(
        "PEOPLE",
        icon=":material/groups:",
        color="green",
        help="Choices that people made between these texts.",
    )
    said(plain(sentence(result), MOST_SAID))
    if result.rate.value is not None:
        st.dataframe(
            guarded(_table(result)),
            hide_index=True,
            key=f"pairs_results_{name}",
            placeholder="—",
            alt="How often people preferred the second policy's text",
            column_config={
                "rate": st.column_config.NumberColumn(
                    "Preferred", format="%.0f%%", help="Share of prompts; ties count half."
                ),
                "low": st.column_config.NumberColumn("95% low", format="%.0f%%"),
                "high": st.column_config.NumberColumn("95% high", format="%.0f%%"),
            },
        )
    for line in beside(result):
        said(plain(line, MOST_SAID))
    st.caption(
        "A half means that neither is preferred. The interval is over prompts: it says how other "
        "prompts might come out, not other raters. Skipped pairs are left out, which can shift a "
        "share."
    )
    if rater is not None:
        said("You handed this set in. Your choices are in the run, and the set is closed for you.")
    said("No decision of this run has used these choices.")


def sentence(result: Wins) -> str:
    """The result in words, with iterations as charts write them."""
    return in_words(result, called=_short)


def _short(name: str) -> str:
    return series.short_name(name) if ITERATION.fullmatch(name) else name


def _table(result: Wins) -> pd.DataFrame:
    ends = next(iter(result.rate.intervals), None)
    row = {
        "policy": plain(named(result.second, result.first, _short), MOST_NAME),
        "against": plain(named(result.first, result.second, _short), MOST_NAME),
        # Drawn only where there is a value (show_choices).
        "rate": 100 * (result.rate.value or 0.0),
        "low": 100 * ends.low if ends else None,
        "high": 100 * ends.high if ends else None,
        "better": result.better,
        "ties": result.ties,
        "worse": result.worse,
        "prompts": result.prompts,
        "same text": result.same,
        "raters": result.raters,
    }
    return pd.DataFrame([row])


@st.cache_data(max_entries=32, show_spinner="Counting the choices")
def _counted(key: tuple[str, ...]) -> Wins:
    """`key`: the run, the set, and what changes when either goes on."""
    # The rest of the key is there to miss the cache when a choice comes in.
    path, name, *_ = key
    return wins(Run(path).path, name)
