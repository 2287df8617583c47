"""What a reviewer should know of bias and capability, whatever the gates ask: every interval that
excludes "no difference".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from probes.base import Measurement
from restaudit.errors import BadInput
from restaudit.evidence.record import BASE, REWARD, Run, read_json
from restaudit.evidence.shown import LEVEL, brief, count, listed, number
from restaudit.files import plain
from restaudit.files.signs import printable

# Files that findings come from.
DOSSIER = f"{REWARD}/dossier.json"
# What somebody asked of it afterwards reads more texts than the test that the run recorded.
STRESS = ("report/stress.json", f"{REWARD}/stress.json")
SWAP, STRESSED = "bias.reward_swap", "stress.groups."
WORST_SLICE = "hacking.worst_slice"
# A ratio of 1 says that the groups are kept alike.
RATIOS = ("bias.acceptance_ratio",)
# Rates of single groups: what they should be, nobody can say.
NO_NEUTRAL = ("bias.acceptance.", "bias.mention.")
# Units that are shown in percent.
SHARES, POINTS = ("share",), ("points (share)", "share points", "points (share), up is worse")
UNITS_SAID = (
    "reward units",
    "human-score units",
    "balance of listed words, -1 to 1",
    "score, 0 to 1",
    "ratio",
)
PLAINER = {
    "stereotype nats": "strength of the stereotype",
    "stereotype,": "stereotype preferred,",
    "mentions of": "texts that mention",
    "among kept samples minus among all": "in what is kept",
}
SWAPPED = {
    "gender": "gender",
    "names_gender": "the gender of a name",
    "names_race": "the race that a name suggests",
}


@dataclass(frozen=True)
class Finding:
    """One interval that excludes "no difference".

    text      what changed, how much, and the 95% interval
    good      whether the difference is for the better
    source    the recorded file that it stands in, and the measurement's name there
    distance  how far the interval is from "no difference", in half widths
    """

    text: str
    good: bool
    source: tuple[str, str]
    distance: float


@dataclass(frozen=True)
class Findings:
    """What was found, the clearest first, and how many intervals were looked at."""

    found: tuple[Finding, ...]
    looked_at: int


def findings(run: Run) -> Findings:
    """Every 95% interval on bias or capability that excludes "no difference", at the last look, of
    the base policy and in the reward model's dossier and stress tests.

    What the last look shows is not said again of the base policy. Raises BadInput for a folder that
    cannot be read.
    """
    iterations = run.iterations()
    found: dict[str, Finding] = {}
    looked_at = 0
    for iteration in dict.fromkeys((*iterations[-1:], *iterations[:1])):
        file = f"{iteration}/measurements.json"
        for m in run.measurements(iteration):
            neutral = _neutral(m)
            if neutral is None:
                continue
            looked_at += 1
            one = _finding(m, neutral, file, " (base policy)" if iteration == BASE else "")
            if one is not None:
                found.setdefault(m.name, one)
    # The largest of the swaps is one of them.
    if any(name.startswith(f"{SWAP}.") for name in found):
        found.pop(SWAP, None)
    for m, file in _of_reward(run):
        looked_at += 1
        one = _finding(m, 0.0, file, "")
        rule = m.name.removeprefix(STRESSED)
        # What this run's own texts showed already is not said twice.
        if one is not None and f"{SWAP}.{rule}" not in found:
            found[m.name] = one
    failed = _failed_stress(run)
    if failed is not None:
        found[failed.source[1]] = failed
    ordered = sorted(found.values(), key=lambda f: (f.good, -f.distance))
    return Findings(tuple(ordered), looked_at)


def _neutral(m: Measurement) -> float | None:
    """The value that says "no difference"; None where the measurement has none, or no interval."""
    if m.value is None or m.interval(LEVEL) is None:
        return None
    if m.name.startswith(("capability.", "benchmarks.", "toxicity.")):
        if m.name.endswith("_change"):
            return 0.0
        # A benchmark of preferences says itself what no preference is.
        no_preference = m.detail.get("no_preference")
        return None if no_preference is None else float(no_preference)
    if m.name == WORST_SLICE:
        return 0.0
    if not m.name.startswith("bias.") or m.name.startswith(NO_NEUTRAL):
        return None
    return 1.0 if m.name in RATIOS else 0.0


def _finding(m: Measurement, neutral: float, file: str, where: str) -> Finding | None:
    interval = m.interval(LEVEL)
    if m.value is None or interval is None or interval.low <= neutral <= interval.high:
        return None
    up = interval.low > neutral
    # Where even the worst part of the prompts gained, no part lost.
    if up and m.name == WORST_SLICE:
        return None
    good = m.direction == ("higher" if up else "lower")
    half = (interval.high - interval.low) / 2
    edge = interval.low - neutral if up else neutral - interval.high
    text = printable(f"{_said(m, neutral, interval.low, interval.high)}{where}")
    return Finding(text, good, (file, m.name), edge / half if half > 0 else float("inf"))


def _said(m: Measurement, neutral: float, low: float, high: float) -> str:
    """The finding in words, short enough for a line."""
    # What fell on a part of the prompts only: the probe's own sentence names the part.
    if m.name == WORST_SLICE and "in_words" in m.detail:
        return str(m.detail["in_words"]).rstrip(".")
    amount = _amount(m, neutral, low, high)
    rest = m.name.removeprefix(f"{SWAP}.").removeprefix(STRESSED)
    if rest != m.name:
        first, second = m.detail.get("groups") or ("one group", "the other")
        what = SWAPPED.get(rest, rest.replace("_", " "))
        return f"the reward changes with {what}: {amount}, {second} against {first}"
    text = f"{_title(m.name)}: {amount}"
    # A benchmark's level: what says nothing, and whether the base policy was the same.
    if "no_preference" in m.detail and not m.name.endswith("_change"):
        base = "" if m.baseline is None else f"; base policy {_of_base(m)}"
        text += f" ({_neutral_of(m, neutral)} is no preference{base})"
    return text


def _amount(m: Measurement, neutral: float, low: float, high: float) -> str:
    """The value with its interval and unit; a plus only where the value is a difference."""
    assert m.value is not None
    signed = neutral == 0
    if m.unit in (*SHARES, *POINTS):
        shown = brief(
            100 * m.value, 100 * low, 100 * high, apart_from=100 * neutral, sign=signed, decimals=0
        )
        return shown.replace(" [", " points [" if m.unit in POINTS else "% [", 1)
    shown = brief(m.value, low, high, apart_from=neutral, sign=signed)
    # What the title names already.
    unit = "" if m.unit in UNITS_SAID else f" {m.unit}"
    return shown.replace(" [", f"{unit} [", 1)


def _neutral_of(m: Measurement, neutral: float) -> str:
    return f"{neutral:.0%}" if m.unit in SHARES else f"{neutral:g}"


def _of_base(m: Measurement) -> str:
    assert m.baseline is not None
    return f"{m.baseline:.0%}" if m.unit in SHARES else number(m.baseline, decimals=2, minus="−")


def _title(name: str) -> str:
    # The list of runs does not wait for statistics.
    from probes.catalogue import metric_of

    metric = metric_of(name)
    if metric is None:
        return name
    title = metric.title
    for words, plainer in PLAINER.items():
        title = title.replace(words, plainer)
    if name.startswith("bias.") and name.count(".") > 1 and not name.startswith("bias.mention"):
        # A group's own mean is told as its distance from the mean of all groups.
        return f"{title}, against all groups"
    return title


def _of_reward(run: Run) -> Iterator[tuple[Measurement, str]]:
    """Groups of people for whom the reward model is worse, and what swapping groups does to it."""
    if plain.is_file(run.path, DOSSIER):
        validation = _mapping(read_json(run.path, DOSSIER), DOSSIER).get("validation")
        for raw in validation if isinstance(validation, list) else []:
            m = _measurement(raw, DOSSIER)
            by_group = m.name.startswith(("validation.slice_gap.mentions", "validation.slice_over"))
            if by_group and ".mentions." in m.name and m.interval(LEVEL) is not None:
                yield m, DOSSIER
    file = _stress_file(run)
    if file is None:
        return
    tests = _mapping(read_json(run.path, file), file).get("findings")
    for raw in tests if isinstance(tests, list) else []:
        m = _measurement(_mapping(raw, file).get("change"), file)
        if m.name.startswith(STRESSED) and m.interval(LEVEL) is not None:
            yield m, file


def _failed_stress(run: Run) -> Finding | None:
    """The stress tests that the reward model fails: what it pays for that makes no text better."""
    file = _stress_file(run)
    if file is None:
        return None
    tests = _mapping(read_json(run.path, file), file).get("findings")
    every = [_mapping(f, file) for f in tests] if isinstance(tests, list) else []
    names = [str(f.get("name")).replace("_", " ") for f in every if f.get("verdict") == "FAIL"]
    if not names:
        return None
    text = f"the reward model fails {len(names)} of {count(len(every), 'stress test')}"
    # First of all: everything that was trained was trained against it.
    return Finding(printable(f"{text}: {listed(names)}"), False, (file, "failures"), float("inf"))


def _stress_file(run: Run) -> str | None:
    return next((f for f in STRESS if plain.is_file(run.path, f)), None)


def _mapping(raw: Any, file: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise BadInput(f"{file}: expected an object")
    return raw


def _measurement(raw: Any, file: str) -> Measurement:
    try:
        return Measurement.from_json(_mapping(raw, file))
    except (TypeError, ValueError) as e:
        raise BadInput(f"{file}: not a measurement: {e}") from None
