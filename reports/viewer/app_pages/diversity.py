"""The page about sameness and collapse."""

from __future__ import annotations

from reports.viewer import blocks, frame, guide, reading
from reports.viewer.pages import link_to_samples

with frame.guarded():
    run = frame.chosen()
    frame.whose_score(run)
    guide.show("diversity")
    blocks.draw(reading.section(run, "diversity"))
    link_to_samples(run)
