"""Scores for texts that came without: a callable of one's own for reward or human score, and an
encoder when needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.base import Array, Score
from probes.base import Scorer as TextScorer
from probes.rows import numbers
from restaudit.data.generations import Generations
from restaudit.errors import BadInput

if TYPE_CHECKING:
    from restaudit.models.encoder import Encoder
    from restaudit.reward.python import ImportedCallable

# Rows of a file whose rewards are computed again to see whether they are the function's own.
CHECKED = 64
DEFAULT_RECIPE = "reviews"


@dataclass(frozen=True)
class RewardFunction:
    """A reward as a function: its name, its file's digest, and (prompts, texts) -> reward and
    spread.

    `asks_prompts` says whether it looks at the prompts.
    """

    name: str
    sha256: str
    asks_prompts: bool
    both: Callable[[Sequence[str], Sequence[str]], tuple[Array, Array]]

    @property
    def score(self) -> Score:
        """Rewards only, as Evidence.score wants them."""
        return lambda prompts, texts: self.both(prompts, texts)[0]


def reward_function(name: str) -> RewardFunction:
    """Import `package.module:callable`; several columns are members of an ensemble, and their mean
    is the reward.
    """
    from restaudit.config import EnsembleConfig
    from restaudit.evidence.ledger import digest_file
    from restaudit.reward.contract import combine, finite
    from restaudit.reward.python import import_scorer

    scorer = import_scorer(name, "--reward")

    def both(prompts: Sequence[str], texts: Sequence[str]) -> tuple[Array, Array]:
        if not len(texts):
            return np.empty(0), np.empty(0)
        values = finite(scorer.values(prompts, texts), texts, name)
        return combine(values, EnsembleConfig(size=values.shape[1]))

    return RewardFunction(name, digest_file(scorer.source).sha256, scorer.arguments > 1, both)


def rewarded(one: Generations, function: RewardFunction) -> Generations:
    """The generations with the function's rewards where they have none; where they have some, those
    must be its own.

    Raises BadInput where one of up to 64 rewards of the file is not what the function gives: reward
    and text changes scored by two different rewards cannot be compared.
    """
    table = one.table
    _prompts_known(one, "--reward", function.name, function.asks_prompts)
    have = np.flatnonzero(~np.isnan(numbers(table, "reward")))
    if not have.size:
        reward, spread = function.both(one.by_row, table["text"].tolist())
        columns = {"reward": reward}
        # One column of scores is no ensemble, and has no spread.
        if not np.isnan(spread).all():
            columns["reward_spread"] = spread
        note = f"reward computed by {function.name} for all {len(table)} rows"
        return one.with_columns((note,), **columns)
    # Evenly over the file: rewards of another function may begin anywhere.
    places = np.linspace(0, len(have) - 1, min(CHECKED, len(have))).astype(int)
    some = have[np.unique(places)]
    prompts = one.by_row
    got = function.both([prompts[i] for i in some], table["text"].iloc[some].tolist())[0]
    own = numbers(table, "reward")[some]
    # Loosely, since files round, and another batch or device changes the last digits of a model.
    off = np.flatnonzero(~np.isclose(got, own, rtol=1e-3, atol=1e-3))
    if off.size:
        row = int(some[off[0]])
        raise BadInput(
            f"{one.source}: sample {table['sample_id'].iloc[row]!r} has reward {own[off[0]]:g} in "
            f"the file and {got[off[0]]:g} by {function.name}; leave --reward out, or the column, "
            "so that there is one reward"
        )
    note = (
        f"reward is the file's own; {function.name} agrees with it on {len(some)} rows that "
        "were compared"
    )
    return one.with_columns((note,))


def judged(one: Generations, name: str) -> Generations:
    """The generations with the human score that the callable simulates, NaN where it says
    undefined.
    """
    from restaudit.people.human_score import simulated_scores
    from restaudit.reward.python import import_scorer

    scorer: ImportedCallable = import_scorer(name, "--human")
    if "human" in one.table.columns and one.table["human"].notna().any():
        raise BadInput(
            f"{one.source} has human scores of its own; leave --human out, so that they are not "
            "mixed"
        )
    _prompts_known(one, "--human", name, scorer.arguments > 1)
    values = simulated_scores(scorer, one.by_row, one.table["text"].tolist())
    return one.with_columns(
        (f"human simulated by {name} for all {len(values)} rows",), human=values
    )


def _prompts_known(one: Generations, option: str, name: str, asks: bool) -> None:
    if asks and not one.prompts:
        raise BadInput(
            f"{one.source} has no column prompt, which {option} {name} reads; give one, or a "
            "callable of texts"
        )


class LazyEncoder:
    """An encoder that is fetched and loaded when the first text is embedded, since most
    measurements need none.
    """

    def __init__(self, spec: str, sha256: str | None) -> None:
        self.spec = spec
        self.sha256 = sha256
        self.loaded: Encoder | None = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Unit-norm embeddings (n, d)."""
        from restaudit.models.artifacts import resolve
        from restaudit.models.devices import pick_device
        from restaudit.models.encoder import load_encoder

        if self.loaded is None:
            try:
                artifact = resolve(self.spec, sha256=self.sha256)
            except BadInput as e:
                raise BadInput(f"{e}; or measure without embeddings: --encoder none") from None
            self.sha256 = artifact.sha256
            self.loaded = load_encoder(artifact.path, device=pick_device("auto"))
        return self.loaded.embed(texts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was cut, after use."""
        if self.loaded is None or not self.loaded.truncated:
            return ()
        limit = self.loaded.max_tokens
        note = (
            f"{self.loaded.truncated} texts are longer than the {limit} tokens the encoder reads, "
            "and were cut there"
        )
        return (note,)


def encoder(spec: str | None) -> LazyEncoder | None:
    """The encoder to embed with: a spec, None for the default recipe's, or "none"."""
    if spec == "none":
        return None
    if spec is not None:
        return LazyEncoder(spec, None)
    from restaudit.config.reading import load

    audit = load(DEFAULT_RECIPE).audit
    assert audit.encoder is not None
    return LazyEncoder(audit.encoder, audit.encoder_sha256)


def toxicity_scorer(spec: str | None) -> TextScorer | None:
    """The scorer of toxicity: a callable from texts to 0..1, or no one for None and "none"."""
    from restaudit.config import PythonToxicity
    from restaudit.loop.toxicity import load_scorer

    if spec is None or spec == "none":
        return None
    own = PythonToxicity(
        kind="python", callable=spec, known_failure=f"{spec}: nobody stated how it fails"
    )
    return load_scorer(own)
