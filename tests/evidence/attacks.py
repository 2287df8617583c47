"""The table of attacks: what somebody does to a run folder or its bundle, and what both verifiers must
say of it.

`ATTACKS` holds one row an attack. Each damages a copy of a small run; where an attacker would, the
chain, the manifest and even the signatures are made to fit again around the damage.
`tests/evidence/test_attacks.py` runs both verifiers on every row, `benchmarks/attacks.py` counts by
area. A new kind of attack is a new row here, and a new mutation in `mutations.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rfc8785

from restaudit.evidence import ledger
from restaudit.evidence.override import override
from restaudit.evidence.seal.keys import load_private, new_key
from restaudit.evidence.seal.signer import Signer, keep_public, sign_report
from restaudit.evidence.seal.statements import (
    FOLDER,
    HEAD,
    PLAN,
    REPORT,
    bundle_statement,
    restated,
    sign,
)
from tests.evidence.runs import loosen, ratings, signed_run
from tests.recorded import LOOKS

MATCHES, NOT_READABLE, FAILS = 0, 2, 5
MIB = 1 << 20
FIRST, LAST = LOOKS[0], LOOKS[-1]
MEASURED = f"{FIRST}/measurements.json"
DECIDED = f"{FIRST}/decision.json"
STAGE = f"{FIRST}/stage1/measurements.json"
RATED = f"{FIRST}/ratings.parquet"

Json = dict[str, Any]
Damage = Callable[[Path], "Path | None"]


@dataclass(frozen=True)
class Attack:
    """One row: `damage` changes a copy of the run `base` in place, or returns what to check instead.

    `expected` is the exit code of both verifiers. `packed`: the folder is made a bundle afterwards,
    its manifest fitting what is there. `key`: checked with the operator's public key. `shape`: the
    document of docs/record.schema.json that is no longer what it should be, and where it lies.
    `says`: words of the first verifier's message, which names the thing.
    """

    area: str
    name: str
    damage: Damage
    base: str = "unsigned"
    expected: int = FAILS
    packed: bool = False
    key: bool = False
    shape: tuple[str, str] | None = None
    says: str = ""

    def __str__(self) -> str:
        return f"{self.area}: {self.name}" + (" (bundle)" if self.packed else "")


class Bench:
    """Where attacks are tried: the runs they begin with, made once, and the keys."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.key_file = new_key(place / "key.pem")[0]
        self.public_file = place / "key.pub.pem"
        self.operator = Signer(load_private(self.key_file))
        self.stranger = Signer(load_private(new_key(place / "other.pem")[0]))
        made = {"signed": self.operator, "unsigned": None}
        for name, signer in made.items():
            signed_run(place / name, signer)
            halted = signed_run(place / f"{name} halted", signer, halted=True)
            going = shutil.copytree(halted, place / f"{name} overridden")
            override(going, by="Ada Moreau", reason="the raters saw an older version", given=signer)
            signed_run(place / f"{name} half", signer, until=f"{LAST}/audit")
        for name in made:
            reported = shutil.copytree(place / name, place / f"{name} reported")
            render(reported)
        sealed = shutil.copytree(place / "signed reported", place / "sealed")
        sign_report(sealed, self.operator)

    def copy(self, base: str, name: str) -> Path:
        """A copy of a run to damage."""
        run = self.place / "tried" / name
        shutil.rmtree(run.parent, ignore_errors=True)
        return Path(shutil.copytree(self.place / base, run))

    def damaged(self, attack: Attack) -> Path:
        """What the verifiers shall check."""
        global BENCH
        BENCH = self
        run = self.copy(attack.base, "run")
        what = attack.damage(run) or run
        return bundled(what, run.with_name("run.zip")) if attack.packed else what


# The bench in use: damage functions need its keys.
BENCH: Bench


