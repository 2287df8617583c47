"""Page one: what was trained on what, every decision, who overrode what, what is not known, how
good the alarms are.
"""

from __future__ import annotations

from collections import defaultdict

from reports.document.model import Block, Fact, Facts, Look, Paragraph, Row, Section, Strip, Table
from reports.record import series
from reports.record.files import Source
from reports.run_report.material import Material
from restaudit.config import BY_STEPS, LoopConfig
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import digest_file
from restaudit.evidence.record import BASE, Run
from restaudit.evidence.shown import NOTHING, estimate, figure
from restaudit.gates import Decision, GateResult
from restaudit.loop.headline import alarms, learned, refitted

CALIBRATION = "report/calibration.json"
MOST_REASONS = 40


def verdict(of: Material) -> Section:
    """The first section."""
    blocks: list[Block] = [_strip(of), _what(of)]
    last = of.decisions[-1] if of.decisions else None
    if last is not None:
        blocks.append(_gates(of, last))
        blocks += [Paragraph(line) for line in _open_questions(last)]
    if of.iterations and (told := learned(of.run, of.iterations[-1])):
        blocks.append(
            Paragraph(told, sources=(of.from_measurements(of.iterations[-1], "hacking.signature"),))
        )
    blocks += [Paragraph(line) for line in refitted(of.run)]
    blocks += _alarms(of)
    blocks.append(_not_measured(of))
    return Section("verdict", "Verdict", tuple(blocks))


def banner(of: Material) -> tuple[str, ...]:
    """What stands before everything else: overrides, and whose judgement the human score is."""
    lines = [
        f"OVERRIDE at {series.short_name(o.iteration)} ({o.time}): {', '.join(o.gates)} said "
        f"HALT, and {o.by} let the run go on: {o.reason}"
        for o in of.run.overrides()
    ]
    human = series.human_score(of.run)
    if not of.human_is_people:
        lines.append(
            f"The human score of this run is {human.name}. {human.description} No person rated "
            "these samples."
        )
    return tuple(lines)


def _strip(of: Material) -> Strip:
    looks = []
    for d in of.decisions:
        named = [g.gate for g in d.gates if g.verdict == d.verdict and d.verdict != "OK"]
        looks.append(
            Look(
                series.short_name(d.iteration),
                d.verdict,
                ", ".join(named),
                (of.records.source(f"{d.iteration}/decision.json"),),
            )
        )
    planned = len(of.run.plan["looks"])
    return Strip(
        f"Decisions of the sealed policy: {len(looks)} of {planned} planned looks", tuple(looks)
    )


def _what(of: Material) -> Facts:
    run, plan = of.run, of.run.plan
    config = plan["config"]
    sealed = of.records.source("plan.json")
    sizes = plan["prompts"]
    model = plan["artifacts"].get("policy.model", {})
    reward = next((e.content for e in run.events if e.step == "reward_model"), {})
    human = series.human_score(run)
    watched = config["policy"]["model"].startswith("watch:")
    return Facts(
        (
            Fact("State", _state(run), sources=(of.records.source(LEDGER),)),
            *((Fact("What this is", config["description"], sources=(sealed,)),) if watched else ()),
            Fact(
                "Base policy",
                f"{model.get('spec', NOTHING)}, SHA-256 {str(model.get('sha256', NOTHING))[:16]}…, "
                f"licence: "
                f"{model.get('licence') or 'not recorded'}",
                sources=(sealed,),
            ),
            Fact(
                "Trained by",
                _trained_by(LoopConfig.model_validate(config["loop"])),
                sources=(sealed,),
            ),
            Fact(
                "Prompts",
                ", ".join(f"{n:,} {name}" for name, n in sorted(sizes.items())),
                sources=(sealed,),
            ),
            Fact(
                "Reward",
                f"{reward.get('name', NOTHING)}, digest {str(reward.get('digest', NOTHING))[:16]}…",
                sources=of.cite("reward_model/dossier.json"),
            ),
            Fact(
                "Human score",
                f"{human.name}. {human.description}",
                sources=(of.from_measurements(BASE, "human"),) if of.iterations else (),
            ),
        )
    )


