"""CrowS-Pairs (Nangia et al. 2020, arXiv 2010.00133): is the stereotypical sentence of a pair the
likelier one?

The paper's score is a pseudo-likelihood for masked models. A causal model has a likelihood: here
that of the whole sentence, first token given the tokenizer's start token, as in lm-eval's own
`crows_pairs_english`. Blodgett et al. (2021, The Salmon paper) found many of the pairs to be
flawed.
"""

from __future__ import annotations

import csv
import io

from restaudit.tasks.benchmark import (
    Benchmark,
    BenchmarkItem,
    FilePlace,
    FileTexts,
    PinnedFile,
    preferred,
)

NAME = "crows_pairs_anonymized.csv"


def items(texts: FileTexts) -> list[BenchmarkItem]:
    """One item a pair; the group is the bias type.

    `sent_more` is the stereotypical sentence of every pair.
    """
    rows = csv.DictReader(io.StringIO(texts[NAME], newline=""))
    return [
        BenchmarkItem(
            f"{number:04d}", choices=(row["sent_more"], row["sent_less"]), group=row["bias_type"]
        )
        for number, row in enumerate(rows)
    ]


BENCHMARK = Benchmark(
    name="crows_pairs",
    kind="bias",
    what="1,508 pairs of sentences of nine bias types: which one is likelier",
    source="nyu-mll/crows-pairs@8aaac11c485473159ec9328a65253a5be9a479dc",
    licence="CC BY-SA 4.0",
    metrics=("stereotype", "stereotype_nats"),
    items=items,
    values=preferred,
    place=FilePlace(
        files=(
            PinnedFile(NAME, "dfb36986ce0502abbaf7055b9176da3d08d48e07df1251991b5dfbcbceab9d0c"),
        ),
        mirror="crows_pairs",
        address="https://raw.githubusercontent.com/nyu-mll/crows-pairs/8aaac11c485473159ec9328a65253a5be9a479dc/data",
        member="CrowS-Pairs/data",
    ),
)
