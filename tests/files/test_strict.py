"""What a strict reader of JSON and YAML refuses, and that it reads everything else as others do."""

import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from restaudit.files.strict import NotStrict, parse_json, parse_yaml

REFUSED_JSON = {
    "a key twice": ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' comes twice"),
    "NaN": ('{"a": NaN}', "NaN is no number"),
    "infinity": ("[Infinity]", "Infinity is no number"),
    "minus infinity": ("[-Infinity]", "-Infinity is no number"),
    "too large for a float": ("[1e999]", "1e999 is too large"),
    "a whole number of 5,000 digits": ("[" + "9" * 5000 + "]", "of 5,000 digits is too large"),
    "deep": ("[" * 100_000 + "]" * 100_000, "nested more than 64"),
    "a little too deep": ("[" * 66 + "]" * 66, "nested more than 64"),
    "deep by objects": ('{"a":' * 80 + "1" + "}" * 80, "nested more than 64"),
    "half a character": ('["\\ud800"]', "half a character"),
    "half a character as a key": ('{"\\udfff": 1}', "half a character"),
    "bytes of no text": (b'["\xff"]', "not UTF-8"),
    "two documents": ("{} {}", "not valid JSON"),
    "a comment": ("// note\n{}", "not valid JSON"),
    "nothing": ("", "not valid JSON"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not valid JSON"),
}
REFUSED_YAML = {
    "a key twice": ("gates:\n  margin: 1\n  margin: 2\n", "line 3: .*'margin' comes twice"),
    "a key twice in other words": ('a: 1\n"a": 2\n', "line 2: .*'a' comes twice"),
    "a truth value twice": ("yes: 1\ntrue: 2\n", "True comes twice"),
    "NaN": ("a: .nan\n", "line 1: .*no finite number"),
    "infinity": ("a: [1, .inf]\n", "no finite number"),
    "minus infinity": ("a: -.INF\n", "no finite number"),
    "a number too large": ("a: 1.0e+999\n", "no finite number"),
    "an object": ("!!python/object/apply:os.system ['true']\n", "not valid YAML"),
    "deep": ("[" * 3000 + "]" * 3000, "nested more than 64"),
    "a billion laughs": (
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n"
            for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "aliases stand for more",
    ),
    "itself": ("a: &a [*a]\n", "nested more than 64|aliases stand"),
    "no such day": ("a: 2024-99-99\n", "not valid YAML"),
    "a list as a key": ("? [1]\n: 2\n", "not valid YAML"),
    "open": ("a: [1, 2\n", "line 2: not valid YAML"),
    "two documents": ("a: 1\n---\nb: 1\n", "not valid YAML"),
    "half a character": ('a: "\\ud800"\n', "half a character|not valid YAML"),
    "a control character": ("a: \x00\n", "not valid YAML"),
    "a whole number of 5,000 digits": ("a: " + "9" * 5000, "not valid YAML"),
}


@pytest.mark.parametrize("what", REFUSED_JSON)
def test_json_that_two_readers_could_read_differently_is_refused(what):
    text, why = REFUSED_JSON[what]
    with pytest.raises(NotStrict, match=why):
        parse_json(text)


@pytest.mark.parametrize("what", REFUSED_YAML)
def test_yaml_that_says_two_things_or_no_plain_value_is_refused(what):
    text, why = REFUSED_YAML[what]
    with pytest.raises(NotStrict, match=why):
        parse_yaml(text)


def test_aliases_and_merges_are_read_as_ever():
    text = "base: &b {x: 1, y: 2}\nm:\n  <<: *b\n  y: 3\nlist: [*b, *b]\nn: {k: {<<: *b, x: 9}}\n"
    assert parse_yaml(text) == yaml.safe_load(text)


# A merge of a mapping that merges itself: its own keys are no second ones.
def test_a_merge_of_a_merge_is_no_key_twice():
    text = "x: &x {k: 1}\na:\n  b: &b {<<: *x, k: 2}\nm: {<<: *b}\n"
    assert parse_yaml(text) == {"x": {"k": 1}, "a": {"b": {"k": 2}}, "m": {"k": 2}}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read_back(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    for parse in (parse_json, parse_yaml):
        with suppress(NotStrict):
            parse(data)


def test_infinity_is_read_where_it_is_asked_for_and_nan_never() -> None:
    assert parse_json('{"a": [0.0, Infinity, -Infinity]}', infinite=True)["a"][1:] == [
        float("inf"),
        float("-inf"),
    ]
    for text in ('{"a": NaN}', "[1e999]"):
        with pytest.raises(NotStrict):
            parse_json(text, infinite=True)
