"""What a run's charts and tables show, as tidy data frames: pure functions of a run, no drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from probes.base import Measurement
from restaudit.config.human import HUMAN_NAMES, human_title
from restaudit.errors import BadInput, RestauditError
from restaudit.evidence.chats import as_text
from restaudit.evidence.record import BASE, ITERATION, Run, Summary
from restaudit.evidence.shown import LEVEL, number, together
from restaudit.gates import Decision, GateResult

SERIES = (
    "iteration",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "n_prompts",
    "unit",
    "label",
    "reason",
)
MEASURED = (
    "title",
    "measurement",
    "value",
    "low",
    "high",
    "baseline",
    "unit",
    "note",
    "n",
    "n_prompts",
    "method",
)
GATES = (
    "gate",
    "verdict",
    "metric",
    "value",
    "interval",
    "must_stay",
    "passes_by",
    "ok_needs",
    "n",
    "n_prompts",
    "stage",
    "finds",
    "settle",
    "mde",
    "why",
)
SAMPLE = ("sample_id", "prompt_id", "text", "n_tokens", "reward", "human")

# Everything that reading a damaged run folder can raise; each is a problem to show, not a crash of
# the page.
READ_ERRORS = (RestauditError, OSError, KeyError, TypeError, ValueError)

REWARD = "Reward model"
OTHER = "Other"


@dataclass(frozen=True)
class HumanJudge:
    """What stands for human judgement in a run: its full name and what it is."""

    name: str
    description: str


def human_score(run: Run) -> HumanJudge:
    """The human score's name, always with its kind in words, and its description.

    Every audit records both; before the first audit the configured kind gives the name.
    """
    audited = iterations(run)
    if audited:
        recorded = _section(run.scores(audited[0]), "human")
        label = str(recorded.get("label") or "NONE")
        return HumanJudge(
            human_title(label), str(recorded.get("description") or "It is not described.")
        )
    configured = _section(_section(run.plan, "config"), "human")
    kind = str(configured.get("kind") or "none")
    known = {str(key): name.word for key, name in HUMAN_NAMES.items()}
    label = str(configured.get("label") or known.get(kind, kind))
    return HumanJudge(human_title(label), "The first audit will describe it.")


def reward_unit(run: Run) -> str:
    """The unit of the reward, as the first audit recorded it."""
    audited = iterations(run)
    if not audited:
        return "reward units"
    recorded = _section(run.scores(audited[0]), "reward")
    return str(recorded.get("unit") or "reward units")


def iterations(run: Run) -> list[str]:
    """Audited iterations in order, the base policy first; raises BadInput for a name that is not
    one.
    """
    names = run.iterations()
    for name in names:
        if not ITERATION.fullmatch(name):
            raise BadInput(
                f"{run.path}: the ledger has an audit of {name!r}; an iteration is called like "
                "g01/i02"
            )
    return names


def short_name(iteration: str) -> str:
    """ "g01/i02" as charts write it: "G1·I2"; "step-50" is "step 50"; the base policy is "base"."""
    if iteration == BASE:
        return "base"
    if iteration.startswith("step-"):
        return iteration.replace("-", " ")
    grow, improve = iteration.split("/")
    return f"G{int(grow[1:])}·I{int(improve[1:])}"


def metric_series(run: Run, metrics: Mapping[str, str]) -> pd.DataFrame:
    """One row an iteration and metric (columns: SERIES), with 95% intervals.

    `metrics` maps a measurement's name to its label. A metric that an iteration lacks, or that
    could not be measured, has NaN and the reason.
    """
    rows = []
    for iteration in iterations(run):
        by_name = {m.name: m for m in run.measurements(iteration)}
        rows += [
            _series_row(iteration, name, label, by_name.get(name))
            for name, label in metrics.items()
        ]
    return pd.DataFrame(rows, columns=list(SERIES))


def reward_human_series(run: Run) -> pd.DataFrame:
    """Change of reward and of human score since the base policy, in base-policy standard deviations
    (columns: SERIES).

    The base policy's own change is 0 without an interval, where that score was measured on it at
    all.
    """
    return _with_base(
        run,
        {"divergence.reward_change": REWARD, "divergence.human_change": human_score(run).name},
        {
            "divergence.reward_change": "divergence.reward",
            "divergence.human_change": "divergence.human",
        },
        at_base=0.0,
    )


def diversity_series(run: Run) -> pd.DataFrame:
    """Diversity relative to the base policy (columns: SERIES): Vendi score and distinct-2, the base
    policy at 1.
    """
    return _with_base(
        run,
        {"diversity.vendi_ratio": "Vendi score", "diversity.distinct_2_ratio": "distinct-2"},
        {
            "diversity.vendi_ratio": "diversity.vendi",
            "diversity.distinct_2_ratio": "diversity.distinct_2",
        },
        at_base=1.0,
    )


def correlation_series(run: Run) -> pd.DataFrame:
    """Correlation of reward and human score across each iteration's samples (columns: SERIES)."""
    return metric_series(run, {"divergence.correlation": "reward–human correlation"})


