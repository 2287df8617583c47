"""Who or what could stop the run: the sealed gates, what they said, who overrode them, and what
follows from that.
"""

from __future__ import annotations

import hashlib
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
from restaudit.files import plain
from restaudit.files.strict import NotStrict, parse_json
from restaudit.gates import OPEN
from restaudit.loop.headline import alarms

UNTREATED = "MISSING: a person writes it"
# What an Improve step notes in the ledger that a changelog is read for.
NOTED = ("start", "kept", "rows", "acceptance_rate", "learning_rate")
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
    rows = []
    for k, rule in enumerate(policy.rules):
        must = f"{rule.must_stay} {rule.margin:g}"
        cells = (rule.name, rule.metric, must, rule.action, rule.looks, rule.reason)
        rows.append(Row(cells, (sealed(records, f"config.gates.rules[{k}]"),)))
    columns = ("gate", "measure", "must stay", "otherwise", "at which looks", "why")
    table = Table("Gates, sealed before the first sample", columns, tuple(rows), prose=(5,))
    looks = plan(records).get("looks")
    over = ""
    if isinstance(looks, list):
        over = f" over {len(looks)} planned looks"
    sentence = (
        f"{len(rows)} gates, of which {sum(r.action == 'HALT' for r in policy.rules)} stop "
        "training; rules of one action share a one-sided error rate of "
        f"{1 - policy.level:.3g}{over}; sealed in line 1 of the ledger, before any sample"
    )
    sources = (sealed(records, "config.gates"), step_place(records, "plan"))
    return Reading(sentence, sources, (table,))


def gate_decisions(records: Records) -> Reading:
    """What every look decided, and which gates were not OK."""
    looks = decisions(records)
    if not looks:
        return absent(NO_ITERATION)
    rows = []
    for decision, source in looks:
        look = (short_name(decision.iteration), decision.verdict)
        # Gates that are OK have no rows of their own: they would hide the few that are not.
        broken = [g for g in decision.gates if g.verdict != "OK"]
        rows += [Row((*look, g.gate, g.verdict, g.why), (source,)) for g in broken]
        if not broken:
            rows.append(Row((*look, "all gates", "OK", "–"), (source,)))
    columns = ("iteration", "decision", "gate that is not OK", "it says", "why")
    table = Table("Decisions", columns, tuple(rows), prose=(4,))
    sentence = joined([f"{short_name(d.iteration)} {d.verdict}" for d, _ in looks])
    return Reading(sentence, tuple(source for _, source in looks), (table,))


def overrides(records: Records) -> Reading:
    """Every time a person let training go on after HALT, with name and reason."""
    run = records.run
    halts = [step_place(records, e.step) for e in run.events if e.step.endswith("/halt")]
    given = run.overrides()
    if not given:
        sentence = "nobody overrode a gate"
        if run.halt is not None:
            sentence += f"; a gate stopped the run at {run.halt.iteration}"
        # That something is not there can only be seen in the whole ledger.
        places = halts or [ledger(records, "all lines: no override event")]
        return Reading(sentence, tuple(places))
    sentences = [
        f"at {o.iteration}, {o.time}: {o.by} let the run go on against {', '.join(o.gates)}: "
        f"{o.reason}"
        for o in given
    ]
    places = [step_place(records, f"{o.iteration}/override") for o in given]
    return Reading(joined(sentences), (*halts, *places))


def people_ratings(records: Records) -> Reading:
    """How many people rated how many samples at every look."""
    names = [f"{iteration}/ratings.parquet" for iteration in audited(records)]
    names = [name for name in names if records.has(name)]
    if not names:
        kind = config(records, "human").get("kind", "none")
        source = sealed(records, "config.human")
        if kind != "people":
            why = f"nobody was asked: the human score of this run is of kind {kind}"
            return not_applicable(why, source)
        return absent("no look has sealed people's ratings yet", source)
    rows = []
    for name in names:
        ratings = records.table(name, RATINGS)
        # Anchors are a frozen set of texts, and a check shows a sample for the second time.
        once = ratings[~ratings["anchor"].astype(bool) & ~ratings["check"].astype(bool)]
        cells = (
            short_name(name.rsplit("/", 1)[0]),
            str(ratings["rater"].nunique()),
            str(once["sample_id"].nunique()),
            str(len(ratings)),
            str(int(ratings["anchor"].sum())),
            str(int(ratings["check"].sum())),
        )
        rows.append(Row(cells, (records.source(name),)))
    columns = (
        "look",
        "raters",
        "samples rated",
        "ratings",
        "of them anchors",
        "of them shown twice",
    )
    sentence = f"people rated at {len(rows)} looks; rater names are as typed, nobody verified them"
    table = Table("Ratings by people", columns, tuple(rows))
    return Reading(sentence, cited_lines(rows), (table,))


