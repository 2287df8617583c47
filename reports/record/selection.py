"""A Grow set as numbers and names, and what the sealed rule chooses from it: fast and small for a
million rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reports.record.files import Records
from restaudit.config import LoopConfig, TopThresholds
from restaudit.errors import BadInput
from restaudit.files import parquet, plain
from restaudit.loop.select import kept_set, thresholds

Numbers = np.ndarray[Any, np.dtype[Any]]
PIECE, BUFFER = 65_536, 1 << 18
NUMBERS, NAMES = ("reward", "reward_01"), ("prompt_id", "origin")


@dataclass(frozen=True)
class GrowSet:
    """The rows of a scored Grow set in order.

    `ids` are the samples' names; `prompt` numbers stand for `prompts`; `reference` says who wrote a
    row: a person, or a policy of the run. `reward` is in the reward model's unit, `reward_01` in
    0..1.
    """

    ids: pa.ChunkedArray
    prompts: tuple[str, ...]
    prompt: Numbers
    reference: Numbers
    reward: Numbers
    reward_01: Numbers


@dataclass(frozen=True)
class Taken:
    """What one Improve step did with each row.

    `reward_01` is what was compared with `threshold` (τ, 0..1), `used` whether it trained on the
    row, `why` a number of WHY.
    """

    reward_01: Numbers
    threshold: Numbers
    used: Numbers
    why: Numbers


WHY = (
    "its reward is not above the threshold",
    "a human reference whose reward is above the threshold",
    "its reward is above the threshold",
    "its reward is above the threshold, but better samples of the same prompt took its place",
)


def names_of(records: Records, file: str) -> pa.ChunkedArray:
    """The column sample_id of a recorded table."""
    return _text(_read(records, file, ("sample_id",))["sample_id"])


def has_name(records: Records, file: str, sample: str) -> bool:
    """Whether a row of a recorded table has this name; read a piece at a time, and no further than
    to it.
    """
    names = (piece["sample_id"] for piece in _pieces(records, file, ("sample_id",)))
    return any(place_of(part, sample) is not None for part in names)


def by_policy(records: Records, file: str, kept: str | None) -> float | None:
    """Share of a Grow set's rows that a policy wrote, 0..1, of those only that a kept set names;
    None without rows.
    """
    rows = _read(records, file, ("sample_id", "origin"))
    written = pc.equal(rows["origin"].cast(pa.string()), "policy").fill_null(False)
    if kept is not None:
        # All names at once: a look-up table made anew for every piece takes most of the time.
        written = written.filter(
            pc.is_in(_text(rows["sample_id"]), value_set=names_of(records, kept))
        )
    if not len(written):
        return None
    return float(pc.mean(written).as_py())


def place_of(names: pa.ChunkedArray | pa.Array, sample: str) -> int | None:
    """The number of the row with this name, None where there is none."""
    # Arrow says -1 for a value that is not there.
    place = pc.index(names, pa.scalar(sample, names.type)).as_py()
    return None if place < 0 else int(place)


def grow_set(records: Records, grow: str) -> GrowSet:
    """Read a scored Grow set without its texts. Raises BadInput for a table that is none."""
    file = f"{grow}/grow.parquet"
    table = _read(records, file, ("sample_id", *NAMES, *NUMBERS))
    if table["prompt_id"].null_count or table["sample_id"].null_count:
        raise BadInput(f"{records.run.path}/{file}: a row without a prompt or a name")
    # Every piece numbers its own prompts: one numbering for all, or numbers could not be compared.
    prompts = table["prompt_id"].unify_dictionaries().combine_chunks()
    return GrowSet(
        ids=_text(table["sample_id"]),
        prompts=tuple(prompts.dictionary.to_pylist()),
        prompt=prompts.indices.to_numpy(zero_copy_only=False),
        reference=pc.equal(table["origin"].cast(pa.string()), "reference")
        .fill_null(False)
        .to_numpy(),
        **{name: np.asarray(table[name].to_numpy(), dtype=np.float64) for name in NUMBERS},
    )


def taken(records: Records, rows: GrowSet, name: str) -> Taken:
    """What the Improve step `name` ("g01/i02") did with each row of its Grow set.

    Raises BadInput where the recorded kept set is not what the sealed rule chooses.
    """
    config = records.run.loop
    threshold, used = selected(config, rows, int(name.split("/i")[1]))
    kept = names_of(records, f"{name}/kept.parquet")
    # Equal order is the rule, and quick to see; only a set that is not gets the slow comparison.
    if not rows.ids.filter(pa.array(used)).equals(kept):
        _same(records, rows, used, kept, name)
    reward = rows.reward_01
    if config.binary_reward_above is not None:
        reward = reward > config.binary_reward_above
    reward = reward.astype(np.float64)
    # The numbers are places in WHY.
    why = np.select([used & rows.reference, used, reward > threshold], [1, 2, 3], 0)
    return Taken(reward, threshold, used, why)


def row(rows: GrowSet, did: Taken, place: int) -> dict[str, Any]:
    """One row, with the columns of `reports.record.lineage.training_rows`."""
    return {
        "sample_id": str(rows.ids[place].as_py()),
        "prompt_id": rows.prompts[rows.prompt[place]],
        "origin": "reference" if rows.reference[place] else "policy",
        "reward": float(rows.reward[place]),
        "reward_01": float(did.reward_01[place]),
        "threshold": float(did.threshold[place]),
        "used": bool(did.used[place]),
        "why": WHY[did.why[place]],
    }


def selected(config: LoopConfig, rows: GrowSet, step: int) -> tuple[Numbers, Numbers]:
    """τ of every row, and whether the sealed rule chooses it, for Improve step `step` (1, 2, …)."""
    by_name = isinstance(config.thresholds, TopThresholds) or config.keep_per_prompt is not None
    # Names decide between equal rewards of a prompt; their order does as well as they do.
    order = _order(rows.ids) if by_name else np.arange(len(rows.ids), dtype=np.int32)
    table = pd.DataFrame(
        {"sample_id": order, "prompt_id": rows.prompt, "reward_01": rows.reward_01}
    )
    chosen = np.isin(order, kept_set(config, table, step)["sample_id"].to_numpy())
    if config.binary_reward_above is not None:
        table["reward_01"] = (table["reward_01"] > config.binary_reward_above).astype(float)
    return thresholds(config.thresholds, table, step).to_numpy(), chosen


def _order(ids: pa.ChunkedArray) -> Numbers:
    """Each row's place among the sorted names."""
    order = np.empty(len(ids), dtype=np.int64)
    order[pc.sort_indices(ids).to_numpy()] = np.arange(len(ids))
    return order


