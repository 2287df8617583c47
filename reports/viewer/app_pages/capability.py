"""The page about what the policy can still do, and toxicity."""

from __future__ import annotations

from reports.viewer import blocks, frame, guide, reading
from reports.viewer.pages import link_to_samples

with frame.guarded():
    run = frame.chosen()
    frame.whose_score(run)
    guide.show("capability")
    blocks.draw(reading.section(run, "capability"))
    link_to_samples(run)
