"""A file of generations as the table that probes read, with everything said that was made, renamed
or left out; and two of them, paired by prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from restaudit.data.columns import (
    Columns,
    counts,
    flags,
    floats,
    ids,
    labels,
    lists,
    read_columns,
    shares,
    texts,
)
from restaudit.errors import BadInput
from restaudit.evidence.chats import as_text, digest, normalise
from restaudit.evidence.chats import prompt_id as id_of

Key = Literal["prompt_id", "prompt", "row"]

ALIASES = {
    "text": ("response", "completion", "output", "generation", "generated_text"),
    "references": ("reference",),
}
NUMBERS: Mapping[str, Callable[[Columns, str], np.ndarray[Any, Any]]] = {
    "reward": floats,
    "reward_spread": floats,
    "human": floats,
    "logprob": floats,
    "kl": floats,
    "kl_tokens": floats,
    "inclusion": shares,
}
LABELS = ("group", "family", "origin")
NAMES = (
    "text",
    "prompt_id",
    "prompt",
    "sample_id",
    "n_tokens",
    *NUMBERS,
    *LABELS,
    "kept",
    "references",
)


@dataclass(frozen=True)
class Generations:
    """Generations of one policy, as Evidence wants them.

    `table` has a row a sample: prompt_id, sample_id, text, n_tokens, and the columns of NAMES that
    were there. `keyed` says what tells prompts apart: the file's prompt_id, the hash of its prompt,
    or nothing but the row. `prompts` are plain texts by prompt_id; `asked` the normalised ones, by
    row, where the file has prompts. `notes` are sentences.
    """

    source: str
    table: pd.DataFrame
    keyed: Key
    prompts: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asked: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def by_row(self) -> list[str]:
        """The plain prompt of every row, "" where none is known."""
        return [self.prompts.get(p, "") for p in self.table["prompt_id"]]

    def with_columns(self, notes: tuple[str, ...] = (), **columns: Any) -> Generations:
        """The same generations with further columns, and what to say about them."""
        return replace(self, table=self.table.assign(**columns), notes=(*self.notes, *notes))


def read_generations(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    kept: bool = False,
    aliases: Mapping[str, Sequence[str]] = ALIASES,
) -> Generations:
    """Read a file of generations: .jsonl, .json, .csv, .tsv or .parquet (the text ones perhaps with
    .gz), UTF-8.

    Needs the column `text` (or one of its `aliases` alone); `columns` maps standard names to the
    file's own. `kept` asks for a Grow set: the column `kept` is needed then. Raises BadInput naming
    file, line or row, column, what was expected.
    """
    unknown = sorted(set(columns or {}) - set(NAMES))
    if unknown:
        raise BadInput(
            f"--column {unknown[0]}=…: no such column is read; expected one of {', '.join(NAMES)}"
        )
    required = {"text", "kept"} if kept else {"text"}
    raw = read_columns(path, names=NAMES, required=required, aliases=aliases, given=columns or {})
    n = len(raw.where)
    notes = [f"{name} is column '{own}'" for name, own in raw.called.items()]
    table = pd.DataFrame({"text": pd.Series(texts(raw, "text"), dtype=object)})
    keyed, prompt_ids, prompts, asked = _prompts(raw, n)
    table.insert(0, "prompt_id", prompt_ids)
    table.insert(1, "sample_id", _sample_ids(raw, n))
    for name, read in NUMBERS.items():
        # Without token counts a log-probability would be divided by words.
        if name == "logprob" and "n_tokens" not in raw.values:
            continue
        if name in raw.values:
            table[name] = read(raw, name)
    for name in LABELS:
        if name in raw.values:
            table[name] = pd.Series(labels(raw, name), dtype=object)
    if "kept" in raw.values:
        table["kept"] = flags(raw, "kept")
    if "n_tokens" in raw.values:
        table["n_tokens"] = counts(raw, "n_tokens")
    else:
        table["n_tokens"] = _words(table["text"])
    _check_groups(raw, table)
    return Generations(
        str(path),
        table,
        keyed,
        prompts,
        _references(raw, prompt_ids),
        asked,
        (*notes, *_made(raw, table, keyed)),
    )


def _prompts(raw: Columns, n: int) -> tuple[Key, list[str], dict[str, str], tuple[str, ...] | None]:
    """What tells prompts apart, the prompt_id of every row, plain prompts by id, and normalised
    prompts by row.
    """
    if "prompt" not in raw.values:
        if "prompt_id" in raw.values:
            return "prompt_id", ids(raw, "prompt_id"), {}, None
        return "row", [f"row {k:07d}" for k in range(1, n + 1)], {}, None
    given = texts(raw, "prompt", prompt=True)
    normal = {p: normalise(p) for p in set(given)}
    asked = tuple(normal[p] for p in given)
    if "prompt_id" not in raw.values:
        # The id that a run would give the prompt, so that files of different tools can be paired.
        named = {p: id_of(p) for p in set(given)}
        plain = {named[p]: as_text(p) for p in dict.fromkeys(given)}
        return "prompt", [named[p] for p in given], plain, asked
    own = ids(raw, "prompt_id")
    first: dict[str, int] = {}
    for row, (name, text) in enumerate(zip(own, asked, strict=True)):
        before = first.setdefault(name, row)
        # As normalised: another space at the end is not another prompt.
        if asked[before] != text:
            where = raw.where[before]
            raise raw.bad(
                row,
                "prompt_id",
                f"{name!r} has another prompt here than in {where}; expected one prompt an id",
            )
    return "prompt_id", own, {name: as_text(given[row]) for name, row in first.items()}, asked


def _sample_ids(raw: Columns, n: int) -> list[str]:
    if "sample_id" not in raw.values:
        return [f"sample {k:07d}" for k in range(1, n + 1)]
    names = ids(raw, "sample_id")
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        before = first.setdefault(name, row)
        if before != row:
            where = raw.where[before]
            raise raw.bad(
                row,
                "sample_id",
                f"{name!r} is also the sample of {where}; expected one row a sample",
            )
    return names


def _words(column: pd.Series[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.fromiter((len(t.split()) for t in column), dtype=np.int64, count=len(column))


def _check_groups(raw: Columns, table: pd.DataFrame) -> None:
    if "family" not in table.columns:
        return
    without_group = table["family"].notna()
    if "group" in table.columns:
        without_group &= table["group"].isna()
    alone = np.flatnonzero(without_group.to_numpy())
    if alone.size:
        raise raw.bad(
            int(alone[0]), "group", "is empty in a row that has a family; expected the group's name"
        )


def _references(raw: Columns, prompt_ids: list[str]) -> dict[str, tuple[str, ...]]:
    if "references" not in raw.values:
        return {}
    by_prompt: dict[str, dict[str, None]] = {}
    for name, own in zip(prompt_ids, lists(raw, "references"), strict=True):
        by_prompt.setdefault(name, {}).update(dict.fromkeys(own))
    return {name: tuple(own) for name, own in by_prompt.items() if own}


def _made(raw: Columns, table: pd.DataFrame, keyed: Key) -> list[str]:
    notes = []
    if keyed == "row":
        notes.append(
            "no prompt or prompt_id: every row counts as a prompt of its own, so that intervals "
            "are too narrow if several rows answer one prompt"
        )
    if "sample_id" not in raw.values:
        notes.append("sample_id made from the order of rows")
    if "n_tokens" not in raw.values:
        note = "n_tokens is the number of words, there is no such column"
        if "logprob" in raw.values:
            note += ", so logprob is not used"
        notes.append(note)
    empty = int((table["text"].str.strip() == "").sum())
    if empty:
        notes.append(f"{empty} of {len(table)} texts are empty")
    for name in NUMBERS:
        missing = int(table[name].isna().sum()) if name in table.columns else 0
        if missing:
            notes.append(f"{name} is undefined in {missing} of {len(table)} rows")
    if "group" in table.columns and "family" not in table.columns:
        notes.append("group without family: groups are compared within families of prompts only")
    if raw.unread:
        notes.append(f"not read: {', '.join(raw.unread)}")
    return notes


# --- two files, compared prompt by prompt

NEEDED = "give both files a prompt_id, or both the prompt"


def paired(outputs: Generations, base: Generations) -> tuple[Generations, Generations]:
    """Both with prompt ids that mean the same prompt, and a note on the prompts only one of them
    has.

    By prompt_id where both files have it (and then the prompts, where both have those too, must
    agree); by the normalised prompt where both have that; by nothing else: rows are never paired by
    their order. Raises BadInput otherwise, and where the two have no prompt in common.
    """
    if outputs.keyed == base.keyed == "prompt_id":
        _same_prompts(outputs, base)
    elif outputs.asked is not None and base.asked is not None:
        outputs, base = _by_prompt(outputs), _by_prompt(base)
    else:
        raise BadInput(
            f"{outputs.source} and {base.source}: nothing tells which rows answer the same "
            f"prompt; {NEEDED}"
        )
    own_prompts = list(dict.fromkeys(outputs.table["prompt_id"]))
    base_prompts = list(dict.fromkeys(base.table["prompt_id"]))
    both = set(own_prompts) & set(base_prompts)
    if not both:
        what = "prompt" if outputs.keyed == "prompt" else "prompt_id"
        raise BadInput(
            f"{outputs.source} and {base.source} have no {what} in common (for example "
            f"{_named(outputs, own_prompts[0])} and {_named(base, base_prompts[0])}); sample both "
            "policies on the same prompts"
        )
    note = f"{len(both)} prompts are in both files"
    own_alone, base_alone = len(own_prompts) - len(both), len(base_prompts) - len(both)
    if own_alone or base_alone:
        note += (
            f"; {own_alone} of {outputs.source} and {base_alone} of {base.source} are not, and "
            "comparisons leave them out"
        )
    return replace(outputs, notes=(*outputs.notes, note)), base


def _by_prompt(one: Generations) -> Generations:
    """Named by the hash of the prompt, as files without a prompt_id are."""
    if one.keyed == "prompt" or one.asked is None:
        return one
    # Several ids of one file may turn out to be one prompt: their rows and references are joined.
    names = [digest(asked)[:16] for asked in one.asked]
    new = dict(zip(one.table["prompt_id"], names, strict=True))
    prompts = {new[old]: text for old, text in one.prompts.items()}
    references: dict[str, tuple[str, ...]] = {}
    for old, own in one.references.items():
        references[new[old]] = tuple(dict.fromkeys((*references.get(new[old], ()), *own)))
    note = "paired by prompt: the other file has no prompt_id"
    return replace(
        one,
        table=one.table.assign(prompt_id=names),
        keyed="prompt",
        prompts=prompts,
        references=references,
        notes=(*one.notes, note),
    )


def _same_prompts(outputs: Generations, base: Generations) -> None:
    if outputs.asked is None or base.asked is None:
        return
    other = dict(zip(base.table["prompt_id"], base.asked, strict=True))
    for name, asked in zip(outputs.table["prompt_id"], outputs.asked, strict=True):
        if other.get(name, asked) != asked:
            raise BadInput(
                f"prompt_id {name!r} is '{asked[:60]}' in {outputs.source} and "
                f"'{other[name][:60]}' in {base.source}; expected the same prompt under one id"
            )


def _named(one: Generations, name: str) -> str:
    if one.keyed == "prompt":
        return repr(one.prompts[name][:60])
    return repr(name)
