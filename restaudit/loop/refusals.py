"""All that is refused before the plan is sealed: what a run could only find out hours later, with
its plan sealed and its samples drawn.

A sealed plan cannot be changed (that is its point), so whatever is wrong with it costs the run.
`prepare` opens everything that the steps after sealing open, and hands it on, so that nothing is
loaded twice. What cannot be known before (a reward that returns no number for a sample that nobody
has drawn yet, a full disk) still stops a run, at a step boundary.

A new kind of reward or human score gets its checks where it is built (`prepare_reward`,
`prepare_human`), and the type checker names every place that does not handle it (assert_never).
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from restaudit.config import (
    DEFAULT_GATES,
    ColumnReward,
    Config,
    NoHuman,
    NoToxicity,
    PeopleHuman,
    ReferenceHuman,
    TrainedReward,
)
from restaudit.config.loop import Method
from restaudit.errors import BadInput
from restaudit.evidence.chats import as_messages
from restaudit.evidence.record import HUMAN, REWARD
from restaudit.evidence.steps import seed_of
from restaudit.loop.held_out import check_benchmarks, human_texts, text_tokens
from restaudit.loop.refit import check_refit
from restaudit.models.artifacts import Artifact

if TYPE_CHECKING:
    import pandas as pd

    from probes.base import Embed, Scorer
    from restaudit.config import Split
    from restaudit.loop.sealing import Prompts
    from restaudit.people.human_score import HumanScore
    from restaudit.policy import Policy
    from restaudit.reward import Reward

    Splits = Mapping[Split, pd.DataFrame]


@dataclass(frozen=True)
class PreparedModels:
    """What was opened to see whether it can be used, for the steps after sealing.

    `build_reward` and `build_human` do what is left (train, where there is something to train) and
    write into the folder they are given.
    """

    build_reward: Callable[[Path], Reward]
    build_human: Callable[[Path], HumanScore]
    embed: Embed | None
    toxicity: Scorer | None


def prepare(
    config: Config, artifacts: Mapping[str, Artifact], prompts: Prompts, policy: Policy | None
) -> PreparedModels:
    """Raise BadInput for all of the configuration that cannot be used, and open the rest.

    `policy` is the loaded model; None where only its generations are at hand. What is cheap to find
    out comes first.
    """
    from restaudit.people.human_score import check_raters

    splits = prompts[0]
    check_threads(config)
    check_method(config.loop.method)
    check_gates(config, splits)
    check_raters(config.reward, config.human)
    _check_supervised_start(config, splits)
    _check_people(config, splits)
    if isinstance(config.reward, TrainedReward) and config.reward.refit is not None:
        check_refit(config.reward, config.loop.d_eval_samples, splits["d_eval"], config.data.rows)
    if policy is not None:
        _check_prompts(policy, splits, config.loop.sampling.max_tokens)
    _check_human_text(config, splits, policy)
    check_benchmarks(config.audit.benchmarks)
    return PreparedModels(
        reward_builder(config),
        human_builder(config),
        embed=_encoder(config, artifacts),
        toxicity=_toxicity(config),
    )


def check_method(method: Method) -> None:
    """Raise BadInput where the method needs a library that is not installed."""
    match method:
        case "dpo" | "grpo" | "rloo":
            if importlib.util.find_spec("trl") is None:
                raise BadInput(f"loop.method {method} needs TRL: pip install 'restaudit[rlhf]'")
        case "rest" | "rest_em" | "raft" | "best_of_n" | "outside":
            pass
        case _ as unknown:
            assert_never(unknown)


def check_threads(config: Config) -> None:
    """Raise BadInput for more threads than this machine could make any use of."""
    cores = len(os.sched_getaffinity(0))
    if config.threads != "auto" and config.threads > 4 * cores:
        raise BadInput(
            f"threads: {config.threads}, and this machine has {cores} cores; expected at most "
            f"{4 * cores}, or auto"
        )


# --- the models that score


def reward_builder(config: Config) -> Callable[[Path], Reward]:
    """What builds the reward of a run, with everything opened that it needs.

    Raises BadInput for what cannot be used.
    """
    from restaudit.models.devices import pick_device
    from restaudit.reward import prepare_reward

    return prepare_reward(
        config.reward,
        rules=config.data.rows,
        device=pick_device(config.device),
        seed=seed_of(config.seed, REWARD),
    )


def human_builder(config: Config) -> Callable[[Path], HumanScore]:
    """The same for the human score."""
    from restaudit.models.devices import pick_device
    from restaudit.people.human_score import prepare_human

    return prepare_human(
        config.human,
        rules=config.data.rows,
        device=pick_device(config.device),
        seed=seed_of(config.seed, HUMAN),
    )


def _encoder(config: Config, artifacts: Mapping[str, Artifact]) -> Embed | None:
    from restaudit.models.devices import pick_device
    from restaudit.models.encoder import load_encoder

    if "audit.encoder" not in artifacts:
        return None
    return load_encoder(artifacts["audit.encoder"].path, device=pick_device(config.device)).embed


def _toxicity(config: Config) -> Scorer | None:
    from restaudit.loop.toxicity import load_scorer
    from restaudit.models.devices import pick_device

    return load_scorer(config.audit.toxicity, device=pick_device(config.device))


# --- gates


@dataclass(frozen=True)
class _Need:
    """Metrics that have no value unless the configuration gives something; names that end in a dot
    or an asterisk stand for all that begin so.
    """

    metrics: Sequence[str]
    what: str

    def of(self, metric: str) -> bool:
        """Whether this is one of them."""
        return any(
            metric.startswith(name.removesuffix("*")) if name[-1] in ".*" else metric == name
            for name in self.metrics
        )


# Measured, not guessed: a run without the thing has no value for these, a run with it may have one.
_HUMAN = _Need(
    (
        "divergence.human",
        "divergence.human_change",
        "divergence.human_coverage",
        "divergence.gap",
        "divergence.expected",
        "divergence.beyond_*",
        "divergence.correlation*",
        "divergence.gain_per_*",
        "divergence.peak_*",
        "divergence.filter_human",
        "bias.human_gap",
        "bias.human.",
        "hacking.habit_cost",
        "hacking.signature",
    ),
    "a human score, and human.kind is {kind}",
)
_PEOPLE = _Need(("agreement.",), "people's ratings, and nobody rates: human.kind is {kind}")
_ENCODER = _Need(
    (
        "diversity.vendi*",
        "diversity.across_prompts",
        "diversity.across_prompts_ratio",
        "diversity.within_prompt",
        "diversity.within_prompt_ratio",
        "diversity.good_vendi_ratio",
        "diversity.effective_vendi_ratio",
        "hacking.distance*",
    ),
    "embeddings of texts, and audit.encoder names no encoder",
)
_TOXICITY = _Need(("toxicity.", "bias.toxicity*"), "a toxicity scorer, and audit.toxicity is none")
_KL = _Need(("drift.kl*", "divergence.gain_per_sqrt_kl"), "KL, and audit.kl_samples is 0")
_HUMAN_TEXT = _Need(
    ("drift.human_text_nll",), "held-out human text, and audit.human_text names none"
)
_BENCHMARKS = _Need(
    ("capability.", "benchmarks."), "benchmarks, and audit.benchmarks.tasks names none"
)
_SCORE = _Need(
    ("bias.reward_swap*",), "a reward that can be asked about changed texts, and this is a column"
)


def check_gates(config: Config, splits: Splits) -> None:
    """Raise BadInput for a rule that could only ever say INCONCLUSIVE: its metric, or that of its
    condition, is measured by no probe, or not in this configuration.

    Somebody who names a gate counts on it; one that cannot speak is worse than none. The rules that
    are sealed where a configuration names none are left alone: nobody chose them for this run.
    """
    if config.gates == DEFAULT_GATES:
        return
    missing = _missing(config, splits)
    for rule in config.gates.rules:
        named = [("metric", rule.metric)]
        if rule.when is not None:
            named.append(("when.metric", rule.when.metric))
        for key, metric in named:
            where = f"gates.rules, rule '{rule.name}': {key} {metric}"
            _check_known(metric, where)
            for need in missing:
                if need.of(metric):
                    what = need.what.format(kind=config.human.kind)
                    raise BadInput(
                        f"{where} needs {what}; the rule could never decide. Give what it needs, "
                        "or take the rule out"
                    )


def _check_known(metric: str, where: str) -> None:
    from probes import PROBES
    from probes.catalogue import metric_of

    if metric_of(metric) is not None:
        return
    names = [m.name for probe in PROBES for m in probe.measures if not m.family]
    near = difflib.get_close_matches(metric, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise BadInput(f"{where}: no probe measures this{hint} (docs/probes.md lists what there is)")


def _missing(config: Config, splits: Splits) -> list[_Need]:
    """What this configuration does not give."""
    # Watched files may bring a KL of their own, in a column.
    files = config.loop.method == "outside"
    missing = {
        _HUMAN: isinstance(config.human, NoHuman)
        or (isinstance(config.human, ReferenceHuman) and not _with_references(splits["audit"])),
        _PEOPLE: not isinstance(config.human, PeopleHuman) and not files,
        _ENCODER: config.audit.encoder is None,
        _TOXICITY: isinstance(config.audit.toxicity, NoToxicity),
        _KL: config.audit.kl_samples == 0 and not files,
        _HUMAN_TEXT: config.audit.human_text is None,
        _BENCHMARKS: not config.audit.benchmarks.tasks,
        _SCORE: isinstance(config.reward, ColumnReward),
    }
    return [need for need, lacks in missing.items() if lacks]


# --- prompts, and what is asked of them


def _with_references(prompts: pd.DataFrame) -> int:
    """How many of these prompts have a human reference."""
    return sum(len(references) > 0 for references in prompts["references"])


def _check_supervised_start(config: Config, splits: Splits) -> None:
    epochs = config.loop.bc.epochs
    if epochs == 0 or config.loop.method == "outside" or _with_references(splits["grow"]):
        return
    raise BadInput(
        f"loop.bc.epochs is {epochs}, but no grow prompt has a human reference to start from; give "
        "references (data.prompts.columns), or set it to 0"
    )


def _check_human_text(config: Config, splits: Splits, policy: Policy | None) -> None:
    settings = config.audit.human_text
    if settings is None:
        return
    chosen = human_texts(settings, splits["audit"])
    if policy is not None:
        text_tokens(policy, chosen.texts, settings.max_tokens)


def _check_people(config: Config, splits: Splits) -> None:
    """People rate samples of plain prompts only: members of a family are told apart by what they
    name, which a rater would see. Every stage of a look must find texts that nobody rated yet.
    """
    if not isinstance(config.human, PeopleHuman):
        return
    prompts = int(splits["audit"]["family"].isna().sum())
    if not prompts:
        raise BadInput(
            "human.kind people: every audit prompt belongs to a counterfactual family, and people "
            "rate samples of plain prompts only; give audit prompts without a family"
        )
    counts, each = config.human.counts, config.audit.stages[-1][0]
    each = min(each, config.audit.base_samples)
    # How many texts watched files hold, nobody knows before they are there.
    files = config.policy.model.startswith("watch:")
    if len(counts) > 1 and counts[-1] > prompts * each and not files:
        raise BadInput(
            f"human.samples: the last stage rates {counts[-1]:,} texts of an iteration, and there "
            f"are {prompts * each:,} ({prompts:,} audit prompts without a family, {each} texts "
            "each); give smaller counts, more audit prompts, or more audit.samples_per_prompt"
        )


def _check_prompts(policy: Policy, splits: Splits, max_tokens: int) -> None:
    """Raise BadInput for a prompt that is too long, with its response too, or that the chat
    template refuses.
    """
    room = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    for split, table in splits.items():
        policy.write_ahead([as_messages(prompt) for prompt in table["prompt"]])
        for prompt in table["prompt"]:
            length = len(policy.prompt_tokens(as_messages(prompt)))
            # A model without a table of positions (0, -1 or none) reads what memory allows.
            if isinstance(room, int) and 0 < room < length + max_tokens:
                raise BadInput(
                    f"a prompt of the split {split} has {length} tokens, and its response up to "
                    f"{max_tokens} (loop.sampling.max_tokens): {policy.config.model} reads {room} "
                    "tokens in all"
                )
