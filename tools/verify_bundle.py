"""A second verifier of restaudit bundles and run folders, written apart from the first: no import of restaudit.

    python verify_bundle.py BUNDLE.zip|FOLDER [--key PUBLIC.pem] [--anchor FILE]

Needs Python 3.11 and `cryptography`. It follows docs/record.md and nothing else. Nothing is unpacked. Exit codes: 0 all
that can be checked is as recorded, 2 not readable (no run, no bundle, no key), 5 verification failed.
It recomputes every digest, the chain (RFC 8785), signatures (DSSE, Ed25519), the order of steps, whether halts were
obeyed or overridden, and every decision with its sentences. It does NOT recompute measurements from samples, nor render
the report: only a signature vouches for that here, so with --key an unsigned report/ is a failure.
"""

# fmt: off
import argparse
import base64
import hashlib
import json
import math
import os
import re
import stat
import struct
import sys
import unicodedata
import zlib
from decimal import Decimal
from pathlib import Path
from statistics import NormalDist

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

MIB, GIB, CHUNK = 1 << 20, 1 << 30, 1 << 20
LINE, LEDGER, JSON, SIGNATURE = MIB, 16 * MIB, 8 * MIB, 4 * MIB
UNPACKED, RATIO, DEEPEST = 32 * GIB, 100, 32
SEVERITY = ("SILENT", "OK", "UNDECIDED", "INCONCLUSIVE", "WARN", "HALT")

class Failed(Exception):
    """Verification failed; the message begins with what it is about."""

class Unreadable(Exception):
    """What was given is no run, bundle, key or anchor, or this machine cannot read it."""

def need(holds, message, error=Failed):
    if not holds:
        raise error(message)

def shown(text):
    return "".join(c if c.isprintable() else "?" for c in str(text))

# --- JSON: strict, canonical, of an exact shape

def strict(data, name):
    """The value of a JSON document: UTF-8, each key once, finite numbers, whole characters, at most 64 levels."""
    def pairs(found):
        need(len(dict(found)) == len(found), f"{name}: a key comes twice in one object")
        return dict(found)
    def fraction(digits):
        need(math.isfinite(float(digits)), f"{name}: a number is too large")
        return float(digits)
    def whole(digits):
        need(len(digits) <= 400, f"{name}: a number has more than 400 digits")
        return int(digits)
    def never(word):
        raise Failed(f"{name}: {word} is no number of JSON")
    try:
        text = data.decode("utf-8")
        level = [value := json.loads(text, object_pairs_hook=pairs, parse_float=fraction, parse_int=whole,
                                     parse_constant=never)]
        for _ in range(65):
            inside = [y for x in level if isinstance(x, dict) for z in x.items() for y in z]
            inside += [y for x in level if isinstance(x, list) for y in x]
            any(x.encode("utf-8") for x in level if isinstance(x, str) and not x.isascii())
            level = inside
    except (ValueError, RecursionError) as e:
        raise Failed(f"{name}: not readable JSON ({type(e).__name__})") from None
    need(not level, f"{name}: JSON nested more than 64 levels deep")
    return value

