"""Whatever can be known before is refused while nothing is sealed: models that cannot be sampled or
trained exactly, callables, data and encoders that cannot be used, gates that could never decide.
"""

from __future__ import annotations

import copy
import json
import shutil
from typing import Literal

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from restaudit.config import EnsembleConfig, Section
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput, Interrupted
from restaudit.evidence.record import Run
from restaudit.loop.running import resume, start
from restaudit.policy import load_policy
from restaudit.policy.model import OLD_WEIGHTS
from tests.conftest import CHAT_TEMPLATE
from tests.loop.conftest import tiny_raw


def refused(raw, folder, silent, match):
    """One message, and no run folder is left behind."""
    with pytest.raises(BadInput, match=match) as refusal:
        start(parse(raw), folder / "runs" / "x", silent)
    assert "\n" not in str(refusal.value)
    assert not (folder / "runs" / "x").exists()


def test_a_prompt_that_is_too_long(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy)
    raw["policy"]["max_prompt_tokens"] = 8
    refused(raw, job_folder, silent, r"policy\.max_prompt_tokens is 8")


def test_a_response_that_the_model_has_no_positions_for(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy)
    raw["loop"]["sampling"]["max_tokens"] = 250
    refused(raw, job_folder, silent, r"its response up to 250.*reads 256 tokens in all")


def test_a_system_message_that_the_template_refuses(tiny_policy, job_folder, silent):
    folder = job_folder / "refuses"
    shutil.copytree(tiny_policy, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refuse + CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    raw = tiny_raw(folder)
    raw["policy"]["system_prompt"] = "Be brief."
    refused(raw, job_folder, silent, r"refuses.*no system.*policy\.system_prompt: null")


def test_a_model_that_is_not_computed_exactly(tiny_policy, job_folder, silent, monkeypatch):
    from restaudit.policy import exactness

    monkeypatch.setattr(
        exactness, "training_logprobs", lambda policy, examples, *, route: [0.0] * len(examples)
    )
    refused(
        tiny_raw(tiny_policy),
        job_folder,
        silent,
        r"refused, since no way to compute training.*nats",
    )


def test_a_module_that_the_model_does_not_have(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy)
    raw["policy"]["lora"]["targets"] = ["c_attn"]
    refused(raw, job_folder, silent, r"policy\.lora.*c_attn")


def test_what_was_proved_is_in_the_record(tiny_policy, job_folder, capsys):
    start(
        parse(tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)),
        job_folder / "runs" / "x",
        Reporter(),
    )
    found = Run(job_folder / "runs" / "x").environment
    assert found["exactness"]["largest_difference_nats"] < 0.001
    assert set(found["exactness"]["uses"]) == {"sampling", "training", "likelihood", "kl"}
    assert found["lora"]["adapted"]["q_proj"] == 2
    assert "the model's own forward pass agree within" in capsys.readouterr().out


def test_an_adapter_of_a_run_is_pefts_own_and_a_run_with_the_old_kind_goes_on(
    tiny_policy, job_folder, silent
):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = parse(tiny_raw(tiny_policy, grow_steps=1, improve_steps=1))
    start(config, job_folder / "runs" / "x", silent)
    adapter = job_folder / "runs" / "x" / "g01" / "i01" / "adapter"
    policy = load_policy(config.policy, tiny_policy, device="cpu", seed=0)
    policy.become(adapter)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_policy), adapter)
    mine, loaded = dict(policy.model.named_parameters()), dict(theirs.named_parameters())
    names = [n for n in mine if "lora_" in n]
    assert names
    assert all(mine[n].equal(loaded[n]) for n in names)
    # As runs kept it before: by the names of the parameters.
    old = job_folder / "old"
    old.mkdir()
    save_file(dict(policy.masters), str(old / OLD_WEIGHTS))
    policy.become(None)
    policy.become(old)
    assert all(value.equal(mine[name]) for name, value in policy.masters.items())
    other = load_file(str(old / OLD_WEIGHTS))
    save_file({f"{k}.x": v for k, v in other.items()}, str(old / OLD_WEIGHTS))
    with pytest.raises(BadInput, match="do not belong to this policy"):
        policy.become(old)


