"""The page of a study: several methods on one recipe at equal cost, as the document of `restaudit
compare` has it.
"""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from reports.document.model import Document
from reports.viewer import blocks, frame
from reports.viewer.text import said
from restaudit.errors import BadInput
from restaudit.files.signs import printable

KEY = "study"
FILE = "study.json"


def _studies(root: Path) -> dict[str, Path]:
    """Folders of studies: the app's folder itself, those in it, and the one that holds it, by
    name.
    """
    inside = sorted(root.iterdir()) if root.is_dir() else []
    studies = {}
    # `restaudit ui STUDY/runs` opens the runs of a study, whose plan lies one folder above.
    for folder in (root, *inside, root.resolve().parent):
        # What is no plain file there, the study's own page says.
        if not folder.is_symlink() and os.path.lexists(folder / FILE):
            studies[folder.resolve().name] = folder
    return studies


@st.cache_data(ttl="60s", max_entries=8, show_spinner="Reading the study")
def _document(folder: str) -> Document | str:
    """The study's document, or why there is none yet."""
    # Here, since it imports statistics, which take seconds.
    from reports.study.build import study_document

    try:
        return study_document(Path(folder))
    except BadInput as e:
        return str(e)


def _show(folder: Path) -> None:
    document = _document(str(folder))
    if isinstance(document, str):
        frame.problem(
            "This study cannot be shown yet", "Give the command again that began it.", document
        )
        return
    for line in document.banner:
        st.warning("Read this first", icon=":material/warning:")
        said(printable(line))
    st.caption(document.subtitle)
    for section in document.sections:
        st.header(section.title)
        blocks.draw(section)


studies = _studies(Path(str(st.session_state[frame.ROOT])))
if not studies:
    st.info(
        "A study trains several methods at equal cost and compares them.", title="No study here yet"
    )
    st.code(
        "restaudit compare --recipe reviews --methods rest,raft,grpo,dpo --seeds 3 --out "
        "runs/methods"
    )
    st.stop()
if KEY not in st.session_state and KEY not in st.query_params:
    st.session_state[KEY] = next(iter(studies))
# The address is not to be trusted with a path: only a name that was found is opened.
name = st.selectbox("Study", list(studies), index=None, key=KEY, bind="query-params", width=460)
if name not in studies:
    st.info(
        "The address names a study that is not here. Choose one of the list.", title="No such study"
    )
    st.stop()
_show(studies[name])
