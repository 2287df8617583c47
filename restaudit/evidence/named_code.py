"""Code that a plan names (a reward's callable, a file of tasks), and who may have it run.

A run folder may come from a stranger, and its plan may name any module that can be imported here,
one in the folder itself too. So what a folder names is run only where this user sealed the plan, on this
machine and in this place, or names the code on the command line. That it was this user, nothing in
the folder can show: a note in the user's own cache does, under the digest of place and plan.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from importlib import invalidate_caches
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.files.cache import cache_folder
from restaudit.files.strict import NotStrict, parse_json

FOLDER = "sealed"
UNKNOWN_PLACE = "an unknown place: only importing it would tell"


def named(config: Mapping[str, Any]) -> dict[str, str]:
    """The code that a configuration (plain JSON) names: the key's path -> the name.

    That is `package.module:callable`, `path:FILE.yaml` or a folder of lm-eval's task files, which
    can name functions beside them.
    """
    return dict(_named(config, ""))


def _named(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            where = f"{path}.{key}" if path else str(key)
            # Whatever section it is in: a new kind that names a callable is found as well.
            if key in ("callable", "include_path") and isinstance(value, str):
                yield where, value
            yield from _named(value, where)
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            where = f"{path}.{number}"
            if isinstance(value, str) and value.startswith("path:"):
                yield where, value
            yield from _named(value, where)


def remember(folder: Path, sealed: bytes, config: Mapping[str, Any]) -> None:
    """Note that this user seals a plan, which lies in this folder or will; nothing where it names
    no code.

    `sealed` is the content of the file that names the code. Written before the plan is sealed, so
    that a run which is killed at any moment goes on.
    """
    if names := named(config):
        note = {
            "folder": str(folder.resolve()),
            "code": {name: str(place_of(name)) for name in names.values()},
        }
        data = json.dumps(note, indent=2, ensure_ascii=True).encode()
        # Where no cache can be written, a run starts all the same; its resume asks for the name.
        with suppress(OSError):
            plain.write(cache_folder(), f"{FOLDER}/{_key(folder, sealed)}", data, mode=0o600)


def may_run(
    folder: Path, sealed: str, config: Mapping[str, Any], allowed: Collection[str] = ()
) -> None:
    """Raise BadInput where the configuration of the folder names code that is neither in `allowed`
    nor noted by `remember`, and for a name in `allowed` that it does not name.

    `sealed` is the file that names it: plan.json of a run. Nothing is imported to find that out.
    """
    names = named(config)
    unknown = sorted(set(allowed) - set(names.values()))
    if unknown:
        there = f"it names {', '.join(names.values())}" if names else "it names none"
        raise BadInput(f"--code {unknown[0]}: no code that {folder / sealed} names; {there}")
    noted = _noted(folder, sealed) if names else {}
    refused = {}
    for key, name in names.items():
        if name not in allowed and noted.get(name) != str(place_of(name)):
            refused[key] = name
    if not refused:
        return
    lines = [f"  {name} ({key}, from {place_of(name)})" for key, name in refused.items()]
    again = " ".join(f"--code {shlex.quote(name)}" for name in dict.fromkeys(refused.values()))
    raise BadInput(
        "\n".join(
            [
                f"{folder / sealed} names code that would be run:",
                *lines,
                "There is no note on this machine that you sealed it yourself in this place. Read "
                f"the code; if you trust it, give the command again with {again}",
            ]
        )
    )


def place_of(name: str) -> Path | str:
    """The file or folder that code of this name would come from, found without importing it."""
    if name.startswith("path:") or ":" not in name:
        return Path(name.removeprefix("path:")).expanduser().absolute()
    # Listings of folders are remembered, and a file may be younger than its folder's.
    invalidate_caches()
    # As restaudit.reward.python looks for it: the current folder comes last.
    search: list[str] | None = [*sys.path, str(Path.cwd())]
    origin = None
    for part in name.partition(":")[0].split("."):
        # Packages are gone through by hand: importlib would import those on the way.
        spec = PathFinder.find_spec(part, search) if part else None
        if spec is None:
            return UNKNOWN_PLACE
        origin = spec.origin
        if origin is None:
            # Folders without __init__.py. Asked for its own places, such a spec looks for them in
            # sys.path again, where the current folder is not.
            search = [str(Path(at) / part) for at in search or () if (Path(at) / part).is_dir()]
        else:
            search = list(spec.submodule_search_locations or ())
    return Path(origin).absolute() if origin else UNKNOWN_PLACE


def _key(folder: Path, sealed: bytes) -> str:
    """The name of the note about one plan in one place."""
    place_and_plan = os.fsencode(folder.resolve()) + b"\0" + hashlib.sha256(sealed).digest()
    return f"{hashlib.sha256(place_and_plan).hexdigest()}.json"


def _noted(folder: Path, sealed: str) -> Mapping[str, Any]:
    """Name -> place of the code as it was when this user sealed it; empty where there is no note."""
    name = f"{FOLDER}/{_key(folder, plain.read(folder, sealed))}"
    try:
        with plain.opened(cache_folder(), name) as f:
            # A cache may be shared: only what this user wrote speaks for this user.
            if os.fstat(f.fileno()).st_uid != os.getuid():
                return {}
            note = parse_json(f.read())
    except (FileNotFoundError, NotStrict):
        return {}
    code = note.get("code") if isinstance(note, dict) else None
    return code if isinstance(code, dict) else {}
