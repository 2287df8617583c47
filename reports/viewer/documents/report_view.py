"""The run's report: made, downloaded, kept in the run folder, and read here section by section."""

from __future__ import annotations

import streamlit as st

from reports.document.render import FORMATS, Format
from reports.rendering import write_report
from reports.viewer.documents import cached
from reports.viewer.documents.making import TYPES
from reports.viewer.documents.offering import banner, identity, not_done, offer, read_section
from reports.viewer.people import Person
from restaudit.errors import RestauditError
from restaudit.evidence.record import Run
from restaudit.evidence.seal.statements import FOLDER as SIGNATURES
from restaudit.evidence.seal.statements import REPORT_FILE


def show(run: Run, who: Person) -> None:
    """The view."""
    st.caption(
        "Every figure names its record. The same record gives the same bytes in every format."
    )
    form = choose_format("report_format")
    offer(
        "report",
        (*identity(run), form),
        f"{run.path.name}-report.{form}",
        TYPES[form][1],
        lambda: cached.report_bytes(run, form),
    )
    _keep(run, form, who)
    st.header("Read it here")
    document = cached.report(run)
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
    return next((f for f in FORMATS if f == form), FORMATS[0])


def signed_together(run: Run) -> bool:
    """Whether somebody signed the files under report/; another file there, or other bytes, needs
    their signature.
    """
    return (run.path / SIGNATURES / REPORT_FILE).is_file()


def warn_signed(run: Run) -> None:
    """Say what a change under report/ does to a signature."""
    if signed_together(run):
        st.warning(
            (
                "If a signed file changes, the check of this run fails until somebody signs again "
                "with `restaudit sign`."
            ),
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
            st.text(who.why_not("Keeping a report").replace("`", ""))
        if not st.button("Keep in the run folder", key="report_keep", disabled=not who.may_write):
            return
        if not who.may_write:
            return
        try:
            written = write_report(run, [form])
        except RestauditError as e:
            not_done("The report was not kept", e)
            return
        st.success("The report was kept.", title="Kept in the run folder")
        for path in written:
            st.code(str(path), language=None, wrap_lines=True)
