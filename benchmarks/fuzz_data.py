"""Files that people give, mutated: every reader of one ends with its rows or with one sentence.

A mutation changes a good file: bits are turned, bytes cut, put in, taken out or doubled; a cell gets
another kind of value; a key comes twice; a column goes. Held is what ends with what the reader gives
or with a RestauditError, within SECONDS. `bombs` are files that are small and stand for much: held
is what is refused within LONGEST seconds and MOST_MEMORY bytes.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from restaudit.errors import RestauditError

# Of one mutation, on a machine that may be busy.
SECONDS = 20.0
# Characters of a message: a cell of a million must not be in it.
LONGEST_MESSAGE = 12_000
Row = dict[str, Any]
Read = Callable[[Path], Any]
WRONG: tuple[Any, ...] = (
    None, True, False, "", " ", "x", "\0", "a\0b", "\ud800", "\udcff", "\ufeff", "é☃😀", "=1+1",
    "a\nb", 'a"b', "a,b", "\r", "nan", "inf", "-inf", "1e999", "1_0", "９", -1, 0, 0.5, -0.0, 2**31,
    2**63, 10**30, 10**399, 1e308, float("nan"), float("inf"), float("-inf"), [], [1, "x"], [[]], {},
    {"a": None}, [{}], [{"role": "user"}], [{"role": "user", "content": None}],
    [{"role": "assistant", "content": "x"}], [{"role": ["user"], "content": "x"}], {"role": "user"},
    [{"role": "user", "content": "x", "more": [1]}], "[", "[1", '["a", 2]', '[{"role": "user"}]',
    '[{"role": "user", "role": "user", "content": "x"}]', "[" * 3000, '[{"a":' * 3000, "a" * 100_000,
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30", 1e20, -1e20, "9" * 5000,
)  # fmt: skip
BYTES = (
    b"\0",
    b'"',
    b"'",
    b"\n",
    b"\r",
    b"\xff",
    b",",
    b"{",
    b"}",
    b"[",
    b"\\",
    b"\x1f\x8b",
    b"NaN",
)


@dataclass(frozen=True)
class Reader:
    """A way to read a file: the good file's name and rows (or bytes), and what reads it."""

    file: str
    good: list[Row] | bytes
    read: Read


@dataclass(frozen=True)
class Failure:
    """A mutation that did not hold: the reader, its number, and how it ended."""

    reader: str
    number: int
    ended: str


def fuzz_data(seed: int, count: int) -> tuple[int, int, list[Failure]]:
    """Try `count` mutations on every reader: how many were tried, how many held, and the others.

    The same seed and count are the same mutations. They are read in a process apart: one that a
    library brings down is a failure too.
    """
    failures: list[Failure] = []
    pool = _pool()
    for name in readers():
        try:
            failures += pool.submit(tried, name, seed, count).result()
        except BrokenProcessPool:
            failures.append(Failure(name, -1, "a library ended the process"))
            pool = _pool()
    pool.shutdown()
    total = count * len(readers())
    return total, total - len(failures), failures


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def tried(name: str, seed: int, count: int, first: int = 0) -> list[Failure]:
    """Mutations `first` to `first + count` of one reader; those that did not hold."""
    reader = readers()[name]
    failures = []
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / reader.file
        for number in range(first, first + count):
            path.write_bytes(mutated(reader, random.Random(f"{seed}/{name}/{number}")))
            ended = _ended(reader.read, path)
            if ended is not None:
                failures.append(Failure(name, number, ended))
    return failures


def _ended(read: Read, path: Path) -> str | None:
    """How reading went wrong; None where it held."""
    try:
        with limited(SECONDS):
            read(path)
    except RestauditError as e:
        return f"{len(str(e)):,} characters of a message" if len(str(e)) > LONGEST_MESSAGE else None
    except (Exception, TookTooLong):  # noqa: BLE001 (whatever comes is what is looked for)
        return traceback.format_exc(limit=-3)
    return None