def risk_register(records: Records) -> Reading:
    """A row a gate: the risk it watches, what it last said, what that led to; treatment is a
    person's to write.
    """
    policy, looks = _policy(records), decisions(records)
    if not policy.rules:
        return absent(
            "the sealed policy has no gate, so no risk was watched", sealed(records, "config.gates")
        )
    rows = []
    for k, rule in enumerate(policy.rules):
        newest, broken = "not looked at yet", []
        sources = [sealed(records, f"config.gates.rules[{k}]")]
        for decision, source in looks:
            for gate in decision.gates:
                if gate.gate != rule.name:
                    continue
                # The row cites the newest look alone; those that broke it are named in a cell.
                newest, sources[1:] = gate.verdict, [source]
                if gate.verdict in ("WARN", "HALT"):
                    broken.append(short_name(decision.iteration))
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
        rows.append(Row(cells, tuple(sources)))
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
        note="Only risks that a gate watches stand here. It is a beginning of a register, not a "
        "risk management system.",
    )
    undecided = sum(row.cells[3] in OPEN for row in rows)
    are = "risk is" if len(rows) == 1 else "risks are"
    sentence = f"{len(rows)} {are} watched by gates; the newest look left {undecided} undecided"
    return Reading(sentence, (sealed(records, "config.gates"),), (table,))


def update_triggers(records: Records) -> Reading:
    """Which findings stop or flag training: the gates."""
    rules = _policy(records).rules
    if not rules:
        return absent("the sealed policy has no gate", sealed(records, "config.gates"))
    triggers = [f"{r.action} where {r.metric} is not {r.must_stay} {r.margin:g}" for r in rules]
    return Reading(joined(triggers, most=20), (sealed(records, "config.gates.rules"),))


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
            facts = ", ".join(map(str, event.content.get("gates", [])))
            if part == "override":
                facts = f"by {event.content.get('by')}: {event.content.get('reason')}"
            cells = (short_name(iteration), part, facts, "–")
            rows.append(Row(cells, (step_place(records, event.step),)))
    if not rows:
        return absent("no Improve step has been done yet")
    columns = ("iteration", "change", "facts", "measured after it, against the base policy")
    trained = sum(row.cells[1] == "trained" for row in rows)
    sentence = f"{trained} changes of the policy, {len(rows)} entries"
    table = Table("Changelog: iterations, halts and overrides", columns, tuple(rows), prose=(2, 3))
    return Reading(sentence, cited_lines(rows), (table,))


def alarm_quality(records: Records) -> Reading:
    """How often the gates of this policy cry wolf, and how often they see planted harm."""
    run, name = records.run.path, f"report/{CALIBRATION}"
    sentences = alarms(records.run)
    if not sentences or not plain.is_file(run, name):
        return absent("nobody has run restaudit calibrate on this run")
    # Where the file cannot be read, `alarms` says so in a sentence of its own, which is no answer.
    data = plain.read(run, name)
    try:
        parse_json(data)
    except NotStrict:
        return absent(
            f"{name} is not a calibration that can be read; make it anew with restaudit calibrate"
        )
    # A calibration comes after the run, so that the ledger does not have it: its digest is made now.
    sha256 = hashlib.sha256(data).hexdigest()
    sentence = f"{joined(sentences)} (a file beside the record: the ledger does not cover it)"
    return Reading(sentence, (Source(name, "", sha256),))


def go_decisions(records: Records) -> Reading:
    """Which of the go and no-go decisions rest on feedback by people."""
    looks = decisions(records)
    if not looks and audited(records):
        return absent(NO_ITERATION)
    if not looks:
        return absent(NO_LOOK)
    kind = config(records, "human").get("kind", "none")
    rest_on = f"a human score of kind {kind}, not on people"
    if kind == "people":
        rest_on = "people's ratings of this run's samples"
    metrics: set[str] = set()
    for decision, _ in looks:
        metrics |= {gate.metric for gate in decision.gates}
    about_people = sorted(m for m in metrics if m.startswith(("divergence.human", "bias.human")))
    sentence = (
        f"{len(looks)} recorded decisions to go on or stop; those about the human score "
        f"({', '.join(about_people) or 'none is gated'}) rest on {rest_on}"
    )
    return Reading(sentence, tuple(source for _, source in looks))


def cited_lines(rows: list[Row]) -> tuple[Source, ...]:
    """The first source of every row."""
    return tuple(r.sources[0] for r in rows if r.sources)


def _change(records: Records, iteration: str, step: str, verdicts: Mapping[str, str]) -> Row:
    content = next(e.content for e in records.run.events if e.step == step)
    facts = []
    for key in NOTED:
        if key in content:
            value = content[key]
            shown = number(value) if isinstance(value, int | float) else value
            facts.append(f"{key.replace('_', ' ')} {shown}")
    # A policy is on record before it is audited, so its measurements may be missing.
    sources, phrases = [step_place(records, step)], []
    if records.has(f"{iteration}/measurements.json"):
        measured = records.measurements(iteration)
        for name, label in human_named(records, CHANGES).items():
            if name in measured and measured[name].value is not None:
                phrases.append(f"{label} {number(measured[name].value)}")
        sources += measured_at(records, iteration)
    if iteration in verdicts:
        phrases.append(f"decision {verdicts[iteration]}")
    outcome = ", ".join(phrases) or "not audited yet"
    cells = (short_name(iteration), "trained", ", ".join(facts) or "–", outcome)
    return Row(cells, tuple(sources))


def _policy(records: Records) -> GatePolicy:
    # A plan may have no section of gates.
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
