"""The columns of a file, by the names probes use, each value with the line or row it stands in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from restaudit.data.tables import read_rows
from restaudit.errors import BadInput


@dataclass(frozen=True)
class Columns:
    """What was read of a file: `values` by standard name, all of length `len(where)`; `where` says
    "line 7" or "row 7".

    `called` maps a standard name to the file's own where the two differ; `unread` are the columns
    nothing reads.
    """

    path: Path
    where: Sequence[str]
    values: Mapping[str, list[Any]]
    called: Mapping[str, str]
    unread: tuple[str, ...]

    def bad(self, row: int, column: str, what: str) -> BadInput:
        """The error for one value: file, line or row, column, and what is wrong and expected."""
        return BadInput(
            f"{self.path}: {self.where[row]}: column '{self.called.get(column, column)}': {what}"
        )


def read_columns(
    path: Path,
    *,
    names: Collection[str],
    required: Collection[str],
    aliases: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
) -> Columns:
    """Read the columns `names` of a .jsonl, .json, .csv, .tsv or .parquet file (the text ones
    perhaps with .gz).

    `given` maps a standard name to the file's own name; a file without that column is read by its
    standard names. Where a standard name is absent and exactly one of its `aliases` is there, that
    is read instead. A row without a value has None. Raises BadInput for a file that cannot be read,
    has no row, lacks a required column, or has two columns that could stand for one.
    """
    if path.suffix.lower() == ".parquet":
        present, where, stored = _parquet(path, names, aliases, given)
    else:
        present, where, stored = _rows(path, names, aliases, given)
    if not where:
        raise BadInput(f"{path}: holds no row; expected one row for each generation")
    called: dict[str, str] = {}
    values: dict[str, list[Any]] = {}
    for name in names:
        own = _pick(path, name, present, aliases.get(name, ()), given.get(name))
        if own is not None:
            values[name] = stored[own]
            if own != name:
                called[name] = own
        elif name in required:
            raise BadInput(_lacks(path, name, present))
    read = {called.get(name, name) for name in values}
    return Columns(path, where, values, called, tuple(c for c in present if c not in read))


def _pick(
    path: Path, name: str, present: Sequence[str], aliases: Sequence[str], given: str | None
) -> str | None:
    if given is not None and given in present:
        return given
    if name in present:
        return name
    found = [a for a in aliases if a in present]
    if len(found) > 1:
        raise BadInput(
            f"{path}: no column '{name}', and {' and '.join(repr(f) for f in found)} could both "
            f"stand for it; say which with --column {name}={found[0]}"
        )
    return found[0] if found else None


def _lacks(path: Path, name: str, present: Sequence[str]) -> str:
    near = get_close_matches(name, present, n=1, cutoff=0.5)
    example = near[0] if near else "<name in the file>"
    there = ", ".join(present) or "none"
    return (
        f"{path}: no column '{name}' (columns here: {there}); name it with --column "
        f"{name}={example}"
    )


def _rows(
    path: Path,
    names: Collection[str],
    aliases: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
) -> tuple[list[str], list[str], dict[str, list[Any]]]:
    wanted = _wanted(names, aliases, given)
    present: dict[str, None] = {}
    where: list[str] = []
    stored: dict[str, list[Any]] = {}
    for row in read_rows(path):
        for name in row.values:
            if name not in present:
                present[name] = None
                if name in wanted:
                    stored[name] = [None] * len(where)
        for name, values in stored.items():
            values.append(row.values.get(name))
        where.append(row.where)
    return list(present), where, stored


def _parquet(
    path: Path,
    names: Collection[str],
    aliases: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
) -> tuple[list[str], list[str], dict[str, list[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = _wanted(names, aliases, given)
    try:
        present = [str(n) for n in pq.read_schema(path).names]
        table = pq.read_table(path, columns=[n for n in present if n in wanted])
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (pa.ArrowException, OSError, ValueError) as e:
        raise BadInput(f"{path}: not a readable Parquet file ({str(e).splitlines()[0]})") from None
    stored = {name: _listed(path, name, table.column(name)) for name in table.column_names}
    return present, [f"row {k}" for k in range(1, table.num_rows + 1)], stored


def _listed(path: Path, name: str, column: Any) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        raise BadInput(
            f"{path}: row {_undecoded(column)}: column '{name}': not UTF-8; expected UTF-8 text"
        ) from None
    return values


def _undecoded(column: Any) -> int:
    import pyarrow as pa

    for row, value in enumerate(column.cast(pa.large_binary()).to_pylist(), start=1):
        try:
            (value or b"").decode("utf-8")
        except UnicodeDecodeError:
            return row
    return 0


def _wanted(
    names: Collection[str], aliases: Mapping[str, Sequence[str]], given: Mapping[str, str]
) -> set[str]:
    return {*names, *given.values(), *(a for own in aliases.values() for a in own)}
