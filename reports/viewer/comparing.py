"""Links to the Compare page, and what it shows: the comparison of a report, cached by the heads of
its runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from reports.document.model import Document
from reports.viewer.pages import BY_FILE
from reports.viewer.reading import AS_RUN
from restaudit.evidence.record import Run

FILE, KEY = "compare.py", "compare"
REFUSED = "not comparable: "
COMPARISONS, MOST_RUNS = 16, 8


def address(folders: Sequence[str]) -> list[tuple[str, str]]:
    """The address of the Compare page with these run folders chosen, as `st.switch_page` and
    `st.page_link` take it.
    """
    return [(KEY, name) for name in folders]


def link(folders: Sequence[str], label: str = "Compare these runs") -> None:
    """A link to the Compare page with these run folders chosen; drawn dead for fewer than two."""
    page, few = BY_FILE[FILE], len(folders) < 2
    st.page_link(
        page.path,
        label=label,
        icon=page.icon,
        query_params=address(folders),
        disabled=few,
        help="Choose two or more runs." if few else None,
    )


@st.cache_data(max_entries=COMPARISONS, show_spinner="Comparing the runs", hash_funcs=AS_RUN)
def compared(runs: tuple[Run, ...]) -> Document:
    """The comparison of these runs.

    Raises BadInput, naming every reason, where they are not comparable.
    """
    # Statistics take seconds to import; the choice of runs should not wait for them.
    from reports.run_report.comparison import comparison

    return comparison(runs)


def labels(names: Sequence[str]) -> list[str]:
    """What the comparison calls runs of these names: a number behind a name that several have."""
    # Runs may share a name; the document tells them apart in the same way.
    every, met = Counter(names), Counter[str]()
    labels = []
    for name in names:
        met[name] += 1
        labels.append(name if every[name] == 1 else f"{name} ({met[name]})")
    return labels


def reasons(refusal: str) -> list[str]:
    """The reasons of a refusal, one by one."""
    return refusal.removeprefix(REFUSED).split("; ")
