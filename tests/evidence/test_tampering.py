"""What somebody does to a run or its bundle afterwards: both verifiers refuse it, and the first one
names the thing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from restaudit.evidence import ledger, record
from restaudit.evidence.bundle.pack import Wish, pack
from restaudit.evidence.override import override
from restaudit.evidence.seal.keys import load_private
from restaudit.evidence.seal.signer import Signer, keep_public
from restaudit.evidence.seal.statements import FOLDER
from tests.evidence.runs import edit_json, loosen, ratings, rechain, signed_run

Call = Callable[..., tuple[int, str, str]]
TwoVerifiers = Callable[..., tuple[int, str]]
Tamper = Callable[[Path], None]


# --- what is done


def flip_a_bit(run: Path) -> None:
    path = run / "reward_model/weights.safetensors"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


def truncate(run: Path) -> None:
    path = run / "g01/i01/audit.parquet"
    path.write_bytes(path.read_bytes()[:-1])


def remove(run: Path) -> None:
    (run / "g01/i01/kept.parquet").unlink()


def replace(run: Path) -> None:
    shutil.copy(run / "g01/i01/audit.parquet", run / "g01/i02/audit.parquet")


def add(run: Path) -> None:
    (run / "g01/i01/notes.md").write_text("x", encoding="utf-8")


def reorder(run: Path) -> None:
    lines = (run / ledger.FILE).read_bytes().splitlines(keepends=True)
    lines[4], lines[5] = lines[5], lines[4]
    (run / ledger.FILE).write_bytes(b"".join(lines))


def edit_an_event(run: Path) -> None:
    text = (run / ledger.FILE).read_bytes()
    (run / ledger.FILE).write_bytes(text.replace(b'"kept":6', b'"kept":9', 1))


def rechain_only(run: Path) -> None:
    rechain(
        run,
        lambda e: ledger.Event(
            e.seq, e.step, e.prev, e.outputs, e.content, e.context, {**e.at, "host": "x"}
        ),
    )


def better_numbers(run: Path) -> None:
    """Measurements and everything that follows from them, consistently."""
    for path in run.glob("g01/i0?/measurements.json"):
        path.write_text(path.read_text(encoding="utf-8").replace("0.4", "0.9"), encoding="utf-8")
    rechain(run)


def swap_iterations(run: Path) -> None:
    (run / "g01/i01").rename(run / "x")
    (run / "g01/i02").rename(run / "g01/i01")
    (run / "x").rename(run / "g01/i02")


def swap_iterations_and_rechain(run: Path) -> None:
    for name in ("audit.parquet", "measurements.json", "decision.json"):
        one, two = run / "g01/i01" / name, run / "g01/i02" / name
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
    rechain(run)


def edit_a_rating(run: Path) -> None:
    record.write_table(ratings((5.0, 5.0, 5.0)), run / "g01/i01/ratings.parquet", record.RATINGS)


def edit_a_rating_and_rechain(run: Path) -> None:
    edit_a_rating(run)
    rechain(run)


def edit_a_threshold(run: Path) -> None:
    edit_json(run / "plan.json", loosen)


def edit_a_threshold_and_rechain(run: Path) -> None:
    edit_json(run / "plan.json", loosen)
    rechain(run)


def strip_signatures(run: Path) -> None:
    shutil.rmtree(run / FOLDER)


def strip_all_but_the_key(run: Path) -> None:
    for path in (run / FOLDER).glob("*.json"):
        path.unlink()


def strip_one_head(run: Path) -> None:
    (run / FOLDER / "head-0005.dsse.json").unlink()


def strip_the_last_head(run: Path) -> None:
    (run / FOLDER / "head-0008.dsse.json").unlink()


def copy_a_head(run: Path) -> None:
    shutil.copy(run / FOLDER / "head-0002.dsse.json", run / FOLDER / "head-0005.dsse.json")


def edit_a_signature(run: Path) -> None:
    path = run / FOLDER / "head-0005.dsse.json"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


def exchange_the_public_key(run: Path) -> None:
    (path,) = (run / FOLDER).glob("*.pem")
    other = Signer(load_private(OTHER[0]))
    path.write_bytes(other.key.public.pem)


def add_to_signatures(run: Path) -> None:
    (run / FOLDER / "notes.txt").write_text("x", encoding="utf-8")


def cut_the_end(run: Path) -> None:
    lines = (run / ledger.FILE).read_bytes().splitlines(keepends=True)
    (run / ledger.FILE).write_bytes(b"".join(lines[:-2]))


def sign_with_another_key(run: Path) -> None:
    """The plan still names the operator's key."""
    strip_signatures(run)
    other = Signer(load_private(OTHER[0]))
    keep_public(run, other.key)
    other.sign(run, ledger.read(run))


