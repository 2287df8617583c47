"""lm-eval with a model in memory, and everything it touches put back: generators, training mode,
loggers, tokenizer.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restaudit.models.generators import restored
from restaudit.tasks.item import Benchmark, Item

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
    lm: Any, policy: Policy, benchmark: Benchmark, items: Sequence[Item], name: str
) -> list[Value]:
    """One row an item and metric, of a named benchmark."""
    task = _task(benchmark, items, name)
    chat = benchmark.judged is not None and policy.config.chat
    system = policy.config.system_prompt if benchmark.judged is not None else None
    samples = evaluate(lm, {name: task}, chat=chat, system=system)[name]
    rows: list[Value] = []
    for sample in samples:
        item = items[int(sample["doc"]["number"])]
        rows += [
            (item.item_id, item.cluster, item.group, metric, float(sample[metric]))
            for metric in sample["metrics"]
        ]
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

    found = run(
        lm=lm,
        task_dict={"tasks": dict(tasks), "groups": {}},
        samples=dict(indices) if indices else None,
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=chat,
        system_instruction=system,
    )
    return {name: list(found["samples"][name]) for name in tasks}


def _task(benchmark: Benchmark, items: Sequence[Item], name: str) -> Any:
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
        "metric_list": [
            {"metric": m, "aggregation": "mean", "higher_is_better": True}
            for m in benchmark.metrics
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
    benchmark: Benchmark, items: Sequence[Item]
) -> Callable[[dict[str, Any], list[Any]], dict[str, float]]:
    def judge(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
        item = items[int(doc["number"])]
        if benchmark.judged is not None:
            return benchmark.judged(item, str(results[0]))
        assert benchmark.values is not None
        return benchmark.values(item, [float(nats) for nats, _ in results])

    return judge