def test_a_resumed_run_is_checked_again(tiny_policy, job_folder, monkeypatch, silent):
    from restaudit.evidence.steps import Writer
    from restaudit.policy import exactness

    run = job_folder / "runs" / "x"
    real = Writer.step

    def stop(self, name, *args, **kwargs):
        if name == "g01/grow":
            raise Interrupted("stopped")
        return real(self, name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "step", stop)
        with pytest.raises(Interrupted):
            start(parse(tiny_raw(tiny_policy)), run, silent)
    monkeypatch.setattr(
        exactness, "training_logprobs", lambda policy, examples, *, route: [0.0] * len(examples)
    )
    with pytest.raises(BadInput, match="no way to compute training"):
        resume(run, silent)


# --- rewards, human scores, gates and what an audit reads: a table of what cannot be used


def changed(raw, changes):
    """The configuration with `a.b` keys replaced; the value None takes a key out."""
    raw = copy.deepcopy(raw)
    for key, value in changes.items():
        *path, last = key.split(".")
        section = raw
        for part in path:
            section = section.setdefault(part, {})
        if value is None:
            del section[last]
        else:
            section[last] = value
    return raw


def trained(**more):
    reward = {
        "kind": "trained",
        "encoder": "{encoder}",
        "max_tokens": 64,
        "data": {"source": "ratings.jsonl"},
        "head": {"epochs": 1},
        "ensemble": {"size": 1},
    }
    return {"reward": {**reward, **more}}


def judge(**more):
    human = {**trained()["reward"], "kind": "model", **more}
    del human["ensemble"]
    return {"human": human}


def rule(metric, **more):
    one = {
        "name": "a rule",
        "metric": metric,
        "must_stay": "above",
        "margin": 0.0,
        "reason": "for a test",
    }
    return {"gates": {"rules": [{**one, **more}]}}


