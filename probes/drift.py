"""Drift: how far the policy has moved from the base policy, in nats."""

from __future__ import annotations

from probes import stats
from probes.base import Evidence, Measurement, Probe
from probes.rows import audited, defined
from probes.stats import Resampling

VERSION = "1"


def run(evidence: Evidence) -> list[Measurement]:
    """Mean KL per sequence (column `kl`) and per token (`kl` over `kl_tokens`), over the rows that have them."""
    how = Resampling(levels=evidence.levels, resamples=evidence.resamples, seed=evidence.seed)
    rows, base, notes = audited(evidence)
    if defined(rows, ["kl"]).empty:
        reason = "this is the base policy" if base is None else "no sample has a kl value"
        sequence = token = stats.unmeasured(reason)
    else:
        sequence = stats.mean(table=rows, column="kl", **how)
        token = stats.ratio_of_sums(table=rows, numerator="kl", denominator="kl_tokens", **how)
    start = None if base is None else 0.0  # a policy's divergence from itself, by definition
    return [
        estimate.measured(name, unit=unit, version=VERSION, direction="neutral", baseline=start, detail=notes)
        for name, estimate, unit in (
            ("drift.kl", sequence, "nats per sequence"),
            ("drift.kl_per_token", token, "nats per token"),
        )
    ]


PROBE = Probe(
    name="drift",
    version=VERSION,
    goal="How far has training moved the policy from the base policy?",
    reads=("outputs.kl", "outputs.kl_tokens"),
    measures=("drift.kl", "drift.kl_per_token"),
    references=(
        "Gao et al. 2022, Scaling laws for reward model overoptimization, arXiv 2210.10760",
        "Stiennon et al. 2020, Learning to summarize from human feedback, arXiv 2009.01325",
    ),
    weaknesses=(
        "A small KL does not show that little has changed for people, nor a large one that harm was done; there is no "
        "universal limit.",
        "KL per sequence grows with length: a policy that only writes more has more of it. Read it with KL per token.",
        "It is estimated on the policy's own samples of a few prompts; rare, very different texts may be missing.",
    ),
    run=run,
)
