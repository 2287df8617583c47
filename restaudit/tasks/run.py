"""Benchmarks on the policy as it stands: names in, one long table of values by item out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from restaudit.errors import BadInput
from restaudit.evidence.record import ITEMS
from restaudit.tasks import harness, lm_eval_tasks
from restaudit.tasks.benchmark import BenchmarkItem, file_texts
from restaudit.tasks.catalogue import check_names, find, short_name
from restaudit.tasks.harness import policy_model

if TYPE_CHECKING:
    from restaudit.policy import Policy


def run_tasks(
    policy: Policy,
    tasks: Sequence[str],
    *,
    limit: int | None,
    seed: int,
    include_path: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Run benchmarks on the policy with the weights it has now.

    Parameters
    ----------
    policy
        As `load_policy` returns it. It is left as it was: weights, training mode, tokenizer and the
        states of all random generators.
    tasks
        Names (see `available`), `lm_eval:NAME` or `path:FILE.yaml`.
    limit
        At most this many items of each task, drawn by hash of the seed and the item's name, so that
        two policies get the same ones; None for all.
    seed
        Which items are drawn. Nothing else is random: replies are greedy.
    include_path
        A folder of task files in which `lm_eval:NAME` is looked up too.
    progress
        Called with 1 when a task is done.

    Returns
    -------
    DataFrame with columns ITEMS, a row an item and metric: `task` (short name), `item_id`,
    `cluster` (the template or kind it shares with other items, or None), `metric`, `value`, `group`
    (or None); sorted. `attrs["notes"]` says for each task how many of its items were used and what
    was left out.

    Raises
    ------
    BadInput
        For a name that is not known, data that cannot be had, or two tasks of one name.
    """
    check_names(tasks)
    if limit is not None and limit < 1:
        raise BadInput(f"benchmarks: limit is {limit}; expected at least 1, or none at all")
    rows: list[tuple[str, str, str | None, str, float, str | None]] = []
    notes: dict[str, str] = {}
    note: str
    # All data first: a file that cannot be had must not cost the answers to the tasks before it.
    ready = {spec: _items(spec) for spec in tasks}
    with harness.undisturbed(policy):
        lm = policy_model(policy)
        for spec in tasks:
            name, benchmark = short_name(spec), find(spec)
            if benchmark is None:
                answers, note = lm_eval_tasks.answers(
                    lm, spec, lm_eval_tasks.load(spec, include_path), limit=limit, seed=seed
                )
            else:
                items = _drawn(ready[spec], name, limit, seed)
                answers = harness.answers(lm, policy, benchmark, items, name)
                note = f"{len(items)} of {len(ready[spec])} items"
            notes[name] = note
            for item, cluster, group, metric, value in answers:
                rows.append((name, item, cluster, metric, value, group))
            if progress is not None:
                progress(1)
    table = pd.DataFrame(rows, columns=list(ITEMS)).astype({"value": "float64"})
    for column in ("cluster", "group"):
        table[column] = table[column].astype(object).where(table[column].notna(), None)
    table = table.sort_values(["task", "metric", "item_id"], kind="stable").reset_index(drop=True)
    table.attrs["notes"] = notes
    return table


def _items(spec: str) -> list[BenchmarkItem]:
    benchmark = find(spec)
    if benchmark is None:
        return []
    return benchmark.items(file_texts(benchmark))


def _drawn(
    items: Sequence[BenchmarkItem], name: str, limit: int | None, seed: int
) -> list[BenchmarkItem]:
    def by_hash(item: BenchmarkItem) -> bytes:
        return hashlib.sha256(f"{seed}/{name}/{item.item_id}".encode()).digest()

    # By hash of the names, so that two policies are asked the same items: their change is paired.
    return sorted(sorted(items, key=by_hash)[:limit], key=lambda i: i.item_id)
