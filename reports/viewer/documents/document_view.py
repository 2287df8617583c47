"""Documents to read and to download: the run's report, clause by clause, the reward model's."""

from __future__ import annotations

import streamlit as st

from reports.document.render import FORMATS, Format
from reports.frameworks.schema import framework, frameworks
from reports.rendering import write_report
from reports.run_report.origins import REWARD
from reports.viewer import blocks
from reports.viewer.documents import making
from reports.viewer.documents.making import TYPES, coverage, declared_digest
from reports.viewer.documents.offering import banner, identity, not_done, offer, read_section
from reports.viewer.people import Person, acting
from reports.viewer.text import said
from restaudit.errors import RestauditError
from restaudit.evidence.record import Run
from restaudit.evidence.seal.statements import FOLDER as SIGNATURES
from restaudit.evidence.seal.statements import REPORT_FILE
from restaudit.files import plain

AS_TRAINING_BEGAN = "as training began"


def show_report(run: Run, who: Person) -> None:
    """The report: made, downloaded, kept in the run folder, and read here section by section."""
    st.caption(
        "Every figure names its record. The same record gives the same bytes in every format."
    )
    form = choose_format("report_format")
    offer(
        "report",
        (*identity(run), form),
        f"{run.path.name}-report.{form}",
        TYPES[form][1],
        lambda: making.report_bytes(run, form),
    )
    _keep(run, form, who)
    st.header("Read it here")
    document = making.report(run)
    banner(document)
    read_section(document, "report_section", "Section")


def choose_format(key: str) -> Format:
    """A format; the first one where the browser names none of them."""
    form = st.segmented_control(
        "Format",
        FORMATS,
        default=FORMATS[0],
        required=True,
        key=key,
        format_func=lambda f: TYPES[f][0],
    )
    # The browser may send any text; only a format of ours goes on.
    return next((f for f in FORMATS if f == form), FORMATS[0])


def signed_together(run: Run) -> bool:
    """Whether somebody signed the files under report/; another file there, or other bytes, needs
    their signature.
    """
    return plain.is_file(run.path, f"{SIGNATURES}/{REPORT_FILE}")


def warn_signed(run: Run) -> None:
    """Say what a change under report/ does to a signature."""
    if signed_together(run):
        st.warning(
            "If a signed file changes, the check of this run fails until somebody signs again "
            "with `restaudit sign`.",
            title="The files in this run's report folder are signed",
        )


def _keep(run: Run, form: Format, who: Person) -> None:
    with st.expander("Keep it in the run folder", icon=":material/save:"):
        st.write(
            "Downloads write nothing into the run. This button does: into its report folder, with "
            "a manifest, so that the Verify page can render the report again and compare."
        )
        warn_signed(run)
        if not who.may_write:
            said(who.why_not("Keeping a report").replace("`", ""))
        if not st.button("Keep in the run folder", key="report_keep", disabled=not who.may_write):
            return
        try:
            acting("Keeping a report", lambda one: one.may_write)
            written = write_report(run, [form])
        except RestauditError as e:
            not_done("The report was not kept", e)
            return
        st.success("The report was kept.", title="Kept in the run folder")
        for path in written:
            st.code(str(path), language=None, wrap_lines=True)


def show_clauses(run: Run) -> None:
    """A framework's clauses: coverage and what is missing first, and the whole as a file."""
    known = frameworks()
    chosen = st.selectbox(
        "Framework",
        list(known),
        format_func=lambda k: known[k],
        key="framework",
        bind="query-params",
        width=640,
    )
    # The address is anybody's to write.
    name = chosen if chosen in known else next(iter(known))
    declared = declared_digest(run)
    document = making.clauses(run, name, declared)
    covered = coverage(document)
    st.subheader(covered)
    form = choose_format("clause_format")
    offer(
        "clauses",
        (*identity(run), name, declared, form),
        f"{run.path.name}-{name}.{form}",
        TYPES[form][1],
        lambda: making.clause_bytes(run, name, declared, form),
    )
    with st.expander("What this framework is, and what an answer to it does not show"):
        facts = framework(name)
        said(f"{facts.version}. Read in {facts.source}, as of {facts.as_of}.")
        for limit in facts.limits:
            said(limit)
    # It stands above as the heading already.
    banner(document, but=covered)
    st.header(document.sections[0].title)
    blocks.draw(document.sections[0])
    st.header("Read on")
    read_section(document, f"clause_section_{name}", "Part", skip=1)


def show_dossier(run: Run) -> None:
    """The whole document of the run's reward model as a file: every question with its answer.

    The reward as training began or, where it was fitted again, as it was before a later Grow step.
    """
    if REWARD not in run.done:
        return  # the page says so already
    st.header("The whole document")
    st.caption("Every question about it with its answer, where that stands, and what nobody said.")
    refits = [name for name, _ in run.refits()]
    grow = ""
    if refits:
        choices = [AS_TRAINING_BEGAN, *refits]
        # A run whose reward was fitted again has several, each with papers of its own.
        which = st.selectbox("Which reward", choices, key="dossier_reward", width=320)
        grow = which if which in refits else ""
    name = "-".join(part for part in (run.path.name, "reward-model", grow) if part)
    form = choose_format("dossier_format")
    offer(
        "dossier",
        (*identity(run), grow, form),
        f"{name}.{form}",
        TYPES[form][1],
        lambda: making.dossier_bytes(run, grow, form),
    )
