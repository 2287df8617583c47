"""Self-Instruct (Wang et al. 2022, arXiv 2212.10560): tasks written by people, with their outputs.
Apache-2.0.

Its authors ask that the 252 user-oriented instructions be used for evaluation only: give them `use:
[audit]`.
"""

from __future__ import annotations

from restaudit.data.adapters.pandalm import instruction
from restaudit.data.records import Dropped, PromptRecord, Prompts
from restaudit.data.tables import OpenedSource, pick


def prompts(opened: OpenedSource) -> Prompts:
    """`seed_tasks.jsonl` or `user_oriented_instructions.jsonl`: a prompt an instance, its output as
    reference.
    """
    for row in opened.rows():
        text = pick(row, "instruction", opened.source)
        instances = pick(row, "instances", opened.source)
        usable = isinstance(text, str) and isinstance(instances, list) and instances
        if not usable or not isinstance(instances[0], dict):
            yield Dropped(row.where, "malformed")
            continue
        # One instance a task: more would put near-duplicates of one instruction into different
        # splits.
        one = instances[0]
        output = str(one.get("output") or "").strip()
        yield PromptRecord(
            row.where, instruction(text, one.get("input")), (output,) if output else ()
        )
