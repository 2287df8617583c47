"""A bar that counts bytes, drawn a few times a second however small the pieces are."""

from __future__ import annotations

import time

import streamlit as st

from reports.viewer.documents.making import size

EVERY = 0.1


class Bar:
    """A bar for a number of bytes. A new stage begins at nothing."""

    def __init__(self, total: int) -> None:
        self.total = max(total, 1)
        self._stage, self._done, self._drawn = "", 0, 0.0
        self._place = st.empty()

    def add(self, stage: str, count: int) -> None:
        """Count bytes of a stage."""
        if stage != self._stage:
            self._stage, self._done, self._drawn = stage, 0, 0.0
        self._done += count
        if (now := time.monotonic()) - self._drawn >= EVERY:
            self._drawn = now
            share = min(self._done / self.total, 1.0)
            self._place.progress(share, text=f"{stage}: {size(self._done)} of {size(self.total)}")

    def empty(self) -> None:
        """Take the bar away."""
        self._place.empty()
