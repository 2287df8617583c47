"""Answers put together from the dossier and from the stress and validation reports; each is named
in fields.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from restaudit.evidence.shown import number
from restaudit.reward.dossier import MISSING
from restaudit.reward_audit.document.material import STRESS, Material, beside
from restaudit.reward_audit.document.model import Reading, Table
from restaudit.reward_audit.document.tables import figures, measurements

MOST_EXPLOITS = 10
NOT_STRESSED = "nobody stressed it"


def raters(of: Material) -> Reading:
    """How many raters and judgements, and which part of them trains."""
    found = of.facts.get("raters")
    if not isinstance(found, Mapping):
        return Reading(absent="the record does not say who judged")
    used, held_out = found["used"], found["held_out"]
    value = {
        "raters who train it": len(used) if used else "not named in the data",
        "raters held out": len(held_out),
        **{k.replace("_", " "): v for k, v in found.items() if k.startswith("judgements")},
    }
    return Reading(value, evidence=(of.fact("raters"),))


def rows(of: Material) -> Reading:
    """Rows read, left out by reason, and used."""
    found = _part(of.facts, "data", "rows")
    if not isinstance(found, Mapping):
        return Reading(absent="the record does not say what it was trained on")
    left_out = [("read", number(found["read"]))]
    left_out += [(f"left out: {why}", number(n)) for why, n in sorted(found["dropped"].items())]
    left_out += [("used", number(found["used"]))]
    notes = [(f"of these: {what}", str(n)) for what, n in sorted(found.get("notes", {}).items())]
    table = Table("Rows of the training data", ("rows", "number"), (*left_out, *notes))
    return Reading(tables=(table,), evidence=(of.fact("data.rows"),))


def base(of: Material) -> Reading:
    """The pretrained part: an encoder, or published models."""
    for key in ("encoder", "models"):
        if (found := of.facts.get(key, MISSING)) != MISSING:
            return Reading(found, evidence=(of.fact(key),))
    return Reading(absent="the record names no pretrained part")


def training(of: Material) -> Reading:
    """A row a member."""
    found = of.facts.get("training")
    if not isinstance(found, list) or not found:
        return Reading(absent="the record does not say")
    named = dict.fromkeys(k for member in found for k in member)
    columns = tuple(sorted(named, key=lambda k: k != "member"))
    cells = tuple(tuple(_cell(member.get(k)) for k in columns) for member in found)
    table = Table(
        "Training, a row a member of the ensemble",
        tuple(c.replace("_", " ") for c in columns),
        cells,
    )
    return Reading(tables=(table,), evidence=(of.fact("training"),))


def energy(of: Material) -> Reading:
    """Energy where compute says it, and by which method."""
    found = _part(of.facts, "compute", "energy_kwh")
    if found is None or found == MISSING:
        return Reading(absent="it was not metered, and no figure is made up from the time alone")
    method = _part(of.facts, "compute", "energy_method")
    return Reading(
        {"kWh": found, "method": method or MISSING}, evidence=(of.fact("compute.energy_kwh"),)
    )


def agreement(of: Material) -> Reading:
    """The people's own agreement on held-out items: the ceiling for any reward."""
    found = [m for m in _held_out(of) if "ceiling" in m["name"]]
    if not found:
        return Reading(absent="the record holds no judgements by two people of one item")
    if all(m["value"] is None for m in found):
        return Reading(absent=str(found[0]["reason"]))
    tables = measurements("Agreement of people with each other", found, prefix="validation.")
    return Reading(tables=tables, evidence=(of.fact("validation"),))


def label_noise(of: Material) -> Reading:
    """The estimated share of flipped labels, with what the estimate cannot tell."""
    found = _part(of.facts, "care", "label_noise")
    if not isinstance(found, Mapping):
        return Reading(absent="the record holds no judgements to estimate it from")
    if found["value"] is None:
        return Reading(absent=str(found["reason"]), not_applicable="method" not in found)
    tables = measurements("Label noise", [found], prefix="care.")
    return Reading(found.get("limit"), tables, (of.fact("care.label_noise"),))


def held_out(of: Material) -> Reading:
    """The dossier's own validation."""
    found = _held_out(of)
    if not found:
        return Reading(absent="the record holds no judgements that it was not trained on")
    tables = measurements("Held-out items of its own data", found, prefix="validation.")
    return Reading(tables=tables, evidence=(of.fact("validation"),))


def outside(of: Material) -> Reading:
    """Every report of `restaudit reward validate`."""
    tables: list[Table] = []
    notes: list[str] = []
    for file, found in of.validations.items():
        name = file.rpartition("/")[2].removesuffix(".json")
        tables += measurements(f"Validation “{name}”", found["measurements"], prefix="validation.")
        worse = found.get("worse_slices") or []
        notes.append(
            f"{name}: worse than elsewhere on {', '.join(worse)}"
            if worse
            else f"{name}: no slice is worse"
        )
    if not tables:
        return Reading(absent="nobody validated it on other judgements")
    return Reading(
        notes, tuple(tables), tuple(of.evidence(f, "measurements") for f in of.validations)
    )


