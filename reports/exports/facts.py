"""What the exports say about a run, read once from its record: models, data, policies, audits, and
what is missing.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from probes.base import Measurement
from reports.record import lineage
from reports.record.files import Records, Source
from reports.record.lineage import BASE_MODEL, GrowRecord, PolicyRecord
from reports.record.series import HumanJudge, human_score
from restaudit.errors import BadInput
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import Event
from restaudit.evidence.record import ITERATION, Run
from restaudit.gates import Decision

PLAN, ENVIRONMENT = "plan.json", "environment.json"
MISSING = "MISSING"
HUMAN_TEXT = "audit.human_text"
NAMESPACE = "urn:restaudit:run:"
STEP = re.compile(r"[a-z0-9_]+(?:-[0-9]+)?(?:/[a-z0-9_]+)*")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Data:
    """A data set of the run: where it came from, or which policy wrote it.

    ref      unique in the run, for example "prompts:0", "grow:g01", "kept:g01/i01"
    kind     "prompts", "split", "judgements", "held-out text", "grow" (sampled) or "kept" (trained
             on)
    spec     where it was taken from, as configured; None for what the run itself wrote
    path     its file in the run folder; None for what lies elsewhere
    """

    ref: str
    kind: str
    title: str
    source: Source
    spec: str | None = None
    path: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    rows: int | None = None
    licence: str | None = None
    made_by: str | None = None

    @property
    def row_count(self) -> str:
        """How many rows it has, or MISSING."""
        return MISSING if self.rows is None else str(self.rows)


@dataclass(frozen=True)
class Model:
    """A model that the run did not make: its role (the key of the sealed plan), where it came from,
    its digest.
    """

    role: str
    spec: str
    sha256: str | None
    licence: str | None
    source: Source


@dataclass(frozen=True)
class RewardFacts:
    """The reward model, or one of its refits.

    `digest` is that of the canonical JSON of all that the reward is made of; `files` are the
    recorded ones.
    """

    ref: str
    name: str
    digest: str | None
    files: tuple[str, ...]
    dossier: Mapping[str, Any]
    source: Source


@dataclass(frozen=True)
class AuditFacts:
    """What one look measured and decided about `policy`; of `best_of` samples the best by reward
    was looked at.
    """

    iteration: str
    policy: str
    measurements: tuple[Measurement, ...]
    decision: Decision | None
    source: Source
    decision_source: Source | None
    best_of: int = 1

    @property
    def label(self) -> str:
        """The iteration, and how its samples were chosen where that is not at random."""
        if self.best_of == 1:
            return self.iteration
        return f"{self.iteration} (best of {self.best_of} samples by reward)"


class RunFacts:
    """The facts of one run. Raises BadInput for a run in which no step is finished."""

    def __init__(self, records: Records) -> None:
        if not records.run.events:
            raise BadInput(
                f"{records.run.path}: no step is finished yet, so there is nothing recorded to "
                "export"
            )
        # Step names become file names and identifiers in other formats: only ours get that far.
        for event in records.run.events:
            if not STEP.fullmatch(event.step):
                raise BadInput(
                    f"{records.run.path}: {LEDGER}: line {event.seq + 1}: no step is called "
                    f"{event.step!r}"
                )
        records.checked(PLAN)
        self.records = records
        self.run: Run = records.run

    @property
    def head(self) -> str:
        """The hash of the ledger's last event."""
        return self.records.head

    @property
    def run_id(self) -> str:
        """The run's random identity; the hash of its first event where none was recorded."""
        return self.run.run_id or self.run.events[0].hash

    @property
    def uuid(self) -> uuid.UUID:
        """A UUID that follows from the run's identity."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{NAMESPACE}{self.run_id}")

    @property
    def version(self) -> str:
        """The version of restaudit that sealed the plan."""
        return str(self.run.plan.get("restaudit") or self.environment.get("restaudit") or MISSING)

    @property
    def state(self) -> str:
        """Where the run stands by its ledger alone: "done", "halted", "waiting" or "unfinished"."""
        # Whether a process is writing it now would make two exports of one record differ.
        if "end" in self.run.done:
            return "done"
        if self.run.halt is not None:
            return "halted"
        if self.run.waits:
            return "waiting"
        return "unfinished"

    @property
    def human(self) -> HumanJudge:
        """What stands for human judgement, labelled as what it is."""
        # `human_score` reads the first audit, and nothing is exported that the ledger does not have.
        for first in self.run.iterations()[:1]:
            self.records.checked(f"{first}/measurements.json")
        return human_score(self.run)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration of the sealed plan."""
        return dict(self.run.plan.get("config", {}))

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """Versions and device; empty where the run did not record them."""
        if not self.records.has(ENVIRONMENT):
            return {}
        return dict(self.records.json(ENVIRONMENT))

    @property
    def packages(self) -> Mapping[str, str]:
        """Python packages and their versions."""
        packages = dict(self.environment.get("packages", {}))
        return {str(name): str(version) for name, version in sorted(packages.items())}

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """Every model that the plan took from elsewhere, the base model first."""
        artifacts = self.run.plan.get("artifacts", {})
        models = []
        # False sorts before True: the base model leads, the others follow by name.
        for role in sorted(artifacts, key=lambda role: (role != BASE_MODEL, role)):
            # The plan seals this text among the models; it is data.
            if role == HUMAN_TEXT:
                continue
            artifact = artifacts[role]
            models.append(
                Model(
                    role,
                    str(artifact["spec"]),
                    _digest(artifact.get("sha256")),
                    _text(artifact.get("licence")),
                    self.records.source(PLAN, f"artifacts/{role}"),
                )
            )
        return tuple(models)

    @property
    def base(self) -> Model | None:
        """The base model; None in a record that names none."""
        return next((m for m in self.models if m.role == BASE_MODEL), None)

    @cached_property
    def policies(self) -> tuple[PolicyRecord, ...]:
        """Every policy that the run made, the base policy first; none in a record without a base
        model.
        """
        # A policy's digest is over that of the base model: without one there is none to give.
        if self.base is None:
            return ()
        return tuple(lineage.policies(self.records))

    @cached_property
    def grows(self) -> tuple[GrowRecord, ...]:
        """Every finished Grow step; none in a record without a base model."""
        if self.base is None:
            return ()
        return tuple(lineage.grows(self.records))

    @cached_property
    def audits(self) -> tuple[AuditFacts, ...]:
        """Every audit, in order."""
        return tuple(self._audit(i) for i in self.run.iterations())

    def audits_of(self, policy: str) -> tuple[AuditFacts, ...]:
        """The audits that looked at one policy."""
        return tuple(a for a in self.audits if a.policy == policy)

    @cached_property
    def rewards(self) -> tuple[RewardFacts, ...]:
        """The reward model and its refits, in order."""
        rewards = []
        for event in self.run.events:
            if event.step == "reward_model":
                rewards.append(self._reward("reward", event, "reward_model/dossier.json"))
            elif event.step.endswith("/refit"):
                grow = event.step.split("/")[0]
                dossier = f"reward_model/{grow}/dossier.json"
                rewards.append(self._reward(f"reward:{grow}", event, dossier))
        return tuple(rewards)

    @cached_property
    def data(self) -> tuple[Data, ...]:
        """Every data set: prompts and their splits, judgements, held-out text, then what the run
        wrote.
        """
        return tuple(data_sets(self))

    def reward_for(self, grow: str) -> RewardFacts | None:
        """The reward that scored a Grow set: the last one fitted before it."""
        # Grow sets are named g01, g02, …: a refit of a Grow step scores it and those after it.
        fitted = [r for r in self.rewards if r.ref == "reward" or r.ref.split(":")[1] <= grow]
        if not fitted:
            return None
        return fitted[-1]

    def event(self, step: str) -> Event | None:
        """The event of a finished step."""
        return next((e for e in self.run.events if e.step == step), None)

    def at(self, step: str) -> Source:
        """Where in the ledger a step stands."""
        return Source(LEDGER, lineage.place(self.records, step), self.head)

    def _audit(self, iteration: str) -> AuditFacts:
        # The name becomes a path below: only names that the program gives get that far.
        if not ITERATION.fullmatch(iteration):
            raise BadInput(
                f"{self.run.path}: the ledger has an audit of {iteration!r}, which is no iteration"
            )
        records, name = self.records, f"{iteration}/decision.json"
        # No gate decides about the base policy.
        decision, decision_source = None, None
        if records.has(name):
            decision, decision_source = records.decision(iteration), records.source(name)
        best_of = 1
        event = self.event(f"{iteration}/audit")
        if event is not None:
            best_of = int(event.content.get("best_of", 1))
        return AuditFacts(
            iteration=iteration,
            policy=lineage.audited_policy(records, iteration),
            measurements=tuple(records.measurements(iteration).values()),
            decision=decision,
            source=records.source(f"{iteration}/measurements.json"),
            decision_source=decision_source,
            best_of=best_of,
        )

    def _reward(self, ref: str, event: Event, dossier: str) -> RewardFacts:
        described: dict[str, Any] = {}
        if self.records.has(dossier):
            described = dict(self.records.json(dossier))
        # What the ledger noted goes before the dossier, which a reward from elsewhere brings along.
        noted = {**described, **{k: v for k, v in event.content.items() if v}}
        name = str(noted.get("name") or "reward model (its name is not recorded)")
        files = tuple(sorted(event.outputs))
        digest = _digest(noted.get("digest"))
        return RewardFacts(ref, name, digest, files, described, self.at(event.step))


