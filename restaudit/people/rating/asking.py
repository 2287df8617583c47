"""What a new set of tasks asks: what somebody chose, else what the run's own configuration says of
people, else the defaults. The command line and the app draw the same set for the same choices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput

# The command line imports this module when it starts, and a run's record needs pandas.
if TYPE_CHECKING:
    from restaudit.evidence.record import Run

SCALE = re.compile(r"(-?\d{1,9})\s*(?:-|\.\.|:|to)\s*(-?\d{1,9})", re.ASCII)
OPTIONS = (
    "iterations",
    "n",
    "raters",
    "instructions",
    "dimension",
    "scale",
    "halves",
    "checks",
    "anchors",
    "seed",
)
SAMPLES, RATERS, DIMENSION, SCALE_DEFAULT = 60, 2, "quality", (1, 7)
# Prompts of a set of pairs; one pair of each.
PROMPTS = 60


def _samples(people: Mapping[str, Any]) -> int:
    """How many samples of an iteration a run has rated; its last count where it asks in stages."""
    samples = people.get("samples", SAMPLES)
    return int(samples[-1] if isinstance(samples, list) else samples)


def draw_arguments(record: Run, given: Mapping[str, Any]) -> dict[str, Any]:
    """What `draw_tasks` is to draw.

    `given` has the options of `restaudit rate export` by name; one that is missing is None. Raises
    BadInput while nothing was audited, and for a scale that is none.
    """
    given = dict.fromkeys(OPTIONS) | dict(given)
    config = record.plan["config"]
    human = config.get("human") or {}
    people: Mapping[str, Any] = {}
    if human.get("kind") == "people":
        people = human
    audited = record.iterations()
    if given["iterations"] is not None:
        chosen = [i.strip() for i in given["iterations"].split(",") if i.strip()]
    elif audited:
        # Those that a decision compares; the same one where only the base policy was audited.
        chosen = list(dict.fromkeys([audited[0], audited[-1]]))
    else:
        raise BadInput(f"{record.path}: nothing was audited yet, so there is nothing to rate")
    scale = tuple(people.get("scale", SCALE_DEFAULT))
    if given["scale"]:
        scale = _scale(given["scale"])
    dimension = given["dimension"] or people.get("dimension", DIMENSION)
    instructions = people.get("instructions") or score_instructions(dimension, scale)
    if given["instructions"] is not None:
        instructions = text_or_file(given["instructions"])
    return {
        "iterations": chosen,
        "per_iteration": _chosen(given["n"], _samples(people)),
        "raters": _chosen(given["raters"], people.get("raters", RATERS)),
        "seed": _chosen(given["seed"], _own_seed(record)),
        "dimension": dimension,
        "scale": scale,
        "halves": bool(given["halves"]),
        "instructions": instructions,
        "checks": given["checks"],
        "anchors": given["anchors"] or 0,
    }


def pair_arguments(
    record: Run, given: Mapping[str, Any], other: Run | None = None
) -> dict[str, Any]:
    """What `draw_pairs` is to draw. `other` is the run that the second side is of.

    `given` has first, second, n, raters, instructions, dimension, checks and seed; one that is
    missing is None. Alone, the base policy is compared with the last one; of two runs, their last
    ones. Raises BadInput while nothing was audited.
    """
    second = record if other is None else other
    for run in (record, second):
        if not run.iterations():
            raise BadInput(f"{run.path}: nothing was audited yet, so there is nothing to compare")
    dimension = given.get("dimension") or DIMENSION
    # Within one run the base policy is what the newest one is compared with.
    own = record.iterations()[0 if other is None else -1]
    instructions = pair_instructions(dimension)
    if given.get("instructions") is not None:
        instructions = text_or_file(given["instructions"])
    return {
        "first": (record.path, given.get("first") or own),
        "second": (second.path, given.get("second") or second.iterations()[-1]),
        "n": given.get("n") or PROMPTS,
        "raters": _chosen(given.get("raters"), RATERS),
        "seed": _chosen(given.get("seed"), _own_seed(record)),
        "dimension": dimension,
        "instructions": instructions,
        "checks": given.get("checks"),
    }


def set_name(arguments: Mapping[str, Any]) -> str:
    """The name of a set that nobody named: the same draw, the same name."""
    return "set-" + sha256(repr(sorted(arguments.items())).encode()).hexdigest()[:8]


def pair_set_name(arguments: Mapping[str, Any]) -> str:
    """The name of a set of pairs that nobody named: the same draw, the same name, wherever the
    folders lie.
    """
    from restaudit.evidence.record import Run

    # By the runs' ids and not their folders, which may lie elsewhere on another machine.
    sides = {k: (Run(arguments[k][0]).run_id, arguments[k][1]) for k in ("first", "second")}
    settled = sorted({**arguments, **sides}.items())
    return "pairs-" + sha256(repr(settled).encode()).hexdigest()[:8]


def score_instructions(dimension: str, scale: tuple[int, int]) -> str:
    """What raters of single texts read where nobody wrote anything else."""
    return (
        f"Rate the {dimension} of each response to its prompt, from {scale[0]} (worst) to "
        f"{scale[1]} (best). Judge every response by itself, with no help from a model. If "
        "you cannot judge one, leave it out."
    )


def pair_instructions(dimension: str) -> str:
    """What raters of pairs read where nobody wrote anything else."""
    return (
        f"Read the prompt and both responses. Which response has the better {dimension}: A or B? "
        "Choose T, a tie, only where neither is better. Judge for yourself, with no help from a "
        "model. If you cannot judge a pair, leave it out."
    )


def text_or_file(given: str) -> str:
    """A text, or that of the file which it names."""
    try:
        is_file = Path(given).is_file()
    except (OSError, ValueError):
        # A long text is no path, and a system says so by an error.
        is_file = False
    if is_file:
        from restaudit.files.given import whole_text

        return whole_text(Path(given)).strip()
    return given


def _chosen(given: Any, default: Any) -> Any:
    """What was given, a zero too: what makes no sense is refused where it is drawn."""
    return default if given is None else given


def _own_seed(record: Run) -> int:
    from restaudit.evidence.steps import seed_of

    return seed_of(record.plan["config"].get("seed", 0), "ratings")


def _scale(text: str) -> tuple[int, int]:
    match = SCALE.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"--scale {text}: expected the lowest and the highest score, like 1-7")
    return int(match.group(1)), int(match.group(2))
