"""Tasks out: one set, in the layout of one tool, with the instructions and the tool's own set-up beside it."""

from __future__ import annotations

from pathlib import Path

from restaudit.errors import BadInput
from restaudit.rating.files import FOLDER, plain, write_text
from restaudit.rating.formats import named
from restaudit.rating.sheet import read_sheet
from restaudit.rating.tasks import load_tasks


def export_tasks(run: Path, name: str, *, format: str, out: Path) -> list[Path]:
    """Write a drawn set of tasks to `out` and return the files written: tasks, instructions, the tool's set-up.

    Raises BadInput for a link, a folder that is not there, or a place inside the run folder outside human/.
    """
    layout = named(format)
    sheet = read_sheet(load_tasks(run, name).path)
    out = Path(out)
    if not out.parent.is_dir():
        raise BadInput(f"{out}: the folder {out.parent} is not there; make it first")
    if plain(out).is_dir():
        raise BadInput(f"{out}: is a folder; name a file, for example {out / f'{name}{layout.suffix}'}")
    place, record = out.resolve(), Path(run).resolve()
    own = place.name.startswith(("key-", "tasks-", "ratings", "raters", "desk"))
    if place.is_relative_to(record) and (own or place.parent != record / FOLDER):
        raise BadInput(f"{out}: lies in the run folder, which holds the record; write it elsewhere")
    files = {out: layout.write(sheet), out.with_name(f"{out.name}.instructions.txt"): sheet.instructions + "\n"}
    if layout.setup is not None:
        ending, text = layout.setup(sheet, out.name)
        files[out.with_name(f"{out.name}.setup{ending}")] = text
    for path, text in files.items():
        write_text(path, text)
    return list(files)
