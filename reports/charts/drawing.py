"""How every chart is drawn and written: one look, SVG or PNG, the same bytes for the same
figures.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from restaudit.errors import BadInput
from restaudit.files import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, RULE = "#1a1a1a", "#5a5a5a", "#d9d9d9"
PNG_DPI = 200
RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    # A dollar sign in a run's name is a dollar sign.
    "text.parse_math": False,
    # Glyphs as shapes: a reader's machine may lack the font.
    "svg.fonttype": "path",
    # Without a salt of ours the identifiers in an SVG are random.
    "svg.hashsalt": "restaudit",
}


def blank(size: tuple[float, float]) -> Figure:
    """An empty figure of this size in inches, that no window system knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not through pyplot: that keeps every figure alive and may ask for a display.
    figure = Figure(figsize=size, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write(
    out: Path, draw: Callable[[], Figure], *, title: str, text: str, run: Path | None = None
) -> bytes:
    """Write a figure as SVG, or as PNG where `out` ends in .png, and return its bytes; `text`
    describes it to who cannot see it. `run` is the run folder that `out` may lie in.

    Raises BadInput for another file type or a place that cannot be written.
    """
    kind = out.suffix.lower()
    if kind not in (".svg", ".png"):
        raise BadInput(
            f"{out}: a chart is written as .svg or .png, not as {kind or 'a file without a suffix'}"
        )
    data = drawn(draw, kind, title=title, text=text)
    try:
        plain.write_out(out, data, run=run)
    except OSError as e:
        raise BadInput(
            f"{out}: cannot write the chart there ({e.strerror}); choose another place with --out"
        ) from None
    return data


def drawn(draw: Callable[[], Figure], kind: str, *, title: str, text: str) -> bytes:
    """A figure as ".svg" or ".png"; the same figures give the same bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context():
        # A user's own matplotlibrc must not change a report's bytes.
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        figure = draw()
        # Dates and version numbers in a file's metadata would change its bytes from day to day.
        if kind == ".png":
            figure.savefig(
                buffer, format="png", dpi=PNG_DPI, metadata={"Software": None, "Title": title}
            )
            return buffer.getvalue()
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title}
        )
    # matplotlib has no way to describe a picture to a screen reader.
    label = escape(f"{title}. {text}")
    svg = buffer.getvalue().decode("utf-8")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).encode("utf-8")
