"""lm-eval with a model in memory, and everything it touches put back: generators, training mode,
loggers, tokenizer.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restaudit.config import SamplingConfig
from restaudit.errors import BadInput
from restaudit.models.devices import restored
from restaudit.tasks.benchmark import Benchmark, BenchmarkItem

if TYPE_CHECKING:
    from restaudit.policy import Policy


Value = tuple[str, str | None, str | None, str, float]  # item_id, cluster, group, metric, value


@contextlib.contextmanager
def undisturbed(policy: Policy) -> Iterator[None]:
    """Restore the states of Python's, numpy's and torch's generators, the model's training mode and
    the tokenizer.

    lm-eval reseeds generators, calls `model.eval()`, sets padding, logs and draws progress bars:
    none of it is left.
    """
    modes = [(module, module.training) for module in policy.model.modules()]
    padding = policy.tokenizer.padding_side, policy.tokenizer.pad_token
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with restored(), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        policy.tokenizer.padding_side, policy.tokenizer.pad_token = padding
        for module, training in modes:
            module.training = training


def answers(
    lm: Any, policy: Policy, benchmark: Benchmark, items: Sequence[BenchmarkItem], name: str
) -> list[Value]:
    """One row an item and metric, of a named benchmark."""
    task = _task(benchmark, items, name)
    chat, system = False, None
    # Replies are asked for as the run asks; likelihoods are of plain text, as the papers have them.
    if benchmark.judged is not None:
        chat, system = policy.config.chat, policy.config.system_prompt
    samples = evaluate(lm, {name: task}, chat=chat, system=system)[name]
    rows: list[Value] = []
    for sample in samples:
        item = items[int(sample["doc"]["number"])]
        for metric in sample["metrics"]:
            value = float(sample[metric])
            rows.append((item.item_id, item.cluster, item.group, metric, value))
    return rows


def evaluate(
    lm: Any,
    tasks: Mapping[str, Any],
    *,
    indices: Mapping[str, list[int]] | None = None,
    chat: bool = False,
    system: str | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """lm-eval's logged samples by task; clock, host, git and averages never come into it."""
    from lm_eval.evaluator import evaluate as run

    results = run(
        lm=lm,
        task_dict={"tasks": dict(tasks), "groups": {}},
        samples=dict(indices) if indices else None,
        bootstrap_iters=0,  # intervals come from the audit, which resamples with the base policy
        log_samples=True,
        apply_chat_template=chat,
        system_instruction=system,
    )
    return {name: list(results["samples"][name]) for name in tasks}


def _task(benchmark: Benchmark, items: Sequence[BenchmarkItem], name: str) -> Any:
    """The items as a task of lm-eval: likelihoods of the choices, or a greedy reply to the
    context.
    """
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    docs = [
        {"number": k, "context": i.context, "choices": list(i.choices), "key": i.key}
        for k, i in enumerate(items)
    ]
    config: dict[str, Any] = {
        "task": name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(docs)},
        "test_split": "test",
        "doc_to_text": lambda doc: doc["context"],
        "target_delimiter": "",
        "num_fewshot": 0,
        # lm-eval wants to know how to average and what is better; only single values are taken here.
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in benchmark.metrics
        ],
        "process_results": _judge(benchmark, items),
    }
    if benchmark.judged is None:
        config |= {
            "output_type": "multiple_choice",
            "doc_to_choice": lambda doc: doc["choices"],
            "doc_to_target": lambda doc: doc["key"],
        }
    else:
        config |= {
            "output_type": "generate_until",
            "doc_to_target": lambda _: "",
            "generation_kwargs": {
                "until": [],
                "do_sample": False,
                "max_gen_toks": benchmark.reply_tokens,
            },
        }
    return ConfigurableTask(config=config)


