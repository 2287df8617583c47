"""A bundle's manifest against the ledger: what is whole, what was left out, what was replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from restaudit.errors import VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.bundle import manifest as bundle
from restaudit.evidence.bundle.manifest import Manifest
from restaudit.evidence.ledger import Event, FileDigest
from restaudit.evidence.seal.keys import PublicKey
from restaudit.evidence.seal.statements import (
    LARGEST,
    bundle_statement,
    key_id_of,
    run_id_of,
    verified,
)
from restaudit.evidence.verify.files import (
    OF_BUNDLES,
    Progress,
    Recorded,
    check_file,
    must_be_portable,
    read,
)


@dataclass(frozen=True)
class Bundled:
    """What a bundle lacks.

    Files in `redacted` could be checked against the manifest only, those in `left_out` not at all.
    `signed_by` is the key id that signed the manifest, or None; `notes` are the manifest's own
    words.
    """

    redacted: tuple[str, ...]
    left_out: tuple[str, ...]
    signed_by: str | None
    notes: tuple[str, ...]


def load_manifest(run: Path, names: Sequence[str]) -> Manifest | None:
    """The manifest of an opened bundle, of whose folder these are the files; None for a run
    folder.
    """
    if bundle.FILE not in names:
        return None
    return bundle.parse(read(run, bundle.FILE, bundle.LARGEST))


def check_recorded(
    run: Path,
    names: Set[str],
    entry: Recorded,
    manifest: Manifest | None,
    progress: Progress | None,
    hashed: Mapping[str, FileDigest],
) -> int:
    """Compare one recorded file with its step, or, where a bundle says why, with the manifest;
    returns bytes read.

    `names` are the files that are here; `hashed` are digests of files that were read in the archive
    and compared with the manifest there.
    """
    name, step, digest = entry
    if manifest is None:
        return check_file(run, entry, progress)
    left = manifest.left_out.get(name)
    if left is not None:
        _same(name, step, digest, left.original)
        if name in names:
            raise VerificationFailed(
                f"{name}: is here, though {bundle.FILE} says that it was left out"
            )
        return 0
    redacted = manifest.redacted.get(name)
    if redacted is not None:
        _same(name, step, digest, redacted.original)
        by = f"{bundle.FILE} listed it in the place of what step '{step}' recorded"
        return check_file(run, (name, step, redacted.replacement), progress, by=by)
    if name not in manifest.files:
        raise VerificationFailed(
            f"{name}: step '{step}' recorded it, but {bundle.FILE} does not name it"
        )
    _same(name, step, digest, manifest.files[name])
    if name in hashed:
        _same(name, step, digest, hashed[name])
        return digest.bytes
    return check_file(run, entry, progress)


def check_manifest(
    run: Path,
    names: Sequence[str],
    manifest: Manifest,
    events: Sequence[Event],
    recorded: Sequence[Recorded],
    keys: Mapping[str, PublicKey],
) -> Bundled:
    """The rest of a manifest: it is of this ledger, its other files are as listed, nothing else
    lies there.
    """
    last = (run_id_of(events), len(events) - 1, events[-1].hash, ledger.comparison_digest(events))
    if (manifest.run_id, manifest.seq, manifest.head, manifest.comparison_digest) != last:
        raise VerificationFailed(
            f"{bundle.FILE}: made of another record than the one that is here ({manifest.head})"
        )
    known = {name for name, _, _ in recorded}
    must_be_portable({*known, *names, *manifest.files})
    for name in (*manifest.left_out, *manifest.redacted):
        if name not in known:
            raise VerificationFailed(
                f"{bundle.FILE}: speaks of {name} as recorded, but no step recorded it"
            )
    for name, digest in manifest.files.items():
        if name not in known:
            if name != ledger.FILE and not name.startswith(OF_BUNDLES):
                raise VerificationFailed(
                    f"{name}: is in the bundle, but no event records it; it was added afterwards"
                )
            check_file(run, (name, "", digest), None, by=f"{bundle.FILE} listed it")
    extra = sorted({*names} - {bundle.FILE, bundle.SIGNATURE, *manifest.files})
    if extra:
        raise VerificationFailed(
            f"{extra[0]}: is in the bundle, but not in {bundle.FILE} ({len(extra)} such file(s))"
        )
    signed_by = _signed_by(run, events, keys) if bundle.SIGNATURE in names else None
    return Bundled(tuple(manifest.redacted), tuple(manifest.left_out), signed_by, manifest.notes)


def _signed_by(run: Path, events: Sequence[Event], keys: Mapping[str, PublicKey]) -> str:
    data = read(run, bundle.SIGNATURE, LARGEST)
    key_id = key_id_of(data, bundle.SIGNATURE)
    if key_id not in keys:
        raise VerificationFailed(
            f"{bundle.SIGNATURE}: signed with key {key_id}, which is not in signatures/"
        )
    manifest = ledger.digest_in(run, bundle.FILE)
    if verified(data, bundle.SIGNATURE, keys[key_id]) != bundle_statement(events, manifest):
        raise VerificationFailed(
            f"{bundle.SIGNATURE}: {bundle.FILE} is not the one that was signed"
        )
    return key_id


def _same(name: str, step: str, recorded: FileDigest, claimed: FileDigest) -> None:
    if recorded != claimed:
        raise VerificationFailed(
            f"{name}: {bundle.FILE} says that its original has sha256 {claimed.sha256}, but step "
            f"'{step}' recorded {recorded.sha256}"
        )
