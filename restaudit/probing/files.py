"""Files of generations, read, paired and probed; and whether an argument names a file or a
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from restaudit.data.columns import Columns, floats, ids, labels, read_columns, shares
from restaudit.data.generations import Generations, paired, read_generations
from restaudit.errors import BadInput
from restaudit.evidence.chats import digest
from restaudit.evidence.record import is_run
from restaudit.loop.probe_evidence import KNOWN_TEXTS
from restaudit.probing.session import MoreEvidence, ProbeResult, ProbeSettings, probe_tables


def probe_files(
    what: str,
    against: str | None,
    mapping: Mapping[str, str],
    settings: ProbeSettings,
    *,
    grow: Path | None = None,
    ratings: Path | None = None,
    dimension: str | None = None,
    trained_on: tuple[str, ...] = (),
) -> ProbeResult:
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
    scored = None
    if grow is not None:
        scored = read_generations(existing(str(grow)), columns=mapping, kept=True)
    more = MoreEvidence(grow=scored, trained_on=trained_on)
    if ratings is not None:
        table, notes = read_ratings(existing(str(ratings)), outputs, base)
        outputs = with_ratings(outputs, table, dimension)
        if base is not None:
            base = with_ratings(base, table, dimension)
        more = replace(more, ratings=table, ratings_notes=notes)
    elif dimension is not None:
        raise BadInput(
            "--dimension says which ratings are the human score; give them with --ratings FILE"
        )
    return probe_tables(outputs, base, settings, more)


def is_model(what: str) -> bool:
    """Whether the argument names a model (a spec, a folder, a GGUF file) rather than a file of
    generations.

    Raises BadInput for a run folder, which has commands of its own.
    """
    if is_run(what):
        raise BadInput(
            f"{what} is a run folder; its samples are files: "
            f"{Path(what, 'g01/i01/audit.parquet')} --against "
            f"{Path(what, 'g00/i00/audit.parquet')}"
        )
    if what.startswith(("hf:", "pypi:", "url:")) or what.endswith(".gguf"):
        return True
    return Path(what).is_dir()


def texts_of(path: Path | None) -> tuple[str, ...]:
    """At most KNOWN_TEXTS distinct texts of the file, chosen by hash."""
    if path is None:
        return ()
    texts = read_generations(existing(str(path))).table["text"]
    # By hash, as a run chooses them: neither the order of the rows nor a generator matters.
    return tuple(sorted(set(texts), key=digest)[:KNOWN_TEXTS])


def existing(what: str) -> Path:
    """The file of this name. Raises BadInput where there is none."""
    path = Path(what)
    if not path.is_file():
        hint = ""
        if what.count("/") == 1 and not path.suffix:
            hint = f"; a model of the hub is hf:{what}@revision"
        raise BadInput(f"{what}: no such file{hint}")
    return path


def _mapped(mapping: Mapping[str, str], outputs: Generations) -> None:
    # A mistyped column must not be passed over in silence: its measurements would just be missing.
    for name, own in mapping.items():
        if own != name and f"{name} is column '{own}'" not in outputs.notes:
            raise BadInput(
                f"{outputs.source}: no column '{own}', which --column {name}={own} names"
            )


# --- people's single ratings of the rows of a file, and the human score that follows from them

ONLY = "quality"
NAMES = ("sample_id", "rater", "score", "prompt_id", "dimension", "submitted_at", "inclusion")
ALIASES = {"rater": ("rater_id",), "inclusion": ("inclusion_prob",)}


def read_ratings(
    path: Path, outputs: Generations, base: Generations | None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Ratings of rows of `outputs` and `base`, as Evidence.ratings wants them, and what to say
    about them.

    Needs sample_id, rater and score; dimension (or "quality"), submitted_at and inclusion where
    there. Raises BadInput for a sample that is in neither file or in both, a score that is no
    number, and one rater twice on one sample.
    """
    raw = read_columns(path, names=NAMES, required=NAMES[:3], aliases=ALIASES, given={})
    dimensions: list[str | None] = [ONLY] * len(raw.where)
    if "dimension" in raw.values:
        dimensions = labels(raw, "dimension")
    table = pd.DataFrame(
        {
            "sample_id": ids(raw, "sample_id"),
            "rater": ids(raw, "rater"),
            "dimension": [d or ONLY for d in dimensions],
            "score": floats(raw, "score"),
        }
    )
    owners = _owners(outputs, base)
    _check(raw, table, owners)
    table.insert(1, "prompt_id", table["sample_id"].map(owners))
    if "submitted_at" in raw.values:
        table["submitted_at"] = pd.Series(labels(raw, "submitted_at"), dtype=object)
    if "inclusion" in raw.values:
        table["inclusion"] = shares(raw, "inclusion")
    names = sorted(set(table["dimension"]))
    note = (
        f"{len(table)} ratings of {table['sample_id'].nunique()} samples by "
        f"{table['rater'].nunique()} raters ({', '.join(names)})"
    )
    return table, (note,)


