"""A bar that counts bytes, drawn a few times a second however small the pieces are."""

from __future__ import annotations

import time

import streamlit as st

from reports.viewer.documents.making import size

EVERY = 0.1


class Bar:
    """A bar of bytes. A new stage begins at nothing."""

    def __init__(self) -> None:
        self._stage, self._done, self._drawn = "", 0, 0.0
        self._place = st.empty()

    def add(self, stage: str, count: int, total: int) -> None:
        """Count bytes of a stage that has `total` of them (0: nobody knows)."""
        if stage != self._stage:
            self._stage, self._done, self._drawn = stage, 0, 0.0
        self._done += count
        if (now := time.monotonic()) - self._drawn >= EVERY or self._done >= total > 0:
            self._drawn = now
            of = f" of {size(total)}" if total else ""
            share = min(self._done / total, 1.0) if total else 0.0
            self._place.progress(share, text=f"{stage}: {size(self._done)}{of}")

    def empty(self) -> None:
        """Take the bar away."""
        self._place.empty()