def why_missing(table: pd.DataFrame, label: str) -> str | None:
    """Why a series has no point beyond the base policy's, or None where it has one (or only the
    base was audited).
    """
    mine = table[table["label"] == label]
    # The base policy's point is true by definition: one that stands alone shows nothing measured.
    later = mine[mine["iteration"] != BASE]
    looked_at = later if len(later) else mine
    if looked_at["value"].notna().any() or looked_at.empty:
        return None
    return str(looked_at["reason"].iloc[-1])


def decisions(run: Run) -> list[Decision]:
    """The decisions of a run in order; the base policy has none."""
    every = [run.decision(iteration) for iteration in iterations(run)]
    return [decision for decision in every if decision is not None]


def gate_table(decision: Decision) -> pd.DataFrame:
    """What every gate said at one look (columns: GATES)."""
    rows = [
        {
            "gate": g.gate,
            "verdict": g.verdict,
            "metric": g.metric,
            "value": _number(g.value),
            "interval": _span(g.value, g.low, g.high, g.margin, g.level),
            "must_stay": f"{g.must_stay} {g.margin:g}",
            "passes_by": _span(g.value, g.ok_low, g.ok_high, g.ok_margin, g.ok_level),
            "ok_needs": needed_for_ok(g),
            "n": _number(g.n),
            "n_prompts": g.n_prompts,
            "stage": _number(g.stage),
            "finds": _number(g.finds),
            "settle": g.settle or "",
            "mde": _number(g.mde),
            "why": g.why,
        }
        for g in decision.gates
    ]
    return pd.DataFrame(rows, columns=list(GATES))


def needed_for_ok(g: GateResult) -> str:
    """What OK must rule out: "above -0.25"; "alarm only" where the rule never stands in its way."""
    if g.alarm_only:
        return "alarm only"
    return f"{g.must_stay} {g.margin if g.ok_margin is None else g.ok_margin:g}"


def _span(
    value: float | None,
    low: float | None,
    high: float | None,
    margin: float | None,
    level: float | None,
) -> str:
    """An interval with the level that it holds at; "" where there is none."""
    if value is None or low is None or high is None:
        return ""
    apart = (0.0,) if margin is None else (0.0, margin)
    _, start, end = together(value, low, high, apart_from=apart)
    return f"[{start}, {end}] at {level:.4g}"


def title_of(name: str) -> str:
    """What people call a measurement, by its probe's contract; its name where no probe knows it."""
    from probes.catalogue import metric_of  # the list of runs does not wait for statistics

    metric = metric_of(name)
    return name if metric is None else metric.title


