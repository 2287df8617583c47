"""A calibration as tables for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from restaudit.console import Terminal, print_table

# What `restaudit calibrate` writes into a run's report/, or beside it.
FILE = "calibration.json"

CalibrationRow = Mapping[str, Any]


def print_calibration(calibration: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the headline, then healthy runs, hacks, audit sizes, ratings, and what other rules
    would have caught.
    """
    console = console or Terminal(highlight=False)
    rows: list[CalibrationRow] = calibration["rows"]
    healthy: list[CalibrationRow] = []
    sick: list[CalibrationRow] = []
    for row in rows:
        if row["part"] != "default":
            continue
        if row["kind"] == "null":
            healthy.append(row)
        else:
            sick.append(row)
    console.print()
    # An alarm in a healthy run is false, in a sick one right: never in one table.
    print_table(console, _healthy(calibration, healthy))
    print_table(console, _sick(sick))
    for part, title in (
        ("size", "By size of the audit"),
        ("ratings", "By number of people's ratings of each policy"),
    ):
        some = [row for row in rows if row["part"] == part]
        if some:
            print_table(console, _by(part, title, some))
    print_table(console, _rivals(calibration))
    for line in (*sentences(calibration), *calibration["not_tried"]):
        console.print(f"- {line}", markup=False)


def sentences(calibration: Mapping[str, Any]) -> tuple[str, ...]:
    """The two sentences that reports print beside a decision."""
    headline = calibration["headline"]
    false, caught = headline["false_alarms"], headline["caught_within_one_grow"]
    audit = calibration["audit"]
    size = f"{audit['prompts']} audit prompts x {audit['per_prompt']} samples, {calibration['looks']} looks"
    return (
        f"This policy halts wrongly in {percent(false['rate'])} of healthy emulated runs (at most "
        f"{percent(false['high'])} with 95% confidence; {false['runs']} runs; {size}).",
        f"It halts {percent(caught['rate'])} ({percent(caught['low'])} to "
        f"{percent(caught['high'])}) of planted hacks that cost people "
        f"{headline['cost']:g} standard deviations within one Grow of their onset "
        f"({caught['runs']} runs).",
    )


def percent(share: float) -> str:
    """A share as a percentage, with a digit more where it is near 0% or 100%; never rounded to
    either.
    """
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    # Near an end a rounded percentage hides the difference between 1 in 100 and 1 in 1,000.
    near_an_end = 0 < share < 0.1 or 0.99 < share < 1
    return f"{share:.1%}" if near_an_end else f"{share:.0%}"


def _span(r: Mapping[str, Any]) -> str:
    return f"{percent(r['rate'])}\n{percent(r['low'])}..{percent(r['high'])}"


def _plain(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def _healthy(calibration: Mapping[str, Any], rows: list[CalibrationRow]) -> Table:
    actions = {r["name"]: r["action"] for r in calibration["policy"]["rules"]}
    table = _plain("Healthy runs: how often each alarm is false (95% exact binomial intervals)")
    table.add_column("")
    for r in rows:
        table.add_column(r["scenario"].replace(" ", "\n", 1), justify="right")
    table.add_row("runs", *(str(r["runs"]) for r in rows))
    table.add_row(
        "human change at\nthe last look (sd)", *(f"{r['human_change'][-1]:.2f}" for r in rows)
    )
    table.add_row("[bold]halted[/]", *(_span(r["halted"]) for r in rows), end_section=True)
    for gate, action in actions.items():
        table.add_row(f"{gate} ({action})", *(_span(r["gates"][gate]) for r in rows))
    return table


def _sick(rows: list[CalibrationRow]) -> Table:
    table = _plain("Sick runs: halted within one Grow of the onset")
    table.add_column("planted")
    for name in (
        "runs",
        "human (sd)",
        "within one\nGrow",
        "halted\nat all",
        "looks\nto halt",
        "any\nalarm",
        "before\nonset",
    ):
        table.add_column(name, justify="right")
    for r in rows:
        looks = "-" if r["looks_to_halt"] is None else f"{r['looks_to_halt']:.1f}"
        table.add_row(
            r["scenario"],
            str(r["runs"]),
            f"{r['human_change'][-1]:.2f}",
            _span(r["within_one_grow"]),
            percent(r["halted"]["rate"]),
            looks,
            percent(r["warned_or_halted"]["rate"]),
            percent(r["halted_before_onset"]["rate"]),
        )
    return table


def _by(part: str, title: str, rows: list[CalibrationRow]) -> Table:
    key = "prompts" if part == "size" else "rated"
    scenarios = list(dict.fromkeys(r["scenario"] for r in rows))
    table = _plain(f"{title}: halted (healthy), or halted within one Grow (hacks)")
    table.add_column("audit prompts" if part == "size" else "ratings", justify="right")
    for name in scenarios:
        table.add_column(name.replace(" ", "\n", 1), justify="right")
    for value in sorted({r[key] for r in rows}):
        by_scenario = {r["scenario"]: r for r in rows if r[key] == value}
        cells = []
        for name in scenarios:
            row = by_scenario[name]
            # Of a hack only the halt in time counts; before its onset it would be a false one.
            figure = "halted" if row["kind"] == "null" else "within_one_grow"
            cells.append(_span(row[figure]))
        table.add_row(str(value), *cells)
    return table


def _rivals(calibration: Mapping[str, Any]) -> Table:
    table = _plain("What rules that other tools log would have done on the same runs")
    # The hacks of the headline: fast ones of its cost.
    halves = []
    for r in calibration["rows"]:
        costs_half = r["kind"] == "hack" and r["cost"] == calibration["headline"]["cost"]
        if r["part"] == "default" and costs_half and "slow" not in r["scenario"]:
            halves.append(r["scenario"])
    for name in ("rule", "threshold", "false\nalarms"):
        table.add_column(name, justify="left" if name == "rule" else "right")
    for scenario in halves:
        table.add_column(scenario.split(" ")[0], justify="right")
    for r in calibration["rivals"]:
        chosen = "as usual" if r["chosen"] == "usual" else "best for 5%"
        table.add_row(
            f"{r['rule']}, {chosen}",
            f"{r['threshold']:.2f}",
            percent(r["false_alarms"]["rate"]),
            *(percent(r["caught"][s]["rate"]) for s in halves),
        )
    ours = {r["scenario"]: r for r in calibration["rows"] if r["part"] == "default"}
    table.add_section()
    table.add_row(
        "[bold]this policy[/]",
        "",
        percent(calibration["headline"]["false_alarms"]["rate"]),
        *(percent(ours[s]["within_one_grow"]["rate"]) for s in halves),
    )
    return table
