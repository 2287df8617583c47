"""Clause-by-clause documents: what is missing first, and the whole as a file."""

from __future__ import annotations

import streamlit as st

from reports.frameworks.schema import framework, frameworks
from reports.viewer import blocks
from reports.viewer.documents import cached
from reports.viewer.documents.making import TYPES, coverage, declared_digest
from reports.viewer.documents.offering import banner, identity, offer, read_section
from reports.viewer.documents.report_view import choose_format
from restaudit.evidence.record import Run


def show(run: Run) -> None:
    """The view."""
    known = frameworks()
    chosen = st.selectbox(
        "Framework",
        list(known),
        format_func=lambda k: known[k],
        key="framework",
        bind="query-params",
        width=640,
    )
    name = chosen if chosen in known else next(iter(known))
    declared = declared_digest(run)
    document = cached.clauses(run, name, declared)
    said = coverage(document)
    st.subheader(said)
    form = choose_format("clause_format")
    offer(
        "clauses",
        (*identity(run), name, declared, form),
        f"{run.path.name}-{name}.{form}",
        TYPES[form][1],
        lambda: cached.clause_bytes(run, name, declared, form),
    )
    with st.expander("What this framework is, and what an answer to it does not show"):
        of = framework(name)
        st.text(f"{of.version}. Read in {of.source}, as of {of.as_of}.")
        for limit in of.limits:
            st.text(limit)
    banner(document, but=said)
    st.header(document.sections[0].title)
    blocks.draw(document.sections[0])
    st.header("Read on")
    read_section(document, f"clause_section_{name}", "Part", skip=1)
