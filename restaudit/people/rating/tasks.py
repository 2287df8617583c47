"""Draw and blind: a set of rating tasks, as raters see it, and the key that later tells what each
item was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.files.strict import parse_json
from restaudit.people.rating import draw
from restaudit.people.rating.sheet import Sheet, ShownText, choices, sheet_text
from restaudit.people.rating.store import human_folder, made_human_folder, read_text

if TYPE_CHECKING:
    import pandas as pd

    from restaudit.evidence.record import Run

SCHEMA = 1
NEEDED = ("sample_id", "prompt_id", "text", "family")


@dataclass(frozen=True)
class TaskItem:
    """One thing shown to raters, unblinded.

    `role` is sample, check (a repeat) or anchor (base policy, rated again).
    """

    item_id: str
    iteration: str
    sample_id: str
    prompt_id: str
    response_sha256: str
    inclusion_prob: float | None
    order: int
    role: str
    repeats: str | None


@dataclass(frozen=True)
class TaskSet:
    """One set of rating tasks: what was drawn and how.

    `items` counts all that is shown, checks and anchors too.
    """

    name: str
    path: Path
    key: Path
    items: int
    samples: int
    checks: int
    anchors: int
    raters: int
    dimension: str
    scale: tuple[int, int]
    halves: bool
    instructions_sha256: str
    iterations: tuple[str, ...]
    notes: tuple[str, ...]


def draw_tasks(
    run: Path,
    iterations: Sequence[str],
    *,
    per_iteration: Mapping[str, int] | int,
    raters: int,
    seed: int,
    dimension: str,
    scale: tuple[int, int],
    instructions: str,
    name: str,
    halves: bool = False,
    anchors: int = 0,
    checks: int | None = None,
    tables: Mapping[str, str] | None = None,
    after: Mapping[str, int] | None = None,
    anchors_after: int = 0,
) -> TaskSet:
    """Draw random samples of iterations and write run/human/tasks-NAME.jsonl (blinded) and
    key-NAME.json.

    Of each iteration `per_iteration` samples are drawn from `tables` (default
    ITERATION/audit.parquet, a file that a step of the ledger recorded), from plain prompts where
    there are any: a simple random sample without replacement, coordinated over iterations
    (draw.py). `anchors` samples of the base policy are shown again beside them, `checks` items
    (default: a tenth) are shown twice. Scores are whole numbers on `scale`, or halves too. Called
    again with the same arguments it returns the same set, and writes again what is missing; the
    same `name` for something else raises BadInput.

    `after` and `anchors_after` are how many samples of each iteration, and how many anchors, were
    drawn in earlier sets with this `seed`: the next ones are drawn, none twice. The inclusion
    probability is then that of all sets together, which are one simple random sample.
    """
    from restaudit.evidence.record import Run

    record = Run(run)
    folder = made_human_folder(record.path)
    design = _design(
        record,
        iterations,
        per_iteration,
        raters,
        dimension,
        scale,
        instructions,
        name,
        anchors,
        checks,
    )
    rated = list(design["iterations"])
    if anchors and _base() not in rated:
        rated.append(_base())
    table_of_iteration = {i: (tables or {}).get(i, f"{i}/audit.parquet") for i in rated}
    design |= {"seed": str(seed), "halves": halves, "tables": table_of_iteration}
    # Written down only where it says something: a set of before has no such keys, and is still the
    # same set.
    if after:
        design["after"] = dict(after)
    if anchors_after:
        design["anchors_after"] = anchors_after
    key, sheet = _drawn(record, design)
    tasks_path, key_path = _paths(folder, name)
    draw.write_set(
        folder,
        tasks_path,
        sheet_text(sheet),
        key_path,
        key,
        other_key=folder / f"pairs-key-{name}.json",
        called=("a set of rating tasks", "a set of pairs"),
    )
    return _task_set(folder, key)


def load_tasks(run: Path, name: str) -> TaskSet:
    """A set of rating tasks of this run. Raises BadInput when there is none of this name."""
    folder = human_folder(run)
    return _task_set(folder, read_key(folder, name))


def task_sets(run: Path) -> list[TaskSet]:
    """All sets of rating tasks of this run, by name."""
    return [load_tasks(run, name) for name in draw.key_names(human_folder(run), "key-")]


def read_key(folder: Path, name: str) -> dict[str, Any]:
    """The key of one set, as it was written. Raises BadInput where it is missing or not a key."""
    if not draw.NAME.fullmatch(name):
        raise BadInput(
            f"{name!r}: not a name of rating tasks; use letters, digits, '.', '_' and '-'"
        )
    _, path = _paths(folder, name)
    if not plain.is_file(folder, path.name):
        there = ", ".join(draw.key_names(folder, "key-")) or "none"
        raise BadInput(f"{folder.parent}: no rating tasks named {name!r}; there are: {there}")
    try:
        key: dict[str, Any] = parse_json(read_text(path))
        if key["schema"] != SCHEMA or key["name"] != name:
            raise ValueError(
                f"schema {key['schema']!r} and name {key['name']!r}; expected {SCHEMA} and {name!r}"
            )
        key["items"] = [asdict(TaskItem(**i)) for i in key["items"]]
    except (ValueError, KeyError, TypeError) as e:
        raise BadInput(f"{path}: not a key of rating tasks ({e})") from None
    return key


def items_of(key: Mapping[str, Any]) -> list[TaskItem]:
    """The items of a key, in the order in which they are shown."""
    return [TaskItem(**i) for i in key["items"]]


def table_of(record: Run, iteration: str, table: str) -> tuple[pd.DataFrame, str]:
    """The texts of one iteration, and when a step recorded them (ledger time).

    Raises BadInput when no step of the ledger recorded that file, or it was changed since.
    """
    from restaudit.evidence.ledger import as_recorded
    from restaudit.evidence.record import read_table

    event = next((e for e in record.events if table in e.outputs), None)
    if event is None:
        have = ", ".join(record.iterations()) or "none"
        raise BadInput(
            f"{record.path}: no step of the ledger recorded {table}, so {iteration} cannot be "
            f"rated (audited so far: {have})"
        )
    # A changed file is not what the ledger's run wrote.
    is_there = plain.is_file(record.path, table)
    if is_there and not as_recorded(record.path, table, event.outputs[table]):
        raise BadInput(
            f"{record.path / table}: changed after step '{event.step}' recorded it; see restaudit verify "
            f"{record.path}"
        )
    return read_table(record.path, table, NEEDED, NEEDED), str(event.at.get("time", ""))


def sha256(text: str) -> str:
    """SHA-256 of a text's UTF-8, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def run_secret(record: Run) -> bytes:
    """What nobody knows who has not seen the run folder: the key of item ids, order and
    pseudonyms.
    """
    # The first event's hash is fixed for good, and in no file that raters get.
    if not record.events:
        raise BadInput(
            f"{record.path}: nothing is recorded in this run yet, so there is nothing to rate"
        )
    return draw.derive(record.events[0].hash.encode(), "restaudit rating")


