"""One document of a reward: verdict and failures, a summary that fits a page, and answers by
section.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.evidence.shown import number, plain
from restaudit.evidence.statuses import STATUSES
from restaudit.reward_audit.document.answers import answer
from restaudit.reward_audit.document.fields import topics
from restaudit.reward_audit.document.material import Material, gather
from restaudit.reward_audit.document.model import Document, Failure, FieldAnswer, Section, Table
from restaudit.reward_audit.document.of_run import DISTANCE, overrides
from restaudit.reward_audit.document.readings import exploited
from restaudit.reward_audit.document.tables import figures
from restaudit.reward_audit.verdict import verdict

OWN = ("validation.pair_accuracy", "validation.pearson")
BESIDE = {
    "validation.baseline.longer": "longer wins",
    "validation.baseline.shorter": "shorter wins",
    "validation.ceiling_agreement": "people with each other",
    "validation.ceiling_pearson": "people with each other",
}
NOT_SAID = "MISSING"


def document_of(folder: Path, where: Path) -> Document:
    """The document about the reward of a folder whose dossier lies in `where`; the same files give
    the same document.

    Raises BadInput where a file cannot be read, is about another reward, or is not shaped as
    restaudit writes it.
    """
    return assembled(gather(folder, where))


def assembled(of: Material) -> Document:
    """The document of what was gathered."""
    sections = tuple(Section(t, tuple(answer(f, of) for f in t.fields)) for t in topics())
    try:
        word, reasons = verdict(of.facts, of.stress)
        failures = None if of.stress is None else _failures(of.stress)
    except (KeyError, TypeError, IndexError, AttributeError) as e:
        raise BadInput(
            f"{of.folder}: the stress report or the dossier is not as restaudit writes it ({e!r})"
        ) from None
    declared = of.declared
    return Document(
        name=str(of.facts.get("name", NOT_SAID)),
        kind=str(of.facts.get("kind", NOT_SAID)),
        digest=str(of.facts.get("digest", NOT_SAID)),
        verdict=word,
        reasons=tuple(reasons),
        overrides=overrides(of),
        failures=failures,
        summary=_summary(of, {a.key: a for s in sections for a in s.answers}),
        sections=sections,
        files=dict(sorted(of.files.items())),
        declared_by=(declared.declared_by, declared.date)
        if declared is not None and declared.answers
        else None,
        validation=tuple(of.facts["validation"])
        if isinstance(of.facts.get("validation"), list)
        else (),
    )


def _failures(stress: Mapping[str, Any]) -> tuple[Failure, ...]:
    """Every failure with what was done, how far the reward moved, and the worst text before and
    after.
    """
    found = [_failure(f) for f in stress["findings"] if f["verdict"] == "FAIL"]
    paid = stress.get("paid_words") or {}
    if words := [w for w in paid.get("words", []) if w["verdict"] == "FAIL"]:
        rows = tuple((w["word"], w["why"]) for w in words)
        says = "Taking one of these words out lowers the reward."
        found.append(
            Failure(
                "single words it pays for",
                says,
                Table("Words it pays for", ("word", "how much"), rows),
            )
        )
    search = stress.get("exploits")
    if search is not None and search["verdict"] == "FAIL":
        says = f"{search['why'][:1].upper()}{search['why'][1:]}. {search['rule']}"
        found.append(Failure("search for exploits", says, exploited(search)))
    named = sum(1 for f in stress["findings"] if f["verdict"] == "FAIL")
    others = stress["failures"] if not found and not named else []
    return (*found, *(Failure("a test", str(line)) for line in others))


def _failure(f: Mapping[str, Any]) -> Failure:
    says = f"{f['asks']} {f['does']} The change: {f['why']}."
    worst = f["worst"]
    if worst is None:
        return Failure(f["name"].replace("_", " "), says)
    rows = (
        ("before", number(worst["reward_before"]), worst["before"] or "(empty)"),
        ("after", number(worst["reward_after"]), worst["after"] or "(empty)"),
    )
    return Failure(
        f["name"].replace("_", " "),
        says,
        Table("The text it moved most", ("", "reward", "text"), rows),
    )


def _summary(of: Material, answers: Mapping[str, FieldAnswer]) -> tuple[tuple[str, str], ...]:
    found = [
        (
            "What it is",
            f"{of.facts.get('name', NOT_SAID)}, a reward of kind "
            f"{of.facts.get('kind', NOT_SAID)}; unit: {of.facts.get('unit', NOT_SAID)}",
        ),
        ("What it is for", _first(answers, "purpose.intent", "purpose.recorded")),
        ("Judgements", _judgements(of)),
        ("Predicts held-out people", _validated(of)),
        ("Stress tests", _stressed(of)),
        ("Leaves its training data", _distance(of, answers["shift.distance"])),
        ("Approved by", _approval(answers["governance.approval"])),
        ("Questions answered", _counts(answers)),
    ]
    return tuple(found)


def _first(answers: Mapping[str, FieldAnswer], *keys: str) -> str:
    given = next((answers[k] for k in keys if answers[k].value is not None), None)
    return NOT_SAID if given is None else f"{given.value} ({given.status})"


def _judgements(of: Material) -> str:
    data, raters, items = (of.facts.get(k) for k in ("data", "raters", "items"))
    if not isinstance(data, Mapping):
        return f"{NOT_SAID}: the record does not say what it was trained on"
    parts = [f"{data.get('kind', NOT_SAID)} from {plain(str(data.get('source', NOT_SAID)), 80)}"]
    if isinstance(raters, Mapping):
        who = f"{len(raters['used'])} raters train it" if raters["used"] else "raters not named"
        parts.append(
            f"{number(raters['judgements'])} judgements, {who}, {len(raters['held_out'])} are "
            "held out"
        )
    if isinstance(items, Mapping):
        parts.append(
            "items: " + ", ".join(f"{k.replace('_', ' ')} {number(v)}" for k, v in items.items())
        )
    return "; ".join(parts)


def _validated(of: Material) -> str:
    listed = of.facts.get("validation")
    found = {m["name"]: m for m in listed} if isinstance(listed, list) else {}
    own = next((found[k] for k in OWN if k in found), None)
    if own is None:
        return f"{NOT_SAID}: it was not validated on judgements it was not trained on"
    if own["value"] is None:
        return f"not measured: {own['reason']}"
    shown = figures(own)
    said = (
        f"{own['name'].removeprefix('validation.').replace('_', ' ')} {shown.value}, 95% "
        f"{shown.interval}"
    )
    beside = [
        f"{label} {number(found[k]['value'])}"
        for k, label in BESIDE.items()
        if k in found and found[k]["value"] is not None
    ]
    return f"{said}, {own['n']} items" + (f". Beside it: {', '.join(beside)}" if beside else "")


def _stressed(of: Material) -> str:
    if of.stress is None:
        return f"{NOT_SAID}: nobody stressed it (restaudit reward stress)"
    said = ", ".join(f"{n} {v}" for v, n in of.stress["counts"].items())
    worst = max(
        (e["gain_sd"] for e in (of.stress.get("exploits") or {}).get("exploits", [])), default=None
    )
    return (
        said
        if worst is None
        else f"{said}; largest gain by a search of small edits {worst:+.1f} sd"
    )


def _distance(of: Material, shift: FieldAnswer) -> str:
    measured = [
        (i, m[DISTANCE])
        for i, m in of.measured.items()
        if DISTANCE in m and m[DISTANCE].value is not None
    ]
    if not measured:
        return f"{shift.status}: {shift.reason}"
    parts = [f"{i} {number(m.value)}" for i, m in (measured[0], measured[-1])[: len(measured)]]
    return (
        f"cosine distance: {', '.join(parts)} (all iterations under “Where outputs leave its "
        "training data”)"
    )


def _approval(given: FieldAnswer) -> str:
    if not isinstance(given.value, Mapping):
        return f"{given.status}: {given.reason}"
    return "{decision}, by {by} ({role}) on {date} (DECLARED; nobody verified it)".format(
        **given.value
    )


def _counts(answers: Mapping[str, FieldAnswer]) -> str:
    n = Counter(a.status for a in answers.values())
    said = len(answers) - n["MISSING"]
    return (
        f"{said} of {len(answers)} ({', '.join(f'{n[s]} {s}' for s in STATUSES)}); this counts "
        "what is written down, not how good it is"
    )
