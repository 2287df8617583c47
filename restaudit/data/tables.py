"""Rows of a file or data set, each with the place it came from: jsonl, json, csv, tsv, parquet,
Hugging Face.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from restaudit.config import TableSource
from restaudit.errors import BadInput
from restaudit.files import given, parquet
from restaudit.models.artifacts import Artifact, resolve

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet")
_HF = re.compile(r"hf:(?P<repo>[\w.-]+(?:/[\w.-]+)?)@(?P<revision>[\w./-]+)")


@dataclass(frozen=True)
class SourceRow:
    """One row as read: its place ("line 7" of a text file, "row 7" of a table) and its values by
    column.
    """

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class OpenedSource:
    """A source whose files are at hand.

    `extra` holds the further files an adapter's options name.
    """

    source: TableSource
    artifacts: tuple[Artifact, ...]
    builtin: str | None = None

    @property
    def name(self) -> str:
        """How messages and reports call this source."""
        return self.source.source

    def lines(self, index: int = 0) -> Iterator[tuple[int, str]]:
        """The lines of one of the source's files with their numbers, without their ends; bytes that
        are not UTF-8 become lone surrogates, which the row rules find.
        """
        for number, line in given.lines(self.artifacts[index].path):
            yield number, line.removesuffix("\n").rstrip("\r")

    def rows(self, index: int = 0) -> Iterator[SourceRow]:
        """The rows of one of the source's files."""
        if not self.artifacts:
            yield from _hub_rows(self.source)
        else:
            yield from read_rows(self.artifacts[index].path)

    def option(self, key: str, default: str, allowed: tuple[str, ...] | None = None) -> str:
        """A text option of the adapter, checked against what is allowed."""
        value = str(self.source.options.get(key, default))
        if allowed is not None and value not in allowed:
            raise BadInput(
                f"{self.name}: options.{key} is '{value}'; expected one of {', '.join(allowed)}"
            )
        return value


def open_source(source: TableSource, extra: tuple[str, ...] = ()) -> OpenedSource:
    """Fetch what a source names: its own file and those in the options called `extra` (each with
    `<name>_sha256`).
    """
    kind, _, name = source.source.partition(":")
    if kind == "builtin":
        return OpenedSource(source, (), builtin=name)
    if _HF.fullmatch(source.source):
        return OpenedSource(source, ())
    main = resolve(_as_dataset(source.source), sha256=source.sha256, licence=source.licence)
    artifacts = [main]
    for option in extra:
        specs, pins = _texts(source, option), _texts(source, f"{option}_sha256")
        if pins and len(pins) != len(specs):
            raise BadInput(
                f"{source.source}: options.{option} names {len(specs)} file(s), {option}_sha256 "
                f"{len(pins)}"
            )
        for number, spec in enumerate(specs):
            pin = pins[number] if pins else None
            artifacts.append(resolve(_as_dataset(spec), sha256=pin, licence=source.licence))
    return OpenedSource(source, tuple(artifacts))


def read_text(path: Path) -> str:
    """A text file, gunzipped where gzipped, without a byte-order mark; held whole."""
    return given.whole(path).decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def read_rows(path: Path) -> Iterator[SourceRow]:
    """Rows of one file, as they are asked for; its format is told by its name (a `.gz` at the end
    is ignored).

    Raises BadInput with the file and line on anything that is not a row (bad JSON, a row that is
    not an object, a wrong number of fields, no header), and beyond the limits of `files.given`.
    """
    suffix = kind_of(path)
    if suffix == ".parquet":
        yield from _parquet(path)
        return
    most = given.most_rows(path)
    for number, row in enumerate(_text_rows(path, suffix), start=1):
        if number > most:
            raise BadInput(
                f"{path}: {row.where}: more than {most:,} rows, {given.BYTES_A_ROW} bytes of the "
                "packed file for each; if it is what you mean, unpack it first (gunzip)"
            )
        yield row


