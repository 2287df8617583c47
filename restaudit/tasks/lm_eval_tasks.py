"""Any task of lm-eval: one of its own by name (data from the hub where it is there), or a YAML file
of one's own.
"""

from __future__ import annotations

import hashlib
import numbers
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.tasks.harness import Value, evaluate

# What building a task or fetching its data raises where the task or its data are not what they
# should be.
_TROUBLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)


def load(spec: str, include_path: Path | None) -> dict[str, Any]:
    """Tasks of lm-eval by name: those of `lm_eval:NAME` (a group has several) or of
    `path:FILE.yaml`.

    A task file may name Python functions beside it, which are imported: use only files you trust.
    Raises BadInput for a name that is not known (the nearest one is named) and where the data
    cannot be had.
    """
    kind, _, name = spec.partition(":")
    if kind == "path":
        path = Path(name).expanduser()
        if path.suffix not in {".yaml", ".yml"} or not path.is_file():
            raise BadInput(f"{spec}: expected path:FILE.yaml, a task file of lm-eval that is there")
        manager, wanted = _manager(None, defaults=False), str(path.resolve())
    else:
        # Reading lm-eval's own thousands of task files takes seconds: only where the folder does
        # not have it.
        manager = _manager(include_path, defaults=False)
        if name not in manager.all_tasks:
            manager = _manager(include_path, defaults=True)
        wanted = name
        if name not in manager.all_tasks:
            near = get_close_matches(name, manager.all_tasks, n=1)
            hint = f"; did you mean lm_eval:{near[0]}?" if near else ""
            raise BadInput(
                f"{spec}: lm-eval has no task of that name{hint} (`lm-eval ls tasks` lists them)"
            )
    try:
        return dict(manager.load([wanted])["tasks"])
    except _TROUBLE as e:
        raise BadInput(
            f"{spec}: the task cannot be loaded ({type(e).__name__}: {_first_line(e)}); most "
            "tasks of lm-eval fetch "
            "their data from the Hugging Face hub: is it reachable, or in its cache?"
        ) from None


def answers(
    lm: Any, spec: str, tasks: dict[str, Any], *, limit: int | None, seed: int
) -> tuple[list[Value], str]:
    """One row an item and metric, and what was sampled or left out; metrics are those that are
    means over items.

    Where there is more than one task, the item's name begins with the task and its group is the
    task.
    """
    chosen = {
        name: _indices(name, len(task.eval_docs), limit, seed) for name, task in tasks.items()
    }
    try:
        samples = evaluate(lm, tasks, indices=chosen)
    except _TROUBLE as e:
        raise BadInput(
            f"{spec}: the task cannot be run ({type(e).__name__}: {_first_line(e)})"
        ) from None
    rows: list[Value] = []
    left_out: set[str] = set()
    for name, task in tasks.items():
        # The audit resamples items, which fits means over items and nothing else (perplexities,
        # F1 of a whole set); and "lost" needs a direction.
        means = {
            metric
            for metric, aggregation in task.aggregation().items()
            if getattr(aggregation, "__name__", "") == "mean"
        }
        better_higher = {metric for metric, higher in task.higher_is_better().items() if higher}
        usable = means & better_higher
        for sample in samples[name]:
            item = str(sample["doc_id"])
            if len(tasks) > 1:
                # Tasks of a group count their items from 0 each.
                item = f"{name}/{item}"
            for metric in sample["metrics"]:
                if metric not in usable or not isinstance(sample[metric], numbers.Real):
                    left_out.add(f"{name}: {metric}")
                    continue
                full = metric
                if sample["filter"] != "none":
                    full = f"{metric},{sample['filter']}"
                group = name if len(tasks) > 1 else None
                rows.append((item, None, group, full, float(sample[metric])))
    if not rows:
        raise BadInput(
            f"{spec}: has no metric that is a mean over items and better when higher; nothing can "
            "be compared"
        )
    notes = [
        f"{sum(map(len, chosen.values()))} of {sum(len(t.eval_docs) for t in tasks.values())} items"
    ]
    if left_out:
        notes.append(
            "left out, since no mean over items that is better when higher: "
            f"{', '.join(sorted(left_out))}"
        )
    return rows, "; ".join(notes)


def _indices(name: str, count: int, limit: int | None, seed: int) -> list[int]:
    order = sorted(
        range(count), key=lambda k: hashlib.sha256(f"{seed}/{name}/{k}".encode()).digest()
    )
    return sorted(order[:limit])


@cache
def _manager(include_path: Path | None, *, defaults: bool) -> Any:
    from lm_eval.tasks import TaskManager

    if include_path is not None and not include_path.is_dir():
        raise BadInput(
            f"{include_path}: no such folder; include_path names a folder of lm-eval task files"
        )
    return TaskManager(
        include_path=str(include_path) if include_path else None, include_defaults=defaults
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
