"""Who or what could stop the run: the sealed gates, what they said, who overrode them, and what
follows from that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from reports.document.model import Row, Table
from reports.frameworks.readings.material import (
    NO_ITERATION,
    NO_LOOK,
    Reading,
    absent,
    audited,
    config,
    decisions,
    human_named,
    joined,
    ledger,
    measured_at,
    named,
    not_applicable,
    plan,
    sealed,
    step_place,
)
from reports.record.files import Records, Source
from reports.record.series import short_name
from restaudit.calibrate.render import FILE as CALIBRATION
from restaudit.config import GatePolicy
from restaudit.evidence.record import RATINGS
from restaudit.evidence.shown import number
from restaudit.loop.headline import alarms

UNTREATED = "MISSING: a person writes it"
CHANGES = {
    "divergence.reward_change": "reward",
    "divergence.human_change": "human score",
    "diversity.vendi_ratio": "diversity (Vendi ratio)",
}


def gate_policy(records: Records) -> Reading:
    """The thresholds that were sealed before the first sample, and what breaking one does."""
    policy = _policy(records)
    if not policy.rules:
        return absent("the sealed policy has no gate", sealed(records, "config.gates"))
    rows = tuple(
        Row(
            (r.name, r.metric, f"{r.must_stay} {r.margin:g}", r.action, r.looks, r.reason),
            (sealed(records, f"config.gates.rules[{k}]"),),
        )
        for k, r in enumerate(policy.rules)
    )
    columns = ("gate", "measure", "must stay", "otherwise", "at which looks", "why")
    table = Table("Gates, sealed before the first sample", columns, rows, prose=(5,))
    looks = plan(records).get("looks")
    over = f" over {len(looks)} planned looks" if isinstance(looks, list) else ""
    said = (
        f"{len(rows)} gates, of which {sum(r.action == 'HALT' for r in policy.rules)} stop "
        "training; rules of one action share a one-sided error rate of "
        f"{1 - policy.level:.3g}{over}; sealed in line 1 of the ledger, before any sample"
    )
    return Reading(said, (sealed(records, "config.gates"), step_place(records, "plan")), (table,))


def gate_decisions(records: Records) -> Reading:
    """What every look decided, and which gates were not OK."""
    found = decisions(records)
    if not found:
        return absent(NO_ITERATION)
    rows = []
    for d, source in found:
        rows += [
            Row((short_name(d.iteration), d.verdict, g.gate, g.verdict, g.why), (source,))
            for g in d.gates
            if g.verdict != "OK"
        ] or [Row((short_name(d.iteration), d.verdict, "all gates", "OK", "–"), (source,))]
    columns = ("iteration", "decision", "gate that is not OK", "it says", "why")
    said = joined([f"{short_name(d.iteration)} {d.verdict}" for d, _ in found])
    return Reading(
        said, tuple(s for _, s in found), (Table("Decisions", columns, tuple(rows), prose=(4,)),)
    )


def overrides(records: Records) -> Reading:
    """Every time a person let training go on after HALT, with name and reason."""
    found = records.run.overrides()
    halts = [e.step for e in records.run.events if e.step.endswith("/halt")]
    if not found:
        stopped = (
            f"; a gate stopped the run at {records.run.halt.iteration}"
            if records.run.halt is not None
            else ""
        )
        places = tuple(step_place(records, s) for s in halts) or (
            ledger(records, "all lines: no override event"),
        )
        return Reading(f"nobody overrode a gate{stopped}", places)
    said = [
        (
            f"at {o.iteration}, {o.time}: {o.by} let the run go on against {', '.join(o.gates)}: "
            f"{o.reason}"
        )
        for o in found
    ]
    places = tuple(step_place(records, f"{o.iteration}/override") for o in found)
    return Reading(joined(said), (*(step_place(records, s) for s in halts), *places))


def people_ratings(records: Records) -> Reading:
    """How many people rated how many samples at every look."""
    names = [
        f"{i}/ratings.parquet" for i in audited(records) if records.has(f"{i}/ratings.parquet")
    ]
    if not names:
        kind = config(records, "human").get("kind", "none")
        if kind != "people":
            return not_applicable(
                f"nobody was asked: the human score of this run is of kind {kind}",
                sealed(records, "config.human"),
            )
        return absent("no look has sealed people's ratings yet", sealed(records, "config.human"))
    rows, sources = [], []
    for name in names:
        table, source = records.table(name, RATINGS), records.source(name)
        once = table[~table["anchor"].astype(bool) & ~table["check"].astype(bool)]
        cells = (
            short_name(name.rsplit("/", 1)[0]),
            str(table["rater"].nunique()),
            str(once["sample_id"].nunique()),
            str(len(table)),
            str(int(table["anchor"].sum())),
            str(int(table["check"].sum())),
        )
        rows.append(Row(cells, (source,)))
        sources.append(source)
    columns = (
        "look",
        "raters",
        "samples rated",
        "ratings",
        "of them anchors",
        "of them shown twice",
    )
    said = f"people rated at {len(rows)} looks; rater names are as typed, nobody verified them"
    return Reading(said, tuple(sources), (Table("Ratings by people", columns, tuple(rows)),))


def risk_register(records: Records) -> Reading:
    """A row a gate: the risk it watches, what it last said, what that led to; treatment is a
    person's to write.
    """
    policy, found = _policy(records), decisions(records)
    if not policy.rules:
        return absent(
            "the sealed policy has no gate, so no risk was watched", sealed(records, "config.gates")
        )
    rows = []
    for k, rule in enumerate(policy.rules):
        looks = [(d.iteration, g, s) for d, s in found for g in d.gates if g.gate == rule.name]
        broken = [short_name(i) for i, g, _ in looks if g.verdict in ("WARN", "HALT")]
        newest = looks[-1][1].verdict if looks else "not looked at yet"
        measure = f"{rule.metric} must stay {rule.must_stay} {rule.margin:g}"
        cells = (
            f"R{k + 1} {rule.name}",
            rule.reason,
            measure,
            newest,
            ", ".join(broken) or "never",
            rule.action,
            UNTREATED,
        )
        rows.append(
            Row(
                cells, (sealed(records, f"config.gates.rules[{k}]"), *(s for _, _, s in looks[-1:]))
            )
        )
    columns = (
        "risk",
        "what it is",
        "measured by",
        "newest verdict",
        "broken at",
        "then",
        "owner and treatment",
    )
    table = Table(
        "Risk register, from the gates",
        columns,
        tuple(rows),
        prose=(1, 2, 6),
        note=(
            "Only risks that a gate watches stand here. It is a beginning of a register, not a "
            "risk management system."
        ),
    )
    inconclusive = sum(r.cells[3] == "INCONCLUSIVE" for r in rows)
    said = (
        f"{len(rows)} risks are watched by gates; the newest look could not tell for "
        f"{inconclusive} of them"
    )
    return Reading(said, (sealed(records, "config.gates"),), (table,))


def update_triggers(records: Records) -> Reading:
    """Which findings stop or flag training: the gates."""
    rules = _policy(records).rules
    if not rules:
        return absent("the sealed policy has no gate", sealed(records, "config.gates"))
    said = joined(
        [f"{r.action} where {r.metric} is not {r.must_stay} {r.margin:g}" for r in rules], most=20
    )
    return Reading(said, (sealed(records, "config.gates.rules"),))


def changelog(records: Records) -> Reading:
    """An entry an Improve step: what changed in the policy, and what was then measured and
    decided.
    """
    verdicts = {d.iteration: d.verdict for d, _ in decisions(records)}
    rows = []
    for event in records.run.events:
        iteration, _, part = event.step.rpartition("/")
        if part in ("improve", "train"):
            rows.append(_change(records, iteration, event.step, verdicts))
        elif part in ("halt", "override"):
            who = (
                f"by {event.content.get('by')}: {event.content.get('reason')}"
                if part == "override"
                else ""
            )
            cells = (
                short_name(iteration),
                part,
                who or ", ".join(map(str, event.content.get("gates", []))),
                "–",
            )
            rows.append(Row(cells, (step_place(records, event.step),)))
    if not rows:
        return absent("no Improve step has been done yet")
    columns = ("iteration", "change", "facts", "measured after it, against the base policy")
    said = (
        f"{sum(r.cells[1] == 'trained' for r in rows)} changes of the policy, {len(rows)} entries"
    )
    table = Table("Changelog: iterations, halts and overrides", columns, tuple(rows), prose=(2, 3))
    return Reading(said, cited_lines(rows), (table,))


def alarm_quality(records: Records) -> Reading:
    """How often the gates of this policy cry wolf, and how often they see planted harm."""
    path = records.run.path / "report" / CALIBRATION
    told = alarms(records.run)
    if not told or not path.is_file():
        return absent("nobody has run restaudit calibrate on this run")
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return absent(
            f"report/{CALIBRATION} is not a calibration that can be read; make it anew with "
            "restaudit calibrate"
        )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    said = f"{joined(list(told))} (a file beside the record: the ledger does not cover it)"
    return Reading(said, (Source(f"report/{CALIBRATION}", "", sha256),))


def go_decisions(records: Records) -> Reading:
    """Which of the go and no-go decisions rest on feedback by people."""
    found = decisions(records)
    if not found:
        return absent(NO_LOOK if not audited(records) else NO_ITERATION)
    kind = config(records, "human").get("kind", "none")
    people = (
        "people's ratings of this run's samples"
        if kind == "people"
        else f"a human score of kind {kind}, not on people"
    )
    metrics = sorted(
        {
            g.metric
            for d, _ in found
            for g in d.gates
            if g.metric.startswith(("divergence.human", "bias.human"))
        }
    )
    said = (
        f"{len(found)} recorded decisions to go on or stop; those about the human score "
        f"({', '.join(metrics) or 'none is gated'}) rest on {people}"
    )
    return Reading(said, tuple(s for _, s in found))


def cited_lines(rows: list[Row]) -> tuple[Source, ...]:
    """The first source of every row."""
    return tuple(r.sources[0] for r in rows if r.sources)


def _change(records: Records, iteration: str, step: str, verdicts: Mapping[str, str]) -> Row:
    content = next(e.content for e in records.run.events if e.step == step)
    known = {
        k: content[k]
        for k in ("start", "kept", "rows", "acceptance_rate", "learning_rate")
        if k in content
    }
    facts = ", ".join(
        f"{k.replace('_', ' ')} {number(v) if isinstance(v, int | float) else v}"
        for k, v in known.items()
    )
    sources, told = [step_place(records, step)], []
    if records.has(f"{iteration}/measurements.json"):
        found = records.measurements(iteration)
        told = [
            f"{label} {number(found[n].value)}"
            for n, label in human_named(records, CHANGES).items()
            if n in found and found[n].value is not None
        ]
        sources += measured_at(records, iteration)
    if iteration in verdicts:
        told.append(f"decision {verdicts[iteration]}")
    return Row(
        (short_name(iteration), "trained", facts or "–", ", ".join(told) or "not audited yet"),
        tuple(sources),
    )


def _policy(records: Records) -> GatePolicy:
    return GatePolicy.model_validate(plan(records)["config"].get("gates") or {"rules": []})


READINGS = named(
    [
        gate_policy,
        gate_decisions,
        overrides,
        people_ratings,
        risk_register,
        update_triggers,
        changelog,
        alarm_quality,
        go_decisions,
    ]
)
