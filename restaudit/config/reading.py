"""Read a configuration: a recipe by name or a YAML file, `--set` changes, and messages that name
the key to mend.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from restaudit.config import Config
from restaudit.config.loop import METHODS, apply_method, with_method
from restaudit.errors import BadInput
from restaudit.files import given
from restaudit.files.strict import NotStrict, parse_yaml

M = TypeVar("M", bound=BaseModel)
# A configuration takes a few kilobytes.
MOST_BYTES = 4 << 20


def recipe_names() -> list[str]:
    """Names of the packaged recipes, sorted."""
    folder = resources.files("restaudit.recipes")
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def recipe_text(name: str) -> str:
    """The commented YAML of a packaged recipe."""
    if name not in recipe_names():
        raise BadInput(
            f"no recipe '{name}'{_nearest(name, recipe_names())}; there are: "
            f"{', '.join(recipe_names())}"
        )
    return (resources.files("restaudit.recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def load(name_or_file: str, *layers: Iterable[str]) -> Config:
    """Read a recipe by name or a YAML file by path, apply `a.b=c` overrides and the method, and
    validate.
    """
    return parse(*read(name_or_file, *layers))


def read(name_or_file: str, *layers: Iterable[str]) -> tuple[dict[str, Any], str]:
    """A recipe or a YAML file as a mapping with the overrides applied (see `changed`), nothing
    validated; and what messages call it.
    """
    path = Path(name_or_file)
    # A name with this ending is meant as a file even where there is none: "no such recipe" would
    # mislead.
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        data, where = _file(path), str(path)
    else:
        data, where = recipe_text(name_or_file).encode("utf-8"), f"recipe {name_or_file}"
    try:
        raw = parse_yaml(data)
    except NotStrict as e:
        raise BadInput(e.at(where)) from None
    if not isinstance(raw, dict):
        raise BadInput(f"{where}: expected a mapping with keys such as policy, data, reward, loop")
    return changed(raw, *layers), where


def _file(path: Path) -> bytes:
    if not path.exists():
        raise BadInput(f"{path}: no such file (recipes by name: {', '.join(recipe_names())})")
    with given.opened(path) as f:
        data = f.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise BadInput(f"{path}: is larger than {MOST_BYTES:,} bytes, the most that is read")
    return data


def changed(raw: Mapping[str, Any], *layers: Iterable[str]) -> dict[str, Any]:
    """A mapping with layers of `a.b=c` overrides applied to a copy of it, one after the other, but
    `loop.method` first: what the method defines replaces what the mapping says of it.

    Raises BadInput for a bad one, and where one layer says one key twice, or a section and a key in
    it: only one of them could have its effect.
    """
    # Copies: whoever calls may read the same mapping with other overrides.
    try:
        out = copy.deepcopy(dict(raw))
    except RecursionError:
        raise BadInput("the configuration is nested too deep") from None
    each = [list(layer) for layer in layers]
    for layer in each:
        said_once(layer)
    method, rest = _method(item for layer in each for item in layer)
    if method is not None:
        out = with_method(out, method)
    for item in rest:
        _apply(out, item)
    return out


def said_once(overrides: Iterable[str]) -> None:
    """Raise BadInput where a key is there twice, or with a section that it lies in."""
    keys = sorted(item.partition("=")[0].split(".") for item in overrides)
    # Sorted part by part, whatever begins with a key comes directly after it.
    for before, after in pairwise(keys):
        if after[: len(before)] == before:
            one, other = ".".join(before), ".".join(after)
            twice = f"{one} is given twice" if one == other else f"{one} and {other} are given"
            raise BadInput(f"--set: {twice}, and only one could count; give one of them")


def _method(overrides: Iterable[str]) -> tuple[str | None, list[str]]:
    """The method that the overrides ask for, if it is a known one, and the other overrides."""
    method, rest = None, []
    for item in overrides:
        key, _, value = item.partition("=")
        # An unknown one stays an override like others, so that validation can name it.
        if key == "loop.method" and value in METHODS:
            method = value
        else:
            rest.append(item)
    return method, rest


def parse(raw: Mapping[str, Any], where: str = "config") -> Config:
    """Validate a mapping; the message of a failure names the key, what was expected and the nearest
    valid key.
    """
    return validated(Config, apply_method(dict(raw)), where)


def check_sections(raw: Mapping[str, Any], where: str) -> None:
    """Raise BadInput, as `parse` does, where something in a configuration is of another type than
    it must be. Readers of a run can do with keys that are missing or new, and with odd values.
    """
    try:
        Config.model_validate(raw)
    except ValidationError as e:
        for err in e.errors():
            if err["type"].endswith(("_type", "_parsing", "_number", "tag_invalid")):
                raise BadInput(f"{where}: {_explain(err)}") from None


def validated(model: type[M], raw: Mapping[str, Any], where: str) -> M:
    """A mapping as this model, whose sections are those of a whole configuration.

    Raises BadInput as `parse` does.
    """
    try:
        return model.model_validate(raw)
    except RecursionError:
        raise BadInput(f"{where}: nested too deep") from None
    except ValidationError as e:
        # All mistakes at once: who mends one at a time starts a run for each.
        raise BadInput("\n".join(f"{where}: {_explain(err)}" for err in e.errors())) from None


def _apply(raw: dict[str, Any], item: str) -> None:
    key, eq, value = item.partition("=")
    node: Any = raw
    parts = key.split(".")
    # No configuration has as many levels.
    if not eq or not key or len(parts) > 32:
        raise BadInput(f"--set {_cut(item)}: expected key.path=value")
    try:
        new = parse_yaml(value)
    except NotStrict as e:
        raise BadInput(f"--set {_cut(item)}: {str(e).removeprefix('line 1: ')}") from None
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if isinstance(node, list):
            # A list may be changed at a place that it has, and does not grow.
            if not re.fullmatch("[0-9]{1,9}", part) or int(part) >= len(node):
                raise BadInput(
                    f"--set {item}: {'.'.join(parts[:i])} has {len(node)} entries; expected an "
                    "index"
                )
            if last:
                node[int(part)] = new
            else:
                node = node[int(part)]
        elif isinstance(node, dict):
            if last:
                node[part] = new
            else:
                # A section that the file leaves to its defaults can be changed too.
                node = node.setdefault(part, {})
        else:
            raise BadInput(f"--set {item}: {'.'.join(parts[:i])} is a value, not a section")


def _nearest(word: str, valid: Iterable[str]) -> str:
    # Below a half the nearest word is a guess that misleads.
    hit = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f" (did you mean '{hit[0]}'?)" if hit else ""


def _explain(err: Any) -> str:
    # Of a union, pydantic names the kind of value that was tried: "constrained-int", "list[str]".
    loc = [str(p) for p in err["loc"] if not re.match(r"constrained-|[\w-]+[\[(]", str(p))]
    path = ".".join(loc)
    if err["type"] == "extra_forbidden":
        valid = _keys_at(loc[:-1])
        return (
            f"{path}: unknown key{_nearest(loc[-1], valid)}; valid keys here: "
            f"{', '.join(sorted(valid))}"
        )
    if err["type"] == "missing":
        return f"{path}: missing; it must be given"
    message = f"{path or 'config'}: {err['msg'].removeprefix('Value error, ')}"
    # A whole section would hide the message behind itself.
    if isinstance(err.get("input"), dict | list | tuple | BaseModel):
        return message
    return f"{message} (got {_cut(repr(err.get('input')))})"


def _cut(text: str) -> str:
    # A number of thousands of digits would hide the message.
    return text if len(text) <= 100 else f"{text[:100]}…"


def _keys_at(loc: list[str]) -> list[str]:
    """Valid keys of the section that an error location points into (unions carry their tag in the
    location).
    """
    models: list[type[BaseModel]] = [Config]
    for part in loc:
        below: list[type[BaseModel]] = []
        for model in models:
            if part in model.model_fields:
                below += _sections(model.model_fields[part].annotation)
            # A place in a list, or the kind of a union: the section itself, and not a key of it.
            kind = model.model_fields.get("kind")
            if part.isdigit() or (kind is not None and part in get_args(kind.annotation)):
                below.append(model)
        # The location ends inside something that is no section: its keys are what the message
        # needs.
        models = below or models
    keys: set[str] = set()
    for model in models:
        keys |= set(model.model_fields)
    return sorted(keys)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    sections: list[type[BaseModel]] = []
    for inner in get_args(annotation):
        sections += _sections(inner)
    return sections
