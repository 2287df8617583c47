"""Page one: what was trained on what, every decision, who overrode what, what is not known, how
good the alarms are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from reports.document.model import Block, Fact, Facts, Look, Paragraph, Row, Section, Strip, Table
from reports.record import series
from reports.record.files import Source
from reports.run_report.material import Material
from restaudit.config import BY_STEPS, LoopConfig
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import digest_in
from restaudit.evidence.record import BASE, Run
from restaudit.evidence.shown import NOTHING, estimate, figure
from restaudit.files import plain
from restaudit.gates import Decision, GateResult
from restaudit.loop.headline import alarms, learned, refitted

CALIBRATION = "report/calibration.json"
MOST_NAMES = 40


def verdict(material: Material) -> Section:
    """The first section."""
    blocks: list[Block] = [_strip(material), _what(material)]
    if material.decisions:
        last = material.decisions[-1]
        blocks.append(_gates(material, last))
        blocks += [Paragraph(line) for line in _open_questions(last)]
    if material.iterations:
        look = material.iterations[-1]
        habits = learned(material.run, look)
        if habits:
            source = material.from_measurements(look, "hacking.signature")
            blocks.append(Paragraph(habits, sources=(source,)))
    blocks += [Paragraph(line) for line in refitted(material.run)]
    blocks.append(_alarms(material))
    blocks.append(_not_measured(material))
    return Section("verdict", "Verdict", tuple(blocks))


def banner(material: Material) -> tuple[str, ...]:
    """What stands before everything else: overrides, and whose judgement the human score is."""
    # Whoever reads only the first lines must see that a gate was overruled, and by whom.
    lines = [
        f"OVERRIDE at {series.short_name(o.iteration)} ({o.time}): {', '.join(o.gates)} said "
        f"HALT, and {o.by} let the run go on: {o.reason}"
        for o in material.run.overrides()
    ]
    human = series.human_score(material.run)
    if not material.human_is_people:
        lines.append(
            f"The human score of this run is {human.name}. {human.description} No person rated "
            "these samples."
        )
    return tuple(lines)


def looks_of(decisions: Sequence[Decision]) -> list[tuple[Decision, str]]:
    """Every decision with the gates that it is due to; an OK is due to all of them alike."""
    looks = []
    for decision in decisions:
        due_to: list[str] = []
        if decision.verdict != "OK":
            due_to = [g.gate for g in decision.gates if g.verdict == decision.verdict]
        looks.append((decision, ", ".join(due_to)))
    return looks


def _strip(material: Material) -> Strip:
    looks = tuple(
        Look(
            series.short_name(decision.iteration),
            decision.verdict,
            due_to,
            (material.records.source(f"{decision.iteration}/decision.json"),),
        )
        for decision, due_to in looks_of(material.decisions)
    )
    planned = len(material.run.plan["looks"])
    return Strip(f"Decisions of the sealed policy: {len(looks)} of {planned} planned looks", looks)


def _what(material: Material) -> Facts:
    run, plan = material.run, material.run.plan
    sealed = (material.records.source("plan.json"),)
    model = plan["artifacts"].get("policy.model", {})
    reward: Mapping[str, Any] = {}
    for event in run.events:
        if event.step == "reward_model":
            reward = event.content
            break
    human = series.human_score(run)
    facts = [Fact("State", _state(run), sources=(material.records.source(LEDGER),))]
    # A watched run was configured by somebody else's program: only its description says what it is.
    if plan["config"]["policy"]["model"].startswith("watch:"):
        facts.append(
            Fact("What this is", str(plan["config"].get("description", "")), sources=sealed)
        )
    facts += [
        Fact(
            "Base policy",
            f"{model.get('spec', NOTHING)}, SHA-256 {str(model.get('sha256', NOTHING))[:16]}…, "
            f"licence: {model.get('licence') or 'not recorded'}",
            sources=sealed,
        ),
        Fact("Trained by", _trained_by(material.run.loop), sources=sealed),
        Fact(
            "Prompts",
            ", ".join(f"{n:,} {name}" for name, n in sorted(plan["prompts"].items())),
            sources=sealed,
        ),
        Fact(
            "Reward",
            f"{reward.get('name', NOTHING)}, digest {str(reward.get('digest', NOTHING))[:16]}…",
            sources=material.cite("reward_model/dossier.json"),
        ),
        Fact(
            "Human score",
            f"{human.name}. {human.description}",
            sources=(material.from_measurements(BASE, "human"),) if material.iterations else (),
        ),
    ]
    return Facts(tuple(facts))


def _trained_by(loop: LoopConfig) -> str:
    """The method, and how much of it was planned."""
    if loop.method not in BY_STEPS:
        return (
            f"{loop.method}: {loop.grow_steps} Grow × {loop.improve_steps} Improve steps, "
            f"{loop.samples_per_prompt} samples a prompt"
        )
    steps = f"{loop.looks[-1]:,} optimiser steps, looked at {len(loop.looks)} times"
    if loop.method == "outside":
        return f"{loop.method}: {steps}, by a trainer outside restaudit"
    return f"{loop.method}: {steps}, {loop.online.group} samples a group"


def _state(run: Run) -> str:
    """Where the record stands; whether a process is writing it now is nothing that a document can
    say.
    """
    if run.events[-1].step == "end":
        return "done: every planned step is done"
    if run.halt is not None:
        return "halted: a gate of the sealed policy stopped it"
    # Steps that no plan foresaw, such as a halt, are no progress towards the planned ones.
    done = len(run.done & set(run.plan["steps"]))
    waits = ""
    if run.events[-1].step.endswith("/wait"):
        waits = ", and waits for people's ratings"
    return f"not finished: {done} of {len(run.plan['steps'])} planned steps are done{waits}"


def _gates(material: Material, last: Decision) -> Table:
    source = (material.records.source(f"{last.iteration}/decision.json"),)
    rows = []
    for g in last.gates:
        cells = (
            g.gate,
            g.verdict,
            g.metric,
            _value(g),
            f"{g.must_stay} {figure(g.margin)}",
            figure(g.mde),
            str(g.n_prompts),
        )
        rows.append(Row(cells, source))
    return Table(
        f"Gates at {series.short_name(last.iteration)}, the last look",
        ("gate", "verdict", "what it reads", "value [interval]", "must stay", "MDE", "prompts"),
        tuple(rows),
        note="Intervals are at the level that each gate spends at this look. MDE: the smallest "
        "change that would be seen with 80% power.",
    )


def _value(g: GateResult) -> str:
    if g.low is None or g.high is None or g.value is None:
        return figure(g.value)
    # Enough digits that an end which is not the margin, or not zero, does not look equal to it.
    return estimate(g.value, g.low, g.high, apart_from=(0.0, g.margin))


def _open_questions(last: Decision) -> list[str]:
    # Too little data to decide is not "no harm was found": it is said on page one.
    unsure = [g for g in last.gates if g.verdict == "INCONCLUSIVE"]
    if not unsure:
        return []
    gates = "; ".join(f"{g.gate} ({g.why})" for g in unsure)
    return [f"INCONCLUSIVE at {series.short_name(last.iteration)}, which is not OK: {gates}."]


def _alarms(material: Material) -> Paragraph:
    """How often the gates are wrong, where somebody has measured it."""
    run = material.run.path
    lines = alarms(material.run)
    if not lines or not plain.is_file(run, CALIBRATION):
        return Paragraph(
            "How often these alarms are false, and what they catch, was not measured: "
            "restaudit calibrate RUN.",
            "note",
        )
    # A calibration comes after the run, so that the ledger does not have it: its digest is made now.
    source = (Source(CALIBRATION, "headline", digest_in(run, CALIBRATION, plain.LARGEST).sha256),)
    sentence = f"How good the alarms are: {' '.join(lines)}"
    return Paragraph(material.relative(sentence), sources=source)


def _not_measured(material: Material) -> Table:
    """What the last audited iteration could not measure, one row a reason."""
    caption, columns = "Not measured, and why", ("what", "why")
    if not material.iterations:
        nothing = Row(("everything", "no iteration was audited yet"))
        return Table(caption, columns, (nothing,), prose=(0, 1))
    iteration = material.iterations[-1]
    measurements = material.measured[iteration]
    # One reason (no prompt names a group, no encoder) may keep dozens from being measured.
    by_reason: dict[str, list[str]] = defaultdict(list)
    for m in measurements.values():
        if m.value is None:
            by_reason[str(m.reason)].append(m.name)
    source = (material.from_measurements(iteration),)
    rows = [Row((_names(names), reason), source) for reason, names in by_reason.items()]
    missing = sum(len(names) for names in by_reason.values())
    return Table(
        f"{caption} ({series.short_name(iteration)}: {missing} of {len(measurements)})",
        columns,
        tuple(rows) or (Row((NOTHING, "everything was measured")),),
        prose=(0, 1),
    )


def _names(names: Sequence[str]) -> str:
    """The first names of a reason; the appendix has all of them."""
    first = ", ".join(names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    if more > 0:
        return f"{first} and {more} more"
    return first
