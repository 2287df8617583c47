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
    found = recorded(records, DOSSIER)
    if found is None:
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
    said = [f"{k.replace('_', ' ')}: {found[k]}" for k in labels if _says(found.get(k))]
    if isinstance(found.get("encoder"), Mapping):
        said.append(f"built on {found['encoder'].get('spec')}")
    return Reading(joined(said), (records.source(DOSSIER),))


def reward_data(records: Records) -> Reading:
    """What the reward was trained on: source, licence, kind of judgement, counts, files by
    digest.
    """
    found = (recorded(records, DOSSIER) or {}).get("data")
    if not isinstance(found, Mapping):
        return absent(
            "the record does not say what the reward was trained on", *_dossier(records, "data")
        )
    files = found.get("files") or []
    said = [
        f"{k}: {found[k]}" for k in ("source", "kind", "format", "licence") if _says(found.get(k))
    ]
    said += [
        f"file {f.get('spec')} SHA-256 {f.get('sha256')}" for f in files if isinstance(f, Mapping)
    ]
    if isinstance(found.get("rows"), Mapping):
        said.append(
            "rows: " + ", ".join(f"{k} {v}" for k, v in lines_of(found["rows"]) if k != "source")
        )
    return Reading(joined(said), _dossier(records, "data"))


def reward_raters(records: Records) -> Reading:
    """Whose judgements the reward learned: counts, who trains, who is held out, what became of
    ties.
    """
    found = (recorded(records, DOSSIER) or {}).get("raters")
    if not isinstance(found, Mapping):
        return absent("the record names no raters of the reward", *_dossier(records, "raters"))
    said = [
        f"judgements {number(found.get('judgements'))}",
        f"raters that train it {len(found.get('used') or [])}",
        f"raters held out {len(found.get('held_out') or [])}",
    ]
    for k in ("ties", "demographics", "pay_and_consent", "instructions"):
        said.append(f"{k.replace('_', ' ')}: {found[k] if _says(found.get(k)) else 'not recorded'}")
    return Reading(joined(said), _dossier(records, "raters"))


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
    rows = []
    for m in map(Measurement.from_json, listed):
        what = str(m.detail.get("meaning", m.method)) + (f"; {m.reason}" if m.reason else "")
        cells = (m.name, *figures(m), m.unit, number(m.n), number(m.n_prompts), what)
        rows.append(Row(cells, _dossier(records, f"validation, {m.name}")))
    table = Table("Validation of the reward", COLUMNS, tuple(rows), prose=(6,))
    first = next((m for m in map(Measurement.from_json, listed) if m.value is not None), None)
    if first is None:
        return absent(
            "no figure of the validation could be computed", *_dossier(records, "validation")
        )
    return Reading(
        f"{first.name} {with_interval(first)}", _dossier(records, "validation"), (table,)
    )


def reward_limits(records: Records) -> Reading:
    """What the reward cannot see, as its dossier says it."""
    found = (recorded(records, DOSSIER) or {}).get("limits")
    if not isinstance(found, list) or not found:
        return absent(
            NO_DOSSIER if recorded(records, DOSSIER) is None else "the dossier lists no limits"
        )
    return Reading(" ".join(str(x) for x in found), _dossier(records, "limits"))


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
    given = phrases_at(records, newest, CHEATS)
    if not given:
        return absent(
            "no test for it gave a figure at the newest look"
            if table.rows
            else "no such test was run"
        )
    return Reading(joined(given), cited(table), (table,))


def rating_instructions(records: Records) -> Reading:
    """What people were told when they rated samples of this run, or judgements for the reward."""
    human = config(records, "human")
    said, sources = [], []
    if human.get("instructions"):
        said.append(f"to the raters of this run's samples: {human['instructions']}")
        sources.append(sealed(records, "config.human.instructions"))
    raters = (recorded(records, DOSSIER) or {}).get("raters")
    if isinstance(raters, Mapping) and _says(raters.get("instructions")):
        said.append(f"to the raters whose judgements trained the reward: {raters['instructions']}")
        sources.append(records.source(DOSSIER, "raters.instructions"))
    return (
        Reading(joined(said), tuple(sources))
        if said
        else absent("no instructions to raters are recorded")
    )


def human_knowledge(records: Records) -> Reading:
    """How far human judgement enters: in the reward, in the human score, in references, in ratings
    of samples.
    """
    kind = config(records, "human").get("kind", "none")
    found = recorded(records, DOSSIER)
    said, sources = [f"human score of kind {kind}"], [sealed(records, "config.human")]
    if found is not None:
        raters = found.get("raters")
        judged = (
            f"{number(raters.get('judgements'))} human judgements"
            if isinstance(raters, Mapping)
            else ("no human judgement that the record knows of")
        )
        said.append(f"the reward ({found.get('kind')}) rests on {judged}")
        sources.append(records.source(DOSSIER, "raters"))
    loop = config(records, "loop")
    if loop:
        used = "are" if loop.get("include_references") else "are not"
        said.append(f"human references {used} among the candidates for training")
        sources.append(sealed(records, "config.loop.include_references"))
    return Reading(joined(said), tuple(sources))


def _says(value: Any) -> bool:
    return value not in (None, "", NOT_SAID, [], {})


def _dossier(records: Records, at: str) -> tuple[Any, ...]:
    return (records.source(DOSSIER, at),) if records.has(DOSSIER) else ()


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
