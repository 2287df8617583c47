"""What was measured: outcomes, disparities, abilities, the error of measuring, and what was not
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reports.document.model import Row, Table
from reports.frameworks.readings.material import (
    NO_ITERATION,
    NO_LOOK,
    Reading,
    absent,
    at_iteration,
    audited,
    cited,
    config,
    decisions,
    human_named,
    joined,
    last_audit,
    measured_at,
    named,
    not_applicable,
    over_iterations,
    phrases_at,
    plan,
    sealed,
    step_place,
    with_interval,
)
from reports.record.files import Records
from reports.record.series import human_score as human_of
from reports.record.series import short_name
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import number, together
from restaudit.gates import GateResult

OUTCOMES = {
    "divergence.reward_change": "change of the reward",
    "divergence.human_change": "change of the human score",
    "divergence.gap": "reward minus human score",
    "divergence.correlation": "reward with human score, sample by sample",
}
GAPS = {
    "bias.reward_gap": "gap of the reward between groups",
    "bias.human_gap": "gap of the human score between groups",
    "bias.sentiment_gap": "gap of sentiment",
    "bias.toxicity_gap": "gap of toxicity",
    "bias.refusal_gap": "gap of refusals",
    "bias.length_gap": "gap of length",
    "bias.acceptance_ratio": "acceptance rate, lowest group over highest",
}
BEFORE_AFTER = {
    "divergence.human": "human score",
    "divergence.reward": "reward",
    "diversity.vendi": "effective number of texts",
    "diversity.distinct_2": "distinct word pairs",
    "toxicity.mean": "toxicity score",
    "bias.human_gap": "gap of the human score",
    "capability.worst_change": "worst change of an ability",
    "benchmarks.worst_change": "worst change of a benchmark",
    "drift.kl": "distance from the base policy (KL)",
}
TOXICITY = {
    "toxicity.mean": "toxicity score",
    "toxicity.mean_change": "its change from the base policy",
}
FINDS = "smallest change it finds (power 0.8)"
ABILITIES = ("capability.", "benchmarks.")
BESIDES = (
    ("use by real users, and behaviour in operation", "the record ends where training ends"),
    (
        "groups and languages that the audit prompts do not name",
        "only the prompts of the run were measured",
    ),
    ("energy and other effects on the environment", "the program does not meter them"),
    (
        "privacy: what of the training data the policy can be made to tell",
        "no probe of this version attacks it",
    ),
    ("the base model's own training data", "the program sees its weights only"),
)


def human_score(records: Records) -> Reading:
    """What stands for human judgement in this run."""
    if (first := last_audit(records)) is not None:
        found = human_of(records.run)
        return Reading(f"{found.name}: {found.description}", measured_at(records, first, "human"))
    kind = config(records, "human").get("kind", "none")
    return Reading(
        f"configured kind: {kind}; no audit has described it yet",
        (sealed(records, "config.human"),),
    )


def outcomes(records: Records) -> Reading:
    """Reward beside human score at every iteration, as changes from the base policy."""
    return _series(records, "Reward and human score against the base policy", OUTCOMES)


def disparities(records: Records) -> Reading:
    """Differences between groups, with intervals: potential discrimination in outputs and in what
    the filter keeps.
    """
    return _newest(
        records,
        "Differences between groups",
        lambda n: n.startswith("bias."),
        GAPS,
        ("a gap of which the interval contains 0 was not shown to exist or to be absent"),
    )


def disparities_over_time(records: Records) -> Reading:
    """The gaps between groups at every iteration."""
    return _series(records, "Gaps between groups, iteration by iteration", GAPS)


def abilities(records: Records) -> Reading:
    """Tasks that nobody trained it for, before and after."""
    names = {
        "capability.worst_change": "worst change of an ability",
        "benchmarks.worst_change": "worst benchmark change",
    }
    return _newest(records, "Abilities and benchmarks", lambda n: n.startswith(ABILITIES), names)


def toxicity(records: Records) -> Reading:
    """Toxicity by a classifier of single texts, with its known weakness."""
    newest = last_audit(records)
    if newest is None:
        return absent(NO_LOOK)
    found = records.measurements(newest).get("toxicity.mean")
    if found is None or found.value is None:
        return absent(
            found.reason or "not measured" if found else "no toxicity scorer is configured"
        )
    weakness = str(found.detail.get("known_failure") or "").split(". ")[0].rstrip(".")
    said = joined(phrases_at(records, newest, TOXICITY))
    said += (
        f"; known weakness of the scorer, told in full beside the measurement: {weakness}"
        if weakness
        else ""
    )
    return Reading(said, measured_at(records, newest, *TOXICITY))


def drift(records: Records) -> Reading:
    """How far the policy has moved from the base policy."""
    names = {
        "drift.kl": "KL",
        "drift.vocabulary": "vocabulary",
        "drift.human_text_nll": "loss on human text",
    }
    return _newest(
        records, "Distance from the base policy", lambda n: n.startswith("drift."), names
    )


def baseline(records: Records) -> Reading:
    """The base policy, measured before anything was trained on its samples."""
    if BASE not in audited(records):
        return absent(NO_LOOK)
    said = phrases_at(records, BASE, BEFORE_AFTER)
    if not said:
        return absent("the base policy's audit gave no figure", *measured_at(records, BASE))
    return Reading(
        joined(said), (step_place(records, f"{BASE}/audit"), *measured_at(records, BASE))
    )


def retest(records: Records) -> Reading:
    """The same measurements after fine-tuning as before it."""
    if len(audited(records)) < 2:
        return absent(NO_ITERATION)
    return _series(records, "Measured again after every Improve step", BEFORE_AFTER)


def agreement(records: Records) -> Reading:
    """How far the people who rated agree with one another."""
    newest = last_audit(records)
    if newest is None:
        return absent(NO_LOOK)
    found = records.measurements(newest).get("agreement.alpha")
    if config(records, "human").get("kind", "none") != "people":
        why = (
            found.reason
            if found is not None and found.reason
            else "no person rated samples of this run"
        )
        return not_applicable(why, *measured_at(records, newest, "agreement.alpha"))
    if found is None or found.value is None:
        return absent(found.reason or "not measured" if found else "agreement was not measured")
    return Reading(
        f"Krippendorff's alpha {with_interval(found)}",
        measured_at(records, newest, "agreement.alpha"),
    )


def _at_its_level(g: GateResult) -> tuple[str, str]:
    """A gate's value, and its interval at the level that it spent."""
    if g.value is None or g.low is None or g.high is None:
        return number(g.value), "none"
    value, low, high = together(g.value, g.low, g.high, apart_from=(0.0, g.margin))
    return value, f"{low} to {high} at {g.level:.4g}"