def span(event: Event) -> tuple[str | None, str | None]:
    """When a step began and ended, "YYYY-MM-DDTHH:MM:SSZ"; None for what the ledger does not say.

    The ledger has the end and the seconds it took; the beginning is computed and rounded down to a
    second.
    """
    try:
        end = datetime.fromisoformat(str(event.at["time"])).astimezone(UTC)
        began = end - timedelta(seconds=float(event.at["seconds"]))
        return _stamp(began), _stamp(end)
    # A ledger of another program may lack these, or hold anything in them; none is made up.
    except (KeyError, TypeError, ValueError, OverflowError):
        return None, None


def last_time(facts: RunFacts) -> str | None:
    """The latest end of a step, where the ledger has any time."""
    ends = [span(event)[1] for event in facts.run.events]
    # The stamps are all UTC and of one width, so that their order as text is that of time.
    return max((end for end in ends if end is not None), default=None)


def cited(source: Source) -> str:
    """A source on one line: file, place and digest."""
    # The ledger is cited by the hash of its last event: its bytes still grow while a run goes on.
    kind = "head" if source.path == LEDGER else "sha256"
    place = f" ({source.at})" if source.at else ""
    return f"{source.path}{place} {kind}:{source.sha256}"


def grow_of(kept: Data) -> str:
    """The data set that a kept set chose its rows from: "kept:g01/i02" was chosen from
    "grow:g01".
    """
    return f"grow:{kept.ref.removeprefix('kept:').split('/')[0]}"


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _digest(value: Any) -> str | None:
    # Standards have a field for a SHA-256 and validate it: what is none is left out as missing.
    if isinstance(value, str) and SHA256.fullmatch(value):
        return value
    return None


