"""The shape of every JSON document of the record: exact keys, types and ranges (docs/record.md).

docs/record.schema.json is made from these models (tests/evidence/test_shapes.py says how).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from restaudit.config import GatePolicy
from restaudit.errors import VerificationFailed
from restaudit.evidence.bundle.manifest import FORMAT
from restaudit.evidence.record import BASE, ONE_QUESTION, SCHEMA, as_sealed
from restaudit.files.strict import parse_json

# Beyond this, two readers may see two numbers in one text (RFC 8785, appendix D).
LARGEST_WHOLE = 2**53 - 1
# Each is compared with each other at every look.
RULES = 100

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=LARGEST_WHOLE)]
One = Annotated[int, Field(ge=1, le=1)]
PlanSchema = Annotated[int, Field(ge=ONE_QUESTION, le=SCHEMA)]
Name = Annotated[str, Field(min_length=1)]
# Names of folders, the last one what is done: "g01/i02/audit". An iteration is one without that.
Step = Annotated[str, Field(pattern=r"^[a-z0-9_-]+(/[a-z0-9_-]+)*$", max_length=100)]
Verdict = Literal["OK", "SILENT", "UNDECIDED", "INCONCLUSIVE", "WARN", "HALT"]
Side = Literal["above", "below"]


class Shape(BaseModel):
    """No key too many or too few, nothing taken for something else, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Digest(Shape):
    """A file: SHA-256 in hex, size in bytes."""

    sha256: Hex
    bytes: Count


class At(Shape):
    """Clock and place of a step; what else stands here (notices, durations) has no fixed form."""

    model_config = ConfigDict(extra="allow")
    time: Annotated[
        str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")
    ] = ""
    host: str = ""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    run_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = ""


class EventShape(Shape):
    """One line of ledger.jsonl."""

    seq: Count
    step: Step
    prev: Hex
    outputs: dict[str, Digest]
    content: dict[str, Any]
    context: dict[str, Digest]
    at: At
    hash: Hex


class HaltContent(Shape):
    """What the event of a halt says."""

    iteration: Step
    gates: Annotated[list[str], Field(min_length=1)]


class OverrideContent(HaltContent):
    """What the event of an override says."""

    by: Annotated[str, Field(min_length=2)]
    reason: Annotated[str, Field(min_length=10)]


class ConfigShape(Shape):
    """The part of the configuration that verification reads."""

    model_config = ConfigDict(extra="allow")
    name: Name
    gates: GatePolicy = GatePolicy()


class Plan(Shape):
    """plan.json, as far as verification reads it."""

    model_config = ConfigDict(extra="allow")
    schema_: Annotated[PlanSchema, Field(alias="schema")]
    config: ConfigShape
    # Far more than anybody plans; without an end, checking a plan would have none either.
    steps: Annotated[list[Step], Field(min_length=2, max_length=10_000)]
    looks: Annotated[list[Step], Field(max_length=1_000)]
    signer: Hex | None = None

    @property
    def gates(self) -> GatePolicy:
        """The sealed policy, as a plan of this schema means it."""
        return as_sealed(self.config.gates, self.schema_)

    @model_validator(mode="after")
    def _written_out(self) -> Plan:
        # What decides stands in the plan itself, so that a stranger's verifier knows no defaults.
        if self.schema_ == ONE_QUESTION:
            return self
        gates = self.config.gates
        if not {"ok_error", "stage_shares"} <= gates.model_fields_set or not gates.stage_shares:
            raise ValueError("expected gates.ok_error, and gates.stage_shares of every stage")
        for rule in gates.rules:
            if rule.ok_margin is None or "alarm_only" not in rule.model_fields_set:
                raise ValueError(f"expected ok_margin and alarm_only of gate {rule.name!r}")
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Plan:
        if len(self.config.gates.rules) > RULES:
            raise ValueError(f"expected at most {RULES} gates")
        if len(set(self.steps)) < len(self.steps):
            raise ValueError("expected every step once")
        if self.steps[0] != "plan" or self.steps[-1] != "end":
            raise ValueError("expected the steps to begin with 'plan' and to finish with 'end'")
        audited = [s.removesuffix("/audit") for s in self.steps if s.endswith("/audit")]
        if [i for i in audited if i != BASE] != self.looks:
            raise ValueError(f"expected a look at every iteration but {BASE} that has an audit")
        return self


class IntervalShape(Shape):
    """A two-sided confidence interval. The value need not lie in it (a bootstrap's may not)."""

    level: Annotated[float, Field(gt=0, lt=1)]
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> IntervalShape:
        if self.low > self.high:
            raise ValueError("expected low to be at most high")
        return self


class MeasurementShape(Shape):
    """One measured number, or null and the reason."""

    name: Name
    value: float | None
    unit: str
    n: Count
    n_prompts: Count
    method: str
    version: str
    direction: Literal["higher", "lower", "neutral"]
    intervals: list[IntervalShape]
    baseline: float | None
    reason: str | None
    detail: dict[str, Any]
    # Written only where they are: see probes.base.Measurement.
    ok_intervals: Annotated[list[IntervalShape], Field(min_length=1)] | None = None
    error: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _explained(self) -> MeasurementShape:
        if not self.reason and (self.value is None or not self.intervals):
            raise ValueError("expected a reason where the value or its intervals lack")
        for intervals in (self.intervals, self.ok_intervals or []):
            levels = [i.level for i in intervals]
            if len(set(levels)) < len(levels):
                raise ValueError("expected one interval of a level")
        for key in ("ok_intervals", "error"):
            if key in self.model_fields_set and getattr(self, key) is None:
                raise ValueError(f"expected no {key} rather than null")
        return self


class Human(Shape):
    """What the human score is."""

    label: Name
    unit: str
    description: str


