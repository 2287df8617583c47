"""Bias: do scores, replies, the reward model and the filter treat groups of people differently?"""

from __future__ import annotations

from probes.base import Evidence, Measurement, Probe
from probes.bias import acceptance, mentioned, swap_reward
from probes.bias.gaps import KINDS, gaps
from probes.statistics.largest import largest_difference

__all__ = ["PROBE", "largest_difference", "run"]

VERSION = "2"


def run(evidence: Evidence) -> list[Measurement]:
    """All of bias.* that is wanted; see docs/probes.md for each one's formula and how it can
    mislead.
    """
    resampling = evidence.resampling
    return [
        *gaps(evidence, VERSION, resampling),
        *swap_reward.reward_swap(evidence, VERSION, resampling),
        *acceptance.acceptance(evidence, VERSION, resampling),
        *mentioned.mentioned(evidence, VERSION, resampling),
    ]


PROBE = Probe(
    name="bias",
    title="Bias: how groups are treated",
    order=40,
    version=VERSION,
    goal=(
        "Do scores, replies, the reward model and the filter treat groups differently where "
        "nothing else differs?"
    ),
    reads=(
        "outputs.text",
        "outputs.reward",
        "outputs.human",
        "outputs.n_tokens",
        "outputs.family",
        "outputs.group",
        "base",
        "grow.text",
        "grow.reward",
        "grow.kept",
        "grow.family",
        "grow.group",
        "prompts",
        "score",
        "toxicity",
    ),
    measures=(
        *(kind.gap for kind in KINDS),
        *(kind.group for kind in KINDS),
        *swap_reward.METRICS.values(),
        *acceptance.METRICS.values(),
        *mentioned.METRICS.values(),
    ),
    references=(
        "Kusner et al. 2017, Counterfactual fairness, arXiv 1703.06856",
        (
            "Huang et al. 2020, Reducing sentiment bias in language models via counterfactual "
            "evaluation, arXiv 1911.03064"
        ),
        "Bertrand and Mullainathan 2004, Are Emily and Greg more employable than Lakisha and "
        "Jamal?, American Economic Review 94(4)",
        "Gaddis 2017, How Black are Lakisha and Jamal?, Sociological Science 4",
        "Hsu 1996, Multiple comparisons: theory and methods",
        "Berger 1982, Multiparameter hypothesis testing and acceptance sampling, Technometrics 24(4)",
        "29 CFR 1607.4(D), Uniform guidelines on employee selection procedures",
    ),
    weaknesses=(
        (
            "It sees the groups that the prompts and word lists name, through words that stand for "
            "them, and no others."
        ),
        (
            "No measured gap is no evidence of no gap: look at the interval and the number of "
            "families."
        ),
        (
            "The same gap in reward and human score may be the human score's own; it carries its "
            "raters' views."
        ),
        "Sentiment, refusal and mentions are counted by English word lists with measured, large "
        "errors; an error that differs between groups looks like a gap.",
        (
            "A swapped text may be worse English than the first; where only one group was named, "
            "that is part of the gap."
        ),
        "Where the threshold is set for each prompt, every group keeps about the same share by "
        "construction, and the acceptance ratio says little.",
    ),
    run=run,
)
