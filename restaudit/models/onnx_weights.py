"""Reads the weights out of an ONNX file as plain arrays, without onnxruntime: nothing in the file
is ever run.

An ONNX file is one protobuf message (https://protobuf.dev/programming-guides/encoding,
onnx/onnx.proto3). Only what a linear text classifier needs is read: nodes with numbers, lists and
strings as attributes, and float tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from restaudit.errors import BadInput

Value = int | float | str | list[str] | npt.NDArray[np.float64] | npt.NDArray[np.int64]
Fields = dict[int, list[int | bytes]]

# Field numbers of onnx.proto3.
_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_OP_TYPE, _ATTRIBUTE = 4, 5
_NAME, _FLOAT, _INT, _STRING, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 4, 7, 8, 9
_DATA_TYPE, _FLOAT_DATA, _TENSOR_NAME, _RAW_DATA = 2, 4, 8, 9
_IS_FLOAT = 1


@dataclass(frozen=True)
class Node:
    """One operation of the graph, by its type, with its attributes."""

    operation: str
    attributes: dict[str, Value]


def read_graph(path: Path) -> tuple[list[Node], dict[str, npt.NDArray[np.float64]]]:
    """The nodes in order, and the float tensors by name.

    Raises BadInput when the file is not an ONNX model.
    """
    try:
        graph = _fields(_bytes(_fields(path.read_bytes()), _GRAPH))
        nodes = [_node(_fields(raw)) for raw in _all(graph, _NODE)]
        tensors = [_fields(raw) for raw in _all(graph, _INITIALIZER)]
        floats = {
            _text(t, _TENSOR_NAME): _tensor(t) for t in tensors if t.get(_DATA_TYPE) == [_IS_FLOAT]
        }
    except (KeyError, OverflowError, ValueError) as e:
        raise BadInput(
            f"{path}: is not an ONNX model that can be read ({e}); fetch it again"
        ) from None
    return nodes, floats


def _node(fields: Fields) -> Node:
    attributes = [_fields(raw) for raw in _all(fields, _ATTRIBUTE)]
    return Node(_text(fields, _OP_TYPE), {_text(a, _NAME): _value(a) for a in attributes})


def _value(fields: Fields) -> Value:
    if _STRINGS in fields:
        return [raw.decode() for raw in _all(fields, _STRINGS)]
    if _FLOATS in fields:
        return _floats(fields[_FLOATS])
    if _INTS in fields:
        return np.fromiter(_integers(fields[_INTS]), dtype=np.int64)
    if _STRING in fields:
        return _text(fields, _STRING)
    if _FLOAT in fields:
        return float(_floats(fields[_FLOAT])[0])
    number = fields.get(_INT, [0])[-1]
    return number if isinstance(number, int) else 0


def _tensor(fields: Fields) -> npt.NDArray[np.float64]:
    return _floats(fields.get(_RAW_DATA) or fields.get(_FLOAT_DATA, []))


def _floats(parts: list[int | bytes]) -> npt.NDArray[np.float64]:
    """Little-endian 4-byte floats, packed in one run or each on its own."""
    return np.frombuffer(b"".join(p for p in parts if isinstance(p, bytes)), dtype="<f4").astype(
        np.float64
    )


def _integers(parts: list[int | bytes]) -> Iterator[int]:
    for part in parts:
        if isinstance(part, int):
            yield part
            continue
        at = 0
        while at < len(part):
            number, at = _varint(part, at)
            yield number


# --- the wire format


def _fields(message: bytes) -> Fields:
    """The fields of one message, by number, in order: integers as int, all else as bytes."""
    found: Fields = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            number, at = _varint(message, at)
            found.setdefault(key >> 3, []).append(number)
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
        if at + size > len(message):
            raise ValueError(f"cut off at byte {len(message)}")
        found.setdefault(key >> 3, []).append(message[at : at + size])
        at += size
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(message):
            raise ValueError(f"cut off at byte {at}")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (value - (1 << 64) if value >= 1 << 63 else value), at
        shift += 7
    raise ValueError(f"a number without end at byte {at}")


def _all(fields: Fields, number: int) -> list[bytes]:
    return [part for part in fields.get(number, []) if isinstance(part, bytes)]


def _bytes(fields: Fields, number: int) -> bytes:
    parts = _all(fields, number)
    if not parts:
        raise ValueError(f"field {number} is missing")
    return parts[-1]


def _text(fields: Fields, number: int) -> str:
    return _bytes(fields, number).decode()
