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
from reports.record.files import Records, Source
from reports.record.series import human_score as human_of
from reports.record.series import short_name
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import count, number, together
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
# One measure of each thing that training may spoil.
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
FINDS = "found 8 times in 10"
ABILITIES = ("capability.", "benchmarks.")
# What no run can answer, however it was configured: a reader should not have to find out.
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
    newest = last_audit(records)
    if newest is not None:
        score = human_of(records.run)
        return Reading(f"{score.name}: {score.description}", measured_at(records, newest, "human"))
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
        "a gap of which the interval contains 0 was not shown to exist or to be absent",
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
    mean = records.measurements(newest).get("toxicity.mean")
    if mean is None:
        return absent("no toxicity scorer is configured")
    if mean.value is None:
        return absent(mean.reason or "not measured")
    sentence = joined(phrases_at(records, newest, TOXICITY))
    # The first sentence is enough to tell that there is one.
    weakness = str(mean.detail.get("known_failure") or "").split(". ")[0].rstrip(".")
    if weakness:
        sentence += (
            f"; known weakness of the scorer, told in full beside the measurement: {weakness}"
        )
    return Reading(sentence, measured_at(records, newest, *TOXICITY))


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
    # A change from the base policy has no value at the base policy itself, and is left out.
    phrases = phrases_at(records, BASE, BEFORE_AFTER)
    if not phrases:
        return absent("the base policy's audit gave no figure", *measured_at(records, BASE))
    sources = (step_place(records, f"{BASE}/audit"), *measured_at(records, BASE))
    return Reading(joined(phrases), sources)


def retest(records: Records) -> Reading:
    """The same measurements after fine-tuning as before it."""
    # The first look is at the base policy, so there is nothing yet that was tested again.
    if len(audited(records)) < 2:
        return absent(NO_ITERATION)
    return _series(records, "Measured again after every Improve step", BEFORE_AFTER)


def agreement(records: Records) -> Reading:
    """How far the people who rated agree with one another."""
    newest = last_audit(records)
    if newest is None:
        return absent(NO_LOOK)
    alpha = records.measurements(newest).get("agreement.alpha")
    reason = alpha.reason if alpha is not None else None
    sources = measured_at(records, newest, "agreement.alpha")
    # Agreement is of people with each other: a model or a simulation has nobody to agree with.
    if config(records, "human").get("kind", "none") != "people":
        return not_applicable(reason or "no person rated samples of this run", *sources)
    if alpha is None:
        return absent("agreement was not measured")
    if alpha.value is None:
        return absent(reason or "not measured")
    return Reading(f"Krippendorff's alpha {with_interval(alpha)}", sources)


def _at_its_level(g: GateResult) -> tuple[str, str]:
    """A gate's value, and its interval at the level that it spent."""
    if g.value is None or g.low is None or g.high is None:
        return number(g.value), "none"
    # Whether the interval reaches the margin is what is looked for: rounding must not hide it.
    value, low, high = together(g.value, g.low, g.high, apart_from=(0.0, g.margin))
    return value, f"{low} to {high} at {g.level:.4g}"


def _finds(g: GateResult) -> str:
    """The true value that the gate would find in 8 of 10 such looks; of runs that were sealed
    before that was recorded, how far beyond the margin it would have to lie.
    """
    if g.mde is not None:
        return f"{number(g.mde)} beyond {number(g.margin)}"
    return number(g.finds)


