"""Evidence beyond the sample tables is checked too: ratings, prompts and references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import Evidence
from probes.rows import check

OUTPUTS = pd.DataFrame(
    {
        "prompt_id": ["p", "q"],
        "sample_id": ["s", "t"],
        "text": ["x", "y"],
        "n_tokens": [1, 1],
        "human": [1.0, np.nan],
    }
)
RATING = {"sample_id": ["s"], "rater": ["ann"], "dimension": ["quality"], "score": [3.0]}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no rater": (
        {"ratings": pd.DataFrame(RATING).drop(columns="rater")},
        r"ratings: lacks the column\(s\) rater",
    ),
    "nobody rated": (
        {"ratings": pd.DataFrame({**RATING, "rater": [None]})},
        "ratings: row 0 has no rater",
    ),
    "no score": (
        {"ratings": pd.DataFrame({**RATING, "score": [np.nan]})},
        "ratings: row 0, column score is not finite",
    ),
    "a word": (
        {"ratings": pd.DataFrame({**RATING, "score": ["good"]})},
        "ratings: column score is",
    ),
    "a stray sample": (
        {"ratings": pd.DataFrame({**RATING, "sample_id": ["u"]})},
        "row 0 rates sample 'u', which is",
    ),
    "a chat as prompt": (
        {"prompts": {"p": [{"role": "user"}]}},
        "prompts: 'p' is list; expected the prompt as plain",
    ),
    "one reference": ({"references": {"p": "only one"}}, "references: 'p' is not a list of texts"),
    "an infinite log-probability": (
        {"outputs": OUTPUTS.assign(logprob=-np.inf)},
        "row 0, column logprob is infinite",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_what_it_says_is_refused_with_table_column_and_row(case: str) -> None:
    more, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        check(Evidence(**{"outputs": OUTPUTS, **more}))


def test_ratings_that_are_what_they_say_pass_also_when_there_is_none() -> None:
    check(
        Evidence(
            outputs=OUTPUTS,
            ratings=pd.DataFrame(RATING),
            prompts={"p": "Hi"},
            references={"p": ["a", "b"]},
        )
    )
    check(Evidence(outputs=OUTPUTS, ratings=pd.DataFrame(RATING).iloc[:0]))
    check(Evidence(outputs=OUTPUTS, ratings=pd.DataFrame(columns=list(RATING))))
