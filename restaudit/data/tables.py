"""Rows of a file or data set, each with the place it came from: jsonl, json, csv, tsv, parquet,
Hugging Face.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from restaudit.config import TableSource
from restaudit.errors import BadInput
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

    def text(self, index: int = 0) -> str:
        """The whole file as text; bytes that are not UTF-8 become lone surrogates, which the row
        rules find.
        """
        return read_text(self.artifacts[index].path)

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
    """A text file, gunzipped where gzipped, without a byte-order mark."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError) as e:
        raise BadInput(f"{path}: cannot be read ({e})") from None
    # Bad bytes are carried along as surrogates, so that the row rules can name the row they are in.
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def read_rows(path: Path) -> Iterator[SourceRow]:
    """Rows of one file; its format is told by its name (a `.gz` at the end is ignored).

    Raises BadInput with the file and line on anything that is not a row: bad JSON, a row that is
    not an object, a wrong number of fields, no header.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix == ".jsonl":
        yield from _json_lines(path)
    elif suffix == ".json":
        yield from _json_array(path)
    elif suffix in {".csv", ".tsv", ".txt"}:
        yield from _separated(path, "," if suffix == ".csv" else "\t")
    elif suffix == ".parquet":
        yield from _parquet(path)
    else:
        raise BadInput(
            f"{path}: unknown kind of file; expected {', '.join(FORMATS)}, optionally with .gz"
        )


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
        f"{source.source}: {row.where}: no column '{name}' (columns here: {', '.join(have)}){hint} "
        f"Map it with columns: {{{column}: <name in the file>}}"
    )


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
    # Only "\n" ends a line: JSON strings may hold U+2028 and its like, which str.splitlines would
    # break at.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield SourceRow(f"line {number}", _object(path, f"line {number}", line))


def _json_array(path: Path) -> Iterator[SourceRow]:
    try:
        raw = json.loads(read_text(path))
    except ValueError as e:
        raise BadInput(f"{path}: not valid JSON ({e})") from None
    if not isinstance(raw, list):
        raise BadInput(
            f"{path}: expected a JSON list of objects, got {type(raw).__name__} at the top"
        )
    for number, value in enumerate(raw, start=1):
        if not isinstance(value, dict):
            raise BadInput(
                f"{path}: row {number}: expected a JSON object, got {type(value).__name__}"
            )
        yield SourceRow(f"row {number}", value)


def _object(path: Path, where: str, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as e:
        raise BadInput(f"{path}: {where}: not valid JSON ({e})") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path}: {where}: expected a JSON object, got {type(value).__name__}")
    return value


def _separated(path: Path, separator: str) -> Iterator[SourceRow]:
    # The default limit of 131,072 characters would stop the reading; over-long fields are the row
    # rules' business.
    csv.field_size_limit(2**31 - 1)
    # strict: without it a lost quotation mark swallows the rows that follow in silence.
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=separator, strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise BadInput(f"{path}: empty; expected a header line with column names")
        repeated = sorted({c for c in header if header.count(c) > 1})
        if repeated:
            raise BadInput(f"{path}: line 1: column '{repeated[0]}' occurs twice")
        start = reader.line_num + 1
        for fields in reader:
            if len(fields) != len(header) and fields:
                raise BadInput(
                    f"{path}: line {start}: expected {len(header)} fields, got {len(fields)}"
                )
            if fields:
                yield SourceRow(f"line {start}", dict(zip(header, fields, strict=True)))
            start = reader.line_num + 1
    except csv.Error as e:
        raise BadInput(f"{path}: line {reader.line_num}: not valid CSV ({e})") from None


def _parquet(path: Path) -> Iterator[SourceRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as e:
        raise BadInput(f"{path}: not a readable Parquet file ({str(e).splitlines()[0]})") from None
    for number, values in enumerate(rows, start=1):
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
        )
    except (OSError, ValueError) as e:
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise BadInput(
            f"{source.source}, split {source.split}: cannot be loaded ({first})"
        ) from None
    for number, values in enumerate(table, start=1):
        yield SourceRow(f"row {number}", values)
