"""Files that a person downloads, made from a run without writing anything into its folder."""

from __future__ import annotations

import io
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from reports.document.model import Document
from reports.document.render import Format, render
from reports.frameworks.build import COVERAGE, framework_document
from reports.frameworks.declared import run_declarations
from reports.frameworks.forms import MOST_BYTES as MOST_FORM
from reports.frameworks.forms import RUN_FILE as DECLARED
from reports.record.files import Records
from reports.reward import commands as dossier
from reports.run_report.build import run_report
from reports.viewer.documents import form
from reports.viewer.reading import AS_RUN
from reports.viewer.text import size
from restaudit.errors import BadInput
from restaudit.evidence.bundle.pack import Wish
from restaudit.evidence.ledger import digest_in
from restaudit.evidence.record import Run
from restaudit.files import plain

MIB = 1 << 20
# A browser's download passes through the memory of the app.
MOST_BYTES = 512 * MIB
# Entries of an archive carry no clock, so that the same record gives the same bytes.
DATE = (1980, 1, 1, 0, 0, 0)
TYPES: Mapping[Format, tuple[str, str]] = {
    "html": ("HTML", "text/html"),
    "pdf": ("PDF", "application/pdf"),
    "docx": (
        "Word (DOCX)",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    "md": ("Markdown", "text/markdown"),
    "json": ("JSON", "application/json"),
}
ZIP = "application/zip"
# A calibration or a stress test may come without a new event, so nothing is held for long.
HELD = "60s"
DOCUMENTS, FILES, BYTES = 16, 24, "128MiB"


@dataclass(frozen=True)
class Sizes:
    """Bytes that the ledger names in all, and those of weights among them."""

    recorded: int
    weights: int


class Folder:
    """A temporary folder that is removed by `remove`, or when nobody holds it any more: a session
    that ended.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="restaudit-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class Bundle:
    """A packed run, in a temporary folder."""

    folder: Folder
    path: Path
    bytes: int
    sha256: str
    files: int
    redacted: int
    left_out: int
    notes: tuple[str, ...]


def clause_document(run: Run, framework: str) -> Document:
    """A framework's document of a run, with what was declared about it."""
    records = Records(run)
    return framework_document(records, framework, run_declarations(records))


def coverage(document: Document) -> str:
    """The sentence that counts answered fields; it says that the count is no conformity."""
    return next(line for line in document.banner if line.startswith(COVERAGE))


def declared_digest(run: Run) -> str:
    """SHA-256 of the declarations as they are stored; "" where there are none.

    The ledger does not cover them.
    """
    if not plain.is_file(run.path, DECLARED):
        return ""
    return digest_in(run.path, DECLARED, MOST_FORM).sha256


def exports_zip(run: Run, names: Sequence[str]) -> bytes:
    """The wanted exports and their manifest as one archive; the same record gives the same bytes.

    Raises BadInput where an export cannot be made or they are too large for a download,
    VerificationFailed where a file is not as recorded.
    """
    from reports.exports.export import chosen, write_exports

    with tempfile.TemporaryDirectory(prefix="restaudit-") as folder:
        out = Path(folder) / "exports"
        files = write_exports(run.path, chosen(",".join(names)), out)
        if (total := sum(p.stat().st_size for p in files)) > MOST_BYTES:
            raise BadInput(
                f"the exports take {size(total)}, more than the {size(MOST_BYTES)} that the app "
                f"hands out; in a terminal: restaudit export {run.path}"
            )
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(files):
                name = path.relative_to(out).as_posix()
                entry = zipfile.ZipInfo(name, DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, plain.read(out, name, MOST_BYTES))
        return packed.getvalue()


def sizes(run: Run) -> Sizes:
    """How large the record is, as the ledger says."""
    from restaudit.evidence.bundle.redact import is_weights

    files = Records(run).digests
    return Sizes(
        sum(d.bytes for d in files.values()),
        sum(d.bytes for n, d in files.items() if is_weights(n)),
    )


def bundle(run: Run, wish: Wish, progress: Callable[[str, int, int], None]) -> Bundle:
    """Check a run and pack it into a temporary file; `progress` is told the stage, the bytes read,
    and their total.

    Raises BadInput where it cannot be packed or is too large for a download, VerificationFailed
    where it does not verify.
    """
    from restaudit.evidence.bundle.pack import pack
    from restaudit.evidence.verify import verify

    have = sizes(run)
    if (least := have.recorded - (have.weights if wish.weights else 0)) > MOST_BYTES:
        raise BadInput(
            f"the record takes {size(least)}, more than the {size(MOST_BYTES)} that the app hands "
            f"out; leave out weights, or in a terminal: restaudit bundle {run.path}"
        )
    verify(run.path, lambda n: progress("Checking", n, have.recorded), render=False)
    folder = Folder()
    out = folder.path / f"{run.path.name}.zip"
    packed = pack(run.path, out, wish, progress=lambda n: progress("Packing", n, have.recorded))
    m = packed.manifest
    return Bundle(
        folder,
        packed.path,
        packed.bytes,
        packed.sha256,
        len(m.files),
        len(m.redacted),
        len(m.left_out),
        m.notes,
    )


# Documents and their bytes, cached by the ledger's head, so that two people who ask for the same
# wait once.


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
    return clause_document(run, framework)


@st.cache_data(ttl=HELD, max_entries=FILES, max_size=BYTES, show_spinner=False, hash_funcs=AS_RUN)
def clause_bytes(run: Run, framework: str, declared: str, form: Format) -> bytes:
    """A framework's document in a format."""
    return render(clauses(run, framework, declared), form)


@st.cache_data(ttl=HELD, max_entries=FILES, max_size=BYTES, show_spinner=False, hash_funcs=AS_RUN)
def dossier_bytes(run: Run, grow: str, form: Format) -> bytes:
    """The document of a reward model of the run in a format, as `restaudit reward dossier` writes
    it.
    """
    return dossier.rendered(dossier.answers(run.path, grow), dossier.DossierFormat(form))


@st.cache_data(ttl=HELD, max_entries=4, max_size=BYTES, show_spinner=False, hash_funcs=AS_RUN)
def exports(run: Run, names: tuple[str, ...]) -> bytes:
    """Exports as one archive."""
    return exports_zip(run, names)


@st.cache_data(
    ttl=HELD, max_entries=DOCUMENTS, show_spinner="Reading the record", hash_funcs=AS_RUN
)
def recorded(run: Run) -> frozenset[str]:
    """The questions of the declarations form that the record answers by itself."""
    return form.recorded(run)
