"""Files that a person downloads, made from a run without writing anything into its folder."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.document.model import Document
from reports.document.render import Format
from reports.frameworks.build import COVERAGE, framework_document
from reports.frameworks.declared import FILE as DECLARED
from reports.frameworks.declaring import stored
from reports.record.files import Records
from restaudit.errors import BadInput
from restaudit.evidence.bundle.pack import Wish
from restaudit.evidence.record import Run

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
    return framework_document(records, framework, stored(records))


def coverage(document: Document) -> str:
    """The sentence that counts answered fields; it says that the count is no conformity."""
    return next(line for line in document.banner if line.startswith(COVERAGE))


def declared_digest(run: Run) -> str:
    """SHA-256 of the declarations as they are stored; "" where there are none.

    The ledger does not cover them.
    """
    path = run.path / DECLARED
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


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
        packed = Path(folder) / "exports.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(files):
                entry = zipfile.ZipInfo(path.relative_to(out).as_posix(), DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
        return packed.read_bytes()


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


def size(count: int) -> str:
    """A number of bytes for people."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return (
                f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
            )
        value /= 1000
    return f"{value:.1f} GB"
