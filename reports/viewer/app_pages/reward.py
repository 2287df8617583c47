"""The page about the reward model: its verdict and failures first, what nobody said about it, and a
text to try.
"""

from __future__ import annotations

from reports.viewer import blocks, frame, guide, reading, trying
from reports.viewer.documents import dossier_view

with frame.guarded():
    run = frame.chosen()
    guide.show("reward-model")
    blocks.draw(reading.section(run, "reward-model"))
    dossier_view.show(run)
    trying.show(run)
