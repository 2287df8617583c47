"""A reward model without a ReST run: the part of a configuration it needs, and the folder it lives
in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from restaudit.config import DataConfig, RewardConfig, RowRules, TrainedReward
from restaudit.config.reading import read, validated
from restaudit.config.section import Section
from restaudit.errors import BadInput
from restaudit.evidence.named_code import may_run, remember
from restaudit.evidence.record import (
    BASE,
    PLAN,
    PROMPTS,
    REWARD,
    Run,
    is_run,
    json_bytes,
    read_json,
    read_table,
    write_json,
)
from restaudit.evidence.steps import seed_of
from restaudit.files import plain
from restaudit.reward.dossier import FILE

if TYPE_CHECKING:
    from restaudit.reward.contract import Reward, Scores

CONFIG = "reward.json"
LEAKAGE = "leakage.json"


class RewardAlone(Section):
    """What a reward model needs of a configuration; `seed` is the run's, so a run would train the
    same weights.

    `data`, where there is one, is the run's: its prompts must not be in the reward's data.
    """

    reward: RewardConfig
    seed: int = Field(0, ge=0, le=2**31 - 1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    rows: RowRules = RowRules()
    data: DataConfig | None = None

    def build(self, out: Path) -> Reward:
        """Train or load the reward and write what describes it, and this configuration, into a new
        folder.

        Raises BadInput where the folder already holds a reward model, or something cannot be used.
        """
        from restaudit.models.devices import pick_device
        from restaudit.reward import build_reward

        # What is trained here, libraries write by its path.
        if FILE in plain.names(out):
            raise BadInput(f"{out}: already holds a reward model; name another folder with --out")
        # Before training, which may take hours: leakage refuses.
        leaked = self._leaked()
        reward = build_reward(
            self.reward,
            out,
            rules=self.rows,
            device=pick_device(self.device),
            seed=seed_of(self.seed, REWARD),
        )
        # Only now: a folder that holds a configuration is one whose training came to its end.
        sealed = json_bytes(self.model_dump(mode="json"))
        plain.write(out, CONFIG, sealed)
        remember(out, sealed, {"reward": self.reward.model_dump(mode="json")})
        if leaked is not None:
            write_json(leaked, out / LEAKAGE)
        return reward

    def _leaked(self) -> dict[str, Any] | None:
        from restaudit.reward.leakage import leakage, split_apart

        if self.data is None:
            return None
        splits, _, _ = split_apart(self.data, self.reward, self.rows, self.seed)
        return leakage(self.reward, self.rows, self.data.splits, splits)


def configured(name_or_file: str, overrides: list[str]) -> RewardAlone:
    """The reward of a recipe, of a run's configuration, or of a file with only `reward` (and seed,
    device, rows).
    """
    raw, where = read(name_or_file, overrides)
    data = raw.get("data")
    sections = ("reward", "seed", "device", "rows", "data")
    own: dict[str, Any] = {key: raw[key] for key in sections if key in raw}
    # A run's configuration has the row rules under `data`.
    if isinstance(data, dict) and "rows" in data:
        own.setdefault("rows", data["rows"])
    return validated(RewardAlone, own, where)


def opened(path: Path) -> tuple[RewardAlone, Path]:
    """The configuration and the reward folder of a run, or of a folder that `restaudit reward
    train` wrote.
    """
    if is_run(path):
        # Libraries open weights by their path, so all of it is looked at before.
        plain.names(path, REWARD)
        # The sealed plan, and not a file beside it: it is what the run was judged under.
        plan = Run(path).plan["config"]
        own = {key: plan[key] for key in ("reward", "seed", "device") if key in plan}
        if isinstance(data := plan.get("data"), dict) and "rows" in data:
            own["rows"] = data["rows"]
        return validated(RewardAlone, own, f"{path}/plan.json"), path / REWARD
    if plain.is_file(path, CONFIG):
        plain.names(path)
        return validated(RewardAlone, read_json(path, CONFIG), str(path / CONFIG)), path
    raise BadInput(
        f"{path}: neither a run folder nor a reward model; expected plan.json, or {CONFIG} as "
        "`restaudit reward train` writes it"
    )


def refitted(run: Path, grow: str) -> Path:
    """The folder of a run's reward as it was fitted again before a Grow step ("g02").

    Raises BadInput where there is none, naming those that there are.
    """
    known = [name for name, _ in Run(run).refits()]
    if grow not in known:
        there = f"there are: {', '.join(known)}" if known else "this run never did that"
        raise BadInput(f"{run}: its reward was not fitted again before {grow}; {there}")
    return run / REWARD / grow


def loaded(path: Path, code: Collection[str] = ()) -> Reward:
    """The reward of a run, or of a folder that `restaudit reward train` wrote.

    Raises BadInput where it is a callable that this user neither began with nor names in `code`.
    """
    from restaudit.models.devices import pick_device
    from restaudit.reward import load_reward

    alone, where = opened(path)
    sealed = PLAN if where != path else CONFIG
    may_run(path, sealed, {"reward": alone.reward.model_dump(mode="json")}, code)
    return load_reward(alone.reward, where, device=pick_device(alone.device))


def scorer(
    path: Path, code: Collection[str] = ()
) -> Callable[[Sequence[str], Sequence[str]], Scores]:
    """The combined reward of any texts, (n,): a function of (prompts, texts). Raises as `loaded`
    does.
    """
    from restaudit.reward.contract import combine

    alone, _ = opened(path)
    reward = loaded(path, code)
    # The combined reward, as training used it: an exploit of one member that the others outvote is
    # none.
    return lambda prompts, texts: combine(reward.score(prompts, texts), alone.reward.ensemble)[0]


@dataclass(frozen=True)
class RealTexts:
    """Real texts to test a reward on: what they are, and people's judgement of each where there is
    one (n,).
    """

    prompts: list[str]
    texts: list[str]
    about: str
    human: npt.NDArray[np.float64] | None = None
    human_is: str | None = None


def texts_of(alone: RewardAlone, path: Path, file: Path | None) -> RealTexts:
    """The texts of a file, a run's audited base policy, or held-out training items; BadInput where
    there are none.
    """
    from restaudit.evidence.chats import as_text

    if file is not None:
        from restaudit.data.generations import read_generations

        given = read_generations(file)
        return RealTexts(given.by_row, given.table["text"].tolist(), f"the texts of {file.name}")
    if is_run(path) and plain.is_file(path, f"{BASE}/audit.parquet"):
        run = Run(path)
        rows = run.audit(BASE, ["prompt_id", "text", "human"])
        asked = read_table(path, "data/audit.parquet", PROMPTS).set_index("prompt_id")
        # Tables of samples hold ids only; the prompts were recorded once.
        by_id = asked["prompt"].map(as_text)
        prompts, texts = by_id.loc[rows["prompt_id"]].tolist(), rows["text"].tolist()
        about = "the base policy's audited samples"
        # Texts that nobody judged are tested all the same; only the largest errors need a
        # judgement.
        if rows["human"].isna().all():
            return RealTexts(prompts, texts, about)
        label = run.scores(BASE)["human"]["label"]
        return RealTexts(prompts, texts, about, rows["human"].to_numpy(np.float64), label)
    if isinstance(alone.reward, TrainedReward):
        from restaudit.data.feedback import load_feedback
        from restaudit.reward.examples import examples

        feedback = load_feedback(alone.reward.data, alone.rows, ties=alone.reward.ties)
        rows = examples(
            feedback.kind,
            feedback.table,
            objective=alone.reward.objective,
            train_raters=alone.reward.train_raters,
            held_out_share=alone.reward.held_out_share,
        ).table
        # On its own training texts a reward is at its best, and its faults are hardest to see.
        held_out = rows[rows["split"] == "held_out"]
        prompts, texts = held_out["prompt"].tolist(), held_out["left"].tolist()
        about = "held-out texts of its own data"
        # Who won a comparison says nothing of a text by itself.
        if feedback.kind == "pairs":
            return RealTexts(prompts, texts, about)
        judged = held_out["judged"].to_numpy(np.float64)
        return RealTexts(prompts, texts, about, judged, "held-out judgements")
    raise BadInput(
        f"{path}: no texts to test this reward on; name a file with --texts (column text, perhaps "
        "prompt)"
    )
