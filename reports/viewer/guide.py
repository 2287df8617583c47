"""What each page's figures mean, and how they can mislead: a few sentences beside them."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from reports.viewer.text import said


@dataclass(frozen=True)
class Guide:
    """What it means; how it can mislead."""

    means: tuple[str, ...]
    misleads: tuple[str, ...]


# Short enough to be read beside the figures; docs/probes.md says more.
GUIDES = {
    "scores": Guide(
        (
            "The reward is what training raises. The human score stands for what people think; "
            "the line above says whose it is.",
            "Some of the reward never reaches people: choosing by an imperfect score always loses "
            "something. The expected part is what the base policy's own samples lead one to "
            "expect; what is missing beyond it is the divergence.",
            (
                "A signature is something the policy now says more often, that the reward pays for "
                "and people do not."
            ),
        ),
        (
            "A correlation that falls can come from a narrower range of rewards alone.",
            (
                "Rewards outside the range of the base policy's samples are extrapolated: the "
                "table says how many."
            ),
            (
                "A human score that is LEXICON, MODEL or SIMULATED can be fooled by the same "
                "texts as the reward."
            ),
        ),
    ),
    "bias": Guide(
        (
            "Prompts come in families that differ only in whom they name. A gap is the difference "
            "between such groups, paired within families.",
            (
                "The filter decides what is trained on: its acceptance rate for each group shows "
                "whose examples the model learns from."
            ),
        ),
        (
            (
                "Few families show only large gaps: an interval that contains 0 is no proof of "
                "equal treatment."
            ),
            "Names stand for groups, and not everybody with such a name belongs to the group.",
            (
                "Below four fifths is a rule of thumb from US hiring, not a limit that anything "
                "here must keep."
            ),
        ),
    ),
    "diversity": Guide(
        (
            "Ratios are to the base policy, at the same number of samples and similar length. 1 "
            "means as varied as before.",
            "Within a prompt: do several answers to one question differ? Across prompts: do "
            "answers to different questions?",
        ),
        (
            "Random nonsense also scores as diverse, so check diversity among good outputs.",
            (
                "distinct-n falls when texts get longer; the report matches lengths, but not "
                "perfectly."
            ),
        ),
    ),
    "capability": Guide(
        (
            (
                "Changes are in points of accuracy, before and after, on items the run did not "
                "train on."
            ),
        ),
        (
            "Forty items show changes of about 15 points, not of 3: read the interval.",
            (
                "The toxicity score finds crude words and little else; its measured failure stands "
                "below the table."
            ),
        ),
    ),
    "reward-model": Guide(
        (
            (
                "What fails stands first. The verdict follows by rule from the validation and the "
                "stress tests."
            ),
        ),
        (
            "A reward that predicts people on texts like its training data may fail on the texts "
            "a policy learns to write.",
        ),
    ),
    "lineage": Guide(
        (
            "Every policy has the digest of its weights and says what it was trained on. Every "
            "row of a Grow set has a reason.",
        ),
        (
            (
                "The record says what the program saw. It cannot show how many runs were started "
                "and thrown away."
            ),
        ),
    ),
}


def show(key: str) -> None:
    """An expander with both."""
    guide = GUIDES[key]
    with st.expander("What this means, and how it can mislead", icon=":material/help:"):
        left, right = st.columns(2)
        with left:
            st.markdown("**What this means**")
            for line in guide.means:
                said(line)
        with right:
            st.markdown("**How it can mislead**")
            for line in guide.misleads:
                said(line)
