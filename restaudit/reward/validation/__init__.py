"""How well a reward predicts people: against a person, trivial rules and itself; by slice; on any
judged file.
"""

from restaudit.reward.validation.judged import Judged, from_examples, from_feedback
from restaudit.reward.validation.learning_curve import learning_curve
from restaudit.reward.validation.report import Curve, Validated, validated

__all__ = [
    "Curve",
    "Judged",
    "Validated",
    "from_examples",
    "from_feedback",
    "learning_curve",
    "validated",
]