OTHER: list[Path] = []


@pytest.fixture(autouse=True)
def _other(other_key: Path) -> None:
    OTHER[:] = [other_key]


TAMPERS: dict[Tamper, str] = {
    flip_a_bit: "reward_model/weights.safetensors: changed after step 'reward_model' recorded it",
    truncate: "g01/i01/audit.parquet: changed after step 'g01/i01/audit'",
    remove: "g01/i01/kept.parquet: missing; step 'g01/i01/improve' recorded it",
    replace: "g01/i02/audit.parquet: changed after step 'g01/i02/audit' recorded it",
    add: "g01/i01/notes.md: ",
    reorder: "ledger.jsonl: line 5: the chain is broken here",
    edit_an_event: (
        "ledger.jsonl: line 5: the event 'g01/i01/improve' was changed after it was written"
    ),
    rechain_only: (
        "signatures/plan.dsse.json: is not a signature of the sealed plan (ledger.jsonl#0: "
    ),
    better_numbers: (
        "signatures/head-0005.dsse.json: is not a signature of the head after event 5 "
        "('g01/i01/audit')"
    ),
    swap_iterations: "g01/i01/kept.parquet",
    swap_iterations_and_rechain: (
        "signatures/head-0005.dsse.json: is not a signature of the head after event 5"
    ),
    edit_a_rating: "g01/i01/ratings.parquet: changed after step 'g01/i01/audit' recorded it",
    edit_a_rating_and_rechain: (
        "signatures/head-0005.dsse.json: is not a signature of the head after event 5"
    ),
    edit_a_threshold: "plan.json: changed after step 'plan' recorded it",
    edit_a_threshold_and_rechain: (
        "signatures/plan.dsse.json: is not a signature of the sealed plan (plan.json: signed"
    ),
    strip_signatures: "signatures/plan.dsse.json: missing, but the sealed plan names key",
    strip_all_but_the_key: "signatures/plan.dsse.json: missing, but the sealed plan names key",
    strip_one_head: "signatures/head-0005.dsse.json: missing, but 'g01/i01/audit' is recorded",
    strip_the_last_head: "signatures/head-0008.dsse.json: missing, but 'end' is recorded",
    copy_a_head: "signatures/head-0005.dsse.json: is not a signature of the head after event 5",
    edit_a_signature: "signatures/head-0005.dsse.json: the signature does not fit",
    exchange_the_public_key: ".pem: is not the key of that name",
    add_to_signatures: "signatures/notes.txt: belongs to no signature of this run",
    cut_the_end: (
        "signatures/head-0007.dsse.json: signs event 7, but the ledger ends before it: "
        "its last events"
    ),
    sign_with_another_key: "signatures/plan.dsse.json",
}
# A bundle is made of recorded files only, so these are found earlier there, or in other words.
IN_A_BUNDLE = {swap_iterations: "g01/i0", cut_the_end: "signatures/head-000"}


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda t: t.__name__)
def test_a_folder_that_was_tampered_with_is_refused_by_both(
    run: Path, verify_twice: TwoVerifiers, tamper: Tamper
) -> None:
    tamper(run)
    if tamper is swap_iterations:  # kept.parquet is the same file in both of this small run
        run.joinpath("g01/i01/kept.parquet").write_bytes(b"x")
    code, said = verify_twice(run)
    assert code == 5
    assert TAMPERS[tamper] in said


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda t: t.__name__)
def test_a_bundle_that_was_tampered_with_is_refused_by_both(
    pristine: Path, tmp_path: Path, verify_twice: TwoVerifiers, tamper: Tamper
) -> None:
    """The tamperer knows the format: the manifest fits what is in the bundle now."""
    path = pack(pristine, tmp_path / "good.zip", Wish()).path
    folder = tmp_path / "folder"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    tamper(folder)
    code, said = verify_twice(_zip(folder, tmp_path / "bad.zip"))
    assert code == 5
    assert IN_A_BUNDLE.get(tamper, TAMPERS[tamper]).partition(": ")[0] in said


