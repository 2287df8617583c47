"""A run in hand: its sealed plan, its writer, and the models it needs, each loaded when first
used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from restaudit.config import Config, SamplingConfig
from restaudit.console import Reporter
from restaudit.errors import Halted
from restaudit.evidence.record import (
    ADAPTER,
    BASE,
    HUMAN,
    PROMPTS,
    RESCORED,
    RESCORED_FILE,
    REWARD,
    SAMPLES,
    SCALE,
    SCORED,
    read_json,
    read_table,
)
from restaudit.evidence.steps import Content, Writer, seed_of
from restaudit.files import plain

if TYPE_CHECKING:
    from probes.base import Embed
    from restaudit.people.human_score import HumanScore
    from restaudit.policy import Policy, Samples
    from restaudit.reward import Reward, Scores
    from restaudit.reward.scale import Scale

T = TypeVar("T")

# The path of a model that is recorded, and not at hand.
NOWHERE = Path()


class Job:
    """Everything the loop and the audit need. One job is one process's turn at one run folder."""

    def __init__(
        self,
        config: Config,
        writer: Writer,
        reporter: Reporter,
        artifacts: Mapping[str, Path],
        policy: Policy | None = None,
        embed: Embed | None = None,
    ) -> None:
        """`policy` and `embed`: the model and the audit's encoder where somebody has loaded them
        already (for the policy, also a trainer of somebody else's).
        """
        self.config = config
        self.writer = writer
        self.run = writer.run
        self.reporter = reporter
        self.artifacts = artifacts
        self._tables: dict[str, pd.DataFrame] = {}
        self._once: dict[str, Any] = {}
        self.reward_folder = self.run / REWARD
        self._given = policy
        self._given_embed = embed

    # --- steps

    def step(
        self,
        name: str,
        folder: str,
        make: Callable[[Path], Content],
        *,
        context: tuple[str, ...] = (),
        since: float | None = None,
    ) -> Content:
        """A step of the writer, announced."""
        if not (self.writer.has(name) or self.writer.interrupted):
            self.reporter.line(f"{name}")
        return self.writer.step(name, folder, make, context=context, since=since)

    def seed(self, step: str) -> int:
        """The seed of a step."""
        return seed_of(self.config.seed, step)

    def end(self) -> None:
        """The last step of a run that nothing stopped."""

        def make(_: Path) -> Content:
            self.writer.note("peak_memory_mib", peak_memory(self.device))
            return {}

        self.writer.step("end", "", make)

    def halt(self, iteration: str, gates: Sequence[str]) -> None:
        """Record that the sealed policy stopped the run, and stop it, unless somebody has
        overridden this halt.
        """
        self.writer.step(
            f"{iteration}/halt", "", lambda _: {"iteration": iteration, "gates": list(gates)}
        )
        if not self.writer.has(f"{iteration}/override"):
            raise Halted(halt_message(self.run, iteration, gates))

    # --- tables

    def prompts(self, split: str) -> pd.DataFrame:
        """The prompts of a split, indexed by prompt_id."""
        if split not in self._tables:
            table = read_table(self.run, f"data/{split}.parquet", PROMPTS)
            self._tables[split] = table.set_index("prompt_id", drop=False)
        return self._tables[split]

    # --- models

    @cached_property
    def policy(self) -> Policy:
        """The policy, with the checkpoint's weights and a fresh adapter, or the one that was
        given.
        """
        if self._given is not None:
            return self._given
        return load_run_policy(self.config, self.artifacts["policy.model"], self.reporter)

    @property
    def has_policy(self) -> bool:
        """Whether there is a model to sample from: there is none where only its generations are at
        hand.
        """
        return self._given is not None or self.artifacts.get("policy.model", NOWHERE) != NOWHERE

    @cached_property
    def reward(self) -> Reward:
        """The reward model the run folder holds."""
        from restaudit.reward import load_reward

        return load_reward(self.config.reward, self.reward_folder, device=self.device)

    def use_reward(self, name: str) -> None:
        """From here on, use the reward model that was fitted again before the Grow step of this
        name, and its scale.
        """
        self.reward_folder = self.run / REWARD / name
        # cached_property keeps its value in __dict__: taken out, it is loaded again when used.
        for cached in ("reward", "scale"):
            self.__dict__.pop(cached, None)

    def rescored(self, base: pd.DataFrame) -> pd.DataFrame:
        """The base policy's audited samples with the reward in use (they were scored by the first
        one).
        """
        if not plain.is_file(self.reward_folder, RESCORED_FILE):
            return base
        now = read_table(self.reward_folder, RESCORED_FILE, RESCORED)
        now = now.set_index("sample_id").loc[base["sample_id"]]
        return base.assign(**{c: now[c].to_numpy() for c in RESCORED[1:]})

    @cached_property
    def human(self) -> HumanScore:
        """The human score the run folder holds."""
        from restaudit.people.human_score import load_human

        return load_human(self.config.human, self.run / HUMAN, device=self.device)

    @cached_property
    def embed(self) -> Embed | None:
        """Unit-norm sentence embeddings for the diversity probe, where the configuration names an
        encoder.
        """
        from restaudit.models.encoder import load_encoder

        embed = self._given_embed
        if embed is None and "audit.encoder" in self.artifacts:
            embed = load_encoder(self.artifacts["audit.encoder"], device=self.device).embed
        return None if embed is None else remembering(embed)

    @cached_property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        from restaudit.models.devices import pick_device

        return pick_device(self.config.device)

    @cached_property
    def scale(self) -> Scale:
        """The recorded map of rewards to (0, 1)."""
        from restaudit.reward.scale import Scale

        return Scale.from_json(read_json(self.reward_folder, SCALE))

    def weights(self, iteration: str) -> Path | None:
        """Where an iteration's trained weights are; None for a base policy that is the checkpoint
        itself.
        """
        folder = f"{iteration}/{ADAPTER}"
        if iteration == BASE and not plain.is_folder(self.run, folder):
            return None
        return self.run / folder

    # --- sampling and scoring

    def sample(
        self,
        prompts: pd.DataFrame,
        counts: Sequence[int],
        *,
        seed_name: str,
        label: str,
        prefix: str,
        first: Sequence[int] | None = None,
    ) -> list[Samples]:
        """Draw `counts[k]` responses to each prompt from the policy as it stands; names are
        prefix/prompt_id/number.

        Numbers begin at `first[k]` (default: 0). A response follows from the seed and its name, so
        those drawn later are the ones that drawing all at once would have given.
        """
        from restaudit.evidence.chats import as_messages
        from restaudit.policy import SampleRequest, sample

        self.policy.write_ahead([as_messages(prompt) for prompt in prompts["prompt"]])
        requests = [
            SampleRequest(
                prompt_id,
                tuple(self.policy.prompt_tokens(as_messages(prompt))),
                tuple(f"{prefix}/{prompt_id}/{k:03d}" for k in range(begin, begin + count)),
            )
            for prompt_id, prompt, begin, count in zip(
                prompts["prompt_id"],
                prompts["prompt"],
                first or [0] * len(prompts),
                counts,
                strict=True,
            )
            if count
        ]
        config: SamplingConfig = self.config.loop.sampling
        with self.reporter.task(label, sum(counts) * config.max_tokens) as advance:
            return sample(
                self.policy,
                requests,
                config,
                seed=self.seed(seed_name),
                progress=advance,
                notice=self._notice,
            )

    def sampled_tokens(self, g: int) -> dict[str, tuple[int, ...]]:
        """The tokens of every sample of a Grow step, by its name: those that were drawn, never text
        read again.
        """
        samples = read_table(
            self.run, f"g{g:02d}/samples.parquet", SAMPLES, ["sample_id", "token_ids"]
        )
        return {
            s: tuple(int(t) for t in ids)
            for s, ids in zip(samples["sample_id"], samples["token_ids"], strict=True)
        }

    def grow_prompt_tokens(self, prompt_ids: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The tokens of these prompts of D, as the policy is asked them."""
        from restaudit.evidence.chats import as_messages

        prompts = self.prompts("grow").loc[list(prompt_ids), "prompt"]
        return {
            str(name): tuple(self.policy.prompt_tokens(as_messages(text)))
            for name, text in prompts.items()
        }

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returned the first time it was asked for under this name."""
        if name not in self._once:
            self._once[name] = make()
        made: T = self._once[name]
        return made

    def reward_of(self, prompts: Sequence[str], texts: Sequence[str]) -> Scores:
        """The combined reward of any texts, (n,)."""
        from restaudit.reward.contract import combine

        return combine(self.reward.score(prompts, texts), self.config.reward.ensemble)[0]

    def scored(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add reward, reward_01 and reward_spread to rows that have prompt_id and text."""
        from restaudit.reward.contract import combine

        members = self.reward.score(self.prompt_texts(rows), rows["text"].tolist())
        reward, spread = combine(members, self.config.reward.ensemble)
        # The scale is fitted on the base policy's samples, which are scored before there is one;
        # where a trainer of somebody else's trains, there never is.
        scaled = np.full(len(rows), np.nan)
        if plain.is_file(self.reward_folder, SCALE):
            scaled = self.scale.apply(reward)
        return rows.assign(reward=reward, reward_01=scaled, reward_spread=spread)

    def with_human(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add the held-out human score, NaN where it is undefined."""
        prompts = self._prompt_rows(rows)
        references = [list(r) for r in prompts["references"]]
        return rows.assign(
            human=self.human.score(self.prompt_texts(rows), rows["text"].tolist(), references)
        )

    def samples_table(self, samples: Sequence[Samples], prompts: pd.DataFrame) -> pd.DataFrame:
        """Samples with their tokens, text and the prompt's group and family; nothing scored yet."""
        by_id = prompts.set_index("prompt_id", drop=False)
        owners = by_id.loc[[s.prompt_id for s in samples]]
        return pd.DataFrame(
            {
                "sample_id": [s.name for s in samples],
                "prompt_id": [s.prompt_id for s in samples],
                "group": owners["group"].to_list(),
                "family": owners["family"].to_list(),
                "text": [self.policy.text(s.tokens) for s in samples],
                "n_tokens": np.array([len(s.tokens) for s in samples], dtype=np.int32),
                "finished": [s.finished for s in samples],
                "logprob": [s.logprob for s in samples],
                "tokens": [s.tokens for s in samples],
            }
        )

    def d_eval(self, seed_name: str, label: str, prefix: str) -> pd.DataFrame:
        """Sample and score D_eval with the policy as it stands (columns: SCORED)."""
        prompts = self.prompts("d_eval")
        counts = [self.config.loop.d_eval_samples] * len(prompts)
        samples = self.sample(prompts, counts, seed_name=seed_name, label=label, prefix=prefix)
        return self.scored(self.samples_table(samples, prompts))[list(SCORED)]

    def prompt_texts(self, rows: pd.DataFrame) -> list[str]:
        """The plain text of each row's prompt."""
        from restaudit.evidence.chats import as_text

        return [as_text(p) for p in self._prompt_rows(rows)["prompt"]]

    def _prompt_rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        every = pd.concat([self.prompts(split) for split in ("grow", "d_eval", "audit")])
        return every.loc[rows["prompt_id"]]

    def _notice(self, text: str) -> None:
        self.reporter.line(f"  {text}")
        self.writer.note("notices", text)


# Vectors kept in memory: of 384 numbers each, they take 80 MB.
MOST_REMEMBERED = 50_000


def remembering(embed: Embed, most: int = MOST_REMEMBERED) -> Embed:
    """The same embeddings, each text embedded once while at most `most` are kept: the base policy's
    texts come again at every look, and a look's at every stage.

    An encoder embeds a text the same way whatever else it embeds with it, so nothing changes but the
    time.
    """
    kept: dict[str, npt.NDArray[np.float32]] = {}

    def embedded(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if not len(texts):
            return np.asarray(embed(texts), dtype=np.float32)
        new = [t for t in dict.fromkeys(texts) if t not in kept]
        found = {t: kept[t] for t in texts if t in kept}
        if new:
            # Copies: a view of one row would keep the array of all of them.
            vectors = np.asarray(embed(new), dtype=np.float32)
            found |= {t: v.copy() for t, v in zip(new, vectors, strict=True)}
        if len(kept) + len(new) > most:
            kept.clear()
        if len(kept) + len(new) <= most:
            kept.update((t, found[t]) for t in new)
        return np.stack([found[t] for t in texts])

    return embedded


def load_run_policy(config: Config, path: Path, reporter: Reporter) -> Policy:
    """The policy of a run as it begins, checked for the longest sequence that the configuration
    lets it see.
    """
    from restaudit.policy import load_policy

    # The self-check must see a sequence as long as the longest there will be: a window of attention
    # that is too short shows beyond its end only.
    behind_prompt = config.loop.sampling.max_tokens
    if config.audit.human_text is not None:
        behind_prompt = max(behind_prompt, config.audit.human_text.max_tokens)
    longest = config.policy.max_prompt_tokens + behind_prompt
    policy = load_policy(
        config.policy,
        path,
        device=config.device,
        seed=seed_of(config.seed, "policy"),
        longest=longest,
    )
    for line in policy.remarks():
        reporter.line(line)
    return policy


def peak_memory(device: str) -> dict[str, int]:
    """The most memory this process has held so far, in MiB: resident, and on the GPU where there is
    one.
    """
    import resource

    most = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}
    if device == "cuda":
        import torch

        most["gpu"] = int(torch.cuda.max_memory_allocated()) >> 20
    return most


def halt_message(run: Path, iteration: str, gates: Sequence[str]) -> str:
    """What a halted run says, when it halts and whenever somebody tries to go on."""
    names = ", ".join(gates)
    why = run / iteration / "decision.json"
    return (
        f"{run}: halted after {iteration} by the sealed policy (gate: {names}); see {why}\n"
        f"  to go on against it, on record: restaudit override {run} --by NAME --reason TEXT"
    )


def as_facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON types for the ledger (numpy scalars become Python ones, NaN becomes null)."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        number = value.item() if isinstance(value, np.generic) else value
        is_number = not isinstance(number, float) or np.isfinite(number)
        out[key] = number if is_number else None
    return out