def canonical(value):
    """Canonical JSON (RFC 8785) as text."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda k: k.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(k)}:{canonical(value[k])}" for k in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        return number(value)
    need(not isinstance(value, int) or abs(value) < 2**53, f"{str(value)[:40]}: no number of RFC 8785")
    return json.dumps(value, ensure_ascii=False)

def number(x):
    """A float as ECMAScript writes it: the shortest digits that read back, an exponent only where it is shorter."""
    need(math.isfinite(x), f"{x}: no number of RFC 8785")
    sign, digits, exponent = Decimal(repr(x)).normalize().as_tuple()
    d, point = "".join(map(str, digits)), len(digits) + exponent
    text = f"{d[0]}{'.' + d[1:] if len(d) > 1 else ''}e{point - 1:+d}"
    if 0 < point <= 21:
        text = d.ljust(point, "0") if len(d) <= point else f"{d[:point]}.{d[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{d}"
    return "0" if x == 0 else "-" * sign + text

def fits(value, shape):
    """Whether a value has a shape: a pattern (text), a dict of shapes by key ("k?" may lack, "*" is any other key), a
    list of one shape, a tuple of alternatives, None, or a function."""
    if isinstance(shape, str):
        return isinstance(value, str) and re.fullmatch(shape, value) is not None
    if isinstance(shape, dict):
        if not isinstance(value, dict) or any(k not in value for k in shape if k != "*" and not k.endswith("?")):
            return False
        return all(fits(v, shape.get(k, shape.get(f"{k}?", shape.get("*", ())))) for k, v in value.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(v, shape[0]) for v in value)
    if isinstance(shape, tuple):
        return any(fits(value, s) for s in shape)
    return value is None if shape is None else shape(value)

def real(v):
    return isinstance(v, float) or (type(v) is int and abs(v) < 2**53)

def count(v):
    return type(v) is int and 0 <= v < 2**53

def one(v):
    return type(v) is int and v == 1

def truth(v):
    return isinstance(v, bool)

def anything(_):
    return True

def mapping(v):
    return isinstance(v, dict)

HEX, TEXT, SOME, SIDE = "[0-9a-f]{64}", "(?s).*", "(?s).+", "above|below"
STEP = r"(?=.{1,100}\Z)[a-z0-9_-]+(/[a-z0-9_-]+)*"
TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
DIGEST = {"sha256": HEX, "bytes": count}
FILES = {"*": DIGEST}
AT = {"time?": TIME, "host?": TEXT, "seconds?": lambda v: real(v) and v >= 0, "run_id?": "[A-Za-z0-9_-]{1,64}",
      "*": anything}
EVENT = {"seq": count, "step": STEP, "prev": HEX, "hash": HEX, "outputs": FILES, "context": FILES, "content": mapping,
         "at": AT}
WHEN = {"metric": TEXT, "side": SIDE, "margin": real}
RULE = {"name": TEXT, "metric": TEXT, "must_stay": SIDE, "margin": real, "action?": "WARN|HALT", "when?": (None, WHEN),
        "looks?": "all|last", "reason": SOME, "ok_margin?": (None, real), "alarm_only?": truth}
GATES = {"level?": lambda v: real(v) and 0.5 < v < 1, "spending?": "uniform|pocock|obrien_fleming",
         "min_alpha?": lambda v: real(v) and 0 <= v <= 1, "rules?": [RULE],
         "ok_error?": lambda v: real(v) and 0 < v < 0.5, "stage_shares?": [real]}
PLAN = {"schema": lambda v: type(v) is int and v in (1, 2), "config": {"name": SOME, "gates?": GATES, "*": anything},
        "steps": [STEP], "looks": [STEP], "signer?": (None, HEX), "*": anything}
INTERVAL = {"level": lambda v: real(v) and 0 < v < 1, "low": real, "high": real}
MEASUREMENT = {"name": SOME, "value": (None, real), "unit": TEXT, "n": count, "n_prompts": count, "method": TEXT,
               "version": TEXT, "direction": "higher|lower|neutral", "intervals": [INTERVAL], "baseline": (None, real),
               "reason": (None, TEXT), "detail": mapping,
               "ok_intervals?": lambda v: fits(v, [INTERVAL]) and v != [], "error?": lambda v: real(v) and v >= 0}
MEASUREMENTS = {"human": {"label": SOME, "unit": TEXT, "description": TEXT}, "reward": {"name": SOME, "unit": TEXT},
                "measurements": [MEASUREMENT]}
REDACTED, LEFT_OUT = {"original": DIGEST, "replacement": DIGEST, "how": TEXT}, {"original": DIGEST, "why": TEXT}
BUNDLE = {"format": "restaudit-bundle", "schema": one, "run_id": TEXT, "seq": count, "head": HEX,
          "comparison_digest": HEX, "without": ["texts|weights"], "files": FILES, "redacted": {"*": REDACTED},
          "left_out": {"*": LEFT_OUT}, "notes": [TEXT]}
REPORT = {"schema": one, "files": FILES, "head": HEX, "renderer": {"*": TEXT}}
ENVELOPE = {"payload": TEXT, "payloadType": r"application/vnd\.in-toto\+json",
            "signatures": [{"keyid": HEX, "sig": TEXT}]}
ANCHOR = {"format": "restaudit-anchor", "schema": one, "run_id": TEXT, "seq": count, "head": HEX,
          "comparison_digest": HEX, "plan_sha256": HEX, "signer": (None, HEX)}

def shaped(data, shape, name):
    value = strict(data, name)
    need(fits(value, shape), f"{name}: lacks a key, has one too many, or a value of another kind")
    waiting = [value] if shape is not PLAN else []  # a plan's other settings may be of any size
    while waiting:
        x = waiting.pop()
        waiting += x.values() if isinstance(x, dict) else x if isinstance(x, list) else ()
        need(type(x) is not int or abs(x) < 2**53, f"{name}: a whole number is too large")
    return value

# --- names and sources: a folder as it lies, or the entries of an archive

def wrong_name(name):
    if not 0 < len(name) <= 240 or not (name.isascii() and name.isprintable()) or set(name) & set('<>:"\\|?*'):
        return True
    devices = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9])(\..*)?", re.IGNORECASE)
    return any(not p or p[-1] in ". " or p[0] == " " or p.startswith(".tmp-") or devices.fullmatch(p)
               for p in name.split("/"))

def check_names(names):
    """Names must be plain, and no two of them one file, or a file and a folder, where case does not count."""
    lower = {}
    for name in sorted(n for n in names if not n.startswith(("human/", "trainer/"))):
        need(not wrong_name(name), f"{name!a}: is not a plain portable name")
        need(name.lower() not in lower, f"{name}: is the same file as {lower.get(name.lower())} on some machines")
        lower[name.lower()] = name
    for name in lower:
        for k, c in enumerate(name):
            need(c != "/" or name[:k] not in lower, f"{name}: lies in what is a file too")

class Folder:
    """The files of a folder, work in hand (.tmp-...) by its name only; everything must be a plain file or a folder."""
    def __init__(self, path):
        self.root, self.names, waiting = path, [], [""]
        while waiting:
            below = waiting.pop()
            need(below.count("/") <= DEEPEST, f"{below}: lies more than {DEEPEST} folders deep")
            with os.scandir(path / below) as inside:
                entries = list(inside)
            for entry in entries:
                name, is_link = below + entry.name, entry.is_symlink()
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".tmp-"):
                    waiting.append(f"{name}/")
                    continue
                plain = entry.is_file(follow_symlinks=False) or (entry.name.startswith(".tmp-") and not is_link)
                need(plain, f"{name}: is a symbolic link or no plain file")
                self.names.append(name)
    def pieces(self, name):
        handle = os.open(self.root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as f:
            need(stat.S_ISREG(os.fstat(handle).st_mode), f"{name}: is no plain file")
            while piece := f.read(CHUNK):
                yield piece

class Archive:
    """The entries of a zip file: from its first byte on without a gap, then its table, then its end, nothing else."""
    def __init__(self, path, f):
        self.f = f
        need(self.f.read(4) in (b"PK\3\4", b"PK\5\6"), f"{path}: neither a run folder nor a bundle", Unreadable)
        self.size = self.f.seek(0, 2)
        number_of, start, table = self.table()
        self.entries, at = {}, 0
        for _ in range(number_of):
            at = self.listed(table, at)
        need(at == len(table), "the archive's table holds more than it counts")
        end = 0
        for name, entry in self.entries.items():
            need(entry["header"] == end, f"{name}: shares bytes with another entry, or bytes before it are nobody's")
            end = self.locate(name, entry)
        need(end == start, "the archive holds bytes that are no entry's")
        total = sum(e["size"] for e in self.entries.values())
        largest = max(self.entries, key=lambda n: self.entries[n]["size"], default="")
        need(total <= max(RATIO * self.size, MIB), f"{largest}: unpacks to far too much (a zip bomb)")
        need(total <= UNPACKED, "the archive unpacks to more than 32 GiB")
        self.names = list(self.entries)
    def at(self, place, length):
        need(0 <= place <= self.size - length, "the archive was cut short")
        self.f.seek(place)
        return self.f.read(length)
    def table(self):
        mark, *brief, comment = struct.unpack("<4s4H2LH", self.at(self.size - 22, 22))
        need(mark == b"PK\5\6" and not comment, "the archive was cut short, or bytes or a comment follow its end")
        end, (number_of, length, start) = self.size - 22, brief[3:]
        expected = [0, 0, number_of, number_of, length, start]
        if end >= 20 and self.at(end - 20, 4) == b"PK\6\7":
            end -= 76
            long = struct.unpack("<4sQ2H2L4Q", self.at(end, 56))
            locator = struct.unpack("<4sLQL", self.at(end + 56, 20))
            good = long[:2] == (b"PK\6\6", 44) and long[4:6] == (0, 0) and locator[1:] == (0, end, 1)
            need(good and long[6] == long[7], "the archive's two ends say different things")
            number_of, length, start = long[7:]
            expected = [0, 0, *[min(number_of, 0xFFFF)] * 2, min(length, 0xFFFFFFFF), min(start, 0xFFFFFFFF)]
        need(brief == expected, "the archive's end says different things, or is that of a part")
        need(number_of <= 100_000 and length <= 64 * MIB, "the archive's table is too large to be read")
        need(start + length == end, "the archive's table is not where its end says")
        return number_of, start, self.at(start, length)
    def listed(self, table, at):
        need(at + 46 <= len(table), "the archive's table was cut short")
        mark, _, version, flags, method, _, _, crc, packed, size, named, more, comment, disk, _, mode, header = (
            struct.unpack("<4s6H3L5H2L", table[at : at + 46]))
        name, extra = table[at + 46 : at + 46 + named].decode("utf-8", "replace"), table[at + 46 + named :][:more]
        need(at + 46 + named + more <= len(table), "the archive's table was cut short")
        need(not wrong_name(name), f"{name!a}: is not a plain portable name")
        need(name not in self.entries, f"{name}: is in the bundle twice")
        need(stat.S_IFMT(mode >> 16) in (0, stat.S_IFREG), f"{name}: is a symbolic link or no plain file")
        need(method in (0, 8), f"{name}: compressed in another way than stored or deflated")
        large = [v == 0xFFFFFFFF for v in (size, packed, header)]
        form = f"<{sum(large)}Q"
        wanted = struct.pack("<2H", 1, 8 * sum(large)) if any(large) else b""
        need(extra[:4] == wanted and len(extra) == len(wanted) + 8 * sum(large), f"{name}: has an extra field")
        values = iter(struct.unpack(form, extra[4:]))
        size, packed, header = (next(values) if is_large else v
                                for is_large, v in zip(large, (size, packed, header), strict=True))
        good = mark == b"PK\1\2" and not (flags or comment or disk) and version <= 45 and (method or packed == size)
        need(good, f"{name}: has a flag (encrypted?), a comment, or sizes that differ")
        self.entries[name] = {"method": method, "crc": crc, "packed": packed, "size": size, "header": header}
        return at + 46 + named + more
    def locate(self, name, e):
        mark, version, flags, method, _, _, crc, packed, size, named, more = (
            struct.unpack("<4s5H3L2H", self.at(e["header"], 30)))
        extra = self.at(e["header"] + 30 + named, more)
        if extra and size == packed == 0xFFFFFFFF:
            extra, (size, packed) = extra[20:], struct.unpack("<2Q", extra[4:20]) if (
                extra[:4] == b"\1\0\x10\0" and len(extra) == 20) else (-1, -1)
        same = (self.at(e["header"] + 30, named), method, crc, packed, size) == (
            name.encode(), e["method"], e["crc"], e["packed"], e["size"])
        good = mark == b"PK\3\4" and not flags and version <= 45 and not extra and same
        need(good, f"{name}: its header says something else than the archive's table")
        e["start"] = e["header"] + 30 + named + more
        return e["start"] + e["packed"]
    def pieces(self, name):
        e = self.entries[name]
        left, got, crc, place = e["packed"], 0, 0, e["start"]
        inflate, waiting = zlib.decompressobj(-15) if e["method"] else None, b""
        while left or waiting or (inflate and not inflate.eof):
            if left and not waiting:
                waiting = self.at(place, min(left, CHUNK))
                left, place = left - len(waiting), place + len(waiting)
            try:
                piece = inflate.decompress(waiting, CHUNK) if inflate else waiting
                rest = inflate.unconsumed_tail if inflate else b""
            except zlib.error as error:
                raise Failed(f"{name}: damaged in the archive ({error})") from None
            stuck = inflate and not piece and rest == waiting and not left and not inflate.eof
            hidden = inflate and inflate.eof and (left or inflate.unused_data)
            waiting, got, crc = rest, got + len(piece), zlib.crc32(piece, crc)
            need(not (stuck or hidden) and got <= e["size"], f"{name}: damaged in the archive, or bytes hide behind it")
            yield piece
        need((got, crc) == (e["size"], e["crc"]), f"{name}: damaged in the archive (other bytes than it sums up)")

def digest(source, name):
    need(name in source.names, f"{name}: missing")
    sha, size = hashlib.sha256(), 0
    for piece in source.pieces(name):
        sha.update(piece)
        size += len(piece)
    return {"sha256": sha.hexdigest(), "bytes": size}

def read(source, name, most=JSON):
    need(name in source.names, f"{name}: missing")
    data = b""
    for piece in source.pieces(name):
        need(len(data) + len(piece) <= most, f"{name}: larger than {most} bytes")
        data += piece
    return data

# --- the ledger and the files

def sha256(value):
    return hashlib.sha256(canonical(value).encode()).hexdigest()

def stopped(events):
    """Whether the run is at its end, or halted: nothing was being written."""
    return events[-1]["step"] == "end" or events[-1]["step"].endswith("/halt")

def read_ledger(source):
    """The events, and the bytes after the last one."""
    need("ledger.jsonl" in source.names, "ledger.jsonl: missing")
    events, prev, rest, total = [], "0" * 64, b"", 0
    for piece in source.pieces("ledger.jsonl"):
        total += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        where = f"ledger.jsonl: line {len(events) + 1}"
        for line in lines:
            where = f"ledger.jsonl: line {len(events) + 1}"
            need(len(line) < LINE, f"{where}: longer than {LINE} bytes")
            event = shaped(line, EVENT, where)
            need(event["seq"] == len(events) and event["prev"] == prev, f"{where}: the chain is broken here")
            good = sha256({k: v for k, v in event.items() if k != "hash"}) == event["hash"]
            need(good and canonical(event).encode() == line, f"{where}: the event was changed after it was written")
            events.append(event)
            prev = event["hash"]
        need(len(rest) <= LINE and total <= LEDGER, f"{where}: longer than {LINE} bytes, or the ledger than {LEDGER}")
    need(events and events[0]["step"] == "plan" and "plan.json" in events[0]["outputs"]
         and events[0]["at"].get("run_id"), "ledger.jsonl: line 1: does not seal a plan")
    if rest:
        try:
            text = rest.decode("utf-8", "replace")
            end = json.JSONDecoder().raw_decode(text)[1] == len(text)
        except (ValueError, RecursionError):
            end = True
        need(end and rest[:7] == b'{"at":{'[: len(rest)], "ledger.jsonl: what follows the last line is no torn event")
        need(not stopped(events), f"ledger.jsonl: {len(rest)} bytes follow the last event")
    return events, rest

def weights(name):
    return name.endswith((".safetensors", ".gguf", ".onnx", ".bin", ".npz"))

def tabular(name):
    return name.endswith((".parquet", "/measurements.json"))

def read_manifest(source, events):
    """The manifest of a bundle, {} of a folder; what it leaves out or replaces is what bundle's options do."""
    if "manifest.json" not in source.names:
        return {}
    m = shaped(raw := read(source, "manifest.json"), BUNDLE, "manifest.json")
    need(canonical(m).encode() + b"\n" == raw, "manifest.json: not canonical JSON")
    compared = sha256([{k: e[k] for k in ("step", "outputs", "content")} for e in events])
    of = (events[0]["at"]["run_id"], events[-1]["seq"], events[-1]["hash"], compared)
    need((m["run_id"], m["seq"], m["head"], m["comparison_digest"]) == of, "manifest.json: made of another record")
    need(m["without"] == sorted(set(m["without"])), "manifest.json: 'without' is out of order")
    for name, r in m["redacted"].items():
        good = "texts" in m["without"] and tabular(name) and m["files"].get(name) == r["replacement"]
        need(good, f"manifest.json: calls {name} redacted, which no option of a bundle does")
    harmless = ("plan.json", "environment.json", "decision.json", "scale.json", "compute.json", "adapter_config.json")
    for name, left in m["left_out"].items():
        free = name.rpartition("/")[2] in harmless or tabular(name)
        why = "weights" if weights(name) else None if free else "texts"
        good = left["why"] == why and why in m["without"] and name not in m["files"]
        need(good, f"manifest.json: calls {name} left out, which no option of a bundle does")
    need(not {"manifest.json", "manifest.dsse.json"} & {*m["files"]}, "manifest.json: lists itself or its signature")
    return m

