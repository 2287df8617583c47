"""Drift: how far the policy has moved from the base policy, and the signs of collapse from its own
output. What is measured, in the order in which it is recorded:
"""

from probes.base import metrics
from probes.rows import RATIO

METRICS = metrics(
    "drift",
    ("drift.kl", "distance from the base policy (KL)", "nats per sequence", "neutral"),
    ("drift.kl_per_token", "distance per token (KL)", "nats per token", "neutral"),
    ("drift.synthetic_share", "kept rows that a policy wrote", "share", "lower"),
    ("drift.copying", "copied from the training set", "share of n-grams", "lower"),
    ("drift.copying_change", "copied from the training set, change", "share of n-grams", "lower"),
    ("drift.human_text_nll", "rise of the cost of human text", "nats per token", "lower"),
    ("drift.vocabulary", "different words, ratio", RATIO, "higher"),
    ("drift.rare_words", "rare words, ratio", RATIO, "higher"),
)
