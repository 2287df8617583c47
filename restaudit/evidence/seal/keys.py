"""Ed25519 keys: PEM files, and the key id, which is the SHA-256 of the raw public key."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from restaudit.errors import BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

ENVIRONMENT = "RESTAUDIT_KEY"
NAME = "restaudit-key"
PRIVATE, PUBLIC = ".pem", ".pub.pem"
LARGEST = 65536
OTHERS = 0o077


@dataclass(frozen=True)
class PublicKey:
    """A public key that signatures are checked with. `key_id` is 64 hex digits."""

    key: Ed25519PublicKey
    key_id: str

    @property
    def pem(self) -> bytes:
        """The key as PEM (SubjectPublicKeyInfo)."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class PrivateKey:
    """A private key and the public one that belongs to it."""

    key: Ed25519PrivateKey
    public: PublicKey

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw public key, in hex."""
        return self.public.key_id


def new_key(out: Path) -> tuple[Path, Path, str]:
    """Make a key pair; returns the private file (mode 0600), the public file and the key id.

    `out` is a folder (restaudit-key.pem and restaudit-key.pub.pem are made there) or the private
    file's own name, which ends in .pem. Raises BadInput where either file is there already: a key
    is never overwritten.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if out.suffix and out.suffix != PRIVATE and not out.is_dir():
        raise BadInput(f"{out}: expected a folder, or a file name that ends in {PRIVATE}")
    names_the_file = out.suffix == PRIVATE and not out.is_dir()
    private = out if names_the_file else out / f"{NAME}{PRIVATE}"
    public = private.with_name(private.name.removesuffix(PRIVATE) + PUBLIC)
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise BadInput(
                f"{path}: is there already; a key is never overwritten, so name another place "
                "with --out"
            )
    key = Ed25519PrivateKey.generate()
    made = _public(key.public_key())
    try:
        private.parent.mkdir(parents=True, exist_ok=True)
        _create(
            private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600
        )
        _create(public, made.pem, 0o644)
    except OSError as e:
        raise BadInput(f"{private}: cannot be written: {e.strerror}") from None
    return private, public, made.key_id


def load_private(path: Path) -> PrivateKey:
    """Read a private key.

    Raises BadInput for anything else, and for a file that other users may read.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _bytes(path)
    if os.name == "posix" and path.stat().st_mode & OTHERS:
        raise BadInput(
            f"{path}: other users of this machine can read this private key (mode "
            f"{path.stat().st_mode & 0o777:04o}); if it is still yours alone: chmod 600 {path}"
        )
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise BadInput(f"{path}: the key is encrypted, which this version cannot open") from None
    except Exception as e:  # noqa: BLE001 - the library raises many kinds for bytes that are no key
        hint = "; this is a public key, and a private one signs" if b"PUBLIC KEY" in data else ""
        raise BadInput(f"{path}: not a private key in PEM ({type(e).__name__}){hint}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(
            f"{path}: a key of another kind; expected Ed25519 (make one: restaudit keys new)"
        )
    return PrivateKey(key, _public(key.public_key()))


def load_public(path: Path) -> PublicKey:
    """Read a public key in PEM. Raises BadInput for anything else."""
    return parse_public(_bytes(path), str(path))


def parse_public(data: bytes, name: str) -> PublicKey:
    """A public key from PEM bytes; `name` says in messages where they are from."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(data)
    except Exception as e:  # noqa: BLE001 - as above
        hint = "; this is a PRIVATE key: never hand it out" if b"PRIVATE KEY" in data else ""
        raise BadInput(f"{name}: not a public key in PEM ({type(e).__name__}){hint}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{name}: a key of another kind; expected Ed25519")
    return _public(key)


def _public(key: Ed25519PublicKey) -> PublicKey:
    return PublicKey(key, hashlib.sha256(key.public_bytes_raw()).hexdigest())


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as f:
            data = f.read(LARGEST + 1)
    except OSError as e:
        raise BadInput(f"{path}: the key cannot be read: {e.strerror}") from None
    if len(data) > LARGEST:
        raise BadInput(f"{path}: not a key (more than {LARGEST:,} bytes)")
    return data


def _create(path: Path, data: bytes, mode: int) -> None:
    # The mode is given when the file is made: a private key must not be readable by others even for
    # the moment between writing and chmod. O_EXCL: never over a key that is there.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