def kind_of(path: Path) -> str:
    """What kind of file a name says it is, one of FORMATS. Raises BadInput for another."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in FORMATS:
        raise BadInput(
            f"{path}: unknown kind of file; expected {', '.join(FORMATS)}, optionally with .gz"
        )
    return suffix


def _text_rows(path: Path, suffix: str) -> Iterator[SourceRow]:
    if suffix == ".jsonl":
        return _json_lines(path)
    if suffix == ".json":
        return _json_array(path)
    return _separated(path, "," if suffix == ".csv" else "\t")


def pick(row: SourceRow, column: str, source: TableSource, *, required: bool = True) -> Any:
    """The value of a standard column, by the source's column mapping; None where an optional column
    is absent.
    """
    name = source.columns.get(column, column)
    if name in row.values:
        return row.values[name]
    if not required and column not in source.columns:
        return None
    have = [str(c) for c in row.values]
    near = get_close_matches(name, have, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise BadInput(
        f"{source.source}: {row.where}: no column '{name}' (columns here: {listed(have)}){hint} "
        f"Map it with columns: {{{column}: <name in the file>}}"
    )


SHOWN_NAMES, SHOWN = 30, 60


def listed(names: Sequence[str]) -> str:
    """Names for a message, which a file with ten thousand columns must not fill."""
    shown = [name[:SHOWN] for name in names[:SHOWN_NAMES]]
    more = len(names) - len(shown)
    if more > 0:
        shown.append(f"and {more} more")
    return ", ".join(shown) or "none"


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    if len(text) > SHOWN:
        return f"{text[:SHOWN]}…"
    return text


def _as_dataset(spec: str) -> str:
    """In a data set's place `hf:` means a data set, where elsewhere it is a model."""
    if not spec.startswith("hf:"):
        return spec
    return f"hf-dataset:{spec.removeprefix('hf:')}"


def _texts(source: TableSource, option: str) -> list[str]:
    value = source.options.get(option, [])
    if not isinstance(value, list):
        return [str(value)]
    return [str(v) for v in value]


def _json_lines(path: Path) -> Iterator[SourceRow]:
    # Only "\n" ends a line: JSON strings may hold U+2028 and its like.
    for number, line in given.lines(path):
        if line.strip():
            where = f"line {number}"
            value = given.json_row(f"{path}: {where}", line)
            yield SourceRow(where, _object(path, where, value))


def _json_array(path: Path) -> Iterator[SourceRow]:
    for where, value in given.json_list(path):
        yield SourceRow(where, _object(path, where, value))


def _object(path: Path, where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{path}: {where}: expected a JSON object, got {type(value).__name__}")
    return value


def _separated(path: Path, separator: str) -> Iterator[SourceRow]:
    rows = given.csv_rows(path, separator)
    first, header = next(rows, (0, []))
    if first != 1:
        raise BadInput(f"{path}: empty; expected a header line with column names")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise BadInput(f"{path}: line 1: column '{min(repeated)[:80]}' occurs twice")
    for line, fields in rows:
        if len(fields) != len(header):
            raise BadInput(f"{path}: line {line}: expected {len(header)} fields, got {len(fields)}")
        yield SourceRow(f"line {line}", dict(zip(header, fields, strict=True)))


def _parquet(path: Path) -> Iterator[SourceRow]:
    number = 0
    for rows in parquet.rows(path):
        for values in rows:
            number += 1
            yield SourceRow(f"row {number}", values)


def _hub_rows(source: TableSource) -> Iterator[SourceRow]:
    from datasets import load_dataset

    match = _HF.fullmatch(source.source)
    if match is None:
        raise BadInput(f"{source.source}: expected hf:org/name@revision")
    config = source.options.get("config")
    try:
        table = load_dataset(
            match["repo"],
            str(config) if config else None,
            revision=match["revision"],
            split=source.split,
            trust_remote_code=False,
        )
    except parquet.ERRORS as e:
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise BadInput(
            f"{source.source}, split {source.split}: cannot be loaded ({first})"
        ) from None
    for number, values in enumerate(table, start=1):
        yield SourceRow(f"row {number}", values)
