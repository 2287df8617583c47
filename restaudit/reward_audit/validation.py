"""A reward against judgements it was not built with (any file of pairs or ratings, or its own
held-out items), and how a person reads the result.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from probes.base import Measurement
from restaudit.config import TableSource, TrainedReward
from restaudit.console import print_table
from restaudit.data.feedback import Feedback, load_feedback
from restaudit.data.near_duplicates import near_pairs
from restaudit.errors import BadInput
from restaudit.evidence.chats import normalise
from restaudit.evidence.shown import number, together
from restaudit.evidence.steps import seed_of
from restaudit.files.signs import printable
from restaudit.reward.contract import Reward
from restaudit.reward.examples import Examples, examples
from restaudit.reward.validation.judged import Judged, from_examples, from_feedback
from restaudit.reward.validation.report import Validated, validated
from restaudit.reward_audit.standalone import RewardAlone, opened
from restaudit.reward_audit.standalone import loaded as load_reward

SCHEMA = "restaudit.reward-validation/1"
# As of the splits of a run (data.splits.near_duplicate_jaccard): what counts as the same text there
# counts as the same here.
JACCARD = 0.8
NOT_TRAINED = "the reward was not trained here, so its training items are not at hand"


@dataclass(frozen=True)
class OutsideValidation:
    """What was measured, on what data, of which reward; `overlap` with the reward's training items,
    or None.
    """

    reward: Reward
    measured: Validated
    judged: Judged
    data: tuple[dict[str, Any], ...]
    overlap: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only; no clock and no host."""
        reward = {
            "name": self.reward.name,
            "digest": self.reward.digest,
            "members": self.reward.members,
            "unit": self.reward.unit,
        }
        about = {
            "kind": self.judged.kind,
            "items": len(self.judged.table),
            "judgements": len(self.judged.votes),
            "resampled": self.judged.unit,
        }
        return {
            "schema": SCHEMA,
            "reward": reward,
            "data": list(self.data),
            **about,
            "overlap_with_training": self.overlap,
            **self.measured.to_json(),
        }


def validate_outside(
    folder: Path, sources: Sequence[TableSource], *, seed: int = 0, code: Collection[str] = ()
) -> OutsideValidation:
    """Score the judged items of some files with the reward of a run or folder, and measure.

    Without `sources` the items are those its own data holds out. An item that two files have counts
    for the first. `code` names the callables of somebody else's folder that may be run. Raises
    BadInput where the reward or a file cannot be used, files hold pairs and ratings, or nothing is
    left.
    """
    alone, where = opened(folder)
    loaded = [(source, load_feedback(source, alone.rows)) for source in sources]
    table = _together(loaded) if loaded else pd.DataFrame()
    own, why = _own_examples(alone)
    if not loaded and own is None:
        raise BadInput(
            f"{folder}: no held-out items of its own to validate on ({why}); name a file with "
            "--data"
        )
    # The slow part comes last: everything that can be refused was refused before.
    reward = load_reward(folder, code)
    if loaded:
        judged = from_feedback(loaded[0][1].kind, table, reward.score, alone.reward.ensemble)
        data = tuple(_facts(source, feedback) for source, feedback in loaded)
    else:
        assert own is not None
        feedback, own_examples = own
        judged = _held_out(alone, feedback, own_examples, reward)
        data = (_facts(_own_source(alone), feedback),)
    # The trivial rules that a reward is compared with learn from what it learned from, so that they
    # are given the same chance.
    train = overlap = None
    if own is not None:
        items = own[1].table
        train = items[items["split"] == "train"]
        # Its own held-out items were set apart from these already; only other files can overlap.
        if loaded:
            overlap = _overlap(judged, train)
    measured = validated(judged, train=train, why_no_train=why, seed=seed_of(seed, "validation"))
    return OutsideValidation(reward, measured, judged, data, overlap)


def sources_of(
    files: Sequence[str],
    form: str,
    options: Mapping[str, Any],
    columns: Mapping[str, str],
    limit: int | None,
) -> list[TableSource]:
    """The files as sources of one format. Raises BadInput for options that no format could have."""
    from restaudit.config.reading import validated as checked

    raw = {"format": form, "options": dict(options), "columns": dict(columns), "limit": limit}
    return [checked(TableSource, {"source": f, **raw}, f"--data {f}") for f in files]


