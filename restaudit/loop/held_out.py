"""What an audit reads beside its prompts: benchmark items and held-out human text, stored with the
iteration.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from restaudit.config import AuditConfig, BenchmarksConfig, HumanTextConfig, TableSource
from restaudit.errors import BadInput
from restaudit.evidence.record import BASE, ITEMS, read_table, write_table
from restaudit.files import plain
from restaudit.loop.job import Job
from restaudit.models.artifacts import Artifact, resolve

if TYPE_CHECKING:
    from restaudit.policy import Policy


ITEMS_FILE = "items.parquet"
TEXT_FILE = "human_text.parquet"
HUMAN_TEXT = ("text_id", "text", "nll", "n_tokens")


@dataclass(frozen=True)
class HeldOut:
    """This policy's tables and the base policy's (None for the base policy itself, and where
    nothing was asked for).
    """

    items: pd.DataFrame | None = None
    base_items: pd.DataFrame | None = None
    human_text: pd.DataFrame | None = None
    base_human_text: pd.DataFrame | None = None


def held_out_artifacts(audit: AuditConfig) -> dict[str, Artifact]:
    """The files of benchmarks and human text, fetched and checked before a run begins, by the key
    that asks for them.

    Raises BadInput for a benchmark nobody knows, and for data that cannot be had.
    """
    files: dict[str, Artifact] = {}
    if audit.benchmarks.tasks:
        # Loading the catalogue takes a while, and most runs have no benchmarks.
        from restaudit.tasks import artifacts

        for name, artifact in artifacts(audit.benchmarks.tasks).items():
            files[f"audit.benchmarks/{name}"] = artifact
    text = audit.human_text
    if text is not None and text.source != "references":
        files["audit.human_text"] = resolve(text.source, sha256=text.sha256, licence=text.licence)
    return files


def check_benchmarks(config: BenchmarksConfig) -> None:
    """Raise BadInput for a task of lm-eval that it does not know or cannot load; those of our own
    were found with their data (`held_out_artifacts`).
    """
    from restaudit.tasks import lm_eval_tasks
    from restaudit.tasks.catalogue import find

    folder = _own_tasks(config)
    for spec in config.tasks:
        if find(spec) is None:
            lm_eval_tasks.load(spec, folder)


def held_out(
    job: Job, iteration: str, out: Path, *, policy: str, look: int, looks: Sequence[str]
) -> HeldOut:
    """Run what the configuration asks for at this look on the policy as it stands; writes the
    tables into `out`, unless an earlier step of this look has recorded them.

    A policy that is the base policy itself (best-of-N) gets the base policy's tables. A table that
    is not due at this look is empty and says why in `attrs["reason"]`.
    """
    config = job.config.audit
    items = text = None
    seconds: dict[str, float] = {}
    if config.benchmarks.tasks:
        began = time.perf_counter()
        items = _items(job, iteration, out, policy, look, looks)
        seconds["benchmark items"] = time.perf_counter() - began
    if config.human_text is not None:
        began = time.perf_counter()
        text = _human_text(job, iteration, out, policy, look, looks)
        seconds["human text"] = time.perf_counter() - began
    if seconds:
        job.writer.note("probe_seconds", {k: round(v, 4) for k, v in seconds.items()})
    if iteration == BASE:
        return HeldOut(items, None, text, None)
    return HeldOut(
        items, _of_base(job, ITEMS_FILE, ITEMS), text, _of_base(job, TEXT_FILE, HUMAN_TEXT)
    )


def _items(
    job: Job, iteration: str, out: Path, policy: str, look: int, looks: Sequence[str]
) -> pd.DataFrame:
    config = job.config.audit.benchmarks
    if (reason := _not_due("audit.benchmarks", config.when, look, looks)) is not None:
        return _empty(ITEMS, reason)
    if _is_recorded(job, f"{iteration}/{ITEMS_FILE}"):
        return read_table(job.run, f"{iteration}/{ITEMS_FILE}", ITEMS)
    from restaudit.tasks import run_tasks

    if policy == BASE != iteration:
        # Best-of-N leaves the policy as it is, and a benchmark asks for no best of N.
        table = read_table(job.run, f"{BASE}/{ITEMS_FILE}", ITEMS)
    else:
        with job.reporter.task(f"benchmarks {iteration}", len(config.tasks), "tasks") as advance:
            table = run_tasks(
                job.policy,
                config.tasks,
                limit=config.limit,
                # One seed for all looks: every policy is asked the same items, so that their
                # differences are paired.
                seed=job.seed("benchmarks"),
                include_path=_own_tasks(config),
                progress=advance,
            )
    write_table(table, out / ITEMS_FILE, ITEMS)
    return table


def _human_text(
    job: Job, iteration: str, out: Path, policy: str, look: int, looks: Sequence[str]
) -> pd.DataFrame:
    config = job.config.audit.human_text
    assert config is not None
    if (reason := _not_due("audit.human_text", config.when, look, looks)) is not None:
        return _empty(HUMAN_TEXT, reason)
    if _is_recorded(job, f"{iteration}/{TEXT_FILE}"):
        return read_table(job.run, f"{iteration}/{TEXT_FILE}", HUMAN_TEXT)
    if policy == BASE != iteration:
        table = read_table(job.run, f"{BASE}/{TEXT_FILE}", HUMAN_TEXT)
    else:
        table = text_costs(job.policy, config, job.prompts("audit"))
    write_table(table, out / TEXT_FILE, HUMAN_TEXT)
    return table


def _is_recorded(job: Job, name: str) -> bool:
    """Whether an earlier step of this look has read it: one that asked whether people are needed
    on.
    """
    return any(name in e.outputs for e in job.writer.events)


def _own_tasks(config: BenchmarksConfig) -> Path | None:
    return Path(config.include_path) if config.include_path else None


def _not_due(
    key: str, when: Literal["ends", "every"], look: int, looks: Sequence[str]
) -> str | None:
    if when == "every" or look in (0, len(looks)):
        return None
    return (
        f"{key}.when is 'ends': measured for the base policy and at the last planned look "
        f"({looks[-1]}) only"
    )


def _empty(columns: Sequence[str], reason: str) -> pd.DataFrame:
    table = pd.DataFrame(columns=list(columns))
    table.attrs["reason"] = reason
    return table


def _of_base(job: Job, name: str, columns: Sequence[str]) -> pd.DataFrame | None:
    place = f"{BASE}/{name}"
    return read_table(job.run, place, columns) if plain.is_file(job.run, place) else None


# --- held-out human text: which texts, and what each costs a policy


@dataclass(frozen=True)
class HumanTexts:
    """Texts that people wrote, as chosen: `prompts[k]` is what text k answers, None where it stands
    alone.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    prompts: tuple[str | None, ...]


