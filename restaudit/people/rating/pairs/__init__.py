"""Two texts of one prompt, blinded: which one is better?

Drawn, asked, taken back and counted as single texts are.

drawing.py draws and writes; sheet.py is what raters see and what a file of choices holds; choices.py
is what a choice is held against; wins.py counts them. See docs/rating.md.
"""

from __future__ import annotations

from restaudit.people.rating.pairs.choices import export_pairs, import_choices, open_pairs
from restaudit.people.rating.pairs.drawing import PairSet, draw_pairs, load_pairs, pair_sets
from restaudit.people.rating.pairs.wins import Wins, wins

__all__ = [
    "PairSet",
    "Wins",
    "draw_pairs",
    "export_pairs",
    "import_choices",
    "load_pairs",
    "open_pairs",
    "pair_sets",
    "wins",
]