def _text(value: Any) -> str | None:
    if value in (None, "", MISSING):
        return None
    return str(value)


# --- data sets: what a run took from elsewhere, and what its policies wrote

DOSSIER = "reward_model/dossier.json"
SPLITS = {
    "grow": "prompts that samples are drawn for",
    "d_eval": "prompts that pick a checkpoint",
    "audit": "prompts that judge a policy",
}


def data_sets(facts: RunFacts) -> Iterator[Data]:
    """Every data set, in the order in which the run met it."""
    yield from _prompts(facts)
    yield from _judgements(facts)
    yield from _held_out(facts)
    yield from _written(facts)


def _prompts(facts: RunFacts) -> Iterator[Data]:
    records = facts.records
    for k, source in enumerate(facts.config.get("data", {}).get("prompts", ())):
        spec = str(source.get("source", MISSING))
        yield Data(
            f"prompts:{k}",
            "prompts",
            f"prompts from {spec}",
            records.source(PLAN, f"config/data/prompts/{k}"),
            spec=spec,
            sha256=source.get("sha256"),
            licence=source.get("licence"),
        )
    for split, does in SPLITS.items():
        path = f"data/{split}.parquet"
        if records.has(path):
            rows = facts.run.plan.get("prompts", {}).get(split)
            yield _recorded(facts, f"split:{split}", "split", f"{split} split: {does}", path, rows)


