"""Chat templates of strangers: what transformers writes, or one sentence within seconds, in any
thread.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

from benchmarks import zoo
from restaudit.config import PolicyConfig
from restaudit.errors import BadInput
from restaudit.models import chat, limited
from restaudit.policy.turns import render, stop_tokens

TURNS = [
    {"role": "system", "content": "You review films. {{ 7 * 7 }}"},
    {"role": "user", "content": "Wie war der Film? \U0001f3ac"},
]
ENDLESS = {
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a long text": "{{ 'a' * 10**8 }}",
    "a wide number": "{{ '%0999999999d' % 1 }}",
    "a huge power": "{{ (9 ** 9) ** (9 ** 9) }}",
    "doubling": "{% set n = namespace(t='ab') %}{% for i in range(60) %}"
    "{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}",
    "a macro without end": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "on a word of the prompt": "{% if 'film' in messages[-1].content | lower %}"
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{% endif %}",
}


def with_template(template: str) -> Any:
    tokenizer = copy.copy(zoo.tokenizer())
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "SECONDS", 2.0)


@pytest.mark.parametrize("opened", [True, False])
def test_a_rendering_is_what_transformers_writes(opened: bool) -> None:
    tokenizer = with_template(zoo.CHATML)
    many = [
        [*TURNS, {"role": "assistant", "content": f"Good {k}.", "name": None}] for k in range(150)
    ]
    expected = [
        tokenizer.apply_chat_template(each, tokenize=False, add_generation_prompt=opened)
        for each in many
    ]
    assert chat.render(tokenizer, many, "model", opened=opened) == expected
    assert chat.render(tokenizer, many, "model", opened=opened) == expected  # as remembered


def test_arguments_of_the_template_are_handed_on_and_not_mixed_up() -> None:
    tokenizer = with_template("{{ style }}{{ eos_token }}{{ messages | length }}")
    for style in ("a", "b"):
        (text,) = chat.render(tokenizer, [TURNS], "model", opened=True, style=style)
        assert text == f"{style}{tokenizer.eos_token}2"


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_that_does_not_end_is_one_sentence(name: str) -> None:
    config = PolicyConfig(model="models/theirs")
    with pytest.raises(BadInput, match=r"^the chat template of models/theirs .*template ends") as e:
        render(with_template(ENDLESS[name]), TURNS, config, opened=True)
    assert "\n" not in str(e.value)
    # The next one is written as if nothing had happened.
    assert render(with_template("{{ messages[1].role }}"), TURNS, config, opened=True) == "user"


def test_it_is_stopped_in_any_thread() -> None:
    said: list[str] = []

    def one(k: int) -> None:
        template = ENDLESS["loops in loops"] if k % 2 else "{{ messages[0].role }}" + str(k)
        try:
            said.extend(chat.render(with_template(template), [TURNS], "m", opened=True))
        except BadInput as e:
            said.append(str(e))

    threads = [threading.Thread(target=one, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(text[:8] for text in said) == ["system0", "system2", "the chat", "the chat"]


def test_a_template_that_refuses_or_cannot_be_read_says_why() -> None:
    config = PolicyConfig(model="models/theirs")
    for template, why in (
        ("{{ raise_exception('no system, please') }}", "no system, please"),
        ("{% if %}", "Expected an expression"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|undefined"),
        ("{{ messages.append(1) }}", "unsafe|undefined|not safely"),
    ):
        with pytest.raises(
            BadInput, match=f"refuses messages of these roles: system, user .*{why}"
        ):
            render(with_template(template), TURNS, config, opened=True)


def test_an_endless_template_is_refused_when_the_policy_is_loaded() -> None:
    """Its first rendering is in the self-check, before anything is sealed."""
    tokenizer = with_template(ENDLESS["loops in loops"])
    with pytest.raises(BadInput, match="took more than 2 seconds"):
        stop_tokens(tokenizer, None, PolicyConfig(model="m"))


def test_the_helper_ends_with_what_it_was_asked_by_and_begins_again() -> None:
    limited.do("render", seconds=5, conversations=[TURNS], arguments={"chat_template": "x"})
    assert limited._helper is not None
    process = limited._helper[0]
    process.kill()
    process.wait()
    assert limited.do(
        "render", seconds=5, conversations=[TURNS], arguments={"chat_template": "x"}
    ) == ["x"]
