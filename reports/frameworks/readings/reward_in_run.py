"""Readings of a reward model that only a run can give: what the policy did with the reward, and how
far its outputs moved away.
"""

from __future__ import annotations

from collections.abc import Mapping

from probes.base import Measurement
from reports.document.model import Chart, Point, Row, Table
from reports.frameworks.readings.material import Reading, absent, not_applicable
from reports.frameworks.readings.reward_model import ReadReward, chart_of, figures
from reports.frameworks.reward_records import RewardRecords
from reports.record.files import Source
from restaudit.evidence import ledger
from restaudit.evidence.record import BASE, REWARD, read_json
from restaudit.evidence.shown import number
from restaudit.loop.headline import refitted

DISTANCE, DISTANCE_CHANGE = "hacking.distance", "hacking.distance_change"
NO_RUN = not_applicable("this reward was looked at without a run: no policy was trained on it here")
NO_LOOK = absent("the run has not audited an iteration yet")
REPORT = "data/report.json"
COLUMNS = ("iteration", "value", "95% interval", "n", "prompts")


def loop(records: RewardRecords) -> Reading:
    """How the run selects what it trains on."""
    if records.run is None:
        return NO_RUN
    settings = records.run.plan["config"].get("loop")
    if not settings:
        return absent("not said")
    return Reading(settings, (records.source("plan.json", "config.loop"),))


def gains(records: RewardRecords) -> Reading:
    """Reward and human score, each as a change from the base policy."""
    names = {"divergence.reward_change": "reward", "divergence.human_change": "human score"}
    series = _per_iteration(records, names, "Change from the base policy")
    if records.run is None or not records.measured:
        return series
    # Whose judgement the human score is stands beside every figure of it.
    human = records.run.scores(records.run.iterations()[0])["human"]
    value = f"The human score is {human['label']}: {human['description']}"
    return Reading(value, series.sources, series.tables, series.absent, series.not_applicable)


def gates(records: RewardRecords) -> Reading:
    """The verdict of each look, the gates that were not OK, and overrides."""
    if records.run is None:
        return NO_RUN
    rows: list[Row] = []
    sources: list[Source] = []
    for iteration in records.run.iterations():
        decision = records.run.decision(iteration)
        if decision is None:
            continue
        sources.append(records.source(f"{iteration}/decision.json", "gates"))
        broken = [g for g in decision.gates if g.verdict != "OK"]
        rows += [Row((iteration, decision.verdict, g.gate, g.verdict, g.why)) for g in broken]
        if not broken:
            rows.append(Row((iteration, decision.verdict, "all gates", "OK", "")))
    if not rows:
        return NO_LOOK
    columns = ("iteration", "decision", "gate that is not OK", "it says", "why")
    table = Table("Decisions of the sealed gate policy", columns, tuple(rows))
    return Reading(list(overrides(records)) or ["no override"], tuple(sources), (table,))


def overrides(records: RewardRecords) -> tuple[str, ...]:
    """A line for every time somebody let the run go on after HALT."""
    if records.run is None:
        return ()
    return tuple(
        f"OVERRIDE at {o.iteration}: {o.by} let the run go on after HALT "
        f"({', '.join(o.gates)}): {o.reason}"
        for o in records.run.overrides()
    )


def leakage(records: RewardRecords) -> Reading:
    """Prompts of the run that the reward's training data holds too."""
    if records.run is None:
        return NO_RUN
    if REPORT not in records.files:
        return absent(f"{REPORT} is missing from the run folder")
    report = read_json(records.folder, REPORT)
    overlap = report.get("reward_model") or {}
    if not overlap or "reason" in overlap:
        return absent(str(overlap.get("reason", "the run did not look")))
    rows = []
    for split, counts in sorted(overlap.items()):
        shown = (number(counts[name]) for name in ("exact", "near", "of", "share"))
        rows.append(Row((split, *shown)))
    head = ("prompts of", "identical", "near-duplicates", "of", "share with either")
    table = Table("Overlap with the reward's training data", head, tuple(rows))
    return Reading(None, (records.source(REPORT, "reward_model"),), (table,))


def distance(records: RewardRecords) -> Reading:
    """Distance of the outputs from what the reward was trained on, and its change, per
    iteration.
    """
    names = {DISTANCE: "distance", DISTANCE_CHANGE: "change"}
    caption = "Distance from the reward's training texts (1 − mean cosine of the 10 nearest)"
    return _per_iteration(records, names, caption)