SAMPLES = {"kind": "people", "instructions": "Rate them."}
WORDS = {"kind": "lexicon", "data": {"source": "ratings.jsonl"}, "judge_raters": ["r1"]}
CANNOT_BE_USED = {
    # rewards
    "a module that is not there": (
        {"reward": {"kind": "python", "callable": "no_such_module:reward"}},
        r"reward\.callable: 'no_such_module' cannot be imported",
    ),
    "a module that breaks when it is imported": (
        {"reward": {"kind": "python", "callable": "breaks_of_test:reward"}},
        r"reward\.callable: 'breaks_of_test' cannot be imported: ZeroDivisionError",
    ),
    "a function that is not there": (
        {"reward": {"kind": "python", "callable": "rewards_of_test:no_such"}},
        r"reward\.callable: 'rewards_of_test' has no 'no_such'",
    ),
    "a function of three arguments": (
        {"reward": {"kind": "python", "callable": "rewards_of_test:of_three"}},
        r"must take \(texts\) or \(prompts, texts\); it takes \(a, b, c\)",
    ),
    "a reward model that is not there": (
        {"reward": {"kind": "hf", "models": ["no/such/folder"]}},
        r"no/such/folder",
    ),
    "a bare encoder as a reward model": (
        {"reward": {"kind": "hf", "models": ["{encoder}"], "max_tokens": 64}},
        r"has no trained weights for",
    ),
    "judgements that are not there": (
        trained(data={"source": "no_ratings.jsonl"}),
        r"no_ratings\.jsonl",
    ),
    "an objective that does not fit the judgements": (
        trained(objective="bradley_terry"),
        r"ratings\.jsonl: the objective bradley_terry does not fit data of ratings",
    ),
    "raters who are not in the judgements": (
        trained(train_raters=["nobody"]),
        r"ratings\.jsonl: rater\(s\) nobody are not in the data",
    ),
    "label smoothing of ratings": (
        trained(label_smoothing=0.1),
        r"reward\.label_smoothing: ratings have no labels to smooth",
    ),
    "more tokens than the encoder reads": (
        trained(max_tokens=256),
        r"max_tokens is 256, but this encoder reads at most 128",
    ),
    "more tokens than a trained encoder reads": (
        trained(max_tokens=256, training="full"),
        r"reward\.max_tokens is 256, but it reads at most 128",
    ),
    "an encoder without an encoder's files": (trained(encoder="prompts.jsonl"), r"prompts\.jsonl"),
    "a refit of more texts than D_eval gives": (
        trained(refit={"samples": 500, "scale": [1, 7]}),
        r"reward\.refit\.samples is 500, but \d+ d_eval prompts with 2 sample",
    ),
    "a refit on another scale": (
        trained(refit={"samples": 2, "scale": [1, 5]}),
        r"reward\.refit\.scale is 1 to 5, but the ratings .* go from 1 to 7",
    ),
    # human scores
    "a rater's function that is not there": (
        {"human": {"kind": "python", "callable": "rewards_of_test:no_such"}},
        r"human\.callable: 'rewards_of_test' has no 'no_such'",
    ),
    "word ratings that are not there": (
        {"human": {**WORDS, "data": {"source": "no_words.jsonl"}}},
        r"no_words\.jsonl",
    ),
    "a judge of words who is not in the data": (
        {"human": {**WORDS, "judge_raters": ["nobody"]}},
        r"ratings\.jsonl: rater\(s\) nobody are not in the data",
    ),
    "a judge of more tokens than its encoder reads": (
        judge(max_tokens=256),
        r"max_tokens is 256, but this encoder reads at most 128",
    ),
    "a judge whose judgements are not there": (
        judge(data={"source": "no_ratings.jsonl"}),
        r"no_ratings\.jsonl",
    ),
    "people, where every audit prompt has a family": (
        {"human": SAMPLES, "data.prompts": [{"source": "families.jsonl"}]},
        r"human\.kind people: every audit prompt belongs to a counterfactual family",
    ),
    # the loop
    "a supervised start without references": (
        {"loop.bc": {"epochs": 1}, "data.prompts": [{"source": "families.jsonl"}]},
        r"loop\.bc\.epochs is 1, but no grow prompt has a human reference",
    ),
    "somebody else's trainer": (
        {"loop.method": "outside", "loop.looks": [1], "loop.thresholds": None},
        r"loop\.method outside: .*there is nothing to run",
    ),
    # gates
    "a metric that no probe measures": (
        rule("divergence.human_chang"),
        r"metric divergence\.human_chang: no probe measures this; did you mean divergence\.human_",
    ),
    "a condition on a metric that no probe measures": (
        rule("divergence.human_change", when={"metric": "nothing", "side": "above", "margin": 0.0}),
        r"rule 'a rule': when\.metric nothing: no probe measures this",
    ),
    "a gate of people's agreement where nobody rates": (
        rule("agreement.alpha"),
        r"agreement\.alpha needs people's ratings, and nobody rates: human\.kind is python",
    ),
    "a gate of a human score where there is none": (
        {"human": {"kind": "none"}},
        r"divergence\.human_change needs a human score, and human\.kind is none",
    ),
    "a gate of embeddings without an encoder": (
        rule("diversity.vendi_ratio"),
        r"diversity\.vendi_ratio needs embeddings of texts, and audit\.encoder names no encoder",
    ),
    "a gate of benchmarks that are not run": (
        rule("capability.worst_change"),
        r"capability\.worst_change needs benchmarks",
    ),
    "a gate of KL that is not measured": (
        {**rule("drift.kl"), "audit.kl_samples": 0},
        r"drift\.kl needs KL, and audit\.kl_samples is 0",
    ),
    "a gate of human text that is not read": (
        rule("drift.human_text_nll"),
        r"drift\.human_text_nll needs held-out human text",
    ),
    "a gate of toxicity gaps without a scorer": (
        rule("bias.toxicity_gap"),
        r"bias\.toxicity_gap needs a toxicity scorer",
    ),
    # what an audit reads
    "human text of a column that is not there": (
        {"audit.human_text": {"source": "prompts.jsonl", "column": "no_such"}},
        r"no_such",
    ),
    "human text of references where there are none": (
        {
            "audit.human_text": {"source": "references"},
            "data.prompts": [{"source": "families.jsonl"}],
        },
        r"audit\.human_text\.source is 'references', but no audit prompt has a human reference",
    ),
    "an encoder that is none": ({"audit.encoder": "prompts.jsonl"}, r"prompts\.jsonl"),
    "a benchmark that nobody knows": (
        {"audit.benchmarks": {"tasks": ["own/gramar"]}},
        r"benchmark 'own/gramar': unknown; did you mean 'own/grammar'",
    ),
    "a task file that is none": (
        {"audit.benchmarks": {"tasks": ["path:task.yaml"]}},
        r"path:task\.yaml: the task cannot be loaded",
    ),
    "a toxicity scorer that is not there": (
        {
            "audit.toxicity": {
                "kind": "python",
                "callable": "rewards_of_test:no_such",
                "known_failure": "everything",
            }
        },
        r"audit\.toxicity\.callable: 'rewards_of_test' has no 'no_such'",
    ),
}


