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
    """Print healthy runs, losses, false OKs, matched pairs, audit sizes, ratings, and what other
    rules would have caught.
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
    margins = [row for row in rows if row["part"] == "margins"]
    if margins:
        print_table(console, _margins(margins))
    if calibration["pairs"]:
        print_table(console, _pairs(calibration["pairs"]))
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
    """The sentences that reports print beside a decision."""
    headline = calibration["headline"]
    false, caught = headline["false_alarms"], headline["caught_within_one_grow"]
    audit = calibration["audit"]
    texts = str(audit["per_prompt"])
    stages = [str(plain) for plain, _ in audit.get("stages", ())]
    if len(stages) > 1:
        texts = f"{', '.join(stages[:-1])} or {stages[-1]}"
    size = f"{audit['prompts']} audit prompts x {texts} samples, {calibration['looks']} looks"
    lines = [
        f"This policy halts wrongly in {percent(false['rate'])} of healthy emulated runs (at most "
        f"{percent(false['high'])} with 95% confidence; {false['runs']} runs; {size})."
    ]
    # A calibration that was made before there were two questions has no such figure.
    cleared, still = headline.get("cleared"), headline.get("cleared_if_nothing_changes")
    if cleared is not None:
        nothing = f", {percent(still['rate'])} where nothing changes" if still else ""
        lines.append(
            f"It decides {percent(cleared['rate'])} of healthy runs OK at the last look{nothing}."
        )
    lines.append(
        f"It halts {percent(caught['rate'])} ({percent(caught['low'])} to "
        f"{percent(caught['high'])}) of planted hacks that cost people "
        f"{headline['cost']:g} standard deviations within one Grow of their onset "
        f"({caught['runs']} runs)."
    )
    return tuple(lines)


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


def _share(r: Mapping[str, Any] | None) -> str:
    return "-" if r is None else percent(r["rate"])


def _plain(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def _healthy(calibration: Mapping[str, Any], rows: list[CalibrationRow]) -> Table:
    table = _plain("Healthy runs: false HALT, and decided OK (95% exact binomial intervals)")
    table.add_column("")
    columns = ["runs", "human\n(sd)", "halted", "OK, last\nlook", "OK,\nlooks", "texts a\nprompt"]
    for name in columns:
        table.add_column(name, justify="right")
    for r in rows:
        table.add_row(
            r["scenario"],
            str(r["runs"]),
            f"{r['truth']['human'][-1]:.2f}",
            _span(r["halted"]),
            _span(r["cleared"]),
            percent(r["cleared_looks"]["rate"]),
            f"{r['texts']:.1f}\n{r['texts_of_families']:.1f}",
        )
    table.add_section()
    # Per rule: whichever is lowest stands in the way of the others.
    runs = sum(r["runs"] for r in rows)
    for name in calibration["must_pass"]:
        found = [r["ok"][name] for r in rows if r["ok"][name]["last"] is not None]
        fired = sum(r["gates"][name]["count"] for r in rows)
        last = _together([f["last"] for f in found])
        looks = _together([f["looks"] for f in found])
        table.add_row(name, "", "", percent(fired / runs), last, looks, "")
    for rule in calibration["policy"]["rules"]:
        if rule["name"] not in calibration["must_pass"]:
            fired = sum(r["gates"][rule["name"]]["count"] for r in rows)
            table.add_row(rule["name"], "", "", percent(fired / runs), "-", "-", "")
    return table


def _together(rates: list[Mapping[str, Any]]) -> str:
    runs = sum(r["runs"] for r in rates)
    return percent(sum(r["count"] for r in rates) / runs) if runs else "-"


def _sick(rows: list[CalibrationRow]) -> Table:
    table = _plain("Sick runs: halted within one Grow of the onset; truth at the last look (sd)")
    table.add_column("planted")
    for name in (
        "runs",
        "loss",
        "be-\nyond",
        "within one\nGrow",
        "ever",
        "any\nalarm",
        "OK",
        "texts",
    ):
        table.add_column(name, justify="right")
    for r in rows:
        table.add_row(
            r["scenario"],
            str(r["runs"]),
            f"{r['truth']['loss'][-1]:.2f}",
            f"{r['truth']['beyond'][-1]:.2f}",
            _span(r["within_one_grow"]),
            percent(r["halted"]["rate"]),
            percent(r["warned_or_halted"]["rate"]),
            percent(r["cleared"]["rate"]),
            f"{r['texts']:.1f}",
        )
    return table


def _margins(rows: list[CalibrationRow]) -> Table:
    table = _plain(
        "False OK: the rule says OK at the last look, its truth exactly at what OK excludes"
    )
    for name in ("truth", "runs", "came so far", "false OK", "halted"):
        table.add_column(name, justify="left" if name == "truth" else "right")
    for r in rows:
        false = r["false_ok"]
        table.add_row(
            r["scenario"],
            str(r["runs"]),
            "0" if false is None else str(false["runs"]),
            "-" if false is None else _span(false),
            percent(r["halted"]["rate"]),
        )
    return table


def _pairs(rows: list[CalibrationRow]) -> Table:
    table = _plain("Equal gains of reward: a healthy and a sick run beside each other")
    table.add_column("planted")
    for name in ("reward gain\n(sd)", "difference\n(90%)", "shown\nequal", "halted", "OK"):
        table.add_column(name, justify="right")
    for r in rows:
        middle, low, high = r["difference"]
        table.add_row(
            r["scenario"],
            "{:.2f}\n{:.2f}".format(*r["reward_gain"]),
            f"{middle:.2f}\n{low:.2f}..{high:.2f}",
            "yes" if r["equal"] else "no",
            "\n".join(percent(h["rate"]) for h in r["halted"]),
            "\n".join(percent(h["rate"]) for h in r["cleared"]),
        )
    return table


def _by(part: str, title: str, rows: list[CalibrationRow]) -> Table:
    key = "prompts" if part == "size" else "rated"
    scenarios = list(dict.fromkeys(r["scenario"] for r in rows))
    table = _plain(f"{title}: halted (healthy), or halted within one Grow (losses)")
    table.add_column("audit prompts" if part == "size" else "ratings", justify="right")
    for name in scenarios:
        table.add_column(name.replace(" ", "\n", 1), justify="right")
    for value in sorted({r[key] for r in rows}):
        by_scenario = {r["scenario"]: r for r in rows if r[key] == value}
        cells = []
        for name in scenarios:
            row = by_scenario.get(name)
            if row is None:
                cells.append("-")
                continue
            # Of a hack only the halt in time counts; before its onset it would be a false one.
            figure = "halted" if row["kind"] == "null" else "within_one_grow"
            cells.append(_span(row[figure]))
        table.add_row(str(value), *cells)
    return table


def _rivals(calibration: Mapping[str, Any]) -> Table:
    table = _plain("What rules that other tools log would have done on the same runs")
    # Of the headline's losses those that are paid and of the pool's own reward.
    halves = []
    for r in calibration["rows"]:
        if r["in_headline"] and r["pay"] and r["tails"] == "as it is":
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
