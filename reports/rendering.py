"""A run's report written beside its record, with a manifest, and rendered again for who wants to
check it.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import probes
import reports
import restaudit
from reports.document.model import Document
from reports.document.render import FORMATS, Format, render
from restaudit import __version__
from restaudit.errors import BadInput
from restaudit.evidence.record import Run

FOLDER, STEM, MANIFEST = "report", "report", "manifest.json"
SCHEMA = 1
PACKAGES = (probes, reports, restaudit)
SOURCES = frozenset({".py", ".j2", ".css", ".typ", ".yaml"})
# What decides the bytes of a format, beside our own version.
LIBRARIES: Mapping[Format, tuple[str, ...]] = {
    "html": ("jinja2", "markupsafe", "matplotlib"),
    "md": (),
    "json": (),
    "pdf": ("typst", "matplotlib"),
    "docx": ("python-docx", "lxml", "matplotlib"),
}


def write_report(run: Run, forms: Sequence[Format], out: Path | None = None) -> list[Path]:
    """Render a run's report in these formats into `out` (default: the run's report folder) and
    write the manifest.

    Raises BadInput where a library is missing or the place cannot be written, VerificationFailed
    where a record is not as its ledger has it.
    """
    from reports.run_report.build import run_report

    document = run_report(run)
    folder = out or run.path / FOLDER
    written = write(document, forms, folder, STEM)
    head = run.events[-1].hash if run.events else ""
    _note(folder, {path.name: path.read_bytes() for path in written}, head, forms)
    return written


def write(document: Document, forms: Sequence[Format], folder: Path, stem: str) -> list[Path]:
    """Render a document as STEM.html and so on into a folder.

    Raises BadInput where that cannot be written.
    """
    written = []
    for form in forms:
        data = render(document, form)
        path = folder / f"{stem}.{form}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".tmp-{path.name}")
            unfinished.write_bytes(data)
            unfinished.replace(path)
        except OSError as e:
            raise BadInput(
                f"{path}: cannot be written ({e.strerror}); choose another place with --out"
            ) from None
        written.append(path)
    return written


def rerender(run: Path, names: Sequence[str]) -> Mapping[str, str]:
    """SHA-256 that each of these files of RUN/report/ has when rendered again (entry point
    `restaudit.rerender`).

    A file is left out where the versions that made it are not those at hand. Raises BadInput where
    a record that the report reads cannot be read.
    """
    from reports.run_report.build import run_report

    made_with = _manifest(run / FOLDER).get("renderer", {})
    forms = {f"{STEM}.{form}": form for form in FORMATS}
    digests: dict[str, str] = {}
    document: Document | None = None
    for name in names:
        form = forms.get(name)
        # Other versions may draw differently: a difference would then accuse nobody.
        if form is None or not _versions([form]).items() <= made_with.items():
            continue
        document = document or run_report(Run(run))
        digests[name] = hashlib.sha256(render(document, form)).hexdigest()
    return digests


def _note(folder: Path, files: Mapping[str, bytes], head: str, forms: Sequence[Format]) -> None:
    """Add what was rendered to the manifest; files of an older head or other versions leave it."""
    old = _manifest(folder)
    versions, entries = _versions(forms), {}
    if old.get("head") == head:
        before = old.get("renderer", {})
        versions = {**before, **versions}
        # One list of versions stands for all files, so it must be true of those that stay.
        if before.items() <= versions.items():
            entries = dict(old.get("files", {}))
    for name, data in files.items():
        entries[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest = {"schema": SCHEMA, "head": head, "files": entries, "renderer": versions}
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise BadInput(
            f"{path}: not readable JSON ({e}); delete it and render the report again"
        ) from None
    if not isinstance(manifest, dict):
        raise BadInput(f"{path}: not a report's manifest; delete it and render the report again")
    return manifest


def _versions(forms: Sequence[Format]) -> dict[str, str]:
    libraries = sorted({name for form in forms for name in LIBRARIES[form]})
    return {
        "restaudit": __version__,
        "code": code_digest(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in libraries},
    }


@cache
def code_digest() -> str:
    """SHA-256 over the names and bytes of our own source files.

    Two checkouts of one version number may draw differently; that alone accuses nobody.
    """
    sha = hashlib.sha256()
    for package in PACKAGES:
        root = Path(package.__path__[0])
        for path in sorted(p for p in root.rglob("*") if p.suffix in SOURCES):
            sha.update(f"{package.__name__}/{path.relative_to(root).as_posix()}".encode())
            sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()