def drift(records: RewardRecords) -> Reading:
    """KL from the base policy, per iteration."""
    return _per_iteration(records, {"drift.kl": "KL"}, "KL divergence from the base policy")


def retrained(records: RewardRecords) -> Reading:
    """From the ledger: every time it was fitted again on judgements of what the policy wrote."""
    if records.run is None:
        return NO_RUN
    if not any(event.step == REWARD for event in records.run.events):
        return absent("the ledger holds no step that built the reward")
    sentences = refitted(records.run)
    if sentences:
        value = [*sentences, "This document is about the first one."]
    else:
        value = ["No: built once, before the first sample."]
    return Reading(value, (records.source(ledger.FILE, "steps reward_model and gNN/refit"),))


def triggers(records: RewardRecords) -> Reading:
    """The sealed gate policy."""
    if records.run is None:
        return absent("without a run there is no sealed gate policy")
    rules = records.run.plan["config"].get("gates", {}).get("rules", [])
    if not rules:
        return absent("the sealed plan has no gate")
    rows = []
    for rule in rules:
        must = f"{rule['metric']} must stay {rule['must_stay']} {rule['margin']}"
        rows.append(Row((rule["name"], rule["action"], must, rule["reason"])))
    head = ("gate", "action", "rule", "why")
    table = Table("Gates, sealed before the first sample", head, tuple(rows))
    return Reading(None, (records.source("plan.json", "config.gates"),), (table,))


def _per_iteration(records: RewardRecords, names: Mapping[str, str], caption: str) -> Reading:
    """One chart a unit, a row an iteration and measurement."""
    if records.run is None:
        return NO_RUN
    if not records.measured:
        return NO_LOOK
    series: dict[str, dict[str, Measurement]] = {name: {} for name in names}
    for iteration, by_name in records.measured.items():
        for name in names:
            if name in by_name:
                series[name][iteration] = by_name[name]
    listed: list[tuple[str, Measurement]] = []
    for by_iteration in series.values():
        listed += by_iteration.items()
    if all(m.value is None for _, m in listed):
        # A change from the base policy has no value at the base policy itself: that is no reason.
        reasons = dict.fromkeys(str(m.reason) for i, m in listed if i != BASE and m.reason)
        return absent("; ".join(reasons) or "the run did not measure it")
    # Values of two units on one axis would be compared, which means nothing.
    units = dict.fromkeys(m.unit for _, m in listed)
    charts = tuple(_chart(caption, unit, series, names) for unit in units)
    place = ", ".join(names)
    sources = tuple(records.source(f"{i}/measurements.json", place) for i in records.measured)
    return Reading(None, sources, charts)


def _chart(
    caption: str,
    unit: str,
    series: Mapping[str, Mapping[str, Measurement]],
    names: Mapping[str, str],
) -> Chart:
    """Everything of one unit on one axis, so that lengths may be compared; a row an iteration and
    measurement.
    """
    mine = []
    for name, by_iteration in series.items():
        if any(m.unit == unit for m in by_iteration.values()):
            mine.append(name)
    rows: list[Row] = []
    labels: list[str] = []
    points: list[Point] = []
    reference: float | None = None
    for iteration in dict.fromkeys(i for name in mine for i in series[name]):
        for name in mine:
            if iteration not in series[name]:
                continue
            m = series[name][iteration]
            label = f"{iteration} (base policy)" if iteration == BASE else iteration
            if len(mine) > 1:
                label += f", {names[name]}"
            counts = (str(m.n), str(m.n_prompts))
            if m.value is None:
                rows.append(Row((label, "not measured", str(m.reason), *counts)))
                continue
            shown = figures(m.to_json())
            rows.append(Row((label, shown.value, shown.interval, *counts)))
            points.append(Point(len(labels), m.value, shown.low, shown.high))
            labels.append(label)
            # The base policy's own look may have no baseline; any look after it has one.
            reference = m.baseline if m.baseline is not None else reference
    only = f": {names[mine[0]]}" if len(mine) == 1 and len(names) > 1 else ""
    title = f"{caption}{only} ({unit})"
    return chart_of(title, Table(title, COLUMNS, tuple(rows)), labels, points, unit, reference)


READINGS: Mapping[str, ReadReward] = {
    reading.__name__: reading
    for reading in (loop, gains, gates, leakage, distance, drift, retrained, triggers)
}
