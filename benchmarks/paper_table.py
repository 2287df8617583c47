"""Table 1 of the ReST paper in the shape of recipe `d2t`: what do Grow steps, Improve steps and
online RL buy?

The paper (arXiv 2308.08998, Table 1, IWSLT14 De-En) has behaviour cloning, one Grow step without
and with four Improve steps, two Grow steps with three, and PPO. Here is the same on data to text: a
supervised start on human references that stay in the mixture, a reward model of people's quality
ratings, GRPO as the online method with a look at the samples of one and of two Grow steps. Rewards
are scaled to 0..100 by the map that the loop's thresholds use, and chrF against people's references
stands beside them. Learning rates are searched on D_eval, as in every study, unless --no-search
takes those of the recipe.

Run from a checkout, with RESTAUDIT_MIRROR as docs/data.md says; the same command goes on after an
interruption:

    python -m benchmarks.paper_table [--seeds 3] [--no-search] [--out FOLDER] [--set KEY=VALUE …]

Prints the paper's figures and ours side by side as a Markdown table. There is no bar: it is printed
as measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from probes.statistics.crossed import crossed, of_these_seeds
from probes.statistics.resample import Array
from reports.report_commands import compare_study
from reports.study.material import SeedLook, StudyMaterial, mean_shown, over_seeds
from restaudit.console import Reporter
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import figure
from restaudit.study.plan import planned, sealed
from restaudit.study.run import run_study

# What every run of it has in common: on two CPU cores about two minutes a run.
SIZES = (
    "data.splits.sizes.grow=48",
    "data.splits.sizes.d_eval=16",
    "data.splits.sizes.audit=64",
    "loop.sampling.max_tokens=40",
    "audit.base_samples_per_prompt=2",
    "audit.samples_per_prompt=2",
    "audit.counterfactual_samples=1",
    "audit.kl_samples=32",
)
EVERYTHING = "'loop.thresholds={kind: fixed, values: [0.0]}'"
ARMS = (
    f"g1-i0: loop.method=rest loop.grow_steps=1 loop.improve_steps=1 {EVERYTHING}",
    (
        "g1-i4: loop.method=rest loop.grow_steps=1 loop.improve_steps=4 "
        "loop.thresholds.values=[60,70,80,90]"
    ),
    (
        "g2-i3: loop.method=rest loop.grow_steps=2 loop.improve_steps=3 "
        "loop.thresholds.values=[70,80,90]"
    ),
    "online: loop.method=grpo loop.grow_steps=2",
)
# Row: what the paper calls it, its average reward and its millions of distinct samples; the arm and
# its look here.
ROWS: tuple[tuple[str, float, int, str | None, int], ...] = (
    ("BC (G=0, I=0)", 70.9, 16, None, 0),
    ("ReST, G=1, I=0", 71.9, 16, "g1-i0", -1),
    ("ReST, G=1, I=4", 77.8, 16, "g1-i4", -1),
    ("ReST, G=2, I=3", 83.1, 32, "g2-i3", -1),
    ("online RL, samples of one Grow", 71.6, 24, "online", 0),
    ("online RL, samples of two Grows", 71.6, 24, "online", 1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("paper-table"))
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument(
        "--search",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="search learning rates",
    )
    given = parser.parse_args()
    changes = [*SIZES, *given.changes]
    study = planned(
        "d2t", (), given.seeds, small=False, changes=changes, arms=ARMS, search=given.search
    )
    run_study(given.out, sealed(given.out, study), Reporter(quiet=True))
    print("\n".join(table(StudyMaterial(given.out))))
    print(*compare_study(given.out, "html,md", given.out), sep="\n")


def table(of: StudyMaterial) -> list[str]:
    """The lines of the Markdown table."""
    lines = [
        "| | paper: average reward | paper: samples | here: average reward | more than BC | chrF "
        "| more than BC | Vendi, BC = 1 | samples | seconds of training |",
        f"|{'---|' * 10}",
    ]
    for label, reward, millions, arm, k in ROWS:
        at = _base(of) if arm is None else [SeedLook(r, r.looks[k]) for r in of.runs[arm]]
        spent = [a.spent for a in at] if arm is not None else []
        samples = figure(float(np.mean([s.samples for s in spent]))) if spent else "0"
        seconds = mean_shown(over_seeds([s.seconds for s in spent])) if spent else "0"
        ratios = [a.value("diversity.vendi_ratio") for a in at]
        vendi = mean_shown(over_seeds(ratios)) if spent else "1"
        levels = [
            cell
            for c in ("reward_01", "human")
            for cell in (_level(of, at, c), _gain(of, at, c) if arm else "0")
        ]
        cells = (label, str(reward), f"{millions}M", *levels, vendi, samples, seconds)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _base(of: StudyMaterial) -> list[SeedLook]:
    """The base policy of every seed, which is the same for all arms of that seed."""
    return [SeedLook(r, BASE) for r in next(iter(of.runs.values()))]


def _level(of: StudyMaterial, at: Sequence[SeedLook], column: str) -> str:
    """Mean of a column in 0..100 with its interval over seeds and prompts; of one seed over prompts
    alone.
    """
    return _mean(_values(of, at, column))


def _gain(of: StudyMaterial, at: Sequence[SeedLook], column: str) -> str:
    """The same of what came on top of the base policy: that of the same seed, under the same reward
    model.
    """
    return _mean(_values(of, at, column) - _values(of, _base(of), column))


def _values(of: StudyMaterial, at: Sequence[SeedLook], column: str) -> Array:
    scale = 100 if column == "reward_01" else 1
    return np.array(
        [a.run.means(a.look, column).reindex(of.prompts).to_numpy() * scale for a in at]
    )


def _mean(values: Array) -> str:
    return mean_shown(crossed(values) if len(values) > 1 else of_these_seeds(values))


if __name__ == "__main__":
    main()
