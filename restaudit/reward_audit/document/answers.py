"""From the field map and the material to answers: the record first, then what people declared, then
MISSING.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restaudit.errors import BadInput
from restaudit.reward.dossier import MISSING
from restaudit.reward_audit.document.fields import Field
from restaudit.reward_audit.document.material import Material, declarations_of
from restaudit.reward_audit.document.model import NOBODY, Evidence, FieldAnswer, Reading
from restaudit.reward_audit.document.of_run import OF_RUN
from restaudit.reward_audit.document.readings import READINGS

N_A = "N-A:"


def answer(asked: Field, of: Material) -> FieldAnswer:
    """The answer to one question; never blank.

    A declaration answers where the record does not, and stands beside it where it does. An answer
    that begins with "N-A:" is a person's word that the question does not apply. Raises BadInput
    where a report that was read is not shaped as restaudit writes it.
    """
    found = _recorded(asked, of)
    said = of.declared.answers.get(asked.key) if of.declared is not None and asked.declare else None
    if found.value is not None or found.tables:
        assert asked.status is not None
        return FieldAnswer(
            asked.key,
            asked.asks,
            asked.status,
            asked.who,
            found.value,
            found.tables,
            found.evidence,
            declared=said,
        )
    if said is not None:
        return _said(asked, of, said)
    return FieldAnswer(
        asked.key,
        asked.asks,
        "N-A" if found.not_applicable else "MISSING",
        asked.who,
        evidence=found.evidence,
        reason=found.absent or NOBODY,
    )


def _recorded(asked: Field, of: Material) -> Reading:
    kind = str(of.facts.get("kind", ""))
    if kind in asked.not_for:
        return Reading(absent=asked.not_for[kind], not_applicable=True)
    if asked.reading is not None:
        try:
            return {**READINGS, **OF_RUN}[asked.reading](of)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as e:
            raise BadInput(
                f"{of.folder}: {asked.key} cannot be read from its dossier and reports "
                f"({type(e).__name__}: {e}); "
                "make the reports anew with restaudit reward stress and restaudit reward validate"
            ) from None
    return _facts(asked, of)


def _facts(asked: Field, of: Material) -> Reading:
    """Facts by path; a fact that says why it has no value is N-A with that reason."""
    found = {label: _at(of.facts, path) for label, path in asked.facts.items()}
    known = {label: v for label, v in found.items() if not _nothing(v)}
    if not known:
        return Reading(absent="" if not asked.facts else "the record does not say")
    value = known.get("", known)
    if value == "N-A":
        return Reading(absent="does not apply to this kind of data", not_applicable=True)
    if (
        isinstance(value, Mapping)
        and "reason" in value
        and all(v is None for k, v in value.items() if k != "reason")
    ):
        return Reading(absent=str(value["reason"]), not_applicable=True)
    return Reading(value, evidence=tuple(of.fact(asked.facts[label]) for label in known))


def _said(asked: Field, of: Material, said: Any) -> FieldAnswer:
    path = declarations_of(of.folder).relative_to(of.folder).as_posix()
    evidence: tuple[Evidence, ...] = (of.evidence(path, f"answers.{asked.key}"),)
    if isinstance(said, str) and said.startswith(N_A):
        assert of.declared is not None
        reason = (
            f"{said.removeprefix(N_A).strip() or 'no reason given'} (declared by "
            f"{of.declared.declared_by})"
        )
        return FieldAnswer(
            asked.key, asked.asks, "N-A", asked.who, evidence=evidence, reason=reason
        )
    return FieldAnswer(asked.key, asked.asks, "DECLARED", asked.who, said, evidence=evidence)


def _at(facts: Mapping[str, Any], path: str) -> Any:
    node: Any = facts
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _nothing(value: Any) -> bool:
    """Whether a fact says nothing: absent, MISSING, empty, or all of its parts say nothing."""
    if isinstance(value, Mapping) and value:
        return all(_nothing(v) for v in value.values())
    return value is None or value == MISSING or value == "" or value == [] or value == {}