def text_costs(policy: Policy, config: HumanTextConfig, prompts: pd.DataFrame) -> pd.DataFrame:
    """The table the drift probe reads (columns: HUMAN_TEXT), for the policy with the weights it has
    now.

    `prompts` are the audit prompts (columns: PROMPTS), for `source: references`.
    """
    from restaudit.evidence.chats import as_messages

    chosen = human_texts(config, prompts)
    contexts: list[list[int]] | None = None
    if config.source == "references":
        contexts = [policy.prompt_tokens(as_messages(str(prompt))) for prompt in chosen.prompts]
    costs = nll_of(policy, chosen.texts, contexts=contexts, max_tokens=config.max_tokens)
    return pd.DataFrame(
        {
            "text_id": chosen.names,
            "text": chosen.texts,
            "nll": [nats for nats, _ in costs],
            "n_tokens": [count for _, count in costs],
        }
    )


def human_texts(config: HumanTextConfig, prompts: pd.DataFrame) -> HumanTexts:
    """At most `limit` texts, chosen by hash, so that every policy is asked about the same ones.

    With `source: references` they are human references of `prompts` (columns: PROMPTS), each after
    its prompt; otherwise they stand alone. Raises BadInput as `read_texts` does, and where no
    prompt has a reference.
    """
    if config.source != "references":
        texts = read_texts(config)
        names = tuple(_digest(text)[:16] for text in texts)
        return HumanTexts(names, tuple(texts), (None,) * len(texts))
    pairs = []
    for prompt, references in zip(prompts["prompt"], prompts["references"], strict=True):
        pairs += [(str(prompt), str(text)) for text in references]
    if not pairs:
        raise BadInput(
            "audit.human_text.source is 'references', but no audit prompt has a human reference"
        )
    digests = {pair: _digest("\0".join(pair)) for pair in pairs}
    chosen = sorted(pairs, key=lambda pair: digests[pair])[: config.limit]
    return HumanTexts(
        names=tuple(digests[pair][:16] for pair in chosen),
        texts=tuple(text for _, text in chosen),
        prompts=tuple(prompt for prompt, _ in chosen),
    )


def read_texts(config: HumanTextConfig) -> list[str]:
    """At most `limit` different texts of the source, chosen by hash; HTML line breaks and runs of
    blanks become spaces.

    Raises BadInput where the source cannot be read, has no such column, or no text.
    """
    from restaudit.data.tables import open_source, pick

    source = TableSource(
        source=config.source,
        sha256=config.sha256,
        licence=config.licence,
        columns={"text": config.column},
    )
    opened = open_source(source)
    texts = {_plain(str(pick(row, "text", source))) for row in opened.rows()}
    chosen = sorted(texts - {""}, key=_digest)[: config.limit]
    if not chosen:
        raise BadInput(
            f"audit.human_text.source {config.source}: column '{config.column}' holds no text"
        )
    return chosen


def nll_of(
    policy: Policy,
    texts: Sequence[str],
    *,
    contexts: Sequence[Sequence[int]] | None = None,
    max_tokens: int = 256,
    forward_tokens: int | None = None,
) -> list[tuple[float, int]]:
    """(negative log-likelihood in nats, number of tokens) of the first `max_tokens` tokens of each
    text.

    `contexts` are token ids that come before each text, for example its prompt's; without them it
    is the token that starts a text (the tokenizer's own, or its end token). No end token is asked
    for. The weights are the policy's present ones. Raises BadInput for a text without tokens.
    """
    from restaudit.policy.likelihood import loglikelihoods

    # Many tokenizers have no token that starts a text; their models saw the end of one text before
    # the start of the next.
    start = policy.tokenizer.bos_token_id
    if start is None:
        start = policy.tokenizer.eos_token_id
    tokens = text_tokens(policy, texts, max_tokens)
    if contexts is None:
        contexts = [(int(start),)] * len(tokens)
    befores = [tuple(context) for context in contexts]
    pairs = list(zip(befores, tokens, strict=True))
    likelihoods = loglikelihoods(policy, pairs, forward_tokens=forward_tokens)
    return [(-nats, len(own)) for (nats, _), own in zip(likelihoods, tokens, strict=True)]


def text_tokens(policy: Policy, texts: Sequence[str], max_tokens: int) -> list[tuple[int, ...]]:
    """The first `max_tokens` tokens of each text. Raises BadInput for a text without tokens."""
    tokens = []
    for number, text in enumerate(texts):
        ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"][:max_tokens]
        if not ids:
            raise BadInput(f"human text {number}: has no tokens; expected a text")
        tokens.append(tuple(int(token) for token in ids))
    return tokens


def _plain(text: str) -> str:
    return " ".join(re.sub(r"<br\s*/?>", " ", text, flags=re.IGNORECASE).split())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
