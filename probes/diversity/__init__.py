"""Diversity: how different the policy's texts are from one another, at a fixed number of samples
and words. What is measured beside the statistics of probe.py, which say it themselves:
"""

from probes.base import metrics
from probes.rows import RATIO

TO_HUMAN = "ratio to human references"
METRICS = metrics(
    "diversity",
    ("diversity.good_distinct_2_ratio", "distinct-2 among good texts, ratio", RATIO, "higher"),
    ("diversity.good_vendi_ratio", "Vendi score among good texts, ratio", RATIO, "higher"),
    ("diversity.effective_vendi_ratio", "Vendi score of all good texts, ratio", RATIO, "higher"),
    (
        "diversity.distinct_2_to_human",
        "distinct-2 over that of human references",
        TO_HUMAN,
        "higher",
    ),
    ("diversity.vendi_to_human", "Vendi score over that of human references", TO_HUMAN, "higher"),
    ("diversity.entropy", "surprise at its own words (entropy)", "nats per token", "higher"),
    (
        "diversity.entropy_change",
        "surprise at its own words (entropy), change",
        "nats per token",
        "higher",
    ),
    ("diversity.length", "length of the texts", "tokens", "neutral"),
)