def stress(of: Material) -> Reading:
    """Every change that makes no text better, and what the reward made of it; failures first, then
    the undecided.
    """
    if of.stress is None:
        return Reading(absent=NOT_STRESSED)
    order = {v: k for k, v in enumerate(("FAIL", "INCONCLUSIVE", "PASS"))}
    found = sorted(of.stress["findings"], key=lambda f: order.get(f["verdict"], len(order)))
    cells = []
    for f in found:
        change = figures(f["change"])
        cells.append(
            (f["name"].replace("_", " "), f["verdict"], change.value, change.interval, f["does"])
        )
    about = f"Stress tests on {of.stress['texts']} texts of {of.stress['prompts']} prompts "
    about += f"({of.stress.get('texts_are', 'given')}); changes in sd of the reward"
    table = Table(
        about, ("test", "verdict", "change", "95% interval", "what was done"), tuple(cells)
    )
    return Reading(of.stress["counts"], (table,), (_stressed(of, "findings"),))


def paid_words(of: Material) -> Reading:
    """Words whose removal lowers the reward, those that fail first."""
    found = (of.stress or {}).get("paid_words")
    if found is None:
        return Reading(absent=NOT_STRESSED)
    failed = [w for w in found["words"] if w["verdict"] == "FAIL"]
    said = {
        "words tested": found.get("words_tested", len(found["words"])),
        "paid for": len(failed),
        "rule": found["rule"],
    }
    rows = tuple((w["word"], *figures(w["change"])[:2], str(w["texts"])) for w in failed)
    head = ("word", "change without it, sd", "interval over all words", "texts")
    tables = (Table("Single words it pays for", head, rows),) if rows else ()
    return Reading(said, tables, (_stressed(of, "paid_words"),))


def exploits(of: Material) -> Reading:
    """The best of a search of small edits, with texts before and after."""
    found = (of.stress or {}).get("exploits")
    if found is None:
        return Reading(absent=NOT_STRESSED if of.stress is None else "the search was left out")
    said = {
        "verdict": found["verdict"],
        "edited texts scored": found["scored"],
        "rule": found["rule"],
    }
    table = exploited(found)
    return Reading(said, () if table is None else (table,), (_stressed(of, "exploits"),))


def exploited(found: Mapping[str, Any]) -> Table | None:
    """The worst few exploits, or None where the search found none."""
    cells = tuple(
        (
            f"{e['gain_sd']:+.1f}",
            number(e["reward_start"]),
            number(e["reward_final"]),
            e["start"],
            e["final"],
        )
        for e in found["exploits"][:MOST_EXPLOITS]
    )
    more = len(found["exploits"]) - len(cells)
    caption = "Worst exploits found" + (f" ({more} more in {STRESS})" if more > 0 else "")
    return (
        Table(caption, ("gain, sd", "before", "after", "text", "edited text"), cells)
        if cells
        else None
    )


def errors(of: Material) -> Reading:
    """The largest errors on judged texts, and the words whose removal changes the reward most."""
    found = (of.stress or {}).get("errors")
    if found is None or found["reason"]:
        absent = (
            "nobody judged the texts it was stressed on" if found is None else str(found["reason"])
        )
        return Reading(absent=NOT_STRESSED if of.stress is None else absent)
    cells = tuple(
        (
            f"{e['error']:+.1f}",
            number(e["reward"]),
            number(e["human"]),
            e["text"],
            ", ".join(f"{s['words']} ({s['change_sd']:+.1f})" for s in e["spans"])
            or "no word or two words change it",
        )
        for e in found["errors"]
    )
    said = {
        "judged by": (of.stress or {}).get("human_is") or "people",
        "texts judged": found["judged"],
        "method": found["method"],
        "unit": found["unit"],
    }
    head = (
        "error, sd",
        "reward",
        "judgement",
        "text",
        "words taken out (change of the reward, sd)",
    )
    return Reading(said, (Table("Largest errors", head, cells),), (_stressed(of, "errors"),))


def untested(of: Material) -> Reading:
    """What the stress tests left out, and how they can mislead."""
    if of.stress is None:
        return Reading(absent=NOT_STRESSED)
    said = [*(f"not tested: {x}" for x in of.stress.get("not_measured", [])), *of.stress["limits"]]
    return Reading(said, evidence=(_stressed(of, "limits"),))


def _stressed(of: Material, at: str) -> Any:
    return of.evidence((beside(of.folder) / STRESS).relative_to(of.folder).as_posix(), at)


def _held_out(of: Material) -> list[Mapping[str, Any]]:
    found = of.facts.get("validation")
    return found if isinstance(found, list) else []


def _part(facts: Mapping[str, Any], *path: str) -> Any:
    node: Any = facts
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _cell(value: Any) -> str:
    return (
        number(value)
        if isinstance(value, int | float) and not isinstance(value, bool)
        else str(value)
    )


READINGS: Mapping[str, Callable[[Material], Reading]] = {
    f.__name__: f
    for f in (
        raters,
        rows,
        base,
        training,
        energy,
        agreement,
        label_noise,
        held_out,
        outside,
        stress,
        paid_words,
        exploits,
        errors,
        untested,
    )
}
