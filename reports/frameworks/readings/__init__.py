"""What the record says to each question: functions that the question data call by their name.

About a run, a reading takes its `Records` (system, process, data, reward, measured, oversight);
about a reward model, its `RewardRecords` (reward_model, reward_in_run).
"""

from __future__ import annotations

from reports.frameworks.readings import (
    data,
    measured,
    oversight,
    process,
    reward,
    reward_in_run,
    reward_model,
    system,
)
from reports.frameworks.readings.material import Read
from reports.frameworks.readings.reward_model import ReadReward

READINGS: dict[str, Read] = {
    **system.READINGS,
    **process.READINGS,
    **data.READINGS,
    **reward.READINGS,
    **measured.READINGS,
    **oversight.READINGS,
}
REWARD_READINGS: dict[str, ReadReward] = {**reward_model.READINGS, **reward_in_run.READINGS}