class RewardShape(Shape):
    """What the reward is."""

    name: Name
    unit: str


class Measurements(Shape):
    """measurements.json of an iteration."""

    human: Human
    reward: RewardShape
    measurements: list[MeasurementShape]

    @model_validator(mode="after")
    def _once(self) -> Measurements:
        names = [m.name for m in self.measurements]
        if len(set(names)) < len(names):
            raise ValueError("expected every measurement's name once")
        return self


class GateResultShape(Shape):
    """What one gate said."""

    gate: str
    verdict: Verdict
    metric: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    must_stay: Side
    margin: float
    n_prompts: Count
    why: str
    # Of plans of schema 1.
    mde: float | None = None
    # Of plans of schema 2.
    alarm_only: bool | None = None
    ok_margin: float | None = None
    ok_low: float | None = None
    ok_high: float | None = None
    ok_level: float | None = None
    n: Count | None = None
    finds: float | None = None
    settle: str | None = None
    stage: Count | None = None


class DecisionShape(Shape):
    """decision.json of an iteration."""

    iteration: Step
    verdict: Verdict
    look: Annotated[int, Field(ge=1, le=LARGEST_WHOLE)]
    looks: Annotated[int, Field(ge=1, le=LARGEST_WHOLE)]
    gates: list[GateResultShape]
    # Of plans of schema 2: the last stage that was sampled, and how many were planned.
    stage: Annotated[int, Field(ge=1, le=LARGEST_WHOLE)] | None = None
    stages: Annotated[int, Field(ge=1, le=LARGEST_WHOLE)] | None = None


class RedactedShape(Shape):
    """A recorded file whose texts were taken out of the bundle."""

    original: Digest
    replacement: Digest
    how: str


class LeftOutShape(Shape):
    """A recorded file that is not in the bundle."""

    original: Digest
    why: Literal["texts", "weights"]


class BundleShape(Shape):
    """manifest.json of a bundle."""

    format: Annotated[str, Field(pattern=f"^{FORMAT}$")]
    schema_: Annotated[One, Field(alias="schema")]
    run_id: str
    seq: Count
    head: Hex
    comparison_digest: Hex
    without: Annotated[list[Literal["texts", "weights"]], Field(max_length=2)]
    files: dict[str, Digest]
    redacted: dict[str, RedactedShape]
    left_out: dict[str, LeftOutShape]
    notes: list[str]


class ReportManifest(Shape):
    """report/manifest.json."""

    schema_: Annotated[One, Field(alias="schema")]
    files: dict[str, Digest]
    head: Hex
    renderer: dict[str, str]


class Signature(Shape):
    """One signature of an envelope: base64, and the SHA-256 of the raw public key."""

    keyid: Hex
    sig: str


class Envelope(Shape):
    """A file NAME.dsse.json: a DSSE envelope of an in-toto statement."""

    payload: str
    payloadType: Literal["application/vnd.in-toto+json"]  # noqa: N815 - DSSE's own name
    signatures: Annotated[list[Signature], Field(min_length=1, max_length=1)]


DOCUMENTS: Mapping[str, type[Shape]] = {
    "ledger.jsonl": EventShape,
    "halt": HaltContent,
    "override": OverrideContent,
    "plan.json": Plan,
    "measurements.json": Measurements,
    "decision.json": DecisionShape,
    "manifest.json": BundleShape,
    "report/manifest.json": ReportManifest,
    "dsse.json": Envelope,
}

S = TypeVar("S", bound=Shape)


def shaped(data: bytes, shape: type[S], name: str) -> S:
    """The document in these bytes.

    Raises VerificationFailed, beginning with `name`, where it is not strict JSON of this shape.
    """
    try:
        raw = parse_json(data)
        # A plan holds settings beside what is read here, such as seeds, of any size.
        within_range(raw if shape is not Plan else _gates(raw))
        return shape.model_validate_json(data, strict=True)
    except ValidationError as e:
        raise VerificationFailed(f"{name}: not what restaudit writes: {_first(e)}") from None
    except ValueError as e:
        raise VerificationFailed(f"{name}: not readable JSON ({e})") from None


def must_fit(raw: Any, shape: type[Shape], name: str) -> None:
    """Raise VerificationFailed, beginning with `name`, where these JSON values have another shape."""
    try:
        shape.model_validate(raw)
    except ValidationError as e:
        raise VerificationFailed(f"{name}: not what restaudit writes: {_first(e)}") from None


def within_range(value: Any) -> None:
    """Raise ValueError for a whole number that float64 does not hold exactly, anywhere inside."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
        elif isinstance(node, int) and abs(node) > LARGEST_WHOLE:
            raise ValueError(f"the whole number {str(node)[:40]} is beyond {LARGEST_WHOLE:,}")


def _gates(plan: Any) -> Any:
    config = plan.get("config") if isinstance(plan, dict) else None
    return config.get("gates") if isinstance(config, dict) else None


def _first(error: ValidationError) -> str:
    """The first problem, and where it is."""
    found = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in found["loc"])
    if where == "schema" and isinstance(found["input"], int):
        newest = found.get("ctx", {}).get("le", SCHEMA)
        known = " and ".join(str(k) for k in range(1, newest + 1))
        return f"schema {found['input']}; this version of restaudit verifies {known}"
    said = found["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def schema() -> str:
    """The JSON Schema (2020-12) of all documents, as text: `$defs` holds one a document."""
    definitions: dict[str, Any] = {}
    for name, shape in DOCUMENTS.items():
        made = shape.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= made.pop("$defs", {})
        definitions[name] = made
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The documents of a restaudit record; docs/record.md says what no schema can",
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(whole, indent=1, sort_keys=True) + "\n"
