"""Readings of a reward model from its dossier and from its stress and validation reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from reports.document.model import Chart, Line, Point, Row, Table
from reports.frameworks.readings.material import Reading, absent
from reports.frameworks.reward_records import RewardRecords
from restaudit.evidence.shown import number, together
from restaudit.reward.dossier import MISSING, STRESS

ReadReward = Callable[[RewardRecords], Reading]
MOST_EXPLOITS = 10
NOT_STRESSED = "nobody stressed it"
COLUMNS = ("measurement", "value", "95% interval", "n", "units resampled", "what it is")
# A value that says nothing: guessing, for a share of pairs; no relation, for a correlation.
NOTHING = {"share": 0.5, "r": 0.0, "rho": 0.0}
DIFFERENCES, SLICES, GAPS = "differences on the same items", "slices", "slices less the rest"
# First part of a measurement's name -> what it is one of; any other measures agreement with people.
FAMILIES = {
    "slice": SLICES,
    "slice_gap": GAPS,
    "slice_over": "mean error on slices",
    "calibration": "calibration",
    "spread": "does its own doubt tell errors?",
    "transitivity": "circles among three",
    "learning_curve": "by share of the training data",
}
# In the order in which a reader should see them.
VERDICTS = ("FAIL", "INCONCLUSIVE", "PASS")


# --- what it was made from


def raters(records: RewardRecords) -> Reading:
    """How many raters and judgements, and which part of them trains."""
    judges = records.facts.get("raters")
    if not isinstance(judges, Mapping):
        return absent("the record does not say who judged")
    used, held_out = judges["used"], judges["held_out"]
    value = {
        "raters who train it": len(used) if used else "not named in the data",
        "raters held out": len(held_out),
    }
    for name, count in judges.items():
        if name.startswith("judgements"):
            value[name.replace("_", " ")] = count
    return Reading(value, (records.fact("raters"),))


def rows(records: RewardRecords) -> Reading:
    """Rows read, left out by reason, and used."""
    counts = records.value("data.rows")
    if not isinstance(counts, Mapping):
        return absent("the record does not say what it was trained on")
    cells = [("read", number(counts["read"]))]
    cells += [(f"left out: {why}", number(n)) for why, n in sorted(counts["dropped"].items())]
    cells += [("used", number(counts["used"]))]
    cells += [(f"of these: {what}", str(n)) for what, n in sorted(counts.get("notes", {}).items())]
    table = Table("Rows of the training data", ("rows", "number"), tuple(map(Row, cells)))
    return Reading(None, (records.fact("data.rows"),), (table,))


def base(records: RewardRecords) -> Reading:
    """The pretrained part: an encoder, or published models."""
    for key in ("encoder", "models"):
        part = records.facts.get(key, MISSING)
        if part != MISSING:
            return Reading(part, (records.fact(key),))
    return absent("the record names no pretrained part")


def training(records: RewardRecords) -> Reading:
    """A row a member."""
    members = records.facts.get("training")
    if not isinstance(members, list) or not members:
        return absent("the record does not say")
    named = dict.fromkeys(key for member in members for key in member)
    # The member's number comes first, the others as the dossier has them.
    columns = tuple(sorted(named, key=lambda name: name != "member"))
    by_member = []
    for member in members:
        by_member.append(Row(tuple(_cell(member.get(name)) for name in columns)))
    table = Table(
        "Training, a row a member of the ensemble",
        tuple(name.replace("_", " ") for name in columns),
        tuple(by_member),
    )
    return Reading(None, (records.fact("training"),), (table,))


def _cell(value: Any) -> str:
    # Python counts True as a number, and would show it as 1.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(value)


def energy(records: RewardRecords) -> Reading:
    """Energy where compute says it, and by which method."""
    kwh = records.value("compute.energy_kwh")
    if kwh is None or kwh == MISSING:
        return absent("it was not metered, and no figure is made up from the time alone")
    method = records.value("compute.energy_method")
    value = {"kWh": kwh, "method": method or MISSING}
    return Reading(value, (records.fact("compute.energy_kwh"),))


# --- how it agrees with people


def agreement(records: RewardRecords) -> Reading:
    """The people's own agreement on held-out items: the ceiling for any reward."""
    ceilings = [m for m in records.validation if "ceiling" in m["name"]]
    if not ceilings:
        return absent("the record holds no judgements by two people of one item")
    if all(m["value"] is None for m in ceilings):
        return absent(str(ceilings[0]["reason"]))
    charts = measurements("Agreement of people with each other", ceilings, prefix="validation.")
    return Reading(None, (records.fact("validation"),), charts)


def label_noise(records: RewardRecords) -> Reading:
    """The estimated share of flipped labels, with what the estimate cannot tell."""
    noise = records.value("care.label_noise")
    if not isinstance(noise, Mapping):
        return absent("the record holds no judgements to estimate it from")
    if noise["value"] is None:
        # Without a method the estimate was never meant for this kind of judgement.
        return Reading(absent=str(noise["reason"]), not_applicable="method" not in noise)
    charts = measurements("Label noise", [noise], prefix="care.")
    return Reading(noise.get("limit"), (records.fact("care.label_noise"),), charts)


