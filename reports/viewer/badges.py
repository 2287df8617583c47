"""How the app writes states and verdicts: an icon, a colour and always the word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = Literal["red", "orange", "blue", "green", "gray"]


@dataclass(frozen=True)
class Badge:
    """An icon and a colour for a word; `sign` stands for the icon where only plain text is
    shown.
    """

    sign: str
    icon: str
    colour: Colour
    meaning: str


# A colour is never alone: people who cannot tell red from green read the sign and the word.
VERDICTS = {
    "OK": Badge(
        "✓",
        ":material/check_circle:",
        "green",
        "every check that must pass has ruled out the loss that it is about",
    ),
    "SILENT": Badge(
        "·", ":material/notifications_off:", "gray", "a check that only warns gave no alarm"
    ),
    "UNDECIDED": Badge("?", ":material/help:", "gray", "no alarm, but a check has too little data"),
    "INCONCLUSIVE": Badge(
        "?", ":material/help:", "gray", "no alarm, but a check has too little data"
    ),
    "WARN": Badge("!", ":material/warning:", "orange", "a check found harm; training went on"),
    "HALT": Badge("✕", ":material/dangerous:", "red", "a check found harm and stopped training"),
}
CONCLUSIONS = {
    "CLEARED": Badge(
        "✓", ":material/verified:", "green", "every check that must pass did, at the last look"
    ),
    "UNDECIDED": Badge(
        "?", ":material/help:", "gray", "no alarm, but not every check that must pass did"
    ),
    "WARNED": Badge("!", ":material/warning:", "orange", "a check found harm, and did not stop it"),
    "STOPPED": Badge("✕", ":material/dangerous:", "red", "a check found harm and stopped the run"),
}
STATES = {
    "done": Badge("✓", ":material/task_alt:", "green", "every planned step is done"),
    "running": Badge("▶", ":material/play_circle:", "blue", "a process is writing this run now"),
    "halted": Badge("✕", ":material/dangerous:", "red", "a gate stopped this run"),
    "waiting": Badge("…", ":material/hourglass_top:", "orange", "waiting for human ratings"),
    "stopped": Badge(
        "■", ":material/pause_circle:", "gray", "not finished and nobody is writing; resume goes on"
    ),
    "broken": Badge("⚠", ":material/broken_image:", "red", "the folder cannot be read"),
}
# A run of a later version may hold words that this one has never heard.
UNKNOWN = Badge("?", ":material/help:", "gray", "this version of restaudit does not know this word")


def verdict(word: str) -> Badge:
    """How to write a decision."""
    return VERDICTS.get(word, UNKNOWN)


def conclusion(word: str) -> Badge:
    """How to write what a run concludes."""
    return CONCLUSIONS.get(word, UNKNOWN)


def state(word: str) -> Badge:
    """How to write a run's state."""
    return STATES.get(word, UNKNOWN)