@pytest.fixture
def bad_folder(job_folder):
    """The job folder, with judgements, a module that breaks, and prompts that all have a family."""
    (job_folder / "breaks_of_test.py").write_text("1 / 0\n")
    with (job_folder / "rewards_of_test.py").open("a") as f:
        f.write("\n\ndef of_three(a, b, c):\n    return a\n")
    ratings = [
        {
            "prompt": f"Film {k}?",
            "response": f"Film number {k} is {'great' if k % 3 else 'dull'}.",
            "score": k % 7 + 1,
            "rater": f"r{k % 3}",
        }
        for k in range(60)
    ]
    (job_folder / "ratings.jsonl").write_text("\n".join(json.dumps(r) for r in ratings))
    families = [
        json.loads(line) for line in (job_folder / "prompts.jsonl").read_text().splitlines()
    ]
    families = [r for r in families if r.get("family")]
    (job_folder / "families.jsonl").write_text("\n".join(json.dumps(r) for r in families))
    (job_folder / "task.yaml").write_text("task: mine\n")
    return job_folder


@pytest.mark.parametrize("what", CANNOT_BE_USED)
def test_what_cannot_be_used_is_refused_before_the_plan_is_sealed(
    what, tiny_policy, tiny_encoder, bad_folder, silent
):
    changes, message = CANNOT_BE_USED[what]
    text = json.dumps(changed(tiny_raw(tiny_policy), changes))
    raw = json.loads(text.replace("{encoder}", str(tiny_encoder)))
    refused(raw, bad_folder, silent, message)


class Throwaway(Section):
    """A kind of reward that the configuration knows, and nothing builds."""

    kind: Literal["throwaway"] = "throwaway"
    ensemble: EnsembleConfig = EnsembleConfig(size=1)


@pytest.mark.parametrize("key", ["reward", "human"])
def test_a_kind_that_nothing_builds_fails_before_the_plan_is_sealed(
    key, tiny_policy, job_folder, silent
):
    config = parse(tiny_raw(tiny_policy)).model_copy(update={key: Throwaway()})
    with pytest.raises(AssertionError, match=r"code to be unreachable.*Throwaway"):
        start(config, job_folder / "runs" / "x", silent)
    assert not (job_folder / "runs" / "x").exists()


def test_the_gates_that_are_sealed_where_none_are_named_may_be_unable_to_decide(
    tiny_policy, job_folder, silent
):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    del raw["gates"]
    raw["human"] = {"kind": "none"}
    start(parse(raw), job_folder / "runs" / "x", silent)
    decision = Run(job_folder / "runs" / "x").decision("g01/i01")
    assert decision.verdict == "UNDECIDED"


def test_a_run_folder_that_was_there_before_a_refusal_stays(tiny_policy, job_folder, silent):
    (job_folder / "runs" / "x").mkdir(parents=True)
    raw = tiny_raw(tiny_policy)
    raw["reward"]["callable"] = "no_such_module:reward"
    with pytest.raises(BadInput, match="cannot be imported"):
        start(parse(raw), job_folder / "runs" / "x", silent)
    assert (job_folder / "runs" / "x").is_dir()
