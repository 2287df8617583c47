"""The app's pages by group.

One file a page in app_pages/; a page that is about one run says so here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from restaudit.evidence.record import Run

# By path and not by import: Streamlit runs a page as a script each time it is drawn.
FOLDER = Path(__file__).parent / "app_pages"
ALL, RUN, WORK = "All runs", "This run", "Work on it"


@dataclass(frozen=True)
class Page:
    """A page: its file (whose name is its address), title, icon, group, and what it is for in a
    sentence or two.

    `of_broken`: it says something about a folder that cannot be read, too.
    """

    file: str
    title: str
    icon: str
    group: str
    help: str
    of_broken: bool = False

    @property
    def path(self) -> Path:
        """The page's script."""
        return FOLDER / self.file

    @property
    def of_run(self) -> bool:
        """Whether the page is about one chosen run."""
        return self.group != ALL


# In the order of the menu: first find a run, then read it, then work on it.
PAGES = (
    Page(
        "runs.py",
        "Runs",
        ":material/list:",
        ALL,
        (
            "Every run in the folder: its state, its steps and what the gates decided. Open one "
            "from here."
        ),
    ),
    Page(
        "compare.py",
        "Compare runs",
        ":material/compare_arrows:",
        ALL,
        "Two or more runs side by side, on the audit prompts that all of them answered.",
    ),
    Page(
        "study.py",
        "Compare methods",
        ":material/science:",
        ALL,
        "Several methods on one recipe at equal cost: what can be concluded, and what cannot.",
    ),
    Page(
        "run.py",
        "Overview",
        ":material/monitoring:",
        RUN,
        "One run in two minutes: what it concludes and why, and every measurement behind it.",
    ),
    Page(
        "divergence.py",
        "Divergence",
        ":material/call_split:",
        RUN,
        "Reward against human score in depth: what the policy learned that people did not want.",
    ),
    Page(
        "bias.py",
        "Bias",
        ":material/balance:",
        RUN,
        "Gaps between groups, who passes the filter, who is mentioned, benchmarks.",
    ),
    Page(
        "diversity.py",
        "Diversity",
        ":material/scatter_plot:",
        RUN,
        "Sameness of outputs, and the signs of collapse from training on one's own output.",
    ),
    Page(
        "capability.py",
        "Capability",
        ":material/school:",
        RUN,
        "What the policy can still do, and toxicity.",
    ),
    Page(
        "samples.py",
        "Samples",
        ":material/notes:",
        RUN,
        (
            "The texts behind every number: search, filter, one prompt across iterations, why a "
            "row was trained on."
        ),
    ),
    Page(
        "reward.py",
        "Reward model",
        ":material/psychology:",
        RUN,
        "What the reward model is, where it breaks, and what nobody said about it.",
    ),
    Page(
        "lineage.py",
        "Lineage and data",
        ":material/account_tree:",
        RUN,
        "Where the data and every policy come from, what it took, and how things were measured.",
    ),
    Page(
        "rate.py",
        "Rate",
        ":material/rate_review:",
        WORK,
        "Rate blinded samples of this run. Every answer is saved at once.",
    ),
    Page(
        "documents.py",
        "Reports and exports",
        ":material/description:",
        WORK,
        (
            "Render and download the report, clause documents and exports; say what only people "
            "can say."
        ),
    ),
    Page(
        "evidence.py",
        "Verify",
        ":material/verified:",
        WORK,
        "Check every hash, the chain, signatures and decisions of this run, one line at a time.",
        of_broken=True,
    ),
)
BY_FILE = {page.file: page for page in PAGES}


# Links from one page to another that keep the chosen run.


def link_to(file: str, run: Run, label: str | None = None) -> None:
    """A link to another page about the same run."""
    link_to_folder(file, run.path.name, label)


def link_to_folder(file: str, name: str, label: str | None = None) -> None:
    """A link to another page about the run folder of this name."""
    page = BY_FILE[file]
    # The run goes into the address, so that a link that somebody sends opens the same one.
    st.page_link(page.path, label=label or page.title, icon=page.icon, query_params={"run": name})


def link_to_samples(run: Run) -> None:
    """The texts behind the numbers of a page."""
    link_to("samples.py", run, "The texts behind these numbers")
