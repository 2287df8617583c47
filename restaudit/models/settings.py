"""Reading the JSON files of somebody else's model: strictly, of bounded size, and plain files only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.files.strict import NotStrict, parse_json
from restaudit.models.tensors import opened

# In bytes. A configuration takes a few kilobytes, with many added tokens a megabyte.
LARGEST_SETTINGS = 16 << 20
# Names of a hundred thousand tensors take ten megabytes.
LARGEST_INDEX = 64 << 20


def read_settings(path: Path, what: str, most: int = LARGEST_SETTINGS) -> dict[str, Any]:
    """A JSON object, empty where there is no such file.

    Infinity is let through, which some published configurations have; NaN is not. Raises BadInput,
    which begins with `what`, where it is anything else.
    """
    try:
        with opened(path) as f:
            data = f.read(most + 1)
    except FileNotFoundError:
        return {}
    except BadInput as e:
        raise BadInput(f"{what}: {e}") from None
    except OSError as e:
        raise BadInput(f"{what}: {path}: cannot be read ({e.strerror})") from None
    if len(data) > most:
        raise BadInput(f"{what}: {path}: is larger than {most:,} bytes, the most that is read")
    try:
        found = parse_json(data, infinite=True)
    except NotStrict as e:
        raise BadInput(f"{what}: {path}: {e}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{what}: {path}: expected a JSON object, found {type(found).__name__}")
    return found


def every_value(settings: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a JSON document with the nearest key above it, objects before what is in
    them.
    """
    yield key, settings
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from every_value(value, name)
    elif isinstance(settings, list):
        for value in settings:
            yield from every_value(value, key)
