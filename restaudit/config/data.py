"""Where prompts come from, what happens to bad rows, and how prompts are split."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from restaudit.config.section import (
    Line,
    Option,
    RowAction,
    Rows,
    Section,
    Seed,
    Share,
    Split,
    Text,
)


class TableSource(Section):
    """One file or data set, and how its columns are called.

    `source` is a path, `hf:org/name@revision`, `pypi:package==version!path`, `url:https://…` or
    `builtin:NAME`. `format` names an adapter: `table` reads the standard columns, the others read a
    public data set as published. `columns` maps the standard column name to the file's own. `limit`
    keeps this many rows, chosen by hash. docs/data-formats.md has the `options` of each format; `part:
    0-35` (percent, by hash of the prompt's first turn) is for all.
    """

    source: Line
    format: Line = "table"
    # None: the digest is recorded, and nothing is there to compare it with.
    sha256: Line | None = None
    licence: Text | None = None
    columns: dict[Text, Text] = {}
    split: Line = "train"
    limit: Rows | None = None
    options: dict[Line, Option] = {}


class PromptSource(TableSource):
    """Prompts, with the splits they may go to; prompts that also occur in an `exclude` source are
    left out.
    """

    use: tuple[Split, ...] = ("grow", "d_eval", "audit")
    exclude: tuple[TableSource, ...] = ()


class RowRules(Section):
    """What happens to a bad row: `refuse` stops with the file and row, `count` drops it and records
    how many.
    """

    # Refused is what points at a broken file; counted is what every real collection has some of.
    empty: RowAction = "refuse"
    duplicate: RowAction = "count"
    non_utf8: RowAction = "refuse"
    too_long: RowAction = "count"
    non_finite: RowAction = "refuse"
    max_chars: Rows = 8000


class SplitConfig(Section):
    """Disjoint splits by hash of the normalised prompt (or of its family, where prompts come in
    families).

    `near_duplicates`: `refuse` stops above `max_near_duplicate_share`; `drop` leaves out, and
    counts, the d_eval prompts that resemble an audit prompt, the grow prompts that resemble one of
    either, and the d_eval and audit prompts that resemble one in the reward model's data. Which
    prompts fill `sizes` follows from `seed` (default: the run's), so that runs of other seeds can
    have the same prompts.
    """

    seed: Seed | None = None
    # The audit has the largest share after Grow: its prompts decide how narrow the intervals are.
    shares: dict[Split, Share] = {"grow": 0.5, "d_eval": 0.15, "audit": 0.35}
    sizes: dict[Split, Rows] = {}
    counterfactual_families: dict[Split, Annotated[int, Field(ge=0, le=1_000_000_000)]] = {}
    near_duplicate_jaccard: float = Field(0.8, gt=0, le=1)
    near_duplicates: Literal["refuse", "drop"] = "refuse"
    # A few are chance, among short prompts; many mean that two splits share a source.
    max_near_duplicate_share: Share = 0.02

    @model_validator(mode="after")
    def _shares_sum(self) -> SplitConfig:
        # Decimal shares do not add up to 1 exactly.
        if set(self.shares) != set(get_args(Split)) or abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError("shares must name grow, d_eval and audit and sum to 1")
        return self


class DataConfig(Section):
    """Where prompts come from, and how they are split."""

    prompts: tuple[PromptSource, ...]
    splits: SplitConfig = SplitConfig()
    rows: RowRules = RowRules()

    @model_validator(mode="after")
    def _some(self) -> DataConfig:
        if not self.prompts:
            raise ValueError("at least one source of prompts is needed")
        return self
