"""The language model under training: load, sample, fine-tune, compare.

The one home of torch for the policy.
"""

from restaudit.policy.divergence import token_kl
from restaudit.policy.finetune import EpochResult, fine_tune
from restaudit.policy.loading import load_policy
from restaudit.policy.model import Policy
from restaudit.policy.packing import TrainingExample
from restaudit.policy.sample import SampleRequest, Samples, sample

__all__ = [
    "EpochResult",
    "Policy",
    "SampleRequest",
    "Samples",
    "TrainingExample",
    "fine_tune",
    "load_policy",
    "sample",
    "token_kl",
]
