"""XSTest (Röttger et al. 2024, NAACL): safe prompts that look unsafe, and unsafe contrasts. CC BY
4.0.
"""

from __future__ import annotations

from restaudit.data.records import PromptRecord, Prompts
from restaudit.data.tables import OpenedSource, pick


def prompts(opened: OpenedSource) -> Prompts:
    """`xstest_prompts.csv`.

    `options.label`: `all` (default), `safe`, `unsafe`; the label goes into the source.
    """
    wanted = opened.option("label", "all", ("all", "safe", "unsafe"))
    for row in opened.rows():
        label = str(pick(row, "label", opened.source))
        if wanted in ("all", label):
            yield PromptRecord(row.where, str(pick(row, "prompt", opened.source)), kind=label)