def with_ratings(one: Generations, ratings: pd.DataFrame, dimension: str | None) -> Generations:
    """The generations with `human` = the mean rating of each rated row, NaN elsewhere (and
    `inclusion` where given).

    Raises BadInput where ratings have several dimensions and none is chosen, or the chosen one is
    not among them.
    """
    names = sorted(set(ratings["dimension"]))
    if dimension is None and len(names) > 1:
        raise BadInput(
            f"ratings have the dimensions {', '.join(names)}; say which is the human score: "
            f"--dimension {names[0]}"
        )
    if dimension is not None and dimension not in names:
        raise BadInput(f"--dimension {dimension}: ratings have {', '.join(names)}")
    chosen = ratings[ratings["dimension"] == (dimension or names[0])]
    means = chosen.groupby("sample_id")["score"].mean()
    samples = one.table["sample_id"]
    columns = {"human": samples.map(means).astype("float64")}
    if "inclusion" in chosen.columns:
        # A sample's own, however many raters it had.
        of_sample = chosen.groupby("sample_id")["inclusion"].first()
        columns["inclusion"] = samples.map(of_sample).astype("float64")
    rated = int(columns["human"].notna().sum())
    note = f"human is the mean of people's ratings ({rated} of {len(one.table)} rows are rated)"
    if "human" in one.table.columns:
        note += "; the file's own human column is not used"
    return one.with_columns((note,), **columns)


def _owners(outputs: Generations, base: Generations | None) -> dict[str, str]:
    """The prompt of every sample that could be rated."""
    owners = dict(zip(outputs.table["sample_id"], outputs.table["prompt_id"], strict=True))
    if base is None:
        return owners
    others = dict(zip(base.table["sample_id"], base.table["prompt_id"], strict=True))
    both = sorted(set(owners) & set(others))
    if both:
        raise BadInput(
            f"sample_id {both[0]!r} is in {outputs.source} and in {base.source}: a rating could "
            "mean either; give the samples of the two files different ids"
        )
    return owners | others


def _check(raw: Columns, table: pd.DataFrame, owners: dict[str, str]) -> None:
    stray = np.flatnonzero(~table["sample_id"].isin(owners).to_numpy())
    if stray.size:
        row = int(stray[0])
        raise raw.bad(
            row,
            "sample_id",
            f"{table['sample_id'].iloc[row]!r} is in no file of generations that was given",
        )
    missing = np.flatnonzero(table["score"].isna().to_numpy())
    if missing.size:
        raise raw.bad(
            int(missing[0]),
            "score",
            "is empty; expected a number (leave out the row where nobody rated)",
        )
    twice = np.flatnonzero(table.duplicated(["sample_id", "rater", "dimension"]).to_numpy())
    if twice.size:
        row = int(twice[0])
        raise raw.bad(
            row,
            "rater",
            f"{table['rater'].iloc[row]!r} rates this sample twice; expected one rating each",
        )
