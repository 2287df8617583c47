"""Machine-readable exports in one archive, and the run as a bundle for a stranger."""

from __future__ import annotations

import streamlit as st

from reports.exports.export import exports
from reports.viewer import hosts
from reports.viewer.documents import making
from reports.viewer.documents.making import Bundle
from reports.viewer.documents.offering import Bar, identity, not_done, offer
from reports.viewer.text import file_name, said, size
from restaudit.errors import RestauditError
from restaudit.evidence.bundle.pack import Wish
from restaudit.evidence.record import Run
from restaudit.evidence.shown import plain


def show_exports(run: Run) -> None:
    """The view of exports."""
    known = exports()
    st.caption(
        "For other tools. Each file is written as its specification says; the archive holds a "
        "manifest."
    )
    picked = st.multiselect(
        "Formats",
        list(known),
        default=list(known),
        key="export_formats",
        format_func=lambda n: f"{n}: {known[n].title}",
    )
    # In our order and from our list: the browser's choice is part of the cache's key.
    names = tuple(n for n in known if n in picked)
    if not names:
        st.info("Choose one format or more.")
        return
    offer(
        "exports",
        (*identity(run), names),
        f"{run.path.name}-exports.zip",
        making.ZIP,
        lambda: making.exports(run, names),
    )
    with st.expander("What each of them is"):
        st.dataframe(
            # Our own words: nothing of a run is in them.
            [{"format": e.name, "what": e.title, "specification": e.spec} for e in known.values()],
            hide_index=True,
            alt="The exports, what each is, and the specification it follows",
            height="content",
        )


def show_bundle(run: Run) -> None:
    """The view of the bundle."""
    have = making.sizes(run)
    st.caption(
        "One file that a stranger can check without this app: `restaudit verify FILE.zip`, or the "
        "Verify page."
    )
    said(f"The record takes {size(have.recorded)}, of which {size(have.weights)} are weights.")
    weights = st.checkbox("Leave out weights", key="bundle_weights")
    texts = st.checkbox(
        "Leave out texts",
        key="bundle_texts",
        help="Texts in tables become salted digests; files that quote texts are left out.",
    )
    report = texts and st.checkbox(
        "Keep the rendered report, which shows samples", key="bundle_report"
    )
    if texts:
        said("Ids, groups, pseudonyms of raters, host names, times and every number stay in it.")
    wish = Wish(texts=texts, weights=weights, report=report)
    if st.button("Prepare", key="bundle_prepare", icon=":material/build:"):
        _prepare(run, wish)
    held = st.session_state.get("bundle_file")
    # Only what was made of this run as it is now, and with these boxes ticked.
    if isinstance(held, tuple) and held[0] == (*identity(run), wish):
        _hand_out(held[1])


def _prepare(run: Run, wish: Wish) -> None:
    # One bundle a session: it takes as much of the disk as the run.
    before = st.session_state.pop("bundle_file", None)
    if before is not None:
        before[1].folder.remove()
    bar = Bar()
    try:
        hosts.require()
        made = making.bundle(run, wish, bar.add)
    except RestauditError as e:
        not_done("The bundle was not made", e)
        return
    finally:
        bar.empty()
    st.session_state["bundle_file"] = ((*identity(run), wish), made)


def _hand_out(made: Bundle) -> None:
    lacking = ""
    if made.redacted or made.left_out:
        lacking = f"; {made.redacted} with their texts taken out, {made.left_out} left out"
    said(f"{made.files} files, {size(made.bytes)}{lacking}.")
    st.caption(
        "Its manifest is not signed. In a terminal, `restaudit bundle RUN --key FILE` signs it."
    )
    st.download_button(
        f"Download the bundle ({size(made.bytes)})",
        made.path.read_bytes,
        file_name(made.path.name),
        making.ZIP,
        key="bundle_download",
        on_click="ignore",
        type="primary",
        icon=":material/download:",
    )
    st.caption("SHA-256 of the bundle")
    st.code(made.sha256, language=None, wrap_lines=True)
    if made.notes:
        with st.expander("What leaving out hides, and what it does not"):
            for note in made.notes:
                said(plain(note, 4000))
