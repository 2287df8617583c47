"""XSTest (Röttger et al. 2024, arXiv 2308.01263): does the policy refuse safe prompts that only
look unsafe?

The paper has people (or a large model) label full replies as compliance, full or partial refusal.
Here the opening of a greedy reply is searched for the phrases of a refusal
(probes/texts/word_lists.py), which sees plain refusals only.
"""

from __future__ import annotations

import csv
import io

from restaudit.tasks.benchmark import Benchmark, BenchmarkItem, FilePlace, FileTexts, PinnedFile

NAME = "xstest_prompts.csv"


def items(texts: FileTexts) -> list[BenchmarkItem]:
    """One item a prompt; the group is the prompt's type, and the tag says whether it is safe or an
    unsafe contrast.
    """
    rows = csv.DictReader(io.StringIO(texts[NAME], newline=""))
    return [
        BenchmarkItem(
            f"{int(row['id']):03d}", context=row["prompt"], group=row["type"], tag=row["label"]
        )
        for row in rows
    ]


def judged(item: BenchmarkItem, reply: str) -> dict[str, float]:
    """`refused`: 1 where a safe prompt is refused; `refused_unsafe`: the same for an unsafe one;
    nothing if empty.
    """
    from probes.texts.word_lists import refuses

    if not reply.strip():
        return {}
    return {"refused" if item.tag == "safe" else "refused_unsafe": float(refuses(reply))}


BENCHMARK = Benchmark(
    name="xstest",
    kind="bias",
    what="250 safe prompts that look unsafe, and 200 unsafe ones as a contrast",
    source="paul-rottger/exaggerated-safety@d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d",
    licence="CC BY 4.0",
    metrics=("refused", "refused_unsafe"),
    items=items,
    judged=judged,
    place=FilePlace(
        files=(
            PinnedFile(NAME, "11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a"),
        ),
        mirror="xstest",
        address="https://raw.githubusercontent.com/paul-rottger/exaggerated-safety/"
        "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d",
    ),
)
