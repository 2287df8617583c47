"""The page on which people rate blinded samples of the run."""

from __future__ import annotations

from reports.viewer import frame
from reports.viewer.rating import screen

with frame.guarded():
    screen.show(frame.chosen())
