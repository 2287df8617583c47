"""The page about the reward model: its verdict and failures first, what nobody said about it, and a text to try."""

from __future__ import annotations

from reports.viewer import blocks, frame, guide, reading, trying

with frame.guarded():
    run = frame.chosen()
    guide.show("reward-model")
    blocks.draw(reading.section(run, "reward-model"))
    trying.show(run)