def measurement_error(records: Records) -> Reading:
    """How large an effect each gate could have missed, beside the intervals and the reward's
    agreement with people.
    """
    looks = decisions(records)
    if not looks:
        return absent(NO_ITERATION)
    newest, source = looks[-1]
    rows = []
    for g in newest.gates:
        cells = (g.gate, g.metric, *_at_its_level(g), _finds(g), str(g.n_prompts), g.verdict)
        rows.append(Row(cells, (source,)))
    columns = ("gate", "measure", "value", "interval at the gate's level", FINDS, "prompts", "says")
    unsure = len(newest.undecided)
    at = newest.iteration
    are = "is" if unsure == 1 else "are"
    sentence = (
        f"at {short_name(at)}, {unsure} of {count(len(newest.gates), 'gate')} {are} undecided"
    )
    correlation = records.measurements(at).get("divergence.correlation")
    if correlation is not None:
        label = human_named(records, OUTCOMES)["divergence.correlation"]
        sentence += f"; {label} {with_interval(correlation)}"
    sentence += (
        "; all intervals resample prompts, not texts. Whether a measure stands for its "
        "concept is a person's judgement"
    )
    table = Table("Error of the newest look", columns, tuple(rows))
    return Reading(sentence, (source, *measured_at(records, at)), (table,))


def methods(records: Records) -> Reading:
    """Which probes measured, by version, and how."""
    probes = plan(records).get("probes")
    if not isinstance(probes, list) or not probes:
        return absent("the plan lists no probes")
    rows = []
    for k, probe in enumerate(probes):
        measures = ", ".join(probe.get("measures") or ())
        cells = (str(probe.get("name")), str(probe.get("version")), measures)
        rows.append(Row(cells, (sealed(records, f"probes[{k}]"),)))
    columns = ("probe", "version", "measures")
    table = Table("Probes, sealed with the plan", columns, tuple(rows), prose=(2,))
    audit = config(records, "audit")
    sentence = (
        f"{len(rows)} probes on prompts set apart for judging, "
        f"{audit.get('samples_per_prompt', 'an unrecorded number of')} samples a prompt, paired "
        "with the base policy on the same prompts; each figure carries interval, counts and "
        "method"
    )
    sources = (sealed(records, "probes"), sealed(records, "config.audit"))
    return Reading(sentence, sources, (table,))


def not_measured(records: Records) -> Reading:
    """What could not be measured, and why: of the newest look, and in general."""
    rows = [Row((what, "not by this program", why)) for what, why in BESIDES]
    newest = last_audit(records)
    sentence = "nothing has been measured yet"
    sources: tuple[Source, ...] = (sealed(records, "config.audit"),)
    if newest is not None:
        for name, m in records.measurements(newest).items():
            if m.value is None:
                cells = (name, short_name(newest), str(m.reason))
                rows.append(Row(cells, measured_at(records, newest, name)))
        missing = len(rows) - len(BESIDES)
        sentence = f"{missing} measures have no value at the newest look"
        sources = measured_at(records, newest)
    columns = ("what", "where", "why")
    table = Table("What was not measured, and why", columns, tuple(rows), prose=(0, 2))
    sentence += f"; {len(BESIDES)} things no run of this program measures"
    return Reading(sentence, sources, (table,))


def _series(records: Records, caption: str, names: Mapping[str, str]) -> Reading:
    newest = last_audit(records)
    if newest is None:
        return absent(NO_LOOK)
    phrases = phrases_at(records, newest, names)
    # A table without a single figure would pass for an answer.
    if not phrases:
        measured = records.measurements(newest)
        why = next((measured[name].reason for name in names if name in measured), None)
        return absent(
            f"no figure at the newest look: {why or 'it was not measured'}",
            *measured_at(records, newest),
        )
    table = over_iterations(records, caption, names)
    return Reading(f"at {short_name(newest)}: {joined(phrases)}", cited(table), (table,))


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
    given = [row for row in table.rows if row.cells[1] != "not measured"]
    # A table without a single figure would pass for an answer.
    if not given:
        why = next((m.reason for n, m in records.measurements(newest).items() if wanted(n)), None)
        return absent(why or "it was not measured", *measured_at(records, newest))
    phrases = phrases_at(records, newest, names) or [f"{len(given)} figures"]
    if note:
        phrases.append(note)
    sentence = f"at {short_name(newest)}: {joined(phrases)}; {len(table.rows)} measures"
    return Reading(sentence, cited(table), (table,))


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