def _judgements(facts: RunFacts) -> Iterator[Data]:
    # The first reward only: what a refit adds are judgements of this run's own texts.
    for reward in facts.rewards[:1]:
        data = reward.dossier.get("data")
        if not isinstance(data, dict):
            continue
        for k, file in enumerate(data.get("files") or ()):
            spec = str(file.get("spec", MISSING))
            licence = data.get("licence")
            yield Data(
                f"judgements:{k}",
                "judgements",
                f"judgements that the reward was trained on, from {spec}",
                facts.records.source(DOSSIER, f"data/files/{k}"),
                spec=spec,
                sha256=file.get("sha256"),
                licence=None if licence == MISSING else licence,
            )


def _held_out(facts: RunFacts) -> Iterator[Data]:
    artifact = facts.run.plan.get("artifacts", {}).get(HUMAN_TEXT)
    if artifact is not None:
        yield Data(
            "text:0",
            "held-out text",
            f"held-out human text from {artifact['spec']}",
            facts.records.source(PLAN, f"artifacts/{HUMAN_TEXT}"),
            spec=str(artifact["spec"]),
            sha256=artifact.get("sha256"),
            licence=artifact.get("licence"),
        )


def _written(facts: RunFacts) -> Iterator[Data]:
    for event in facts.run.events:
        name, _, step = event.step.rpartition("/")
        grow, kept = f"{name}/grow.parquet", f"{name}/kept.parquet"
        # A Grow set is written by the step that scores it; who sampled it, the Grow step noted.
        if step in ("grow", "score") and grow in event.outputs:
            sampled = facts.event(f"{name}/grow")
            policy = sampled.content.get("policy") if sampled is not None else None
            yield _recorded(
                facts,
                f"grow:{name}",
                "grow",
                f"Grow set {name}: samples with their rewards",
                grow,
                event.content.get("rows"),
                made_by=policy,
            )
        # Online training draws its samples itself, and records them with the step that trained.
        if step == "train" and grow in event.outputs:
            title = f"samples that training drew until {name}, with their rewards"
            yield _recorded(
                facts,
                f"grow:{name}",
                "grow",
                title,
                grow,
                event.content.get("samples"),
                made_by=event.content.get("start"),
            )
        if step == "improve" and kept in event.outputs:
            yield _recorded(
                facts,
                f"kept:{name}",
                "kept",
                f"kept set of {name}: the rows it was trained on",
                kept,
                event.content.get("kept"),
            )


def _recorded(
    facts: RunFacts, ref: str, kind: str, title: str, path: str, rows: Any, made_by: Any = None
) -> Data:
    digest = facts.records.digests[path]
    return Data(
        ref,
        kind,
        title,
        facts.records.source(path),
        path=path,
        sha256=digest.sha256,
        bytes=digest.bytes,
        rows=None if rows is None else int(rows),
        made_by=None if made_by is None else str(made_by),
    )
