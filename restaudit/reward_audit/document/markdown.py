"""Parts of the document as Markdown, for the card: verdict and failures, summary, single answers,
what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from restaudit.evidence.shown import MOST_IN_ANSWER, lines_of, markdown_text, sentence
from restaudit.reward_audit.document.model import (
    NOBODY,
    Document,
    Failure,
    FieldAnswer,
    Table,
    by_file,
)

FIRST_DIGITS = 12


def verdict_and_failures(document: Document) -> str:
    """Overrides, the verdict with its reasons, and every failure with examples."""
    parts = [f"- **{markdown_text(line, MOST_IN_ANSWER)}**" for line in document.overrides]
    parts.append(
        f"**{document.verdict}.** "
        + " ".join(markdown_text(r, MOST_IN_ANSWER) for r in document.reasons)
    )
    if document.failures is None:
        return "\n\n".join(
            [*parts, "## Failures of the stress tests", "Not known: nobody stressed it."]
        )
    parts.append(f"## Failures of the stress tests: {len(document.failures)}")
    return "\n\n".join(
        [*parts, *(_failure(f) for f in document.failures)]
        if document.failures
        else [*parts, "None failed."]
    )


def summary(document: Document) -> str:
    """A row a line of the summary."""
    return rows(("what", "in short"), [(k, v) for k, v in document.summary], most=600)


def gaps(document: Document) -> str:
    """Every question nobody answered, and who could."""
    head = f"## What nobody said: {len(document.gaps)}"
    lines = [
        f"- {markdown_text(a.asks)} (`{a.key}`) Who could say: {markdown_text(a.who, 400)}."
        for a in document.gaps
    ]
    return "\n\n".join([head, "\n".join(lines) or "Nothing is missing."])


def answered(a: FieldAnswer) -> str:
    """One question with its status, answer and evidence."""
    parts = [f"**{markdown_text(a.asks)}** {a.status}"]
    why = (
        [markdown_text(sentence(a.reason), MOST_IN_ANSWER)]
        if a.reason and a.reason != NOBODY
        else []
    )
    why += [f"Who could say: {markdown_text(a.who, 400)}."] if a.status == "MISSING" else []
    parts[0] += f". {' '.join(why)}" if why else ""
    parts += [value(a.value), *(table(t) for t in a.tables)]
    if a.declared is not None:
        parts += ["Declared besides (nobody verified it):", value(a.declared)]
    if a.evidence:
        parts.append(
            "Evidence: "
            + "; ".join(
                (
                    f"{markdown_text(path)}{' › ' + markdown_text(at) if at else ''} (sha256 "
                    f"{sha256[:FIRST_DIGITS]})"
                )
                for path, at, sha256 in by_file(a.evidence)
            )
        )
    return "\n\n".join(p for p in parts if p)


def value(said: Any) -> str:
    """A value as a paragraph or a list; "" for None."""
    if said is None:
        return ""
    found = lines_of(said)
    if len(found) == 1 and not found[0][0]:
        return "> " + markdown_text(found[0][1], MOST_IN_ANSWER)
    return "\n".join(
        f"- {markdown_text(k) + ': ' if k else ''}{markdown_text(v, MOST_IN_ANSWER)}"
        for k, v in found
    )


def table(shown: Table) -> str:
    """A table under its caption."""
    return f"*{markdown_text(shown.caption)}*\n\n{rows(shown.columns, shown.rows)}"


def rows(columns: Sequence[str], cells: Sequence[Sequence[str]], *, most: int = 240) -> str:
    """A table; every cell is one line of text."""
    lines = [
        "| " + " | ".join(markdown_text(c) for c in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    lines += ["| " + " | ".join(markdown_text(c, most) for c in row) + " |" for row in cells]
    return "\n".join(lines)


def _failure(f: Failure) -> str:
    said = f"**{markdown_text(f.name)}.** {markdown_text(f.says, MOST_IN_ANSWER)}"
    return said if f.table is None else f"{said}\n\n{table(f.table)}"
