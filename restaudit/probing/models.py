"""A model instead of a file: ask it the prompts, keep what it says, and run the benchmarks that
were asked for.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from restaudit.config import LoraConfig, PolicyConfig, SamplingConfig
from restaudit.data.generations import Generations
from restaudit.data.prompts import load_prompts
from restaudit.data.records import RowReport
from restaudit.errors import BadInput
from restaudit.evidence.chats import as_messages, as_text, normalise
from restaudit.files import plain
from restaudit.probing.session import MoreEvidence, ProbeResult, ProbeSettings, probe_tables

if TYPE_CHECKING:
    from restaudit.console import Reporter
    from restaudit.policy import Policy


Role = Literal["policy", "base"]
TOP_K = 50
HUMAN_TEXTS = 200
SAVED = (
    "prompt_id",
    "prompt",
    "sample_id",
    "text",
    "n_tokens",
    "finished",
    "logprob",
    "group",
    "family",
    "references",
)


@dataclass(frozen=True)
class ModelSampling:
    """How a model is sampled; `limit` and `task_limit` None mean all there are."""

    prompts: str | None = None
    limit: int | None = None
    samples: int = 4
    max_tokens: int = 48
    temperature: float = 0.8
    system: str | None = None
    tasks: tuple[str, ...] = ()
    task_limit: int | None = None
    human_text: str | None = None
    save: Path | None = None


@dataclass(frozen=True)
class Sampled:
    """What one model gave: its generations, benchmark items, the cost of human texts, and facts
    about it.
    """

    generations: Generations
    items: pd.DataFrame | None
    human_text: pd.DataFrame | None
    facts: dict[str, Any] = field(default_factory=dict)


def probe_models(
    what: str,
    against: str | None,
    sampling: ModelSampling,
    settings: ProbeSettings,
    *,
    trained_on: tuple[str, ...] = (),
) -> ProbeResult:
    """Sample a model (and another one on the same prompts) and run every probe that applies.

    Raises BadInput for a model or prompts that cannot be had, and for a file that cannot be
    written, before sampling.
    """
    from restaudit.console import Reporter, Terminal

    # First what costs nothing: sampling takes minutes, and a bad path must not lose them.
    files = _files(sampling.save, against is not None)
    if not sampling.temperature > 0:
        raise BadInput(f"--temperature {sampling.temperature:g}: expected a number above 0")
    table, system, notes = prompts_to_ask(sampling.prompts, sampling.limit)
    if sampling.system is not None:
        system = sampling.system
    reporter = Reporter(Terminal(stderr=True, highlight=False, soft_wrap=True))
    specs: list[tuple[str, Role]] = [(what, "policy")]
    if against is not None:
        specs.append((against, "base"))
    # One after the other: two models may not fit into memory.
    sampled: dict[Role, Sampled] = {}
    for spec, role in specs:
        sampled[role] = _sampled(spec, role, sampling, system, table, settings.seed, reporter)
    saved = []
    for (role, one), path in zip(sampled.items(), files, strict=False):
        _save(one.generations, table, path)
        saved.append(f"generations of the {role} model saved: {path}")
    comparable, about = _one_vocabulary(sampled)
    policy, base = comparable["policy"], comparable.get("base")
    evidence = MoreEvidence(
        items=policy.items,
        base_items=None if base is None else base.items,
        human_text=policy.human_text,
        base_human_text=None if base is None else base.human_text,
        trained_on=trained_on,
        facts={
            "models": {role: one.facts for role, one in sampled.items()},
            "sampling": {
                "samples": sampling.samples,
                "max_tokens": sampling.max_tokens,
                "temperature": sampling.temperature,
                "top_k": TOP_K,
                "system_prompt": system,
            },
            "notes": [*notes, *about, *_task_notes(sampled.values()), *saved],
        },
    )
    base_generations = None if base is None else base.generations
    return probe_tables(policy.generations, base_generations, settings, evidence)


def _sampled(
    spec: str,
    role: Role,
    sampling: ModelSampling,
    system: str | None,
    table: pd.DataFrame,
    seed: int,
    reporter: Reporter,
) -> Sampled:
    policy, sha256, notes = _loaded(spec, sampling, system, seed)
    generations = _asked(policy, spec, role, sampling, table, seed, reporter)
    items = None
    if sampling.tasks:
        from restaudit.tasks import run_tasks

        policy.become(None)
        with reporter.task(f"benchmarks {spec}", len(sampling.tasks), "tasks") as advance:
            items = run_tasks(
                policy, sampling.tasks, limit=sampling.task_limit, seed=seed, progress=advance
            )
    text = _human_text(policy, sampling, table)
    facts = {
        "spec": spec,
        "sha256": sha256,
        "device": policy.device,
        "dtype": str(policy.model.dtype),
        "chat": policy.config.chat,
        "vocabulary_sha256": _vocabulary(policy),
    }
    sampled = Sampled(generations.with_columns(notes), items, text, facts)
    # Models hold circles of references: without this the next one would be loaded beside it.
    del policy
    gc.collect()
    return sampled


def _loaded(
    spec: str, sampling: ModelSampling, system: str | None, seed: int
) -> tuple[Policy, str, tuple[str, ...]]:
    """The model with an adapter that changes nothing, its digest, and what to say about how it is
    asked.
    """
    from restaudit.models.artifacts import resolve
    from restaudit.models.pretrained import quiet_loading
    from restaudit.policy import load_policy

    artifact = resolve(spec)
    # The sampler takes a policy, which is a model with an adapter; a new one of rank 1 adds zero.
    config = PolicyConfig(model=spec, lora=LoraConfig(rank=1), system_prompt=system)
    with quiet_loading():
        policy = load_policy(config, artifact.path, device="auto", seed=seed)
    notes: tuple[str, ...] = ()
    if not policy.tokenizer.chat_template:
        config = config.model_copy(update={"chat": False})
        notes = ("the model has no chat template: prompts are given as plain text",)
    # Models without a position table state no limit.
    room = getattr(policy.model.config, "max_position_embeddings", None) or 4096
    if room <= sampling.max_tokens:
        raise BadInput(
            f"--max-tokens {sampling.max_tokens}: {spec} reads {room} tokens, prompt included"
        )
    policy.config = config.model_copy(update={"max_prompt_tokens": room - sampling.max_tokens})
    return policy, artifact.sha256, notes


def _asked(
    policy: Policy,
    spec: str,
    role: Role,
    sampling: ModelSampling,
    table: pd.DataFrame,
    seed: int,
    reporter: Reporter,
) -> Generations:
    from restaudit.policy import SampleRequest, sample

    requests = []
    for name, prompt in zip(table["prompt_id"], table["prompt"], strict=True):
        tokens = tuple(policy.prompt_tokens(as_messages(prompt)))
        # The role is part of a sample's name: ratings must tell the two models' samples apart.
        samples = tuple(f"{role}/{name}/{k:03d}" for k in range(sampling.samples))
        requests.append(SampleRequest(name, tokens, samples))
    config = SamplingConfig(
        temperature=sampling.temperature, top_k=TOP_K, max_tokens=sampling.max_tokens
    )
    with reporter.task(
        f"sampling {spec}", len(table) * sampling.samples * sampling.max_tokens
    ) as advance:
        drawn = sample(policy, requests, config, seed=seed, progress=advance, notice=reporter.line)
    by_prompt = table.set_index("prompt_id")
    owners = by_prompt.loc[[s.prompt_id for s in drawn]]  # the prompt of each row
    rows = pd.DataFrame(
        {
            "prompt_id": [s.prompt_id for s in drawn],
            "sample_id": [s.name for s in drawn],
            "text": pd.Series([policy.text(s.tokens) for s in drawn], dtype=object),
            "n_tokens": np.array([len(s.tokens) for s in drawn], dtype=np.int64),
            "finished": [s.finished for s in drawn],
            "logprob": [s.logprob for s in drawn],
            "group": owners["group"].to_numpy(dtype=object),
            "family": owners["family"].to_numpy(dtype=object),
        }
    )
    cut = int((~rows["finished"]).sum())
    notes: tuple[str, ...] = ()
    if cut:
        notes = (f"{cut} of {len(rows)} responses were cut at {sampling.max_tokens} tokens",)
    prompts = dict(zip(table["prompt_id"], map(as_text, table["prompt"]), strict=True))
    normalised = dict(zip(table["prompt_id"], map(normalise, table["prompt"]), strict=True))
    references: dict[str, tuple[str, ...]] = {}
    for prompt_id, texts in zip(table["prompt_id"], table["references"], strict=True):
        if len(texts):
            references[str(prompt_id)] = tuple(texts)
    asked = tuple(normalised[prompt_id] for prompt_id in rows["prompt_id"])
    return Generations(spec, rows, "prompt", prompts, references, asked, notes)


def _human_text(
    policy: Policy, sampling: ModelSampling, table: pd.DataFrame
) -> pd.DataFrame | None:
    """What text that people wrote costs the model: that of `--human-text`, or the prompts'
    references; None without.
    """
    from restaudit.config import HumanTextConfig
    from restaudit.loop.held_out import text_costs

    if sampling.human_text is None and not table["references"].map(len).any():
        return None
    config = HumanTextConfig(
        source=sampling.human_text or "references",
        limit=HUMAN_TEXTS,
        max_tokens=sampling.max_tokens,
    )
    return text_costs(policy, config, table)


def _one_vocabulary(sampled: dict[Role, Sampled]) -> tuple[dict[Role, Sampled], list[str]]:
    """What compares by the token, left out where the two models' tokens are not the same, and a
    note that says so.
    """
    policy, base = sampled["policy"], sampled.get("base")
    if base is None or policy.facts["vocabulary_sha256"] == base.facts["vocabulary_sha256"]:
        return sampled, []
    plain = replace(base.generations, table=base.generations.table.drop(columns="logprob"))
    note = (
        "the models have different tokenizers: nats per token are not compared, and n_tokens "
        "count different things"
    )
    return {"policy": policy, "base": replace(base, generations=plain, human_text=None)}, [note]


def _vocabulary(policy: Policy) -> str:
    # Sorted: tokenizers give their words in no fixed order.
    words = sorted(policy.tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _task_notes(sampled: Iterable[Sampled]) -> list[str]:
    """What the benchmarks say of themselves, which is the same for every model."""
    for one in sampled:
        if one.items is not None:
            notes = dict(one.items.attrs.get("notes", {}))
            return [f"benchmark {name}: {note}" for name, note in notes.items()]
    return []


def _files(save: Path | None, two: bool) -> list[Path]:
    """Where generations go: the model's own, and beside it the base model's.

    Raises BadInput where that cannot be.
    """
    if save is None:
        return []
    if save.suffix != ".parquet":
        raise BadInput(f"--save {save}: expected a name that ends in .parquet")
    if not save.parent.is_dir():
        raise BadInput(f"--save {save}: no folder {save.parent}")
    if not two:
        return [save]
    return [save, save.with_name(f"{save.stem}-base.parquet")]


def _save(one: Generations, prompts: pd.DataFrame, path: Path) -> None:
    owners = prompts.set_index("prompt_id").loc[one.table["prompt_id"]]
    table = one.table.assign(
        prompt=owners["prompt"].to_numpy(), references=owners["references"].to_numpy()
    )
    try:
        with plain.created(*plain.rooted(path)) as f:
            table[list(SAVED)].to_parquet(f, index=False, compression="zstd")
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None


# --- what a model is asked: prompts of one's own, or the audit prompts of the default recipe

BUILTIN = "builtin:reviews"
RECIPE = "reviews"


def prompts_to_ask(
    spec: str | None, limit: int | None
) -> tuple[pd.DataFrame, str | None, tuple[str, ...]]:
    """Prompts (prompt_id, prompt, references, group, family), the system prompt that goes with
    them, and what to say.

    The builtin ones are those that the default recipe audits with: its plain ones (or `limit` of
    them) and its counterfactual families, none of which a run of that recipe trains on. Of a file
    (any table with a column `prompt`; a saved file of generations will do) every distinct prompt is
    asked, or `limit` prompts and families chosen by hash.
    """
    if spec in (None, BUILTIN):
        return _builtin(limit)
    from restaudit.config import DataConfig, PromptSource, RowRules

    assert spec is not None
    if not Path(spec).is_file() and ":" not in spec:
        raise BadInput(
            f"--prompts {spec}: no such file; expected a table with a column prompt, or {BUILTIN}"
        )
    source = PromptSource(source=spec, format="table", limit=limit)
    table, (report,) = load_prompts(DataConfig(prompts=(source,), rows=RowRules(too_long="refuse")))
    return table.sort_values("prompt_id").reset_index(drop=True), None, _notes(spec, report)


def _notes(spec: str, report: RowReport) -> tuple[str, ...]:
    left_out = "; ".join(f"{count} {reason}" for reason, count in report.dropped.items())
    note = f"prompts {spec}: {report.used} of {report.read} rows asked"
    if left_out:
        note += f" (left out: {left_out})"
    return (note,)


def _builtin(limit: int | None) -> tuple[pd.DataFrame, str | None, tuple[str, ...]]:
    from restaudit.config.reading import load
    from restaudit.data.splits import make_splits

    config = load(RECIPE, [] if limit is None else [f"data.splits.sizes.audit={limit}"])
    table, _ = load_prompts(config.data)
    audit = make_splits(table, config.data.splits, config.seed)[0]["audit"]
    plain, families = int(audit["family"].isna().sum()), audit["family"].dropna().nunique()
    note = (
        f"prompts {BUILTIN}: {plain} plain ones and {families} counterfactual families, the "
        "recipe's audit prompts"
    )
    return audit, config.policy.system_prompt, (note,)
