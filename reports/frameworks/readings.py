"""Every reading by the name that the clause data calls it."""

from __future__ import annotations

from reports.frameworks import (
    readings_data,
    readings_measured,
    readings_oversight,
    readings_process,
    readings_reward,
    readings_system,
)
from reports.frameworks.reading import Read

READINGS: dict[str, Read] = {
    **readings_system.READINGS,
    **readings_process.READINGS,
    **readings_data.READINGS,
    **readings_reward.READINGS,
    **readings_measured.READINGS,
    **readings_oversight.READINGS,
}
