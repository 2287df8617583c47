"""Answers that only a run can give: what the policy did with the reward, and how far its outputs
moved away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from probes.base import Measurement
from restaudit.evidence import ledger
from restaudit.evidence.record import BASE, REWARD
from restaudit.evidence.shown import number
from restaudit.loop.headline import refitted
from restaudit.reward_audit.document.material import Material
from restaudit.reward_audit.document.model import Evidence, Mark, Reading, Table
from restaudit.reward_audit.document.tables import figures

DISTANCE, DISTANCE_CHANGE = "hacking.distance", "hacking.distance_change"
NO_RUN = Reading(
    absent="this reward was looked at without a run: no policy was trained on it here",
    not_applicable=True,
)
NO_LOOK = Reading(absent="the run has not audited an iteration yet")
REPORT = "data/report.json"
COLUMNS = ("iteration", "value", "95% interval", "n", "prompts")


def loop(of: Material) -> Reading:
    """How the run selects what it trains on."""
    if of.run is None:
        return NO_RUN
    found = of.run.plan["config"].get("loop")
    return (
        Reading(found, evidence=(of.evidence("plan.json", "config.loop"),))
        if found
        else Reading(absent="not said")
    )


def gains(of: Material) -> Reading:
    """Reward and human score, each as a change from the base policy."""
    names = {"divergence.reward_change": "reward", "divergence.human_change": "human score"}
    found = _per_iteration(of, names, "Change from the base policy")
    if of.run is None or not of.measured:
        return found
    human = of.run.scores(of.run.iterations()[0])["human"]
    said = f"The human score is {human['label']}: {human['description']}"
    return Reading(said, found.tables, found.evidence, found.absent, found.not_applicable)


def gates(of: Material) -> Reading:
    """The verdict of each look, the gates that were not OK, and overrides."""
    if of.run is None:
        return NO_RUN
    decided = [(i, d) for i in of.run.iterations() if (d := of.run.decision(i)) is not None]
    if not decided:
        return NO_LOOK
    cells: list[tuple[str, ...]] = []
    for i, d in decided:
        cells += [
            (i, d.verdict, g.gate, g.verdict, g.why) for g in d.gates if g.verdict != "OK"
        ] or [(i, d.verdict, "all gates", "OK", "")]
    said = overrides(of) or ["no override"]
    columns = ("iteration", "decision", "gate that is not OK", "it says", "why")
    table = Table("Decisions of the sealed gate policy", columns, tuple(cells))
    return Reading(
        list(said), (table,), tuple(of.evidence(f"{i}/decision.json", "gates") for i, _ in decided)
    )


def overrides(of: Material) -> tuple[str, ...]:
    """A line for every time somebody let the run go on after HALT."""
    found = of.run.overrides() if of.run is not None else []
    return tuple(
        (
            f"OVERRIDE at {o.iteration}: {o.by} let the run go on after HALT "
            f"({', '.join(o.gates)}): {o.reason}"
        )
        for o in found
    )


def leakage(of: Material) -> Reading:
    """Prompts of the run that the reward's training data holds too."""
    if of.run is None:
        return NO_RUN
    if REPORT not in of.files:
        return Reading(absent=f"{REPORT} is missing from the run folder")
    found = json.loads((of.folder / REPORT).read_text(encoding="utf-8")).get("reward_model")
    if not found or "reason" in found:
        return Reading(absent=str((found or {}).get("reason", "the run did not look")))
    cells = tuple(
        (split, number(o["exact"]), number(o["near"]), number(o["of"]), number(o["share"]))
        for split, o in sorted(found.items())
    )
    head = ("prompts of", "identical", "near-duplicates", "of", "share with either")
    return Reading(
        tables=(Table("Overlap with the reward's training data", head, cells),),
        evidence=(of.evidence(REPORT, "reward_model"),),
    )


def distance(of: Material) -> Reading:
    """Distance of the outputs from what the reward was trained on, and its change, per
    iteration.
    """
    names = {DISTANCE: "distance", DISTANCE_CHANGE: "change"}
    return _per_iteration(
        of, names, "Distance from the reward's training texts (1 − mean cosine of the 10 nearest)"
    )


