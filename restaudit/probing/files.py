"""Files of generations, read, paired and probed; and whether an argument names a file or a
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from restaudit.data.generations import Generations, read_generations
from restaudit.data.pairing import paired
from restaudit.errors import BadInput
from restaudit.evidence.chats import digest
from restaudit.loop.probe_evidence import KNOWN_TEXTS
from restaudit.probing.ratings import read_ratings, with_ratings
from restaudit.probing.session import Further, Probed, Wanted, probe_tables


def probe_files(
    what: str,
    against: str | None,
    mapping: Mapping[str, str],
    wanted: Wanted,
    *,
    grow: Path | None = None,
    ratings: Path | None = None,
    dimension: str | None = None,
    trained_on: tuple[str, ...] = (),
) -> Probed:
    """Read the files, pair them, and run every probe that applies."""
    outputs = read_generations(existing(what), columns=mapping)
    _mapped(mapping, outputs)
    base: Generations | None = None
    if against is not None:
        if is_model(against):
            raise BadInput(
                f"{against} is a model; sample it first (restaudit probe {against} --save "
                "FILE.parquet)"
            )
        outputs, base = paired(outputs, read_generations(existing(against), columns=mapping))
    scored = (
        None if grow is None else read_generations(existing(str(grow)), columns=mapping, kept=True)
    )
    further = Further(grow=scored, trained_on=trained_on)
    if ratings is not None:
        table, notes = read_ratings(existing(str(ratings)), outputs, base)
        outputs = with_ratings(outputs, table, dimension)
        base = None if base is None else with_ratings(base, table, dimension)
        further = replace(further, ratings=table, ratings_notes=notes)
    elif dimension is not None:
        raise BadInput(
            "--dimension says which ratings are the human score; give them with --ratings FILE"
        )
    return probe_tables(outputs, base, wanted, further)


def is_model(what: str) -> bool:
    """Whether the argument names a model (a spec, a folder, a GGUF file) rather than a file of
    generations.

    Raises BadInput for a run folder, which has commands of its own.
    """
    if Path(what, "plan.json").is_file():
        raise BadInput(
            f"{what} is a run folder; its samples are files: "
            f"{Path(what, 'g01/i01/audit.parquet')} --against "
            f"{Path(what, 'g00/i00/audit.parquet')}"
        )
    return (
        what.startswith(("hf:", "pypi:", "url:")) or what.endswith(".gguf") or Path(what).is_dir()
    )


def texts_of(path: Path | None) -> tuple[str, ...]:
    """At most KNOWN_TEXTS distinct texts of the file, chosen by hash."""
    if path is None:
        return ()
    texts = read_generations(existing(str(path))).table["text"]
    return tuple(sorted(set(texts), key=digest)[:KNOWN_TEXTS])


def existing(what: str) -> Path:
    """The file of this name. Raises BadInput where there is none."""
    path = Path(what)
    if not path.is_file():
        hub = (
            f"; a model of the hub is hf:{what}@revision"
            if what.count("/") == 1 and not path.suffix
            else ""
        )
        raise BadInput(f"{what}: no such file{hub}")
    return path


def _mapped(mapping: Mapping[str, str], outputs: Generations) -> None:
    for name, own in mapping.items():
        if own != name and f"{name} is column '{own}'" not in outputs.notes:
            raise BadInput(
                f"{outputs.source}: no column '{own}', which --column {name}={own} names"
            )