def by_section(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Measurements by the section that their probe's contract gives them: title -> measurements.

    Sections are in the order in which people read. What no probe of this version knows, as in a run
    of before, comes last under OTHER.
    """
    from probes.catalogue import SECTIONS, metric_of

    sections: dict[str, list[Measurement]] = {t: [] for t in (*SECTIONS.values(), OTHER)}
    for m in measurements:
        metric = metric_of(m.name)
        title = OTHER
        if metric is not None:
            title = SECTIONS[metric.section]
        sections[title].append(m)
    return {title: members for title, members in sections.items() if members}


def measurement_tables(run: Run, iteration: str) -> dict[str, pd.DataFrame]:
    """Every measurement of one iteration by section: title -> table (columns: MEASURED)."""
    tables = {}
    for title, members in by_section(run.measurements(iteration)).items():
        rows = [_measured_row(m) for m in members]
        tables[title] = pd.DataFrame(rows, columns=list(MEASURED))
    return tables


def prompt_texts(run: Run) -> dict[str, str]:
    """The audit prompts by id, as a person reads them: chats are written out turn by turn."""
    table = run.prompts("audit")
    prompts = zip(table["prompt_id"], table["prompt"], strict=True)
    return {str(name): as_text(str(prompt)) for name, prompt in prompts}


def describe(table: pd.DataFrame, verdicts: Sequence[Decision] = ()) -> str:
    """One sentence a series for people who cannot see the chart, and the decisions after it."""
    if table.empty:
        return "No iteration was audited yet."
    sentences = []
    for label, points in table.groupby("label", sort=False):
        known = points[points["value"].notna()]
        reason = why_missing(table, str(label))
        if reason or known.empty:
            sentences.append(f"{label}: not measured ({reason or 'no iteration was audited'}).")
            continue
        last = known.iloc[-1]
        value, low, high = (number(last[key], decimals=2) for key in ("value", "low", "high"))
        span = ""
        if math.isfinite(last["low"]):
            span = f", 95% interval {low} to {high}"
        sentences.append(f"{label}: {value} at {short_name(last['iteration'])}{span}.")
    if verdicts:
        every = ", ".join(f"{short_name(d.iteration)} {d.verdict}" for d in verdicts)
        sentences.append(f"Decisions: {every}.")
    return " ".join(sentences)


def _with_base(
    run: Run, metrics: Mapping[str, str], absolute: Mapping[str, str], *, at_base: float
) -> pd.DataFrame:
    """A series of comparisons with the base policy, whose own point is known where its absolute
    score was measured.
    """
    table = metric_series(run, metrics)
    if BASE not in set(table["iteration"]):
        return table
    scores = {m.name: m for m in run.measurements(BASE)}
    for metric, name in absolute.items():
        row = (table["metric"] == metric) & (table["iteration"] == BASE)
        score = scores.get(name)
        if score is None:
            table.loc[row, "reason"] = f"no measurement is called {name}"
        elif score.value is None:
            # A point by definition would hide that this score was never measured.
            table.loc[row, "reason"] = score.reason
        else:
            table.loc[row, "value"] = at_base
            table.loc[row, "reason"] = f"base policy: {at_base:g} by definition"
    return table


def _section(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = raw.get(key)
    # A damaged folder is shown with its problem, so what is no mapping counts as nothing.
    return section if isinstance(section, dict) else {}


def _series_row(iteration: str, name: str, label: str, m: Measurement | None) -> dict[str, Any]:
    row: dict[str, Any] = {"iteration": iteration, "metric": name, "label": label}
    if m is None:
        nothing = {"value": math.nan, "low": math.nan, "high": math.nan, "n": 0, "n_prompts": 0}
        return {**row, **nothing, "unit": "", "reason": f"no measurement is called {name}"}
    counts = {"n": m.n, "n_prompts": m.n_prompts}
    return {**row, **_with_interval(m), **counts, "unit": m.unit, "reason": m.reason or ""}


def _measured_row(m: Measurement) -> dict[str, Any]:
    return {
        "title": title_of(m.name),
        "measurement": m.name,
        **_with_interval(m),
        "baseline": _number(m.baseline),
        "unit": m.unit,
        "n": m.n,
        "n_prompts": m.n_prompts,
        "method": f"{m.method} (version {m.version})",
        "note": m.reason or "",
    }


def _with_interval(m: Measurement) -> dict[str, float]:
    """The value and the ends of its 95% interval; NaN is what charts and tables leave empty."""
    interval = m.interval(LEVEL)
    if interval is None:
        return {"value": _number(m.value), "low": math.nan, "high": math.nan}
    low, high = _number(interval.low), _number(interval.high)
    return {"value": _number(m.value), "low": low, "high": high}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


# --- the list of runs: one row a run folder, broken ones with their problem

RUN_COLUMNS = (
    "folder",
    "state",
    "overridden",
    "latest",
    "progress",
    "problem",
    "started",
    "name",
    "decisions",
)


def run_table(summaries: Sequence[Summary], sign: Callable[[str], str]) -> pd.DataFrame:
    """One row a run (columns: RUN_COLUMNS), in the order given; `sign` writes a verdict with its
    sign.

    `progress` is the share of planned steps that are done, in percent, NaN for a broken run.
    """
    rows = []
    for summary in summaries:
        strip = decision_strip(summary, sign)
        planned, problem = summary.steps_planned, summary.problem or ""
        path = summary.path
        # A folder that cannot be read plans nothing; NaN is an empty cell.
        progress = math.nan
        if planned:
            progress = 100 * summary.steps_done / planned
        rows.append(
            {
                "folder": path.name,
                "name": summary.name,
                "state": summary.state,
                "overridden": "overridden" if summary.overridden else "",
                "progress": progress,
                "latest": next(reversed(strip), ""),
                "decisions": "   ".join(strip),
                "started": (summary.started or "")[:16].replace("T", " "),
                # The folder stands in the row already; what is wrong comes first in a narrow
                # column.
                "problem": problem.removeprefix(f"{path}/").removeprefix(f"{path}: "),
            }
        )
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def decision_strip(summary: Summary, sign: Callable[[str], str]) -> list[str]:
    """The decisions of a run in order, for example "G1·I1 ✓ OK" and "G1·I2 ✕ HALT"."""
    looks = []
    for iteration, verdict in summary.decisions.items():
        # Damaged folders are listed too, whatever they call an iteration.
        name = iteration
        if ITERATION.fullmatch(iteration):
            name = short_name(iteration)
        looks.append(f"{name} {sign(verdict)}")
    return looks