class TookTooLong(BaseException):
    """A reader was still at it; no `except OSError` of one may turn this into its sentence."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TookTooLong in what takes longer; only in a process's main thread."""

    def late(*_: Any) -> None:
        raise TookTooLong(f"takes more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- mutations


def mutated(reader: Reader, rng: random.Random) -> bytes:
    """The good file with something wrong in it."""
    if isinstance(reader.good, bytes):
        return _bytes_changed(reader.good, rng)
    rows = copy.deepcopy(reader.good)
    by_content = rng.random() < 0.6
    if by_content:
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            _cell_changed(rows, rng)
    data = written(reader.file, rows, rng if by_content else None)
    return data if by_content else _bytes_changed(data, rng)


def _cell_changed(rows: list[Row], rng: random.Random) -> None:
    row: Any = rng.choice(rows)
    key: Any = rng.choice(list(row) or ["x"])
    # Into what is nested, as deep as chance has it.
    while rng.random() < 0.6 and isinstance(row, dict) and row:
        key = rng.choice(list(row))
        inner = row[key]
        if isinstance(inner, list) and inner:
            inner = inner[0]
        if not isinstance(inner, dict) or not inner:
            break
        row = inner
        key = rng.choice(list(row))
    what = rng.random()
    if what < 0.1:
        row.pop(key, None)
    elif what < 0.2:
        row[f"{key}2"] = row.pop(key, None)
    else:
        row[key] = copy.deepcopy(rng.choice(WRONG))


def _bytes_changed(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed) + 1)
        what = rng.randrange(6)
        if what == 0 and changed:
            changed[at % len(changed)] ^= 1 << rng.randrange(8)
        elif what == 1:
            del changed[at:]
        elif what == 2:
            changed[at:at] = rng.choice(BYTES) * rng.choice((1, 1, 3, 200))
        elif what == 3:
            del changed[at : at + rng.randrange(1, 40)]
        elif what == 4:
            changed[at:at] = changed[at : at + rng.randrange(1, 200)]
        else:
            changed[at : at + 4] = rng.randbytes(4)
    return bytes(changed)


def written(name: str, rows: list[Row], rng: random.Random | None = None) -> bytes:
    """Rows in the format that the name says; with `rng` a key may come twice."""
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        return _parquet(rows)
    if kind in ("csv", "tsv"):
        data = _table(rows, "," if kind == "csv" else "\t")
    elif kind == "json":
        data = json.dumps(rows)
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows)
    if rng is not None and kind.startswith("json") and rng.random() < 0.1:
        data = data.replace('{"', '{"a": 1, "a": 2, "', 1)
    raw = data.encode("utf-8", "surrogateescape")
    return gzip.compress(raw, 1) if name.endswith(".gz") else raw


def _table(rows: list[Row], separator: str) -> str:
    out = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(columns)
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        nested = [json.dumps(c) if isinstance(c, list | dict) else c for c in cells]
        # A surrogate that stands for no byte cannot be in a file.
        writer.writerow(["" if c == "\ud800" or c is None else c for c in nested])
    return out.getvalue()


