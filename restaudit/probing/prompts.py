"""What a model is asked: prompts of one's own, or the audit prompts of the default recipe."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from restaudit.data.prompts import load_prompts
from restaudit.data.records import RowReport
from restaudit.errors import BadInput

BUILTIN = "builtin:reviews"
RECIPE = "reviews"


def prompts_to_ask(
    spec: str | None, limit: int | None
) -> tuple[pd.DataFrame, str | None, tuple[str, ...]]:
    """Prompts (prompt_id, prompt, references, group, family), the system prompt that goes with
    them, and what to say.

    The builtin ones are those that the default recipe audits with: 48 plain ones (or `limit`) and
    12 counterfactual families of four, none of which a run of that recipe trains on. Of a file (any
    table with a column `prompt`; a saved file of generations will do) every distinct prompt is
    asked, or `limit` prompts and families chosen by hash.
    """
    if spec in (None, BUILTIN):
        return _builtin(limit)
    from restaudit.config import DataConfig, PromptSource, RowRules

    assert spec is not None
    if not Path(spec).is_file() and ":" not in spec:
        raise BadInput(
            f"--prompts {spec}: no such file; expected a table with a column prompt, or {BUILTIN}"
        )
    source = PromptSource(source=spec, format="table", limit=limit)
    table, (report,) = load_prompts(DataConfig(prompts=(source,), rows=RowRules(too_long="refuse")))
    return table.sort_values("prompt_id").reset_index(drop=True), None, _notes(spec, report)


def _notes(spec: str, report: RowReport) -> tuple[str, ...]:
    left_out = "; ".join(f"{count} {reason}" for reason, count in report.dropped.items())
    return (
        f"prompts {spec}: {report.used} of {report.read} rows asked"
        + (f" (left out: {left_out})" if left_out else ""),
    )


def _builtin(limit: int | None) -> tuple[pd.DataFrame, str | None, tuple[str, ...]]:
    from restaudit.config.reading import load
    from restaudit.data.splits import make_splits

    config = load(RECIPE, [] if limit is None else [f"data.splits.sizes.audit={limit}"])
    table, _ = load_prompts(config.data)
    asked = make_splits(table, config.data.splits, config.seed)[0]["audit"]
    plain, families = int(asked["family"].isna().sum()), asked["family"].dropna().nunique()
    note = (
        f"prompts {BUILTIN}: {plain} plain ones and {families} counterfactual families, the "
        "recipe's audit prompts"
    )
    return asked, config.policy.system_prompt, (note,)
