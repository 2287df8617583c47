"""The page about the reward model: its verdict and failures first, what nobody said about it, and a
text of one's own to try against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from reports.viewer import blocks, frame, guide, reading
from reports.viewer.documents import document_view
from reports.viewer.reading import AS_RUN
from reports.viewer.text import said
from restaudit.errors import RestauditError
from restaudit.evidence.record import BASE, Run
from restaudit.evidence.shown import figure

MOST_CHARACTERS = 4000
Scorer = Callable[
    [Sequence[str], Sequence[str]], "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"
]


def _try_a_text(run: Run) -> None:
    """A form for a prompt and a text; the reward beside those of the base policy's samples."""
    st.header("Try a text against it")
    # The folder may be a stranger's: to look at it must not run what it names.
    if run.plan["config"]["reward"]["kind"] != "trained":
        why = "another kind would run code, or load a model, that the run folder names"
        st.caption(f"Only a reward model that restaudit trained can be tried here: {why}.")
        return
    with st.form("try_reward", border=True):
        prompt = st.text_area(
            "Prompt (may stay empty)", key="try_prompt", max_chars=MOST_CHARACTERS, height=80
        )
        text = st.text_area("Text", key="try_text", max_chars=MOST_CHARACTERS, height=120)
        asked = st.form_submit_button("Score it", type="primary")
    if not asked:
        return
    if not text.strip():
        st.info("Type a text first.")
        return
    try:
        reward = float(_scorer(run)([prompt], [text])[0])
        _answer(run, reward)
    # Weights are often left out of a bundle, so this is a usual case and no fault of the run.
    except (RestauditError, OSError, ValueError, KeyError, ImportError) as e:
        st.error(
            "It cannot be scored here: its weights or its encoder are not at hand.",
            title="Not scored",
        )
        st.code(f"{type(e).__name__}: {e}", language=None, wrap_lines=True)


def _answer(run: Run, reward: float) -> None:
    with st.container(border=True):
        st.metric("Reward", figure(reward))
        if BASE in run.iterations():
            base = reading.samples(run, BASE)["reward"].dropna().to_numpy()
            if len(base):
                # A reward has no unit that people know; the share of samples below it has.
                below = float((base < reward).mean())
                said(
                    f"{below:.0%} of the base policy's {len(base)} audited samples have a lower "
                    "reward."
                )
        st.caption(
            "One text shows nothing about how good the reward model is: its validation and stress "
            "tests do."
        )


# One: a reward model may take gigabytes. A resource and not data, which would be copied at each
# use.
@st.cache_resource(max_entries=1, show_spinner="Loading the reward model", hash_funcs=AS_RUN)
def _scorer(run: Run) -> Scorer:
    from restaudit.reward_audit.standalone import scorer

    return scorer(run.path)


with frame.guarded():
    run = frame.chosen()
    guide.show("reward-model")
    blocks.draw(reading.section(run, "reward-model"))
    document_view.show_dossier(run)
    _try_a_text(run)