def render(run: Path, page: bytes = b"<p>kept: 6</p>", **more: Any) -> None:
    """A report as a renderer leaves it, of the last head unless `more` says otherwise."""
    (run / "report").mkdir(exist_ok=True)
    (run / "report" / "report.html").write_bytes(page)
    manifest = {
        "schema": 1,
        "files": {"report.html": digest(page)},
        "head": lines(run)[-1]["hash"],
        "renderer": {"restaudit": "1"},
        **more,
    }
    (run / "report" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


# --- what whoever can write the folder can make fit again


def digest(data: bytes) -> Json:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def lines(run: Path) -> list[Json]:
    return [json.loads(x) for x in (run / ledger.FILE).read_bytes().splitlines()]


def write_lines(run: Path, events: list[Any]) -> None:
    """The ledger of these events, each with the hash of the one before, and its own."""
    out, prev = [], ledger.GENESIS
    for event in events:
        body = {k: v for k, v in event.items() if k != "hash"}
        body |= {"prev": prev} if "prev" in body else {}
        whole = rfc8785.dumps(body)
        prev = hashlib.sha256(whole).hexdigest()
        out.append(rfc8785.dumps({**body, **({"hash": prev} if "hash" in event else {})}) + b"\n")
    (run / ledger.FILE).write_bytes(b"".join(out))


def refit(run: Path) -> None:
    """The ledger over the files as they are now."""
    events = lines(run)
    for event in events:
        for name in (*event["outputs"], *event["context"]):
            if (run / name).is_file():
                place = "outputs" if name in event["outputs"] else "context"
                event[place][name] = digest((run / name).read_bytes())
    write_lines(run, events)


def files_of(run: Path) -> dict[str, bytes]:
    names = [p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()]
    aside = ("human/", "trainer/", "writer.json", ".lock")
    return {n: (run / n).read_bytes() for n in sorted(names) if not n.startswith(aside)}


def fitting(files: Mapping[str, bytes]) -> Json:
    """A bundle's manifest that fits these files, as far as their ledger can be read."""
    try:
        events = [json.loads(x) for x in files[ledger.FILE].splitlines()]
        compared = [{k: e[k] for k in ("step", "outputs", "content")} for e in events]
        whole = hashlib.sha256(rfc8785.dumps(compared)).hexdigest()
        run_id, head = events[0]["at"]["run_id"], events[-1]["hash"]
    except (KeyError, ValueError, TypeError, IndexError):
        events, whole, run_id, head = [{}], "0" * 64, "r", "0" * 64
    return {
        "format": "restaudit-bundle",
        "schema": 1,
        "run_id": run_id,
        "seq": len(events) - 1,
        "head": head,
        "comparison_digest": whole,
        "without": [],
        "files": {n: digest(d) for n, d in files.items() if not n.startswith("manifest.")},
        "redacted": {},
        "left_out": {},
        "notes": [],
    }


def entry(
    name: str, mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_DEFLATED
) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo("x", (1980, 1, 1, 0, 0, 0))
    made.filename = made.orig_filename = name  # past zipfile's own cleaning of names
    made.external_attr, made.create_system, made.compress_type = mode << 16, 3, method
    return made


def zipped(files: Mapping[str, bytes], out: Path, *more: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(entry(name), data)
        for info, data in more:
            archive.writestr(info, data)
    return out


def bundled(run: Path, out: Path, change: Callable[[Json], object] = lambda _: None) -> Path:
    files = files_of(run)
    manifest = fitting(files)
    change(manifest)
    return zipped({"manifest.json": rfc8785.dumps(manifest) + b"\n", **files}, out)


# --- kinds of damage


def event(number: int, change: Callable[[Json], Any]) -> Damage:
    """Change one event of the ledger; the chain is rebuilt around it."""

    def damage(run: Path) -> None:
        events = lines(run)
        change(events[number])
        write_lines(run, events)

    return damage


def written(number: int, change: Callable[[bytes], bytes]) -> Damage:
    """Change one line of the ledger as it is written, and the hash of it and of all after it where
    that can be.
    """

    def damage(run: Path) -> None:
        data = (run / ledger.FILE).read_bytes().splitlines(keepends=True)
        data[number] = change(data[number])
        (run / ledger.FILE).write_bytes(b"".join(data))

    return damage


def document(name: str, change: Callable[[Any], Any]) -> Damage:
    """Change a recorded JSON document; the chain is rebuilt around it."""

    def damage(run: Path) -> None:
        value = json.loads((run / name).read_text(encoding="utf-8"))
        changed = change(value)
        value = value if changed is None or isinstance(changed, bool) else changed
        (run / name).write_text(json.dumps(value, indent=2, sort_keys=True), encoding="utf-8")
        refit(run)

    return damage


def text(name: str, old: str | bytes, new: str | bytes) -> Damage:
    """Change the text of a recorded document; the chain is rebuilt around it."""
    before, after = (x.encode() if isinstance(x, str) else x for x in (old, new))

    def damage(run: Path) -> None:
        data = (run / name).read_bytes()
        assert before in data, f"{name} does not hold {before!r}"
        (run / name).write_bytes(data.replace(before, after, 1))
        refit(run)

    return damage


def put(name: str, data: bytes = b"x") -> Damage:
    """Put a file into the folder."""

    def damage(run: Path) -> None:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(data)

    return damage


def made(name: str, make: Callable[[Path], object]) -> Damage:
    """Put something that is no plain file where `name` says, in the place of what is there."""

    def damage(run: Path) -> None:
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            shutil.move(path, run.with_name("moved"))
        make(path)

    return damage


def link(path: Path) -> None:
    path.symlink_to("../moved")


def socket(path: Path) -> None:
    import socket as sockets

    place = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with sockets.socket(sockets.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(place)


def recorded(name: str, place: str = "outputs", number: int = 3) -> Damage:
    """Record a file of this name with its true digest."""

    def damage(run: Path) -> None:
        put("g01/extra.json")(run)
        events = lines(run)
        events[number][place][name] = digest(b"x")
        write_lines(run, events)
        if not name.startswith((".", "/")) and name:
            put(name)(run)
        if name != "g01/extra.json":
            (run / "g01/extra.json").unlink()

    return damage


def moved(number: int, name: str, source: str, target: str) -> Damage:
    def change(e: Json) -> None:
        e[target][name] = e[source].pop(name)

    return event(number, change)


def manifest(change: Callable[[Json], object]) -> Damage:
    """A bundle whose manifest was changed."""
    return lambda run: bundled(run, run.with_name("run.zip"), change)


def container(change: Callable[[bytes], bytes]) -> Damage:
    """A bundle whose bytes were changed."""

    def damage(run: Path) -> Path:
        out = bundled(run, run.with_name("run.zip"))
        out.write_bytes(change(out.read_bytes()))
        return out

    return damage


def with_entry(info: zipfile.ZipInfo, data: bytes = b"x") -> Damage:
    """A bundle with one more entry, which its manifest names."""

    def damage(run: Path) -> Path:
        files = files_of(run)
        listed = fitting(files)
        listed["files"][info.filename] = digest(data)
        whole = {"manifest.json": rfc8785.dumps(listed) + b"\n", **files}
        return zipped(whole, run.with_name("run.zip"), (info, data))

    return damage


def in_central(name: bytes, offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Change bytes of an entry's header in the table of contents."""
    return lambda data: _overwritten(
        data, data.rfind(b"PK\1\2", 0, data.rfind(name)), offset, value
    )


def in_local(name: bytes, offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Change bytes of the header before an entry."""
    return lambda data: _overwritten(data, data.rfind(b"PK\3\4", 0, data.find(name)), offset, value)


def _overwritten(data: bytes, at: int, offset: int, value: bytes) -> bytes:
    assert at >= 0
    return data[: at + offset] + value + data[at + offset + len(value) :]


def in_end(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda data: _overwritten(data, len(data) - 22, offset, value)


def inserted(at: Callable[[bytes], int], what: bytes, *, shift: bool) -> Callable[[bytes], bytes]:
    """Put bytes into an archive; with `shift` its end says where the table is now."""

    def change(data: bytes) -> bytes:
        place = at(data)
        data = data[:place] + what + data[place:]
        if not shift:
            return data
        start = struct.unpack("<L", data[-6:-2])[0] + len(what)
        return _overwritten(data, len(data) - 22, 16, struct.pack("<L", start))

    return change


def hidden_in_stream(run: Path) -> Path:
    """Bytes behind the end of a deflated stream, counted as the entry's: no file holds them."""
    data = bundled(run, run.with_name("run.zip")).read_bytes()
    with zipfile.ZipFile(run.with_name("run.zip")) as archive:
        last = archive.infolist()[-1]
        start = archive.start_dir
    name = last.filename.encode()
    packed = struct.pack("<L", last.compress_size + 5)
    data = data[:start] + b"12345" + data[start:]
    data = _overwritten(data, last.header_offset, 18, packed)
    data = in_central(name, 20, packed)(data)
    data = in_end(16, struct.pack("<L", start + 5))(data)
    run.with_name("run.zip").write_bytes(data)
    return run.with_name("run.zip")


# --- signatures: the operator as the attacker


def resigned(run: Path, name: str, statement: Json) -> None:
    """An envelope of any statement, signed by the operator."""
    (run / FOLDER / name).write_bytes(sign(statement, BENCH.operator.key))


def statement_in(run: Path, name: str) -> Json:
    envelope = json.loads((run / FOLDER / name).read_bytes())
    return dict(json.loads(base64.b64decode(envelope["payload"])))


def statement(name: str, change: Callable[[Json], object]) -> Damage:
    """Change a statement, and sign it again."""

    def damage(run: Path) -> None:
        value = statement_in(run, name)
        change(value)
        resigned(run, name, value)

    return damage


def envelope(name: str, change: Callable[[Json], object]) -> Damage:
    """Change what stands around a signature, as canonical JSON."""

    def damage(run: Path) -> None:
        value = json.loads((run / FOLDER / name).read_bytes())
        change(value)
        (run / FOLDER / name).write_bytes(rfc8785.dumps(value) + b"\n")

    return damage


def loose_bits(value: Json) -> None:
    """Another base64 of the same bytes: the last character has bits that mean nothing."""
    sig = value["signatures"][0]["sig"]
    assert sig.endswith("==")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    value["signatures"][0]["sig"] = sig[:-3] + letters[letters.index(sig[-3]) ^ 1] + "=="


def sealed_again(change: Damage) -> Damage:
    """The operator changes a run, and signs all of it again."""

    def damage(run: Path) -> None:
        change(run)
        shutil.rmtree(run / FOLDER)
        BENCH.operator.sign(run, ledger.read(run))

    return damage


def report_signed(run: Path, signer: Signer, seq: int | None = None) -> None:
    events = ledger.read(run)
    at = len(events) - 1 if seq is None else seq
    names = [n for n in files_of(run) if n.startswith("report/")]
    subjects = {n: digest((run / n).read_bytes())["sha256"] for n in names}
    subjects[f"ledger.jsonl#{at}"] = events[at].hash
    keep_public(run, signer.key)
    (run / FOLDER / "report.dsse.json").write_bytes(
        sign(restated(REPORT, subjects, events), signer.key)
    )


def manifest_signed(run: Path, change: Callable[[Json], object] = lambda _: None) -> Path:
    """A bundle whose manifest the operator signed, in a statement that was changed first."""
    keep_public(run, BENCH.operator.key)
    files = files_of(run)
    data = rfc8785.dumps(fitting(files)) + b"\n"
    said = bundle_statement(ledger.read(run), ledger.FileDigest(**digest(data)))
    change(said)
    files["manifest.dsse.json"] = sign(said, BENCH.operator.key)
    return zipped({"manifest.json": data, **files}, run.with_name("run.zip"))


# --- the rows


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    """Set one value inside a JSON value."""

    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


def _drop(*path: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return change


def _rows(area: str, rows: Mapping[str, Damage], **more: Any) -> Iterator[Attack]:
    for name, damage in rows.items():
        yield Attack(area, name, damage, **more)


def _lines_edited(change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    def damage(run: Path) -> None:
        data = (run / ledger.FILE).read_bytes().splitlines(keepends=True)
        (run / ledger.FILE).write_bytes(b"".join(change(data)))

    return damage


def _appended(data: bytes) -> Damage:
    return _lines_edited(lambda x: [*x, data])


def _without(*steps: str) -> Damage:
    """Events cut out of the middle, with their files."""

    def damage(run: Path) -> None:
        events = lines(run)
        for e in [e for e in events if e["step"] in steps]:
            for name in (*e["outputs"], *e["context"]):
                (run / name).unlink()
            events.remove(e)
        write_lines(run, [{**e, "seq": k} for k, e in enumerate(events)])

    return damage


def _inserted_event(step: str, **more: Any) -> Damage:
    """One more event at the end."""

    def damage(run: Path) -> None:
        events = lines(run)
        new = {**events[-1], "step": step, "seq": len(events), "outputs": {}, "context": {}}
        write_lines(run, [*events, {**new, "content": {}, **more}])

    return damage


def _twice(line: bytes) -> bytes:
    """A key twice in a line: the hash is that of the last one."""
    return line.replace(b'"seq":3', b'"seq":9,"seq":3', 1)


DEEP = b"[" * 100 + b"]" * 100


def _chain() -> Iterator[Attack]:
    rows: dict[str, Damage] = {
        "two events swapped": _lines_edited(lambda x: [*x[:4], x[5], x[4], *x[6:]]),
        "an event removed": _lines_edited(lambda x: x[:3] + x[4:]),
        "an event repeated": _lines_edited(lambda x: [*x, x[-1]]),
        "the first event removed": _lines_edited(lambda x: x[1:]),
        "an event edited": written(4, lambda x: x.replace(b'"kept":6', b'"kept":9')),
        "an empty ledger": _lines_edited(lambda _: []),
        "no ledger": lambda run: (run / ledger.FILE).unlink(),
        "a blank line": _lines_edited(lambda x: [*x[:3], b"\n", *x[3:]]),
        "a blank line at the end": _appended(b"\n"),
        "a space at the end": _appended(b" "),
        "a zero byte at the end": _appended(b"\0"),
        "lines that end as on Windows": _lines_edited(
            lambda x: [y.replace(b"\n", b"\r\n") for y in x]
        ),
        "a byte-order mark": _lines_edited(lambda x: [b"\xef\xbb\xbf" + x[0], *x[1:]]),
        "spaces in a line": written(3, lambda x: x.replace(b'"seq":3', b'"seq": 3')),
        "a key twice in a line": written(3, _twice),
        "half an event after the end": _appended(b'{"at":{'),
        "a whole event after the end": _inserted_event("end"),
        "NaN in a line": written(3, lambda x: x.replace(b'"seq":3', b'"seq":NaN')),
        "a line that is a list": written(3, lambda _: b"[]\n"),
        "a line that is a number": written(3, lambda _: b"1e999\n"),
        "a line of 100 levels": written(3, lambda _: DEEP + b"\n"),
        "a line of 100,000 levels": written(3, lambda _: b"[" * 100_000 + b"\n"),
        "a line that is no UTF-8": written(3, lambda x: x[:-2] + b"\xff}\n"),
        "half a character in a line": event(3, _set("content", "x", to=1)),
        "a line of more than a mebibyte": event(3, _set("content", "x", to="x" * MIB)),
        "a number of 5,000 digits": written(
            3, lambda x: x.replace(b'"seq":3', b'"seq":' + b"3" * 5000)
        ),
    }
    rows["half a character in a line"] = _half_character
    yield from _rows("chain", rows)
    shaped: dict[str, Callable[[Json], Any]] = {
        "a key too many": _set("note", to="hello"),
        "no content": _drop("content"),
        "no hash": _drop("hash"),
        "no prev": _drop("prev"),
        "a number as text": _set("seq", to="3"),
        "true for a number": _set("seq", to=True),
        "a number with a fraction": _set("seq", to=3.5),
        "outputs that are a list": _set("outputs", to=[]),
        "content that is a list": _set("content", to=[]),
        "content that is nothing": _set("content", to=None),
        "a clock that is text": _set("at", to="now"),
        "a time that is none": _set("at", "time", to="yesterday"),
        "a time in other digits": _set("at", "time", to="٢٠26-01-01T00:00:00Z"),
        "seconds that are text": _set("at", "seconds", to="1"),
        "seconds below nothing": _set("at", "seconds", to=-1),
        "a host that is a list": _set("at", "host", to=[]),
        "a step with a space": _set("step", to="g01 /grow"),
        "a step in capitals": _set("step", to="G01/grow"),
        "a step that leaves the folder": _set("step", to="../grow"),
        "a digest too short": _set("outputs", "g01/grow.parquet", "sha256", to="00"),
        "a digest in capitals": _set("outputs", "g01/grow.parquet", "sha256", to="A" * 64),
        "a digest with more": _set("outputs", "g01/grow.parquet", "md5", to="0"),
        "a digest without a size": _drop("outputs", "g01/grow.parquet", "bytes"),
        "a size below nothing": _set("outputs", "g01/grow.parquet", "bytes", to=-1),
        "a size of true": _set("outputs", "g01/grow.parquet", "bytes", to=True),
        "a size with a fraction": _set("outputs", "g01/grow.parquet", "bytes", to=1.5),
    }
    for name, change in shaped.items():
        yield Attack("chain", name, event(3, change), shape=("ledger.jsonl", "ledger.jsonl:3"))
    yield Attack("chain", "a run without an identity", event(0, _drop("at", "run_id")))
    yield Attack("chain", "an identity with a line end", event(0, _set("at", "run_id", to="a\n")))
    yield Attack(
        "chain", "a time with a line end", event(3, _set("at", "time", to="2026-01-01T00:00:00Z\n"))
    )
    yield Attack("chain", "a step with a line end", event(3, _set("step", to="g01/grow\n")))
    yield Attack("chain", "an identity of nothing", event(0, _set("at", "run_id", to="")))
    yield Attack("chain", "the plan not sealed first", event(0, _set("outputs", to={})))
    yield Attack("chain", "untouched", lambda run: None, expected=MATCHES)
    yield Attack("chain", "untouched and packed", lambda run: None, expected=MATCHES, packed=True)
    yield from _torn()


def _half_character(run: Path) -> None:
    event(3, _set("content", "x", to="HERE"))(run)
    path = run / ledger.FILE
    path.write_bytes(path.read_bytes().replace(b"HERE", b"\\ud800", 1))


def _torn() -> Iterator[Attack]:
    """What may follow the last whole line of an unfinished run, and what may not."""
    torn: Mapping[str, tuple[bytes, int]] = {
        "half an event": (b'{"at":{"host":"x', MATCHES),
        "its first byte": (b"{", MATCHES),
        "half a character": (b'{"at":{"host":"\xc3', MATCHES),
        "something that is no event": (b"hello", FAILS),
        "an event of another kind": (b'{"step":"x', FAILS),
        "a value and more": (b'{"at":{}} and more', FAILS),
        "a zero byte": (b"\0", FAILS),
        "a mebibyte and more": (b'{"at":{"host":"' + b"x" * MIB, FAILS),
    }
    for name, (data, expected) in torn.items():
        yield Attack("chain", f"torn: {name}", _appended(data), "unsigned half", expected)
        halted = Attack("chain", f"torn after a halt: {name}", _appended(data), "unsigned halted")
        yield halted
    yield Attack("chain", "torn in a bundle", _appended(b"{"), "unsigned half", packed=True)
    yield Attack("chain", "torn after an override", _appended(b"{"), "unsigned overridden", 0)


def flip_a_bit(run: Path) -> None:
    path = run / "reward_model/weights.safetensors"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


def swap_iterations(run: Path) -> None:
    for name in ("audit.parquet", "measurements.json", "decision.json"):
        one, two = run / FIRST / name, run / LAST / name
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)


def better_numbers(run: Path) -> None:
    """Measurements and everything that follows from them, consistently."""
    for path in run.glob("g01/i0?/measurements.json"):
        path.write_text(path.read_text(encoding="utf-8").replace("0.4", "0.9"), encoding="utf-8")
    refit(run)


def edit_a_rating(run: Path) -> None:
    from restaudit.evidence import record

    record.write_table(ratings((5.0, 5.0, 5.0)), run / RATED, record.RATINGS)


def refitted(change: Damage) -> Damage:
    def damage(run: Path) -> None:
        change(run)
        refit(run)

    return damage


def _loosen(run: Path) -> None:
    plan = loosen(json.loads((run / "plan.json").read_text(encoding="utf-8")))
    (run / "plan.json").write_text(json.dumps(plan), encoding="utf-8")


def _strip(run: Path) -> None:
    shutil.rmtree(run / FOLDER)


def _unlinked(*names: str) -> Damage:
    def damage(run: Path) -> None:
        for name in names:
            (run / name).unlink()

    return damage


def _other_key(run: Path) -> None:
    """The plan still names the operator's key."""
    _strip(run)
    keep_public(run, BENCH.stranger.key)
    BENCH.stranger.sign(run, ledger.read(run))


def _exchange_key(run: Path) -> None:
    (path,) = (run / FOLDER).glob("*.pem")
    path.write_bytes(BENCH.stranger.key.public.pem)


def _strip_but_key(run: Path) -> None:
    for path in (run / FOLDER).glob("*.json"):
        path.unlink()


def _edit_signature(run: Path) -> None:
    path = run / FOLDER / "head-0005.dsse.json"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


def _copy(source: str, target: str) -> Damage:
    def damage(run: Path) -> None:
        shutil.copy(run / source, run / target)

    return damage


def _cut_and_unlinked(run: Path) -> None:
    """The end cut off, with its files and signatures: a shorter run, which nothing in it betrays."""
    events = lines(run)
    for e in events[-2:]:
        for name in e["outputs"]:
            (run / name).unlink()
    for name in ("head-0007.dsse.json", "head-0008.dsse.json"):
        (run / FOLDER / name).unlink()
    write_lines(run, events[:-2])


def _measurement_edited(run: Path) -> None:
    data = (run / MEASURED).read_bytes()
    (run / MEASURED).write_bytes(data.replace(b"0.4", b"0.9", 1))


HOST = event(0, _set("at", "host", to="x"))


HEAD_5 = "signatures/head-0005.dsse.json: is not a signature of the head after event 5"


def _tampering() -> Iterator[Attack]:
    """What is done to the signed run of somebody else; the same to its bundle, made to fit. Each with
    the words that name the thing.
    """
    rows: dict[str, tuple[Damage, str]] = {
        "a bit flipped in weights": (
            flip_a_bit,
            "reward_model/weights.safetensors: changed after step 'reward_model' recorded it",
        ),
        "a file cut short": (
            lambda run: os.truncate(run / f"{FIRST}/audit.parquet", 100),
            "g01/i01/audit.parquet: changed after step 'g01/i01/audit'",
        ),
        "a file removed": (
            _unlinked(f"{FIRST}/kept.parquet"),
            "g01/i01/kept.parquet: missing; step 'g01/i01/improve' recorded it",
        ),
        "a file exchanged": (
            _copy(f"{FIRST}/audit.parquet", f"{LAST}/audit.parquet"),
            "g01/i02/audit.parquet: changed after step 'g01/i02/audit' recorded it",
        ),
        "a file added": (put(f"{FIRST}/notes.md"), "g01/i01/notes.md: no event of this finished"),
        "iterations swapped": (swap_iterations, "g01/i01/audit.parquet: changed after"),
        "iterations swapped, the chain rebuilt": (refitted(swap_iterations), HEAD_5),
        "the chain rebuilt": (HOST, "signatures/plan.dsse.json: is not a signature of the sealed"),
        "better numbers, the chain rebuilt": (better_numbers, f"{HEAD_5} ('g01/i01/audit')"),
        "a rating edited": (edit_a_rating, "g01/i01/ratings.parquet: changed after step"),
        "a rating edited, the chain rebuilt": (refitted(edit_a_rating), HEAD_5),
        "a margin loosened": (_loosen, "plan.json: changed after step 'plan' recorded it"),
        "a margin loosened, the chain rebuilt": (
            refitted(_loosen),
            "signatures/plan.dsse.json: is not a signature of the sealed plan (plan.json: signed",
        ),
        "the end cut off": (
            _lines_edited(lambda x: x[:-2]),
            "signatures/head-0007.dsse.json: signs event 7, but the ledger ends before it",
        ),
        "a measurement edited": (_measurement_edited, "g01/i01/measurements.json: changed"),
    }
    yield from _of_a_signed_run("files", rows)
    rows = {
        "all signatures stripped": (_strip, "signatures/plan.dsse.json: missing, but the sealed"),
        "all but the key stripped": (
            _strip_but_key,
            "signatures/plan.dsse.json: missing, but the sealed plan names key",
        ),
        "a head stripped": (
            _unlinked(f"{FOLDER}/head-0005.dsse.json"),
            "signatures/head-0005.dsse.json: missing, but 'g01/i01/audit' is recorded",
        ),
        "the last head stripped": (
            _unlinked(f"{FOLDER}/head-0008.dsse.json"),
            "signatures/head-0008.dsse.json: missing, but 'end' is recorded",
        ),
        "the plan's signature stripped": (
            _unlinked(f"{FOLDER}/plan.dsse.json"),
            "signatures/plan.dsse.json: missing",
        ),
        "a head copied": (
            _copy(f"{FOLDER}/head-0002.dsse.json", f"{FOLDER}/head-0005.dsse.json"),
            HEAD_5,
        ),
        "a signature edited": (
            _edit_signature,
            "signatures/head-0005.dsse.json: the signature does not fit",
        ),
        "the public key exchanged": (_exchange_key, ".pem: is not the key of that name"),
        "signed by another key": (_other_key, ".pem: missing, so signatures/plan.dsse.json"),
        "a stray file": (
            put(f"{FOLDER}/notes.txt"),
            "signatures/notes.txt: belongs to no signature of this run",
        ),
        "a stray file in a folder": (put(f"{FOLDER}/more/notes.txt"), "signatures/more/notes.txt"),
        "a head of a later event": (
            _copy(f"{FOLDER}/head-0008.dsse.json", f"{FOLDER}/head-0009.dsse.json"),
            "signatures/head-0009.dsse.json: signs event 9, but the ledger ends before it",
        ),
    }
    yield from _of_a_signed_run("signatures", rows)


def _of_a_signed_run(area: str, rows: Mapping[str, tuple[Damage, str]]) -> Iterator[Attack]:
    for name, (damage, says) in rows.items():
        yield Attack(area, name, damage, "signed", says=says)
        yield Attack(area, name, damage, "signed", packed=True)


def _files() -> Iterator[Attack]:
    rows: dict[str, Damage] = {
        f"a recorded name: {name[:30]!a}": recorded(name)
        for name in (
            "../outside",
            "/etc/outside",
            "g01/../g01/x",
            "C:/x",
            "a\\b",
            "a//b",
            "./a",
            "",
            ".",
            "g01/aux.txt",
            "g01/x.",
            "g01/x ",
            "g01/ x",
            "g01/x\n",
            "g01/\u0456.json",
            "g01/\u202ex",
            "g01/.tmp-x",
            "G01/grow.parquet",
            "g01/" + "x" * 240,
            "report/x.html",
            "human/x",
            "signatures/x",
            "trainer/x",
            "writer.json",
            ".lock",
        )
    }
    rows |= {
        "recorded twice": event(4, _set("outputs", "g01/grow.parquet", to=digest(b"x"))),
        "the ledger records itself": event(3, _set("outputs", "ledger.jsonl", to=digest(b"x"))),
        "a decision's file moved to context": moved(5, DECIDED, "outputs", "context"),
        "measurements moved to context": moved(5, MEASURED, "outputs", "context"),
        "a table moved to context": moved(3, "g01/grow.parquet", "outputs", "context"),
        "the plan moved to context": moved(0, "plan.json", "outputs", "context"),
        "the environment moved to outputs": moved(0, "environment.json", "context", "outputs"),
        "a file in outputs and in context": event(0, _set("context", "plan.json", to=digest(b"x"))),
        "weights recorded as times of ratings": recorded("g01/rated_at.parquet"),
        "a training's cost compared": recorded("reward_model/compute.json", number=1),
    }
    yield from _rows("files", rows)
    fine = recorded("g01/rated_at.parquet", "context")
    yield Attack("files", "times of ratings in context", fine, expected=MATCHES)
    yield Attack("files", "a file more, the chain rebuilt", recorded("g01/x"), expected=MATCHES)


def _plans() -> Iterator[Attack]:
    plans: dict[str, Callable[[Json], Any]] = {
        "a later schema": _set("schema", to=3),
        "a schema before the first": _set("schema", to=0),
        "a schema of true": _set("schema", to=True),
        "a schema with a fraction": _set("schema", to=1.5),
        "no schema": _drop("schema"),
        "no steps": _drop("steps"),
        "steps that are text": _set("steps", to="plan"),
        "no looks": _drop("looks"),
        "no configuration": _drop("config"),
        "no name": _drop("config", "name"),
        "gates that are a number": _set("config", "gates", to=7),
        "a margin as text": _set("config", "gates", "rules", 0, "margin", to="-0.2"),
        "a margin of true": _set("config", "gates", "rules", 0, "margin", to=True),
        "a setting nobody knows": _set("config", "gates", "slack", to=1),
        "a rule with a setting nobody knows": _set("config", "gates", "rules", 0, "slack", to=1),
        "a rule without a reason": _set("config", "gates", "rules", 0, "reason", to=""),
        "a rule without a margin": _drop("config", "gates", "rules", 0, "margin"),
        "an action nobody knows": _set("config", "gates", "rules", 0, "action", to="STOP"),
        "a level of one": _set("config", "gates", "level", to=1),
        "a level as text": _set("config", "gates", "level", to="0.95"),
        "an error of OK of a half": _set("config", "gates", "ok_error", to=0.5),
        "shares of stages as text": _set("config", "gates", "stage_shares", to=["0.5", "0.5"]),
        "an alarm of one": _set("config", "gates", "rules", 0, "alarm_only", to=1),
        "a signer that is no key": _set("signer", to="ada"),
        "a signer in a list": _set("signer", to=[]),
    }
    for name, change in plans.items():
        at = ("plan.json", "plan.json")
        yield Attack("plan", name, document("plan.json", change), shape=at)
    rules = ("config", "gates", "rules")
    more: dict[str, Callable[[Json], Any]] = {
        "a look too few": _set("looks", to=[LAST]),
        "a look too many": lambda p: p["looks"].append("g09/i01"),
        "looks the other way round": lambda p: p["looks"].reverse(),
        "a step twice": lambda p: p["steps"].insert(3, "g01/grow"),
        "a step more": lambda p: p["steps"].insert(3, "g09/grow"),
        "a step less": lambda p: p["steps"].remove("g01/grow"),
        "no end": lambda p: p["steps"].pop(),
        "two rules of one name": _set(*rules, 1, "name", to="harm"),
        "toxicity as a gate": _set(*rules, 1, "metric", to="toxicity.rate"),
        "a margin too large for any reader": _set(*rules, 0, "margin", to=2**60),
        "a margin loosened": _set(*rules, 0, "margin", to=-9.0),
        "a HALT made a WARN": _set(*rules, 0, "action", to="WARN"),
        "a rule less": lambda p: p["config"]["gates"]["rules"].pop(),
        "a level of almost one": _set("config", "gates", "level", to=1 - 1e-16),
        "error spent in another way": _set("config", "gates", "spending", to="obrien_fleming"),
        "no error of OK": _set("config", "gates", "ok_error", to=None),
        "an error of OK that is not written out": _drop("config", "gates", "ok_error"),
        "shares that are not written out": _drop("config", "gates", "stage_shares"),
        "no shares": _set("config", "gates", "stage_shares", to=[]),
        "shares that do not add up": _set("config", "gates", "stage_shares", to=[0.5, 0.4]),
        "a share of nothing": _set("config", "gates", "stage_shares", to=[1.0, 0.0]),
        "nine stages": _set("config", "gates", "stage_shares", to=[1 / 9] * 9),
        "other shares": _set("config", "gates", "stage_shares", to=[0.25, 0.75]),
        "one stage only": _set("config", "gates", "stage_shares", to=[1.0]),
        "a larger error of OK": _set("config", "gates", "ok_error", to=0.4),
        "what OK excludes is not written out": _drop(*rules, 0, "ok_margin"),
        "what OK excludes is null": _set(*rules, 0, "ok_margin", to=None),
        "whether it only alarms is not written out": _drop(*rules, 0, "alarm_only"),
        "OK excludes less": _set(*rules, 0, "ok_margin", to=-9.0),
        "a rule that only alarms": _set(*rules, 0, "alarm_only", to=True),
        "an older schema, which knows one question": _set("schema", to=1),
        "a key named that signed nothing": _set("signer", to="0" * 64),
        "gates without end": lambda p: p["config"]["gates"].update(
            rules=[{**p["config"]["gates"]["rules"][0], "name": f"r{k}"} for k in range(20_000)]
        ),
        "steps without end": lambda p: p["steps"].__setitem__(
            slice(1, 1), [f"g{k}/grow" for k in range(100_000)]
        ),
    }
    yield from _rows("plan", {n: document("plan.json", c) for n, c in more.items()})
    margin = '"margin": -0.2'
    texts = {
        "a margin twice": text("plan.json", margin, f'"margin": -9, {margin}'),
        "a margin of NaN": text("plan.json", margin, '"margin": NaN'),
        "a margin of infinity": text("plan.json", margin, '"margin": 1e999'),
        "a list of 100 levels": text("plan.json", margin, f'"x": {DEEP.decode()}, {margin}'),
        "bytes after the document": text("plan.json", b"}\n", b"}\n{}"),
        "another encoding": lambda run: _utf16(run, "plan.json"),
        "no plan": _unlinked("plan.json"),
    }
    yield from _rows("plan", texts)
    for name in ("g01/end", "end-1", "g01/halts", "halting"):
        yield Attack("plan", f"a step called {name}", _ends_early(name), expected=MATCHES)
    for name in ("halt", "override", "g01/halt", "g01/override"):
        yield Attack("plan", f"a step called {name}", _ends_early(name))
    yield Attack(
        "plan",
        "a seed of 30 digits",
        document("plan.json", _set("config", "seed", to=10**30)),
        expected=MATCHES,
    )


def _ends_early(name: str) -> Damage:
    """A run that stops at a step whose name looks like an end, with a file more."""

    def damage(run: Path) -> None:
        document("plan.json", lambda p: p["steps"].__setitem__(slice(4, None), [name, "end"]))(run)
        document("plan.json", _set("looks", to=[]))(run)
        events = lines(run)[:4]
        write_lines(run, [*events, {**events[-1], "seq": 4, "step": name, "outputs": {}}])
        put("x")(run)

    return damage


def _utf16(run: Path, name: str) -> None:
    (run / name).write_bytes((run / name).read_bytes().decode().encode("utf-16"))
    refit(run)


def _measurements() -> Iterator[Attack]:
    m = ("measurements", 0)
    at = ("measurements.json", MEASURED)
    shaped: dict[str, Callable[[Json], Any]] = {
        "a key too many": _set("note", to=1),
        "no human score": _drop("human"),
        "no reward": _drop("reward"),
        "a human score without a label": _drop("human", "label"),
        "measurements that are a mapping": _set("measurements", to={}),
        "a measurement's key too many": _set(*m, "note", to=1),
        "a measurement without a unit": _drop(*m, "unit"),
        "a measurement without a name": _set(*m, "name", to=""),
        "a value as text": _set(*m, "value", to="0.4"),
        "a value of true": _set(*m, "value", to=True),
        "a value in a list": _set(*m, "value", to=[0.4]),
        "prompts with a fraction": _set(*m, "n_prompts", to=20.5),
        "prompts below nothing": _set(*m, "n_prompts", to=-1),
        "a direction nobody knows": _set(*m, "direction", to="up"),
        "intervals that are a number": _set(*m, "intervals", to=[5]),
        "an interval without an end": _drop(*m, "intervals", 0, "high"),
        "an interval with a key too many": _set(*m, "intervals", 0, "note", to=1),
        "an interval of level one": _set(*m, "intervals", 0, "level", to=1),
        "an interval's end as text": _set(*m, "intervals", 0, "low", to="0"),
        "details that are a list": _set(*m, "detail", to=[]),
        "a reason that is a number": _set(*m, "reason", to=1),
        "a baseline as text": _set(*m, "baseline", to="1"),
        "an error as text": _set(*m, "error", to="0.1"),
        "an error below nothing": _set(*m, "error", to=-0.1),
        "intervals to pass by that are a number": _set(*m, "ok_intervals", to=3),
    }
    for name, change in shaped.items():
        yield Attack("measurements", name, document(MEASURED, change), shape=at)
    base = "g00/i00/measurements.json"
    more: dict[str, Damage] = {
        "a measurement twice": document(
            MEASURED, lambda d: d["measurements"].append(d["measurements"][0])
        ),
        "a measurement twice, the last one good": document(
            MEASURED, lambda d: d["measurements"].insert(0, {**d["measurements"][0], "value": -9})
        ),
        "two intervals of one level": document(
            MEASURED,
            lambda d: d["measurements"][0]["intervals"].insert(
                0, {**d["measurements"][0]["intervals"][-1], "low": -9.0, "high": -8.0}
            ),
        ),
        "an interval that ends before it begins": document(
            MEASURED, _set(*m, "intervals", 0, "low", to=9.0)
        ),
        "no value and no reason": document(base, _set(*m, "value", to=None)),
        "a number too large for any reader": document(base, _set(*m, "n", to=2**53)),
        "a value twice": text(MEASURED, '"value": 0.4', '"value": 9.0, "value": 0.4'),
        "a value of NaN": text(MEASURED, '"value": 0.4', '"value": NaN'),
        "a value of infinity": text(base, '"value": 0.4', '"value": 1e999'),
        "bytes after the document": text(MEASURED, b"}\n", b"}\n}"),
        "nothing in it": lambda run: _emptied(run, MEASURED),
        "another encoding": lambda run: _utf16(run, MEASURED),
        "a list of 100 levels": document(
            base, _set(*m, "detail", "x", to=json.loads(DEEP.decode()))
        ),
        "an error of null": document(base, _set(*m, "error", to=None)),
        "no intervals to pass by, and their key": document(base, _set(*m, "ok_intervals", to=[])),
        "intervals to pass by of null": document(base, _set(*m, "ok_intervals", to=None)),
        "two intervals to pass by of one level": document(base, _passes_twice),
        "narrower intervals to pass by": document(MEASURED, _passes_easily),
        "a smaller error": document(MEASURED, _set(*m, "error", to=0.01)),
        "a stage that was OK already": document(STAGE, _passes_easily),
        "a stage without measurements": document(STAGE, _set("measurements", to=[])),
        "a stage in another form": document(STAGE, _drop("human")),
        "a stage left out": _left(STAGE, 5),
        "a stage under another number": _recorded_as(STAGE, f"{FIRST}/stage2/measurements.json", 5),
        "a stage of the next look": _recorded_as(STAGE, f"{LAST}/stage1/measurements.json", 5),
        "a stage more than planned": _copied(STAGE, f"{FIRST}/stage2/measurements.json", 5),
        "a stage where none was sampled": _copied(STAGE, f"{LAST}/stage1/measurements.json", 7),
        "a value changed": document(MEASURED, _set(*m, "value", to=0.41)),
        "the base policy's form changed": document(base, _drop(*m, "unit")),
        "half a character": text(base, '"unit": "sd"', '"unit": "\\ud800"'),
        "none of it": document(MEASURED, _set("measurements", to=[])),
    }
    yield from _rows("measurements", more)
    # Like every measurement that no gate read otherwise: the rebuilt chain vouches for nothing.
    other = document(STAGE, _set(*m, "value", to=-0.21))
    yield Attack("measurements", "another value that is as undecided", other, expected=MATCHES)
    noted = document(base, _set(*m, "detail", "note", to="seen"))
    yield Attack("measurements", "a detail more", noted, expected=MATCHES)


def _passes_twice(d: Json) -> None:
    first = d["measurements"][0]
    first["ok_intervals"] = [first["intervals"][0]] * 2


def _passes_easily(d: Json) -> None:
    first = d["measurements"][0]
    first["ok_intervals"] = [{**i, "low": 0.0, "high": 0.1} for i in first["intervals"]]


def _recorded_as(name: str, other: str, number: int) -> Damage:
    def damage(run: Path) -> None:
        _copied(name, other, number)(run)
        _left(name, number)(run)

    return damage


def _copied(name: str, other: str, number: int) -> Damage:
    """The file under another name too, recorded by the event of this number."""

    def damage(run: Path) -> None:
        (run / other).parent.mkdir(exist_ok=True)
        shutil.copyfile(run / name, run / other)
        events = lines(run)
        events[number]["outputs"][other] = digest((run / other).read_bytes())
        write_lines(run, events)

    return damage


def _emptied(run: Path, name: str) -> None:
    (run / name).write_bytes(b"")
    refit(run)


def _decisions() -> Iterator[Attack]:
    at = ("decision.json", DECIDED)
    shaped: dict[str, Callable[[Json], Any]] = {
        "a key too many": _set("note", to=1),
        "no look": _drop("look"),
        "a verdict nobody knows": _set("verdict", to="FINE"),
        "a look of true": _set("look", to=True),
        "gates that are a mapping": _set("gates", to={}),
        "a gate without a reason": _drop("gates", 0, "why"),
        "a gate with a key too many": _set("gates", 0, "note", to=1),
        "a value as text": _set("gates", 0, "value", to="0.4"),
    }
    for name, change in shaped.items():
        yield Attack("decisions", name, document(DECIDED, change), shape=at)
    more: dict[str, Damage] = {
        "another verdict": document(DECIDED, _set("verdict", to="WARN")),
        "another look": document(DECIDED, _set("look", to=2)),
        "other looks": document(DECIDED, _set("looks", to=9)),
        "another iteration": document(DECIDED, _set("iteration", to=LAST)),
        "a gate less": document(DECIDED, lambda d: d["gates"].pop()),
        "a gate twice": document(DECIDED, lambda d: d["gates"].append(d["gates"][0])),
        "another sentence": document(DECIDED, _set("gates", 0, "why", to="all is well")),
        "another value": document(DECIDED, _set("gates", 0, "value", to=0.5)),
        "another end of the interval": document(DECIDED, _set("gates", 0, "low", to=0.29)),
        "a verdict twice": text(DECIDED, '"verdict": "OK"', '"verdict": "HALT", "verdict": "OK"'),
        "bytes after the document": text(DECIDED, b"}\n", b"}\n "),
        "the ledger says another verdict": event(5, _set("content", "verdict", to="HALT")),
        "the ledger says that a gate halted": event(5, _set("content", "halting", to=["harm"])),
        "recorded by another step": _moved_to(DECIDED, 5, 4),
        "not recorded": _left(DECIDED, 5),
        "measurements not recorded": _left(MEASURED, 5),
        "a decision of nobody's": recorded("g09/decision.json"),
        "a decision about the base policy": recorded("g00/i00/decision.json", number=2),
    }
    more["bytes after the document"] = text(DECIDED, b"}\n", b"}\nx")
    yield from _rows("decisions", more)
    rounding = document(DECIDED, lambda d: _scaled(d["gates"][0], 1 + 1e-14))
    yield Attack("decisions", "another machine's last digits", rounding, expected=MATCHES)
    yield Attack(
        "decisions", "another margin, decisions made to fit but for a sentence", _fitting_policy
    )


def _fitting_policy(run: Path) -> None:
    document("plan.json", _set("config", "gates", "rules", 0, "ok_margin", to=-9.0))(run)
    for iteration in LOOKS:
        document(f"{iteration}/decision.json", _set("gates", 0, "ok_margin", to=-9.0))(run)


def _scaled(gate: Json, by: float) -> None:
    gate["ok_low"] *= by


def _moved_to(name: str, source: int, target: int) -> Damage:
    def damage(run: Path) -> None:
        events = lines(run)
        events[target]["outputs"][name] = events[source]["outputs"].pop(name)
        write_lines(run, events)

    return damage


def _left(name: str, number: int) -> Damage:
    def damage(run: Path) -> None:
        events = lines(run)
        del events[number]["outputs"][name]
        (run / name).unlink()
        write_lines(run, events)

    return damage


def _halts() -> Iterator[Attack]:
    said = {"iteration": LAST, "gates": ["harm"], "by": "Ada Moreau", "reason": "an older version"}
    halted: dict[str, Damage] = {
        "the halt made an end": event(-1, lambda e: e.update(step="end", content={})),
        "gone on to the end": _inserted_event("end"),
        "a halt of other gates": event(-1, _set("content", "gates", to=["gap"])),
        "a halt of no gate": event(-1, _set("content", "gates", to=[])),
        "a halt elsewhere": event(-1, _set("content", "iteration", to=FIRST)),
        "a halt with more": event(-1, _set("content", "note", to="x")),
        "a halt that names none": event(-1, _drop("content", "gates")),
        "a halt twice": _inserted_event(f"{LAST}/halt", content=said),
        "an override by nobody": _inserted_event(f"{LAST}/override", content={**said, "by": " "}),
        "an override by a number": _inserted_event(f"{LAST}/override", content={**said, "by": 7}),
        "an override without a reason": _inserted_event(
            f"{LAST}/override", content={**said, "reason": "so"}
        ),
        "an override of dots": _inserted_event(
            f"{LAST}/override", content={**said, "reason": "." * 20}
        ),
        "an override as long as a book": _inserted_event(
            f"{LAST}/override", content={**said, "reason": "because " * 300}
        ),
        "an override that redraws the terminal": _inserted_event(
            f"{LAST}/override", content={**said, "reason": "we looked\x1b[2J at it"}
        ),
        "an override that turns the line round": _inserted_event(
            f"{LAST}/override", content={**said, "by": "Ada\u202eMoreau"}
        ),
        "an override of other gates": _inserted_event(
            f"{LAST}/override", content={**said, "gates": ["gap"]}
        ),
        "an override elsewhere": _inserted_event(f"{FIRST}/override", content=said),
        "an override with more": _inserted_event(f"{LAST}/override", content={**said, "note": "x"}),
        "an override with less": _inserted_event(
            f"{LAST}/override", content={k: v for k, v in said.items() if k != "gates"}
        ),
    }
    yield from _rows("halts", halted, base="unsigned halted")
    overridden: dict[str, Damage] = {
        "an override without its halt": _without(f"{LAST}/halt"),
        "a second override": _inserted_event(f"{LAST}/override", content=said),
    }
    yield from _rows("halts", overridden, base="unsigned overridden")
    yield Attack("halts", "a halt nobody called for", _inserted_event(f"{LAST}/halt", content=said))
    good = {"halted": "unsigned halted", "overridden": "unsigned overridden"}
    for name, base in good.items():
        yield Attack("halts", f"untouched, {name}", lambda run: None, base, MATCHES)
        yield Attack("halts", f"untouched, {name}", lambda run: None, base, MATCHES, packed=True)


def _signatures() -> Iterator[Attack]:
    head, plan, report = "head-0005.dsse.json", "plan.dsse.json", "report.dsse.json"
    at = ("dsse.json", f"{FOLDER}/{head}")
    shaped: dict[str, Callable[[Json], Any]] = {
        "a key too many around it": _set("note", to="signed by everybody"),
        "a key too many in the signature": _set("signatures", 0, "note", to="x"),
        "two signatures": lambda e: e["signatures"].append(e["signatures"][0]),
        "no signature": _set("signatures", to=[]),
        "no payload": _drop("payload"),
        "a payload of another type": _set("payloadType", to="text/plain"),
        "a key id in capitals": lambda e: _set(
            "signatures", 0, "keyid", to=e["signatures"][0]["keyid"].upper()
        )(e),
    }
    for name, change in shaped.items():
        yield Attack("signatures", name, envelope(head, change), "signed", shape=at)
    rows: dict[str, Damage] = {
        "loose bits in base64": envelope(head, loose_bits),
        "letters that are not base64": envelope(head, _set("signatures", 0, "sig", to="\u202e")),
        "a payload in other letters": envelope(head, _set("payload", to="é")),
        "a space after the envelope": lambda run: _appended_to(run, f"{FOLDER}/{head}", b" "),
        "no line end": lambda run: _cut(run, f"{FOLDER}/{head}"),
        "a statement with more": statement(head, _set("note", to="x")),
        "a statement of another run": statement(head, _set("predicate", "run_id", to="x")),
        "a statement of another step": statement(head, _set("predicate", "step", to="x")),
        "a statement with more in its predicate": statement(plan, _set("predicate", "x", to=1)),
        "a statement of another type": statement(head, _set("_type", to="x")),
        "a statement of another kind": statement(head, _set("predicateType", to=PLAN)),
        "a plan's statement as a head's": statement(plan, _set("predicateType", to=HEAD)),
        "a subject more": statement(
            head, lambda s: s["subject"].append({"name": "x", "digest": {"sha256": "0" * 64}})
        ),
        "a subject twice": statement(head, lambda s: s["subject"].append(s["subject"][0])),
        "a subject with another digest too": statement(
            head, _set("subject", 0, "digest", "sha512", to="0")
        ),
        "a public key with more": lambda run: _appended_to(run, _pem(run), b"\n"),
        "a public key under another name": lambda run: _renamed(run),
        "a public key that is none": put(f"{FOLDER}/{'0' * 64}.pem"),
        "a public key of another kind": put(f"{FOLDER}/{'0' * 64}.pem", RSA),
        "a signature of 5 MiB": put(f"{FOLDER}/{report}", b" " * (5 * MIB)),
        "an event changed by the operator": event(3, _set("content", "x", to=1)),
    }
    yield from _rows("signatures", rows, base="signed")
    control = sealed_again(event(3, _set("content", "x", to=1)))
    yield Attack("signatures", "all of it signed again", control, "signed", MATCHES, key=True)
    for base in ("signed", "signed halted", "signed overridden", "signed half"):
        for packed in (False, True):
            yield Attack(
                "signatures",
                f"untouched, {base}, with the key",
                lambda run: None,
                base,
                MATCHES,
                packed=packed,
                key=True,
            )
    yield Attack("signatures", "unsigned, with a key", lambda run: None, key=True)
    yield Attack("signatures", "of a stranger, with a key", _by_stranger, "signed", key=True)
    yield Attack("signatures", "of a stranger, without one", _by_stranger, "signed", MATCHES)
    half = _unlinked(f"{FOLDER}/head-0005.dsse.json")
    yield Attack("signatures", "a head stripped in an unfinished run", half, "signed half")
    yield Attack("signatures", "a stray key", _stray_key, "signed", MATCHES, key=True)
    yield Attack(
        "signatures", "the end cut off with all that shows it", _cut_and_unlinked, "signed", MATCHES
    )


RSA = b"""-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


def _stray_key(run: Path) -> None:
    keep_public(run, BENCH.stranger.key)


def _by_stranger(run: Path) -> None:
    """All of it sealed again by somebody else, whose key the plan names."""
    document("plan.json", _set("signer", to=BENCH.stranger.key_id))(run)
    _other_key(run)


def _pem(run: Path) -> str:
    (path,) = (run / FOLDER).glob("*.pem")
    return path.relative_to(run).as_posix()


def _renamed(run: Path) -> None:
    (run / _pem(run)).rename(run / FOLDER / "ada.pem")


def _appended_to(run: Path, name: str, data: bytes) -> None:
    with (run / name).open("ab") as f:
        f.write(data)


def _cut(run: Path, name: str) -> None:
    os.truncate(run / name, (run / name).stat().st_size - 1)


def _reports() -> Iterator[Attack]:
    at = ("report/manifest.json", "report/manifest.json")
    shaped: dict[str, Json] = {
        "of another schema": {"schema": 2},
        "of a schema of true": {"schema": True},
        "with a key too many": {"note": "x"},
        "with files in a list": {"files": []},
        "of a head that is none": {"head": "x"},
        "with a renderer in a list": {"renderer": []},
        "with a renderer's version in a number": {"renderer": {"x": 1}},
    }
    for name, more in shaped.items():
        yield Attack("report", f"a manifest {name}", _rendered(**more), shape=at)
    rows: dict[str, Damage] = {
        "rendered from another record": _rendered(head="0" * 64),
        "a name outside": _rendered(files={"../plan.json": digest(b"x")}),
        "a name of the manifest": _rendered(files={"manifest.json": digest(b"x")}),
        "a file that is not there": _rendered(files={"x.html": digest(b"x")}),
        "a file of another digest": _rendered(files={"report.html": digest(b"x")}),
        "a manifest that is none": put("report/manifest.json", b"{"),
        "a manifest with a key twice": _manifest_twice,
    }
    yield from _rows("report", rows)
    forged = {
        "forged, of an earlier head": _forged_earlier,
        "forged, of another version": _rendered(b"<p>all is well</p>", renderer={"x": "9"}),
        "forged, without a manifest": put("report/report.html", b"<p>all is well</p>"),
        "forged, beside a manifest": lambda run: (_rendered()(run), put("report/new.html")(run))[1],
        "forged, signed by a stranger": _forged_signed,
        "an export of nobody": put("report/exports/card.md"),
        "a manifest that names nothing": _rendered(files={}),
        "the right one, unsigned": _rendered(),
    }
    for name, damage in forged.items():
        for packed in (False, True):
            yield Attack("report", name, damage, "signed", MATCHES, packed=packed)
            yield Attack(
                "report", f"{name}, with the key", damage, "signed", packed=packed, key=True
            )
        yield Attack("report", f"{name}, in an unsigned run", damage, expected=MATCHES)
    for packed in (False, True):
        nothing: Damage = lambda run: None  # noqa: E731
        yield Attack("report", "signed", nothing, "sealed", MATCHES, packed=packed, key=True)
        for name, damage in {
            "changed": put("report/report.html", b"<p>all is well</p>"),
            "removed": _unlinked("report/report.html"),
            "added to": put("report/new.html"),
        }.items():
            yield Attack(
                "report", f"signed, then {name}", damage, "sealed", packed=packed, key=True
            )
    yield Attack("report", "signed, then added to, no key", put("report/new"), "sealed", MATCHES)
    yield Attack("report", "signed for an earlier head", _signed_earlier, "signed", key=True)
    report = "report.dsse.json"
    signed: dict[str, Damage] = {
        "a report's statement with more": statement(report, _set("predicate", "x", to=1)),
        "a report's statement of a file elsewhere": statement(
            report, lambda s: s["subject"].append(_subject("plan.json"))
        ),
        "a report's statement of two heads": statement(
            report, lambda s: s["subject"].insert(0, _subject("ledger.jsonl#0"))
        ),
        "a report's statement of no head": statement(report, lambda s: s["subject"].pop(0)),
        "a report's statement out of order": statement(report, lambda s: s["subject"].reverse()),
        "a report's statement of text": statement(report, _set("subject", to="x")),
    }
    yield from _rows("report", signed, base="sealed")
    only_report = Attack(
        "report",
        "of an unsigned run, signed by the key",
        _signed_report,
        expected=MATCHES,
        key=True,
    )
    yield only_report
    yield replace(only_report, packed=True)


def _subject(name: str) -> Json:
    return {"name": name, "digest": {"sha256": "0" * 64}}


def _rendered(page: bytes = b"<p>kept: 6</p>", **more: Any) -> Damage:
    return lambda run: render(run, page, **more)


def _manifest_twice(run: Path) -> None:
    render(run)
    path = run / "report/manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace("{", '{"schema": 2, ', 1))


def _forged_earlier(run: Path) -> None:
    render(run, b"<p>all is well</p>", head=lines(run)[3]["hash"])


def _forged_signed(run: Path) -> None:
    render(run, b"<p>all is well</p>")
    report_signed(run, BENCH.stranger)


def _signed_earlier(run: Path) -> None:
    render(run, head=lines(run)[5]["hash"])
    report_signed(run, BENCH.operator, 5)


def _signed_report(run: Path) -> None:
    render(run)
    report_signed(run, BENCH.operator)


def _manifests() -> Iterator[Attack]:
    at = ("manifest.json", "manifest.json")
    one = {"original": digest(b"x"), "replacement": digest(b"x"), "how": "x"}
    shaped: dict[str, Callable[[Json], Any]] = {
        "a key too many": _set("note", to=1),
        "no notes": _drop("notes"),
        "another format": _set("format", to="x"),
        "another schema": _set("schema", to=2),
        "a schema of true": _set("schema", to=True),
        "a seq as text": _set("seq", to="8"),
        "a seq of true": _set("seq", to=True),
        "notes that are text": _set("notes", to="x"),
        "a note that is a number": _set("notes", to=[1]),
        "something else left out": _set("without", to=["reports"]),
        "files in a list": _set("files", to=[]),
        "a digest with more": lambda m: m["files"]["plan.json"].update(md5="0"),
        "a digest of true": _set("files", "plan.json", "bytes", to=True),
    }
    for name, change in shaped.items():
        yield Attack("manifest", name, manifest(change), shape=at)
    rows: dict[str, Callable[[Json], Any]] = {
        "another run": _set("run_id", to="x"),
        "another event": _set("seq", to=3),
        "another head": _set("head", to="0" * 64),
        "another digest": _set("comparison_digest", to="0" * 64),
        "a word twice": _set("without", to=["texts", "texts"]),
        "words out of order": _set("without", to=["weights", "texts"]),
        "a file less": _drop("files", "g01/grow.parquet"),
        "a file more": _set("files", "g01/x", to=digest(b"x")),
        "itself": _set("files", "manifest.json", to=digest(b"x")),
        "another digest of a file": _set("files", "g01/grow.parquet", to=digest(b"x")),
        "a file called redacted": _set("redacted", "g01/grow.parquet", to=one),
        "a plan called redacted": _set("redacted", "plan.json", to=one),
        "a file called left out that is here": _set(
            "left_out", "g01/grow.parquet", to={"original": digest(b"x"), "why": "texts"}
        ),
        "a file of nobody called left out": lambda m: m.update(
            without=["weights"], left_out={"x.bin": {"original": digest(b"x"), "why": "weights"}}
        ),
    }
    yield from _rows("manifest", {n: manifest(c) for n, c in rows.items()})
    more: dict[str, Damage] = {
        "not canonical": _as_written(lambda m: json.dumps(m, sort_keys=True).encode() + b"\n"),
        "without a line end": _as_written(rfc8785.dumps),
        "a key twice": _as_written(
            lambda m: rfc8785.dumps(m).replace(b"{", b'{"seq":0,', 1) + b"\n"
        ),
        "nothing in it": _as_written(lambda _: b""),
        "a list": _as_written(lambda _: b"[]\n"),
        "100,000 levels": _as_written(lambda _: b"[" * 100_000),
        "a file with a case of its own": with_entry(entry("report/X"), b"x"),
        "human/ in a bundle": with_entry(entry("human/x")),
        "trainer/ in a bundle": with_entry(entry("trainer/x")),
        "a lock in a bundle": with_entry(entry(".lock"), b""),
        "the plan left out": _left_out("plan.json", "texts"),
        "a decision left out": _left_out(DECIDED, "texts"),
        "measurements left out": _left_out(MEASURED, "texts"),
        "a table left out": _left_out("g01/grow.parquet", "texts"),
        "texts left out as weights": _left_out("data/report.json", "weights"),
        "weights left out as texts": _left_out("reward_model/weights.safetensors", "texts"),
        "weights left out, of another original": _left_out(
            "reward_model/weights.safetensors", "weights", digest(b"x")
        ),
        "a statement of another run": lambda run: manifest_signed(
            run, _set("predicate", "run_id", to="x")
        ),
        "a statement with more": lambda run: manifest_signed(run, _set("note", to="x")),
        "a statement of another manifest": lambda run: manifest_signed(
            run, _set("subject", 1, "digest", "sha256", to="0" * 64)
        ),
    }
    more["a file with a case of its own"] = lambda run: with_entry(entry("Plan.json"), b"{}")(run)
    yield from _rows("manifest", more)
    good: dict[str, Damage] = {
        "weights left out": _left_out("reward_model/weights.safetensors", "weights"),
        "texts left out": _left_out("data/report.json", "texts"),
        "a table redacted": _redacted,
        "signed": manifest_signed,
        "unpacked": _unpacked,
    }
    yield from _rows("manifest", good, expected=MATCHES)
    yield from _rows(
        "manifest",
        {
            "unpacked, with a file more": lambda run: _unpacked(run, "x"),
            "unpacked, with human/": lambda run: _unpacked(run, "human/x"),
            "unpacked, with a lock": lambda run: _unpacked(run, ".lock"),
            "unpacked, with work in hand": lambda run: _unpacked(run, ".tmp-x"),
        },
    )


def _as_written(write: Callable[[Json], bytes]) -> Damage:
    def damage(run: Path) -> Path:
        files = files_of(run)
        whole = {"manifest.json": write(fitting(files)), **files}
        return zipped(whole, run.with_name("run.zip"))

    return damage


def _left_out(name: str, why: str, original: Json | None = None) -> Damage:
    def damage(run: Path) -> Path:
        was = original or digest((run / name).read_bytes())
        files = files_of(run)
        del files[name]
        listed = fitting(files)
        listed |= {"without": [why], "left_out": {name: {"original": was, "why": why}}}
        whole = {"manifest.json": rfc8785.dumps(listed) + b"\n", **files}
        return zipped(whole, run.with_name("run.zip"))

    return damage


def _redacted(run: Path) -> Path:
    name, files = "g01/grow.parquet", files_of(run)
    was = digest(files[name])
    files[name] = b"instead"
    listed = fitting(files)
    instead = {"original": was, "replacement": digest(files[name]), "how": "x"}
    listed |= {"without": ["texts"], "redacted": {name: instead}}
    return zipped(
        {"manifest.json": rfc8785.dumps(listed) + b"\n", **files}, run.with_name("run.zip")
    )


def _unpacked(run: Path, more: str | None = None) -> Path:
    out = run.with_name("unpacked")
    with zipfile.ZipFile(bundled(run, run.with_name("run.zip"))) as archive:
        archive.extractall(out)
    if more:
        put(more)(out)
    return out


def _archives() -> Iterator[Attack]:
    table = lambda data: struct.unpack("<L", data[-6:-2])[0]  # noqa: E731
    name = b"g01/grow.parquet"
    rows: dict[str, Callable[[bytes], bytes]] = {
        "bytes after its end": lambda data: data + b"hello",
        "another archive after its end": lambda data: data + data,
        "a comment": lambda data: data[:-2] + struct.pack("<H", 5) + b"hello",
        "bytes before its table": inserted(table, b"hello", shift=True),
        "bytes before its end": inserted(lambda d: len(d) - 22, b"hello", shift=False),
        "bytes between entries": inserted(lambda d: d.find(b"PK\3\4", 4), b"hello", shift=False),
        "its end cut off": lambda data: data[:-30],
        "cut in the middle": lambda data: data[: len(data) // 2],
        "its end twice": lambda data: data + data[-22:],
        "a count too large": in_end(10, struct.pack("<H", 60000)),
        "a count too small": in_end(8, struct.pack("<2H", 3, 3)),
        "a part of one": in_end(4, struct.pack("<H", 1)),
        "a table without an end": in_end(12, struct.pack("<L", 0xFFFFFFF0)),
        "a table elsewhere": in_end(16, struct.pack("<L", 5)),
        "an entry's flag: encrypted": in_central(name, 8, struct.pack("<H", 1)),
        "an entry's flag: sizes behind it": in_central(name, 8, struct.pack("<H", 8)),
        "an entry's flag: UTF-8": in_central(name, 8, struct.pack("<H", 0x800)),
        "another method in the table": in_central(name, 10, struct.pack("<H", 14)),
        "stored in the table": in_central(name, 10, struct.pack("<H", 0)),
        "a later version needed": in_central(name, 6, struct.pack("<H", 46)),
        "another sum in the table": in_central(name, 16, b"\0\0\0\0"),
        "another size in the table": in_central(name, 24, struct.pack("<L", 1000)),
        "another packed size in the table": in_central(name, 20, struct.pack("<L", 10)),
        "a size for large files in the table": in_central(name, 24, b"\xff\xff\xff\xff"),
        "a link by its mode": in_central(name, 38, struct.pack("<L", (stat.S_IFLNK | 511) << 16)),
        "another disk": in_central(name, 34, struct.pack("<H", 1)),
        "an entry at another's place": in_central(name, 42, struct.pack("<L", 0)),
        "another method before the entry": in_local(name, 8, struct.pack("<H", 0)),
        "another sum before the entry": in_local(name, 14, b"\0\0\0\0"),
        "another size before the entry": in_local(name, 22, struct.pack("<L", 1000)),
        "another name before the entry": in_local(name, 30, b"g02"),
        "a flag before the entry": in_local(name, 6, struct.pack("<H", 1)),
        "a mark that is none before the entry": in_local(name, 0, b"PK\3\5"),
    }
    yield from _rows("archive", {n: container(c) for n, c in rows.items()})
    large = in_end(8, struct.pack("<2H", 0xFFFF, 0xFFFF))
    yield Attack("archive", "the end of a large one, and no such end", container(large))
    lock = in_end(16, b"\xff\xff\xff\xff")
    yield Attack("archive", "a place for large ones, and no such end", container(lock))
    with_extra = entry("report/x")
    with_extra.extra = struct.pack("<2H4s", 0x7075, 4, b"name")
    commented = entry("report/x")
    commented.comment = b"hello"
    entries: dict[str, Damage] = {
        "an extra field": with_entry(with_extra),
        "an entry's comment": with_entry(commented),
        "packed by LZMA": with_entry(entry("report/x", method=zipfile.ZIP_LZMA)),
        "packed by bzip2": with_entry(entry("report/x", method=zipfile.ZIP_BZIP2)),
        "a link": with_entry(entry("report/x", stat.S_IFLNK | 0o777), b"/etc/passwd"),
        "a named pipe": with_entry(entry("report/x", stat.S_IFIFO | 0o777)),
        "a device": with_entry(entry("report/x", stat.S_IFCHR | 0o777)),
        "a folder": with_entry(entry("report/x", stat.S_IFDIR | 0o777)),
        "bytes hidden behind a stream": hidden_in_stream,
        "a bomb": with_entry(entry("report/x.json"), bytes(64 * MIB)),
        "a file and a folder of one name": with_entry(entry("plan.json/x")),
        "an entry twice": with_entry(entry("plan.json"), b"{}"),
        "an entry that its manifest lacks": lambda run: zipped(
            {"manifest.json": rfc8785.dumps(fitting(files_of(run))) + b"\n", **files_of(run)},
            run.with_name("run.zip"),
            (entry("report/x"), b"x"),
        ),
        "no manifest": lambda run: zipped(files_of(run), run.with_name("run.zip")),
        "no entry": lambda run: zipped({}, run.with_name("run.zip")),
    }
    yield from _rows("archive", entries)
    stored = lambda run: _repacked(run, zipfile.ZIP_STORED)  # noqa: E731
    yield Attack("archive", "stored", stored, expected=MATCHES)
    yield Attack("archive", "in another order", _reordered, expected=MATCHES)
    yield Attack("archive", "other dates", container(_other_dates), expected=MATCHES)
    yield Attack("archive", "written as one of many gibibytes", _large, expected=MATCHES)
    lies: dict[str, Callable[[bytes], bytes]] = {
        "a count that its brief end does not have": lambda d: _overwritten(
            d, len(d) - 98, 32, struct.pack("<Q", 5)
        ),
        "an end elsewhere than its locator says": lambda d: _overwritten(
            d, len(d) - 42, 8, struct.pack("<Q", 5)
        ),
        "a longer end": lambda d: _overwritten(d, len(d) - 98, 4, struct.pack("<Q", 45)),
        "no such end behind its locator": lambda d: _overwritten(d, len(d) - 98, 0, b"PK\6\5"),
        "another size in the extra field before an entry": lambda d: _overwritten(
            d, d.find(b"plan.json") + len(b"plan.json"), 4, struct.pack("<Q", 5)
        ),
        "another size in the extra field of the table": lambda d: _overwritten(
            d, d.rfind(b"plan.json") + len(b"plan.json"), 4, struct.pack("<Q", 5)
        ),
        "an extra field of another kind before an entry": lambda d: _overwritten(
            d, d.find(b"plan.json") + len(b"plan.json"), 0, b"\2\0"
        ),
        "an extra field of another kind in the table": lambda d: _overwritten(
            d, d.rfind(b"plan.json") + len(b"plan.json"), 0, b"\2\0"
        ),
    }
    for name, lie in lies.items():
        yield Attack("archive", f"of many gibibytes: {name}", _large_changed(lie))


def _large(run: Path) -> Path:
    """With the 64-bit fields that an archive of more than 2 GiB has."""
    before, zipfile.ZIP64_LIMIT = zipfile.ZIP64_LIMIT, 500
    try:
        files = files_of(run)
        out = run.with_name("run.zip")
        with zipfile.ZipFile(out, "w") as archive:
            data = rfc8785.dumps(fitting(files)) + b"\n"
            for name, content in {"manifest.json": data, **files}.items():
                info = entry(name)
                info.file_size = len(content)
                with archive.open(info, "w") as f:
                    f.write(content)
    finally:
        zipfile.ZIP64_LIMIT = before
    return out


def _large_changed(change: Callable[[bytes], bytes]) -> Damage:
    def damage(run: Path) -> Path:
        out = _large(run)
        out.write_bytes(change(out.read_bytes()))
        return out

    return damage


def _other_dates(data: bytes) -> bytes:
    """Dates mean nothing to anybody who checks."""
    data = in_local(b"plan.json", 10, b"\1\2\3\4")(data)
    return in_central(b"plan.json", 12, b"\5\6\7\x08")(data)


def _repacked(run: Path, method: int) -> Path:
    files = files_of(run)
    out = run.with_name("run.zip")
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(entry("manifest.json"), rfc8785.dumps(fitting(files)) + b"\n")
        for name, data in files.items():
            archive.writestr(entry(name, method=method), data)
    return out


def _reordered(run: Path) -> Path:
    files = files_of(run)
    data = rfc8785.dumps(fitting(files)) + b"\n"
    return zipped(
        {**dict(reversed(files.items())), "manifest.json": data}, run.with_name("run.zip")
    )


NAMES = (
    "../outside.txt",
    "g01/../../outside.txt",
    "/etc/outside.txt",
    "C:/outside.txt",
    "C:\\outside.txt",
    "..\\outside.txt",
    "signatures/./x",
    "signatures//x",
    "signatures/",
    "",
    "a" * 300,
    "signatures/aux.txt",
    "signatures/COM1",
    "signatures/x.",
    "signatures/x ",
    "signatures/ x",
    "signatures/x\n",
    "signatures/x\x1b[2J",
    "signatures/x\x7f",
    "signatures/.tmp-x",
    "g01/\u0456\u04301/audit.parquet",
    "pl\u0430n.json",
    "\uff50lan.json",
    "report/\u202elmth.x",
    "report/a\u200bb",
    "report/\ufb01le",
    "PLAN.JSON",
    "Report",
)


def _names() -> Iterator[Attack]:
    for name in NAMES:
        yield Attack("names", f"in a bundle: {name[:30]!a}", _named_entry(name))
    in_folders = ("x.", "x ", " x", "x\n", "\u0456", "a\u202eb", "a:b", "COM1", "x?", "PLAN.JSON")
    for base, expected in (("unsigned half", FAILS), ("unsigned", FAILS)):
        for name in in_folders:
            yield Attack("names", f"in a folder, {base}: {name!a}", put(name), base, expected)
            yield Attack("names", f"in report/, {base}: {name!a}", put(f"report/{name}x\n"), base)
    yield Attack("names", "in a folder: no UTF-8", put(os.fsdecode(b"\xff\xfe")), "unsigned half")
    yield Attack("names", "in human/: whatever", put("human/\u0456\n.x"), expected=MATCHES)
    cut = container(lambda d: d.replace(b"g01/grow.parquet", b"g01/grow\0parquet"))
    yield Attack("names", "one that ends early for some readers", cut)


def _named_entry(name: str) -> Damage:
    def damage(run: Path) -> Path:
        put("report")(run) if name == "Report" else None
        return with_entry(entry(name))(run) or run

    return damage


def _beside() -> Iterator[Attack]:
    fine: dict[str, str] = {
        "human/tasks.jsonl": "unsigned",
        "writer.json": "unsigned",
        ".lock": "unsigned",
        ".tmp-g02/half": "unsigned",
        "g01/.tmp-x": "unsigned",
        "trainer/checkpoint-1/x": "unsigned half",
        "trainer/x": "unsigned halted",
        "g01/i02/x": "unsigned half",
        "x": "unsigned half",
    }
    for name, base in fine.items():
        yield Attack("beside", f"{name}, {base}", put(name), base, MATCHES)
    for name in (
        "x",
        "g01/x",
        "g01/report/x",
        "trainer/x",
        "lock",
        "humans/x",
        "manifest.dsse.json",
    ):
        yield Attack("beside", f"{name}, finished", put(name))
    for name in ("x", "g01/x", "manifest.json"):
        yield Attack("beside", f"{name}, halted", put(name), "unsigned halted")
    yield Attack("beside", "manifest.json, unfinished", put("manifest.json"), "unsigned half")
    yield Attack("beside", "an empty folder", lambda run: (run / "g07").mkdir(), expected=MATCHES)


PIPED = (
    "plan.json",
    ledger.FILE,
    "g01/grow.parquet",
    MEASURED,
    DECIDED,
    "report/report.html",
    "report/manifest.json",
    "human/tasks.jsonl",
    "signatures/plan.dsse.json",
    "writer.json",
    ".lock",
    "trainer/x",
    "manifest.json",
    "manifest.dsse.json",
    "x",
)
LINKED = (
    *PIPED,
    "g01",
    "human",
    "report",
    "signatures",
    "trainer",
    ".tmp-x",
    "g01/.tmp-x",
    "g01/i01",
)


def _kinds() -> Iterator[Attack]:
    for base in ("unsigned", "unsigned half"):
        for name in PIPED:
            yield Attack("links and pipes", f"a pipe: {name}, {base}", made(name, os.mkfifo), base)
        for name in LINKED:
            yield Attack("links and pipes", f"a link: {name}, {base}", made(name, link), base)
    for name in (ledger.FILE, "report/x", "human/x", "x"):
        yield Attack("links and pipes", f"a socket: {name}", made(name, socket))
    for name in (ledger.FILE, "plan.json", DECIDED):
        yield Attack(
            "links and pipes", f"a folder: {name}", made(name, Path.mkdir), "unsigned half"
        )
    nowhere = made("human/x", lambda p: p.symlink_to("nowhere"))
    yield Attack("links and pipes", "a link that leads nowhere", nowhere)
    yield Attack("links and pipes", "folders without end", put("human/" + "d/" * 40 + "x"))


def _sizes() -> Iterator[Attack]:
    rows: dict[str, Damage] = {
        "measurements of 17 MiB": refitted(_grown(MEASURED, 17 * MIB)),
        "a plan of 17 MiB": refitted(_grown("plan.json", 17 * MIB)),
        "a ledger of 17 MiB without a line end": _grown(ledger.FILE, 17 * MIB),
        "a report's manifest of 17 MiB": put("report/manifest.json", b" " * (17 * MIB)),
        "measurements of a million lists": refitted(
            put(MEASURED, b"[" + b"[]," * 1_000_000 + b"[]]")
        ),
    }
    yield from _rows("sizes", rows)


def _grown(name: str, size: int) -> Damage:
    return lambda run: os.truncate(run / name, size)


def _places() -> Iterator[Attack]:
    """What is no run and no bundle at all."""

    def empty(run: Path) -> Path:
        run.with_name("empty").mkdir()
        return run.with_name("empty")

    def written_as(data: bytes) -> Damage:
        def damage(run: Path) -> Path:
            run.with_name("run.zip").write_bytes(data)
            return run.with_name("run.zip")

        return damage

    def pipe(run: Path) -> Path:
        os.mkfifo(run.with_name("pipe"))
        return run.with_name("pipe")

    rows: dict[str, Damage] = {
        "nothing": lambda run: run.with_name("nowhere"),
        "an empty folder": empty,
        "a folder of something else": lambda run: run / "g01",
        "an empty file": written_as(b""),
        "a text": written_as(b"hello"),
        "a bundle with bytes before it": container(lambda data: b"hello" + data),
        "a named pipe": pipe,
    }
    yield from _rows("not a run", rows, expected=NOT_READABLE)
    yield Attack("not a run", "the beginning of an archive", written_as(b"PK\3\4"))
    yield Attack("not a run", "the end of an archive", written_as(b"PK\5\6" + bytes(18)))


ATTACKS: tuple[Attack, ...] = (
    *_chain(),
    *_tampering(),
    *_files(),
    *_plans(),
    *_measurements(),
    *_decisions(),
    *_halts(),
    *_signatures(),
    *_reports(),
    *_manifests(),
    *_archives(),
    *_names(),
    *_beside(),
    *_kinds(),
    *_sizes(),
    *_places(),
)
