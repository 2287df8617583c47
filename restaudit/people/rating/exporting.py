"""Tasks out: one set, in the layout of one tool, with the instructions and the tool's own set-up
beside it.
"""

from __future__ import annotations

from pathlib import Path

from restaudit.errors import BadInput
from restaudit.people.rating.files import FOLDER, plain, write_text
from restaudit.people.rating.formats import named
from restaudit.people.rating.sheet import read_sheet
from restaudit.people.rating.tasks import load_tasks

# Files of human/ that are the desk's own.
OWN = ("key-", "tasks-", "ratings", "raters", "desk", "pairs-", "choices")


def export_tasks(run: Path, name: str, *, format: str, out: Path) -> list[Path]:
    """Write a drawn set of tasks to `out` and return the files written: tasks, instructions, the
    tool's set-up.

    Raises BadInput for a link, a folder that is not there, or a place inside the run folder outside
    human/.
    """
    layout = named(format)
    sheet = read_sheet(load_tasks(run, name).path)
    out = place_for(run, out, f"{name}{layout.suffix}")
    files = {
        out: layout.write(sheet),
        out.with_name(f"{out.name}.instructions.txt"): sheet.instructions + "\n",
    }
    if layout.setup is not None:
        ending, text = layout.setup(sheet, out.name)
        files[out.with_name(f"{out.name}.setup{ending}")] = text
    for path, text in files.items():
        write_text(path, text)
    return list(files)


def place_for(run: Path, out: Path, example: str) -> Path:
    """Where a file for raters may be written: `out`, if that is outside the record and not a folder
    or a link.
    """
    out = Path(out)
    if not out.parent.is_dir():
        raise BadInput(f"{out}: the folder {out.parent} is not there; make it first")
    if plain(out).is_dir():
        raise BadInput(f"{out}: is a folder; name a file, for example {out / example}")
    place, record = out.resolve(), Path(run).resolve()
    own = place.name.startswith(OWN)
    if place.is_relative_to(record) and (own or place.parent != record / FOLDER):
        raise BadInput(f"{out}: lies in the run folder, which holds the record; write it elsewhere")
    return out
