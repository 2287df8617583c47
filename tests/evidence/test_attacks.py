"""Both verifiers on the table of attacks, and on 500 random ones: the same verdict, always."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from restaudit.evidence import ledger
from restaudit.evidence.bundle.pack import Wish, pack
from restaudit.evidence.override import override
from restaudit.evidence.seal.signer import keep_public
from tests.evidence import attacks
from tests.evidence.attacks import ATTACKS, Attack, Bench
from tests.evidence.mutations import KINDS, mutations
from tests.evidence.runs import signed_run
from tests.evidence.verifiers import first, second, second_verifier

# In memory, where there is such a place: a thousand runs are written, and nobody keeps one.
MEMORY = Path("/dev/shm")
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "record.schema.json"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    place = tempfile.mkdtemp(prefix="attacks-", dir=MEMORY if MEMORY.is_dir() else None)
    before, tempfile.tempdir = tempfile.tempdir, place
    try:
        yield Bench(Path(place))
    finally:
        tempfile.tempdir = before
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_both_verifiers_say_what_the_table_says(bench: Bench, attack: Attack) -> None:
    what = bench.damaged(attack)
    key = bench.public_file if attack.key else None
    code, said = first(what, key)
    assert code == attack.expected, said
    assert attack.says in said
    code, said = second(what, key)
    assert code == attack.expected, said


def test_every_row_has_a_name_of_its_own() -> None:
    names = [str(a) for a in ATTACKS]
    assert len({*names}) == len(names)


@pytest.mark.parametrize("seed", range(5))
def test_both_verifiers_make_the_same_of_a_hundred_random_changes(bench: Bench, seed: int) -> None:
    assert 4 * len(KINDS) <= 100  # every kind of change several times
    for mutation in mutations(bench, 100, seed):
        key = bench.public_file if mutation.key else None
        one, other = first(mutation.what, key), second(mutation.what, key)
        assert one[0] == other[0], f"{mutation.done}: {one} but {other}"


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.shape], ids=str)
def test_the_schema_refuses_what_a_schema_can_see(bench: Bench, attack: Attack) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    what, (document, place) = bench.damaged(attack), attack.shape or ("", "")
    name, _, line = place.partition(":")
    if what.is_file():
        with zipfile.ZipFile(what) as archive:
            data = archive.read(name)
    else:
        data = (what / name).read_bytes()
    value = json.loads(data.splitlines()[int(line)] if line else data)
    whole = json.loads(SCHEMA.read_text(encoding="utf-8"))
    place_of_it = document.replace("/", "~1")  # as JSON pointers have it
    schema = {"$ref": f"#/$defs/{place_of_it}", "$defs": whole["$defs"]}
    validator = jsonschema.Draft202012Validator(schema)
    assert not validator.is_valid(value)
    untouched = _untouched(bench, name, line)
    assert untouched is None or validator.is_valid(untouched)


@pytest.mark.parametrize("base", ["unsigned", "signed halted", "signed overridden", "sealed"])
def test_documents_of_real_runs_fit_the_schema(bench: Bench, base: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    definitions = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]

    def must_fit(document: str, value: object) -> None:
        place = document.replace("/", "~1")
        schema = {"$ref": f"#/$defs/{place}", "$defs": definitions}
        jsonschema.Draft202012Validator(schema).validate(value)

    with zipfile.ZipFile(_packed(bench, base)) as archive:
        for name in archive.namelist():
            last = name.rpartition("/")[2]
            if name == ledger.FILE:
                for line in archive.read(name).splitlines():
                    event = json.loads(line)
                    must_fit(name, event)
                    part = event["step"].rpartition("/")[2]
                    if part in ("halt", "override"):
                        must_fit(part, event["content"])
            for document in (name, last, "dsse.json" if last.endswith(".dsse.json") else ""):
                if document in definitions and document != ledger.FILE:
                    must_fit(document, json.loads(archive.read(name)))
                    break


def _untouched(bench: Bench, name: str, line: str) -> object:
    data = (bench.place / "sealed" / name).read_bytes() if name != "manifest.json" else None
    if data is None:
        return None
    return json.loads(data.splitlines()[int(line)] if line else data)


# --- what both say of runs that nobody damaged


def test_both_say_state_last_decision_and_overrides_of_every_kind_of_run(bench: Bench) -> None:
    said = {
        "signed": ("state: finished", "last decision: OK at g01/i02"),
        "signed halted": (
            "state: halted at g01/i02 by harm",
            "last decision: HALT at g01/i02 by harm",
        ),
        "signed half": (
            "state: unfinished; the next step is g01/i02/audit",
            "last decision: OK at g01/i01",
        ),
        "signed overridden": (
            "state: unfinished; the next step is end",
            "gate harm said HALT, and Ada Moreau let the run go on: the raters saw an older version",
        ),
    }
    for base, expected in said.items():
        for verifier in (first, second):
            for what in (bench.place / base, _packed(bench, base)):
                code, told = verifier(what, bench.public_file)
                assert code == 0
                assert all(words in told for words in expected), (base, told)
    both = [v(bench.place / "signed overridden")[1].splitlines()[0] for v in (first, second)]
    assert all(line.startswith("OVERRIDE at g01/i02") for line in both)


def _packed(bench: Bench, base: str) -> Path:
    out = bench.place / f"{base}.zip"
    return out if out.exists() else pack(bench.place / base, out, Wish()).path


UNVOUCHED = [a for a in ATTACKS if a.area == "report" and "forged" in a.name and a.expected == 0]


@pytest.mark.parametrize("attack", UNVOUCHED, ids=str)
def test_a_page_that_nothing_vouches_for_is_named_before_anything_else(
    bench: Bench, attack: Attack
) -> None:
    what = bench.damaged(attack)
    for verifier in (first, second):
        code, told = verifier(what)
        assert code == 0
        assert told.startswith("NOT CHECKED: report/")


def test_every_file_is_vouched_for_or_named(bench: Bench) -> None:
    """Whatever lies in a folder that passes."""
    run = bench.copy("signed half", "run")
    attacks.render(run)
    (run / ".lock").touch()
    aside = (
        "human/x",
        "trainer/x/y",
        "writer.json",
        ".tmp-x",
        "g01/.tmp-y",
        "x",
        "g09/x",
        "report/z",
    )
    for name in aside:
        attacks.put(name)(run)
    keep_public(run, bench.stranger.key)
    stray = f"signatures/{bench.stranger.key_id}.pem"
    expected = {*aside, stray, "report/report.html", "report/manifest.json"}
    vouched = {n for e in ledger.read(run) for n in (*e.outputs, *e.context)}
    vouched |= {n for n in attacks.files_of(run) if n.startswith("signatures/")} - {stray}
    there = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    for verifier in (first, second):
        code, told = verifier(run)
        assert code == 0
        named = {
            line.split(": ")[1] for line in told.splitlines() if line.startswith("NOT CHECKED")
        }
        assert named == expected
        assert named | vouched | {ledger.FILE, ".lock"} == there


def test_what_people_wrote_cannot_speak_to_a_terminal(bench: Bench) -> None:
    """Names of gates are free text; those of files in human/ too."""
    run = bench.copy("unsigned half", "run")
    (run / "human").mkdir()
    (run / "human" / "x\x1b[2J\u202ey").write_text("x", encoding="utf-8")
    for verifier in (first, second):
        code, told = verifier(run)
        assert code == 0
        assert "NOT CHECKED: human/x" in told
    assert second_verifier().shown("x\x1b[2J\u202ey") == "x?[2J?y"
    assert "\x1b" not in first(run)[1]


def test_a_name_that_is_refused_cannot_speak_to_a_terminal_either(bench: Bench) -> None:
    run = bench.copy("unsigned", "run")
    (run / "g01" / "x\x1b[2J\u202ey").write_text("x", encoding="utf-8")
    for verifier in (first, second):
        code, told = verifier(run)
        assert code == 5
        assert "g01/x" in told
        assert told.isascii()
        assert "\x1b" not in told


def test_an_override_after_a_torn_one_is_whole(bench: Bench) -> None:
    run = signed_run(bench.place / "torn", None, halted=True)
    with (run / ledger.FILE).open("ab") as f:
        f.write(b'{"at":{')
    assert [first(run)[0], second(run)[0]] == [5, 5]
    override(run, by="Ada Moreau", reason="the raters saw an older version")
    assert [first(run)[0], second(run)[0]] == [0, 0]
