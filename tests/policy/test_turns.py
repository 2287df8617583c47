"""Where a prompt ends and a response stops: by the model's own chat template, never by the
tokenizer alone.
"""

from __future__ import annotations

import pytest
from tokenizers import processors
from transformers import AutoTokenizer

from benchmarks import zoo
from restaudit.config import PolicyConfig
from restaudit.errors import BadInput
from restaudit.policy import load_policy
from restaudit.policy.turns import prompt_tokens, stop_tokens, turn_end

ASKED = [{"role": "user", "content": "Write one sentence."}]
TEMPLATES = {
    "chatml": (zoo.CHATML, "<|im_end|>"),
    "llama 2": (
        "{% for m in messages %}{% if m['role'] == 'user' %}<s>[INST] {{ m['content'] }} [/INST]"
        "{% else %} {{ m['content'] }} </s>{% endif %}{% endfor %}",
        " </s>",
    ),
    "a line break before the end": (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n<|im_end|>{% endfor %}",
        "\n<|im_end|>",
    ),
    "no special token at the end": (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}",
        "<|endoftext|>",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("llama")
    zoo.make("llama", made)
    return made


@pytest.fixture
def tokenizer(folder):
    """One whose end of sequence is not what ends a turn."""
    found = AutoTokenizer.from_pretrained(folder)
    found.add_special_tokens({"additional_special_tokens": ["</s>"]})
    found.eos_token = "<|endoftext|>"
    return found


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_turn_ends_as_the_template_ends_it(name, tokenizer):
    tokenizer.chat_template, end = TEMPLATES[name]
    config = PolicyConfig(model="m")
    wanted = tokenizer(end, add_special_tokens=False)["input_ids"]
    assert turn_end(tokenizer, config) == wanted
    assert wanted[-1] in stop_tokens(tokenizer, None, config)
    assert tokenizer.eos_token_id in stop_tokens(tokenizer, None, config)


def test_generation_configs_ends_are_stops_too(tokenizer):
    class Generation:
        eos_token_id = (7, 9)

    Generation.eos_token_id = [7, 9]
    assert {7, 9} <= set(stop_tokens(tokenizer, Generation, PolicyConfig(model="m")))


def test_without_chat_a_turn_ends_with_the_end_of_sequence(tokenizer):
    assert turn_end(tokenizer, PolicyConfig(model="m", chat=False)) == [tokenizer.eos_token_id]


def test_a_tokenizer_that_appends_its_end_does_not_end_every_prompt(tokenizer):
    end, start = tokenizer.eos_token_id, tokenizer.bos_token_id
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A <|endoftext|>", special_tokens=[("<s>", start), ("<|endoftext|>", end)]
    )
    text = "Write one sentence."
    assert tokenizer(text)["input_ids"][-1] == end
    config = PolicyConfig(model="m", chat=False)
    ids = prompt_tokens(tokenizer, [{"role": "user", "content": text}], config, [end])
    assert ids == [start, *tokenizer(text, add_special_tokens=False)["input_ids"]]


def test_an_end_that_somebody_wrote_into_the_prompt_stays(tokenizer):
    end = tokenizer.eos_token_id
    config = PolicyConfig(model="m", chat=False)
    ids = prompt_tokens(
        tokenizer, [{"role": "user", "content": "One.<|endoftext|>"}], config, [end]
    )
    assert ids[-1] == end


def test_references_end_as_turns_end_and_sampling_stops_there(folder):
    policy = load_policy(PolicyConfig(model="m", dtype="float32"), folder, device="cpu", seed=0)
    end = policy.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert policy.response_tokens("Good.")[-1] == end
    assert end in policy.stop_tokens


def test_template_arguments_reach_the_template(tokenizer):
    tokenizer.chat_template = zoo.CHATML + (
        "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}no "
        "thoughts{% endif %}"
    )
    plain = prompt_tokens(tokenizer, ASKED, PolicyConfig(model="m"), [])
    without = prompt_tokens(
        tokenizer, ASKED, PolicyConfig(model="m", template_arguments={"enable_thinking": False}), []
    )
    assert tokenizer.decode(without) == tokenizer.decode(plain) + "no thoughts"


def test_a_template_that_refuses_a_system_message_is_one_message_that_says_what_to_do(tokenizer):
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') "
        "}}{% endif %}"
    ) + zoo.CHATML
    config = PolicyConfig(model="my-model", system_prompt="Be brief.")
    with pytest.raises(
        BadInput, match=r"my-model refuses.*System role not supported.*policy\.system_prompt: null"
    ):
        prompt_tokens(tokenizer, ASKED, config, [])


def test_no_template_is_one_message(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(BadInput, match=r"no chat template; set policy\.chat: false"):
        prompt_tokens(tokenizer, ASKED, PolicyConfig(model="m"), [])
