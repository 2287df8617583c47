"""The run folder: its layout, its tables, and the one way to read it (reports and the app use
nothing else).
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from probes.base import Measurement
from restaudit.errors import BadInput, RestauditError, VerificationFailed
from restaudit.evidence import ledger
from restaudit.files import parquet, plain
from restaudit.files.plain import NotPlain
from restaudit.files.signs import printable
from restaudit.files.strict import NotStrict, parse_json
from restaudit.gates import Decision

# The models of a configuration take a fifth of a second to import.
if TYPE_CHECKING:
    from restaudit.config import Config, GatePolicy, LoopConfig

# --- layout: folders, files and columns, written down once

# Of plan.json. 1: one interval for OK and for the action, one stage a look.
SCHEMA = 2
ONE_QUESTION = 1
# The sealed plan, and who writes the run now.
PLAN, WRITER = "plan.json", "writer.json"
# In bytes, of a table. A million samples of a Grow set take 0.3 GB.
LARGEST_TABLE = 16 << 30
# In bytes, of a JSON file: parsed, it can take twenty times that. Measurements take 0.2 MB.
LARGEST_JSON = 16 << 20
# In bytes, of a file under report/ or signatures/. The exported tables of a large run take 1 GB.
LARGEST_BESIDE = 4 << 30
# Grow 0, Improve 0: the base policy stands in the record like an iteration, so that whatever reads
# one reads the other.
BASE = "g00/i00"
# Folders of the run, and the names of the steps that fill them.
REWARD = "reward_model"
HUMAN = "human_score"
ADAPTER = "adapter"
ITERATION = re.compile(r"g\d\d/i\d\d|step-[1-9]\d{0,8}")

# Checkpoints of a trainer, which the run can go on from; no evidence, and gone when the run is
# done.
CHECKPOINTS = "trainer"

# Column names, written down once. A table is checked against them when it is read.
PROMPTS = ("prompt_id", "prompt", "references", "group", "family", "source", "split")
SAMPLES = ("sample_id", "prompt_id", "token_ids", "n_tokens", "finished", "logprob")
SCORED = (
    "sample_id",
    "prompt_id",
    "group",
    "family",
    "text",
    "n_tokens",
    "finished",
    "logprob",
    "reward",
    "reward_01",
    "reward_spread",
)
GROW = (*SCORED, "origin", "human")
# Preferences between two samples of one prompt, rewards on the 0..1 scale.
PAIRS = ("prompt_id", "chosen", "rejected", "chosen_reward_01", "rejected_reward_01")
KEPT = ("sample_id", "prompt_id", "reward_01", "threshold")
AUDIT = (*SCORED, "human", "kl", "kl_tokens")
D_EVAL = SCORED
RESCORED = ("sample_id", "reward", "reward_01", "reward_spread")
RESCORED_FILE, SCALE = "base.parquet", "scale.json"
# One row a benchmark item and metric; `cluster` is the template or kind it shares with other items,
# or None.
ITEMS = ("task", "item_id", "cluster", "metric", "value", "group")
# People's ratings as a look took them; `iteration` is that of the sample, `look` counts from 1.
# `anchor`: a sample of the base policy that was rated at the first look too; `check`: shown twice
# to one rater. Neither enters a score.
RATINGS = (
    "sample_id",
    "prompt_id",
    "iteration",
    "look",
    "rater",
    "dimension",
    "score",
    "scale_min",
    "scale_max",
    "inclusion",
    "check",
    "anchor",
    "source",
)
# What a look asked people to rate.
ASKED = ("iteration", "sample_id", "prompt_id", "inclusion", "role")
# Row for row with RATINGS: what differs between two runs of one plan though the same people gave
# the same ratings.
RATED_AT = ("item_id", "submitted_at", "order")
TRAIN = ("epoch", "step", "loss", "learning_rate", "tokens", "grad_norm")


# --- one run

State = Literal["running", "done", "halted", "waiting", "stopped", "broken"]


@dataclass(frozen=True)
class Summary:
    """One line about a run: what a list of runs shows.

    `problem` says what is wrong with a broken one; `overridden`, that a person let it go on after a
    HALT.
    """

    path: Path
    name: str
    run_id: str
    state: State
    steps_done: int
    steps_planned: int
    decisions: Mapping[str, str]
    started: str | None
    problem: str | None = None
    overridden: bool = False


@dataclass(frozen=True)
class Halt:
    """Where the sealed policy stopped a run, and which of its gates."""

    iteration: str
    gates: tuple[str, ...]


@dataclass(frozen=True)
class Override:
    """A person's decision to go on after HALT.

    `by` and `reason` are one line each, without control characters.
    """

    iteration: str
    gates: tuple[str, ...]
    by: str
    reason: str
    time: str

    @classmethod
    def of(cls, event: ledger.Event) -> Override:
        """What an override event says, made fit to be shown wherever the folder came from."""
        facts = event.content
        gates = facts.get("gates")
        return cls(
            iteration=printable(event.step.removesuffix("/override")),
            gates=tuple(printable(str(g)) for g in gates) if isinstance(gates, list) else (),
            by=printable(str(facts.get("by", ""))),
            reason=printable(str(facts.get("reason", ""))),
            time=printable(str(event.at.get("time", ""))),
        )


def after_steps(step: int) -> str:
    """The name of the iteration that is the policy after so many optimiser steps: "step-50"."""
    return f"step-{step}"


def as_sealed(gates: GatePolicy, schema: int) -> GatePolicy:
    """The policy as a plan of this schema means it: before there were two questions, whatever else
    stands in its gates, one interval answered both, at one stage.
    """
    if schema != ONE_QUESTION:
        return gates
    return gates.model_copy(update={"ok_error": None, "stage_shares": ()})


def stage_file(stage: int) -> str:
    """What the gates read at an earlier stage of a look (from 1), in the iteration's folder; the
    last stage's measurements are measurements.json.
    """
    return f"stage{stage}/measurements.json"


def step_kind(step: str) -> str:
    """What a step does: the last part of its name ("audit", "improve"), or "preparation" before any
    iteration.
    """
    return step.rsplit("/", 1)[-1] if step.startswith(("g", "step-")) else "preparation"


class Run:
    """A run folder, read only. Opening it reads plan and ledger, never the sample tables."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not is_run(self.path):
            why = "no plan.json"
            if plain.is_file(self.path, ledger.FILE):
                why += "; its ledger is there, its plan is gone"
            raise BadInput(f"{self.path}: not a run folder ({why})")
        self.plan: dict[str, Any] = read_json(self.path, PLAN)
        schema = self.plan.get("schema") if isinstance(self.plan, dict) else None
        if schema not in (ONE_QUESTION, SCHEMA):
            reads = (
                f"schema {schema!r}; this version of restaudit reads {ONE_QUESTION} and {SCHEMA}"
            )
            if isinstance(schema, int) and schema > SCHEMA:
                reads = f"made by a newer version: {reads}; update restaudit to read it"
            raise BadInput(f"{self.path}/plan.json: {reads}")
        _must_fit(self.plan, "Plan", f"{self.path}/{PLAN}")
        self.events = ledger.read(self.path)
        for number, event in enumerate(self.events, start=1):
            _check_event(event, f"{self.path}/{ledger.FILE}: line {number}")

    @property
    def name(self) -> str:
        """The configured name of the run."""
        return str(self.plan["config"]["name"])

    @cached_property
    def config(self) -> Config:
        """The configuration that was sealed.

        Raises BadInput, naming the key, where this version of restaudit does not know it so.
        """
        from restaudit.config import Config
        from restaudit.config.reading import validated

        try:
            config = validated(Config, self.plan["config"], f"{self.path}/{PLAN}: config")
        except BadInput as e:
            by = self.plan.get("restaudit", "another version")
            raise BadInput(f"{e}; the plan was sealed by restaudit {printable(str(by))}") from None
        gates = as_sealed(config.gates, self.plan["schema"])
        return config.model_copy(update={"gates": gates})

    @cached_property
    def loop(self) -> LoopConfig:
        """The section `loop` of the sealed configuration; raises BadInput as `config` does."""
        from restaudit.config.loop import LoopConfig
        from restaudit.config.reading import validated

        where = f"{self.path}/{PLAN}: config.loop"
        return validated(LoopConfig, self.plan["config"].get("loop", {}), where)

    @property
    def run_id(self) -> str:
        """The random identity of this run, from its first ledger event."""
        return str(self.events[0].at.get("run_id", "")) if self.events else ""

    @cached_property
    def done(self) -> frozenset[str]:
        """Names of the steps whose event is in the ledger."""
        return frozenset(e.step for e in self.events)

    @property
    def digest(self) -> str:
        """What two runs of the same plan on the same machine have in common, as one digest."""
        return ledger.comparison_digest(self.events)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, device, threads, digests and licences of what was used."""
        environment: dict[str, Any] = read_json(self.path, "environment.json")
        return environment

    def iterations(self) -> list[str]:
        """Audited iterations in order, for example ["g00/i00", "g01/i01"]; the first one is the
        base policy.
        """
        return [e.step.removesuffix("/audit") for e in self.events if e.step.endswith("/audit")]

    def measurements(self, iteration: str) -> list[Measurement]:
        """All measurements of one iteration."""
        found = self._document(f"{self._at(iteration)}/measurements.json", "Measurements")
        return [Measurement.from_json(m) for m in found["measurements"]]

    def scores(self, iteration: str) -> dict[str, Any]:
        """What reward and human score are here: {"human": {label, unit, description}, "reward":
        {name, unit}}.
        """
        raw = self._document(f"{self._at(iteration)}/measurements.json", "Measurements")
        return {"human": raw["human"], "reward": raw["reward"]}

    def decision(self, iteration: str) -> Decision | None:
        """The decision of one iteration; None for the base policy, which nothing decides about."""
        name = f"{self._at(iteration)}/decision.json"
        if not plain.is_file(self.path, name):
            return None
        return Decision.from_json(self._document(name, "DecisionShape"))

    def audit(self, iteration: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The audited samples of one iteration (columns: AUDIT), with people's ratings as their
        human score.
        """
        name = f"{self._at(iteration)}/audit.parquet"
        ratings = self.ratings(iteration)
        if ratings is None:
            return read_table(self.path, name, AUDIT, columns)
        if not columns:
            return with_ratings(read_table(self.path, name, AUDIT), ratings)
        # Ratings are joined by the sample's name, also where nobody asked for that column.
        needed = [*{*columns, "sample_id"}]
        table = read_table(self.path, name, AUDIT, needed)
        return with_ratings(table, ratings)[list(columns)]

    def ratings(self, iteration: str) -> pd.DataFrame | None:
        """People's ratings of this iteration's samples as its look sealed them (columns: RATINGS);
        None without any.

        The base policy's were given at the first look and, where looks ask people in stages, at
        later ones too; those of its samples that were rated again (anchors) are with the look that
        asked for them: `Run.look_ratings`.
        """
        looks = [iteration]
        if iteration == BASE:
            looks = self.plan.get("looks") or looks
            if self.rating_stages == 1:
                looks = looks[:1]
        tables = [t for look in looks if (t := self.look_ratings(look)) is not None]
        if not tables:
            return None
        own = [t[(t["iteration"] == iteration) & ~t["anchor"].astype(bool)] for t in tables]
        return as_one_draw(own)

    @property
    def rating_stages(self) -> int:
        """In how many stages a look of this run may ask people to rate."""
        human = self.plan["config"].get("human")
        samples = human.get("samples") if isinstance(human, dict) else None
        return len(samples) if isinstance(samples, list) else 1

    def look_ratings(self, iteration: str) -> pd.DataFrame | None:
        """All ratings that the look at this iteration sealed, of the base policy's samples too
        (columns: RATINGS).
        """
        name = f"{iteration}/ratings.parquet"
        # A file without its event was left by a killed process, and is written again.
        if f"{iteration}/audit" not in self.done or not plain.is_file(self.path, name):
            return None
        return read_table(self.path, name, RATINGS)

    def kept(self, iteration: str) -> pd.DataFrame:
        """The kept set one Improve step trained on (columns: KEPT)."""
        return read_table(self.path, f"{self._at(iteration)}/kept.parquet", KEPT)

    def grow(self, grow: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The scored Grow set, for example of "g01" (columns: GROW)."""
        return read_table(self.path, f"{self._at(grow)}/grow.parquet", GROW, columns)

    def prompts(self, split: str) -> pd.DataFrame:
        """The prompts of one split (columns: PROMPTS)."""
        return read_table(self.path, f"data/{split}.parquet", PROMPTS)

    def seconds(self) -> dict[str, float]:
        """Wall time of every finished step, in seconds."""
        return {e.step: float(e.at.get("seconds", 0.0)) for e in self.events}

    def check_sealed(self) -> None:
        """Raise BadInput where plan.json is not the one that the ledger's first event sealed."""
        sealed = self.events[0].outputs.get(PLAN) if self.events else None
        if sealed is None or not ledger.as_recorded(self.path, PLAN, sealed):
            raise BadInput(
                f"{self.path}/plan.json was changed after it was sealed; a run goes on under its "
                "own plan or not at all"
            )

    @property
    def halt(self) -> Halt | None:
        """The halt that stands: the last one, unless it was overridden."""
        for event in reversed(self.events):
            if event.step.endswith("/override"):
                return None
            if event.step.endswith("/halt"):
                gates = tuple(event.content.get("gates", ()))
                return Halt(event.step.removesuffix("/halt"), gates)
        return None

    def refits(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Every time the reward was fitted again: before which Grow ("g02"), and what the ledger
        says of it.
        """
        return [
            (e.step.removesuffix("/refit"), e.content)
            for e in self.events
            if e.step.endswith("/refit")
        ]

    def overrides(self) -> list[Override]:
        """Every time somebody let this run go on after HALT, in order.

        A report shows them before anything else.
        """
        return [Override.of(e) for e in self.events if e.step.endswith("/override")]

    @property
    def state(self) -> State:
        """Where the run stands."""
        if "end" in self.done:
            return "done"
        if self.halt is not None:
            return "halted"
        if writer_alive(self.path):
            return "running"
        return "waiting" if self.waits else "stopped"

    @property
    def waits(self) -> bool:
        """Whether the last thing that was recorded is that people were asked for something."""
        last = self.events[-1] if self.events else None
        if last is None or not last.step.endswith("/wait"):
            return False
        # A stage that a look did not need asks nobody.
        return last.content.get("needed") is not False

    def summary(self) -> Summary:
        """The line a list of runs shows."""
        decisions = {i: d.verdict for i in self.iterations() if (d := self.decision(i)) is not None}
        return Summary(
            path=self.path,
            name=self.name,
            run_id=self.run_id,
            state=self.state,
            steps_done=len(self.done & set(self.plan["steps"])),
            steps_planned=len(self.plan["steps"]),
            decisions=decisions,
            started=self.events[0].at.get("time") if self.events else None,
            overridden=bool(self.overrides()),
        )

    def _document(self, name: str, shape: str) -> Any:
        raw = read_json(self.path, name)
        _must_fit(raw, shape, f"{self.path}/{name}")
        return raw

    def _at(self, part: str) -> str:
        """The same name, of a folder that is there."""
        if not plain.is_folder(self.path, part):
            raise BadInput(
                f"{self.path}: no {part} in this run; there are: "
                f"{', '.join(self.iterations()) or 'none'}"
            )
        return part


def _check_event(event: ledger.Event, where: str) -> None:
    """Raise BadInput, naming the field, where what readers take from an event is of another kind."""
    for key in ("time", "host", "run_id"):
        if not isinstance(event.at.get(key, ""), str):
            raise BadInput(f"{where}: at.{key}: expected text")
    seconds = event.at.get("seconds", 0.0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise BadInput(f"{where}: at.seconds: expected a number of seconds")
    if event.step.endswith("/halt"):
        _must_fit(event.content, "HaltContent", where)


def _must_fit(raw: Any, shape: str, where: str) -> None:
    """Raise BadInput, naming the field, where a document is not of the shape that docs/record.md
    says: digests that fit do not make it what restaudit writes, if somebody else wrote it.
    """
    from restaudit.evidence.verify import shapes

    try:
        # A plan holds settings beside what is read here, such as a rater's long number.
        if shape != "Plan":
            shapes.within_range(raw)
        shapes.must_fit(raw, getattr(shapes, shape), where)
    except VerificationFailed as e:
        raise BadInput(str(e)) from None
    except ValueError as e:
        raise BadInput(f"{where}: {e}") from None


# --- many runs


def is_run(path: Path | str) -> bool:
    """Whether this folder holds a plan. Raises NotPlain where something else has its name."""
    return plain.is_file(Path(path), PLAN)


def list_runs(root: Path | str) -> list[Summary]:
    """Every run folder under `root`, newest first; a folder that cannot be read is listed with its
    problem.
    """
    root = Path(root)
    if not root.is_dir():
        return []
    summaries: list[Summary] = []
    for path in sorted(root.iterdir()):
        # A link could lead anywhere, and be listed twice.
        if path.is_symlink() or not any(os.path.lexists(path / n) for n in (PLAN, ledger.FILE)):
            continue
        try:
            summaries.append(Run(path).summary())
        except (RestauditError, OSError, AttributeError, KeyError, TypeError, ValueError) as e:
            broken = Summary(path, path.name, "", "broken", 0, 0, {}, None, problem=str(e))
            summaries.append(broken)
    return sorted(summaries, key=lambda s: (s.started or "", s.path.name), reverse=True)


# --- tables, JSON, text: the one way to write and to read them


def read_table(
    run: Path, name: str, required: Sequence[str], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read a Parquet table below a run folder and check that it has the columns it must have.

    Raises BadInput where it has not, is missing, no plain file or larger than LARGEST_TABLE.
    """
    path = run / name
    try:
        with plain.opened(run, name, LARGEST_TABLE) as f:
            table = parquet.read_frame(path, f, columns)
    except FileNotFoundError:
        raise BadInput(f"{path}: missing from the run folder") from None
    missing = [c for c in (columns or required) if c not in table.columns]
    if missing:
        raise BadInput(f"{path}: lacks the column(s) {', '.join(missing)}")
    return table


def write_table(table: pd.DataFrame, path: Path, columns: Sequence[str]) -> None:
    """Write a table with exactly these columns; the same rows always give the same bytes."""
    with plain.created(path.parent, path.name) as f:
        table.loc[:, list(columns)].reset_index(drop=True).to_parquet(
            f, index=False, compression="zstd"
        )


def with_ratings(rows: pd.DataFrame, ratings: pd.DataFrame) -> pd.DataFrame:
    """Rows with `human`, the mean of a sample's raters, and `inclusion`, the chance it had to be
    rated; else NaN.

    Checks and anchors are left out: they say something about raters, not about the sample.
    """
    about_raters = ratings["check"].astype(bool) | ratings["anchor"].astype(bool)
    scores = ratings[~about_raters].groupby("sample_id")
    return rows.assign(
        human=rows["sample_id"].map(scores["score"].mean()).astype("float64"),
        inclusion=rows["sample_id"].map(scores["inclusion"].first()).astype("float64"),
    )


def as_one_draw(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Ratings of samples that were drawn one after another (columns: RATINGS), the earliest first:
    together they are one random sample, so each has the chance that the last draw records.
    """
    ratings = pd.concat(tables, ignore_index=True)
    drawn = ~(ratings["check"].astype(bool) | ratings["anchor"].astype(bool))
    # The chance grows with every draw: n of N, n being all that were drawn so far.
    latest = ratings[drawn].groupby("iteration")["inclusion"].max()
    ratings.loc[drawn, "inclusion"] = ratings.loc[drawn, "iteration"].map(latest)
    return ratings


def json_bytes(value: Any) -> bytes:
    """JSON for people and programs: sorted keys, two spaces, no NaN."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def write_json(value: Any, path: Path) -> None:
    """Write `json_bytes` into a folder of ours, or one that the user named."""
    plain.write_out(path, json_bytes(value))


def writer_alive(run: Path) -> bool:
    """Whether a live process on this host says it is writing this run (other hosts cannot be asked:
    assumed alive).
    """
    try:
        writer = read_json(run, WRITER)
    except NotPlain:
        raise
    except (RestauditError, OSError):
        return False
    if not isinstance(writer, dict):
        return False
    if writer.get("host") != socket.gethostname():
        return True
    try:
        # Signal 0 asks whether the process is there, and does nothing.
        os.kill(int(writer["pid"]), 0)
    except (ProcessLookupError, KeyError, TypeError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def read_json(root: Path, name: str) -> Any:
    """A JSON file below a run folder, or another folder of somebody else's; read strictly.

    Raises BadInput where it is none, is missing, no plain file, or larger than is read.
    """
    try:
        return parse_json(plain.read(root, name, LARGEST_JSON))
    except FileNotFoundError:
        raise BadInput(f"{root / name}: missing from the run folder") from None
    except NotStrict as e:
        raise BadInput(f"{root / name}: {e}") from None