def drift(of: Material) -> Reading:
    """KL from the base policy, per iteration."""
    return _per_iteration(of, {"drift.kl": "KL"}, "KL divergence from the base policy")


def retrained(of: Material) -> Reading:
    """From the ledger: every time it was fitted again on judgements of what the policy wrote."""
    if of.run is None:
        return NO_RUN
    if not any(e.step == REWARD for e in of.run.events):
        return Reading(absent="the ledger holds no step that built the reward")
    said = refitted(of.run)
    said = (
        [*said, "This document is about the first one."]
        if said
        else ["No: built once, before the first sample."]
    )
    return Reading(said, evidence=(of.evidence(ledger.FILE, "steps reward_model and gNN/refit"),))


def triggers(of: Material) -> Reading:
    """The sealed gate policy."""
    if of.run is None:
        return Reading(absent="without a run there is no sealed gate policy")
    found = of.run.plan["config"].get("gates", {}).get("rules", [])
    cells = tuple(
        (
            r["name"],
            r["action"],
            f"{r['metric']} must stay {r['must_stay']} {r['margin']}",
            r["reason"],
        )
        for r in found
    )
    if not cells:
        return Reading(absent="the sealed plan has no gate")
    table = Table("Gates, sealed before the first sample", ("gate", "action", "rule", "why"), cells)
    return Reading(tables=(table,), evidence=(of.evidence("plan.json", "config.gates"),))


def _per_iteration(of: Material, names: Mapping[str, str], caption: str) -> Reading:
    """One table a unit, a row an iteration and measurement."""
    if of.run is None:
        return NO_RUN
    if not of.measured:
        return NO_LOOK
    found = {name: {i: m[name] for i, m in of.measured.items() if name in m} for name in names}
    said = [m for rows in found.values() for m in rows.values()]
    if not any(m.value is not None for m in said):
        reasons = dict.fromkeys(
            m.reason for rows in found.values() for i, m in rows.items() if i != BASE and m.reason
        )
        return Reading(absent="; ".join(map(str, reasons)) or "the run did not measure it")
    units = dict.fromkeys(m.unit for m in said)
    tables = tuple(_table(caption, unit, found, names) for unit in units)
    return Reading(tables=tables, evidence=tuple(_at(of, i, names) for i in of.measured))


def _at(of: Material, iteration: str, names: Mapping[str, str]) -> Evidence:
    return of.evidence(f"{iteration}/measurements.json", ", ".join(names))


def _table(
    caption: str,
    unit: str,
    found: Mapping[str, Mapping[str, Measurement]],
    names: Mapping[str, str],
) -> Table:
    """Everything of one unit on one axis, so that lengths may be compared; a row an iteration and
    measurement.
    """
    mine = [n for n, rows in found.items() if any(m.unit == unit for m in rows.values())]
    cells: list[tuple[str, ...]] = []
    marks: list[Mark] = []
    reference: float | None = None
    for iteration in dict.fromkeys(i for n in mine for i in found[n]):
        for name in (n for n in mine if iteration in found[n]):
            m = found[name][iteration]
            label = f"{iteration} (base policy)" if iteration == BASE else iteration
            label += f", {names[name]}" if len(mine) > 1 else ""
            if m.value is None:
                cells.append((label, "not measured", str(m.reason), str(m.n), str(m.n_prompts)))
                continue
            shown = figures(m.to_json())
            cells.append((label, shown.value, shown.interval, str(m.n), str(m.n_prompts)))
            marks.append(Mark(label, m.value, shown.low, shown.high))
            reference = m.baseline if m.baseline is not None else reference
    which = f": {names[mine[0]]}" if len(mine) == 1 and len(names) > 1 else ""
    return Table(f"{caption}{which} ({unit})", COLUMNS, tuple(cells), tuple(marks), unit, reference)


OF_RUN: Mapping[str, Callable[[Material], Reading]] = {
    f.__name__: f for f in (loop, gains, gates, leakage, distance, drift, retrained, triggers)
}
