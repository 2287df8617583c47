"""Damage that nobody thought of: small random changes of runs and bundles, from a seed.

Nobody says what the verifiers should make of each: they must make the same of it, and not crash.
Where an attacker could, chain, digests, manifest and signatures are made to fit around the change.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from restaudit.evidence import ledger
from restaudit.evidence.seal.statements import FOLDER
from tests.evidence import attacks
from tests.evidence.attacks import Bench

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.0, -5.5, 0.95, 0.9, 2**53 - 1, 2**53, 2**60, 10**25, 1e300),
    *(
        "",
        "x",
        " ",
        "OK",
        "WARN",
        "HALT",
        "above",
        "below",
        "0" * 64,
        "g01/i02",
        "PEOPLE",
        "\u202e",
    ),
    *("end", "halt", "g01/halt", "g01/end", "g01/i01/audit", "plan.json", "human/x", "2" * 20),
    *([], {}, [1], [[]], {"a": 1}, ["texts"], [5], "2026-01-01T00:00:00Z", "\n", "é", "a/b"),
)
RUNS = ("unsigned", "unsigned halted", "unsigned overridden", "unsigned half", "unsigned reported")
SIGNED = ("signed", "signed halted", "signed half", "sealed")


@dataclass(frozen=True)
class Mutation:
    """What to check, whether with the operator's key, and what was done, for whoever looks at a
    difference.
    """

    what: Path
    key: bool
    done: str


def mutations(bench: Bench, count: int, seed: int) -> Iterator[Mutation]:
    """So many damaged runs and bundles, one at a time in the same place."""
    attacks.BENCH = bench
    luck = random.Random(seed)
    kinds = list(KINDS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        run = bench.copy(luck.choice(SIGNED if kind in OF_SIGNED else RUNS), "run")
        what = kind(run, luck) or run
        if what is run and luck.random() < 0.3:
            what = attacks.bundled(run, run.with_name("run.zip"))
        yield Mutation(what, luck.random() < 0.3, f"{number}: {kind.__name__} of {run}")


# --- values


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value inside."""
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, part in pairs:
        yield (*here, key)
        yield from places(part, (*here, key))


def changed(value: Any, luck: random.Random) -> Any:
    """The same value with one thing inside replaced, removed, doubled, renamed or added."""
    found = list(places(value))
    if not found:
        return luck.choice(VALUES)
    *way, last = luck.choice(found)
    holder = value
    for key in way:
        holder = holder[key]
    deed = luck.randrange(6)
    if deed == 0:
        del holder[last]
    elif deed == 1 and isinstance(holder, dict):
        holder[luck.choice(("note", "", "id", str(last) + "x"))] = holder.pop(last)
    elif deed == 2 and isinstance(holder, list):
        holder.insert(luck.randrange(len(holder) + 1), luck.choice(holder))
    elif deed == 3 and isinstance(holder, dict):
        holder["note"] = luck.choice(VALUES)
    elif deed == 4 and type(holder[last]) in (int, float):
        holder[last] = luck.choice((-1, 2, 0.5, 1.000000001, 1 + 1e-13)) * holder[last]
    else:
        holder[last] = luck.choice(VALUES)
    return value


def scratched(data: bytes, luck: random.Random) -> bytes:
    """The same bytes with a few flipped, put in, taken out, or taken twice."""
    at = luck.randrange(len(data) or 1)
    length = luck.choice((1, 1, 2, 8))
    deed = luck.randrange(4)
    if deed == 0:
        return data[:at] + luck.randbytes(length) + data[at:]
    if deed == 1:
        return data[:at] + data[at + length :]
    if deed == 2:
        return data[: at + length] + data[at:]
    return data[:at] + bytes([(data[at] if data else 0) ^ luck.randrange(1, 256)]) + data[at + 1 :]


# --- kinds


def scratch_a_file(run: Path, luck: random.Random) -> None:
    name = luck.choice(sorted(attacks.files_of(run)))
    (run / name).write_bytes(scratched((run / name).read_bytes(), luck))


def scratch_a_document(run: Path, luck: random.Random) -> None:
    """Bytes of a recorded document, with the chain made to fit."""
    names = [n for n in attacks.files_of(run) if n.endswith((*DOCUMENTS, "environment.json"))]
    name = luck.choice(sorted(names))
    (run / name).write_bytes(scratched((run / name).read_bytes(), luck))
    attacks.refit(run)


DOCUMENTS = ("plan.json", "measurements.json", "decision.json")


