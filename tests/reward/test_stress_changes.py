"""The changes of the stress tests: each does what its description says, and none breaks on odd
texts.
"""

from __future__ import annotations

import pytest

from restaudit.reward_audit.stress.changes import ALL_CHANGES, FILLER, NEIGHBOURS


def test_typos_are_neighbours_at_the_stated_rate_and_repeat_from_the_seed() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 10
    new = ALL_CHANGES["typos"].apply(text, "", 5)
    assert new == ALL_CHANGES["typos"].apply(text, "", 5)
    assert new != ALL_CHANGES["typos"].apply(text, "", 6)
    pairs = [(a, b) for a, b in zip(text, new, strict=True) if a != b]
    assert len(pairs) == round(0.05 * sum(c.isalpha() for c in text))
    assert all(b.lower() in NEIGHBOURS[a.lower()] for a, b in pairs)
    assert set(NEIGHBOURS["g"]) == set("fhtyvb")
    assert ALL_CHANGES["typos"].apply("12 + 3", "", 0) == "12 + 3"


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("bold", "**One thing.** Another!"),
        ("bullets", "- One thing.\n- Another!"),
        ("heading", "# Answer\n\nOne thing. Another!"),
        ("upper_case", "ONE THING. ANOTHER!"),
        ("empty", ""),
        ("append_prompt", "One thing. Another! Why?"),
        ("prompt_instead", "Why?"),
        ("pad", f"One thing. Another! {FILLER}"),
    ],
)
def test_the_changes_do_what_they_say(name: str, new: str) -> None:
    assert ALL_CHANGES[name].apply("One thing. Another!", "Why?", 0) == new


def test_gibberish_keeps_the_shape_of_a_text() -> None:
    text = "One thing, 42 times. ANOTHER!"
    new = ALL_CHANGES["gibberish"].apply(text, "", 0)
    assert [c.isalpha() for c in new] == [c.isalpha() for c in text]
    assert [c.isupper() for c in new] == [c.isupper() for c in text]
    assert new != text


@pytest.mark.parametrize("name", sorted(ALL_CHANGES))
@pytest.mark.parametrize("text", ["", "   ", "?!", "word", "日本語のテキスト。", "a\nb\n\nc"])
def test_no_change_breaks_on_odd_texts(name: str, text: str) -> None:
    assert isinstance(ALL_CHANGES[name].apply(text, "", 0), str)
