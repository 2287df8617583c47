"""Documents and their bytes, cached by the ledger's head, so that two people who ask for the same
wait once.
"""

from __future__ import annotations

import streamlit as st

from reports.document.model import Document
from reports.document.render import Format, render
from reports.reward import commands as dossier
from reports.run_report.build import run_report
from reports.viewer.documents import form, making
from reports.viewer.reading import AS_RUN
from restaudit.evidence.record import Run

# A calibration or a stress test may come without a new event, so nothing is held for long.
HELD = "60s"
DOCUMENTS, FILES, BYTES = 16, 24, "128MiB"


@st.cache_data(
    ttl=HELD, max_entries=DOCUMENTS, show_spinner="Reading the record", hash_funcs=AS_RUN
)
def report(run: Run) -> Document:
    """The run's report."""
    return run_report(run)


@st.cache_data(ttl=HELD, max_entries=FILES, max_size=BYTES, show_spinner=False, hash_funcs=AS_RUN)
def report_bytes(run: Run, form: Format) -> bytes:
    """The run's report in a format."""
    return render(report(run), form)


@st.cache_data(
    ttl=HELD, max_entries=DOCUMENTS, show_spinner="Reading the record", hash_funcs=AS_RUN
)
def clauses(run: Run, framework: str, declared: str) -> Document:  # noqa: ARG001 - a part of the key
    """A framework's document; `declared` is the digest of the declarations that stand in it."""
    return making.clause_document(run, framework)


@st.cache_data(ttl=HELD, max_entries=FILES, max_size=BYTES, show_spinner=False, hash_funcs=AS_RUN)
def clause_bytes(run: Run, framework: str, declared: str, form: Format) -> bytes:
    """A framework's document in a format."""
    return render(clauses(run, framework, declared), form)


@st.cache_data(ttl=HELD, max_entries=FILES, max_size=BYTES, show_spinner=False, hash_funcs=AS_RUN)
def dossier_bytes(run: Run, grow: str, form: Format) -> bytes:
    """The document of a reward model of the run in a format, as `restaudit reward dossier` writes
    it.
    """
    return dossier.rendered(dossier.answers(run.path, grow), dossier.Format(form))


@st.cache_data(ttl=HELD, max_entries=4, max_size=BYTES, show_spinner=False, hash_funcs=AS_RUN)
def exports(run: Run, names: tuple[str, ...]) -> bytes:
    """Exports as one archive."""
    return making.exports_zip(run, names)


@st.cache_data(
    ttl=HELD, max_entries=DOCUMENTS, show_spinner="Reading the record", hash_funcs=AS_RUN
)
def recorded(run: Run) -> frozenset[str]:
    """The questions of the declarations form that the record answers by itself."""
    return form.recorded(run)