def _parquet(rows: list[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for column in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(column) for row in rows]
        try:
            arrays[column] = pa.array(values)
            pq.write_table(pa.table({"x": arrays[column]}), io.BytesIO())
        except (pa.ArrowException, ValueError, OverflowError, TypeError):
            # What one column cannot hold it holds as something else: all of them wrong.
            arrays[column] = pa.array([repr(v).encode("utf-8", "replace") for v in values])
    arrays = {name.encode("utf-8", "replace").decode(): array for name, array in arrays.items()}
    out = io.BytesIO()
    pq.write_table(pa.table(arrays), out)
    return out.getvalue()


# --- the readers


def readers() -> Mapping[str, Reader]:
    """Every reader of a file that people give, by name."""
    return {**_of_generations(), **_of_feedback(), **_of_prompts(), **_of_ratings(), **_of_runs()}


def _of_generations() -> Mapping[str, Reader]:
    from restaudit.calibrate.pool import features, load_pool
    from restaudit.data.generations import read_generations
    from restaudit.trainers.watch import generations as watched

    rows: list[Row] = [
        {
            "prompt_id": f"p{k // 2}", "prompt": f"Say {k // 2}.", "text": f"A text, number {k}.",
            "sample_id": f"s{k}", "n_tokens": 5 + k, "reward": k / 3, "human": 0.5, "logprob": -2.5,
            "group": "a", "family": "f", "inclusion": 0.5, "references": ["One.", "Two."],
        }
        for k in range(6)
    ]  # fmt: skip
    chats = [
        {
            "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
            "completion": [{"role": "assistant", "content": f"Hello {k}."}], "kept": k % 2 == 0,
        }
        for k in range(4)
    ]  # fmt: skip
    kinds = ("jsonl", "jsonl.gz", "json", "csv", "tsv", "csv.gz", "parquet")
    found = {f"probe {kind}": Reader(f"g.{kind}", rows, read_generations) for kind in kinds}
    for kind in ("jsonl", "csv", "parquet"):
        found[f"probe chats {kind}"] = Reader(
            f"g.{kind}", chats, lambda path: read_generations(path, kept=True)
        )
    found["watch jsonl"] = Reader("g.jsonl", rows, lambda path: watched.read(path, {}))
    found["probe --ratings csv"] = Reader("r.csv", _SINGLE, _read_single_ratings)
    found["probe --ratings parquet"] = Reader("r.parquet", _SINGLE, _read_single_ratings)
    pool = [
        {
            "prompt_id": f"p{k // 8}", "sample_id": f"s{k:03d}", "text": f"A splendid text {k}.",
            "n_tokens": 4, "reward": k / 7, "human": k / 9, "group": None, "family": None,
        }
        for k in range(24)
    ]  # fmt: skip
    found["calibrate pool"] = Reader(
        "pool.parquet", pool, lambda path: features(load_pool(str(path)))
    )
    return found


_SINGLE: list[Row] = [
    {"sample_id": f"s{k}", "rater": "ann", "score": 3, "dimension": "quality", "inclusion": 0.5}
    for k in range(4)
]


def _read_single_ratings(path: Path) -> None:
    import pandas as pd

    from restaudit.data.generations import Generations
    from restaudit.probing.files import read_ratings

    rated = [row["sample_id"] for row in _SINGLE]
    table = pd.DataFrame({"sample_id": rated, "prompt_id": "p"})
    read_ratings(path, Generations("g", table, "row"), None)


def _of_feedback() -> Mapping[str, Reader]:
    pairs = [
        {"prompt": f"Say {k}.", "chosen": f"It is {k}.", "rejected": "No.", "annotator": "ann"}
        for k in range(5)
    ]
    chat = [{"role": "user", "content": "Hi"}]
    chats = [
        {
            "chosen": [*chat, {"role": "assistant", "content": f"Yes {k}"}],
            "rejected": [*chat, {"role": "assistant", "content": "No"}],
        }
        for k in range(4)
    ]
    votes = [
        {"prompt": f"Say {k}.", "chosen": f"It is {k}.", "rejected": "No.", "a": 1, "b": "tie"}
        for k in range(4)
    ]
    rated = [{"text": f"Text {k}", "score": k / 2, "rater": "ann"} for k in range(5)]
    asked = {"options": {"annotator_columns": ["a", "b"]}}
    dialogue = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Again\n\nAssistant: "
    part = {"options": {"part": "0-100"}}
    found = {
        "ratings jsonl": Reader("r.jsonl", rated, _feedback("table", **part)),
        "ratings json": Reader("r.json", rated, _feedback("table")),
        "ratings csv": Reader("r.csv", rated, _feedback("table")),
        "ratings parquet": Reader("r.parquet", rated, _feedback("table")),
        "pairs jsonl": Reader("p.jsonl", pairs, _feedback("table", **part)),
        "pairs csv.gz": Reader("p.csv.gz", pairs, _feedback("table")),
        "pairs parquet": Reader("p.parquet", pairs, _feedback("table")),
        "pairs chats jsonl": Reader("p.jsonl", chats, _feedback("table")),
        "pairs chats parquet": Reader("p.parquet", chats, _feedback("table")),
        "pairs votes jsonl": Reader("p.jsonl", votes, _feedback("table", **asked)),
        "hh": Reader(
            "h.jsonl",
            [{"chosen": f"{dialogue}Yes {k}", "rejected": f"{dialogue}No"} for k in range(4)],
            _feedback("hh"),
        ),
        "llmbar": Reader("l.json", _LLMBAR, _feedback("llmbar")),
        "pandalm": Reader("l.json", _PANDALM, _feedback("pandalm")),
        "d2t": Reader("d.jsonl.gz", _D2T, _feedback("d2t")),
    }
    lexicon = "".join(f"word{k}\t1.5\t0.5\t[{', '.join('1' * 10)}]\n" for k in range(6))
    found["vader_lexicon"] = Reader("v.txt", lexicon.encode(), _feedback("vader_lexicon"))
    truth = "".join(f"{k}\t1.0\tA text {k}\n" for k in range(5)).encode()
    found["vader_snippets"] = Reader("v.txt", truth, _read_snippets)
    return found


_LLMBAR: list[Row] = [
    {"input": f"Say {k}", "output_1": "Yes", "output_2": "No", "label": 1} for k in range(4)
]
_PANDALM: list[Row] = [
    {
        "instruction": f"Say {k}", "input": "Now", "response1": "Yes", "response2": "No",
        "annotator1": 1, "annotator2": 2, "annotator3": 0,
    }
    for k in range(4)
]  # fmt: skip
_D2T: list[Row] = [
    {
        "src": f"inform(name={k})", "sys_summ": f"It is {k}.", "ref_summs": ["It is.", "Is it?"],
        "scores": {"quality": 4.0, "naturalness": 5, "informativeness": 6},
    }
    for k in range(4)
]  # fmt: skip


def _feedback(name: str, **more: Any) -> Read:
    def read(path: Path) -> None:
        from restaudit.config import RowRules, TableSource
        from restaudit.data import load_feedback

        for rules in (RowRules(), RowRules(**dict.fromkeys(("empty", "non_utf8"), "count"))):
            with contextlib.suppress(RestauditError):
                load_feedback(TableSource(source=str(path), format=name, **more), rules)

    return read


def _read_snippets(path: Path) -> None:
    ratings = path.with_name("ratings.txt")
    ratings.write_bytes(path.read_bytes().replace(b"A text", b"0.1\t[1, 1]"))
    _feedback("vader_snippets", options={"ratings": str(ratings)})(path)
    _feedback("vader_snippets", options={"ratings": str(path)})(ratings)


def _of_prompts() -> Mapping[str, Reader]:
    rows = [
        {"prompt": f"Say {k}.", "references": ["Yes", "No"], "group": "a", "family": f"f{k}"}
        for k in range(5)
    ]
    tasks = [
        {"instruction": f"Say {k}", "instances": [{"input": "Now", "output": "Yes"}]}
        for k in range(4)
    ]
    labelled = [{"prompt": f"Say {k}.", "label": "safe"} for k in range(4)]
    return {
        "prompts jsonl": Reader("p.jsonl", rows, _prompts("table")),
        "prompts csv": Reader("p.csv", rows, _prompts("table")),
        "prompts parquet": Reader("p.parquet", rows, _prompts("table")),
        "prompts self_instruct": Reader("p.jsonl", tasks, _prompts("self_instruct")),
        "prompts xstest": Reader("p.csv", labelled, _prompts("xstest")),
        "prompts d2t": Reader("d.jsonl", _D2T, _prompts("d2t")),
        "prompts pandalm": Reader("d.json", _PANDALM, _prompts("pandalm")),
    }


def _prompts(name: str) -> Read:
    def read(path: Path) -> None:
        from restaudit.config import DataConfig, PromptSource, RowRules
        from restaudit.data import load_prompts

        source = PromptSource(source=str(path), format=name, options={"part": "0-100"})
        load_prompts(DataConfig(prompts=(source,), rows=RowRules()))

    return read


# --- people's ratings


TEXT = "A lovely film."
DIGEST = "c8e2f8b0e4d1"


def _of_ratings() -> Mapping[str, Reader]:
    own: Row = {
        "item_id": "i1", "prompt": "Write.", "response": TEXT, "run_id": "r", "dimension": "quality",
        "scale_min": 1, "scale_max": 7, "blinded": True, "rater_id": "ann", "score": 3,
        "started_at": "2026-01-02T10:00:00Z", "submitted_at": "2026-01-02T10:00:00Z",
    }  # fmt: skip
    data = {k: v for k, v in own.items() if k not in ("rater_id", "score")}
    annotation: Row = {
        "completed_by": {"id": 1, "email": "a@example.org"}, "was_cancelled": False,
        "result": [{"from_name": "score", "origin": "manual", "value": {"choices": ["3"]}}],
        "created_at": "2026-01-02T10:00:00.1Z", "lead_time": 8.25, "parent_prediction": None,
    }  # fmt: skip
    flat = {
        **data, "score.responses": [3], "score.responses.users": ["ann"],
        "score.responses.status": ["submitted"], "score.suggestion": 2,
    }  # fmt: skip
    nested = {
        "id": "i1", "fields": {"prompt": "Write.", "response": TEXT}, "metadata": {"run_id": "r"},
        "suggestions": {"score": {"agent": "m", "value": 2}},
        "responses": {"score": [{"value": 3, "user_id": "ann", "status": "submitted"}]},
    }  # fmt: skip
    old = {
        **nested,
        "responses": [{"user_id": "ann", "status": "submitted", "values": {"score": {"value": 3}}}],
    }
    potato = {"instance_id": "i1", "user_id": "ann", "labels": {"score": {"3": "3"}}}
    state = {
        "user_id": "ann",
        "instance_id_to_label_to_value": {"i1": [[{"schema": "score", "name": "3"}, "true"]]},
        "instance_id_to_behavioral_data": {"i1": {"annotation_changes": [{"timestamp": 1e9}]}},
    }
    prodigy = {
        **data, "accept": ["3"], "answer": "accept", "_timestamp": 1767348000, "_task_hash": 1,
        "_annotator_id": "set-ann", "meta": {"a": 1},
    }  # fmt: skip
    choice = {**own, "response_a": TEXT, "response_b": "No.", "choice": "A"}
    good: Mapping[str, tuple[str, list[Row]]] = {
        "native": ("r.jsonl", [own, {**own, "score": None}]),
        "csv": ("r.csv", [own, {**own, "rater_id": "bob"}]),
        "label-studio": (
            "r.json",
            [{"data": data, "annotations": [annotation], "predictions": []}],
        ),
        "argilla flat": ("r.json", [flat]),
        "argilla": ("r.json", [nested]),
        "argilla old": ("r.jsonl", [old]),
        "potato": ("r.jsonl", [potato]),
        "potato csv": ("r.csv", [{"instance_id": "i1", "user_id": "ann", "score.3": "true"}]),
        "potato state": ("r.jsonl", [state]),
        "prodigy": ("r.jsonl", [prodigy]),
        "pairs": ("r.jsonl", [choice]),
        "pairs csv": ("r.csv", [choice]),
    }
    return {f"rate {k}": Reader(file, rows, _read_votes) for k, (file, rows) in good.items()}


def _read_votes(path: Path) -> None:
    """A file of ratings as `rate import` reads it, held against a book of one item."""
    from restaudit.files.given import whole_text
    from restaudit.people.rating.checks import Book, KnownText, problems
    from restaudit.people.rating.formats import FORMATS, detect
    from restaudit.people.rating.pairs.sheet import holds_choices, read_choices
    from restaudit.people.rating.tasks import TaskItem, sha256

    text = whole_text(path)
    item = TaskItem("i1", "g01/i01", "s1", "p1", sha256(TEXT), None, 0, "sample", None)
    scale = tuple(float(k) for k in range(1, 8))
    known = KnownText(item, "t", "quality", scale, "x", "y", TEXT, datetime(2026, 1, 1, tzinfo=UTC))
    book = Book("r", {"i1": known}, {sha256(TEXT): ["i1"]}, {}, b"secret")
    layouts: list[Callable[[str], Any]] = [layout.read for layout in FORMATS.values()]
    with contextlib.suppress(RestauditError):
        layouts.append(detect(text).read)
    if holds_choices(text):
        layouts.append(lambda given: read_choices(given)[1])
    for read in layouts:
        # A file may be read in a layout that it is not of: whoever says so is to be told.
        with contextlib.suppress(RestauditError):
            for vote in read(text).votes:
                who, now = book.rater(vote.rater), datetime.now(UTC)
                found = book.item(vote)
                wrong = [
                    *problems(
                        vote, found, who, book.facts_of(vote.rater), run_id="r", timed=True, now=now
                    )
                ]
                if found is not None and who is not None and not wrong:
                    found.row(vote, who, "r")


# --- what lies in the run folder for people to fill in


def _of_runs() -> Mapping[str, Reader]:
    from restaudit.people.rating.checks import declared_in
    from restaudit.people.rating.pairs import sheet as pair_sheet
    from restaudit.people.rating.sheet import read_sheet

    shown = {
        "item_id": "i1", "prompt": "Write.", "response": TEXT, "response_sha256": DIGEST,
        "response_a": TEXT, "response_b": "No.", "response_a_sha256": DIGEST,
        "response_b_sha256": DIGEST, "run_id": "r", "dimension": "quality", "choices": [1, 2, 3],
        "instructions": "Rate.", "instructions_sha256": DIGEST, "raters": 2,
    }  # fmt: skip
    refit = [
        {
            "item_id": f"g02-{k:03d}",
            "prompt": "Write.",
            "response": TEXT,
            "rater": "a",
            "score": "3,5",
        }
        for k in range(4)
    ]
    raters = b'{"ann": {"developer": true}, "bob": {"model": false}}'
    return {
        "sheet": Reader("tasks-a.jsonl", [shown, shown], lambda path: read_sheet(path).labels),
        "pair sheet": Reader("pairs-a.jsonl", [shown, shown], pair_sheet.read_sheet),
        "raters.json": Reader("raters.json", raters, lambda path: declared_in(path.parent)),
        "refit sheet": Reader("refit-g02.csv", refit, _read_refit),
    }


def _read_refit(path: Path) -> None:
    import pandas as pd

    from restaudit.config import RefitConfig
    from restaudit.people.waiting import read_sheet

    (path.parent / "human").mkdir(exist_ok=True)
    (path.parent / "human" / path.name).write_bytes(path.read_bytes())
    asked = pd.DataFrame({"item_id": [f"g02-{k:03d}" for k in range(4)]})
    read_sheet(path.parent, "g02", asked, RefitConfig())


# --- files that are small, or nothing, and stand for much


LONGEST, MOST_MEMORY = 60.0, 1 << 30
MiB = 1 << 20
GiB = 1 << 30
# Reads one file in a process of its own; prints what it said, the seconds, and the peak memory.
MEASURE = """
import json, sys, time
from pathlib import Path
from benchmarks import fuzz_data
from restaudit.errors import RestauditError
read, began, said = fuzz_data.WAYS[sys.argv[1]](), time.monotonic(), "read without a word"
try:
    read(Path(sys.argv[2]))
except RestauditError as e:
    said = str(e)
# Not ru_maxrss, which begins with that of whoever started the process.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
peak = int(peak.split()[1]) * 1024
print(json.dumps([said, time.monotonic() - began, peak]))
"""


def _probe() -> Read:
    from restaudit.data.generations import read_generations

    return read_generations


WAYS: Mapping[str, Callable[[], Read]] = {
    "probe": _probe,
    "prompts": lambda: _prompts("table"),
    "feedback": lambda: _feedback_refused,
    "rate": lambda: _rate_refused,
    "pool": lambda: _read_pool,
}


def _feedback_refused(path: Path) -> None:
    from restaudit.config import RowRules, TableSource
    from restaudit.data import load_feedback

    load_feedback(TableSource(source=str(path)), RowRules())


def _rate_refused(path: Path) -> None:
    from restaudit.files.given import whole_text
    from restaudit.people.rating.formats import detect, named

    text = whole_text(path)
    (named("csv") if path.suffix == ".csv" else detect(text)).read(text)


def _read_pool(path: Path) -> None:
    from restaudit.calibrate.pool import load_pool

    load_pool(str(path))


@dataclass(frozen=True)
class Bomb:
    """A hostile file: how it is read, its name, what makes it, and words that its refusal says."""

    way: str
    name: str
    make: Callable[[Path], None]
    says: str


@dataclass(frozen=True)
class Blast:
    """How reading a bomb went: what it said, in how many seconds, with how many bytes at the most."""

    bomb: Bomb
    said: str
    seconds: float
    peak: int

    @property
    def held(self) -> bool:
        """Whether it was refused, by the right limit, in time and memory."""
        refused = self.bomb.says in self.said
        return refused and self.seconds < LONGEST and self.peak < MOST_MEMORY


def blasts(folder: Path, bombs: tuple[Bomb, ...] = ()) -> Iterator[Blast]:
    """Make every bomb in the folder, read it in a process of its own, and take it away."""
    for bomb in bombs or BOMBS:
        path = folder / bomb.name
        bomb.make(path)
        command = [sys.executable, "-c", MEASURE, bomb.way, str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=3 * LONGEST)
            said, seconds, peak = json.loads(done.stdout or "null") or (done.stderr[-500:], 0.0, 0)
        except subprocess.TimeoutExpired:
            said, seconds, peak = "takes too long", 3 * LONGEST, 0
        path.unlink()
        yield Blast(bomb, said, seconds, peak)


def _zeros(start: bytes, size: int = GiB) -> Callable[[Path], None]:
    """A file of zeros, which take no room on the disk."""

    def make(path: Path) -> None:
        with path.open("wb") as f:
            f.write(start)
            f.truncate(size)

    return make


def _packed(block: bytes, times: int) -> Callable[[Path], None]:
    """A gzip file of one block many times."""

    def make(path: Path) -> None:
        with path.open("wb") as f:
            f.write(gzip.compress(block) * times)

    return make


def _content(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def _link(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


def _repeated(
    size: int, rows: int, *, within: bool = False, **options: Any
) -> Callable[[Path], None]:
    """Parquet: one text of `size` bytes in every row, which is written once."""

    def make(path: Path) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        values: Any = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(rows, dtype=np.int8)), pa.array(["x" * size])
        )
        if within:
            values = pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), values)
        if not options.get("use_dictionary", True):
            values = values.cast(pa.string())
        table = pa.table({"text": values, "prompt": values})
        pq.write_table(table, path, compression="zstd", write_statistics=False, **options)

    return make


