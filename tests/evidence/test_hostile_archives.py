"""Archives made to do harm: each refused with the entry's name, and nothing is written but into a
temporary folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import resource
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from restaudit.errors import BadInput, RestauditError, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.bundle.manifest import collision, wrong_name
from restaudit.evidence.bundle.pack import Wish, pack
from restaudit.evidence.bundle.unpack import opened
from restaudit.evidence.verify import verify

TwoVerifiers = Callable[..., tuple[int, str]]
MOST = 1 << 30
MIB = 1 << 20


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders go; it must be empty afterwards, and nothing new may lie around
    it.
    """
    inner = tmp_path / "around" / "temporary"
    inner.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(inner))
    yield inner
    assert list(inner.iterdir()) == []
    assert list(inner.parent.iterdir()) == [inner]


def entry(
    name: str, mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_DEFLATED
) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo("x", (1980, 1, 1, 0, 0, 0))
    made.filename = name  # past zipfile's own cleaning of names
    made.orig_filename = name
    made.external_attr = mode << 16
    made.create_system = 3
    made.compress_type = method
    return made


def bundle_with(
    packed: Path, out: Path, *more: tuple[zipfile.ZipInfo, bytes], drop: tuple[str, ...] = ()
) -> Path:
    """The good bundle with further entries, all of them in its manifest as far as JSON can name
    them.
    """
    with zipfile.ZipFile(packed) as archive:
        files = {n: archive.read(n) for n in archive.namelist() if n not in drop}
    manifest = json.loads(files.pop("manifest.json"))
    for name in drop:
        del manifest["files"][name]
    for info, data in more:
        manifest["files"][info.filename] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        }
    whole = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(entry("manifest.json"), whole)
        for name, data in files.items():
            archive.writestr(entry(name), data)
        for info, data in more:
            archive.writestr(info, data)
    return out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../outside.txt", "'../outside.txt': the name leaves the folder with '..'"),
        ("g01/../../outside.txt", "leaves the folder with '..'"),
        ("/etc/outside.txt", "is an absolute path"),
        ("C:/outside.txt", "holds ':', which is no part of a portable name"),
        ("C:\\outside.txt", "which is no part of a portable name"),
        ("..\\outside.txt", "holds '\\\\', which is no part of a portable name"),
        ("signatures/./x", "is not a plain path"),
        ("signatures//x", "is not a plain path"),
        ("signatures/", "is not a plain path"),
        ("", "is 0 characters long"),
        ("a" * 300, "is 300 characters long"),
        ("signatures/aux.txt", "is a device on Windows"),
        ("signatures/x.", "ends in a dot"),
        ("signatures/x ", "ends in a space"),
        ("signatures/x\n", "holds U+000A"),
        ("signatures/x\x1b[2J", "holds U+001B"),
        (
            "g01/\u0456\u04301/audit.parquet",
            "U+0456 (CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I)",
        ),
        ("pl\u0430n.json", "U+0430 (CYRILLIC SMALL LETTER A), which can look like something else"),
        ("\uff50lan.json", "U+FF50 (FULLWIDTH LATIN SMALL LETTER P)"),
        ("report/\u202elmth.x", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
        ("report/a\u200bb", "U+200B (ZERO WIDTH SPACE)"),
        ("report/\ufb01le", "U+FB01 (LATIN SMALL LIGATURE FI)"),
    ],
)
def test_a_name_that_is_no_plain_one_is_refused(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers, name: str, said: str
) -> None:
    code, told = verify_twice(bundle_with(packed, tmp_path / "bad.zip", (entry(name), b"x")))
    assert code == 5
    assert said in told
    assert told.isascii()


def test_a_name_that_ends_early_for_some_readers_is_refused(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    path = bundle_with(packed, tmp_path / "bad.zip", (entry("report/x.html_.exe"), b"x"))
    path.write_bytes(path.read_bytes().replace(b"report/x.html_.exe", b"report/x.html\0.exe"))
    code, told = verify_twice(path)
    assert code == 5
    assert "U+0000" in told


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_an_entry_that_is_no_plain_file_is_refused(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers, kind: int
) -> None:
    code, told = verify_twice(
        bundle_with(packed, tmp_path / "bad.zip", (entry("report/x", kind | 0o777), b"/etc/passwd"))
    )
    assert code == 5
    assert "report/x: is " in told
    assert ("is a symbolic link" in told) == (kind == stat.S_IFLNK)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["plan.json", "PLAN.JSON", "report/x/y", "Report/X"])
