"""JSON and YAML read strictly: a key once, finite numbers, text that is text, and bounded depth.

The usual readers let the last of two equal keys win, so that two readers can see two documents in
one file, and read NaN and infinity, which no standard JSON has.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import yaml

# Levels of lists and objects in one another. What we write has fewer than 12.
DEEPEST = 64
# In YAML an alias stands for all it names, which can be aliases again: few lines, billions of nodes.
MOST_NODES = 200_000
MERGE = "tag:yaml.org,2002:merge"


class NotStrict(ValueError):
    """A document that a strict reader refuses; the message says why."""

    def at(self, where: str) -> str:
        """The message with the document's name before it: "FILE, line 3: not valid YAML ..."."""
        said = str(self)
        return f"{where}, {said}" if said.startswith("line ") else f"{where}: {said}"


class KeyTwice(NotStrict):
    """A key comes twice in one object."""


# --- JSON


def parse_json(data: str | bytes, *, infinite: bool = False) -> Any:
    """A JSON document (RFC 8259) in UTF-8; with `infinite` also the words Infinity and -Infinity,
    which Python's writer gives and configurations of some models hold.

    Raises NotStrict where it is none, where a key comes twice in one object, a number is NaN,
    infinite or too large for float64, a text holds half a character (a lone surrogate), or it is
    nested more than DEEPEST levels.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_nan if infinite else _no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError:
        raise NotStrict(f"nested more than {DEEPEST} levels deep") from None
    except UnicodeDecodeError as e:
        raise NotStrict(f"not UTF-8 text (byte {e.start})") from None
    except NotStrict:
        raise
    except ValueError as e:
        raise NotStrict(f"not valid JSON ({e})") from None
    # Half a character can come out of an escape only, where the document itself is UTF-8.
    is_whole = isinstance(data, bytes) or data.isascii()
    _bounded(value, halves=is_whole and "\\u" not in text)
    return value


def parse_row(text: str, at: int = 0, *, halves: bool = True) -> tuple[Any, int]:
    """The JSON value of a file of data that begins at `at` (white space before it is passed over),
    and where it ends.

    Unlike documents, rows of public sets hold NaN where nobody answered, and half characters that a
    rule about rows has to find; what uses a value refuses those by itself. Raises NotStrict where a
    key comes twice in one object, a whole number has more than 400 digits, it is nested more than
    DEEPEST levels or (without `halves`) holds half a character; json.JSONDecodeError where it is no
    JSON, or not all of it.
    """
    try:
        value, end = _ROW.raw_decode(text, SPACE.match(text, at).end())  # type: ignore[union-attr]
    except RecursionError:
        raise NotStrict(f"nested more than {DEEPEST} levels deep") from None
    # Counting is quick, and most rows have fewer brackets than levels are allowed.
    if not halves or text.count("[", at, end) + text.count("{", at, end) > DEEPEST:
        _bounded(value, halves=halves)
    return value, end


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = str(_twice(key for key, _ in pairs))[:80]
        raise KeyTwice(f"the key {key!r} comes twice in one object")
    return found


def _twice(keys: Iterable[Any]) -> Any:
    seen = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _no_constant(word: str) -> NoReturn:
    raise NotStrict(f"{word} is no number of JSON")


def _no_nan(word: str) -> float:
    return _no_constant(word) if word == "NaN" else float(word)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotStrict(f"the number {digits[:40]} is too large")
    return value


def _whole(digits: str) -> int:
    # Python itself refuses from 4,300 digits on, in words that name one of its own functions.
    if len(digits) > 400:
        raise NotStrict(f"the number {digits[:40]}... of {len(digits):,} digits is too large")
    return int(digits)


SPACE = re.compile(r"[ \t\r\n]*")
_ROW = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)


def _bounded(value: Any, *, halves: bool = False) -> None:
    """Refuse what is nested too deep, and (unless `halves`) texts that cannot be written as
    UTF-8.
    """
    if type(value) is str and not halves:
        _is_text(value)
    level: list[Any] = [value] if type(value) in (dict, list) else []
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for node in level:
            inner += node
            if type(node) is dict:
                inner += node.values()
        if not halves:
            for node in inner:
                if type(node) is str and not node.isascii():
                    _is_text(node)
        # Most of a document is numbers and texts: they are gone through once, in one line.
        level = [node for node in inner if type(node) is dict or type(node) is list]
        if not level:
            return
    if any(level):
        raise NotStrict(f"nested more than {DEEPEST} levels deep")


def _is_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise NotStrict("a text holds half a character (a lone surrogate)") from None


# --- YAML


class _Loader(yaml.SafeLoader):
    """SafeLoader (never builds objects) that refuses what a strict reader refuses."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here, before "<<" takes in another mapping's keys, which may be written again: that is
        # its use.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: list[Any] = []
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == MERGE:
                continue
            key = self.construct_object(key_node)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} comes twice", key_node.start_mark
                )
            seen.append(key)
        return node


class _NoAliases(_Loader):
    """The same, for a document where nobody writes references."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="a reference (*name) is not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


def _finite_yaml(loader: _Loader, node: yaml.ScalarNode) -> float:
    value = float(loader.construct_yaml_float(node))
    if not math.isfinite(value):
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value} is no finite number", node.start_mark
        )
    return value


_Loader.add_constructor("tag:yaml.org,2002:float", _finite_yaml)


def parse_yaml(data: str | bytes, *, aliases: bool = True) -> Any:
    """A YAML document of plain values in UTF-8, with `aliases` (references and merges) or without.

    Raises NotStrict, with the line where one is known, for what `parse_json` refuses.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = yaml.load(text, Loader=_Loader if aliases else _NoAliases)  # SafeLoaders
    except UnicodeDecodeError as e:
        raise NotStrict(f"not UTF-8 text (byte {e.start})") from None
    except RecursionError:
        raise NotStrict(f"nested more than {DEEPEST} levels deep") from None
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(e, "problem", None) or str(e)
        raise NotStrict(f"{line}not valid YAML: {problem}") from None
    except (ValueError, TypeError, OverflowError) as e:
        # A date such as 2024-99-99, a key that is a list, a number of 5,000 digits.
        raise NotStrict(f"not valid YAML: {e}") from None
    _counted(value)
    _bounded(value)
    return value


def _counted(value: Any) -> None:
    """Refuse a document whose aliases stand for more nodes than anybody writes."""
    left, waiting = MOST_NODES, [(value, 0)]
    while waiting:
        node, depth = waiting.pop()
        inner: list[Any] = []
        if isinstance(node, dict):
            inner = [*node.keys(), *node.values()]
        elif isinstance(node, list | set | tuple):
            inner = list(node)
        left -= len(inner)
        if left < 0:
            raise NotStrict(f"its aliases stand for more than {MOST_NODES:,} values")
        if depth > DEEPEST:
            raise NotStrict(f"nested more than {DEEPEST} levels deep")
        waiting += [(each, depth + 1) for each in inner]
