"""All prompts of a run, as one table: what the policy is asked, before it is split."""

from __future__ import annotations

import pandas as pd

from restaudit.config import DataConfig, PromptSource, RowRules, TableSource
from restaudit.data.adapters import EXTRA_FILES, FEEDBACK, PROMPTS
from restaudit.data.feedback import load_feedback
from restaudit.data.records import (
    PART,
    Dropped,
    PromptRecord,
    RowLedger,
    RowReport,
    in_part,
    limited,
)
from restaudit.data.tables import open_source
from restaudit.errors import BadInput
from restaudit.evidence.chats import first_turn, normalise, prompt_id

COLUMNS = ("prompt_id", "prompt", "references", "group", "family", "source", "use")


def load_prompts(config: DataConfig) -> tuple[pd.DataFrame, list[RowReport]]:
    """Read every source of prompts; one row a distinct prompt, and where all other rows went.

    Columns: prompt_id (16 hex digits of the normalised prompt's SHA-256), prompt (plain text, or a
    JSON list of messages), references (list of str, may be empty), group and family (str or None),
    source (its format, with the kind of prompt where the set has kinds), use (tuple of the splits
    it may go to). The references of rows with the same prompt are joined; a prompt that an earlier
    source already gave is counted as a duplicate in the later one.
    """
    rows: list[dict[str, object]] = []
    reports: list[RowReport] = []
    # By normalised prompt: one prompt in two sources would weigh twice, and could be on two sides.
    given: set[str] = set()
    for source in config.prompts:
        ledger = RowLedger(source.source, config.rows)
        records = _read(source, config.rows, ledger)
        fresh = {key: record for key, record in records.items() if key not in given}
        if len(fresh) < len(records):
            ledger.drop("already given by an earlier source", len(records) - len(fresh))
        given.update(fresh)
        rows.extend(_row(record, source) for record in fresh.values())
        reports.append(ledger.report(len(fresh)))
    if not rows:
        raise BadInput(
            f"data.prompts: no usable prompt in {', '.join(s.source for s in config.prompts)}"
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    # None and not NaN, which pandas makes of a column where every prompt lacks a group.
    names = table[["group", "family"]]
    table[["group", "family"]] = names.astype(object).where(names.notna(), None)
    return table, reports


def _read(source: PromptSource, rules: RowRules, ledger: RowLedger) -> dict[str, PromptRecord]:
    adapter = PROMPTS.get(source.format)
    if adapter is None:
        raise BadInput(
            f"{source.source}: format '{source.format}' holds no prompts; expected "
            f"{', '.join(PROMPTS)}"
        )
    # Of an excluded source every prompt is left out, however it is written: keys are normalised.
    excluded: set[str] = set()
    for other in source.exclude:
        excluded |= _keys(other, rules)
    records: dict[str, PromptRecord] = {}
    for record in adapter(open_source(source, EXTRA_FILES.get(source.format, ()))):
        ledger.read += 1
        if isinstance(record, Dropped):
            ledger.drop(record.reason)
            continue
        texts = [("prompt", record.prompt), *(("references", r) for r in record.references)]
        names = (("group", record.group), ("family", record.family), ("label", record.kind))
        texts += [(column, name) for column, name in names if name]
        if not ledger.texts_ok(record.where, texts, may_be_empty=frozenset()):
            continue
        key = normalise(record.prompt)
        if not in_part(source, first_turn(record.prompt)):
            ledger.drop(f"outside part {source.options[PART]}")
        elif key in excluded:
            ledger.drop("in an excluded source")
        elif key in records and record.references:
            before = records[key]
            merged = tuple(dict.fromkeys(before.references + record.references))
            records[key] = PromptRecord(
                before.where, before.prompt, merged, before.group, before.family, before.kind
            )
            ledger.drop("same prompt, references joined")
        elif ledger.first_time(record.where, "prompt", [key]):
            records[key] = record
    kept = limited(
        list(records.items()), source.limit, ledger, lambda item: item[1].family or item[0]
    )
    return dict(kept)


def _keys(other: TableSource, rules: RowRules) -> set[str]:
    """Normalised prompts of a source that must not be used: one of prompts, or one of feedback with
    its prompts.
    """
    if other.format in PROMPTS:
        keys = set()
        opened = open_source(other, EXTRA_FILES.get(other.format, ()))
        for record in PROMPTS[other.format](opened):
            if isinstance(record, PromptRecord) and in_part(other, first_turn(record.prompt)):
                keys.add(normalise(record.prompt))
        return keys
    if other.format in FEEDBACK:
        return {normalise(p) for p in load_feedback(other, rules).table["prompt"].unique()}
    raise BadInput(
        f"{other.source}: unknown format '{other.format}'; expected "
        f"{', '.join({**PROMPTS, **FEEDBACK})}"
    )


def _row(record: PromptRecord, source: PromptSource) -> dict[str, object]:
    return {
        "prompt_id": prompt_id(record.prompt),
        "prompt": record.prompt,
        "references": list(record.references),
        "group": record.group,
        "family": record.family,
        "source": source.format if record.kind is None else f"{source.format}/{record.kind}",
        "use": tuple(source.use),
    }
