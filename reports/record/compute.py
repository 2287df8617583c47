"""Computation of a run, from recorded counts: tokens, seconds, and floating-point operations by a
stated rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.record.files import Records
from restaudit.evidence.ledger import Event
from restaudit.evidence.record import step_kind

METHOD = (
    "2 FLOP a parameter and response token that is sampled or scored, 6 that is trained on "
    "(Kaplan et al. 2020, arXiv 2001.08361, without the attention term). Prompts' tokens, the "
    "reward model and the probes are not counted, nor samples that were not recorded (D_eval of "
    "epochs that were not kept), so this is a lower bound; for LoRA the 6 is an upper bound."
)
FORWARD, TRAIN = 2, 6
SAYS_SIZE = ("scale", "trainer")
SAMPLED = ("/samples.parquet", "/audit.parquet", "/d_eval.parquet")


@dataclass(frozen=True)
class Step:
    """One recorded step: wall time in seconds, response tokens through the policy, FLOP (None where
    not known).
    """

    step: str
    kind: str
    seconds: float
    sampled_tokens: int
    trained_tokens: int
    flop: float | None


def sizing_step(records: Records) -> Event | None:
    """The step that recorded the number of the policy's parameters; None in runs that did not."""
    for event in records.run.events:
        if event.step in SAYS_SIZE and "parameters" in event.content:
            return event
    return None


def parameters(records: Records) -> int | None:
    """Number of the policy's parameters; None in runs that did not record it."""
    event = sizing_step(records)
    if event is None:
        return None
    return int(event.content["parameters"])


def steps(records: Records) -> list[Step]:
    """Every finished step, in order."""
    size = parameters(records)
    return [_step(records, event, size) for event in records.run.events]


def _step(records: Records, event: Event, size: int | None) -> Step:
    name, outputs = event.step, list(event.outputs)
    # Tables of iterations only: data/audit.parquet holds prompts, which nobody sampled.
    sampled_into = [o for o in outputs if o.startswith(("g", "step-")) and o.endswith(SAMPLED)]
    # Online training draws its samples itself; a Grow step's table only copies them with scores.
    if name.startswith("step-"):
        sampled_into += [o for o in outputs if o.endswith("/grow.parquet")]
    trained_on = [o for o in outputs if o.endswith("/train.parquet")]
    sampled = sum(_tokens(records, file, "n_tokens") for file in sampled_into)
    trained = sum(_tokens(records, file, "tokens") for file in trained_on)
    flop = None
    if size is not None:
        flop = float(size * (FORWARD * sampled + TRAIN * trained))
    seconds = float(event.at.get("seconds", 0.0))
    return Step(name, step_kind(name), seconds, sampled, trained, flop)


def _tokens(records: Records, name: str, column: str) -> int:
    return int(records.table(name, (column,))[column].sum())