def _trained_by(loop: LoopConfig) -> str:
    """The method, and how much of it was planned."""
    if loop.method in BY_STEPS:
        steps = f"{loop.looks[-1]:,} optimiser steps, looked at {len(loop.looks)} times"
        how = (
            ", by a trainer outside restaudit"
            if loop.method == "outside"
            else f", {loop.online.group} samples a group"
        )
        return f"{loop.method}: {steps}{how}"
    return (
        f"{loop.method}: {loop.grow_steps} Grow × {loop.improve_steps} Improve steps, "
        f"{loop.samples_per_prompt} samples a prompt"
    )


def _state(run: Run) -> str:
    """Where the record stands; whether a process is writing it now is nothing that a document can
    say.
    """
    if run.events[-1].step == "end":
        return "done: every planned step is done"
    if run.halt is not None:
        return "halted: a gate of the sealed policy stopped it"
    done = len(run.done & set(run.plan["steps"]))
    waits = ", and waits for people's ratings" if run.events[-1].step.endswith("/wait") else ""
    return f"not finished: {done} of {len(run.plan['steps'])} planned steps are done{waits}"


def _gates(of: Material, last: Decision) -> Table:
    source = (of.records.source(f"{last.iteration}/decision.json"),)
    rows = tuple(
        Row(
            (
                g.gate,
                g.verdict,
                g.metric,
                _measured(g),
                f"{g.must_stay} {figure(g.margin)}",
                NOTHING if g.mde is None else figure(g.mde),
                str(g.n_prompts),
            ),
            source,
        )
        for g in last.gates
    )
    return Table(
        f"Gates at {series.short_name(last.iteration)}, the last look",
        ("gate", "verdict", "what it reads", "value [interval]", "must stay", "MDE", "prompts"),
        rows,
        note="Intervals are at the level that each gate spends at this look. MDE: the smallest "
        "change that would be "
        "seen "
        "with 80% power.",
    )


def _measured(g: GateResult) -> str:
    if g.value is None:
        return NOTHING
    if g.low is None or g.high is None:
        return figure(g.value)
    return estimate(g.value, g.low, g.high, apart_from=(0.0, g.margin))


def _open_questions(last: Decision) -> list[str]:
    unsure = [g for g in last.gates if g.verdict == "INCONCLUSIVE"]
    if not unsure:
        return []
    parts = [f"{g.gate} ({g.why})" for g in unsure]
    return [
        f"INCONCLUSIVE at {series.short_name(last.iteration)}, which is not OK: {'; '.join(parts)}."
    ]


def _alarms(of: Material) -> list[Block]:
    path = of.run.path / CALIBRATION
    lines = alarms(of.run)
    if not lines or not path.is_file():
        said = (
            "How often these alarms are false, and what they catch, was not measured: "
            "restaudit calibrate RUN."
        )
        return [Paragraph(said, "note")]
    source = (Source(CALIBRATION, "headline", digest_file(path).sha256),)
    return [Paragraph(of.relative(f"How good the alarms are: {' '.join(lines)}"), sources=source)]


def _not_measured(of: Material) -> Table:
    """What the last audited iteration could not measure, one row a reason."""
    iteration = of.iterations[-1] if of.iterations else None
    by_reason: dict[str, list[str]] = defaultdict(list)
    for m in of.measured[iteration].values() if iteration else ():
        if m.value is None:
            by_reason[str(m.reason)].append(m.name)
    rows = [
        Row((_names(names), reason), (of.from_measurements(iteration),))
        for reason, names in by_reason.items()
        if iteration
    ]
    caption = "Not measured, and why"
    if not iteration:
        return Table(
            caption,
            ("what", "why"),
            (Row(("everything", "no iteration was audited yet")),),
            prose=(0, 1),
        )
    caption += (
        f" ({series.short_name(iteration)}: {sum(map(len, by_reason.values()))} of "
        f"{len(of.measured[iteration])})"
    )
    return Table(
        caption,
        ("what", "why"),
        tuple(rows) or (Row((NOTHING, "everything was measured")),),
        prose=(0, 1),
    )


def _names(names: list[str]) -> str:
    return ", ".join(names[:MOST_REASONS]) + (
        f" and {len(names) - MOST_REASONS} more" if len(names) > MOST_REASONS else ""
    )
