"""Taking texts out of recorded files, so that numbers and decisions can still be checked.

A cell of text becomes the SHA-256 of a salt and the text. The salt follows from the whole original
file, so the same file gives the same replacement, equal texts give different cells, and nobody
without the file can try texts out. Who holds the original can later show one text and its salt
(`salt_of`), and anybody can check it against the cell.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.evidence.record import LARGEST_TABLE, read_json, write_json
from restaudit.files import given, parquet, plain

if TYPE_CHECKING:
    import pyarrow as pa

# Columns of words that are names or labels, not texts: everything else that is no number is
# replaced.
LABELS = frozenset(
    (
        "sample_id",
        "prompt_id",
        "group",
        "family",
        "source",
        "split",
        "origin",
        "iteration",
        "rater",
        "dimension",
        "role",
        "task",
        "metric",
        "cluster",
        "item_id",
        "submitted_at",
    )
)
# JSON files without texts. Measurements lose their details; every other file that is no table is
# left out.
WITHOUT_TEXTS = frozenset(
    (
        "plan.json",
        "environment.json",
        "decision.json",
        "scale.json",
        "compute.json",
        "adapter_config.json",
    )
)
MEASUREMENTS = "measurements.json"
# Which details of a measurement a decision depends on.
DETAILS = ("human_label",)
SALT = b"restaudit redaction 1\0"
ROWS = 2048
CHUNK = 1 << 20


def is_weights(name: str) -> bool:
    """Whether a recorded file holds a model's weights."""
    return name.endswith((".safetensors", ".gguf", ".onnx", ".bin", ".npz"))


def has_no_texts(name: str) -> bool:
    """Whether a recorded file is one of those that hold no texts as they are."""
    return name.rpartition("/")[2] in WITHOUT_TEXTS or is_weights(name)


def redact(run: Path, name: str, out: Path) -> str | None:
    """Write a file of the run without its texts to `out`; returns what was done, or None (nothing
    written) where it has none.

    Raises BadInput where the file cannot be read as what its name says.
    """
    if name.rpartition("/")[2] == MEASUREMENTS:
        return _measurements(run, name, out)
    return _table(run, name, out)


def salt_of(path: Path, column: str, row: int) -> bytes:
    """The salt of one cell of a recorded table: sha256(salt + the text in UTF-8), in hex, is what
    stands in its place.

    Values that are no text (token ids, lists of references) are written as compact JSON first.
    """
    with given.opened(path) as f:
        return _cell_salt(_secret(f), column, row)


def _measurements(run: Path, name: str, out: Path) -> str:
    contents = read_json(run, name)
    try:
        for m in contents["measurements"]:
            m["detail"] = {k: m["detail"][k] for k in DETAILS if k in m["detail"]}
    except (ValueError, KeyError, TypeError) as e:
        raise BadInput(f"{run / name}: not measurements ({type(e).__name__}: {e})") from None
    write_json(contents, out)
    return f"details of measurements dropped, but for {', '.join(DETAILS)}"


def _table(run: Path, name: str, out: Path) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with plain.opened(run, name, LARGEST_TABLE) as source:
            parquet.check_claims(run / name, source)
            table = pq.ParquetFile(source)
            hidden = [f.name for f in table.schema_arrow if not _harmless(f)]
            if not hidden:
                return None
            kinds = {f.name: f.type for f in table.schema_arrow}
            schema = pa.schema({**kinds, **dict.fromkeys(hidden, pa.string())})
            with plain.opened(run, name) as again:
                secret = _secret(again)
            with (
                plain.created(out.parent, out.name) as target,
                pq.ParquetWriter(target, schema, compression="zstd") as writer,
            ):
                for batch in _redacted(table, schema, hidden, secret):
                    writer.write_batch(batch)
    except (OSError, pa.ArrowException) as e:
        raise BadInput(f"{run / name}: not a readable Parquet table ({e})") from None
    return f"columns replaced by salted SHA-256: {', '.join(hidden)}"


def _redacted(
    table: Any, schema: pa.Schema, hidden: list[str], secret: bytes
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    first = 0
    for batch in table.iter_batches(batch_size=ROWS):
        columns = []
        for field in schema:
            column = batch.column(field.name)
            if field.name in hidden:
                cells = [
                    _hidden(secret, field.name, row, cell)
                    for row, cell in enumerate(column.to_pylist(), start=first)
                ]
                column = pa.array(cells, pa.string())
            columns.append(column)
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
        first += batch.num_rows


def _harmless(field: pa.Field) -> bool:
    import pyarrow as pa

    t = field.type
    if pa.types.is_primitive(t) or pa.types.is_null(t) or pa.types.is_boolean(t):
        return True
    words = pa.types.is_string(t) or pa.types.is_large_string(t)
    return words and field.name in LABELS


def _hidden(secret: bytes, column: str, row: int, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        value = json.dumps(value, separators=(",", ":"), default=str)
    salted = _cell_salt(secret, column, row) + value.encode("utf-8", "surrogatepass")
    return hashlib.sha256(salted).hexdigest()


def _cell_salt(secret: bytes, column: str, row: int) -> bytes:
    return hmac.digest(secret, f"{column}\0{row}".encode(), "sha256")


def _secret(file: IO[bytes]) -> bytes:
    """Another hash of the file than the one in the ledger, which does not give this one away."""
    sha = hashlib.sha256(SALT)
    while piece := file.read(CHUNK):
        sha.update(piece)
    return sha.digest()
