"""What people said when they rated texts of a run afterwards: beside the sealed figures, and never
among them.
"""

from __future__ import annotations

import streamlit as st

from reports.viewer.links import to
from reports.viewer.rating import desk, outcome
from reports.viewer.rating.sets import AnySet, all_sets, called, file_of, progress_of
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.people.rating import direct

ANCHOR = "rated-by-people"


def announce(run: Run) -> None:
    """Where people rated texts of this run, say at the top of the page that what they said stands
    at its end.
    """
    try:
        rated = [
            t
            for t in all_sets(run).values()
            if not desk.sealed(run, t.name) and progress_of(run, t).rated
        ]
    except BadInput:
        return  # said by `show`, in its place
    if rated:
        st.markdown(
            ":material/how_to_reg: People rated texts of this run afterwards: [what they "
            f"said](#{ANCHOR})."
        )


def show(run: Run) -> None:
    """Every set of rating tasks of this run: its scores, or why they are not shown yet."""
    st.header("Rated by people after the run", anchor=ANCHOR)
    st.text(
        "Ratings from the desk (page Rate) lie beside the record and not in it: nothing above "
        "this line has used "
        "them, and they may have been given by people who saw the figures above."
    )
    try:
        _sets(run)
    except BadInput as error:
        # A damaged desk says nothing about the sealed figures, which stay.
        st.warning("The rest of this page does not need them.", title="The ratings cannot be read")
        st.code(str(error), language=None, wrap_lines=True)
    to("rate.py", run, "Rate texts of this run")


def _sets(run: Run) -> None:
    every = list(all_sets(run).values())
    sets = [t for t in every if not desk.sealed(run, t.name)]
    if len(sets) < len(every):
        st.text(
            "Sets that a decision used are left out here: their scores are the human score above."
        )
    if not sets:
        st.text("No set of texts was rated beside the record.")
        return
    notes = direct.read_notes(run.path)
    for tasks in sets:
        with st.container(border=True):
            at, rows = progress_of(run, tasks), desk.rows_of(run.path, file_of(tasks))
            busy = desk.still_rating(tasks.name, rows, notes)
            if not at.rated:
                st.text(f"{tasks.name}: {called(tasks)}, none rated yet.")
            elif busy and not at.complete:
                _not_yet(tasks, at.rated, at.wanted, len(busy))
            else:
                outcome.shown(run, tasks, title=f"What people said: {tasks.name}")


def _not_yet(tasks: AnySet, rated: int, wanted: int, busy: int) -> None:
    who = "a rater is" if busy == 1 else f"{busy} raters are"
    st.text(
        f"{tasks.name}: {rated} of {wanted} ratings are in. {who.capitalize()} in the middle of "
        "this set; its scores are shown when they hand in, so that nobody rates unblinded."
    )
