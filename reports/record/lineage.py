"""Where a run's policies and training rows come from: base → g01/i01 → …, each with the digest of
its weights; and why a sample was trained on or was not.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import rfc8785

from reports.record import selection, series
from reports.record.files import Records
from reports.record.selection import WHY, by_policy, grow_set, taken
from restaudit.config import ONLINE, LoopConfig
from restaudit.errors import BadInput
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import Event
from restaudit.evidence.record import BASE, ITERATION, Run
from restaudit.evidence.shown import figure
from restaudit.files.signs import printable
from restaudit.loop.select import kept_set, learned_weights, preference_pairs, thresholds

BASE_MODEL = "policy.model"
SAMPLE = ("sample_id", "prompt_id", "origin", "reward", "reward_01")


@dataclass(frozen=True)
class PolicyRecord:
    """One policy of the run.

    name      "g00/i00" for the base policy, else the iteration whose Improve step made it, or
              "step-50"
    parent    the policy whose weights its training started from; None for the base policy
    data      where the samples it was trained on are recorded ("g01", "step-50"), or None where
              they are not
    weights   the recorded files that hold its weights, name -> SHA-256; empty for the base policy
              without a supervised start, whose weights are the base model's
    digest    SHA-256 of the canonical JSON {"base": base model's SHA-256, "adapters": weights}
    facts     what the step noted in the ledger (rows, kept, acceptance_rate, learning_rate …)
    step      the step of the ledger that made it; None for a base policy without a supervised start
    """

    name: str
    parent: str | None
    data: str | None
    weights: Mapping[str, str]
    digest: str
    facts: Mapping[str, Any]
    step: str | None


@dataclass(frozen=True)
class GrowRecord:
    """One Grow step: which policy its samples came from, and how many (`tokens` counts the sampled
    ones).

    Online training samples while it goes on: `policy` is then the one it went on from. `step` is
    the ledger's.
    """

    name: str
    policy: str
    samples: int
    tokens: int
    references: int
    step: str


def base_sha256(records: Records) -> str:
    """SHA-256 of the base model, as the sealed plan has it."""
    sealed = records.run.plan.get("artifacts", {})
    if BASE_MODEL not in sealed:
        raise BadInput(f"{records.run.path}/plan.json: artifacts.{BASE_MODEL}: missing")
    return str(sealed[BASE_MODEL]["sha256"])


def policies(records: Records) -> list[PolicyRecord]:
    """Every policy in the order in which it was made, the base policy first."""
    # A supervised start ("behaviour cloning") trains the base policy before the first Grow step.
    start = _named(records, f"{BASE.split('/')[0]}/bc")
    made = [_policy(records, BASE, None, None, start)]
    for event in records.run.events:
        name, _, part = event.step.rpartition("/")
        if part == "improve" or (part == "train" and ITERATION.fullmatch(name)):
            grow = name.split("/")[0]
            # A trainer outside restaudit need not record its samples.
            data = grow if records.has(f"{grow}/grow.parquet") else None
            made.append(_policy(records, name, str(event.content["start"]), data, event))
    return made


def grows(records: Records) -> list[GrowRecord]:
    """Every finished Grow step; for online training, the samples drawn between two looks are
    one.
    """
    steps = []
    for event in records.run.events:
        name, _, part = event.step.rpartition("/")
        noted = event.content
        if part == "grow":
            # References join the samples when both are scored. A run may end between the two steps.
            references = 0
            scored = _named(records, f"{name}/score")
            if scored is not None:
                references = int(scored.content.get("references", 0))
            policy = str(noted["policy"])
        elif part == "train" and records.has(f"{name}/grow.parquet"):
            references, policy = 0, str(noted["start"])
        else:
            continue
        samples, tokens = int(noted["samples"]), int(noted["tokens"])
        steps.append(GrowRecord(name, policy, samples, tokens, references, event.step))
    return steps


def audited_policy(records: Records, iteration: str) -> str:
    """The policy that an audit looked at; it differs from the iteration's name for best-of-N."""
    event = _named(records, f"{iteration}/audit")
    if event is None:
        return iteration
    return str(event.content.get("policy", iteration))


def synthetic_share(records: Records, policy: PolicyRecord) -> float | None:
    """Share of a policy's training rows that a policy of this run wrote, 0..1; None where it
    trained on no row.
    """
    if policy.data is None:
        return None
    # Online training has no kept set: it trains on every sample that it draws.
    kept = None
    if records.has(f"{policy.name}/kept.parquet"):
        kept = f"{policy.name}/kept.parquet"
    return by_policy(records, f"{policy.data}/grow.parquet", kept)


def reasons(records: Records, policy: PolicyRecord) -> dict[str, int]:
    """How many rows of its Grow set one Improve step did or did not train on, by why; see
    `training_rows`.
    """
    assert policy.data is not None
    if by_threshold(records):
        # A million rows need not become a table of texts to be counted.
        decided = taken(records, grow_set(records, policy.data), policy.name).why
        numbers = np.bincount(decided, minlength=len(WHY)).tolist()
        counts: list[tuple[Any, int]] = list(zip(WHY, numbers, strict=True))
    else:
        counts = list(training_rows(records, policy)["why"].value_counts().items())
    return {str(why): int(n) for why, n in sorted(counts) if n}


def by_threshold(records: Records) -> bool:
    """Whether Improve steps train on the rows above a threshold and on no others: no pairs, and
    nothing unlearned.
    """
    loop = records.run.loop
    return loop.method not in ONLINE and loop.method != "dpo" and loop.train.loss.kind != "topr"


def training_rows(records: Records, policy: PolicyRecord) -> pd.DataFrame:
    """Why each row of the Grow set was or was not trained on by one Improve step, in the order of
    the Grow set.

    Columns: sample_id, prompt_id, origin ("policy" or "reference"), reward (the reward model's
    unit), reward_01 (0..1, what the threshold is compared with), threshold (0..1, of every row,
    computed again by the sealed rule), used (bool, as recorded), why (one clause). Raises BadInput
    where the recorded kept set is not what the sealed rule chooses.
    """
    assert policy.data is not None
    config = records.run.loop
    rows = records.table(f"{policy.data}/grow.parquet", SAMPLE)
    if config.method in ONLINE:
        return rows.assign(
            threshold=np.nan,
            used=True,
            why="every sample is trained on, by its advantage in its group",
        )
    kept = set(records.table(f"{policy.name}/kept.parquet", ("sample_id",))["sample_id"])
    step = int(policy.name.split("/i")[1])
    chosen = set(kept_set(config, rows, step)["sample_id"])
    # The reasons below are those of the rule: they would be made up for a set that it did not make.
    if chosen != kept:
        raise BadInput(
            f"{records.run.path}/{policy.name}/kept.parquet: {len(chosen ^ kept)} rows differ "
            "from those that the sealed thresholds choose from the recorded Grow set"
        )
    if config.method == "dpo":
        return _preferred(config, rows)
    if config.binary_reward_above is not None:
        rows["reward_01"] = (rows["reward_01"] > config.binary_reward_above).astype(float)
    rows["threshold"] = thresholds(config.thresholds, rows, step)
    rows["used"] = rows["sample_id"].isin(kept)
    above = rows["reward_01"] > rows["threshold"]
    # The first condition that holds gives the reason, so the narrower ones come first.
    rows["why"] = np.select(
        [rows["used"] & (rows["origin"] == "reference"), rows["used"], above],
        [
            "a human reference whose reward is above the threshold",
            "its reward is above the threshold",
            "its reward is above the threshold, but better samples of the same prompt took its "
            "place",
        ],
        "its reward is not above the threshold",
    )
    if config.train.loss.kind == "topr":
        return _with_unlearned(config, rows)
    return rows


def _with_unlearned(config: LoopConfig, rows: pd.DataFrame) -> pd.DataFrame:
    """Training rows of a loss that learns from both sides of the threshold."""
    weight = rows["sample_id"].map(learned_weights(config, rows, rows[rows["used"]])).fillna(0.0)
    rows.loc[weight < 0, "why"] += ", so that it is made less likely"
    rows.loc[weight == 0, "why"] += ", like all of its prompt: no lesson"
    rows["used"] = weight != 0
    return rows


def _preferred(config: LoopConfig, rows: pd.DataFrame) -> pd.DataFrame:
    """Training rows of a method that learns from pairs: both samples of a pair are used."""
    pairs = preference_pairs(config, rows)
    # DPO has no threshold: what a sample's reward was compared with is that of its partner.
    chosen = dict(zip(pairs["chosen"], pairs["rejected_reward_01"], strict=True))
    rejected = dict(zip(pairs["rejected"], pairs["chosen_reward_01"], strict=True))
    names = rows["sample_id"]
    rows["threshold"] = names.map({**chosen, **rejected}).astype("float64")
    rows["used"] = names.isin({**chosen, **rejected})
    rows["why"] = np.select(
        [names.isin(chosen), names.isin(rejected)],
        [
            "it is preferred to a worse sample of its prompt",
            "a better sample of its prompt is preferred to it",
        ],
        "it is in no pair",
    )
    return rows


def _policy(
    records: Records, name: str, parent: str | None, data: str | None, event: Event | None
) -> PolicyRecord:
    weights: dict[str, str] = {}
    facts: dict[str, Any] = {}
    step = None
    if event is not None:
        files = sorted(event.outputs.items())
        weights = {file: digest.sha256 for file, digest in files if "/adapter/" in file}
        facts, step = dict(event.content), event.step
    # Canonical JSON, so that whoever computes the digest again elsewhere has the same bytes.
    body: dict[str, Any] = {"base": base_sha256(records), "adapters": weights}
    digest = hashlib.sha256(rfc8785.dumps(body)).hexdigest()
    return PolicyRecord(name, parent, data, weights, digest, facts, step)


def _named(records: Records, step: str) -> Event | None:
    for event in records.run.events:
        if event.step == step:
            return event
    return None


def place(records: Records, step: str) -> str:
    """Where in the ledger a step stands, for a citation."""
    event = _named(records, step)
    if event is None:
        return LEDGER
    # Editors count lines from 1, the ledger its events from 0.
    return f"line {event.seq + 1}, step {step}"


# --- why one sample was trained on

MOST_COMPARED = 2000


def why_lines(run: Run, sample: str) -> list[str]:
    """Who wrote the sample, its reward, and for each Improve step whether it was trained on and by
    which rule.

    Raises BadInput for a name that no Grow set has, naming the closest ones.
    """
    records = Records(run)
    made = policies(records)
    grow_names = list(dict.fromkeys(p.data for p in made if p.data is not None))
    # Names first, a table at a time: a run of a million samples must not be read to find one.
    for grow in grow_names:
        if selection.has_name(records, f"{grow}/grow.parquet", sample):
            trained = [p for p in made if p.data == grow]
            return _decided(records, sample, grow, list(_rows(records, trained, sample)))
    close = _close(records, grow_names, sample)
    hint = "nothing was trained in this run yet"
    if close:
        hint = f"close to it: {', '.join(close)}"
    raise BadInput(f"{run.path}: no Grow set has a sample {printable(sample)!r}; {hint}")


def _decided(
    records: Records, sample: str, grow: str, rows: Sequence[tuple[PolicyRecord, Mapping[Any, Any]]]
) -> list[str]:
    """A line for who wrote the sample, one for its reward, and one for each Improve step."""
    _, first = rows[0]
    writer = "a person: it is a reference of the data"
    if first["origin"] == "policy":
        by_name = {policy.name: policy for policy in policies(records)}
        sampled = next(step.policy for step in grows(records) if step.name == grow)
        name, digest = series.short_name(sampled), by_name[sampled].digest
        writer = f"a policy of this run, {name} ({digest[:16]}…)"
    lines = [
        f"{printable(sample)}: written by {writer}, for prompt "
        f"{printable(str(first['prompt_id']))}",
        f"  reward {figure(float(first['reward']))}, {float(first['reward_01']):.4f} on the 0..1 "
        "scale",
    ]
    for policy, row in rows:
        outcome = "trained on" if row["used"] else "not trained on"
        lines.append(
            f"  {series.short_name(policy.name)}: {outcome}: {row['why']} "
            f"({float(row['reward_01']):.4f} against τ {float(row['threshold']):.4f})"
        )
    return lines


def _rows(
    records: Records, trained: Sequence[PolicyRecord], sample: str
) -> Iterator[tuple[PolicyRecord, Mapping[Any, Any]]]:
    """What each of these policies, all trained on one Grow set, did with the sample's row."""
    if not by_threshold(records):
        for policy in trained:
            rows = training_rows(records, policy)
            yield policy, rows[rows["sample_id"] == sample].iloc[0].to_dict()
        return
    rows_of = selection.grow_set(records, str(trained[0].data))
    place = selection.place_of(rows_of.ids, sample)
    assert place is not None  # the Grow set was chosen since it has the sample
    for policy in trained:
        yield policy, selection.row(rows_of, taken(records, rows_of, policy.name), place)


def _close(records: Records, grow_names: Sequence[str], sample: str) -> list[str]:
    """Names that begin like this one, as far as any does; of the first of them those that are most
    alike.
    """
    tables = [selection.names_of(records, f"{grow}/grow.parquet") for grow in grow_names]
    chunks: list[pa.Array] = []
    for table in tables:
        chunks += table.chunks
    every = pa.chunked_array(chunks, type=pa.large_string())
    # The longest start that any name shares narrows a million names to a few.
    for length in range(len(sample), -1, -1):
        alike = every.filter(pc.starts_with(every, sample[:length]))
        if not len(alike) and length:
            continue
        # Comparing letter by letter a million times takes minutes.
        first: list[str] = alike.slice(0, MOST_COMPARED).to_pylist()
        if length < len(sample):
            first = difflib.get_close_matches(sample, first, n=3, cutoff=0.5) or first
        return first[:3]
    return []
