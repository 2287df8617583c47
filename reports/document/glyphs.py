"""Which characters the fonts that travel with us can draw; every other one is written as its
number, never as a box.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from restaudit.errors import BadInput

# matplotlib brings the DejaVu fonts, with the same bytes on every machine that has the pinned
# version.
FILES = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
)


def font_folder() -> Path:
    """The folder that holds FILES. Raises BadInput where matplotlib is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise BadInput(
            "this needs matplotlib, which is not installed: pip install 'restaudit[reports]'"
        ) from None
    return Path(mpl.get_data_path()) / "fonts" / "ttf"


@cache
def covered() -> frozenset[int]:
    """Code points that the regular and the bold text font both have a glyph for."""
    from matplotlib.ft2font import FT2Font

    # The same text stands in headings too, which are bold.
    maps = [set(FT2Font(str(font_folder() / name)).get_charmap()) for name in FILES[:2]]
    return frozenset(set.intersection(*maps))


def drawable(text: str) -> str:
    """Text whose every character has a glyph: a character without one becomes ⟨U+4F60⟩, runs share
    the brackets.
    """
    have = covered()
    out: list[str] = []
    run: list[str] = []
    for c in text:
        if ord(c) in have or c in "\n":
            if run:
                out.append(f"⟨{' '.join(run)}⟩")
                run = []
            out.append(c)
        else:
            run.append(f"U+{ord(c):04X}")
    if run:
        out.append(f"⟨{' '.join(run)}⟩")
    return "".join(out)
