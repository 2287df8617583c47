"""Both verifiers as functions of a folder or bundle, in one process: (exit code, what was said)."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

from restaudit.errors import RestauditError
from restaudit.evidence.bundle.unpack import opened
from restaudit.evidence.seal.keys import load_public
from restaudit.evidence.verify import verify
from restaudit.evidence.verify.sentences import standing_lines

TOOL = Path(__file__).resolve().parents[2] / "tools" / "verify_bundle.py"
MOST = 32 << 30


@cache
def second_verifier() -> ModuleType:
    """tools/verify_bundle.py as a module."""
    spec = importlib.util.spec_from_file_location("verify_bundle", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first(what: Path, key: Path | None = None, *, render: bool = False) -> tuple[int, str]:
    """`restaudit verify`, without rendering the report again unless it is asked for."""
    trusted = load_public(key) if key is not None else None
    try:
        with opened(what, most=MOST) as run:
            report = verify(run.folder, trusted=trusted, hashed=run.hashed, render=render)
    except RestauditError as e:
        return int(e.exit_code), str(e)
    return 0, "\n".join(standing_lines(report))


def second(what: Path, key: Path | None = None) -> tuple[int, str]:
    """`tools/verify_bundle.py`."""
    tool = second_verifier()
    try:
        said, refused = tool.check(what, key, None)
        tool.need(not refused, refused)
    except tool.Failed as e:
        return 5, str(e)
    except (tool.Unreadable, OSError) as e:
        return 2, str(e)
    return 0, "\n".join(said)