def _long_list(path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = pa.array(np.zeros(50_000_000, dtype=np.int8))
    lists = pa.ListArray.from_arrays(pa.array([0, len(numbers)], pa.int32()), numbers)
    pq.write_table(pa.table({"text": ["x"], "references": lists}), path, compression="zstd")


def _one_length(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = pa.array([b"x" * MiB] * 200, pa.binary(MiB))
    with pq.ParquetWriter(path, pa.schema({"text": values.type}), compression="zstd") as out:
        for _ in range(8):
            out.write_table(pa.table({"text": values}))


def _billion_rows(path: Path) -> None:
    """A small Parquet file whose footer says a billion rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["x"] * 77_777}), out)
    # Whole numbers are written doubled, seven bits a byte.
    said, more = (_varint(2 * n) for n in (77_777, 10**9))
    data = bytearray(out.getvalue().replace(said, more))
    length = int.from_bytes(out.getvalue()[-8:-4], "little")
    grown = out.getvalue()[-8 - length :].count(said) * (len(more) - len(said))
    data[-8:-4] = (length + grown).to_bytes(4, "little")
    path.write_bytes(data)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


ROW = b'{"text": "", "prompt": ""}\n'
DELTA: Mapping[str, Any] = {
    "use_dictionary": False,
    "column_encoding": {"text": "DELTA_BYTE_ARRAY", "prompt": "DELTA_BYTE_ARRAY"},
    "data_page_size": 1 << 40,
}
BOMBS = (
    Bomb("probe", "zeros.jsonl.gz", _packed(bytes(64 * MiB), 160), "longer than 16,777,216"),
    Bomb("probe", "rows.jsonl.gz", _packed(ROW * 1_000_000, 100), "rows, 8 bytes of the packed file"),
    Bomb("prompts", "texts.jsonl.gz", _packed(
        b"".join(b'{"prompt": "%d %s"}\n' % (k, b"x" * MiB) for k in range(60)), 40,
    ), "unpack to more than"),
    Bomb("probe", "lists.jsonl.gz", _packed(
        b'{"text": [' + b"[]," * 5_000_000 + b"[]]}\n", 6
    ), "values in lists"),
    Bomb("probe", "keys.jsonl", _content(
        b"".join(b'{"text": "", "k%d": 1}\n' % k for k in range(200_000))
    ), "10,000 columns"),
    Bomb("probe", "line.jsonl", _zeros(b'{"text": "'), "longer than 16,777,216"),
    Bomb("prompts", "line.json", _zeros(b'[{"prompt": "'), "longer than 16,777,216"),
    Bomb("feedback", "quote.csv", _zeros(b'text,score\n"'), "longer than 16,777,216"),
    Bomb("feedback", "columns.csv", _content(b"a," * 1_000_000 + b"b\n"), "columns; at most 10,000"),
    Bomb("probe", "deep.jsonl", _content(b'{"a":' * 100_000), "nested more than 64"),
    Bomb("probe", "digits.jsonl", _content(b'{"text": ' + b"9" * 5_000 + b"}"), "5,000 digits"),
    Bomb("rate", "columns.csv", _content(b"[]," * 20_000_000), "longer than 16,777,216"),
    Bomb("rate", "lines.csv", _content(b'"\n",' * 10_000_000), "longer than 16,777,216"),
    Bomb("rate", "rows.csv", _content(b"item_id,score\n" + b"1,2\n" * 9_000_000), "500,000 rows"),
    Bomb("rate", "large.jsonl", _zeros(b'{"item_id": "'), "more than 67,108,864 bytes"),
    Bomb("rate", "values.json", _content(b"[" + b"[]," * 20_000_000 + b"[]]"), "4,000,000 values"),
    Bomb("probe", "zip.jsonl", _content(b"PK\x03\x04" + bytes(100)), "is packed with zip"),
    Bomb("probe", "xz.csv", _content(b"\xfd7zXZ\0" + bytes(100)), "is packed with xz"),
    Bomb("probe", "zero.jsonl", _link("/dev/zero"), "is a device"),
    Bomb("rate", "pipe.jsonl", lambda path: os.mkfifo(path), "is a named pipe"),
    Bomb("prompts", "pipe.csv", lambda path: os.mkfifo(path), "pipe"),
    Bomb("probe", "rows.parquet", _repeated(1, 30_000_000), "says that it holds 30,000,000 rows"),
    Bomb("pool", "billion.parquet", _billion_rows, "says that it holds 1,000,000,000 rows"),
    Bomb("probe", "texts.parquet", _repeated(8 * MiB, 200_000), "texts of more than"),
    Bomb("prompts", "lists.parquet", _repeated(MiB, 200_000, within=True), "texts of more than"),
    Bomb("pool", "pool.parquet", _repeated(MiB, 200_000), "texts of more than"),
    Bomb("probe", "page.parquet", _repeated(400 * MiB, 1, use_dictionary=False), "unpacks to more"),
    Bomb("probe", "delta.parquet", _repeated(MiB, 1500, **DELTA), "texts of more than"),
    Bomb("probe", "length.parquet", _one_length, "texts of more than"),
    Bomb("probe", "list.parquet", _long_list, "unpacks to more"),
)  # fmt: skip
