"""Draw and blind pairs: for random prompts one text of each of two policies, which may be of two
runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.files.strict import parse_json
from restaudit.people.rating import draw
from restaudit.people.rating.pairs.sheet import PairSheet, ShownPair, sheet_text
from restaudit.people.rating.store import human_folder, made_human_folder, read_text
from restaudit.people.rating.tasks import plain_frame, run_secret, sha256, table_of

if TYPE_CHECKING:
    import pandas as pd

    from restaudit.evidence.record import Run

SCHEMA = 1
FIRST, SECOND = "first", "second"
TASKS, KEY = "pairs-", "pairs-key-"
# A run folder and one of its audited iterations.
Where = tuple[Path, str]


@dataclass(frozen=True)
class PairItem:
    """One pair shown to raters, unblinded: `a` says which side stands at A.

    `role` is pair, or check (a repeat).
    """

    item_id: str
    prompt_id: str
    first_sample: str
    second_sample: str
    first_sha256: str
    second_sha256: str
    a: str
    inclusion_prob: float | None
    order: int
    role: str
    repeats: str | None

    def sample(self, side: str) -> str:
        """The sample of one side."""
        return self.first_sample if side == FIRST else self.second_sample

    def digest(self, side: str) -> str:
        """The SHA-256 of one side's text."""
        return self.first_sha256 if side == FIRST else self.second_sha256


@dataclass(frozen=True)
class PairSet:
    """One set of pairs: what was drawn.

    `same` prompts had one text twice; they are not shown and count as ties.
    """

    name: str
    path: Path
    key: Path
    items: int
    pairs: int
    checks: int
    same: int
    raters: int
    dimension: str
    instructions_sha256: str
    first: Mapping[str, str]
    second: Mapping[str, str]
    notes: tuple[str, ...]


def draw_pairs(
    run: Path,
    first: Where,
    second: Where,
    *,
    n: int,
    raters: int,
    seed: int,
    dimension: str,
    instructions: str,
    name: str,
    checks: int | None = None,
) -> PairSet:
    """Draw `n` audit prompts, of each one text of both policies, and write them to the folder
    human/ of `run`.

    `first` and `second` are (run folder, iteration), of `run` or of other runs that asked the same
    prompts. Prompts are a simple random sample without replacement of those that both answered
    (plain ones where there are any); which text stands at A is random; a tenth of the pairs
    (`checks`) is shown again the other way round. Called again with the same arguments it returns
    the same set; the same `name` for something else raises BadInput.
    """
    from restaudit.evidence.record import Run

    record = Run(run)
    _check(record, n, raters, dimension, instructions, name, checks)
    sides = {FIRST: _side(*first), SECOND: _side(*second)}
    if (sides[FIRST].about["run_id"], first[1]) == (sides[SECOND].about["run_id"], second[1]):
        raise BadInput(
            f"{record.path}: both sides are {first[1]} of the same run; name two different policies"
        )
    design = {
        "name": name,
        "n": n,
        "raters": raters,
        "seed": str(seed),
        "dimension": dimension,
        "checks": checks,
        "instructions": instructions,
        "instructions_sha256": sha256(instructions),
    }
    key, sheet = _drawn(record, sides, design)
    folder = made_human_folder(record.path)
    tasks_path, key_path = _paths(folder, name)
    draw.write_set(
        folder,
        tasks_path,
        sheet_text(sheet),
        key_path,
        key,
        other_key=folder / f"key-{name}.json",
        called=("a set of pairs", "a set of single texts"),
    )
    return _pair_set(folder, key)


def load_pairs(run: Path, name: str) -> PairSet:
    """A set of pairs of this run. Raises BadInput when there is none of this name."""
    folder = human_folder(run)
    return _pair_set(folder, read_key(folder, name))


def pair_sets(run: Path) -> list[PairSet]:
    """All sets of pairs of this run, by name."""
    return [load_pairs(run, name) for name in draw.key_names(human_folder(run), KEY)]


def read_key(folder: Path, name: str) -> dict[str, Any]:
    """The key of one set of pairs, as it was written.

    Raises BadInput where it is missing or not a key.
    """
    if not draw.NAME.fullmatch(name):
        raise BadInput(
            f"{name!r}: not a name of rating tasks; use letters, digits, '.', '_' and '-'"
        )
    path = folder / f"{KEY}{name}.json"
    if not plain.is_file(folder, path.name):
        raise BadInput(f"{folder.parent}: no pairs named {name!r}")
    try:
        key: dict[str, Any] = parse_json(read_text(path))
        if key["schema"] != SCHEMA or key["name"] != name:
            raise ValueError(
                f"schema {key['schema']!r} and name {key['name']!r}; expected {SCHEMA} and {name!r}"
            )
        key["items"] = [asdict(PairItem(**i)) for i in key["items"]]
        key["same"] = [str(p) for p in key["same"]]
    except (ValueError, KeyError, TypeError) as e:
        raise BadInput(f"{path}: not a key of pairs ({e})") from None
    return key