def check_files(source, events, manifest):
    """Every recorded file against the ledger or, where the manifest says why not, against the manifest alone; returns
    the recorded names, and those that an unfinished run has beside them."""
    recorded, redacted, left = {}, manifest.get("redacted", {}), manifest.get("left_out", {})
    beside = ("report/", "signatures/", "human/", "trainer/")
    for event in events:
        for place in ("outputs", "context"):
            for name, expected in event[place].items():
                base = name.rpartition("/")[2]
                differs = name == "environment.json" if event["step"] == "plan" else base in (
                    "compute.json", "rated_at.parquet")
                need(not wrong_name(name), f"{name!a}: is not a plain portable name")
                need(not name.startswith(beside) and name not in ("ledger.jsonl", "writer.json", ".lock"),
                     f"{name}: is recorded, but its place is beside the record")
                need(differs == (place == "context"), f"{name}: is recorded in {place}, where it does not belong")
                need(name not in recorded, f"{name}: recorded twice")
                recorded[name] = expected
    listed = manifest.get("files", {})
    check_names({*recorded, *listed, *(n for n in source.names if not n.rpartition("/")[2].startswith(".tmp-"))})
    for name, expected in recorded.items():
        other = redacted.get(name) or left.get(name) or {"original": expected}
        need(other["original"] == expected, f"{name}: manifest.json and ledger name different originals")
        if name in left:
            need(name not in source.names, f"{name}: is here, though manifest.json says that it was left out")
            continue
        want = other.get("replacement", expected)
        need(digest(source, name) == want, f"{name}: changed after it was recorded")
        need(not manifest or listed.get(name) == want, f"{name}: manifest.json does not name it so")
    if manifest:
        need({*redacted, *left} <= {*recorded}, "manifest.json: speaks of files that no step recorded")
        for name in sorted({*source.names, *listed} - {*recorded} - {"manifest.json", "manifest.dsse.json"}):
            known = name == "ledger.jsonl" or name.startswith(("report/", "signatures/"))
            need(known and name in listed and digest(source, name) == listed[name], f"{name}: does not belong here")
        return recorded, []
    rest = [n for n in source.names if n not in recorded and n not in ("ledger.jsonl", "writer.json", ".lock")
            and not n.startswith(beside) and not n.rpartition("/")[2].startswith(".tmp-")]
    need(not rest or not stopped(events), f"{rest[:1]}: no event of this finished run records it")
    trained = any(n.startswith("trainer/") for n in source.names)
    need(not trained or events[-1]["step"] != "end", "trainer/: a finished run has no checkpoint")
    return recorded, rest