def _together(loaded: Sequence[tuple[TableSource, Feedback]]) -> pd.DataFrame:
    """All judgements with the column `source`, the file's name, where there is more than one
    file.
    """
    kinds = {feedback.kind for _, feedback in loaded}
    if len(kinds) > 1:
        held = ", ".join(f"{source.source}: {feedback.kind}" for source, feedback in loaded)
        raise BadInput(
            f"the files hold pairs and ratings ({held}); validate them one after the other"
        )
    if len(loaded) == 1:
        return loaded[0][1].table
    tables, seen = [], set[str]()
    for source, feedback in loaded:
        # An item of two files would count twice, and in two slices.
        new = feedback.table[~feedback.table["item_id"].isin(seen)]
        seen |= set(new["item_id"])
        tables.append(new.assign(source=stem(source.source)))
    return pd.concat(tables, ignore_index=True)


def stem(source: str) -> str:
    """The name of a file or data set without folders and endings, from letters that a file name may
    have.
    """
    last = source.partition("#")[0].rstrip("/").rpartition("/")[2].rpartition("!")[2]
    # Anything else may mean something to a shell, or be forbidden on another system.
    name = "".join(map(_for_a_file_name, last))
    for ending in (".gz", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet"):
        name = name.removesuffix(ending)
    return name.strip(".") or "data"


def _for_a_file_name(character: str) -> str:
    if character.isalnum() or character in "-_.":
        return character
    return "_"


def _own_source(alone: RewardAlone) -> TableSource:
    assert isinstance(alone.reward, TrainedReward)
    return alone.reward.data


def _own_examples(alone: RewardAlone) -> tuple[tuple[Feedback, Examples] | None, str]:
    """The items a reward was trained on and those it held out; or None and the reason."""
    config = alone.reward
    if not isinstance(config, TrainedReward):
        return None, NOT_TRAINED
    try:
        feedback = load_feedback(config.data, alone.rows, ties=config.ties)
        items = examples(
            feedback.kind,
            feedback.table,
            objective=config.objective,
            train_raters=config.train_raters,
            held_out_share=config.held_out_share,
            rater_model=config.rater_model,
        )
    # A reward can be validated on other files when its own data has moved away: it is a reason, and
    # no error.
    except BadInput as e:
        return None, f"its training data cannot be read: {e}"
    return (feedback, items), ""


def _held_out(alone: RewardAlone, feedback: Feedback, items: Examples, reward: Reward) -> Judged:
    held_out = items.table[items.table["split"] == "held_out"].reset_index(drop=True)
    only = Examples(items.objective, held_out, items.raters, items.unit)
    prompts = held_out["prompt"].tolist()
    left = reward.score(prompts, held_out["left"].tolist())
    right = None
    if feedback.kind == "pairs":
        right = reward.score(prompts, held_out["right"].tolist())
    return from_examples(only, left, right, alone.reward.ensemble, table=feedback.table)


def _facts(source: TableSource, feedback: Feedback) -> dict[str, Any]:
    return {
        "source": source.source,
        "format": source.format,
        "options": dict(source.options),
        "columns": dict(source.columns),
        "limit": source.limit,
        "files": [{"spec": a.spec, "sha256": a.sha256} for a in feedback.artifacts],
        "rows": feedback.report.to_json(),
    }


def _overlap(judged: Judged, train: pd.DataFrame) -> dict[str, Any]:
    """Judged items that resemble a training item, whose measures flatter the reward."""
    mine, theirs = _joined(judged.table), _joined(train)
    near = {i for i, _, _ in near_pairs(mine, theirs, JACCARD)}
    # Texts without a single word have no 3-grams, and are the same all the same.
    trained = set(theirs)
    near |= {i for i, text in enumerate(mine) if text in trained}
    # A text without a prompt shares nothing with another one that has none.
    prompts = set(train["prompt"].map(normalise)) - {""}
    shared = int(judged.table["prompt"].map(normalise).isin(prompts).sum())
    return {
        "items": len(near),
        "items_with_a_training_prompt": shared,
        "of": len(mine),
        "method": f"the same normalised text, or Jaccard of word 3-grams at least {JACCARD}",
    }


def _joined(table: pd.DataFrame) -> list[str]:
    """The texts of each item as one, whichever of a pair stands left."""
    joined = []
    for texts in table[["left", "right"]].to_numpy():
        # Sorted: the same two responses are one item even where the other file has them the other
        # way round.
        own = sorted(text for text in texts if isinstance(text, str))
        joined.append(normalise("\n".join(own)))
    return joined


# --- as a person reads it: a table of what was measured, and by reason what was not

WIDTH = 100
SLICES = ("slice.", "slice_over.", "slice_gap.")


def show(outside: OutsideValidation, console: Console) -> None:
    """Print what was judged, the measurements, the slices that are worse, and the reasons for what
    is missing.
    """
    judged, measured = outside.judged, outside.measured
    for facts in outside.data:
        rows = facts["rows"]
        line = f"{facts['source']}: {rows['used']:,} of {rows['read']:,} rows used"
        if rows["dropped"]:
            dropped = ", ".join(f"{n} {why}" for why, n in rows["dropped"].items())
            line += f" (left out: {dropped})"
        _wrapped(console, line)
    # What was judged comes before any figure: a reader must know what the figures are of.
    items = "pairs" if judged.kind == "pairs" else "rated texts"
    _wrapped(
        console,
        f"{len(judged.table):,} {items}, {len(judged.votes):,} judgements, "
        f"{judged.table['prompt_id'].nunique():,} {judged.unit}s; reward {outside.reward.name}, "
        f"{outside.reward.members} member(s)",
    )
    if outside.overlap is not None:
        near, shared = (outside.overlap["items"], outside.overlap["items_with_a_training_prompt"])
        if near or shared:
            _wrapped(
                console,
                f"{near} items resemble a training item and {shared} have a training prompt: "
                "measures on them flatter it",
            )
    sliced = [m for m in measured.measurements if _short(m).startswith(SLICES)]
    of_all_items = [m for m in measured.measurements if m not in sliced]
    print_table(console, _table(of_all_items))
    if any(m.value is not None for m in sliced):
        print_table(console, _slices(sliced))
    for name in measured.worse_slices:
        m = next(m for m in sliced if _short(m) == f"slice_gap.{name}")
        # Holm: many slices are looked at, and one of them is always worst by chance.
        p = f"p {m.detail['p_holm']:.2g} after Holm's correction"
        _wrapped(console, f"WORSE {name}: {m.detail['meaning']} ({p})")
    # Said, and not left out: silence would read as if nobody had looked.
    if sliced and not measured.worse_slices:
        _wrapped(console, "no slice is shown to be worse than the rest (5%, Holm's correction)")
    _reasons(console, measured.measurements)


def _table(measurements: Sequence[Measurement]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("all items", overflow="fold", min_width=24)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("unit", overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for m in measurements:
        if m.value is not None:
            _add_row(table, _short(m), *_numbers(m), m.unit, f"{m.n:,}")
    return table


def _slices(measurements: Sequence[Measurement]) -> Table:
    """A row a slice: agreement with people, and how much more the reward gets wrong there than on
    all other items.
    """
    named = {_short(m): m for m in measurements}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("slice", overflow="fold", min_width=20)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("loss more than the rest", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for name, m in named.items():
        kind, _, rest = name.partition(".")
        if kind != "slice" or m.value is None:
            continue
        gap = named.get(f"slice_gap.{rest}")
        more = "-"
        if gap is not None and gap.value is not None:
            more = " ".join(_numbers(gap))
        label = rest
        if rest.startswith("topic."):
            label = f"{rest} ({m.detail['meaning'].rpartition(': ')[2]})"
        _add_row(table, label, *_numbers(m), more, f"{m.n:,}")
    return table


def _add_row(table: Table, *cells: str) -> None:
    # Names of slices come from the data: neither a control sign nor a bracket may act on the
    # terminal.
    table.add_row(*(escape(printable(cell)) for cell in cells))


def _numbers(m: Measurement) -> tuple[str, str]:
    """The value and its interval with the decimals that the interval allows."""
    if m.value is None or not m.intervals:
        return number(m.value), "-"
    value, low, high = together(m.value, m.intervals[0].low, m.intervals[0].high)
    return value, f"{low}..{high}"


def _reasons(console: Console, measurements: Sequence[Measurement]) -> None:
    """Why values and intervals are missing; a gap is missing where its slice is, for the same
    reason.
    """
    # Most of what is missing lacks the same thing; a line each would bury the reasons.
    by_reason: dict[str, list[str]] = {}
    for m in measurements:
        has_value = m.value is not None
        if not m.reason or (not has_value and _short(m).startswith(SLICES[1:])):
            continue
        reason = m.reason if has_value else f"not measured: {m.reason}"
        by_reason.setdefault(reason, []).append(_short(m))
    for reason, names in by_reason.items():
        _wrapped(console, f"{', '.join(names)}: {reason}")


def _short(m: Measurement) -> str:
    return m.name.removeprefix("validation.")


def _wrapped(console: Console, text: str) -> None:
    width = max(40, min(WIDTH, console.width))
    # Wrapped here for the hanging indent; soft_wrap keeps rich from breaking the lines once more.
    lines = textwrap.wrap(printable(text), width, subsequent_indent="    ", break_on_hyphens=False)
    console.print("\n".join(lines), markup=False, soft_wrap=True)
