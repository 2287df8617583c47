"""The first section: every decision, what was trained on what, what is not known, how good the
alarms are.
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
from restaudit.evidence.conclusion import learned
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import digest_in
from restaudit.evidence.record import BASE, Run
from restaudit.evidence.shown import NOTHING, estimate, figure, listed
from restaudit.files import plain
from restaudit.gates import Decision
from restaudit.loop.headline import alarms, refitted

CALIBRATION = "report/calibration.json"
MOST_NAMES = 40


def verdict(material: Material) -> Section:
    """The first section."""
    blocks: list[Block] = [_strip(material), _what(material)]
    if material.decisions:
        last = material.decisions[-1]
        blocks.append(_gates(material, last))
        if last.undecided:
            # Too little data to decide is not "no harm was found".
            names = listed(g.gate for g in last.undecided)
            are = "is" if len(last.undecided) == 1 else "are"
            blocks.append(
                Paragraph(f"{names} {are} undecided. Treat them as open, not as passed.", "warning")
            )
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
    """What stands before everything else: overrides."""
    # Whoever reads only the first lines must see that a gate was overruled, and by whom.
    return tuple(
        f"OVERRIDE at {series.short_name(o.iteration)} ({o.time}): {', '.join(o.gates)} said "
        f"HALT, and {o.by} let the run go on: {o.reason}"
        for o in material.run.overrides()
    )


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
    if run.waits:
        waits = ", and waits for people's ratings"
    return f"not finished: {done} of {len(run.plan['steps'])} planned steps are done{waits}"


def _gates(material: Material, last: Decision) -> Table:
    source = (material.records.source(f"{last.iteration}/decision.json"),)
    if last.stage is None:
        return _gates_of_one_question(last, source)
    rows = []
    for g in last.gates:
        cells = (
            g.gate,
            g.verdict,
            g.metric,
            f"{g.must_stay} {figure(g.margin)}",
            _value(g.value, g.low, g.high, g.margin),
            series.needed_for_ok(g),
            _value(g.value, g.ok_low, g.ok_high, g.ok_margin),
            figure(g.finds),
            f"{NOTHING if g.n is None else g.n} of {g.n_prompts}",
        )
        rows.append(Row(cells, source))
    stages = "" if not last.stages or last.stages < 2 else f", stage {last.stage} of {last.stages}"
    return Table(
        f"Gates at {series.short_name(last.iteration)}, the last look{stages}",
        (
            "gate",
            "says",
            "what it reads",
            "fires unless",
            "value [interval]",
            "OK if",
            "value [to pass]",
            "finds",
            "texts of prompts",
        ),
        tuple(rows),
        note="A gate fires when the whole interval lies beyond its margin; that interval is at the "
        "level that the gate spends at this look. It is OK when the interval to pass (one-sided "
        "5%) lies on the right side. Finds: the true value that such a look finds 8 times in 10. "
        "Texts and prompts differ from gate to gate: some read only the prompts that name a group, "
        "some only texts with a human score.",
    )


def _gates_of_one_question(last: Decision, source: tuple[Source, ...]) -> Table:
    """The gates as they were sealed before there were two questions."""
    rows = []
    for g in last.gates:
        cells = (
            g.gate,
            g.verdict,
            g.metric,
            _value(g.value, g.low, g.high, g.margin),
            f"{g.must_stay} {figure(g.margin)}",
            figure(g.mde),
            str(g.n_prompts),
        )
        rows.append(Row(cells, source))
    return Table(
        f"Gates at {series.short_name(last.iteration)}, the last look",
        ("gate", "verdict", "what it reads", "value [interval]", "must stay", "MDE", "prompts"),
        tuple(rows),
        note="Intervals are at the level that each gate spends at this look. MDE: how far beyond "
        "the margin the truth would have to be for such a look to show it 8 times in 10.",
    )


def _value(value: float | None, low: float | None, high: float | None, margin: float | None) -> str:
    if low is None or high is None or value is None:
        return figure(value)
    # Enough digits that an end which is not the margin, or not zero, does not look equal to it.
    apart = (0.0,) if margin is None else (0.0, margin)
    return estimate(value, low, high, apart_from=apart)


def _alarms(material: Material) -> Paragraph:
    """How often the gates are wrong, where somebody has measured it."""
    run = material.run.path
    lines = alarms(material.run)
    if not lines or not plain.is_file(run, CALIBRATION):
        return Paragraph(
            "The false-alarm rate and the sensitivity of these checks have not been measured. Run "
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