# --- drawing


def _design(
    record: Run,
    iterations: Sequence[str],
    per_iteration: Mapping[str, int] | int,
    raters: int,
    dimension: str,
    scale: tuple[int, int],
    instructions: str,
    name: str,
    anchors: int,
    checks: int | None,
) -> dict[str, Any]:
    """The arguments, checked, as they stand in the key."""
    wanted = list(dict.fromkeys(iterations))
    if not wanted or len(wanted) != len(list(iterations)):
        raise BadInput(
            f"iterations {', '.join(iterations) or '(none)'}: name at least one, each once"
        )
    if isinstance(per_iteration, int):
        numbers = dict.fromkeys(wanted, per_iteration)
    else:
        numbers = {i: per_iteration.get(i, 0) for i in wanted}
    too_few = [f"{n} of {i}; at least 1 sample" for i, n in numbers.items() if n < 1]
    draw.require(
        f"rating tasks of {record.path}",
        [
            *draw.checked_name(name),
            ("per_iteration", not too_few, too_few[0] if too_few else ""),
            ("raters", raters >= 1, f"{raters}; at least 1"),
            ("scale", scale[0] < scale[1], f"{scale[0]} to {scale[1]}; the lowest comes first"),
            *draw.checked_words(dimension, instructions),
            ("anchors", anchors >= 0, f"{anchors}; not negative"),
            ("checks", checks is None or checks >= 0, f"{checks}; not negative"),
        ],
    )
    return {
        "name": name,
        "iterations": wanted,
        "per_iteration": numbers,
        "raters": raters,
        "dimension": dimension,
        "scale": list(scale),
        "instructions": instructions,
        "instructions_sha256": sha256(instructions),
        "anchors": anchors,
        "checks": checks,
    }


def _drawn(record: Run, design: dict[str, Any]) -> tuple[dict[str, Any], Sheet]:
    """The key and the sheet: a function of the run and the arguments, so that a lost file can be
    written again.
    """
    secret = draw.derive(run_secret(record), design["name"])
    drawing = draw.drawing_key(record, design["seed"])
    notes: list[str] = []
    frames: dict[str, Any] = {}
    texts: dict[tuple[str, str], str] = {}
    rows: list[tuple[str, str, str, float, str]] = []
    after = design.get("after", {})
    wanted = [(i, n, "sample", after.get(i, 0)) for i, n in design["per_iteration"].items()]
    if design["anchors"]:
        wanted.append((_base(), design["anchors"], "anchor", design.get("anchors_after", 0)))
    for iteration, n, role, before in wanted:
        table, _ = table_of(record, iteration, design["tables"][iteration])
        frame, plain_only = plain_frame(table)
        samples = list(zip(frame["sample_id"], frame["prompt_id"], strict=True))
        # A smaller draw is the beginning of a larger one, so what follows it was not drawn before.
        every = draw.drawn(samples, before + n, drawing)
        chosen = every[before:]
        if len(chosen) < n:
            notes.append(
                f"asked for {before + n} {role}s of {iteration}, there are {len(frame)}: all of them"
            )
        frames[f"{iteration} {role}"] = {
            "rows": len(frame),
            "drawn": len(chosen),
            "left_out": len(table) - len(frame),
        }
        if plain_only:
            notes.append(
                f"{iteration}: {len(table) - len(frame)} rows of counterfactual families are not "
                "drawn from"
            )
        columns = frame.iloc[chosen][["sample_id", "prompt_id", "text"]]
        for sample, prompt, text in columns.itertuples(index=False):
            texts[iteration, sample] = text
            rows.append((iteration, sample, prompt, len(every) / len(frame), role))
    items = _items(rows, texts, design, drawing, secret)
    key = {
        "schema": SCHEMA,
        "run_id": record.run_id,
        **design,
        "frames": frames,
        "notes": notes,
        "order_seed": draw.derive(secret, "order").hex()[:16],
        "items": [asdict(i) for i in items],
    }
    return key, _sheet(record, key, items, texts)


