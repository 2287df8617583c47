"""YAML for people gives every text back as it was."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from restaudit.evidence.yaml_text import as_yaml


@pytest.mark.parametrize(
    "text",
    ["0\x850", "a\u2028b", "日本", "a: b", "- x", "#", "'", "\ufeff", "yes", "1e3", "a\nb\n"],
)
def test_a_text_that_yaml_would_change_is_escaped(text: str) -> None:
    assert yaml.safe_load(as_yaml({"k": text})) == {"k": text}


def test_letters_stay_as_they_are_and_order_is_kept() -> None:
    assert as_yaml({"b": "日本", "a": "é"}) == "b: 日本\na: é\n"


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=30), max_size=4))
def test_any_mapping_of_texts_comes_back(value: dict[str, str]) -> None:
    assert yaml.safe_load(as_yaml(value)) == value
