"""Both verifiers as functions of a folder or bundle, in one process: (exit code, what was said)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
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


# --- memory: in a process of its own


# The peak of this program alone; getrusage would count that of the process it was forked from.
STATUS = Path("/proc/self/status")
MEASURED = """
import runpy, sys
sys.argv = {argv!r}
code = 0
try:
    if {module!r}:
        from restaudit.commands.cli import main
        main()
    else:
        runpy.run_path({tool!r}, run_name="__main__")
except SystemExit as e:
    code = e.code
print(code, next(x.split()[1] for x in open("/proc/self/status") if x.startswith("VmHWM")))
"""


def measured(what: Path, *, is_first: bool) -> tuple[int, int, str]:
    """(exit code, peak memory in MiB, messages) of one of the verifiers in a process of its own."""
    words = ["verify", *(["verify", "--no-render"] if is_first else []), str(what)]
    code = MEASURED.format(argv=words, module=is_first, tool=str(TOOL))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, kilobytes = done.stdout.split()[-2:]
    return int(exit_code), int(kilobytes) // 1024, done.stderr