def measurement_error(records: Records) -> Reading:
    """How large an effect each gate could have missed, beside the intervals and the reward's
    agreement with people.
    """
    found = decisions(records)
    if not found:
        return absent(NO_ITERATION)
    newest, source = found[-1]
    rows = []
    for g in newest.gates:
        cells = (g.gate, g.metric, *_at_its_level(g), number(g.mde), str(g.n_prompts), g.verdict)
        rows.append(Row(cells, (source,)))
    columns = ("gate", "measure", "value", "interval at the gate's level", FINDS, "prompts", "says")
    unsure = sum(g.verdict == "INCONCLUSIVE" for g in newest.gates)
    at = newest.iteration
    m = records.measurements(at).get("divergence.correlation")
    said = f"at {short_name(at)}, {unsure} of {len(newest.gates)} gates are inconclusive"
    if m is not None:
        said += f"; {human_named(records, OUTCOMES)['divergence.correlation']} {with_interval(m)}"
    said += (
        "; all intervals resample prompts, not texts. Whether a measure stands for its "
        "concept is a person's judgement"
    )
    return Reading(
        said,
        (source, *measured_at(records, at)),
        (Table("Error of the newest look", columns, tuple(rows)),),
    )


def methods(records: Records) -> Reading:
    """Which probes measured, by version, and how."""
    probes = plan(records).get("probes")
    if not isinstance(probes, list) or not probes:
        return absent("the plan lists no probes")
    rows = tuple(
        Row(
            (str(p.get("name")), str(p.get("version")), ", ".join(p.get("measures") or ())),
            (sealed(records, f"probes[{k}]"),),
        )
        for k, p in enumerate(probes)
    )
    table = Table(
        "Probes, sealed with the plan", ("probe", "version", "measures"), rows, prose=(2,)
    )
    audit = config(records, "audit")
    said = (
        f"{len(rows)} probes on prompts set apart for judging, "
        f"{audit.get('samples_per_prompt', 'an unrecorded number of')} samples a prompt, paired "
        "with the base policy on the same prompts; each figure carries interval, counts and "
        "method"
    )
    return Reading(said, (sealed(records, "probes"), sealed(records, "config.audit")), (table,))


def not_measured(records: Records) -> Reading:
    """What could not be measured, and why: of the newest look, and in general."""
    rows = [Row((what, "not by this program", why)) for what, why in BESIDES]
    newest = last_audit(records)
    counted = 0
    if newest is not None:
        for name, m in records.measurements(newest).items():
            if m.value is None:
                rows.append(
                    Row(
                        (name, short_name(newest), str(m.reason)),
                        measured_at(records, newest, name),
                    )
                )
                counted += 1
    columns = ("what", "where", "why")
    said = (
        f"{counted} measures have no value at the newest look"
        if newest
        else "nothing has been measured yet"
    )
    table = Table("What was not measured, and why", columns, tuple(rows), prose=(0, 2))
    sources = measured_at(records, newest) if newest else (sealed(records, "config.audit"),)
    return Reading(
        f"{said}; {len(BESIDES)} things no run of this program measures", sources, (table,)
    )


def _series(records: Records, caption: str, names: Mapping[str, str]) -> Reading:
    table = over_iterations(records, caption, names)
    newest = last_audit(records)
    if newest is None:
        return absent(NO_LOOK)
    said = phrases_at(records, newest, names)
    if not said:
        found = records.measurements(newest)
        why = next((found[n].reason for n in names if n in found), None)
        return absent(
            f"no figure at the newest look: {why or 'it was not measured'}",
            *measured_at(records, newest),
        )
    return Reading(f"at {short_name(newest)}: {joined(said)}", cited(table), (table,))


def _newest(
    records: Records,
    caption: str,
    wanted: Callable[[str], bool],
    names: Mapping[str, str],
    note: str = "",
) -> Reading:
    newest = last_audit(records)
    if newest is None:
        return absent(NO_LOOK)
    table = at_iteration(records, newest, caption, wanted)
    given = [r for r in table.rows if r.cells[1] != "not measured"]
    if not given:
        why = next((m.reason for n, m in records.measurements(newest).items() if wanted(n)), None)
        return absent(why or "it was not measured", *measured_at(records, newest))
    said = phrases_at(records, newest, names) or [f"{len(given)} figures"]
    if note:
        said.append(note)
    return Reading(
        f"at {short_name(newest)}: {joined(said)}; {len(table.rows)} measures",
        cited(table),
        (table,),
    )


READINGS = named(
    [
        human_score,
        outcomes,
        disparities,
        disparities_over_time,
        abilities,
        toxicity,
        drift,
        baseline,
        retest,
        agreement,
        measurement_error,
        methods,
        not_measured,
    ]
)
