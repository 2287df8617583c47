"""Nothing below a folder is read or written through a link, and nothing that waits is opened."""

import os
import socket
from pathlib import Path

import pytest

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.files.plain import NotPlain


@pytest.fixture
def root(tmp_path):
    (tmp_path / "run" / "a").mkdir(parents=True)
    (tmp_path / "run" / "a" / "one.txt").write_text("one")
    (tmp_path / "victim.txt").write_text("mine")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("secret")
    return tmp_path / "run"


def a_socket(path: Path) -> None:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.close()


# What a stranger may put in the place of a file: the words of the message.
NO_FILE = {
    "a link to a file": (lambda p: p.symlink_to("../victim.txt"), "symbolic link"),
    "a link to nothing": (lambda p: p.symlink_to("../none.txt"), "symbolic link"),
    "a link to itself": (lambda p: p.symlink_to(p.name), "symbolic link"),
    "a pipe": (lambda p: os.mkfifo(p), "named pipe"),
    "a socket": (a_socket, "socket"),
    "a link to a device": (lambda p: p.symlink_to("/dev/zero"), "symbolic link"),
    "a folder": (lambda p: p.mkdir(), "a folder"),
}


@pytest.mark.parametrize("what", NO_FILE)
def test_what_is_no_plain_file_is_neither_read_nor_written(what, root, monkeypatch):
    monkeypatch.chdir(root)  # the name of a socket may be 108 bytes long
    make, words = NO_FILE[what]
    make(Path("x"))
    for use in (
        lambda: plain.opened(root, "x"),
        lambda: plain.read(root, "x"),
        lambda: plain.is_file(root, "x"),
        lambda: plain.write(root, "x", b"new"),
        lambda: plain.appended(root, "x"),
        lambda: plain.place(root / "a" / "one.txt", root, "x"),
    ):
        with pytest.raises(NotPlain, match=words) as caught:
            use()
        assert caught.value.name == "x"
    if what != "a folder":
        with pytest.raises(NotPlain, match=words):
            plain.names(root)
    assert (root.parent / "victim.txt").read_text() == "mine"
    assert not (root.parent / "none.txt").exists()


@pytest.mark.parametrize("to", ["../secrets", "a", "none"])
def test_a_folder_that_is_a_link_is_not_gone_through(to, root):
    (root / "report").symlink_to(to)
    for use in (
        lambda: plain.read(root, "report/key"),
        lambda: plain.write(root, "report/key", b"new"),
        lambda: plain.write(root, "report/deeper/key", b"new"),
        lambda: plain.make_folder(root, "report/deeper"),
        lambda: plain.appended(root, "report/key"),
        lambda: plain.names(root, "report"),
        lambda: plain.names(root),
    ):
        with pytest.raises(NotPlain, match="symbolic link"):
            use()
    assert [p.name for p in (root.parent / "secrets").iterdir()] == ["key"]
    assert (root.parent / "secrets" / "key").read_text() == "secret"


@pytest.mark.parametrize(
    "name", ["../victim.txt", "/etc/passwd", "a/../../victim.txt", "", ".", "a\0b"]
)
def test_a_name_that_leaves_the_folder_is_refused(name, root):
    for use in (plain.read, plain.is_file, lambda r, n: plain.write(r, n, b"")):
        with pytest.raises(NotPlain, match="not a name below"):
            use(root, name)


def test_a_file_is_written_whole_and_replaces_only_a_plain_one(root):
    assert plain.write(root, "new/deep/x.json", b"1") == root / "new/deep/x.json"
    plain.write(root, "new/deep/x.json", b"22")
    assert plain.read(root, "new/deep/x.json") == b"22"
    assert plain.names(root) == ["a/one.txt", "new/deep/x.json"]
    assert plain.names(root, "new") == ["new/deep/x.json"]
    assert plain.names(root, "none") == []


