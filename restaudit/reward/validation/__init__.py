"""How well a reward predicts people: against a person, trivial rules and itself; by slice; on any
judged file.
"""

from restaudit.reward.validation.baselines import learning_curve
from restaudit.reward.validation.judged import Judged, from_examples, from_feedback
from restaudit.reward.validation.report import LearningCurveFit, Validated, validated

__all__ = [
    "Judged",
    "LearningCurveFit",
    "Validated",
    "from_examples",
    "from_feedback",
    "learning_curve",
    "validated",
]
