"""A run's report written beside its record, with a manifest, and rendered again for who wants to
check it.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
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
from restaudit.files import plain
from restaudit.files.strict import NotStrict, parse_json

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
# The chart that a run leaves in its report folder when it ends, by the files' names.
CHARTS: Mapping[str, str] = {f"reward_human{kind}": kind for kind in (".svg", ".png")}
FORM_OF: Mapping[str, Format] = {f"{STEM}.{form}": form for form in FORMATS}
LIBRARIES_OF: Mapping[str, tuple[str, ...]] = {
    **{name: LIBRARIES[form] for name, form in FORM_OF.items()},
    **dict.fromkeys(CHARTS, ("matplotlib",)),
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
    # Read before anything is written: what cannot be read must not leave a report without it.
    before = _manifest(folder, run.path)
    written = write(document, forms, folder, STEM, run.path)
    files = {path.name: data for path, data in written.items()}
    _put(folder / MANIFEST, _noted(before, files, run), run.path)
    return list(written)


def write_charts(run: Run, places: Sequence[Path]) -> None:
    """Draw the run's chart at each place; those in the run's report folder are noted in its
    manifest, so that `restaudit verify` can draw them again and compare.

    Raises BadInput for a run whose measurements cannot be read, for another file type, and where a
    place cannot be written.
    """
    from reports.charts.reward_human import reward_human_chart

    folder = run.path / FOLDER
    ours = {path.name for path in places if path.parent == folder and path.name in CHARTS}
    before = _manifest(folder, run.path) if ours else {}
    drawn = {path.name: reward_human_chart(run, path) for path in places}
    if ours:
        noted = _noted(before, {name: drawn[name] for name in sorted(ours)}, run)
        _put(folder / MANIFEST, noted, run.path)


def write(
    document: Document, forms: Sequence[Format], folder: Path, stem: str, run: Path | None = None
) -> dict[Path, bytes]:
    """Render a document as STEM.html and so on into a folder, perhaps of this run.

    Raises BadInput where that cannot be written.
    """
    written = {}
    for form in forms:
        path = folder / f"{stem}.{form}"
        written[path] = _put(path, render(document, form), run)
    return written


def _put(path: Path, data: bytes, run: Path | None) -> bytes:
    try:
        plain.write_out(path, data, run=run)
    except OSError as e:
        raise BadInput(
            f"{path}: cannot be written ({e.strerror}); choose another place with --out"
        ) from None
    return data


def rerender(run: Path, names: Sequence[str]) -> Mapping[str, str]:
    """SHA-256 that each of these files of RUN/report/ has when rendered again (entry point
    `restaudit.rerender`).

    A file is left out where the versions that made it are not those at hand. Raises BadInput where
    a record that the report reads cannot be read.
    """
    made_with = _manifest(run / FOLDER, run).get("renderer", {})
    rendered = _Again(Run(run))
    digests: dict[str, str] = {}
    for name in names:
        # Other versions may draw differently: a difference would then accuse nobody.
        if name in LIBRARIES_OF and _versions([name]).items() <= made_with.items():
            digests[name] = hashlib.sha256(rendered.bytes_of(name)).hexdigest()
    return digests


class _Again:
    """The files of a run's report folder, rendered from its record; the document is built once."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def document(self) -> Document:
        from reports.run_report.build import run_report

        return run_report(self.run)

    def bytes_of(self, name: str) -> bytes:
        if name in CHARTS:
            from reports.charts.reward_human import reward_human_bytes

            return reward_human_bytes(self.run, CHARTS[name])
        return render(self.document, FORM_OF[name])


def _noted(old: Mapping[str, Any], files: Mapping[str, bytes], run: Run) -> bytes:
    """The manifest with what was rendered; files of an older head or other versions leave it."""
    head = run.events[-1].hash if run.events else ""
    versions, entries = _versions(files), {}
    if old.get("head") == head:
        before = old.get("renderer", {})
        versions = {**before, **versions}
        # One list of versions stands for all files, so it must be true of those that stay.
        if before.items() <= versions.items():
            entries = dict(old.get("files", {}))
    for name, data in files.items():
        entries[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest = {"schema": SCHEMA, "head": head, "files": entries, "renderer": versions}
    return (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()


def _manifest(folder: Path, run: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    root, name = plain.rooted(path, run)
    if not plain.is_file(root, name):
        return {}
    try:
        manifest = parse_json(plain.read(root, name))
    except NotStrict as e:
        raise BadInput(
            f"{path}: not readable JSON ({e}); delete it and render the report again"
        ) from None
    if not isinstance(manifest, dict):
        raise BadInput(f"{path}: not a report's manifest; delete it and render the report again")
    return manifest


def _versions(names: Iterable[str]) -> dict[str, str]:
    libraries = sorted({library for name in names for library in LIBRARIES_OF[name]})
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