def _zip(folder: Path, out: Path) -> Path:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").unlink()
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    manifest["files"] = {n: vars(ledger.digest_file(folder / n)) for n in names}
    lines = [json.loads(x) for x in (folder / ledger.FILE).read_bytes().splitlines()]
    manifest["seq"], manifest["head"] = len(lines) - 1, lines[-1]["hash"]
    compared = [{k: e[k] for k in ("step", "outputs", "content")} for e in lines]
    text = json.dumps(compared, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    manifest["comparison_digest"] = hashlib.sha256(text.encode()).hexdigest()
    whole = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("manifest.json", whole)
        for name in names:
            archive.write(folder / name, name)
    return out


def test_both_verifiers_agree_on_good_runs_of_every_kind(
    tmp_path: Path, signer: Signer, verify_twice: TwoVerifiers, public_file: Path
) -> None:
    done = signed_run(tmp_path / "done", signer)
    halted = signed_run(tmp_path / "halted", signer, halted=True)
    half = signed_run(tmp_path / "half", signer, until="g01/i02/improve")
    overridden = signed_run(tmp_path / "overridden", signer, halted=True)
    override(overridden, by="Ada Moreau", reason="the raters saw an older version", given=signer)
    for run in (done, halted, half, overridden):
        assert verify_twice(run, "--key", public_file)[0] == 0
        packed = pack(run, tmp_path / f"{run.name}.zip", Wish())
        assert verify_twice(packed.path, "--key", public_file)[0] == 0
    unsigned = signed_run(tmp_path / "unsigned", None)
    assert verify_twice(unsigned)[0] == 0
    assert verify_twice(unsigned, "--key", public_file)[0] == 5


def test_going_on_after_halt_is_refused_by_both(tmp_path: Path, verify_twice: TwoVerifiers) -> None:
    run = signed_run(tmp_path / "run", None, halted=True)
    end = lambda e: ledger.Event(e.seq, "end", e.prev, {}, {}) if e.step.endswith("halt") else e  # noqa: E731
    rechain(run, end)
    code, said = verify_twice(run)
    assert code == 5
    assert "the sealed policy said HALT, but step 'end' was done afterwards" in said


def test_an_override_without_its_halt_is_refused_by_both(
    tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    run = signed_run(tmp_path / "run", None, halted=True)
    override(run, by="Ada Moreau", reason="the raters saw an older version")
    rechain(run, lambda e: None if e.step.endswith("halt") else e)
    code, said = verify_twice(run)
    assert code == 5
    assert "overrides no halt" in said


def test_a_name_cannot_speak_to_the_readers_terminal(
    run: Path, restaudit: Call, second: ModuleType, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "g01" / "x\x1b[2J\u202ey").write_text("x", encoding="utf-8")
    code, _, err = restaudit("verify", run)
    assert code == 5
    monkeypatch.setattr(sys, "argv", ["verify_bundle.py", str(run)])
    assert second.main() == 5
    for said in (err, capsys.readouterr().err):
        assert "g01/x" in said
        assert "\x1b" not in said
        assert "\u202e" not in said
