"""What the pages read, cached by the ledger's head, so that a run is read again only after it went
on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from reports.document.model import Passages, Section
from reports.record import series
from restaudit.evidence.conclusion import Conclusion
from restaudit.evidence.record import Run, Summary, list_runs
from restaudit.gates import Decision

# Sample tables are the large ones; a handful is what one person compares in a sitting.
SAMPLE_TABLES = 16
RUNS = 64


@dataclass(frozen=True)
class Overview:
    """Everything about a run that is small: what the page shows before a table of samples is
    opened.
    """

    iterations: list[str]
    decisions: list[Decision]
    changes: pd.DataFrame
    diversity: pd.DataFrame
    correlation: pd.DataFrame
    human: series.HumanJudge
    reward_unit: str


def _identity(run: Run) -> tuple[str, str]:
    """The digest of the ledger's last event changes when, and only when, the run went on."""
    return str(run.path), run.events[-1].hash if run.events else ""


AS_RUN: dict[str | type[Any], Callable[[Any], Any]] = {Run: _identity}


@st.cache_data(ttl="5s", show_spinner=False)
def summaries(root: str) -> list[Summary]:
    """Every run folder under `root`, newest first; read again after five seconds, since running
    runs go on.
    """
    return list_runs(Path(root))


@st.cache_data(max_entries=RUNS, show_spinner="Reading the run", hash_funcs=AS_RUN)
def overview(run: Run) -> Overview:
    """The small facts of a run. Raises one of series.READ_ERRORS for a damaged folder."""
    return Overview(
        iterations=series.iterations(run),
        decisions=series.decisions(run),
        changes=series.reward_human_series(run),
        diversity=series.diversity_series(run),
        correlation=series.correlation_series(run),
        human=series.human_score(run),
        reward_unit=series.reward_unit(run),
    )


@st.cache_data(max_entries=RUNS, show_spinner=False, hash_funcs=AS_RUN)
def measurements(run: Run, iteration: str) -> dict[str, pd.DataFrame]:
    """The measurements of one iteration by group."""
    return series.measurement_tables(run, iteration)


@st.cache_data(max_entries=SAMPLE_TABLES, show_spinner="Reading samples", hash_funcs=AS_RUN)
def samples(run: Run, iteration: str) -> pd.DataFrame:
    """The audited samples of one iteration (columns: series.SAMPLE)."""
    return run.audit(iteration, series.SAMPLE)


@st.cache_data(ttl="60s", max_entries=RUNS, show_spinner="Reading the run", hash_funcs=AS_RUN)
def first_screen(run: Run) -> tuple[Conclusion, Passages | None]:
    """What the run concludes, and a text before and after; read again after a minute, since a stress
    test may be new.
    """
    from reports.run_report.material import Material
    from reports.run_report.scores import pair

    material = Material(run)
    return material.conclusion, pair(material)


@st.cache_data(ttl="60s", max_entries=RUNS, show_spinner="Reading the run", hash_funcs=AS_RUN)
def section(run: Run, key: str) -> Section:
    """A section of the run's report; read again after a minute, since a calibration or a stress
    test may be new.
    """
    # The sections import statistics; the list of runs should not wait for them.
    from reports.run_report.build import SECTIONS
    from reports.run_report.material import Material

    return SECTIONS[key](Material(run))
