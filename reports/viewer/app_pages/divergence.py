"""The page about reward against human score, in depth."""

from __future__ import annotations

from reports.document.model import Table
from reports.run_report.scores import LEARNED
from reports.viewer import blocks, frame, guide, learned, reading
from reports.viewer.pages import link_to_samples
from reports.viewer.rating import results

with frame.guarded():
    run = frame.chosen()
    frame.whose_score(run)
    guide.show("scores")
    if run.iterations():
        results.announce_afterwards(run)
    section = reading.section(run, "scores")
    for number, block in enumerate(section.blocks):
        blocks.draw_block(block, f"{section.key}-{number}")
        if isinstance(block, Table) and block.caption.startswith(LEARNED):
            learned.show(run)
    link_to_samples(run)
    if run.iterations():
        results.show_afterwards(run)