def held_out(records: RewardRecords) -> Reading:
    """The dossier's own validation."""
    validation = records.validation
    if not validation:
        return absent("the record holds no judgements that it was not trained on")
    charts = measurements("Held-out items of its own data", validation, prefix="validation.")
    return Reading(None, (records.fact("validation"),), charts)


def outside(records: RewardRecords) -> Reading:
    """Every report of `restaudit reward validate`."""
    charts: list[Chart] = []
    notes: list[str] = []
    for file, report in records.validations.items():
        name = file.rpartition("/")[2].removesuffix(".json")
        charts += measurements(f"Validation “{name}”", report["measurements"], prefix="validation.")
        worse = ", ".join(report.get("worse_slices") or [])
        if worse:
            notes.append(f"{name}: worse than elsewhere on {worse}")
        else:
            notes.append(f"{name}: no slice is worse")
    if not charts:
        return absent("nobody validated it on other judgements")
    sources = tuple(records.source(file, "measurements") for file in records.validations)
    return Reading(notes, sources, tuple(charts))


# --- where it breaks


def stress(records: RewardRecords) -> Reading:
    """Every change that makes no text better, and what the reward made of it; failures first, then
    the undecided.
    """
    report = records.stress
    if report is None:
        return absent(NOT_STRESSED)
    # A verdict that this version does not know comes last, and is shown all the same.
    order = {verdict: k for k, verdict in enumerate(VERDICTS)}
    findings = sorted(report["findings"], key=lambda f: order.get(f["verdict"], len(order)))
    cells = []
    for f in findings:
        change = figures(f["change"])
        name = f["name"].replace("_", " ")
        cells.append(Row((name, f["verdict"], change.value, change.interval, f["does"])))
    about = f"Stress tests on {report['texts']} texts of {report['prompts']} prompts "
    about += f"({report.get('texts_are', 'given')}); changes in sd of the reward"
    head = ("test", "verdict", "change", "95% interval", "what was done")
    table = Table(about, head, tuple(cells))
    return Reading(report["counts"], (records.stressed("findings"),), (table,))


def paid_words(records: RewardRecords) -> Reading:
    """Words whose removal lowers the reward, those that fail first."""
    tested = (records.stress or {}).get("paid_words")
    if tested is None:
        return absent(NOT_STRESSED)
    failed = [word for word in tested["words"] if word["verdict"] == "FAIL"]
    value = {
        "words tested": tested.get("words_tested", len(tested["words"])),
        "paid for": len(failed),
        "rule": tested["rule"],
    }
    cells = []
    for word in failed:
        change = figures(word["change"])
        cells.append(Row((word["word"], change.value, change.interval, str(word["texts"]))))
    head = ("word", "change without it, sd", "interval over all words", "texts")
    table = Table("Single words it pays for", head, tuple(cells))
    return Reading(value, (records.stressed("paid_words"),), (table,) if cells else ())


def exploits(records: RewardRecords) -> Reading:
    """The best of a search of small edits, with texts before and after."""
    search = (records.stress or {}).get("exploits")
    if search is None:
        return absent(NOT_STRESSED if records.stress is None else "the search was left out")
    value = {
        "verdict": search["verdict"],
        "edited texts scored": search["scored"],
        "rule": search["rule"],
    }
    table = worst_exploits(search)
    return Reading(value, (records.stressed("exploits"),), () if table is None else (table,))


def worst_exploits(search: Mapping[str, Any]) -> Table | None:
    """The worst few exploits, or None where the search found none."""
    cells = []
    for e in search["exploits"][:MOST_EXPLOITS]:
        rewards = (number(e["reward_start"]), number(e["reward_final"]))
        cells.append(Row((f"{e['gain_sd']:+.1f}", *rewards, e["start"], e["final"])))
    if not cells:
        return None
    # What is left out is counted: the report beside the reward has them all.
    more = len(search["exploits"]) - len(cells)
    caption = "Worst exploits found"
    if more:
        caption += f" ({more} more in {STRESS})"
    return Table(caption, ("gain, sd", "before", "after", "text", "edited text"), tuple(cells))


def errors(records: RewardRecords) -> Reading:
    """The largest errors on judged texts, and the words whose removal changes the reward most."""
    report = records.stress
    if report is None:
        return absent(NOT_STRESSED)
    judged = report.get("errors")
    if judged is None:
        return absent("nobody judged the texts it was stressed on")
    if judged["reason"]:
        return absent(str(judged["reason"]))
    cells = []
    for e in judged["errors"]:
        spans = ", ".join(f"{s['words']} ({s['change_sd']:+.1f})" for s in e["spans"])
        scores = (f"{e['error']:+.1f}", number(e["reward"]), number(e["human"]))
        cells.append(Row((*scores, e["text"], spans or "no word or two words change it")))
    value = {
        "judged by": report.get("human_is") or "people",
        "texts judged": judged["judged"],
        "method": judged["method"],
        "unit": judged["unit"],
    }
    head = (
        "error, sd",
        "reward",
        "judgement",
        "text",
        "words taken out (change of the reward, sd)",
    )
    table = Table("Largest errors", head, tuple(cells))
    return Reading(value, (records.stressed("errors"),), (table,))


