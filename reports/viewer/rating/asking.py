"""A new set of tasks, by the rules and defaults of `restaudit rate export`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restaudit.commands.rate import draw_arguments, set_name
from restaudit.commands.rate_pairs import pair_arguments, pair_set_name
from restaudit.evidence.record import Run
from restaudit.people.rating import TaskSet, draw_tasks
from restaudit.people.rating.pairs import PairSet, draw_pairs

# Texts of each iteration that the page proposes: with two iterations 44 tasks, some ten minutes for
# one rater.
SITTING = 20


def defaults(run: Run) -> dict[str, Any]:
    """What the page proposes: what the run's plan asks of people, else one sitting's worth.

    Raises BadInput while nothing was audited.
    """
    of_people = (run.plan["config"].get("human") or {}).get("kind") == "people"
    return draw_arguments(run, {} if of_people else {"n": SITTING})


def make(run: Run, given: Mapping[str, Any]) -> TaskSet:
    """Draw a set; `given` has iterations, per_iteration, raters, scale, dimension and instructions
    ("" = the default).

    The same choices give the same set. Raises BadInput for choices that make no sense.
    """
    low, high = given["scale"]
    # Instructions are text here: the command line reads a file where its argument names one.
    standing = draw_arguments(
        run, {"scale": f"{low}-{high}", "dimension": given["dimension"] or None}
    )
    chosen = {k: given[k] for k in ("iterations", "per_iteration", "raters")}
    arguments = standing | chosen
    if given["instructions"].strip():
        arguments["instructions"] = given["instructions"].strip()
    return draw_tasks(run.path, name=set_name(arguments), **arguments)


def make_pairs(run: Run, given: Mapping[str, Any]) -> PairSet:
    """Draw a set of pairs; `given` has first, second, n, raters, dimension and instructions ("" =
    the default).

    The same choices give the same set, and the one that `restaudit rate pairs` draws. Raises
    BadInput for choices that make no sense.
    """
    # Instructions are text here: the command line reads a file where its argument names one.
    arguments = pair_arguments(run, {**given, "instructions": None})
    if given["instructions"].strip():
        arguments["instructions"] = given["instructions"].strip()
    return draw_pairs(run.path, name=pair_set_name(arguments), **arguments)
