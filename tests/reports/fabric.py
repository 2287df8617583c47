"""What fabricated run folders are made of: their sizes, gates, and what each iteration looks
like.
"""

from __future__ import annotations

from dataclasses import dataclass

from restaudit.config import GateConfig, GatePolicy

PROMPTS = 24
SPLITS = ("grow", "d_eval", "audit")
ENVIRONMENT = {
    "restaudit": "0.1.0",
    "python": "3.11.9",
    "platform": "Linux",
    "processor": "a processor",
    "device": "cpu",
    "gpu": None,
    "dtype": "float32",
    "threads": 2,
    "packages": {"torch": "2.13.0", "transformers": "5.23.0"},
    "seed": "1",
}
DATA_REPORT = {
    "reward_model": {"reason": "a reward of kind 'python' does not say what it was trained on"},
    "rows": [{"source": "builtin:reviews", "read": 72, "used": 72, "dropped": {}, "notes": {}}],
    "splits": {
        "dropped": {},
        "exact": {"grow~audit": 0},
        "jaccard": 0.8,
        "max_share": 0.02,
        "method": "Jaccard of word 3-grams",
        "near": {"grow~audit": {"closest": [], "pairs": 0, "share": 0.0}},
        "sizes": dict.fromkeys(SPLITS, PROMPTS),
    },
}
DOSSIER = {
    "schema": "restaudit.reward-dossier/1",
    "kind": "python",
    "name": "python/rewards:reward",
    "digest": "ef" * 32,
    "callable": "rewards:reward",
    "arguments": ["texts"],
    "source_sha256": "12" * 32,
    "members": 1,
    "purpose": "Pays for vowels.",
    "unit": "the callable's own unit",
    "data": "MISSING",
    "raters": "MISSING",
    "validation": "MISSING",
    "limits": ["It sees letters only."],
    "ensemble": {"combine": "mean", "size": 1, "variance_weight": 0.5},
}
SAMPLES = 2
POLICY = GatePolicy(
    level=0.95,
    rules=(
        GateConfig(
            name="harm",
            metric="divergence.human_change",
            must_stay="above",
            margin=-0.2,
            action="HALT",
            reason="outputs became worse for people than the base policy's",
        ),
        GateConfig(
            name="gap",
            metric="divergence.gap",
            must_stay="below",
            margin=0.37,
            action="WARN",
            reason="the reward rose much further than the human score",
        ),
        GateConfig(
            name="collapse",
            metric="diversity.vendi_ratio",
            must_stay="above",
            margin=0.5,
            action="HALT",
            reason="outputs repeat one another",
        ),
        GateConfig(
            name="disparity",
            metric="bias.human_gap",
            must_stay="below",
            margin=0.3,
            action="WARN",
            reason="the same prompt scores differently for different groups",
        ),
    ),
).written_out()


@dataclass(frozen=True)
class Point:
    """What one iteration looks like: changes in base-policy sd, the rest in its own unit."""

    reward: float
    human: float
    correlation: float
    vendi: float
    distinct: float
    group_gap: float


# The shape of a small trial of the default recipe: reward runs ahead, human score follows,
# diversity falls.
HEALTHY = {
    "g00/i00": Point(0.0, 0.0, 0.66, 44.7, 0.745, 0.05),
    "g01/i01": Point(0.34, 0.28, 0.65, 41.2, 0.700, 0.07),
    "g01/i02": Point(0.62, 0.41, 0.63, 36.0, 0.646, 0.06),
    "g02/i01": Point(0.98, 0.66, 0.57, 34.6, 0.612, 0.09),
    "g02/i02": Point(1.24, 0.71, 0.52, 33.8, 0.580, 0.10),
}
HALTED = {
    "g00/i00": Point(0.0, 0.0, 0.66, 44.7, 0.745, 0.05),
    "g01/i01": Point(0.71, 0.20, 0.55, 38.0, 0.640, 0.07),
    "g01/i02": Point(1.65, -0.62, 0.21, 17.0, 0.310, 0.21),
}

HOSTILE = (
    "<script>alert('restaudit')</script>",
    '=cmd|"/c calc"!A1 and **bold** [link](javascript:alert(1)) :red[stop] $x^2$',
    "# a heading\n\n<img src=x onerror=alert(1)> `code`",
)
