"""A second verifier of restaudit bundles and run folders, written apart from the first: no import of restaudit.

    python verify_bundle.py BUNDLE.zip|FOLDER [--key PUBLIC.pem] [--anchor FILE]

Needs Python 3.11 and `cryptography`. Nothing is unpacked. Exit codes: 0 matches, 2 not readable, 5 verification failed.
It recomputes every digest, the chain (RFC 8785), signatures (DSSE, Ed25519), the order of steps, whether halts were
obeyed or overridden, and of each decision everything but the sentences that explain it (`why`). It does NOT recompute
measurements from samples, render the report, judge the words of an override, or check the form of what no gate reads.
"""

# fmt: off
import argparse
import base64
import hashlib
import json
import math
import stat
import sys
import zipfile
import zlib
from decimal import Decimal
from pathlib import Path
from statistics import NormalDist

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

SMALL, LONGEST_LINE, RATIO, SEVERITY = 16 << 20, 1 << 20, 100, ("OK", "INCONCLUSIVE", "WARN", "HALT")
BUNDLE = ("manifest.json", "manifest.dsse.json")

class Failed(Exception):
    """Verification failed; the message begins with what it is about."""

def need(holds, message):
    if not holds:
        raise Failed(message)

def canonical(value):
    """Canonical JSON (RFC 8785) as text."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda k: k.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(k)}:{canonical(value[k])}" for k in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        return number(value)
    need(not isinstance(value, int) or abs(value) < 2**53, f"{value}: no number of RFC 8785")
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

class Source:
    """The files of a folder, or of a bundle read where it lies; each name is checked before anything is read."""
    def __init__(self, path):
        self.root, self.zip, self.sizes = path, None if path.is_dir() else zipfile.ZipFile(path), {}
        for p in () if self.zip else sorted(path.rglob("*")):
            name = p.relative_to(path).as_posix()
            need(not p.is_symlink() and (p.is_file() or p.is_dir()), f"{name}: is a symbolic link or no plain file")
            if p.is_file() and name not in ("writer.json", ".lock") and "/.tmp-" not in f"/{name}":
                self.sizes[name] = p.stat().st_size
        lower = set()
        for entry in self.zip.infolist() if self.zip else ():
            name = entry.orig_filename
            plain = name.isascii() and name.isprintable() and not set(name) & set('<>:"\\|?*')
            plain = plain and all(p and p[-1] not in ". " for p in name.split("/"))
            need(plain, f"{name!a}: is not a plain relative name")
            need(stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG), f"{name}: is a symbolic link or no file")
            need(not entry.flag_bits & 1, f"{name}: is encrypted")
            need(name.lower() not in lower, f"{name}: is in the bundle twice")
            lower.add(name.lower())
            self.sizes[name] = entry.file_size
        bomb = self.zip and sum(self.sizes.values()) > max(RATIO * path.stat().st_size, 1 << 20)
        need(not bomb, f"{max(self.sizes, key=self.sizes.get, default='')}: unpacks to far too much (a zip bomb)")
    def open(self, name):
        need(name in self.sizes, f"{name}: missing")
        return self.zip.open(name) if self.zip else (self.root / name).open("rb")
    def digest(self, name):
        try:
            with self.open(name) as f:
                return {"sha256": hashlib.file_digest(f, "sha256").hexdigest(), "bytes": f.tell()}
        except (zipfile.BadZipFile, zlib.error) as e:
            raise Failed(f"{name}: damaged in the archive ({e})") from None
    def read(self, name):
        with self.open(name) as f:
            return f.read(SMALL)

def read_ledger(source):
    events, prev = [], "0" * 64
    with source.open("ledger.jsonl") as lines:
        while (line := lines.readline(LONGEST_LINE + 1)).endswith(b"\n") or len(line) > LONGEST_LINE:
            where = f"ledger.jsonl: line {len(events) + 1}"
            need(len(line) <= LONGEST_LINE and lines.tell() <= SMALL, f"{where}: longer than {LONGEST_LINE} bytes")
            try:
                event = json.loads(line)
                body = {k: v for k, v in event.items() if k != "hash"}
                good = hashlib.sha256(canonical(body).encode()).hexdigest() == event["hash"]
                good = good and canonical(event).encode() + b"\n" == line
                need(event["seq"] == len(events) and event["prev"] == prev, f"{where}: the chain is broken here")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise Failed(f"{where}: not a ledger event") from None
            need(good, f"{where}: the event was changed after it was written")
            events.append(event)
            prev = event["hash"]
    need(events and events[0]["step"] == "plan", "ledger.jsonl: line 1: does not seal a plan")
    return events

def check_files(source, events, manifest, finished):
    """Every recorded file against the ledger or, where the manifest says why not, against the manifest alone."""
    recorded, replaced, left = set(), manifest.get("redacted", {}), manifest.get("left_out", {})
    for event in events:
        for name, expected in (*event["outputs"].items(), *event["context"].items()):
            need(name not in recorded, f"{name}: recorded twice")
            recorded.add(name)
            other = replaced.get(name) or left.get(name) or {"original": expected}
            need(other["original"] == expected, f"{name}: manifest.json and ledger name different originals")
            need(name not in replaced or name.endswith((".parquet", "/measurements.json")), f"{name}: never redacted")
            if name in left:
                deciding = name.endswith(("decision.json", "measurements.json", "plan.json"))
                need(not deciding and name not in source.sizes, f"{name}: cannot be left out, or is here")
                continue
            want = other.get("replacement", expected)
            need(name in source.sizes, f"{name}: missing; step '{event['step']}' recorded it")
            need(source.digest(name) == want, f"{name}: changed after step '{event['step']}' recorded it")
            need(not manifest or manifest["files"].get(name) == want, f"{name}: manifest.json states another digest")
    for name in sorted({*source.sizes, *manifest.get("files", {})} - recorded - set(BUNDLE if manifest else ())):
        good = not manifest or (name in manifest["files"] and source.digest(name) == manifest["files"][name])
        need(good, f"{name}: is not in manifest.json, or changed after it was listed there")
        known = name == "ledger.jsonl" or name.startswith(("report/", "human/", "signatures/"))
        need(known or not (finished or manifest), f"{name}: no event of this finished run records it")
    return len(recorded), sorted((*replaced, *left))

def opened(source, path, keys, kind):
    try:
        envelope = json.loads(raw := source.read(path))
        (signed,), payload = envelope["signatures"], base64.b64decode(envelope["payload"], validate=True)
        need(signed["keyid"] in keys, f"{path}: signed with key {signed['keyid']}, which is not here")
        pae = f"DSSEv1 {len(envelope['payloadType'])} {envelope['payloadType']} {len(payload)} ".encode() + payload
        keys[signed["keyid"]].verify(base64.b64decode(signed["sig"], validate=True), pae)
        statement = json.loads(payload)
        need(canonical(envelope).encode() + b"\n" == raw, f"{path}: changed around its signature")
        need(statement["predicateType"] == f"urn:restaudit:{kind}:v1", f"{path}: signs something else")
        return signed["keyid"], {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}
    except (InvalidSignature, ValueError, KeyError, TypeError) as e:
        raise Failed(f"{path}: the signature does not fit ({type(e).__name__})") from None

def check_signatures(source, events, plan, trusted, finished):
    """Signatures of the plan, the heads, the report and the manifest; returns what to say of them."""
    pems = [n for n in source.sizes if n.startswith("signatures/") and n.endswith(".pem")]
    loaded = [load_pem_public_key(data) for data in (*([trusted] if trusted else []), *map(source.read, pems))]
    ids = [hashlib.sha256(k.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest() for k in loaded]
    keys, signer, by, wanted = dict(zip(ids, loaded, strict=True)), plan.get("signer"), None, {}
    need(not trusted or signer in (None, ids[0]), f"plan.json: sealed with key {signer}, not with the one you trust")
    if signer:
        wanted["plan"] = {"plan.json": events[0]["outputs"]["plan.json"]["sha256"], "ledger.jsonl#0": events[0]["hash"]}
        heads = [e for e in events if e["step"].rpartition("/")[2] in ("audit", "halt", "override", "end")]
        wanted |= {f"head-{e['seq']:04d}": {f"ledger.jsonl#{e['seq']}": e["hash"]} for e in heads}
    for name, subjects in wanted.items():
        path = f"signatures/{name}.dsse.json"
        if path not in source.sizes and not finished and name == f"head-{len(events) - 1:04d}":
            continue  # a crash came between the event and its signature
        need(path in source.sizes, f"{path}: missing, but plan.json names key {signer}")
        found = opened(source, path, keys, name.partition("-")[0])
        need(found == (signer, subjects), f"{path}: is not the signature of what is here")
    for path in source.sizes:
        name = path.removeprefix("signatures/").removesuffix(".dsse.json")
        known = not path.startswith("signatures/") or path in pems or name in wanted or name == "report"
        need(known, f"{path}: signs nothing of this run (were its last events cut off?)")
    for path, kind in (("signatures/report.dsse.json", "report"), ("manifest.dsse.json", "bundle")):
        who, subjects = opened(source, path, keys, kind) if path in source.sizes else (None, {})
        by = who if kind == "report" else by
        heads = {f"ledger.jsonl#{e['seq']}": e["hash"] for e in events}
        for name, value in subjects.items():
            now = heads.get(name) if name.startswith("ledger.jsonl#") else source.digest(name)["sha256"]
            need(now == value, f"{name}: not what {path} signed")
    need(not trusted or ids[0] in (signer, by), "plan.json: UNSIGNED by the key you trust")
    whose = "SIGNED with the key you trust" if trusted else "SELF-SIGNED, with the key the folder names"
    return f"{whose}: {signer or by}" if signer or trusted else f"UNSIGNED; the report: {by or 'unsigned'}"

def level_of(policy, rule, look, looks):
    """The two-sided interval level of a rule at a look: rules of one action share an error rate, spent over looks."""
    sharing = sum(r["action"] == rule["action"] for r in policy["rules"])
    alpha, normal = (1 - policy["level"]) / sharing, NormalDist()
    spent = {"uniform": lambda t: alpha * t, "pocock": lambda t: alpha * math.log1p((math.e - 1) * t),
             "obrien_fleming": lambda t: 2 * normal.cdf(-normal.inv_cdf(1 - alpha / 2) / math.sqrt(t)) if t else 0}
    spend = spent[policy["spending"]]
    return 1 - 2 * (alpha if rule["looks"] == "last" else spend(look / looks) - spend((look - 1) / looks))

def side(interval, margin):
    return "above" if interval["low"] > margin else "below" if interval["high"] < margin else None

def gate(rule, found, level, least):
    m, agreement, when = found.get(rule["metric"]), found.get("agreement.alpha"), rule.get("when")
    spans = {n: i for n, x in found.items() for i in x["intervals"] if abs(i["level"] - level) <= 1e-9}
    interval, verdict, mde = spans.get(rule["metric"]), "INCONCLUSIVE", None
    if interval and m["value"] is not None:
        z = NormalDist().inv_cdf(0.5 + level / 2)
        mde = (interval["high"] - interval["low"]) / 2 * (z + NormalDist().inv_cdf(0.8)) / z
        where = side(interval, rule["margin"])
        verdict = "OK" if where == rule["must_stay"] else rule["action"] if where else verdict
    people = m is not None and m.get("detail", {}).get("human_label") == "PEOPLE"
    if people and (not agreement or agreement["value"] is None or agreement["value"] < least):
        verdict = "INCONCLUSIVE"
    elif when and verdict in ("WARN", "HALT"):
        known = when["metric"] in spans and found[when["metric"]]["value"] is not None
        where = side(spans[when["metric"]], when["margin"]) if known else None
        verdict = verdict if where == when["side"] else "OK" if where else "INCONCLUSIVE"
    return {
        "gate": rule["name"],
        "verdict": verdict,
        "metric": rule["metric"],
        "value": m and m["value"],
        "low": interval and interval["low"],
        "high": interval and interval["high"],
        "level": level,
        "must_stay": rule["must_stay"],
        "margin": rule["margin"],
        "n_prompts": m["n_prompts"] if m else 0,
        "mde": mde,
    }

def check_decisions(source, events, plan):
    """Steps in the sealed order, decisions that follow from measurements, and each HALT obeyed or overridden."""
    policy = {"level": 0.95, "spending": "uniform", "min_alpha": 0.667, "rules": [], **plan["config"].get("gates", {})}
    policy["rules"] = [{"action": "WARN", "looks": "all", **r} for r in policy["rules"]]
    looks, done = plan["looks"], [e["step"] for e in events if not e["step"].endswith(("/halt", "/override"))]
    for k, step in enumerate(done):
        need(plan["steps"][k : k + 1] == [step], f"ledger.jsonl: step '{step}' is not the sealed plan's step {k + 1}")
    before, halting, decided = "", [], 0
    for e in events:
        step, (iteration, _, part), where = e["step"], e["step"].rpartition("/"), f"ledger.jsonl: line {e['seq'] + 1}"
        if part == "halt":
            good = before == f"{iteration}/audit" and halting and e["content"].get("gates") == halting
            need(good, f"{where}: '{step}' follows no decision in which its gates said HALT")
        elif part == "override":
            said = e["content"]
            good = before == f"{iteration}/halt" and said["gates"] == halting and said["iteration"] == iteration
            need(good and said["by"].strip() and said["reason"].strip(), f"{where}: '{step}' overrides no halt")
        else:
            obeyed = not halting or before.endswith("/override")
            need(obeyed, f"{where}: '{step}' was done after '{before}', though gates said HALT")
            halting = []
        before, path = step, f"{iteration}/decision.json"
        owned = [n for n in e["outputs"] if n.endswith("/decision.json")]
        need(owned == ([path] if part == "audit" and iteration in looks else []), f"{where}: '{step}' decides wrongly")
        for name in owned:
            raw = json.loads(source.read(f"{iteration}/measurements.json"))["measurements"]
            found, was, look = {m["name"]: m for m in raw}, json.loads(source.read(name)), looks.index(iteration) + 1
            asked = [r for r in policy["rules"] if r["looks"] == "all" or look == len(looks)]
            again = [gate(r, found, level_of(policy, r, look, len(looks)), policy["min_alpha"]) for r in asked]
            worst = max((g["verdict"] for g in again), key=SEVERITY.index, default="INCONCLUSIVE")
            good = (was["iteration"], was["verdict"], was["look"], was["looks"]) == (iteration, worst, look, len(looks))
            good = good and len(was["gates"]) == len(again)
            for w, a in zip(was["gates"], again, strict=False):
                close = [k for k, v in a.items() if type(w.get(k)) is type(v) is float and math.isclose(w[k], v)]
                good = good and set(w) == {*a, "why"} and all(k in close or w[k] == a[k] for k in a)
            need(good, f"{name}: does not follow from {iteration}/measurements.json and the sealed policy")
            halting, decided = [g["gate"] for g in again if g["verdict"] == "HALT"], decided + 1
    return decided

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("source", "--key", "--anchor"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    try:
        source = Source(args.source)
        manifest = json.loads(source.read("manifest.json")) if "manifest.json" in source.sizes else {}
        events = read_ledger(source)
        finished = events[-1]["step"].rpartition("/")[2] in ("end", "halt")
        need(not manifest or manifest["head"] == events[-1]["hash"], "manifest.json: made of another record")
        count, partial = check_files(source, events, manifest, finished)
        plan = json.loads(source.read("plan.json"))
        need(plan["schema"] == 1, f"plan.json: schema {plan['schema']!r}; this reads 1")
        signed = check_signatures(source, events, plan, args.key and args.key.read_bytes(), finished)
        decided = check_decisions(source, events, plan)
        anchor, heads = json.loads(args.anchor.read_bytes()) if args.anchor else None, [e["hash"] for e in events]
        need(not anchor or heads[anchor["seq"] :][:1] == [anchor["head"]], "ledger.jsonl: lacks the witnessed head")
    except (Failed, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile) as e:
        what = "" if isinstance(e, Failed) else f"{args.source}: not what restaudit writes: {type(e).__name__}: "
        print("".join(c if c.isprintable() else "?" for c in f"verify_bundle: {what}{e}"), file=sys.stderr)
        return 2 if isinstance(e, OSError) else 5
    print(f"{count - len(partial)} files and {len(events)} events match, {decided} decisions follow; head {heads[-1]}")
    print(*(f"NOT checked against the ledger (redacted or left out): {name}\n" for name in partial), sep="", end="")
    print(f"{signed}\n{'ANCHORED' if anchor else 'UNANCHORED'}; the run is {'' if finished else 'un'}finished")
    print("not recomputed: measurements from samples, the sentences of decisions (why), the rendered report")
    return 0

if __name__ == "__main__":
    sys.exit(main())