def items_of(key: Mapping[str, Any]) -> list[PairItem]:
    """The pairs of a key, in the order in which they are shown."""
    return [PairItem(**i) for i in key["items"]]


# --- drawing


@dataclass(frozen=True)
class _PolicyTexts:
    """Texts of one policy by prompt, the prompts as they were asked, and where all that is
    recorded.
    """

    frame: pd.DataFrame
    prompts: Mapping[str, str]
    about: Mapping[str, str]


def _side(run: Path, iteration: str) -> _PolicyTexts:
    from restaudit.evidence.chats import as_text
    from restaudit.evidence.record import Run

    record = Run(run)
    table = f"{iteration}/audit.parquet"
    rows, at = table_of(record, iteration, table)
    audit = record.prompts("audit")
    prompts = {}
    for prompt_id, prompt in zip(audit["prompt_id"], audit["prompt"], strict=True):
        prompts[str(prompt_id)] = as_text(str(prompt))
    digest = next(e.outputs[table].sha256 for e in record.events if table in e.outputs)
    about = {
        "run_id": record.run_id,
        "run": record.name,
        "iteration": iteration,
        "table": table,
        "table_sha256": digest,
        "recorded_at": at,
    }
    return _PolicyTexts(plain_frame(rows)[0], prompts, about)


def _check(
    record: Run,
    n: int,
    raters: int,
    dimension: str,
    instructions: str,
    name: str,
    checks: int | None,
) -> None:
    draw.require(
        f"pairs of {record.path}",
        [
            *draw.checked_name(name),
            ("n", n >= 1, f"{n}; at least 1 prompt"),
            ("raters", raters >= 1, f"{raters}; at least 1"),
            *draw.checked_words(dimension, instructions),
            ("checks", checks is None or checks >= 0, f"{checks}; not negative"),
        ],
    )


def _drawn(
    record: Run, sides: Mapping[str, _PolicyTexts], design: dict[str, Any]
) -> tuple[dict[str, Any], PairSheet]:
    secret = draw.derive(run_secret(record), "pairs", design["name"], design["seed"])
    drawing = draw.drawing_key(record, design["seed"])
    common, notes = _common(record, sides)
    chosen = [common[k] for k in draw.drawn([(p, p) for p in common], design["n"], drawing)]
    if len(chosen) < design["n"]:
        notes.append(
            f"asked for {design['n']} prompts, both policies answered {len(common)}: all of them"
        )
    samples = {side: _samples(one, chosen, drawing) for side, one in sides.items()}
    # The same text twice is a tie for sure, and would cost raters their patience.
    same = sorted(p for p in chosen if samples[FIRST][p][1] == samples[SECOND][p][1])
    if same:
        notes.append(
            f"{len(same)} of {len(chosen)} prompts have the same text twice: not shown, counted "
            "as ties"
        )
    shown = [p for p in chosen if p not in set(same)]
    if not shown:
        raise BadInput(
            f"pairs of {record.path}: both policies wrote the same text for every drawn prompt"
        )
    items = _items(shown, samples, len(chosen) / len(common), design["checks"], drawing, secret)
    key = {
        "schema": SCHEMA,
        "run_id": record.run_id,
        **design,
        **{side: dict(policy.about) for side, policy in sides.items()},
        "prompts": len(common),
        "drawn": len(chosen),
        "same": same,
        "notes": notes,
        "order_seed": draw.derive(secret, "order").hex()[:16],
        "items": [asdict(i) for i in items],
    }
    texts: dict[str, dict[str, str]] = {}
    for side, of_prompt in samples.items():
        texts[side] = {p: of_prompt[p][1] for p in shown}
    return key, _sheet(key, items, texts, sides[FIRST].prompts)


