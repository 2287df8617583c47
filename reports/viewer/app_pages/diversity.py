"""The page about sameness and collapse."""

from __future__ import annotations

from reports.viewer import blocks, frame, guide, reading
from reports.viewer.links import to_samples

with frame.guarded():
    run = frame.chosen()
    frame.whose_score(run)
    guide.show("diversity")
    blocks.draw(reading.section(run, "diversity"))
    to_samples(run)