def plain_frame(table: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """The rows that may be drawn, and whether that left some out: those of plain prompts where
    there are any, else all.
    """
    plain_rows = table["family"].isna()
    if plain_rows.any() and not plain_rows.all():
        return table[plain_rows], True
    return table, False


def _items(
    rows: Sequence[tuple[str, str, str, float, str]],
    texts: Mapping[tuple[str, str], str],
    design: Mapping[str, Any],
    drawing: bytes,
    secret: bytes,
) -> list[TaskItem]:
    """Samples, anchors and repeats under their item ids, in the order in which they are shown."""
    facts: dict[str, dict[str, Any]] = {}
    for iteration, sample, prompt, probability, role in rows:
        digest = sha256(texts[iteration, sample])
        facts[draw.name(secret, role, iteration, sample)] = {
            "iteration": iteration,
            "sample_id": sample,
            "prompt_id": prompt,
            "response_sha256": digest,
            "inclusion_prob": probability,
            "role": role,
            "repeats": None,
        }
    originals = list(facts)
    samples = [i for i in originals if facts[i]["role"] == "sample"]
    wanted = design["checks"]
    if wanted is None:
        wanted = draw.default_checks(len(samples))

    def chance(item: str) -> float:
        fact = facts[item]
        where = (fact["iteration"], fact["sample_id"])
        return draw.number(drawing, design["name"], "check", *where)

    repeats = [(draw.name(secret, "check", i), i) for i in sorted(samples, key=chance)[:wanted]]
    for repeat, original in repeats:
        # A second score of one text never counts as a score of the sample, so it has no inclusion
        # probability.
        facts[repeat] = facts[original] | {
            "role": "check",
            "repeats": original,
            "inclusion_prob": None,
        }
    order = draw.shown_order(originals, repeats, draw.derive(secret, "order"))
    return [TaskItem(item_id=i, order=place, **facts[i]) for place, i in enumerate(order)]


def _sheet(
    record: Run,
    key: Mapping[str, Any],
    items: Iterable[TaskItem],
    texts: Mapping[tuple[str, str], str],
) -> Sheet:
    from restaudit.evidence.chats import as_text

    audit = record.prompts("audit")
    prompts = dict(zip(audit["prompt_id"], audit["prompt"], strict=True))
    # Rating a response without its prompt would rate something else.
    missing = sorted({i.prompt_id for i in items} - set(prompts))
    if missing:
        raise BadInput(
            f"{record.path}/data/audit.parquet: lacks the prompt(s) {', '.join(missing[:5])} of "
            "audited samples"
        )
    low, high = key["scale"]
    return Sheet(
        run_id=key["run_id"],
        dimension=key["dimension"],
        choices=choices((low, high), halves=key["halves"]),
        instructions=key["instructions"],
        instructions_sha256=key["instructions_sha256"],
        raters=key["raters"],
        rows=tuple(
            ShownText(
                i.item_id,
                as_text(str(prompts[i.prompt_id])),
                texts[i.iteration, i.sample_id],
                i.response_sha256,
            )
            for i in items
        ),
    )


def _task_set(folder: Path, key: Mapping[str, Any]) -> TaskSet:
    roles = [i["role"] for i in key["items"]]
    tasks, path = _paths(folder, key["name"])
    return TaskSet(
        name=key["name"],
        path=tasks,
        key=path,
        items=len(roles),
        samples=roles.count("sample"),
        checks=roles.count("check"),
        anchors=roles.count("anchor"),
        raters=key["raters"],
        dimension=key["dimension"],
        scale=(key["scale"][0], key["scale"][1]),
        halves=key["halves"],
        instructions_sha256=key["instructions_sha256"],
        iterations=tuple(key["iterations"]),
        notes=tuple(key["notes"]),
    )


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"tasks-{name}.jsonl", folder / f"key-{name}.json"


def _base() -> str:
    from restaudit.evidence.record import BASE

    return BASE