def change_a_document(run: Path, luck: random.Random) -> None:
    """A value of a recorded document, with the chain made to fit."""
    names = sorted(n for n in attacks.files_of(run) if n.endswith(DOCUMENTS))
    attacks.document(luck.choice(names), lambda value: _held(changed(value, luck)))(run)


def _held(value: Any) -> Any:
    return value if isinstance(value, dict | list) and value else {"x": value}


def repeat_a_key(run: Path, luck: random.Random) -> None:
    """A key twice in a document, with the chain made to fit."""
    names = sorted(n for n in attacks.files_of(run) if n.endswith(DOCUMENTS))
    name = luck.choice(names)
    lines = (run / name).read_text(encoding="utf-8").splitlines(keepends=True)
    at = luck.choice([k for k, line in enumerate(lines) if '": ' in line])
    key = lines[at].partition(":")[0]
    lines.insert(at, f"{key}: {json.dumps(luck.choice(VALUES))},\n")
    (run / name).write_text("".join(lines), encoding="utf-8")
    attacks.refit(run)


def change_an_event(run: Path, luck: random.Random) -> None:
    """A value of an event, with the chain rebuilt."""
    events = attacks.lines(run)
    at = luck.randrange(len(events))
    value = changed(events[at], luck)
    events[at] = value if isinstance(value, dict) else {"x": value}
    try:
        attacks.write_lines(run, events)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        change_an_event(run, luck)  # no ledger can hold it


def scratch_the_ledger(run: Path, luck: random.Random) -> None:
    path = run / ledger.FILE
    path.write_bytes(scratched(path.read_bytes(), luck))


def end_in_another_way(run: Path, luck: random.Random) -> None:
    tails = (
        b"{",
        b'{"at":{',
        b'{"at":{"x":1',
        b"\n",
        b"\0",
        b'{"at":{}}',
        b"[",
        b'"',
        b"\xff",
        b"1",
    )
    with (run / ledger.FILE).open("ab") as f:
        f.write(luck.choice(tails))


def shuffle_the_ledger(run: Path, luck: random.Random) -> None:
    """Events removed, repeated or moved, with the chain rebuilt."""
    events = attacks.lines(run)
    at, to = luck.randrange(len(events)), luck.randrange(len(events))
    deed = luck.randrange(3)
    moved = events[at] if deed == 0 else events.pop(at)
    if deed != 1:
        events.insert(to, moved)
    attacks.write_lines(run, [{**e, "seq": k} for k, e in enumerate(events)])


def move_a_file(run: Path, luck: random.Random) -> None:
    """A recorded file to another event, or to its other place."""
    events = attacks.lines(run)
    spots = [(e, p, n) for e in events for p in ("outputs", "context") for n in e[p]]
    event, place, name = luck.choice(spots)
    value = event[place].pop(name)
    luck.choice(events)[luck.choice(("outputs", "context"))][name] = value
    attacks.write_lines(run, events)


def swap_two_files(run: Path, luck: random.Random) -> None:
    names = [n for n in sorted(attacks.files_of(run)) if n != ledger.FILE]
    one, two = luck.sample(names, 2)
    first, second = (run / one).read_bytes(), (run / two).read_bytes()
    (run / one).write_bytes(second)
    (run / two).write_bytes(first)
    attacks.refit(run)


def put_something_there(run: Path, luck: random.Random) -> None:
    """A file, a folder, a link, under a name that means something or not."""
    where = luck.choice(("", "g01/", "report/", "human/", "signatures/", "trainer/", ".tmp-x/"))
    names = (
        *(
            "x",
            ".lock",
            "writer.json",
            ".tmp-y",
            "manifest.json",
            "aux",
            "x.",
            "\u0456",
            "plan.json",
        ),
        *("report.html", "X", "Plan.json", f"{'0' * 64}.pem", "head-0003.dsse.json"),
    )
    name = luck.choice(names)
    path = run / where / name
    path.parent.mkdir(exist_ok=True, parents=True)
    if path.exists() and path.is_dir():
        return
    if luck.random() < 0.15 and not path.exists():
        path.symlink_to(run / "plan.json")
    else:
        path.write_bytes(luck.choice((b"", b"x", b"{}")))


