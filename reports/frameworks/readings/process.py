"""How the system came about: steps, what it optimises for, settings, computation, and the plan
beside what ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.document.model import Row, Table
from reports.frameworks.readings.material import (
    Reading,
    absent,
    config,
    joined,
    ledger,
    named,
    not_applicable,
    plan,
    recorded,
    sealed,
    state,
    step_place,
)
from reports.record.compute import METHOD, Step, sizing_step, steps
from reports.record.files import Records
from reports.record.lineage import place
from restaudit.config import BY_STEPS, LoopConfig
from restaudit.evidence.shown import lines_of, number
from restaudit.loop.headline import refitted

DOSSIER = "reward_model/dossier.json"
# The last part of a step's name -> what the step does, for who has never seen a ledger.
KINDS = {
    "plan": "the plan and the data are sealed",
    "reward_model": "the reward is made ready",
    "human_score": "what stands for human judgement is made ready",
    "scale": "rewards are mapped to 0..1 on the base policy's samples",
    "known": "what the reward was trained on is kept, to see how far outputs are from it",
    "stress": "the reward is tested with texts that were made no better",
    "end": "the run is done",
    "grow": "the policy writes samples",
    "score": "the reward scores them",
    "improve": "the policy is trained on chosen samples",
    "train": "the policy after so many optimiser steps is put on record",
    "trainer": "the trainer and its data are put on record",
    "audit": "the policy is measured on prompts it never trained on",
    "halt": "a gate stopped the run",
    "override": "a person let it go on",
    "wait": "people were asked to rate",
    "samples": "samples for people to rate",
    "refit": "the reward was fitted again",
    "bc": "a supervised start on human references",
}
# Files that may hold a metered figure, with what it is the energy of.
METERED = {"environment.json": "run", "reward_model/compute.json": "training of the reward"}
NO_FLOP = (
    "this run did not record the number of the policy's parameters, so no operations can be counted"
)


def development_steps(records: Records) -> Reading:
    """Every recorded step in order: what it did, how long it took, what it noted."""
    rows = []
    for event in records.run.events:
        kind = event.step.rsplit("/", 1)[-1]
        listed = lines_of(dict(event.content))
        noted = ", ".join(f"{label} {text}" for label, text in listed if label)
        seconds = number(float(event.at.get("seconds", 0.0)))
        cells = (event.step, KINDS.get(kind, kind), seconds, noted or "–")
        rows.append(Row(cells, (step_place(records, event.step),)))
    columns = ("step", "what it does", "seconds", "noted in the ledger")
    title = "Development steps in the order they were done"
    table = Table(title, columns, tuple(rows), prose=(1, 3))
    trained = sum(e.step.endswith("/improve") for e in records.run.events)
    grown = sum(e.step.endswith("/grow") for e in records.run.events)
    method = LoopConfig.model_validate(config(records, "loop")).method
    counted = f"Grow steps: {grown}; Improve steps: {trained}"
    # Methods that train by optimiser steps have no Grow and Improve to count.
    if method in BY_STEPS:
        counted = f"looks: {sum(e.step.endswith('/train') for e in records.run.events)}"
    kind = "reinforced self-training" if method == "rest" else f"method {method}"
    sentence = f"{kind}; {counted}; recorded steps in all: {len(rows)}"
    return Reading(sentence, (ledger(records, "all lines"),), (table,))


def objective(records: Records) -> Reading:
    """What training optimises for: the reward, the rule that selects by it, and the loss."""
    loop, dossier = config(records, "loop"), recorded(records, DOSSIER)
    # Either half alone is an answer.
    if not loop and dossier is None:
        return absent("neither the loop's settings nor the reward are recorded")
    parts, sources = [], []
    if dossier is not None:
        reward = f"{dossier.get('name')} ({dossier.get('unit')})"
        parts.append(
            f"samples are chosen by the reward {reward}, which says of itself: "
            f"{dossier.get('purpose')}"
        )
        sources.append(records.source(DOSSIER, "purpose"))
    thresholds, train = loop.get("thresholds"), loop.get("train")
    if isinstance(thresholds, Mapping):
        parts.append("threshold rule: " + ", ".join(f"{a} {b}" for a, b in lines_of(thresholds)))
        sources.append(sealed(records, "config.loop.thresholds"))
    if isinstance(train, Mapping) and isinstance(train.get("loss"), Mapping):
        parts.append(f"loss on the chosen samples: {train['loss'].get('kind')}")
        sources.append(sealed(records, "config.loop.train.loss"))
    return Reading(joined(parts), tuple(sources))


def settings(records: Records) -> Reading:
    """Every setting of the loop, as sealed."""
    loop = config(records, "loop")
    if not loop:
        return absent("the plan holds no settings of the loop")
    pairs = [*lines_of(loop), ("seed", str(plan(records)["config"].get("seed")))]
    source = sealed(records, "config.loop")
    rows = tuple(Row(pair, (source,)) for pair in pairs)
    table = Table("Settings of the loop", ("setting", "value"), rows)
    return Reading(f"{len(pairs)} settings, sealed before the first sample", (source,), (table,))


def compute_time(records: Records) -> Reading:
    """Wall time and tokens by kind of step."""
    listed = steps(records)
    source = ledger(records, "at.seconds of every step")
    by_kind: dict[str, list[Step]] = {}
    for step in listed:
        by_kind.setdefault(step.kind, []).append(step)
    rows = []
    for kind, mine in by_kind.items():
        rows.append(Row((kind, str(len(mine)), *map(number, _totals(mine))), (source,)))
    columns = (
        "kind of step",
        "steps",
        "seconds",
        "response tokens sampled",
        "response tokens trained on",
    )
    seconds, sampled, trained = _totals(listed)
    sentence = (
        f"{number(seconds / 3600)} hours of wall time on the machine of this run, "
        f"{number(sampled)} response tokens sampled, {number(trained)} trained on"
    )
    table = Table("Time and tokens", columns, tuple(rows))
    return Reading(sentence, (ledger(records, "at.seconds"),), (table,))


def _totals(listed: Sequence[Step]) -> tuple[float, float, float]:
    """Seconds, response tokens sampled, and response tokens trained on, of steps together."""
    return (
        sum(s.seconds for s in listed),
        sum(s.sampled_tokens for s in listed),
        sum(s.trained_tokens for s in listed),
    )


def compute_flop(records: Records) -> Reading:
    """Floating-point operations by a stated rule."""
    total, counted = total_flop(records), sizing_step(records)
    if total is None or counted is None:
        return absent(NO_FLOP)
    return Reading(
        f"{total:.3g} FLOP. Method: {METHOD}",
        (step_place(records, counted.step), ledger(records, "all lines")),
    )


def total_flop(records: Records) -> float | None:
    """Operations of all steps together; None where the number of parameters is not recorded."""
    counts = [s.flop for s in steps(records)]
    # A sum over some of the steps would pass for the whole.
    known = [flop for flop in counts if flop is not None]
    if not known or len(known) < len(counts):
        return None
    return float(sum(known))


def energy(records: Records) -> Reading:
    """Energy, where the record holds a metered figure, and by which method."""
    parts, sources = [], []
    for name, what in METERED.items():
        facts = recorded(records, name) or {}
        kwh = facts.get("energy_kwh")
        if isinstance(kwh, int | float):
            method = facts.get("energy_method") or "not recorded"
            parts.append(f"{what}: {number(kwh)} kWh, method: {method}")
            sources.append(records.source(name, "energy_kwh"))
    if parts:
        return Reading(joined(parts), tuple(sources))
    return absent(
        "the program does not meter energy, and makes up no figure from time or operations"
    )


def plan_and_run(records: Records) -> Reading:
    """The sealed plan beside what ran: steps not done, steps that no plan foresaw, changes on the
    way.
    """
    planned = [str(s) for s in plan(records).get("steps", [])]
    done = [e.step for e in records.run.events]
    left = [step for step in planned if step not in done]
    added = [step for step in done if step not in planned]
    # A step that was not done has no record to cite.
    rows = [Row(("not done", step, _why_not(records))) for step in left]
    for step in added:
        kind = KINDS.get(step.rsplit("/", 1)[-1], "")
        rows.append(Row(("not in the plan", step, kind), (step_place(records, step),)))
    done_of = f"{len(planned) - len(left)} of {len(planned)} planned steps are done"
    sentence = f"{done_of}; {len(added)} steps that the plan did not list"
    columns = ("difference", "step", "what it is")
    table = Table("Plan and run", columns, tuple(rows), prose=(2,))
    sources = (sealed(records, "steps"), ledger(records, "all lines"))
    return Reading(sentence, sources, (table,) if rows else ())


def _why_not(records: Records) -> str:
    run = records.run
    if run.halt is not None:
        return f"a gate stopped the run at {run.halt.iteration} ({', '.join(run.halt.gates)})"
    return f"the run is {state(records)}"


def reward_refits(records: Records) -> Reading:
    """Whether the reward was fitted again during the run, and what that changed."""
    sentences = refitted(records.run)
    if sentences:
        places = (step_place(records, f"{grow}/refit") for grow, _ in records.run.refits())
        return Reading(joined(sentences), tuple(places))
    # Planned and not done is a gap; never planned is none.
    if not config(records, "reward").get("refit"):
        return not_applicable(
            "the sealed plan keeps one reward for the whole run", sealed(records, "config.reward")
        )
    return absent("planned, and not done yet")


def logs(records: Records) -> Reading:
    """The log that the run kept of itself."""
    first, newest = records.run.events[0], records.run.events[-1]
    sentence = (
        f"{len(records.run.events)} hash-chained events from "
        f"{first.at.get('time', 'an unrecorded time')} to "
        f"{newest.at.get('time', 'an unrecorded time')}, last hash {records.head}. They record "
        "development, not the system in operation"
    )
    return Reading(sentence, (ledger(records, place(records, newest.step)),))


READINGS = named(
    [
        development_steps,
        objective,
        settings,
        compute_time,
        compute_flop,
        energy,
        plan_and_run,
        reward_refits,
        logs,
    ]
)
