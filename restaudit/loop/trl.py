"""What every trainer of TRL's that is looked at needs: it reports to nobody, and a look that says
HALT stops it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from transformers import TrainerCallback, TrainerControl

from restaudit.errors import Halted, Waiting


def no_telemetry() -> None:
    """TRL reports every trainer to Hugging Face unless it is told not to; whoever asked for it by
    name is obeyed.
    """
    from huggingface_hub import constants

    if "HF_HUB_DISABLE_TELEMETRY" not in os.environ:
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        constants.HF_HUB_DISABLE_TELEMETRY = True


no_telemetry()


class LookCallback(TrainerCallback):  # type: ignore[misc]
    """What every trainer that is looked at needs: a look that says HALT, or waits for people, stops
    it.
    """

    def __init__(self) -> None:
        self.stopped: Halted | Waiting | None = None

    def take(self, control: TrainerControl, work: Callable[[], None]) -> None:
        """Do the work of a look; where it says HALT or waits, remember that and let the trainer
        stop after the step.
        """
        try:
            work()
        except (Halted, Waiting) as e:
            self.stopped = e
            control.should_training_stop = True