def _judge(
    benchmark: Benchmark, items: Sequence[BenchmarkItem]
) -> Callable[[dict[str, Any], list[Any]], dict[str, float]]:
    def judge(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
        item = items[int(doc["number"])]
        if benchmark.judged is not None:
            return benchmark.judged(item, str(results[0]))
        assert benchmark.values is not None
        return benchmark.values(item, [float(nats) for nats, _ in results])

    return judge


# --- a policy as a model of lm-eval: likelihoods and replies come from this project's own code

BATCH = 16


def policy_model(policy: Policy) -> Any:
    """An instance of lm-eval's HFLM for the policy with the weights it has when it is asked.

    lm-eval's own code would compute the whole vocabulary's logits at every place of every choice;
    restaudit.policy computes what choices share once (a test compares the two). Text that is too
    long loses its beginning, as there.
    """
    from lm_eval.models.huggingface import HFLM

    from restaudit.models.chat import render
    from restaudit.models.limited import Refused
    from restaudit.policy.likelihood import loglikelihoods
    from restaudit.policy.turns import unended

    class PolicyModel(HFLM):  # type: ignore[misc]
        def _loglikelihood_tokens(
            self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
        ) -> list[tuple[float, bool]]:
            longest = int(self.max_length) + 1  # the last token is only predicted
            pairs = []
            for _key, context, continuation in requests:
                if len(continuation) >= longest:
                    raise BadInput(
                        f"a benchmark's answer has {len(continuation)} tokens; this policy reads "
                        f"{longest - 1} at most"
                    )
                room = longest - len(continuation)
                pairs.append((tuple(context[-room:]), tuple(continuation)))
            return loglikelihoods(policy, pairs)

        def tok_encode(self, string: str, *args: Any, **kwargs: Any) -> list[int]:
            ids = super().tok_encode(string, *args, **kwargs)
            return unended(policy.tokenizer, string, ids, policy.stop_tokens)

        def apply_chat_template(
            self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
        ) -> str:
            how = {
                "opened": add_generation_prompt,
                "continue_final_message": not add_generation_prompt,
            }
            try:
                (text,) = render(policy.tokenizer, [chat_history], policy.config.model, **how)
            except Refused:
                # As lm-eval does: many templates refuse a system message.
                rest = [m for m in chat_history if m["role"] != "system"]
                (text,) = render(policy.tokenizer, [rest], policy.config.model, **how)
            return text

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
            for request in requests:
                _check_greedy(request.args[1])
            return _greedy(policy, self, requests)

    return PolicyModel(
        pretrained=policy.model,
        tokenizer=policy.tokenizer,
        batch_size=BATCH,
        trust_remote_code=False,
    )


def _check_greedy(settings: dict[str, Any]) -> None:
    """Raise BadInput for what is not greedy decoding: a benchmark that samples gives another figure
    every time.
    """
    other = sorted(set(settings) - {"until", "do_sample", "max_gen_toks", "temperature"})
    if other or settings.get("do_sample") or settings.get("temperature"):
        asked = ", ".join(f"{name}={settings[name]!r}" for name in sorted(settings))
        raise BadInput(
            f"a benchmark asks for generation with {asked}; only greedy decoding is done here"
        )


def _greedy(policy: Policy, lm: Any, requests: Sequence[Any]) -> list[str]:
    """Greedy replies, cut at the first of their stop strings, by the policy's own sampler.

    lm-eval's batches are padded and cached, which not every model computes as it computes a prompt
    alone. Here a reply that a stop string ends is sampled to its last token and then cut: the same
    text, for more work.
    """
    from restaudit.policy import SampleRequest, sample

    replies: dict[int, str] = {}
    lengths = [int(r.args[1].get("max_gen_toks") or lm.max_gen_toks) for r in requests]
    for length in sorted(set(lengths)):
        places = [k for k in range(len(requests)) if lengths[k] == length]
        room = int(lm.max_length) - length
        if room < 1:
            raise BadInput(
                f"a benchmark asks for replies of {length} tokens; this policy reads "
                f"{lm.max_length} in all"
            )
        # The template, or nothing at all, has put every special token there is into the text
        # already.
        wanted = []
        for k in places:
            tokens = tuple(lm.tok_encode(requests[k].args[0])[-room:])
            wanted.append(SampleRequest(f"{k:06d}", tokens, (f"{k:06d}",)))
        # The most probable token alone is left to draw from: the seed decides nothing.
        greedy = SamplingConfig(temperature=1.0, top_k=1, max_tokens=length)
        for place, drawn in zip(places, sample(policy, wanted, greedy, seed=0), strict=True):
            replies[place] = _cut(policy, drawn.tokens, requests[place].args[1].get("until") or [])
    return [replies[k] for k in range(len(requests))]


def _cut(policy: Policy, tokens: Sequence[int], until: Sequence[str] | str) -> str:
    """The reply up to the first stop string; stripped, as all replies here, where there is none."""
    ends = [until] if isinstance(until, str) else [u for u in until if u]
    if not ends:
        return policy.text(tokens)
    text = str(policy.tokenizer.decode(list(tokens), skip_special_tokens=True))
    for end in ends:
        text = text.split(end)[0]
    return text
