"""One sample as a card: its prompt, its text as text, its scores, and whether it was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import streamlit as st

from reports.record import series
from reports.record.lineage import why_lines
from reports.viewer.reading import AS_RUN
from reports.viewer.samples.rows import Place, Sample
from reports.viewer.text import escaped, multiline, one_line, said
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.evidence.shown import figure

WHY = "why"
MOST_PROMPT, MOST_NAME = 300, 100
ANSWERS = 256


def card(
    run: Run, place: Place, sample: Sample, prompt: str, across: Callable[[str], None]
) -> None:
    """A sample of a list; `across` opens its prompt across iterations."""
    with st.container(border=True, gap="xsmall"):
        asked, answered = st.columns([2, 5], gap="medium")
        with asked:
            st.caption("Prompt")
            said(one_line(prompt, MOST_PROMPT))
        with answered, st.container(gap="xsmall"):
            body(sample, sample.text)
            _about(place, sample, across)
        # In the address, so that a link to a sample brings its answer along.
        if st.query_params.get(WHY) == sample.sample_id:
            answer(run, sample.sample_id)


def body(sample: Sample, text: str) -> None:
    """The text of a sample and its scores; never read as Markdown or HTML."""
    if sample.text.strip():
        said(multiline(text))
    else:
        st.caption("(an empty text)")
    names = [escaped(sample.sample_id, MOST_NAME)]
    if sample.group:
        names.append(escaped(sample.group, MOST_NAME))
    st.caption(" · ".join([scores(sample), *names]))


def _about(place: Place, sample: Sample, across: Callable[[str], None]) -> None:
    """What happened to a sample, and what to ask about it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        _badges(sample)
        others = "iterations" if place.kind == "audit" else "Grow sets"
        st.button(
            f"Across {others}",
            icon=":material/compare:",
            key=f"across_{sample.position}",
            type="tertiary",
            on_click=across,
            args=(sample.prompt_id,),
        )
        if place.kind == "grow":
            trained_on = any(kept for _, kept in sample.kept)
            outcome = "trained on" if trained_on else "left out"
            st.button(
                f"Why {outcome}?",
                key=f"why_{sample.position}",
                type="tertiary",
                icon=":material/help:",
                on_click=_ask,
                args=(sample.sample_id,),
            )


def scores(sample: Sample) -> str:
    """What is known of a sample in one line."""
    parts = [f"reward {_score(sample.reward)} ({_known(sample.reward_01, '.2f')} on 0..1)"]
    # A reward of one member has no spread, and 0 would say that its members agree.
    if math.isfinite(sample.spread):
        parts.append(f"ensemble spread {sample.spread:.2f}")
    parts += [f"human score {_score(sample.human)}", f"{sample.tokens} tokens"]
    if math.isfinite(sample.kl):
        parts.append(f"KL {sample.kl:.2f}")
    return " · ".join(parts)


def answer(run: Run, sample: str) -> None:
    """Why a sample was or was not trained on; a name that no Grow set has is a message."""
    with st.container(border=True, gap="xsmall"):
        try:
            lines = why(run, sample)
        except BadInput as e:
            st.info("No Grow set of this run has such a sample.", icon=":material/link_off:")
            said(one_line(str(e).removeprefix(f"{run.path}: "), 600))
            return
        for line in lines:
            said(one_line(line, 600))


@st.cache_data(max_entries=ANSWERS, show_spinner="Looking for the reasons", hash_funcs=AS_RUN)
def why(run: Run, sample: str) -> list[str]:
    """What `reports.record.lineage` says of a sample, from the sealed rule and the recorded rewards."""
    return why_lines(run, sample)


def _ask(sample: str) -> None:
    st.query_params[WHY] = sample


def _badges(sample: Sample) -> None:
    if sample.origin == "reference":
        st.badge("written by a person", icon=":material/person:", color="blue")
    # One for each Improve step: the same sample may be kept at one threshold and left out at the
    # next.
    for step, kept in sample.kept:
        name = series.short_name(step)
        if kept:
            st.badge(f"trained on in {name}", icon=":material/check:", color="green")
        else:
            st.badge(f"left out of {name}", icon=":material/remove:", color="gray")
    if not sample.finished:
        st.badge("cut off at the full length", icon=":material/content_cut:", color="orange")


def _score(value: float) -> str:
    if not math.isfinite(value):
        return "not known"
    # A true minus sign is as wide as the plus, so that figures stand below one another.
    return f"{value:+.2f}".replace("-", "−")


def _known(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "not known"


def mean(values: Sequence[float]) -> str:
    """The mean of what is known, "–" where nothing is."""
    known = [v for v in values if math.isfinite(v)]
    return figure(sum(known) / len(known)) if known else "–"
