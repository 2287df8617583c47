"""What the ratings of a set say, unblinded: agreement, and people's score of each iteration with
its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from probes.statistics.krippendorff import alpha
from probes.statistics.ppi import corrected_change, corrected_mean
from probes.statistics.resample import Estimate, Resampling
from reports.document.model import Chart, Line, Point, Table
from reports.record import series
from reports.viewer.blocks import draw_chart
from reports.viewer.pages import link_to
from reports.viewer.rating import desk, pair_view
from reports.viewer.rating.desk import AnySet, Standing, all_sets, called, file_of, progress_of
from reports.viewer.text import escaped, said
from restaudit.errors import BadInput
from restaudit.evidence.record import BASE, Run, read_table, with_ratings
from restaudit.evidence.shown import plain
from restaudit.files.spreadsheet import guarded
from restaudit.people.rating import TaskSet, in_app, load_tasks
from restaudit.people.rating.pairs import PairSet
from restaudit.people.rating.pairs.wins import agreement
from restaudit.people.rating.status import of_raters
from restaudit.people.rating.store import human_folder, read_rows, torn_note
from restaudit.people.rating.tasks import plain_frame, read_key, table_of
from restaudit.people.waiting import is_sealed

RESAMPLING = Resampling(levels=(0.95,), resamples=2000, seed=20261105)
QUICK_RESAMPLING = Resampling(levels=(0.95,), resamples=500, seed=20261105)
MOST_SAID = 2000
# The place on the Divergence page that its first lines lead to.
ANCHOR = "rated-by-people"
GIVEN = ("iteration", "sample_id", "rater", "score", "inclusion", "check", "anchor")
COLUMNS = (
    "iteration",
    "human",
    "low",
    "high",
    "texts",
    "prompts",
    "ratings",
    "raters",
    "change",
    "change_low",
    "change_high",
    "why",
)


def score_agreement(rows: Sequence[Any], name: str) -> Estimate:
    """Krippendorff's alpha (interval metric) of one set; whole prompts are resampled.

    Repeats are left out: they say how steady a rater is, not whether raters agree.
    """
    mine = [row for row in rows if row.get("tasks") == name and row.get("role") != "check"]
    return alpha(
        units=np.array([row["item_id"] for row in mine], dtype=np.str_),
        scores=np.array([row["score"] for row in mine], dtype=np.float64),
        clusters=np.array([row["prompt_id"] for row in mine], dtype=np.str_),
        **QUICK_RESAMPLING,
    )


def agreement_sentence(agreement: Estimate) -> str:
    """The agreement as a sentence."""
    if agreement.value is None:
        return f"Agreement is not known yet: {agreement.reason}."
    span = agreement.reason or "no interval"
    if agreement.intervals:
        low, high = agreement.intervals[0].low, agreement.intervals[0].high
        span = f"95% interval {low:.2f} to {high:.2f}"
    return (
        f"Agreement so far: Krippendorff's alpha {agreement.value:.2f} ({span}; {agreement.n} "
        "ratings of shared texts)."
    )


def scores(run: Run, name: str) -> pd.DataFrame:
    """People's score of each iteration of a set, and its change from the base policy, a row each
    (columns: COLUMNS).

    A text's score is the mean of its raters. Where only a random part of the texts was rated, the
    rewards of all texts of the frame sharpen the mean as the run's own decisions do
    (probes/statistics/ppi.py). Where too little was rated, no value.
    """
    key = read_key(human_folder(run.path), name)
    given = _given(run, name)
    # A mean of scores lies on the scale, whatever an interval from few prompts would say.
    scale = float(key["scale"][0]), float(key["scale"][1])
    tables = {
        iteration: _rated(run, iteration, file, given[given["iteration"] == iteration])
        for iteration, file in _files(key).items()
    }
    # Repeats and anchors are shown again to see whether raters are steady: no further texts.
    counted = given[~given["check"] & ~given["anchor"]]
    rows = [_row(i, tables, counted[counted["iteration"] == i], scale) for i in tables]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _files(key: Mapping[str, Any]) -> dict[str, str]:
    """The table that each iteration's texts were drawn from."""
    return {iteration: key["tables"][iteration] for iteration in key["iterations"]}


def _given(run: Run, name: str) -> pd.DataFrame:
    """The ratings of a set, a row each; a score drawn at random has the probability of it."""
    rows = []
    for rating in read_rows(human_folder(run.path)):
        if rating.get("tasks") == name:
            rows.append(
                {
                    "iteration": rating["iteration"],
                    "sample_id": rating["sample_id"],
                    "rater": rating["rater_id"],
                    "score": rating["score"],
                    "inclusion": rating.get("inclusion_prob"),
                    "check": rating.get("role") == "check",
                    "anchor": rating.get("role") == "anchor",
                }
            )
    types = {"score": "float64", "inclusion": "float64", "check": "bool", "anchor": "bool"}
    return pd.DataFrame(rows, columns=list(GIVEN)).astype(types)