# --- signatures

def key_of(pem):
    try:
        key = load_pem_public_key(pem)
    except Exception as e:  # noqa: BLE001 - the library raises many kinds for bytes that are no key
        raise Failed(f"not a public key ({type(e).__name__})") from None
    need(isinstance(key, Ed25519PublicKey), "a key of another kind than Ed25519")
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest(), key

def opened(source, path, keys):
    """Key id and statement of an envelope, whose every byte is checked."""
    envelope = shaped(raw := read(source, path, SIGNATURE), ENVELOPE, path)
    need(len(envelope["signatures"]) == 1, f"{path}: expected one signature")
    signed, kind = envelope["signatures"][0], envelope["payloadType"]
    need(signed["keyid"] in keys, f"{path}: signed with key {signed['keyid']}, which is not here")
    try:
        payload, sig = (base64.b64decode(t, validate=True) for t in (envelope["payload"], signed["sig"]))
        keys[signed["keyid"]].verify(sig, f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    except (InvalidSignature, ValueError):
        raise Failed(f"{path}: the signature does not fit") from None
    again = [base64.b64encode(t).decode() for t in (payload, sig)]
    need(canonical(envelope).encode() + b"\n" == raw and again == [envelope["payload"], signed["sig"]],
         f"{path}: changed around its signature")
    return signed["keyid"], strict(payload, path)

def statement(kind, subjects, **predicate):
    listed = [{"name": n, "digest": {"sha256": d}} for n, d in sorted(subjects.items())]
    return {"_type": "https://in-toto.io/Statement/v1", "subject": listed,
            "predicateType": f"urn:restaudit:{kind}:v1", "predicate": predicate}

def signing_keys(files):
    """The public keys under signatures/, by their ids."""
    keys = {}
    for name in (n for n in files if n.endswith(".pem")):
        key_id, key = key_of(files[name])
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        need((name, files[name]) == (f"signatures/{key_id}.pem", pem), f"{name}: is not the key of that name")
        keys[key_id] = key
    return keys

def check_heads(source, events, plan, files, keys):
    """The signatures of the plan and of the heads that its signer must have signed; returns their names."""
    signer, run_id, last, wanted = plan.get("signer"), events[0]["at"]["run_id"], events[-1], {}
    if signer:
        sealed = {"plan.json": events[0]["outputs"]["plan.json"]["sha256"], "ledger.jsonl#0": events[0]["hash"]}
        wanted["signatures/plan.dsse.json"] = statement("plan", sealed, run_id=run_id)
        for e in events:
            if e["step"].rpartition("/")[2] in ("audit", "halt", "override", "end"):
                wanted[f"signatures/head-{e['seq']:04d}.dsse.json"] = statement(
                    "head", {f"ledger.jsonl#{e['seq']}": e["hash"]}, run_id=run_id, step=e["step"])
    for path, expected in wanted.items():
        if path not in files and path == f"signatures/head-{last['seq']:04d}.dsse.json" and not stopped(events):
            continue  # a crash can come between an event and its signature
        need(path in files, f"{path}: missing, but plan.json names key {signer}")
        need(opened(source, path, keys) == (signer, expected), f"{path}: is not the signature of what is here")
    return {*wanted}

def check_signed_report(source, events, keys):
    """Who signed the report, at which event, and which files; all of them are there as they were signed."""
    if (path := "signatures/report.dsse.json") not in source.names:
        return None, None, set()
    by, said = opened(source, path, keys)
    subject = {"name": TEXT, "digest": {"sha256": TEXT}}
    need(fits(said, {"subject": [subject], "*": anything}), f"{path}: its subjects cannot be read")
    subjects = {s["name"]: s["digest"]["sha256"] for s in said["subject"]}
    seqs = [e["seq"] for e in events if subjects.get(f"ledger.jsonl#{e['seq']}") == e["hash"]]
    good = len(seqs) == 1 and said == statement("report", subjects, run_id=events[0]["at"]["run_id"])
    need(good, f"{path}: signs something else")
    names = [n for n in subjects if n != f"ledger.jsonl#{seqs[0]}"]
    for name in names:
        need(name.startswith("report/") and not wrong_name(name), f"{path}: signs {name!a}")
        need(digest(source, name)["sha256"] == subjects[name], f"{name}: not what {path} signed")
    return by, seqs[0], {*names}

def check_signatures(source, events, plan, trusted):
    """All signatures; returns (what to say, key ids that signed, files under report/ that a key vouches for)."""
    files = {n: read(source, n, SIGNATURE) for n in source.names
             if n.startswith("signatures/") and not n.rpartition("/")[2].startswith(".tmp-")}
    need(sum(map(len, files.values())) <= 32 * MIB, "signatures/: more than 32 MiB")
    keys, signer, last = signing_keys(files), plan.get("signer"), events[-1]
    if trusted:
        keys[trusted[0]] = trusted[1]
        need(signer in (None, trusted[0]), f"plan.json: sealed with key {signer}, not the one you trust")
    wanted = check_heads(source, events, plan, files, keys)
    by, seq, names = check_signed_report(source, events, keys)
    need(not trusted or trusted[0] in (signer, by), "plan.json: UNSIGNED by the key you trust")
    known = {*wanted, "signatures/report.dsse.json", *(f"signatures/{k}.pem" for k in keys)}
    need({*files} <= known, f"{sorted({*files} - known)[:1]}: signs nothing of this run (was its end cut off?)")
    packer = None
    if "manifest.json" in source.names and "manifest.dsse.json" in source.names:
        packer, said = opened(source, "manifest.dsse.json", keys)
        made = digest(source, "manifest.json")["sha256"]
        bundle = {"manifest.json": made, f"ledger.jsonl#{last['seq']}": last["hash"]}
        good = said == statement("bundle", bundle, run_id=events[0]["at"]["run_id"])
        need(good, "manifest.json: not the one that was signed")
    answers = trusted[0] if trusted else signer
    vouched = names if by and by == answers and seq == last["seq"] else set()
    whose = "SIGNED with the key you trust" if trusted else "SELF-SIGNED, with the key the folder names"
    line = f"{whose}: {signer}" if signer else "UNSIGNED: the sealed plan names no key"
    line += f"; report: signed with key {by}" if by else ""
    return line, {signer, by, packer}, vouched

def check_report(source, events):
    """report/manifest.json, where there is one: its files are as it says, and it is of this ledger."""
    if "report/manifest.json" not in source.names:
        return
    m = shaped(read(source, "report/manifest.json"), REPORT, "report/manifest.json")
    for name, expected in m["files"].items():
        need(not wrong_name(name) and name != "manifest.json", f"report/manifest.json: names {name!a}")
        need(digest(source, f"report/{name}") == expected, f"report/{name}: changed after it was rendered")
    need(m["head"] in [e["hash"] for e in events], "report/manifest.json: rendered from another record")

# --- plan and decisions

def read_plan(source):
    plan = shaped(read(source, "plan.json"), PLAN, "plan.json")
    steps, rules = plan["steps"], plan["config"].get("gates", {}).get("rules", [])
    need(len(steps) <= 10_000 and len(plan["looks"]) <= 1_000 and len(rules) <= 100, "plan.json: has no end")
    audited = [s.removesuffix("/audit") for s in steps if s.endswith("/audit")]
    good = len(steps) > 1 and steps[0] == "plan" and steps[-1] == "end" and len({*steps}) == len(steps)
    need(good and plan["looks"] == [i for i in audited if i != "g00/i00"], "plan.json: steps and looks do not fit")
    gates = plan["config"].get("gates", {})
    shares = gates.get("stage_shares", [])
    need(len(shares) <= 8 and (not shares or (min(shares) > 0 and math.isclose(sum(shares), 1, abs_tol=1e-9))),
         "plan.json: shares of stages that do not add up")
    told = "ok_error" in gates and shares and all(real(r.get("ok_margin")) and "alarm_only" in r for r in rules)
    need(plan["schema"] == 1 or told, "plan.json: lacks what its gates decide by")
    need(len({r["name"] for r in rules}) == len(rules), "plan.json: two gates have one name")
    need(not any(r["metric"].startswith("toxicity.") for r in rules), "plan.json: a toxicity score is never a gate")
    return plan

def level_of(policy, rule, look, looks, stage):
    """The two-sided interval level of a rule: rules of one action share an error rate, spent over looks and stages."""
    sharing = sum(r["action"] == rule["action"] for r in policy["rules"])
    alpha, normal = (1 - policy["level"]) / sharing, NormalDist()
    spent = {"uniform": lambda t: alpha * t, "pocock": lambda t: alpha * math.log1p((math.e - 1) * t),
             "obrien_fleming": lambda t: 2 * normal.cdf(normal.inv_cdf(alpha / 2) / math.sqrt(t)) if t else 0}
    spend = spent[policy["spending"]]
    alpha = alpha if rule["looks"] == "last" else spend(look / looks) - spend((look - 1) / looks)
    return 1 - 2 * alpha * policy["stage_shares"][stage - 1]

def side(interval, margin):
    return "above" if interval["low"] > margin else "below" if interval["high"] < margin else None

def text(interval):
    return f"[{interval['low']:.3g}, {interval['high']:.3g}]"

def at_level(m, level, key="intervals"):
    listed = (m.get(key) or m["intervals"]) if m else []
    return next((i for i in listed if math.isclose(i["level"], level, abs_tol=1e-9)), None)

def measured(m, level, key="intervals"):
    return at_level(m, level, key) if m and m["value"] is not None else None

def doubted(m, found, least):
    return m is not None and m["detail"].get("human_label") == "PEOPLE" and disagreement(found, least)

def gate_of_one_interval(rule, found, level, least):
    """What a gate says of these measurements by name, as decision.json of a plan of schema 1 has it."""
    m, margin = found.get(rule["metric"]), rule["margin"]
    kept, interval = at_level(m, level), measured(m, level)
    verdict, mde = "INCONCLUSIVE", None
    if m is None:
        why = f"no measurement is called {rule['metric']}"
    elif not interval:
        why = m["reason"] or f"no interval at level {level:.4g}"
    else:
        z = NormalDist().inv_cdf(0.5 + level / 2)
        mde = (interval["high"] - interval["low"]) / 2 * (z + NormalDist().inv_cdf(0.8)) / z
        where, prompts = side(interval, margin), m["n_prompts"]
        why = f"{text(interval)} contains {margin:g}; with {prompts} prompts a change of {mde:.2g} could be seen"
        if where == rule["must_stay"]:
            verdict, why = "OK", f"{text(interval)} stays {where} {margin:g}"
        elif where:
            verdict = rule["action"]
            why = f"{text(interval)} is wholly on the wrong side of {margin:g}: {rule['reason']}"
    if doubt := doubted(m, found, least):
        verdict, why = "INCONCLUSIVE", doubt
    elif rule.get("when") and verdict in ("WARN", "HALT"):
        when = rule["when"]
        verdict, why = conditional(when, measured(found.get(when["metric"]), level), verdict, why, "INCONCLUSIVE")
    return {"gate": rule["name"], "verdict": verdict, "metric": rule["metric"], "value": m and m["value"],
            "low": kept and kept["low"], "high": kept and kept["high"], "level": level, "must_stay": rule["must_stay"],
            "margin": margin, "n_prompts": m["n_prompts"] if m else 0, "mde": mde, "why": why}

def gate(policy, rule, found, level, stage, before):
    """What a gate says at a stage: it fires, or says OK, each at an error rate of its own (plans of schema 2)."""
    if before and before["verdict"] in ("WARN", "HALT"):
        return before
    m, must, edge = found.get(rule["metric"]), rule["must_stay"], rule["ok_margin"]
    normal, alarm, interval = NormalDist(), rule["alarm_only"], measured(m, level)
    ok_level = None if alarm else 1 - 2 * policy["ok_error"] * policy["stage_shares"][stage - 1]
    passes = None if alarm else measured(m, ok_level, "ok_intervals")
    finds = None
    if interval and m.get("error") is not None:
        halves = sorted((interval["high"] - m["value"], m["value"] - interval["low"]))
        half = halves[1] if halves[0] < 0.75 * halves[1] else sum(halves) / 2  # one that was cut does not count
        reach = half + normal.inv_cdf(0.8) * m["error"]
        finds = rule["margin"] + (reach if must == "below" else -reach)
    out = {"gate": rule["name"], "verdict": "UNDECIDED", "metric": rule["metric"], "value": m and m["value"],
           "low": interval and interval["low"], "high": interval and interval["high"], "level": level,
           "must_stay": must, "margin": rule["margin"], "n_prompts": m["n_prompts"] if m else 0, "why": "",
           "alarm_only": alarm, "ok_margin": None if alarm else edge, "ok_low": passes and passes["low"],
           "ok_high": passes and passes["high"], "ok_level": ok_level, "n": m["n"] if m else 0, "finds": finds,
           "settle": None, "stage": stage}
    verdict, why = answer(rule, m, interval, passes, level)
    doubt, when = doubted(m, found, policy["min_alpha"]), rule.get("when")
    if doubt:
        verdict, why = "UNDECIDED", doubt
    elif when and verdict != "OK":
        condition = measured(found.get(when["metric"]), level)
        other = condition and side(condition, when["margin"])
        if verdict in ("WARN", "HALT") or (other and other != when["side"]):
            verdict, why = conditional(when, condition, verdict, why, "UNDECIDED")
    if verdict == "UNDECIDED" and alarm:
        verdict = "SILENT"
    elif verdict == "UNDECIDED" and not doubt and passes:
        out["settle"] = settles(out, before)
    if before and before["verdict"] == "OK" and verdict not in ("WARN", "HALT"):
        return before
    return {**out, "verdict": verdict, "why": why}

def answer(rule, m, interval, passes, level):
    must, margin, edge = rule["must_stay"], rule["margin"], rule["ok_margin"]
    if m is None:
        return "UNDECIDED", f"no measurement is called {rule['metric']}"
    if not interval:
        return "UNDECIDED", m["reason"] or f"no interval at level {level:.4g}"
    if side(interval, margin) not in (None, must):
        return rule["action"], f"{text(interval)} is wholly on the wrong side of {margin:g}: {rule['reason']}"
    if rule["alarm_only"]:
        return "UNDECIDED", f"{text(interval)} is not wholly {'below' if must == 'above' else 'above'} {margin:g}"
    if not passes:
        return "UNDECIDED", m["reason"] or "no interval to pass by"
    if side(passes, edge) == must:
        return "OK", f"{text(passes)} stays {must} {edge:g}"
    return "UNDECIDED", f"{text(passes)} does not stay {must} {edge:g}"

def settles(now, before):
    """How much more would let an undecided gate say OK, if the truth is what was estimated."""
    up = now["must_stay"] == "above"
    room = now["value"] - now["ok_margin"] if up else now["ok_margin"] - now["value"]
    if room <= 0:
        return (f"the estimate itself is not {now['must_stay']} {now['ok_margin']:g}: more data would rather show the "
                "loss than rule it out")
    reach = now["value"] - now["ok_low"] if up else now["ok_high"] - now["value"]
    prompts = max(math.ceil(now["n_prompts"] * (max(reach / room, 1.0) ** 2 - 1)), 1)
    step = 10 ** max(len(str(prompts)) - 2, 0)
    families = now["metric"].startswith("bias.")
    texts = None if families else more_texts(now, before, room, reach)
    def about(number_of, one, many):
        return f"about {number_of:,} more {one if number_of == 1 else many}"
    more = f" or {about(texts, 'text', 'texts')} a prompt" if texts is not None else ""
    units = ("family", "families") if families else ("prompt", "prompts")
    advice = f"{about(-(-prompts // step) * step, *units)}{more}"
    return f"if the truth is what was estimated, {advice} would settle it"

def more_texts(now, before, room, reach):
    if not before or before["value"] is None or before["ok_level"] is None:
        return None
    edge = before["ok_low" if now["must_stay"] == "above" else "ok_high"]
    if not (before["n_prompts"] and now["n_prompts"] and before["n"] and now["n"]) or edge is None:
        return None
    then, there = before["n"] / before["n_prompts"], now["n"] / now["n_prompts"]
    if there <= then:
        return None
    z_then, z_now = (NormalDist().inv_cdf(0.5 + g["ok_level"] / 2) for g in (before, now))
    variance_then, variance_now = (abs(before["value"] - edge) / z_then) ** 2, (reach / z_now) ** 2
    a = (variance_then - variance_now) / (1 / then - 1 / there)
    b, needed = variance_now - a / there, (room / z_now) ** 2
    if a <= 0 or needed <= b:
        return None
    wanted = math.ceil(a / (needed - max(b, 0.0)))
    return wanted - int(there) if int(there) < wanted <= 64 else None

def disagreement(found, least):
    """Why people's ratings decide nothing, or None where they may."""
    agreement = found.get("agreement.alpha")
    if not agreement or agreement["value"] is None:
        return f"whether the raters agree is unknown: {agreement['reason'] if agreement else 'it was not measured'}"
    if agreement["value"] >= least:
        return None
    alpha = f"{agreement['value']:.2f}, below {least:g}"
    return f"the raters' Krippendorff alpha is {alpha}: their ratings decide nothing"

def conditional(when, interval, verdict, why, unknown):
    """What a broken rule says given its condition."""
    edge = f"{when['margin']:g}"
    if not interval:
        return unknown, f"{why} (if {when['metric']} were {when['side']} {edge}, but it was not measured)"
    where, said = side(interval, when["margin"]), f"{when['metric']} {text(interval)}"
    if where is None:
        return unknown, f"{said} contains {edge}, so whether this rule applies is open"
    if where == when["side"]:
        return verdict, f"{why} ({said} is {where} {edge})"
    return "OK", f"does not apply: {said} is {where} {edge}"

def same(a, b):
    """Whether two JSON values are equal, numbers up to their last digits, which differ between machines."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) if real(a) and real(b) else type(a) is type(b) and a == b

def read_measurements(source, name):
    listed = shaped(read(source, name), MEASUREMENTS, name)["measurements"]
    need(len({m["name"] for m in listed}) == len(listed), f"{name}: a measurement's name comes twice")
    for m in listed:
        levels = [i["level"] for i in m["intervals"]]
        need(len({*levels}) == len(levels), f"{name}: {m['name']} has two intervals of one level")
        need(all(i["low"] <= i["high"] for i in [*m["intervals"], *m.get("ok_intervals", [])]),
             f"{name}: {m['name']} has an interval that is none")
        levels_ok = [i["level"] for i in m.get("ok_intervals", [])]
        need(len({*levels_ok}) == len(levels_ok), f"{name}: {m['name']} has two intervals of one level")
        need(m["reason"] or (m["value"] is not None and levels), f"{name}: {m['name']} lacks a reason")
    return {m["name"]: m for m in listed}

def decide(source, plan, iteration, recorded):
    """The decision that follows from the measurements of every stage of a look, and from the sealed policy."""
    policy = {"level": 0.95, "spending": "uniform", "min_alpha": 0.667, "rules": [], **plan["config"].get("gates", {})}
    two, shares = plan["schema"] == 2, [1.0] if plan["schema"] == 1 else policy["stage_shares"]
    policy["stage_shares"] = shares
    policy["rules"] = [{"action": "WARN", "looks": "all", **r} for r in policy["rules"]]
    looks, look, gates = len(plan["looks"]), plan["looks"].index(iteration) + 1, []
    asked = [r for r in policy["rules"] if r["looks"] == "all" or look == looks]
    last = f"{iteration}/measurements.json"
    earlier = sorted(n for n in recorded if n.endswith("/measurements.json") and n != last)
    planned = [f"{iteration}/stage{k}/measurements.json" for k in range(1, len(shares))]
    need(earlier == planned[: len(earlier)], f"ledger.jsonl: {iteration}/audit records a stage that is not planned")
    for stage, name in enumerate([*earlier, last], 1):
        found, before = read_measurements(source, name), {g["gate"]: g for g in gates}
        try:
            gates = []
            for r in asked:
                level = level_of(policy, r, look, looks, stage)
                now = gate(policy, r, found, level, stage, before.get(r["name"])) if two else \
                    gate_of_one_interval(r, found, level, policy["min_alpha"])
                gates.append(now)
        except (ValueError, ArithmeticError):
            raise Failed(f"{name}: no decision can follow from it") from None
    nothing = "UNDECIDED" if two else "INCONCLUSIVE"
    worst = max((g["verdict"] for g in gates), key=SEVERITY.index, default=nothing)
    decision = {"iteration": iteration, "verdict": nothing if worst == "SILENT" else worst, "look": look,
                "looks": looks, "gates": gates}
    return {**decision, "stage": stage, "stages": len(shares)} if two else decision

def named(text, shortest, longest):
    """Whether somebody could judge this name or reason: one line, nothing that would redraw a terminal."""
    marks = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    if not isinstance(text, str) or set(text) & set(marks):
        return False
    plain = not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)
    return plain and shortest <= len(text.strip()) <= longest and any(c.isalnum() for c in text)

def check_decisions(source, events, plan):
    """Steps in the sealed order, decisions that follow from measurements, and each HALT obeyed or overridden; returns
    the decisions."""
    done = [e["step"] for e in events if not e["step"].endswith(("/halt", "/override"))]
    for k, step in enumerate(done):
        need(plan["steps"][k : k + 1] == [step], f"ledger.jsonl: step '{step}' is not the sealed plan's step {k + 1}")
    before, halting, decisions = "", [], []
    for e in events:
        step, (iteration, _, part), where = e["step"], e["step"].rpartition("/"), f"ledger.jsonl: line {e['seq'] + 1}"
        if part == "halt":
            said = {"iteration": iteration, "gates": halting}
            good = before == f"{iteration}/audit" and halting and e["content"] == said
            need(good, f"{where}: '{step}' follows no decision in which its gates said HALT")
        elif part == "override":
            by, reason = e["content"].get("by"), e["content"].get("reason")
            said = {"iteration": iteration, "gates": halting, "by": by, "reason": reason}
            need(before == f"{iteration}/halt" and e["content"] == said, f"{where}: '{step}' overrides no halt")
            need(named(by, 2, 100) and named(reason, 10, 2000), f"{where}: nobody stands behind this override")
        else:
            need(not halting or before.endswith("/override"), f"{where}: done after '{before}', though gates said HALT")
            halting = []
        before, path, files = step, f"{iteration}/decision.json", [*e["outputs"], *e["context"]]
        for name in (n for n in files if n.endswith("/measurements.json")):
            read_measurements(source, name)
        owned = [n for n in files if n.endswith("/decision.json")]
        need(owned == ([path] if part == "audit" and iteration in plan["looks"] else []), f"{where}: decides wrongly")
        if owned:
            need(f"{iteration}/measurements.json" in e["outputs"], f"{where}: records no measurements")
            decisions.append(again := decide(source, plan, iteration, e["outputs"]))
            written = shaped(read(source, path), mapping, path)
            need(same(written, again), f"{path}: does not follow from the measurements and the sealed policy")
            halting = [g["gate"] for g in again["gates"] if g["verdict"] == "HALT"]
            for key, decided in (("verdict", again["verdict"]), ("halting", halting)):
                need(e["content"].get(key, decided) == decided, f"{where}: says another {key} than {path}")
    return decisions

# --- what a reader must know

def check_anchor(a, events, plan):
    need(a["seq"] < len(events) and events[a["seq"]]["hash"] == a["head"], "ledger.jsonl: lacks the witnessed head")
    compared = sha256([{k: e[k] for k in ("step", "outputs", "content")} for e in events[: a["seq"] + 1]])
    of = (events[0]["at"]["run_id"], compared, events[0]["outputs"]["plan.json"]["sha256"], plan.get("signer"))
    need((a["run_id"], a["comparison_digest"], a["plan_sha256"], a["signer"]) == of, "the anchor is of another record")

def nobody_vouches(source, manifest, unrecorded, torn, used, vouched):
    """(file, why) of every file that neither the ledger nor a signature vouches for."""
    listed = [(n, "its texts were taken out: checked against manifest.json only") for n in manifest.get("redacted", {})]
    listed += [(n, "left out of this bundle") for n in manifest.get("left_out", {})]
    listed += [("ledger.jsonl", f"its last {len(torn)} bytes are half an event")] if torn else []
    for n in sorted(source.names):
        why = "not recorded yet, or put there" if n in unrecorded else ""
        if n.startswith("report/") and n not in vouched:
            why = "no signature that counts vouches for it, and nothing is rendered here"
        elif n.startswith(("human/", "trainer/")) or n == "writer.json" or n.rpartition("/")[2].startswith(".tmp-"):
            why = "lies beside the record"
        elif n == ".lock" and any(source.pieces(n)):
            why = "holds something, and a lock is empty"
        elif n.startswith("signatures/") and n.endswith(".pem") and n[11:-4] not in used:
            why = "a key that signed nothing here"
        listed += [(n, why)] if why else []
    return listed

def standing(events, plan, decisions, loose):
    """Overrides, what nothing vouches for, where the run stands, and its last decision."""
    for e in (e for e in events if e["step"].endswith("/override")):
        said = e["content"]
        gates, time = ", ".join(said["gates"]), e["at"].get("time", "")
        yield (f"OVERRIDE at {said['iteration']} ({time}): gate {gates} said HALT, and {said['by']} let the run go on: "
               f"{said['reason']}")
    yield from (f"NOT CHECKED: {name}: {why}" for name, why in loose)
    last, done = events[-1], {e["step"] for e in events}
    state = f"unfinished; the next step is {next((s for s in plan['steps'] if s not in done), 'end')}"
    if stopped(events):
        by = ", ".join(last["content"].get("gates", []))
        state = "finished" if last["step"] == "end" else f"halted at {last['step'].removesuffix('/halt')} by {by}"
    yield f"state: {state}"
    d = decisions[-1] if decisions else None
    by = ", ".join(g["gate"] for g in d["gates"] if g["verdict"] == d["verdict"] != "OK") if d else ""
    yield f"last decision: {d['verdict']} at {d['iteration']}{by and ' by ' + by}" if d else "last decision: none yet"

def given(path):
    with path.open("rb") as f:
        return f.read(64 << 10)

def check(path, key, anchor):
    """What can be said of a bundle or folder, a list of lines, and why that is a failure after all, or None."""
    need(path.exists(), f"{path}: no such folder or bundle", Unreadable)
    need(not path.is_dir() or any(os.path.lexists(path / n) for n in ("plan.json", "ledger.jsonl")),
         f"{path}: not a run folder", Unreadable)
    need(path.is_dir() or path.is_file(), f"{path}: is no plain file", Unreadable)
    try:
        trusted = key and key_of(given(key))
        witnessed = anchor and shaped(given(anchor), ANCHOR, str(anchor))
    except Failed as e:
        raise Unreadable(f"{key or anchor}: {e}") from None
    if path.is_dir():
        return check_source(Folder(path), trusted, witnessed)
    with path.open("rb") as f:
        source = Archive(path, f)
        need("manifest.json" in source.names, f"{path}: holds no manifest.json")
        return check_source(source, trusted, witnessed)

def check_source(source, trusted, witnessed):
    events, torn = read_ledger(source)
    manifest = read_manifest(source, events)
    need(not (manifest and torn), "ledger.jsonl: bytes follow the last event of a bundle")
    recorded, unrecorded = check_files(source, events, manifest)
    plan = read_plan(source)
    signed, used, vouched = check_signatures(source, events, plan, trusted)
    decisions = check_decisions(source, events, plan)
    check_report(source, events)
    if witnessed:
        check_anchor(witnessed, events, plan)
    loose = nobody_vouches(source, manifest, unrecorded, torn, used, vouched)
    documents = [n for n, _ in loose if n.startswith("report/")]
    partial = {*manifest.get("redacted", {}), *manifest.get("left_out", {})}
    lines = [*standing(events, plan, decisions, loose),
             f"{len(recorded) - len(partial)} files and {len(events)} events match, {len(decisions)} decisions follow",
             f"head: {events[-1]['hash']}", signed, "ANCHORED" if witnessed else "UNANCHORED",
             "not recomputed: measurements from samples, the rendered report"]
    first = documents[0] if documents and trusted else None
    return lines, first and f"{first}: NOT CHECKED ({len(documents)} such file(s)), though a key was given"

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("source", "--key", "--anchor"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    try:
        lines, refused = check(args.source, args.key, args.anchor)
        print(*map(shown, lines), sep="\n")
        need(not refused, refused)
    except (Failed, Unreadable, OSError) as e:
        print(shown(f"verify_bundle: {e}"), file=sys.stderr)
        return 5 if isinstance(e, Failed) else 2
    return 0

if __name__ == "__main__":
    sys.exit(main())