def test_two_entries_that_are_one_file_somewhere_are_refused(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers, name: str
) -> None:
    more = (entry("report/x"), b"x"), (entry(name), b"{}")
    path = bundle_with(packed, tmp_path / "bad.zip", *more)
    if (
        name == "report/x/y"
    ):  # a file where another entry has a folder; nothing is unpacked by the second verifier
        with (
            pytest.raises(VerificationFailed, match="report/x/y: is the same file as report/x"),
            opened(path, most=MOST),
        ):
            pass
        return
    code, told = verify_twice(path)
    assert code == 5
    assert f"{name}: is " in told


def test_an_encrypted_entry_is_refused(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    path = bundle_with(packed, tmp_path / "bad.zip", (entry("report/x"), b"x"))
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02", 0, data.rfind(b"report/x"))
    data[at + 8] |= 1
    path.write_bytes(data)
    code, told = verify_twice(path)
    assert code == 5
    assert "report/x: is encrypted" in told


def test_a_method_that_not_every_reader_has_is_refused(packed: Path, tmp_path: Path) -> None:
    path = bundle_with(
        packed, tmp_path / "bad.zip", (entry("report/x", method=zipfile.ZIP_LZMA), b"x")
    )
    with (
        pytest.raises(VerificationFailed, match="report/x: compressed by method 14"),
        opened(path, most=MOST),
    ):
        pass


# --- bombs


def spaces(count: int) -> bytes:
    """A line of JSON that is `count` bytes long."""
    return b'{"at":' + b" " * (count - 8) + b"1}"


def test_a_bomb_is_refused_before_it_is_read(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    path = bundle_with(packed, tmp_path / "bad.zip", (entry("report/x.json"), bytes(256 * MIB)))
    assert path.stat().st_size < 2 * MIB
    code, told = verify_twice(path)
    assert code == 5
    assert "report/x.json: unpacks to 268,435,456 bytes" in told
    assert "(a zip bomb)" in told


def test_a_gibibyte_line_of_json_in_a_bundle_is_refused(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    """Compressed a thousandfold it is a bomb; beside enough ballast that it is none, it is too long
    for a ledger.
    """
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(packed) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    manifest["files"][ledger.FILE] = {"sha256": "0" * 64, "bytes": 1 << 30}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            entry("manifest.json"),
            json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n",
        )
        for name, data in files.items():
            if name != ledger.FILE:
                archive.writestr(entry(name), data)
        long = entry(ledger.FILE)
        long._compresslevel = 1  # type: ignore[attr-defined]
        with archive.open(long, "w", force_zip64=True) as f:
            for _ in range(1024):
                f.write(b" " * MIB)
    code, told = verify_twice(path)
    assert code == 5
    assert "ledger.jsonl: 1,073,741,824 bytes; no ledger is that large" in told
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_an_entry_that_unpacks_to_more_than_it_states_is_refused(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    """Header and manifest state 1,000 bytes; the stream holds 8 MiB."""
    path = bundle_with(packed, tmp_path / "bad.zip", (entry("report/x.json"), bytes(8 * MIB)))
    data = path.read_bytes().replace(struct.pack("<L", 8 * MIB), struct.pack("<L", 1000))
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("report/x.json").file_size == 1000
    code, told = verify_twice(path)
    assert code == 5
    assert "report/x.json: " in told
    with zipfile.ZipFile(path) as archive:
        files = {n: archive.read(n) for n in archive.namelist() if n != "report/x.json"}
    manifest = json.loads(files.pop("manifest.json"))
    manifest["files"]["report/x.json"] = {
        "sha256": hashlib.sha256(bytes(1000)).hexdigest(),
        "bytes": 1000,
    }
    lying = tmp_path / "lying.zip"
    with zipfile.ZipFile(lying, "w") as archive:
        archive.writestr(
            entry("manifest.json"),
            json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n",
        )
        for name, content in files.items():
            archive.writestr(entry(name), content)
        archive.writestr(entry("report/x.json"), bytes(8 * MIB))
    lying.write_bytes(
        lying.read_bytes().replace(struct.pack("<L", 8 * MIB), struct.pack("<L", 1000))
    )
    code, told = verify_twice(lying)
    assert code == 5
    assert "report/x.json: unpacks to more than the 1,000 bytes stated" in told


def test_entries_that_share_bytes_are_refused(packed: Path, tmp_path: Path) -> None:
    path = bundle_with(
        packed,
        tmp_path / "bad.zip",
        (entry("report/x"), b"x" * 999),
        (entry("report/y"), b"y" * 999),
    )
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo("report/x").header_offset
    at = data.rfind(b"PK\x01\x02", 0, data.rfind(b"report/y"))
    data[at + 42 : at + 46] = struct.pack("<L", first + 10)
    path.write_bytes(data)
    with (
        pytest.raises(VerificationFailed, match="shares bytes of the archive with another entry"),
        opened(path, most=MOST),
    ):
        pass


def test_more_than_is_allowed_or_than_there_is_room_for_is_refused(
    packed: Path, verify_twice: TwoVerifiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = sum(e.file_size for e in zipfile.ZipFile(packed).infolist())
    with pytest.raises(VerificationFailed, match="--max-size GIB"), opened(packed, most=total - 1):
        pass
    with opened(packed, most=total):
        pass
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("restaudit.evidence.bundle.unpack.shutil.disk_usage", lambda _: full)
    with (
        pytest.raises(RestauditError, match="name another place with TMPDIR"),
        opened(packed, most=MOST),
    ):
        pass


def test_a_table_of_contents_without_end_is_not_read(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[-14:-10] = struct.pack("<HH", 60000, 60000)
    data[-10:-6] = struct.pack("<L", 0xFFFFFFF0)
    (tmp_path / "bad.zip").write_bytes(data)
    with (
        pytest.raises(VerificationFailed, match=r"a table of contents of .* is not read"),
        opened(tmp_path / "bad.zip", most=MOST),
    ):
        pass


# --- manifest and archive must agree


def test_a_missing_and_a_changed_entry_are_named(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    missing = bundle_with(packed, tmp_path / "missing.zip", drop=("g01/grow.parquet",))
    code, told = verify_twice(missing)
    assert code == 5
    assert (
        "g01/grow.parquet: step 'g01/grow' recorded it, but manifest.json does not name it" in told
    )
    with zipfile.ZipFile(packed) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    files["g01/grow.parquet"] = b"x" * len(files["g01/grow.parquet"])
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(changed, "w") as archive:
        for name, data in files.items():
            archive.writestr(entry(name), data)
    code, told = verify_twice(changed)
    assert code == 5
    assert "g01/grow.parquet: changed after manifest.json listed it" in told


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{", b"{}", b'{"format":"x"}', b"[" * 100_000])
def test_what_is_no_manifest_is_named(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers, manifest: bytes
) -> None:
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(entry(name), manifest if name == "manifest.json" else old.read(name))
    code, told = verify_twice(path)
    assert code == 5
    assert "manifest.json: " in told


def test_what_is_no_archive_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("not a zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    for name in ("text.zip", "empty.zip", "none.zip"):
        with pytest.raises(BadInput), opened(tmp_path / name, most=MOST):
            pass


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, pristine: Path) -> bytes:
    return pack(pristine, tmp_path_factory.mktemp("small") / "run.zip", Wish()).path.read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_no_byte_of_a_bundle_can_be_changed_without_a_message(
    small: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    """Every byte that means anything: a flip is refused with one message, or changes nothing that
    was read.
    """
    at = data.draw(st.integers(0, len(small) - 1))
    flipped = small[:at] + bytes([small[at] ^ data.draw(st.integers(1, 255))]) + small[at + 1 :]
    path = tmp_path / "flipped.zip"
    path.write_bytes(flipped)
    try:
        with opened(path, most=MOST) as run:
            verify(run.folder, hashed=run.hashed)
            # Dates, versions and such in the archive's headers mean nothing; every file came out as
            # it was.
            with zipfile.ZipFile(io.BytesIO(small)) as archive:
                names = [n for n in archive.namelist() if n not in run.hashed]
                assert all((run.folder / n).read_bytes() == archive.read(n) for n in names)
    except RestauditError as e:
        event("refused: " + type(e).__name__)


# --- names


@given(st.text(max_size=40))
def test_a_name_that_is_not_refused_stays_inside_wherever_it_is_unpacked(name: str) -> None:
    if wrong_name(name) is None:
        assert name.isascii()
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts
        assert Path(name).as_posix() == name


def test_names_of_a_real_run_are_fine() -> None:
    names = [
        "plan.json",
        "g01/i01/adapter/adapter.safetensors",
        "report/reward human (1).svg",
        "human_score/human.json",
    ]
    assert [wrong_name(n) for n in names] == [None] * 4
    assert collision(names) is None
    assert collision(["a/b", "A/b"]) == ("a/b", "A/b")
    assert collision(["a/b", "a"]) == ("a", "a/b")
