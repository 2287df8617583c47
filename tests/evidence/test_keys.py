"""Keys: made with care, never overwritten, refused with one clear message."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from restaudit.errors import BadInput
from restaudit.evidence.seal.keys import load_private, load_public, new_key


def test_a_new_pair_is_private_and_its_id_is_the_digest_of_the_raw_public_key(
    tmp_path: Path,
) -> None:
    private, public, key_id = new_key(tmp_path / "mine")
    assert (private.name, public.name) == ("restaudit-key.pem", "restaudit-key.pub.pem")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert load_private(private).key_id == load_public(public).key_id == key_id
    assert key_id == hashlib.sha256(load_public(public).key.public_bytes_raw()).hexdigest()


def test_the_private_file_can_be_named(tmp_path: Path) -> None:
    private, public, _ = new_key(tmp_path / "new" / "ada.pem")
    assert (private, public) == (tmp_path / "new" / "ada.pem", tmp_path / "new" / "ada.pub.pem")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    private, public, _ = new_key(tmp_path)
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(
        BadInput, match=r"restaudit-key\.pem: is there already; a key is never overwritten"
    ):
        new_key(tmp_path)
    private.unlink()
    with pytest.raises(BadInput, match=r"restaudit-key\.pub\.pem: is there already"):
        new_key(tmp_path)
    assert before[1] == public.read_bytes()
    public.unlink()
    private.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="is there already"):
        new_key(tmp_path)


def test_a_name_that_is_neither_a_folder_nor_pem_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a folder, or a file name that ends in \.pem"):
        new_key(tmp_path / "key.txt")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="cannot be written"):
        new_key(tmp_path / "file" / "key.pem")


def test_what_is_no_key_is_said(tmp_path: Path, key_file: Path, public_file: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("not a key")
    junk.chmod(0o600)
    public = tmp_path / "public.pem"
    public.write_bytes(public_file.read_bytes())
    public.chmod(0o600)
    for path, message in (
        (junk, "not a private key in PEM"),
        (public, "this is a public key, and a private one signs"),
        (tmp_path / "none.pem", "cannot be read: No such file"),
    ):
        with pytest.raises(BadInput, match=message):
            load_private(path)
    for path, message in (
        (junk, "not a public key in PEM"),
        (key_file, "this is a PRIVATE key: never hand it out"),
    ):
        with pytest.raises(BadInput, match=message):
            load_public(path)
    large = tmp_path / "large.pem"
    large.write_bytes(bytes(1 << 20))
    with pytest.raises(BadInput, match="not a key"):
        load_public(large)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "ec.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(BadInput, match="expected Ed25519"):
        load_private(path)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(BadInput, match="the key is encrypted"):
        load_private(path)
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(BadInput, match="expected Ed25519"):
        load_public(path)


def test_a_private_key_that_others_can_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    private, _, _ = new_key(tmp_path)
    private.chmod(0o644)
    with pytest.raises(BadInput, match=r"mode 0644.*chmod 600"):
        load_private(private)