def _row(
    iteration: str, tables: dict[str, pd.DataFrame], given: pd.DataFrame, scale: tuple[float, float]
) -> dict[str, Any]:
    table = tables[iteration]
    mean, _ = corrected_mean(table=table, sampling="random", **RESAMPLING)
    rated = table["human"].notna()
    row: dict[str, Any] = {
        "iteration": iteration,
        **_numbers("human", "low", "high", mean),
        "texts": int(rated.sum()),
        "prompts": int(table.loc[rated, "prompt_id"].nunique()),
        "ratings": len(given),
        "raters": int(given["rater"].nunique()),
        "why": mean.reason or "",
    }
    if given.empty:
        return row | {"why": "nobody rated a text of it yet"}
    for end in ("low", "high"):
        if row[end] is not None:
            row[end] = float(np.clip(row[end], *scale))
    if iteration != BASE and BASE in tables:
        # Paired with the base policy on the same prompts.
        change, _ = corrected_change(
            table=table, base=tables[BASE], sampling="random", **RESAMPLING
        )
        row |= _numbers("change", "change_low", "change_high", change)
        if not row["why"] and change.reason:
            row["why"] = f"change: {change.reason}"
    return row


def _numbers(value: str, low: str, high: str, estimate: Estimate) -> dict[str, float | None]:
    if not estimate.intervals:
        return {value: estimate.value, low: None, high: None}
    interval = estimate.intervals[0]
    return {value: estimate.value, low: interval.low, high: interval.high}


def _rated(run: Run, iteration: str, place: str, given: pd.DataFrame) -> pd.DataFrame:
    """The frame the set was drawn from, with `human` and `inclusion` where people rated."""
    table_of(run, iteration, place)
    table = read_table(run.path, place, ("sample_id", "prompt_id", "family", "reward"))
    frame, _ = plain_frame(table)
    return with_ratings(frame, given)


# --- on the page: agreement while people rate, scores when a rater has handed in


def so_far(run: Run, tasks: AnySet, rows: Sequence[Any], at: Standing) -> None:
    """How far everybody is, and how well they agree; nothing that tells about iterations."""
    if (lost := torn_note(human_folder(run.path), file_of(tasks))) is not None:
        said(lost)
    if at.given:
        said("Ratings so far: " + ", ".join(f"{rater} {n}" for rater, n in at.given.items()))
    if len(at.given) > 1:
        said(agreement_sentence(_agreement(rows, tasks)))
    if is_sealed(run, tasks.name):
        said(
            "A decision of this run has used this set. What you add is kept, but is no part of "
            "that decision."
        )


def _agreement(rows: Sequence[Any], tasks: AnySet) -> Estimate:
    if not isinstance(tasks, PairSet):
        return score_agreement(rows, tasks.name)
    mine = [row for row in rows if row.get("tasks") == tasks.name]
    # A pair that comes again the other way round has another role: it is no further pair.
    return agreement([row for row in mine if row.get("role") == "pair"])


def show_results(
    run: Run, tasks: AnySet, *, rater: str | None = None, title: str | None = None
) -> None:
    """What people said of a set, whichever kind it is."""
    if isinstance(tasks, PairSet):
        pair_view.show_choices(run, tasks.name, rater=rater, title=title or "What people chose")
    else:
        show_scores(run, tasks.name, rater=rater, title=title or "What people said")