def rename_a_file(run: Path, luck: random.Random) -> None:
    """A recorded file under another name, in the ledger and on the disk."""
    events = attacks.lines(run)
    spots = [(e, p, n) for e in events for p in ("outputs", "context") for n in e[p]]
    event, place, name = luck.choice(spots)
    last = name.rpartition("/")[2]
    other = luck.choice(
        (
            name.upper(),
            f"{name}.",
            f"human/{last}",
            f"a/{last}",
            f"a/../{last}",
            last,
            f".tmp-{last}",
        )
    )
    event[place][other] = event[place].pop(name)
    (run / other).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(run / name, run / other)
    attacks.write_lines(run, events)


def change_a_report(run: Path, luck: random.Random) -> None:
    attacks.render(run)
    path = run / "report/manifest.json"
    value = changed(json.loads(path.read_text(encoding="utf-8")), luck)
    path.write_text(json.dumps(value), encoding="utf-8")


def change_a_statement(run: Path, luck: random.Random) -> None:
    """What a signature says, signed again by the operator."""
    name = luck.choice(sorted(p.name for p in (run / FOLDER).glob("*.dsse.json")))
    value = changed(attacks.statement_in(run, name), luck)
    try:
        attacks.resigned(run, name, value if isinstance(value, dict) else {"x": value})
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        change_a_statement(run, luck)


def change_an_envelope(run: Path, luck: random.Random) -> None:
    path = luck.choice(sorted((run / FOLDER).glob("*.dsse.json")))
    value = changed(json.loads(path.read_bytes()), luck)
    try:
        path.write_bytes(rfc8785.dumps(value) + b"\n")
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        change_an_envelope(run, luck)


def scratch_a_signature(run: Path, luck: random.Random) -> None:
    path = luck.choice(sorted((run / FOLDER).iterdir()))
    path.write_bytes(scratched(path.read_bytes(), luck))


def seal_a_change(run: Path, luck: random.Random) -> None:
    """The operator changes an event or a document, and signs all of it again."""
    luck.choice((change_an_event, change_a_document, move_a_file, shuffle_the_ledger))(run, luck)
    try:
        events = ledger.read(run)
        shutil.rmtree(run / FOLDER)
        attacks.BENCH.operator.sign(run, events)
    except Exception:  # noqa: BLE001 - what is no ledger any more cannot be signed again
        return


def change_a_manifest(run: Path, luck: random.Random) -> Path:
    out = run.with_name("run.zip")
    try:
        return attacks.bundled(run, out, lambda value: changed(value, luck))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return change_a_manifest(run, luck)


def scratch_an_archive(run: Path, luck: random.Random) -> Path:
    out = attacks.bundled(run, run.with_name("run.zip"))
    out.write_bytes(scratched(out.read_bytes(), luck))
    return out


def scratch_its_headers(run: Path, luck: random.Random) -> Path:
    """A byte of a header before an entry, of the table of contents, or of the end."""
    out = attacks.bundled(run, run.with_name("run.zip"))
    data = bytearray(out.read_bytes())
    starts = {b"PK\3\4": 30, b"PK\1\2": 46, b"PK\5\6": 22}
    mark = luck.choice(list(starts))
    found = [k for k in range(len(data)) if data.startswith(mark, k)]
    at = luck.choice(found) + luck.randrange(starts[mark])
    data[at] = luck.choice((0, 1, 8, 255, data[at] ^ 1 << luck.randrange(8)))
    out.write_bytes(data)
    return out


def put_bytes_into_an_archive(run: Path, luck: random.Random) -> Path:
    """Bytes before its table, which its end then finds, or anywhere."""
    out = attacks.bundled(run, run.with_name("run.zip"))
    data = out.read_bytes()
    place = (
        struct.unpack("<L", data[-6:-2])[0] if luck.random() < 0.5 else luck.randrange(len(data))
    )
    insert = attacks.inserted(lambda _: place, luck.randbytes(luck.randrange(1, 9)), shift=True)
    out.write_bytes(insert(data))
    return out


Kind = Callable[[Path, random.Random], "Path | None"]
OF_SIGNED: tuple[Kind, ...] = (
    change_a_statement,
    change_an_envelope,
    scratch_a_signature,
    seal_a_change,
)
KINDS: tuple[Kind, ...] = (
    scratch_a_file,
    scratch_a_document,
    change_a_document,
    change_a_document,
    repeat_a_key,
    change_an_event,
    change_an_event,
    scratch_the_ledger,
    end_in_another_way,
    shuffle_the_ledger,
    move_a_file,
    swap_two_files,
    put_something_there,
    rename_a_file,
    change_a_report,
    change_a_manifest,
    scratch_an_archive,
    scratch_its_headers,
    put_bytes_into_an_archive,
    *OF_SIGNED,
)
