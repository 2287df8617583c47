"""The reward model, from its recorded dossier: what it is, its data and raters, its validation, its
limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.base import Measurement
from reports.document.model import Row, Table
from reports.frameworks.readings.material import (
    NO_LOOK,
    Reading,
    absent,
    at_iteration,
    cited,
    config,
    figures,
    joined,
    last_audit,
    named,
    phrases_at,
    recorded,
    sealed,
    with_interval,
)
from reports.frameworks.readings.process import DOSSIER
from reports.record.files import Records
from restaudit.evidence.shown import lines_of, number

NO_DOSSIER = "the reward has no dossier in this record"
NOT_SAID = "MISSING"
CHEATS = {
    "hacking.unit_worst": "largest rise of the reward under a change that makes no text better",
    "hacking.habit_cost": "what the policy's new habits cost the human score",
    "hacking.length_share": "part of the reward's gain that length explains",
}
COLUMNS = (
    "measure",
    "value",
    "95% interval",
    "unit",
    "judgements",
    "items",
    "what it is, or why not",
)


def reward_model(records: Records) -> Reading:
    """What kind of reward it is, what it is made of, and the digest it is known by."""
    dossier = recorded(records, DOSSIER)
    if dossier is None:
        return absent(NO_DOSSIER)
    labels = (
        "name",
        "kind",
        "unit",
        "purpose",
        "digest",
        "objective",
        "loss",
        "members",
        "callable",
        "source_sha256",
    )
    parts = [f"{k.replace('_', ' ')}: {dossier[k]}" for k in labels if _says(dossier.get(k))]
    if isinstance(dossier.get("encoder"), Mapping):
        parts.append(f"built on {dossier['encoder'].get('spec')}")
    return Reading(joined(parts), (records.source(DOSSIER),))


def reward_data(records: Records) -> Reading:
    """What the reward was trained on: source, licence, kind of judgement, counts, files by
    digest.
    """
    data = (recorded(records, DOSSIER) or {}).get("data")
    if not isinstance(data, Mapping):
        return absent(
            "the record does not say what the reward was trained on", *_dossier(records, "data")
        )
    labels = ("source", "kind", "format", "licence")
    parts = [f"{label}: {data[label]}" for label in labels if _says(data.get(label))]
    for file in data.get("files") or []:
        if isinstance(file, Mapping):
            parts.append(f"file {file.get('spec')} SHA-256 {file.get('sha256')}")
    if isinstance(data.get("rows"), Mapping):
        rows = [f"{label} {n}" for label, n in lines_of(data["rows"]) if label != "source"]
        parts.append(f"rows: {', '.join(rows)}")
    return Reading(joined(parts), _dossier(records, "data"))


def reward_raters(records: Records) -> Reading:
    """Whose judgements the reward learned: counts, who trains, who is held out, what became of
    ties.
    """
    raters = (recorded(records, DOSSIER) or {}).get("raters")
    if not isinstance(raters, Mapping):
        return absent("the record names no raters of the reward", *_dossier(records, "raters"))
    parts = [
        f"judgements {number(raters.get('judgements'))}",
        f"raters that train it {len(raters.get('used') or [])}",
        f"raters held out {len(raters.get('held_out') or [])}",
    ]
    # What nobody recorded is said by name: it is what an auditor asks for first.
    for key in ("ties", "demographics", "pay_and_consent", "instructions"):
        value = raters[key] if _says(raters.get(key)) else "not recorded"
        parts.append(f"{key.replace('_', ' ')}: {value}")
    return Reading(joined(parts), _dossier(records, "raters"))


def reward_validation(records: Records) -> Reading:
    """How well the reward predicts people it was not trained on, with the people's own agreement as
    the ceiling.
    """
    listed = (recorded(records, DOSSIER) or {}).get("validation")
    if not isinstance(listed, list) or not listed:
        return absent(
            "the reward was not validated on judgements it was not trained on",
            *_dossier(records, "validation"),
        )
    validation = [Measurement.from_json(m) for m in listed]
    rows = []
    for m in validation:
        what = str(m.detail.get("meaning", m.method))
        if m.reason:
            what += f"; {m.reason}"
        cells = (m.name, *figures(m), m.unit, number(m.n), number(m.n_prompts), what)
        rows.append(Row(cells, _dossier(records, f"validation, {m.name}")))
    table = Table("Validation of the reward", COLUMNS, tuple(rows), prose=(6,))
    first = next((m for m in validation if m.value is not None), None)
    if first is None:
        return absent(
            "no figure of the validation could be computed", *_dossier(records, "validation")
        )
    sentence = f"{first.name} {with_interval(first)}"
    return Reading(sentence, _dossier(records, "validation"), (table,))


def reward_limits(records: Records) -> Reading:
    """What the reward cannot see, as its dossier says it."""
    dossier = recorded(records, DOSSIER)
    if dossier is None:
        return absent(NO_DOSSIER)
    limits = dossier.get("limits")
    if not isinstance(limits, list) or not limits:
        return absent("the dossier lists no limits")
    return Reading(" ".join(map(str, limits)), _dossier(records, "limits"))


def reward_exploits(records: Records) -> Reading:
    """Whether the reward rises when a text is made no better, and what the policy learned that
    people do not value.
    """
    newest = last_audit(records)
    if newest is None:
        return absent(NO_LOOK)
    table = at_iteration(
        records,
        newest,
        "Known ways to get reward without being better",
        lambda n: n.startswith("hacking."),
    )
    phrases = phrases_at(records, newest, CHEATS)
    if not table.rows:
        return absent("no such test was run")
    if not phrases:
        return absent("no test for it gave a figure at the newest look")
    return Reading(joined(phrases), cited(table), (table,))


def rating_instructions(records: Records) -> Reading:
    """What people were told when they rated samples of this run, or judgements for the reward."""
    human = config(records, "human")
    parts, sources = [], []
    if human.get("instructions"):
        parts.append(f"to the raters of this run's samples: {human['instructions']}")
        sources.append(sealed(records, "config.human.instructions"))
    raters = (recorded(records, DOSSIER) or {}).get("raters")
    if isinstance(raters, Mapping) and _says(raters.get("instructions")):
        parts.append(f"to the raters whose judgements trained the reward: {raters['instructions']}")
        sources.append(records.source(DOSSIER, "raters.instructions"))
    if not parts:
        return absent("no instructions to raters are recorded")
    return Reading(joined(parts), tuple(sources))


def human_knowledge(records: Records) -> Reading:
    """How far human judgement enters: in the reward, in the human score, in references, in ratings
    of samples.
    """
    kind = config(records, "human").get("kind", "none")
    dossier = recorded(records, DOSSIER)
    parts, sources = [f"human score of kind {kind}"], [sealed(records, "config.human")]
    if dossier is not None:
        raters = dossier.get("raters")
        judged = "no human judgement that the record knows of"
        if isinstance(raters, Mapping):
            judged = f"{number(raters.get('judgements'))} human judgements"
        parts.append(f"the reward ({dossier.get('kind')}) rests on {judged}")
        sources.append(records.source(DOSSIER, "raters"))
    loop = config(records, "loop")
    if loop:
        used = "are" if loop.get("include_references") else "are not"
        parts.append(f"human references {used} among the candidates for training")
        sources.append(sealed(records, "config.loop.include_references"))
    return Reading(joined(parts), tuple(sources))


def _says(value: Any) -> bool:
    return value not in (None, "", NOT_SAID, [], {})


def _dossier(records: Records, at: str) -> tuple[Any, ...]:
    if not records.has(DOSSIER):
        return ()
    return (records.source(DOSSIER, at),)


READINGS = named(
    [
        reward_model,
        reward_data,
        reward_raters,
        reward_validation,
        reward_limits,
        reward_exploits,
        rating_instructions,
        human_knowledge,
    ]
)