def _common(record: Run, sides: Mapping[str, _PolicyTexts]) -> tuple[list[str], list[str]]:
    """Prompts that both policies answered, asked in the same words; and what was left out."""
    one, other = (set(s.frame["prompt_id"]) for s in sides.values())
    both = sorted(one & other)
    common = []
    for prompt_id in both:
        # Two runs may call different prompts by one id.
        asked = sides[FIRST].prompts.get(prompt_id)
        if asked is not None and asked == sides[SECOND].prompts.get(prompt_id):
            common.append(prompt_id)
    notes = []
    if len(one | other) > len(both):
        notes.append(
            f"{len(one | other) - len(both)} prompts that only one of the two answered are not "
            "drawn from"
        )
    if len(both) > len(common):
        notes.append(
            f"{len(both) - len(common)} prompts that were asked in other words are not drawn from"
        )
    if not common:
        raise BadInput(f"pairs of {record.path}: the two policies answered no prompt in common")
    return common, notes


def _samples(
    side: _PolicyTexts, prompts: Sequence[str], drawing: bytes
) -> dict[str, tuple[str, str]]:
    """One random sample (its name and text) of every prompt."""
    rows = side.frame[side.frame["prompt_id"].isin(set(prompts))]
    lowest: dict[str, tuple[float, str, str]] = {}
    for sample, prompt, text in rows[["sample_id", "prompt_id", "text"]].itertuples(index=False):
        # The sample with the smallest number is as good as drawn, and the same in every process.
        number = draw.number(drawing, "pairs", sample)
        if prompt not in lowest or (number, sample) < lowest[prompt][:2]:
            lowest[prompt] = number, sample, text
    return {p: (sample, text) for p, (_, sample, text) in lowest.items()}


def _items(
    prompts: Sequence[str],
    samples: Mapping[str, Mapping[str, tuple[str, str]]],
    probability: float,
    checks: int | None,
    drawing: bytes,
    secret: bytes,
) -> list[PairItem]:
    facts: dict[str, dict[str, Any]] = {}
    for p in prompts:
        (one, one_text), (other, other_text) = samples[FIRST][p], samples[SECOND][p]
        item = draw.name(secret, "pair", p, one, other)
        facts[item] = {
            "prompt_id": p,
            "first_sample": one,
            "second_sample": other,
            "first_sha256": sha256(one_text),
            "second_sha256": sha256(other_text),
            # Of the secret: who could tell which policy stands at A would not be blinded.
            "a": FIRST if draw.number(secret, "side", item) < 0.5 else SECOND,
            "inclusion_prob": probability,
            "role": "pair",
            "repeats": None,
        }
    wanted = checks
    if wanted is None:
        wanted = draw.default_checks(len(facts))
    originals = list(facts)

    def chance(item: str) -> float:
        return draw.number(drawing, "pairs check", facts[item]["prompt_id"])

    repeats = [(draw.name(secret, "check", i), i) for i in sorted(originals, key=chance)[:wanted]]
    for repeat, original in repeats:
        # The other way round, so that a rater who always takes A does not look steady.
        swapped = SECOND if facts[original]["a"] == FIRST else FIRST
        facts[repeat] = facts[original] | {
            "a": swapped,
            "role": "check",
            "repeats": original,
            "inclusion_prob": None,
        }
    order = draw.shown_order(originals, repeats, draw.derive(secret, "order"))
    return [PairItem(item_id=i, order=place, **facts[i]) for place, i in enumerate(order)]


def _sheet(
    key: Mapping[str, Any],
    items: Sequence[PairItem],
    texts: Mapping[str, Mapping[str, str]],
    prompts: Mapping[str, str],
) -> PairSheet:
    rows = []
    for i in items:
        a, b = (FIRST, SECOND) if i.a == FIRST else (SECOND, FIRST)
        rows.append(
            ShownPair(
                i.item_id,
                prompts[i.prompt_id],
                texts[a][i.prompt_id],
                texts[b][i.prompt_id],
                i.digest(a),
                i.digest(b),
            )
        )
    return PairSheet(
        key["run_id"],
        key["dimension"],
        key["instructions"],
        key["instructions_sha256"],
        key["raters"],
        tuple(rows),
    )


def _pair_set(folder: Path, key: Mapping[str, Any]) -> PairSet:
    tasks, path = _paths(folder, key["name"])
    roles = [i["role"] for i in key["items"]]
    return PairSet(
        name=key["name"],
        path=tasks,
        key=path,
        items=len(roles),
        pairs=roles.count("pair"),
        checks=roles.count("check"),
        same=len(key["same"]),
        raters=key["raters"],
        dimension=key["dimension"],
        instructions_sha256=key["instructions_sha256"],
        first=key[FIRST],
        second=key[SECOND],
        notes=tuple(key["notes"]),
    )


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{TASKS}{name}.jsonl", folder / f"{KEY}{name}.json"
