"""What the ratings say, on the page: agreement while people rate, people's scores when a rater has
handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from probes.statistics.resample import Estimate
from reports.document.model import Chart, Line, Point, Table
from reports.record import series
from reports.viewer.escaping import escaped
from reports.viewer.rating import desk, pair_view, results
from reports.viewer.rating.desk import Standing
from reports.viewer.rating.sets import AnySet, file_of
from reports.viewer.specs import draw_chart
from restaudit.evidence.record import Run
from restaudit.evidence.shown import plain
from restaudit.people.rating import TaskSet, load_tasks
from restaudit.people.rating.files import human
from restaudit.people.rating.pairs import PairSet
from restaudit.people.rating.pairs.wins import agreement
from restaudit.people.rating.status import of_raters
from restaudit.people.rating.store import torn_note

MOST_SAID = 2000


def so_far(run: Run, tasks: AnySet, rows: Sequence[Any], at: Standing) -> None:
    """How far everybody is, and how well they agree; nothing that tells about iterations."""
    if (lost := torn_note(human(run.path), file_of(tasks))) is not None:
        st.text(lost)
    if at.given:
        st.text("Ratings so far: " + ", ".join(f"{rater} {n}" for rater, n in at.given.items()))
    if len(at.given) > 1:
        st.text(results.in_words(_agreement(rows, tasks)))
    if desk.sealed(run, tasks.name):
        st.text(
            "A decision of this run has used this set. What you add is kept, but is no part of "
            "that decision."
        )


def _agreement(rows: Sequence[Any], tasks: AnySet) -> Estimate:
    if isinstance(tasks, PairSet):
        return agreement(
            [r for r in rows if r.get("tasks") == tasks.name and r.get("role") == "pair"]
        )
    return results.agreement(rows, tasks.name)


def shown(run: Run, tasks: AnySet, *, rater: str | None = None, title: str | None = None) -> None:
    """What people said of a set, whichever kind it is."""
    view = pair_view.show if isinstance(tasks, PairSet) else show
    view(run, tasks.name, rater=rater, **({} if title is None else {"title": title}))


def show(run: Run, name: str, *, rater: str | None = None, title: str = "What people said") -> None:
    """People's score of each iteration of the set with its 95% interval."""
    tasks = load_tasks(run.path, name)
    st.subheader(escaped(title))
    st.badge(
        "PEOPLE",
        icon=":material/groups:",
        color="green",
        help="Ratings that people gave to these texts.",
    )
    st.text(
        f"Human score: PEOPLE. {tasks.dimension}, on a scale from {tasks.scale[0]} to "
        f"{tasks.scale[1]}."
    )
    table = _scores((str(run.path), name, run.events[-1].hash, desk.ratings_stamp(run.path)))
    for _, row in table.iterrows():
        st.text(sentence(row))
    _picture(table, tasks)
    shown = table.assign(iteration=[series.short_name(i) for i in table["iteration"]])
    if not shown["why"].any():
        shown = shown.drop(columns="why")
    if shown["change"].isna().all():
        shown = shown.drop(columns=["change", "change_low", "change_high"])
    number = "%.2f"
    st.dataframe(
        shown,
        hide_index=True,
        key=f"rating_results_{name}",
        alt="People's score of each iteration of this set, with 95% intervals",
        placeholder="—",
        column_config={
            "iteration": st.column_config.TextColumn("Iteration", pinned=True),
            "human": st.column_config.NumberColumn("Score (PEOPLE)", format=number),
            "low": st.column_config.NumberColumn("95% low", format=number),
            "high": st.column_config.NumberColumn("95% high", format=number),
            "change": st.column_config.NumberColumn(
                "Change", help="From the base policy, on the prompts that both have.", format=number
            ),
            "change_low": st.column_config.NumberColumn("Change low", format=number),
            "change_high": st.column_config.NumberColumn("Change high", format=number),
            "texts": st.column_config.NumberColumn("Texts"),
            "prompts": st.column_config.NumberColumn("Prompts"),
            "ratings": st.column_config.NumberColumn("Ratings"),
            "raters": st.column_config.NumberColumn("Raters"),
            "why": st.column_config.TextColumn("Why not", width="large"),
        },
    )
    st.caption(
        "Intervals are over prompts: they say how other prompts might come out, not other raters. "
        "Rewards of the unrated texts sharpen the score where at least 5 prompts were rated. "
        "Skipped texts are left out, which can shift a score."
    )
    st.text(results.in_words(results.agreement(desk.rows_of(run.path), name)))
    if rater is not None:
        st.text(
            "You handed this set in. Your ratings are in the run, and the set is closed for you."
        )
    if not desk.sealed(run, name):
        st.text("No decision of this run has used these ratings.")


def _picture(table: pd.DataFrame, tasks: TaskSet) -> None:
    """The scores as a chart, where there are two or more; people have the colour that the human
    score always has.
    """
    known = table[table["human"].notna()]
    if len(known) < 2:
        return
    points = tuple(
        Point(x, row["human"], *((row["low"], row["high"]) if pd.notna(row["low"]) else ()))
        for x, (_, row) in enumerate(known.iterrows())
    )
    names = tuple(series.short_name(i) for i in known["iteration"])
    unit = f"{tasks.dimension}, {tasks.scale[0]} to {tasks.scale[1]}, rated by people"
    lines = (Line(series.REWARD, ()), Line("Human score: PEOPLE", points))
    chart = Chart("", unit, names, lines, Table("", (), ()), said="")
    said = plain(" ".join(sentence(row) for _, row in known.iterrows()), MOST_SAID)
    draw_chart(chart, 220, key=f"rating_picture_{tasks.name}", alt=said)


def sentence(row: pd.Series[Any]) -> str:
    """One iteration's score in words."""
    name = series.short_name(str(row["iteration"]))
    if pd.isna(row["human"]):
        return f"{name}: not known: {row['why'] or 'too few ratings'}."
    span = (
        f"95% interval {row['low']:.2f} to {row['high']:.2f}"
        if pd.notna(row["low"])
        else row["why"]
    )
    moved = ""
    if pd.notna(row["change"]):
        ends = (
            f" ({row['change_low']:.2f} to {row['change_high']:.2f})"
            if pd.notna(row["change_low"])
            else ""
        )
        moved = f" Change from base: {row['change']:+.2f}{ends}."
    return (
        f"{name}: {row['human']:.2f} ({span}; {row['texts']} texts, "
        f"{of_raters(row['raters'])}).{moved}"
    )


@st.cache_data(max_entries=32, show_spinner="Computing the scores")
def _scores(key: tuple[str, ...]) -> pd.DataFrame:
    """`key`: the run, the set, and what changes when either goes on."""
    path, name, *_ = key
    return results.scores(Run(path), name)