def show_scores(run: Run, name: str, *, rater: str | None, title: str) -> None:
    """People's score of each iteration of the set with its 95% interval."""
    tasks = load_tasks(run.path, name)
    st.subheader(escaped(title))
    st.badge(
        "PEOPLE",
        icon=":material/groups:",
        color="green",
        help="Ratings that people gave to these texts.",
    )
    said(
        f"Human score: PEOPLE. {tasks.dimension}, on a scale from {tasks.scale[0]} to "
        f"{tasks.scale[1]}."
    )
    table = _scores((str(run.path), name, run.events[-1].hash, desk.ratings_stamp(run.path)))
    for _, row in table.iterrows():
        said(score_sentence(row))
    _picture(table, tasks)
    shown = table.assign(iteration=[series.short_name(i) for i in table["iteration"]])
    if not shown["why"].any():
        shown = shown.drop(columns="why")
    if shown["change"].isna().all():
        shown = shown.drop(columns=["change", "change_low", "change_high"])
    number = "%.2f"
    st.dataframe(
        guarded(shown),
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
    said(agreement_sentence(score_agreement(desk.rows_of(run.path), name)))
    if rater is not None:
        said("You handed this set in. Your ratings are in the run, and the set is closed for you.")
    if not is_sealed(run, name):
        said("No decision of this run has used these ratings.")


def _picture(table: pd.DataFrame, tasks: TaskSet) -> None:
    """The scores as a chart, where there are two or more; people have the colour that the human
    score always has.
    """
    known = table[table["human"].notna()]
    if len(known) < 2:
        return
    points = []
    for x, (_, row) in enumerate(known.iterrows()):
        interval = (row["low"], row["high"]) if pd.notna(row["low"]) else ()
        points.append(Point(x, row["human"], *interval))
    names = tuple(series.short_name(i) for i in known["iteration"])
    unit = f"{tasks.dimension}, {tasks.scale[0]} to {tasks.scale[1]}, rated by people"
    # An empty line for the reward: it takes the first colour, as in every chart with both.
    lines = (Line(series.REWARD, ()), Line("Human score: PEOPLE", tuple(points)))
    chart = Chart("", unit, names, lines, Table("", (), ()), said="")
    words = plain(" ".join(score_sentence(row) for _, row in known.iterrows()), MOST_SAID)
    draw_chart(chart, 220, key=f"rating_picture_{tasks.name}", alt=words)


def score_sentence(row: pd.Series[Any]) -> str:
    """One iteration's score in words."""
    name = series.short_name(str(row["iteration"]))
    if pd.isna(row["human"]):
        return f"{name}: not known: {row['why'] or 'too few ratings'}."
    span = row["why"]
    if pd.notna(row["low"]):
        span = f"95% interval {row['low']:.2f} to {row['high']:.2f}"
    change = ""
    if pd.notna(row["change"]):
        change = f" Change from base: {row['change']:+.2f}{_change_interval(row)}."
    return (
        f"{name}: {row['human']:.2f} ({span}; {row['texts']} texts, "
        f"{of_raters(row['raters'])}).{change}"
    )


def _change_interval(row: pd.Series[Any]) -> str:
    if pd.isna(row["change_low"]):
        return ""
    return f" ({row['change_low']:.2f} to {row['change_high']:.2f})"


@st.cache_data(max_entries=32, show_spinner="Computing the scores")
def _scores(key: tuple[str, ...]) -> pd.DataFrame:
    """`key`: the run, the set, and what changes when either goes on."""
    path, name, *_ = key
    return scores(Run(path), name)


# --- on the Divergence page: ratings given afterwards, beside the sealed figures, never among them


def announce_afterwards(run: Run) -> None:
    """Where people rated texts of this run, say at the top of the page that what they said stands
    at its end.
    """
    try:
        beside = [t for t in all_sets(run).values() if not is_sealed(run, t.name)]
        rated = any(progress_of(run, tasks).rated for tasks in beside)
    except BadInput:
        return  # said by `show_afterwards`, in its place
    if rated:
        st.markdown(
            ":material/how_to_reg: People rated texts of this run afterwards: [what they "
            f"said](#{ANCHOR})."
        )


def show_afterwards(run: Run) -> None:
    """Every set of rating tasks of this run: its scores, or why they are not shown yet."""
    st.header("Rated by people after the run", anchor=ANCHOR)
    said(
        "These ratings were collected after the run. They did not affect any result above. Who "
        "gave them may have seen the figures above."
    )
    try:
        _each_set(run)
    except BadInput as error:
        # A damaged desk says nothing about the sealed figures, which stay.
        st.warning("The rest of this page does not need them.", title="The ratings cannot be read")
        st.code(str(error), language=None, wrap_lines=True)
    link_to("rate.py", run, "Rate texts of this run")


def _each_set(run: Run) -> None:
    every = list(all_sets(run).values())
    sets = [t for t in every if not is_sealed(run, t.name)]
    if len(sets) < len(every):
        said("Sets that a decision used are left out here: their scores are the human score above.")
    if not sets:
        said("No set of texts was rated beside the record.")
        return
    notes = in_app.read_notes(run.path)
    for tasks in sets:
        with st.container(border=True):
            at, rows = progress_of(run, tasks), desk.rows_of(run.path, file_of(tasks))
            busy = desk.still_rating(tasks.name, rows, notes)
            if not at.rated:
                said(f"{tasks.name}: {called(tasks)}, none rated yet.")
            elif busy and not at.complete:
                _not_yet(tasks, at.rated, at.wanted, len(busy))
            else:
                show_results(run, tasks, title=f"What people said: {tasks.name}")


def _not_yet(tasks: AnySet, rated: int, wanted: int, busy: int) -> None:
    who = "a rater is" if busy == 1 else f"{busy} raters are"
    said(
        f"{tasks.name}: {rated} of {wanted} ratings are in. {who.capitalize()} in the middle of "
        "this set; its scores are shown when they hand in, so that nobody rates unblinded."
    )