def test_a_file_that_cannot_be_written_leaves_nothing(root, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        plain.write(root, "a/one.txt", b"new")
    assert [p.name for p in (root / "a").iterdir()] == ["one.txt"]
    assert (root / "a" / "one.txt").read_text() == "one"


def test_the_root_itself_may_be_a_link_that_the_user_named(root):
    (root.parent / "latest").symlink_to("run")
    assert plain.read(root.parent / "latest", "a/one.txt") == b"one"
    plain.write(root.parent / "latest", "b", b"2")
    assert (root / "b").read_bytes() == b"2"


def test_more_than_is_read_is_refused_with_the_limit(root):
    with (root / "big").open("wb") as f:
        f.truncate(1 << 40)  # sparse: a terabyte of nothing
    with pytest.raises(NotPlain, match="larger than 1,024 bytes"):
        plain.read(root, "big", 1024)


def test_a_missing_file_is_missing_and_no_text_is_no_text(root):
    with pytest.raises(FileNotFoundError):
        plain.read(root, "a/two.txt")
    with pytest.raises(FileNotFoundError):
        plain.read(root, "b/two.txt")
    with pytest.raises(NotPlain, match="not a folder"):
        plain.read(root, "a/one.txt/two")
    (root / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(BadInput, match=r"not UTF-8 text \(byte 3\)"):
        plain.read_text(root, "latin")


def test_a_file_with_a_second_name_is_not_written_in_place(root):
    os.link(root.parent / "victim.txt", root / "ledger")
    with pytest.raises(NotPlain, match="hard link"):
        plain.appended(root, "ledger")
    # A new file takes the name; the other name keeps its file.
    plain.write(root, "ledger", b"new")
    assert (root.parent / "victim.txt").read_text() == "mine"


def test_appending_begins_a_file_and_goes_on_with_it(root):
    for word in (b"one", b"two"):
        with plain.appended(root, "log") as f:
            f.seek(0, 2)
            f.write(word)
    assert plain.read(root, "log") == b"onetwo"


def test_what_a_library_writes_is_made_aside_and_moved(root):
    with plain.stage(root, "step-") as folder:
        (folder / "x").write_bytes(b"made")
        plain.place(folder / "x", root, "b/c/x")
        assert plain.names(root) == ["a/one.txt", "b/c/x"]  # work in hand is not listed
    assert not folder.exists()
    (root / "report").symlink_to("../secrets")
    with plain.stage(root) as folder:
        (folder / "x").write_bytes(b"made")
        with pytest.raises(NotPlain, match="symbolic link"):
            plain.place(folder / "x", root, "report/x")


def test_a_named_file_inside_a_run_is_written_below_the_run(root):
    (root / "report").symlink_to("../secrets")
    with pytest.raises(NotPlain, match="symbolic link"):
        plain.write_out(root / "report" / "exports" / "x", b"new", run=root)
    other = root.parent / "out" / "x"
    assert plain.write_out(other, b"new", run=root) == other
    (root.parent / "y").symlink_to("victim.txt")
    with pytest.raises(NotPlain, match="symbolic link"):
        plain.write_out(root.parent / "y", b"new", run=root)


@pytest.mark.parametrize("mark", plain.MARKS)
def test_a_named_file_in_any_run_is_written_below_it_though_nobody_says_which(
    root, mark, monkeypatch
):
    (root / mark).write_text("{}")
    (root / "mine").symlink_to("../secrets")
    monkeypatch.chdir(root.parent)
    inside = Path(root.name, "mine", "x")
    for path in (inside, inside.absolute(), Path("x", "..", inside), inside.parent / "y" / "x"):
        with pytest.raises(NotPlain, match="mine: is a symbolic link"):
            plain.write_out(path, b"new")
        with pytest.raises(NotPlain, match="mine: is a symbolic link"):
            plain.make_parent(path)
    monkeypatch.chdir(root)
    with pytest.raises(NotPlain, match="mine: is a symbolic link"):
        plain.write_out(Path("mine", "x"), b"new")
    assert sorted(p.name for p in (root.parent / "secrets").iterdir()) == ["key"]
    # Of two that lie in one another the outer one may be what the stranger prepared.
    (root.parent / "secrets" / mark).write_text("{}")
    with pytest.raises(NotPlain, match="mine: is a symbolic link"):
        plain.write_out(root / "mine" / "x", b"new")
    assert plain.rooted(Path("plain", "x")) == (Path(), "plain/x")
    monkeypatch.chdir(root.parent)
    assert plain.rooted(Path(root.name, "a", "x")) == (Path(root.name), "a/x")
    assert plain.make_parent(Path(root.name, "a", "b", "x")).is_dir()


def test_a_named_file_elsewhere_may_lie_behind_a_link_of_the_user(root):
    (root.parent / "link").symlink_to("secrets")
    assert plain.make_parent(root.parent / "link" / "new" / "x").is_dir()
    plain.write_out(root.parent / "link" / "new" / "x", b"new")
    assert (root.parent / "secrets" / "new" / "x").read_bytes() == b"new"


def test_left_overs_go_and_what_they_lead_to_stays(root):
    (root / ".tmp-dir").mkdir()
    (root / ".tmp-dir" / "x").write_text("half")
    (root / ".tmp-link").symlink_to("../secrets")
    (root / ".tmp-file").write_text("half")
    os.mkfifo(root / ".tmp-pipe")
    plain.remove_temporary(root)
    assert [p.name for p in root.iterdir()] == ["a"]
    assert (root.parent / "secrets" / "key").read_text() == "secret"


# --- written piece by piece, locked, in stages


def test_what_fails_half_way_leaves_what_was_there(root):
    def half() -> None:
        with plain.created(root, "a/one.txt") as f:
            f.write(b"half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        half()
    assert (root / "a" / "one.txt").read_text() == "one"
    assert [p.name for p in (root / "a").iterdir()] == ["one.txt"]
    with plain.created(root, "new/deep.txt") as f:
        f.write(b"who")
        f.write(b"le")
    assert (root / "new" / "deep.txt").read_text() == "whole"


def test_a_file_that_is_too_large_is_refused_before_it_is_read(root):
    with (root / "x").open("wb") as f:
        f.truncate(1 << 40)
    for use in (lambda: plain.opened(root, "x", 100), lambda: plain.read(root, "x", 100)):
        with pytest.raises(NotPlain, match="larger than 100 bytes, the most that is read"):
            use()
    plain.opened(root, "a/one.txt", 3).close()


def test_a_folder_is_one_or_not_and_never_a_link(root):
    assert plain.is_folder(root, "a")
    assert not plain.is_folder(root, "b")
    assert not plain.is_folder(root / "a" / "one.txt", "b")
    (root / "b").symlink_to("a")
    (root / "c").write_text("")
    for name in ("b", "c", "a/one.txt"):
        with pytest.raises(NotPlain):
            plain.is_folder(root, name)


def test_one_holder_of_a_lock_at_a_time(root):
    with plain.locked(root, ".lock"):
        with (
            pytest.raises(plain.Busy, match="held by another process"),
            plain.locked(root, ".lock"),
        ):
            pass
        # Whoever removes it while holding it hands nothing on to who opened it before.
        (root / ".lock").unlink()
    with plain.locked(root, ".lock"), pytest.raises(plain.Busy):  # noqa: SIM117
        with plain.locked(root, ".lock", patience=0.1):
            pass


def test_a_lock_is_neither_a_link_nor_emptied(root):
    (root / ".lock").symlink_to("../victim.txt")
    with pytest.raises(NotPlain, match="symbolic link"), plain.locked(root, ".lock"):
        pass
    (root / ".lock").unlink()
    os.link(root.parent / "victim.txt", root / ".lock")
    with pytest.raises(NotPlain, match="hard link"), plain.locked(root, ".lock"):
        pass
    assert (root.parent / "victim.txt").read_text() == "mine"


def test_all_of_it_is_added_where_the_file_stands(root):
    with plain.appended(root, "a/one.txt") as f:
        f.seek(0, os.SEEK_END)
        plain.add(f, b" two" * 100_000)
    assert (root / "a" / "one.txt").read_bytes() == b"one" + b" two" * 100_000


def test_a_stage_becomes_a_folder_that_is_new_or_empty(root):
    for name in ("new", "empty"):
        (root / "empty").mkdir(exist_ok=True)
        with plain.stage(root) as made:
            plain.write(made, "x", b"1")
            plain.become(made, root / name)
        assert (root / name / "x").read_text() == "1"
    with plain.stage(root) as made, pytest.raises(OSError, match="not empty"):
        plain.become(made, root / "a")
    (root / "link").symlink_to("../secrets")
    with plain.stage(root) as made, pytest.raises(OSError, match="Not a directory"):
        plain.become(made, root / "link")
    assert sorted(p.name for p in root.iterdir()) == ["a", "empty", "link", "new"]


def test_a_copy_is_written_as_everything_is(root):
    (root / "x").symlink_to("../victim.txt")
    with plain.opened(root, "a/one.txt") as source:
        with pytest.raises(NotPlain):
            plain.copy(source, root, "x")
        plain.copy(source, root, "two.txt")
    assert (root / "two.txt").read_text() == "one"
    assert (root.parent / "victim.txt").read_text() == "mine"
