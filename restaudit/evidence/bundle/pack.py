"""A run as one zip file: the same run, options and versions of zlib and pyarrow give the same
bytes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from restaudit.errors import BadInput, RestauditError
from restaudit.evidence import ledger
from restaudit.evidence.bundle import manifest as bundle
from restaudit.evidence.bundle.manifest import (
    TEXTS,
    WEIGHTS,
    LeftOut,
    Manifest,
    Redacted,
    collision,
    wrong_name,
)
from restaudit.evidence.bundle.redact import MEASUREMENTS, has_no_texts, is_weights, redact
from restaudit.evidence.ledger import Event, FileDigest
from restaudit.evidence.record import LARGEST_BESIDE, Run
from restaudit.evidence.seal.signer import Signer
from restaudit.evidence.seal.statements import FOLDER as SIGNATURES
from restaudit.evidence.seal.statements import REPORT_FILE, bundle_statement, run_id_of, sign
from restaudit.evidence.verify.files import Progress
from restaudit.files import plain

CHUNK = 1 << 20
KEY = "key.pem"
LEVEL = 6
# The earliest date that zip has, for every entry: a bundle's bytes tell no clock.
DATE = (1980, 1, 1, 0, 0, 0)
PLAIN_FILE = 0o100644 << 16
# What deflating does not make smaller.
COMPRESSED = (
    ".parquet",
    ".safetensors",
    ".png",
    ".pdf",
    ".docx",
    ".zip",
    ".npy",
    ".gguf",
    ".onnx",
    ".bin",
    ".npz",
)

HIDES = (
    "Hidden: texts in tables (prompts, references, samples, words of lexicons, token ids), each "
    "replaced by a salted SHA-256, and details of measurements, which quote texts.",
    "Left out: files that quote texts or stand for them (dossiers, validation and stress reports, "
    "reports of the data, "
    "embeddings), and the rendered report with its signature unless it was asked for.",
)
SHOWS = (
    "Not hidden: the ledger with its times, host names and notices; the sealed plan and "
    "configuration; ids, groups, families, sources and raters' pseudonyms (a prompt_id is an "
    "unsalted hash of the prompt: who guesses a prompt can confirm it); every number of every row "
    "(lengths, rewards, log-probabilities, ratings); names and reasons of measurements and gates, "
    "and of overrides.",
    "Not hidden unless left out too: weights, which can have learned texts by heart.",
)
REPORT_SHOWS = (
    "The rendered report was asked for and is in the bundle; it shows samples as they are."
)


@dataclass(frozen=True)
class Packed:
    """What was packed.

    `bytes` is the size of the archive, `report` whether the rendered report is in it.
    """

    path: Path
    bytes: int
    sha256: str
    manifest: Manifest
    report: bool


@dataclass(frozen=True)
class Wish:
    """What a bundle shall leave out.

    `report`: keep the rendered report although texts are left out.
    """

    texts: bool = False
    weights: bool = False
    report: bool = False


def pack(
    run: Path,
    out: Path,
    wish: Wish,
    *,
    signer: Signer | None = None,
    progress: Progress | None = None,
) -> Packed:
    """Write the bundle of a run that verifies; memory does not grow with the run.

    Raises BadInput where `out` exists or lies in the run, the run is being written or a file has a
    name that not every machine can hold; VerificationFailed where a file is not as recorded.
    """
    record = Run(run)
    if record.state == "running":
        raise BadInput(f"{run}: is being written; pack it when it has stopped")
    if os.path.lexists(out):
        raise BadInput(f"{out}: is there already; name another file with --out")
    if out.resolve().is_relative_to(run.resolve()):
        raise BadInput(
            f"{out}: lies in the run folder, which holds the record and nothing else; name "
            "another place"
        )
    if not out.parent.is_dir():
        raise BadInput(f"{out}: cannot be written: there is no folder {out.parent}")
    _check_names(run, record.events)
    with tempfile.TemporaryDirectory(prefix="restaudit-") as temporary:
        contents = _contents(run, record.events, wish, Path(temporary), signer)
        manifest = _manifest(record.events, wish, contents)
        data = manifest.to_bytes()
        extra = {bundle.FILE: data}
        if signer is not None:
            digest = FileDigest(hashlib.sha256(data).hexdigest(), len(data))
            extra[bundle.SIGNATURE] = sign(bundle_statement(record.events, digest), signer.key)
        try:
            with plain.created(*plain.rooted(out)) as half:
                _write(half, contents.places, manifest, extra, progress)
        except OSError as e:
            raise RestauditError(f"{out}: cannot be written: {e.strerror or e}") from None
    has_report = any(name.startswith("report/") for name in manifest.files)
    packed = ledger.digest_file(out)
    return Packed(out, packed.bytes, packed.sha256, manifest, has_report)


@dataclass(frozen=True)
class _Contents:
    """Where every file of the bundle is read from (a folder, and the name below it), with its
    digest, and what happened to the rest.
    """

    places: Mapping[str, tuple[Path, str]]
    digests: Mapping[str, FileDigest]
    redacted: Mapping[str, Redacted]
    left_out: Mapping[str, LeftOut]


def _contents(
    run: Path, events: Sequence[Event], wish: Wish, temporary: Path, signer: Signer | None
) -> _Contents:
    places: dict[str, tuple[Path, str]] = {}
    digests: dict[str, FileDigest] = {}
    redacted: dict[str, Redacted] = {}
    left_out: dict[str, LeftOut] = {}
    for name, digest in _recorded(events):
        if wish.weights and is_weights(name):
            left_out[name] = LeftOut(digest, WEIGHTS)
            continue
        places[name], digests[name] = (run, name), digest
        if not wish.texts or has_no_texts(name):
            continue
        if not name.endswith((".parquet", f"/{MEASUREMENTS}")):
            left_out[name] = LeftOut(digest, TEXTS)
            del places[name], digests[name]
            continue
        instead = f"{len(places):06d}/{Path(name).name}"
        if (how := redact(run, name, temporary / instead)) is not None:
            places[name] = temporary, instead
            digests[name] = ledger.digest_in(temporary, instead)
            redacted[name] = Redacted(digest, digests[name], how)
    # Half a line that a crash left is no event, and no reader of a bundle shall wonder about it.
    lines = plain.read(run, ledger.FILE, ledger.LARGEST)
    plain.write(temporary, ledger.FILE, lines.removesuffix(ledger.torn(run)))
    places[ledger.FILE] = temporary, ledger.FILE
    with_report = not wish.texts or wish.report
    folders = (SIGNATURES, "report") if with_report else (SIGNATURES,)
    places |= {name: (run, name) for name in _beside(run, folders)}
    if not with_report:
        # The report's signature says nothing without it.
        places.pop(f"{SIGNATURES}/{REPORT_FILE}", None)
    if signer is not None:
        # So that a reader can check the manifest's signature, also where the run has none.
        places[f"{SIGNATURES}/{signer.key_id}.pem"] = temporary, KEY
        plain.write(temporary, KEY, signer.key.public.pem)
    for name, place in places.items():
        if name not in digests:
            digests[name] = ledger.digest_in(*place, LARGEST_BESIDE)
    return _Contents(places, digests, redacted, left_out)


def _manifest(events: Sequence[Event], wish: Wish, contents: _Contents) -> Manifest:
    wishes = {TEXTS: wish.texts, WEIGHTS: wish.weights}
    without = [word for word, is_wished in wishes.items() if is_wished]
    notes: tuple[str, ...] = ()
    if wish.texts:
        notes = (*HIDES, *SHOWS)
        if wish.report:
            notes += (REPORT_SHOWS,)
    return Manifest(
        run_id=run_id_of(events),
        seq=len(events) - 1,
        head=events[-1].hash,
        comparison_digest=ledger.comparison_digest(events),
        without=tuple(without),
        files=dict(sorted(contents.digests.items())),
        redacted=dict(sorted(contents.redacted.items())),
        left_out=dict(sorted(contents.left_out.items())),
        notes=notes,
    )


def _write(
    out: IO[bytes],
    places: Mapping[str, tuple[Path, str]],
    manifest: Manifest,
    extra: Mapping[str, bytes],
    progress: Progress | None,
) -> None:
    with zipfile.ZipFile(out, "w", strict_timestamps=True) as archive:
        for name in sorted({*places, *extra}):
            if name in extra:
                archive.writestr(_entry(name, len(extra[name])), extra[name])
                continue
            expected = manifest.files[name]
            sha = hashlib.sha256()
            with (
                # Never more than its digest is of: zeros without end pack into nothing.
                plain.opened(*places[name], expected.bytes) as source,
                archive.open(_entry(name, expected.bytes), "w") as target,
            ):
                for piece in _pieces(source):
                    sha.update(piece)
                    target.write(piece)
                    if progress is not None:
                        progress(len(piece))
            if sha.hexdigest() != expected.sha256:
                raise BadInput(
                    f"{name}: changed while it was packed, or since it was recorded; see "
                    "restaudit verify"
                )


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, DATE)
    entry.create_system = 3  # Unix, on every machine: the bytes are the same
    entry.external_attr = PLAIN_FILE
    entry.file_size = size
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(COMPRESSED) else zipfile.ZIP_DEFLATED
    entry._compresslevel = LEVEL  # type: ignore[attr-defined]
    return entry


def _pieces(source: IO[bytes]) -> Iterator[bytes]:
    while piece := source.read(CHUNK):
        yield piece


def _recorded(events: Sequence[Event]) -> Iterator[tuple[str, FileDigest]]:
    for event in events:
        yield from (*event.outputs.items(), *event.context.items())


def _beside(run: Path, folders: Sequence[str]) -> list[str]:
    """Files of these folders beside the record, plain ones only."""
    return [name for folder in folders for name in plain.names(run, folder)]


def _check_names(run: Path, events: Sequence[Event]) -> None:
    names = [name for name, _ in _recorded(events)] + _beside(run, (SIGNATURES, "report"))
    for name in names:
        if (problem := wrong_name(name)) is not None:
            raise BadInput(f"{run}: {name!r} cannot be packed: the name {problem}")
    if (pair := collision([*names, bundle.FILE, bundle.SIGNATURE, ledger.FILE])) is not None:
        raise BadInput(
            f"{run}: {pair[1]} and {pair[0]} are one file on some machines, so they cannot be "
            "packed"
        )
