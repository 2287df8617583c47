"""How often the change that an audit says it would find is found: 8 times in 10, if `finds` is right.

    python -m benchmarks.found_changes [RUNS]

For each measurement: audits of a policy with no change say what they would find at the level of a
HALT rule (probes/statistics/power.py); then audits of a policy whose true change is the median of
that say in which share of them the interval lies beyond the margin. Everything is simulated, so that
the truth is known: 64 prompts, 4 texts (base policy 16), 12 families of 4 groups.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from probes import Evidence, Measurement, measure
from probes.statistics.power import finds

PROMPTS, TEXTS, BASE_TEXTS = 64, 4, 16
FAMILIES, GROUPS, PER_CELL = 12, 4, 8
# Of one of five HALT rules at one of four looks.
LEVEL = 0.995


@dataclass(frozen=True)
class Case:
    """A measurement, its margin, and an audit by seed and size of the change (0: none)."""

    metric: str
    margin: float
    beyond: Literal["above", "below"]
    audit: Callable[[int, float], Evidence]
    starting: float  # its true value where nothing changed


def scored(rng: np.random.Generator, per: int, effects: np.ndarray, harm: float) -> pd.DataFrame:
    """Rewards, and human scores that level off as rewards rise."""
    owner = np.repeat(np.arange(PROMPTS), per)
    reward = effects[owner] + rng.normal(size=len(owner)) + (0.5 if per == TEXTS else 0.0)
    human = np.tanh(reward) + rng.normal(scale=0.8, size=len(owner)) - harm
    return pd.DataFrame(
        {
            "prompt_id": [f"p{k:03d}" for k in owner],
            "sample_id": [f"p{k:03d}/{per}/{j}" for j, k in enumerate(owner)],
            "text": "a text",
            "n_tokens": 2,
            "reward": reward,
            "human": human,
        }
    )


def _standard() -> tuple[float, float]:
    """The base policy's sd of human scores, and the gain that its selection brings people."""
    rng = np.random.default_rng(0)
    reward = 0.3 * rng.normal(size=400_000) + rng.normal(size=400_000)
    noise = 0.8 * rng.normal(size=400_000)
    gain = (np.tanh(reward + 0.5) - np.tanh(reward)).mean()
    sd = (np.tanh(reward) + noise).std()
    return float(sd), float(gain / sd)


SD, GAIN = _standard()


def two_policies(seed: int, loss: float) -> Evidence:
    """A policy selected for its reward, whose human score is lower by `loss` base sd."""
    rng = np.random.default_rng(seed)
    effects = 0.3 * rng.normal(size=PROMPTS)
    table = scored(rng, TEXTS, effects, loss * SD)
    return Evidence(outputs=table, base=scored(rng, BASE_TEXTS, effects, 0.0), seed=seed)


def families(seed: int, gap: float) -> Evidence:
    """Texts about groups, two of which differ by `gap`, the others between them."""
    rng = np.random.default_rng(seed)
    shift = np.linspace(0, gap, GROUPS)
    cell = rng.normal(size=(FAMILIES, 1)) + shift + 0.3 * rng.normal(size=(FAMILIES, GROUPS))
    human = cell[..., None] + 1.4 * rng.normal(size=(FAMILIES, GROUPS, PER_CELL))
    f, g, t = (a.ravel() for a in np.indices(human.shape))
    names = [f"f{a:02d}-{b}" for a, b in zip(f, g, strict=True)]
    table = pd.DataFrame(
        {
            "prompt_id": names,
            "sample_id": [f"{n}/{k}" for n, k in zip(names, t, strict=True)],
            "text": "a text",
            "n_tokens": 2,
            "human": human.ravel(),
            "family": [f"f{a:02d}" for a in f],
            "group": [str(b) for b in g],
        }
    )
    return Evidence(outputs=table, seed=seed)


CASES = (
    Case("divergence.human_change", -0.2, "below", two_policies, GAIN),
    Case("divergence.beyond_expected", 0.1, "above", two_policies, 0.0),
    Case("bias.human_gap", 1.0, "above", families, 0.0),
)


def measured(case: Case, seed: int, change: float) -> Measurement:
    """The measurement of one audit."""
    evidence = replace(
        case.audit(seed, change),
        human_label="SIMULATED",
        levels=(LEVEL,),
        resamples=2_000,
        only=frozenset({case.metric}),
    )
    return next(m for m in measure(evidence)[0] if m.name == case.metric)


def main(runs: int) -> None:
    """Print for each measurement what would be found, and how often it was."""
    print(f"{'measurement':28} {'margin':>7} {'would find':>10} {'found in':>9}   of {runs}")
    for case in CASES:
        said = []
        for seed in range(40):
            m = measured(case, 5_000 + seed, 0.0)
            said.append(finds(m, level=LEVEL, margin=case.margin, beyond=case.beyond))
        value = float(np.median(said))
        change = abs(value - case.starting)
        found = 0
        for seed in range(runs):
            interval = measured(case, seed, change).interval(LEVEL)
            beyond = interval.low > case.margin
            found += beyond if case.beyond == "above" else interval.high < case.margin
        print(f"{case.metric:28} {case.margin:7} {value:10.2f} {found / runs:9.1%}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
