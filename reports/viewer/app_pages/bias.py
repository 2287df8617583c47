"""The page about groups: gaps, acceptance, mentions, benchmarks."""

from __future__ import annotations

from reports.viewer import blocks, frame, guide, reading
from reports.viewer.pages import link_to_samples

with frame.guarded():
    run = frame.chosen()
    frame.whose_score(run)
    guide.show("bias")
    blocks.draw(reading.section(run, "bias"))
    link_to_samples(run)