def untested(records: RewardRecords) -> Reading:
    """What the stress tests left out, and how they can mislead."""
    report = records.stress
    if report is None:
        return absent(NOT_STRESSED)
    left_out = [f"not tested: {what}" for what in report.get("not_measured", [])]
    return Reading([*left_out, *report["limits"]], (records.stressed("limits"),))


# --- measurements as pictures


class Figures(NamedTuple):
    """A value and its interval as text, and the ends of the interval where there is one."""

    value: str
    interval: str
    low: float | None = None
    high: float | None = None


def figures(m: Mapping[str, Any], level: float = 0.95) -> Figures:
    """The value of a measurement (plain JSON), and its interval at this level, else its first."""
    # Levels may come from a subtraction (1 - 0.05) and differ in the last bit.
    at_level = (i for i in m["intervals"] if abs(i["level"] - level) < 1e-9)
    interval = next(at_level, None) or next(iter(m["intervals"]), None)
    value = "not measured" if m["value"] is None else number(m["value"])
    if interval is None and m.get("reason"):
        return Figures(value, f"none: {m['reason']}")
    if interval is None:
        return Figures(value, "none")
    value, low, high = together(m["value"], interval["low"], interval["high"])
    shown = f"{low} to {high}"
    if abs(interval["level"] - 0.95) >= 1e-9:
        shown += f" ({interval['level']:.4g} level)"
    return Figures(value, shown, interval["low"], interval["high"])


def measurements(
    caption: str, listed: Sequence[Mapping[str, Any]], *, prefix: str
) -> tuple[Chart, ...]:
    """Measurements (plain JSON) under their names without the prefix, one chart a family and unit,
    in order.

    Values of one unit that mean different things (a share that agrees, a difference of two shares)
    are never drawn on one axis. What could not be measured stands in its table with the reason, and
    is not drawn.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for m in listed:
        family = _family(str(m["name"]).removeprefix(prefix))
        groups.setdefault((family, str(m["unit"])), []).append(m)
    charts = []
    for (family, unit), group in groups.items():
        title = f"{caption}: {family} ({unit})" if family else f"{caption} ({unit})"
        charts.append(_chart(title, group, family, unit, prefix))
    return tuple(charts)


def chart_of(
    title: str,
    table: Table,
    labels: Sequence[str],
    points: Sequence[Point],
    unit: str,
    reference: float | None,
) -> Chart:
    """A picture of the values that a table has: a row a value, from the top down."""
    return Chart(
        title,
        unit,
        tuple(labels),
        (Line("value", tuple(points)),),
        table,
        in_words(labels, points, reference),
        reference,
        across=True,
    )


def in_words(labels: Sequence[str], points: Sequence[Point], reference: float | None) -> str:
    """What such a picture shows, for who cannot see it."""
    parts = []
    for label, point in zip(labels, points, strict=True):
        if point.low is None or point.high is None:
            parts.append(f"{label} {number(point.value)} (no interval)")
        else:
            value, low, high = together(point.value, point.low, point.high)
            parts.append(f"{label} {value} ({low} to {high})")
    sentence = f"{'; '.join(parts)}."
    if reference is not None:
        sentence += f" Dotted line: {number(reference)}."
    return sentence


def _family(name: str) -> str:
    first = name.partition(".")[0]
    if first.startswith("less"):
        return DIFFERENCES
    return FAMILIES.get(first, "")


def _chart(
    title: str, listed: Sequence[Mapping[str, Any]], family: str, unit: str, prefix: str
) -> Chart:
    rows: list[Row] = []
    labels: list[str] = []
    points: list[Point] = []
    for m in listed:
        name = str(m["name"]).removeprefix(prefix).replace("_", " ")
        what = str(m.get("detail", {}).get("meaning") or m["method"])
        shown = figures(m)
        interval = shown.interval
        if m["value"] is None:
            interval = str(m["reason"])
        counts = (str(m["n"]), str(m["n_prompts"]))
        rows.append(Row((name, shown.value, interval, *counts, what)))
        if m["value"] is not None:
            points.append(Point(len(labels), m["value"], shown.low, shown.high))
            labels.append(name)
    table = Table(title, COLUMNS, tuple(rows))
    # A line to compare with says nothing where there is no value beside it.
    reference = None
    if points:
        reference = _reference(family, unit)
    return chart_of(title, table, labels, points, unit, reference)


def _reference(family: str, unit: str) -> float | None:
    """The value that would say nothing, drawn as a dotted line; None where no value is so."""
    if family in (DIFFERENCES, GAPS):
        return 0.0
    if family in ("", SLICES):
        return NOTHING.get(unit)
    return None


READINGS: Mapping[str, ReadReward] = {
    reading.__name__: reading
    for reading in (
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
