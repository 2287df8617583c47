"""The page about reward against human score, in depth."""

from __future__ import annotations

from reports.viewer import blocks, frame, guide, reading
from reports.viewer.links import to_samples

with frame.guarded():
    run = frame.chosen()
    frame.whose_score(run)
    guide.show("scores")
    blocks.draw(reading.section(run, "scores"))
    to_samples(run)
