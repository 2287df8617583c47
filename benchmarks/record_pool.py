"""Record the pool of real generations that `restaudit calibrate` emulates from: python -m
benchmarks.record_pool OUT

Base-policy samples of the recipe `reviews` on 128 plain prompts (48 each) and 24 counterfactual
families of four (12 each), with the reward model's and the LEXICON human score. About 15 minutes on
two cores; the same bytes every time on one machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from restaudit.config.reading import load
from restaudit.console import Reporter
from restaudit.evidence.record import write_table
from restaudit.evidence.steps import Writer
from restaudit.loop.running import prepare_machine, under_plan
from restaudit.loop.sealing import artifacts_of

SIZES = [
    "data.splits.sizes.grow=128",
    "data.splits.counterfactual_families.grow=24",
    "data.splits.sizes.d_eval=8",
    "data.splits.sizes.audit=8",
    "data.splits.counterfactual_families.audit=2",
]
PLAIN, COUNTERFACTUAL = 48, 12
COLUMNS = (
    "prompt_id",
    "sample_id",
    "text",
    "n_tokens",
    "logprob",
    "reward",
    "reward_spread",
    "human",
    "group",
    "family",
)


def main(out: Path) -> None:
    config = load("reviews", SIZES)
    reporter = Reporter()
    prepare_machine(config)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Writer(Path(folder) / "run") as writer:
        job = under_plan(None, config, writer, reporter, artifacts_of(config))
        prompts = job.prompts("grow")
        counts = np.where(prompts["family"].isna(), PLAIN, COUNTERFACTUAL).tolist()
        drawn = job.sample(prompts, counts, seed_name="pool", label="pool", prefix="pool")
        rows = job.with_human(job.scored(job.samples_table(drawn, prompts)))
        write_table(rows, out, COLUMNS)
    print(
        f"{out}: {len(rows)} samples in {time.monotonic() - began:.0f} s, {out.stat().st_size:,} "
        "bytes"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
