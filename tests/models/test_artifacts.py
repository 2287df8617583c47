"""The resolver: pins, mirror, cache, archives, and what it says when something is missing."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restaudit.errors import BadInput
from restaudit.models import artifacts, fetch
from restaudit.models.artifacts import CACHE, MIRROR, base_of, bases_of, digest_of, resolve

TEXT = b"people said so\n"
SHA = hashlib.sha256(TEXT).hexdigest()
CLOSED = "https://127.0.0.1:1"  # nothing listens there: a failing download that needs no network


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(MIRROR, raising=False)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv(MIRROR, str(folder))
    return folder


def wheel(
    folder: Path, entries: dict[str, bytes], name: str = "toy_data", version: str = "1.0"
) -> Path:
    """A wheel that pip accepts: metadata and a record with digests."""
    info = f"{name}-{version}.dist-info"
    files = {
        **entries,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(
        f"{n},sha256={base64.urlsafe_b64encode(hashlib.sha256(c).digest()).decode().rstrip('=')},{len(c)}\n"
        for n, c in files.items()
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as z:
        for entry, content in {**files, f"{info}/RECORD": record.encode()}.items():
            z.writestr(zipfile.ZipInfo(entry), content)
    return path


def test_a_local_file_and_its_gzipped_copy_have_one_digest(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT))
    assert resolve(str(tmp_path / "a.txt"), sha256=SHA).sha256 == SHA
    found = resolve(str(tmp_path / "a.txt.gz"), sha256=SHA, licence="MIT")
    assert (found.sha256, found.licence, found.path) == (SHA, "MIT", tmp_path / "a.txt.gz")


@given(
    files=st.dictionaries(
        st.sampled_from(["a", "b", "c/d", "c/e"]), st.binary(max_size=8), min_size=1
    )
)
def test_a_folder_s_digest_follows_names_and_content(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for folder, order in ((one, list(files)), (two, list(files)[::-1])):
        for name in order:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(files[name])
    assert digest_of(one) == digest_of(two)
    (two / next(iter(files))).write_bytes(b"changed content")
    assert digest_of(one) != digest_of(two)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "ftp:host/file",
            "unknown scheme 'ftp:'; expected hf:, hf-dataset:, pypi:, url: or a path",
        ),
        ("no/such/file.csv", "no such file or folder"),
        ("url:http://host/file", "expected url:https://host/path"),
        ("url:https://host/file", "an address needs a sha256"),
        ("pypi:name!file", "expected pypi:package==version!path/in/wheel"),
        ("pypi:name==1.0", "expected pypi:package==version!path/in/wheel"),
        ("hf:org/name", "expected hf:org/name@revision"),
        ("hf-dataset:name@main", "expected hf-dataset:org/name@revision"),
    ],
)
def test_a_spec_that_is_not_one_says_what_was_expected(spec: str, message: str) -> None:
    with pytest.raises(BadInput, match="^" + spec.split(":")[0]) as error:
        resolve(spec)
    assert message in str(error.value)


def test_a_wrong_pin_names_both_digests(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT)
    with pytest.raises(BadInput, match=f"sha256 differs: expected {'0' * 64}, got {SHA}"):
        resolve(str(tmp_path / "a.txt"), sha256="0" * 64)
    with pytest.raises(BadInput, match="must be 64 lower-case hex digits"):
        resolve(str(tmp_path / "a.txt"), sha256="abc")


def test_the_mirror_is_looked_up_first_by_fragment_or_by_address(mirror: Path) -> None:
    (mirror / "set").mkdir()
    (mirror / "set" / "named.txt.gz").write_bytes(gzip.compress(TEXT))
    found = resolve(f"url:{CLOSED}/x.txt#mirror=set/named.txt", sha256=SHA)
    assert found.path == mirror / "set" / "named.txt.gz"
    (mirror / "127.0.0.1" / "d").mkdir(parents=True)
    (mirror / "127.0.0.1" / "d" / "x.txt").write_bytes(TEXT)
    assert resolve("url:https://127.0.0.1/d/x.txt", sha256=SHA).path.name == "x.txt"


def test_a_mirrored_file_that_differs_is_an_error_not_a_reason_to_look_elsewhere(
    mirror: Path,
) -> None:
    (mirror / "x.txt").write_bytes(b"something else")
    with pytest.raises(BadInput, match=r"mirror/x\.txt: sha256 differs"):
        resolve(f"url:{CLOSED}/x.txt#mirror=x.txt", sha256=SHA)


def test_offline_the_message_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(
        BadInput, match=rf"cannot be fetched .*download {CLOSED}/d/x\.txt to n\.txt .*set {MIRROR}"
    ):
        resolve(f"url:{CLOSED}/d/x.txt#mirror=n.txt", sha256=SHA)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BadInput, match=rf"pip could not download toy-data==1\.0 .*set {MIRROR}"):
        resolve("pypi:toy-data==1.0!toy/x.txt")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for spec in ("hf:org/name@main", "hf-dataset:org/name@main!x.jsonl"):
        with pytest.raises(
            BadInput,
            match=rf"cannot be fetched from the Hugging Face hub .*hf/org/name@main.*{MIRROR}",
        ):
            resolve(spec)
    assert not list((tmp_path / "cache").glob("**/.new-*"))


def test_a_missing_mirror_folder_and_a_path_out_of_it_are_refused(
    monkeypatch: pytest.MonkeyPatch, mirror: Path
) -> None:
    with pytest.raises(BadInput, match=r"must be a relative path without '\.\.'"):
        resolve(f"url:{CLOSED}/x#mirror=../secret", sha256=SHA)
    with pytest.raises(BadInput, match="the only fragment is #mirror="):
        resolve(f"url:{CLOSED}/x#other=y", sha256=SHA)
    monkeypatch.setenv(MIRROR, str(mirror / "absent"))
    with pytest.raises(BadInput, match=f"{MIRROR}=.*absent: no such folder"):
        resolve(f"url:{CLOSED}/x", sha256=SHA)


def test_a_pickle_s_address_says_that_it_is_not_read(mirror: Path) -> None:
    with pytest.raises(BadInput, match=r"published as a Python pickle.*copy at d/data\.jsonl"):
        resolve(f"url:{CLOSED}/data.pkl#mirror=d/data.jsonl", sha256=SHA)


def test_a_hub_copy_in_the_mirror_is_used(mirror: Path) -> None:
    folder = mirror / "hf" / "org" / "name@main"
    folder.mkdir(parents=True)
    (folder / "x.jsonl").write_bytes(TEXT)
    assert resolve("hf:org/name@main").path == folder
    assert resolve("hf-dataset:org/name@main!x.jsonl", sha256=SHA).sha256 == SHA


def test_pip_fetches_a_wheel_once_and_never_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel(
        tmp_path / "index",
        {"toy/model/a.txt": TEXT, "toy/model/sub/b.txt": b"b", "toy/__init__.py": b"1/0"},
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.parent))
    pin = fetch.raw_digest(made)
    first = resolve("pypi:toy-data==1.0!toy/model", sha256=pin)
    assert first.sha256 == pin
    assert sorted(p.relative_to(first.path).as_posix() for p in first.path.rglob("*")) == [
        "a.txt",
        "sub",
        "sub/b.txt",
    ]
    made.unlink()
    assert resolve("pypi:toy-data==1.0!toy/model", sha256=pin) == first
    assert resolve("pypi:toy-data==1.0!toy/model").path == first.path
    with pytest.raises(BadInput, match="pip could not download"):
        resolve("pypi:toy-data==1.0!toy/model", sha256="1" * 64)


def test_a_wheel_in_the_mirror_needs_no_pip(mirror: Path) -> None:
    pin = fetch.raw_digest(wheel(mirror / "wheels", {"toy/a.txt": TEXT}))
    assert resolve("pypi:toy-data==1.0!toy/a.txt", sha256=pin).path.read_bytes() == TEXT
    with pytest.raises(BadInput, match=r"from .*wheels/toy_data.*sha256 differs"):
        resolve("pypi:toy-data==1.0!toy/a.txt", sha256="1" * 64)
    with pytest.raises(
        BadInput,
        match=r"the wheel has no 'toy/b\.txt'; at its top are: toy, toy_data-1\.0\.dist-info",
    ):
        resolve("pypi:toy-data==1.0!toy/b.txt")


def test_an_archive_cannot_write_outside_the_cache(mirror: Path, tmp_path: Path) -> None:
    wheel(mirror, {"toy/../../../evil.txt": TEXT, "toy/a.txt": TEXT})
    with pytest.raises(BadInput, match="would be written outside the cache"):
        resolve("pypi:toy-data==1.0!toy")
    assert not list(tmp_path.rglob("evil.txt"))
    with pytest.raises(BadInput, match="is not a path inside a wheel"):
        resolve("pypi:toy-data==1.0!toy/../..")


CHANGED = "the cached copy was changed after it was made; delete"


def forge(path: Path, content: bytes) -> None:
    """Other bytes under the same name, of the same size and times, with what an earlier version
    kept beside them to compare made to fit.
    """
    before = path.stat()
    path.write_bytes(content.ljust(before.st_size)[: before.st_size])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for seal in path.parent.glob(".digest"):
        seal.write_text(digest_of(path), encoding="ascii")


@pytest.mark.parametrize("pinned", [True, False])
def test_what_was_taken_out_of_a_wheel_is_compared_with_the_wheel(
    mirror: Path, pinned: bool
) -> None:
    made = wheel(mirror, {"toy/m/a.txt": TEXT, "toy/m/b/c.txt": TEXT})
    pin = fetch.raw_digest(made) if pinned else None
    found = resolve("pypi:toy-data==1.0!toy/m", sha256=pin)
    made.unlink()
    assert resolve("pypi:toy-data==1.0!toy/m", sha256=pin) == found
    forge(found.path / "b" / "c.txt", b"changed")
    with pytest.raises(BadInput, match=CHANGED):
        resolve("pypi:toy-data==1.0!toy/m", sha256=pin)


def more(path: Path) -> None:
    (path / "b" / "more.txt").write_bytes(b"more")


def fewer(path: Path) -> None:
    (path / "a.txt").unlink()


def a_link(path: Path) -> None:
    copy = path.parents[4] / "copy.txt"
    (path / "a.txt").rename(copy)
    (path / "a.txt").symlink_to(copy)


def a_pipe(path: Path) -> None:
    (path / "a.txt").unlink()
    os.mkfifo(path / "a.txt")


@pytest.mark.parametrize("change", [more, fewer, a_link, a_pipe])
def test_nothing_else_may_lie_in_the_cache(mirror: Path, change: Callable[[Path], None]) -> None:
    wheel(mirror, {"toy/m/a.txt": TEXT, "toy/m/b/c.txt": TEXT})
    found = resolve("pypi:toy-data==1.0!toy/m")
    change(found.path)
    with pytest.raises(BadInput, match=CHANGED):
        resolve("pypi:toy-data==1.0!toy/m")


def test_another_wheel_under_the_pinned_digest_is_not_used(mirror: Path, tmp_path: Path) -> None:
    """Whoever exchanges the wheel and all that was taken out of it changes its digest."""
    made = wheel(mirror, {"toy/a.txt": TEXT})
    pin = fetch.raw_digest(made)
    found = resolve("pypi:toy-data==1.0!toy/a.txt", sha256=pin)
    other = wheel(tmp_path / "other", {"toy/a.txt": b"changed"})
    (kept,) = (tmp_path / "cache").rglob(artifacts.WHEEL)
    other.replace(kept)
    forge(found.path, b"changed")
    for asked in (pin, None):
        with pytest.raises(BadInput, match=rf"wheel\.whl: {CHANGED} .*{pin}"):
            resolve("pypi:toy-data==1.0!toy/a.txt", sha256=asked)


def test_what_an_earlier_version_left_without_its_wheel_is_fetched_again(
    mirror: Path, tmp_path: Path
) -> None:
    made = wheel(mirror, {"toy/a.txt": TEXT})
    pin = fetch.raw_digest(made)
    found = resolve("pypi:toy-data==1.0!toy/a.txt", sha256=pin)
    (kept,) = (tmp_path / "cache").rglob(artifacts.WHEEL)
    kept.unlink()
    assert resolve("pypi:toy-data==1.0!toy/a.txt", sha256=pin) == found
    kept.unlink()
    made.unlink()
    with pytest.raises(BadInput, match="pip could not download"):
        resolve("pypi:toy-data==1.0!toy/a.txt", sha256=pin)


@pytest.mark.parametrize("member", ["", "!d/x.txt"])
def test_a_download_is_compared_with_its_pin_whenever_it_is_used(
    monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    fetched = []

    def download(address: str, target: Path, **_: str) -> None:
        fetched.append(address)
        if not member:
            target.write_bytes(gzip.compress(TEXT))
            return
        with zipfile.ZipFile(target, "w") as z:
            z.writestr("d/x.txt", TEXT)

    monkeypatch.setattr(fetch, "download", download)
    spec = f"url:https://host/set/x.txt{member}"
    found = resolve(spec, sha256=SHA)
    assert (found.path.read_bytes(), found.sha256) == (TEXT, SHA)
    assert resolve(spec, sha256=SHA) == found
    assert len(fetched) == 1
    forge(found.path, b"changed")
    with pytest.raises(BadInput, match=CHANGED):
        resolve(spec, sha256=SHA)
    forge(found.path, gzip.compress(TEXT))  # the same content to a reader that unpacks
    with pytest.raises(BadInput, match=CHANGED):
        resolve(spec, sha256=SHA)


def test_what_was_made_of_a_file_is_sealed_with_a_key_outside_the_cache(tmp_path: Path) -> None:
    made = []

    def build(folder: Path) -> None:
        made.append(folder)
        (folder / "model").mkdir()
        (folder / "model" / "w.txt").write_bytes(TEXT)

    slot = Path("converted", "x-hf3")
    path = artifacts.cached(slot, "model", build)
    assert artifacts.cached(slot, "model", build) == path
    assert len(made) == 1
    key = tmp_path / "state" / "restaudit" / "cache.key"
    assert (key.stat().st_size, key.stat().st_mode & 0o777) == (32, 0o600)
    forge(path / "w.txt", b"changed")
    with pytest.raises(BadInput, match=CHANGED):
        artifacts.cached(slot, "model", build)
    # Nor does the seal of one entry fit another, or a seal that somebody else made.
    (path / "w.txt").write_bytes(TEXT)
    assert artifacts.cached(slot, "model", build) == path
    shutil.copytree(path.parent, path.parent.with_name("y-hf3"))
    with pytest.raises(BadInput, match=CHANGED):
        artifacts.cached(Path("converted", "y-hf3"), "model", build)
    key.write_bytes(b"k" * 32)
    with pytest.raises(BadInput, match=CHANGED):
        artifacts.cached(slot, "model", build)


def test_many_processes_agree_on_one_key(tmp_path: Path) -> None:
    code = "from restaudit.files.cache import cache_key; print(cache_key().hex())"
    begun = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)
    ]
    keys = {process.communicate()[0] for process in begun}
    assert len(keys) == 1
    assert len(keys.pop()) == 65


def test_files_that_change_between_digest_and_use_are_refused(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    (folder / "tokenizer.json").write_bytes(TEXT)
    resolve(str(folder))
    artifacts.check_unchanged(folder, "policy")
    forge(folder / "model.safetensors", b"xxxx")
    artifacts.check_unchanged(folder, "policy", weights=False)
    with pytest.raises(BadInput, match=r"^policy: .*model\.safetensors was changed between"):
        artifacts.check_unchanged(folder, "policy")
    resolve(str(folder))
    (folder / "more.json").write_bytes(b"{}")
    with pytest.raises(BadInput, match=r"more\.json was changed between"):
        artifacts.check_unchanged(folder, "policy", weights=False)
    artifacts.check_unchanged(tmp_path / "never resolved", "policy")


@pytest.mark.parametrize("kind", ["gz", "zip", "tar", "wheel"])
def test_a_broken_archive_is_one_sentence(tmp_path: Path, kind: str) -> None:
    """A fuzz: bytes exchanged, put in and cut anywhere."""
    draw = random.Random(8)
    good = tmp_path / "good"
    body = draw.randbytes(600) + TEXT * 40
    if kind == "gz":
        good.write_bytes(gzip.compress(body))
    elif kind == "tar":
        with tarfile.open(good, "w:xz") as t:
            entry = tarfile.TarInfo("d/x.txt")
            entry.size = len(body)
            t.addfile(entry, io.BytesIO(body))
    else:
        with zipfile.ZipFile(good, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr("d/x.txt", body)
    member = None if kind == "gz" else "d/x.txt"
    for _ in range(300):
        data = bytearray(good.read_bytes())
        place = draw.randrange(len(data))
        how = draw.randrange(3)
        if how == 0:
            data[place : place + 2] = draw.randbytes(2)
        elif how == 1:
            data[place:place] = draw.randbytes(9)
        else:
            del data[place:]
        (tmp_path / "bad").write_bytes(data)
        with contextlib.suppress(BadInput):
            if kind == "wheel":
                fetch.wheel_files(tmp_path / "bad", "d", spec="pypi:x")
                fetch.extract_wheel(tmp_path / "bad", "d", tmp_path / "out", spec="pypi:x")
            else:
                fetch.unpack(tmp_path / "bad", member, tmp_path / "out.txt", spec="url:x")
            digest_of(tmp_path / "bad")


def test_many_at_once_end_with_one_whole_copy(mirror: Path, tmp_path: Path) -> None:
    wheel(mirror, {f"toy/{i}.txt": TEXT * 100 for i in range(20)})
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: resolve("pypi:toy-data==1.0!toy"), range(16)))
    assert len(found) == 1
    assert len(list(found.pop().path.iterdir())) == 20
    assert not list((tmp_path / "cache").rglob(".*"))


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(mirror, {"toy/a.txt": TEXT})
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(CACHE, str(tmp_path / "file"))
    with pytest.raises(BadInput, match=f"cannot be made .*set {CACHE}"):
        resolve("pypi:toy-data==1.0!toy/a.txt")


@pytest.mark.parametrize("kind", ["tar.gz", "zip", "gz", "plain"])
def test_a_download_is_unpacked_to_the_content_that_is_pinned(tmp_path: Path, kind: str) -> None:
    archive, member = tmp_path / "download", None if kind in ("gz", "plain") else "d/x.txt"
    if kind == "tar.gz":
        with tarfile.open(archive, "w:gz") as t:
            entry = tarfile.TarInfo("d/x.txt")
            entry.size = len(TEXT)
            t.addfile(entry, io.BytesIO(TEXT))
    elif kind == "zip":
        with zipfile.ZipFile(archive, "w") as z:
            z.writestr("d/x.txt", TEXT)
    else:
        archive.write_bytes(gzip.compress(TEXT) if kind == "gz" else TEXT)
    fetch.unpack(archive, member, tmp_path / "out", spec="url:x")
    assert (tmp_path / "out").read_bytes() == TEXT
    if member:
        with pytest.raises(BadInput, match="the archive has no file 'nope'"):
            fetch.unpack(archive, "nope", tmp_path / "out", spec="url:x")


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(b"\x1f\x8bnope")
    for member in (None, "x"):
        with pytest.raises(BadInput, match="url:x: the archive cannot be read"):
            fetch.unpack(tmp_path / "download", member, tmp_path / "out", spec="url:x")
    (tmp_path / "half.gz").write_bytes(gzip.compress(TEXT)[:-4])
    with pytest.raises(BadInput, match="the gzip file ends too early"):
        resolve(str(tmp_path / "half.gz"))


def test_the_cache_is_the_user_s_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE)
    assert artifacts.cache_folder().name == "restaudit"


# --- adapters and their bases


def adapter(folder: Path, base: str | None, **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": base, **more}), "utf-8"
    )
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def model(folder: Path, content: bytes = b"base") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    return folder


def test_an_adapter_s_digest_is_that_of_itself_and_its_base(tmp_path: Path) -> None:
    base, folder = model(tmp_path / "base"), adapter(tmp_path / "adapter", str(tmp_path / "base"))
    found = resolve(str(folder))
    both = f"adapter {digest_of(folder)}\nbase {digest_of(base)}\n"
    assert found.sha256 == hashlib.sha256(both.encode()).hexdigest()
    assert found.base is not None
    assert (found.base.path, found.base.sha256) == (base, digest_of(base))
    assert found.base_facts() == {"base": {"spec": str(base), "sha256": digest_of(base)}}
    assert resolve(str(base)).base_facts() == {}
    assert resolve(str(folder), sha256=found.sha256) == found
    model(base, b"another base")
    with pytest.raises(BadInput, match=f"sha256 differs: expected {found.sha256}"):
        resolve(str(folder), sha256=found.sha256)


def test_the_digest_goes_down_to_the_last_base_and_a_circle_is_refused(tmp_path: Path) -> None:
    root = model(tmp_path / "root")
    adapter(tmp_path / "inner", "../root")
    outer = adapter(tmp_path / "outer", "../inner")
    before = resolve(str(outer)).sha256
    assert [p.resolve() for p in bases_of(outer)] == [tmp_path / "inner", root]
    model(root, b"another base")
    assert resolve(str(outer)).sha256 != before
    adapter(tmp_path / "inner", "../outer")
    with pytest.raises(
        BadInput, match=r"names .*outer as its base model, which is this adapter itself or one that"
    ):
        resolve(str(outer))
    with pytest.raises(BadInput, match="this adapter itself"):
        bases_of(adapter(tmp_path / "own", "."))


def test_a_base_is_a_path_before_it_is_a_name_on_the_hub(tmp_path: Path, mirror: Path) -> None:
    hub = model(mirror / "hf" / "org" / "name@main")
    pinned = model(mirror / "hf" / "org" / "name@v2")
    old = model(mirror / "hf" / "gpt2@main")
    folder = adapter(tmp_path / "adapter", "org/name")
    assert base_of(folder) == hub
    assert base_of(adapter(folder, "org/name", revision="v2")) == pinned
    assert base_of(adapter(folder, "hf:org/name@v2")) == pinned
    assert base_of(adapter(folder, "gpt2")) == old
    beside = model(folder / "org" / "name")
    assert base_of(adapter(folder, "org/name")) == beside
    assert base_of(hub) is None


def test_a_base_may_be_a_file_of_a_wheel(tmp_path: Path, mirror: Path) -> None:
    pin = hashlib.sha256(wheel(mirror, {"toy/model.gguf": b"GGUF"}).read_bytes()).hexdigest()
    found = resolve(str(adapter(tmp_path / "adapter", "pypi:toy-data==1.0!toy/model.gguf")))
    assert found.base is not None
    assert (found.base.path.name, found.base.sha256) == ("model.gguf", pin)


def test_a_base_that_is_nowhere_is_one_message_with_every_place_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = adapter(tmp_path / "adapter", "org/gone")
    with pytest.raises(BadInput) as e:
        resolve(str(folder))
    said = str(e.value)
    assert said.startswith(
        f"{folder}: is an adapter of the model 'org/gone', which was not found; looked for the path"
    )
    assert (
        f"{folder / 'org/gone'}, the path org/gone and hf:org/gone@main: cannot be fetched" in said
    )
    assert f"hf/org/gone@main in a folder and set {MIRROR}" in said
    assert said.endswith("or write where it is into base_model_name_or_path of adapter_config.json")
    with pytest.raises(
        BadInput, match=r"looked for the path /no/such/model\. Bring that model there"
    ):
        resolve(str(adapter(folder, "/no/such/model")))
    with pytest.raises(BadInput, match="does not say which model the adapter belongs to"):
        resolve(str(adapter(folder, None)))
    for text in ("{", "[" * 100_000, "[]", '{"a": NaN}', '{"a": 1, "a": 2}'):
        (folder / "adapter_config.json").write_text(text, "utf-8")
        with pytest.raises(BadInput, match=r"cannot be read as JSON.*adapter_config\.json"):
            resolve(str(folder))


@pytest.mark.parametrize(
    "name", ["/", "~", "~nobody-of-this-name/x", "a" * 5000, "x\0y", "/dev/zero"]
)
def test_a_base_that_is_no_model_is_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BadInput, match=r"was not found|only plain files|5,000 characters"):
        resolve(str(adapter(tmp_path / "adapter", name)))
    for spec in ("a" * 5000, "~nobody-of-this-name/x"):
        with pytest.raises(BadInput, match="no such file or folder"):
            resolve(spec)


def test_a_folder_that_is_an_adapter_and_a_whole_model_is_refused(tmp_path: Path) -> None:
    folder = adapter(model(tmp_path / "both"), str(model(tmp_path / "base")))
    with pytest.raises(
        BadInput, match=r"holds an adapter .* and a whole model \(model\.safetensors\)"
    ):
        resolve(str(folder))


def test_an_adapter_in_a_wheel_is_pinned_with_its_base_and_taken_from_the_cache(
    tmp_path: Path, mirror: Path
) -> None:
    base = model(tmp_path / "base")
    config = json.dumps({"base_model_name_or_path": str(base)}).encode()
    path = wheel(
        mirror,
        {"toy/model/adapter_config.json": config, "toy/model/adapter_model.safetensors": b"w"},
    )
    spec = "pypi:toy-data==1.0!toy/model"
    found = resolve(spec)
    assert found.sha256 != hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    assert resolve(spec, sha256=found.sha256) == found
    model(base, b"another base")
    with pytest.raises(BadInput, match="sha256 differs"):
        resolve(spec, sha256=found.sha256)


def test_a_wheel_that_is_not_the_pinned_one_is_not_unpacked(tmp_path: Path, mirror: Path) -> None:
    wheel(mirror, {"toy/a.txt": TEXT})
    with pytest.raises(BadInput, match="sha256 differs"):
        resolve("pypi:toy-data==1.0!toy/a.txt", sha256="1" * 64)
    assert not list((tmp_path / "cache").rglob("a.txt"))


def test_code_of_a_repository_is_not_fetched() -> None:
    assert "*.py" in fetch._NOT_FETCHED
