"""The page about the reward model: its verdict and failures first, and what nobody said about it."""

from __future__ import annotations

from reports.viewer import blocks, frame, guide, reading

with frame.guarded():
    run = frame.chosen()
    guide.show("reward-model")
    blocks.draw(reading.section(run, "reward-model"))