def _same(records: Records, rows: GrowSet, used: Numbers, kept: pa.ChunkedArray, name: str) -> None:
    """The kept set may be in another order, and holds the same rows.

    Raises BadInput where it does not.
    """
    there = pc.is_in(rows.ids, value_set=kept).to_numpy()
    others = len(kept) - int(pc.sum(pc.is_in(kept, value_set=rows.ids)).as_py() or 0)
    differ = int((there ^ used).sum()) + others
    if differ:
        raise BadInput(
            f"{records.run.path}/{name}/kept.parquet: {differ} rows differ from those that the "
            "sealed thresholds choose from the recorded Grow set"
        )


def _text(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """As one kind of text, so that tables of any writer can be compared."""
    if names.type == pa.large_string():
        return names
    return names.cast(pa.large_string())


def _read(records: Records, file: str, columns: Sequence[str]) -> pa.Table:
    return pa.Table.from_batches(_pieces(records, file, columns))


def _pieces(records: Records, file: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """A table piece by piece: a row group may hold a million rows, and takes several times as much
    decoded whole.
    """
    path = records.checked(file)
    try:
        # A million rows repeat a few prompts: as numbers with one list of names they stay small.
        coded = [c for c in columns if c in NAMES]
        with plain.opened(records.run.path, file) as opened:
            parquet.check_claims(path, opened)
            table = pq.ParquetFile(
                opened, read_dictionary=coded, buffer_size=BUFFER, pre_buffer=False
            )
            schema = table.schema_arrow
            missing = [column for column in columns if column not in schema.names]
            if missing:
                raise BadInput(f"{path}: lacks the column(s) {', '.join(missing)}")
            # A table without rows has no pieces, and still has these columns.
            wanted = pa.schema([schema.field(column) for column in columns])
            yield pa.RecordBatch.from_pylist([], schema=wanted)
            yield from table.iter_batches(PIECE, columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as e:
        raise BadInput(f"{path}: not a readable Parquet table ({e})") from None
