"""Bundles: the same bytes twice, no texts where they were left out, and no claim of what was not
checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.bundle import manifest as bundle
from restaudit.evidence.bundle.pack import Wish, pack
from restaudit.evidence.bundle.redact import salt_of
from restaudit.evidence.bundle.unpack import opened
from restaudit.evidence.record import write_json
from restaudit.evidence.seal.signer import Signer
from restaudit.evidence.verify import verify
from tests.evidence.runs import QUOTED, signed_run
from tests.recorded import SENTENCES

Call = Callable[..., tuple[int, str, str]]
TwoVerifiers = Callable[..., tuple[int, str]]
MOST = 1 << 30


def test_a_bundle_has_the_same_bytes_twice_and_holds_all_of_the_record(
    pristine: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    one, two = (pack(pristine, tmp_path / name, Wish()) for name in ("one.zip", "two.zip"))
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.sha256 == hashlib.sha256(one.path.read_bytes()).hexdigest()
    with zipfile.ZipFile(one.path) as archive:
        entries = archive.infolist()
    names = [e.filename for e in entries]
    assert names == sorted(names)
    assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
    recorded = {n for e in ledger.read(pristine) for n in (*e.outputs, *e.context)}
    signatures = {f"signatures/{p.name}" for p in (pristine / "signatures").iterdir()}
    assert set(names) == recorded | signatures | {ledger.FILE, "manifest.json"}
    code, said = verify_twice(one.path)
    assert code == 0
    assert "PARTIAL" not in said


def test_nothing_of_a_bundle_is_left_behind(
    packed: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with opened(packed, most=MOST) as run:
        assert run.folder.is_relative_to(place)
        assert list(run.hashed) == ["reward_model/weights.safetensors"]  # read, but not written
        assert not (run.folder / "reward_model/weights.safetensors").exists()
        assert verify(run.folder, hashed=run.hashed).files == verify(pristine).files
    with pytest.raises(RuntimeError, match="stop"), opened(packed, most=MOST):
        raise RuntimeError("stop")
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("more", "x")
    with pytest.raises(VerificationFailed, match=r"^more: "), opened(packed, most=MOST):
        pass
    assert list(place.iterdir()) == []


def test_an_unpacked_bundle_is_checked_like_the_archive(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert verify_twice(tmp_path / "unpacked")[0] == 0
    (tmp_path / "unpacked" / "signatures" / "note.txt").write_text("x")
    code, said = verify_twice(tmp_path / "unpacked")
    assert code == 5
    assert "signatures/note.txt: " in said


# --- leaving out


@pytest.fixture
def private(pristine: Path, tmp_path: Path, signer: Signer) -> Path:
    """A bundle without texts and without weights, its manifest signed."""
    return pack(
        pristine, tmp_path / "private.zip", Wish(texts=True, weights=True), signer=signer
    ).path


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_no_text_is_left_where_texts_were_left_out(private: Path, packed: Path) -> None:
    hidden = [s.encode() for s in (*SENTENCES, QUOTED)]
    assert any(text in data for data in contents(packed).values() for text in hidden)
    for name, data in contents(private).items():
        # Parquet compresses, so tables are read.
        words = (
            data
            if not name.endswith(".parquet")
            else pd.read_parquet(io.BytesIO(data)).to_json().encode()
        )
        for text in hidden:
            assert text not in words, name


def test_the_manifest_says_what_was_done_and_what_it_does_not_hide(
    private: Path, pristine: Path
) -> None:
    manifest = bundle.parse(contents(private)["manifest.json"])
    assert manifest.without == ("texts", "weights")
    assert {n: left.why for n, left in manifest.left_out.items()} == {
        "data/report.json": "texts",
        "reward_model/dossier.json": "texts",
        "reward_model/weights.safetensors": "weights",
    }
    tables = {
        "data/audit.parquet",
        "g01/grow.parquet",
        "g01/samples.parquet",
        *(f"{i}/audit.parquet" for i in ("g00/i00", "g01/i01", "g01/i02")),
    }
    measured = {f"{i}/measurements.json" for i in ("g00/i00", "g01/i01", "g01/i02")}
    stage = {"g01/i01/stage1/measurements.json"}
    assert set(manifest.redacted) == tables | measured | stage
    redacted = manifest.redacted["g01/samples.parquet"]
    assert redacted.original == ledger.digest_file(pristine / "g01/samples.parquet")
    assert redacted.how == "columns replaced by salted SHA-256: token_ids"
    assert any("prompt_id is an unsalted hash" in note for note in manifest.notes)


def test_numbers_and_decisions_can_still_be_checked(
    private: Path, pristine: Path, verify_twice: TwoVerifiers
) -> None:
    code, said = verify_twice(private)
    assert code == 0
    assert "decisions that follow from their measurements and the sealed policy: all 2" in said
    table = pd.read_parquet(io.BytesIO(contents(private)["g01/grow.parquet"]))
    was = pd.read_parquet(pristine / "g01/grow.parquet")
    pd.testing.assert_frame_equal(
        table.drop(columns="text"), was.drop(columns="text"), check_dtype=False
    )


def test_verify_never_says_that_what_was_replaced_matches_the_ledger(
    private: Path, restaudit: Call, public_file: Path
) -> None:
    code, out, _ = restaudit("verify", private, "--key", public_file)
    assert code == 0
    assert (
        "PARTIAL: 10 further file(s) had their texts taken out and do NOT have the digest that the "
        "ledger"
    ) in out
    assert "; 3 recorded file(s) are not in the bundle" in out
    assert "NOT CHECKED: g01/i01/audit.parquet: its texts were taken out" in out
    assert "NOT CHECKED: reward_model/weights.safetensors: left out of this bundle" in out


def test_equal_texts_become_different_cells_and_one_text_can_be_shown_later(
    private: Path, pristine: Path
) -> None:
    was = pd.read_parquet(pristine / "data" / "audit.parquet")
    now = pd.read_parquet(io.BytesIO(contents(private)["data/audit.parquet"]))
    assert now["prompt"].nunique() == len(now)
    salt = salt_of(pristine / "data" / "audit.parquet", "prompt", 2)
    assert hashlib.sha256(salt + was["prompt"][2].encode()).hexdigest() == now["prompt"][2]
    tokens = pd.read_parquet(io.BytesIO(contents(private)["g01/samples.parquet"]))
    salt = salt_of(pristine / "g01/samples.parquet", "token_ids", 1)
    assert hashlib.sha256(salt + b"[1,2]").hexdigest() == tokens["token_ids"][1]
    grown = pd.read_parquet(io.BytesIO(contents(private)["g01/grow.parquet"]))
    assert grown["text"].nunique() == len(grown)


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], out: Path) -> Path:
    """The bundle as somebody without the key would make it after a change, with a manifest that
    fits.
    """
    files = contents(path)
    change(files)
    manifest = json.loads(files["manifest.json"])
    for name in manifest["files"]:
        digest = {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
        manifest["files"][name] = digest
        if name in manifest["redacted"]:
            manifest["redacted"][name]["replacement"] = digest
    files["manifest.json"] = json.dumps(
        manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    files["manifest.json"] += b"\n"
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(files):
            archive.writestr(name, files[name])
    return out


def test_a_replacement_that_was_replaced_again_breaks_the_manifests_signature(
    private: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    def change(files: dict[str, bytes]) -> None:
        files["g01/grow.parquet"] = files["g01/i01/audit.parquet"]

    code, said = verify_twice(rewritten(private, change, tmp_path / "forged.zip"))
    assert code == 5
    assert "manifest.json" in said

    def unsigned(files: dict[str, bytes]) -> None:
        change(files)
        del files["manifest.dsse.json"]

    code, said = verify_twice(rewritten(private, unsigned, tmp_path / "unsigned.zip"))
    assert code == 0  # nobody's word stands behind the manifest now, and that is what is said
    assert (
        "NOT CHECKED: g01/grow.parquet: its texts were taken out; it is what manifest.json, which nobody"
        in said
    )


def test_redacted_measurements_must_still_carry_their_decision(
    private: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    def change(files: dict[str, bytes]) -> None:
        del files["manifest.dsse.json"]
        name = "g01/i02/measurements.json"
        files[name] = files[name].replace(b'"low": 0.3', b'"low": -0.9')

    code, said = verify_twice(rewritten(private, change, tmp_path / "forged.zip"))
    assert code == 5
    assert "g01/i02/decision.json: " in said


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("g01/i01/decision.json", "left_out"),
        ("plan.json", "left_out"),
        ("g01/i01/measurements.json", "left_out"),
        ("plan.json", "redacted"),
        ("reward_model/weights.safetensors", "redacted"),
    ],
)
def test_what_decisions_rest_on_cannot_be_called_left_out_or_redacted(
    packed: Path, tmp_path: Path, verify_twice: TwoVerifiers, name: str, how: str
) -> None:
    def change(files: dict[str, bytes]) -> None:
        manifest = json.loads(files["manifest.json"])
        manifest["without"] = ["texts"]
        original = manifest["files"][name]
        entry = {"original": original, "replacement": original, "how": "x"}
        if how == "left_out":
            del files[name], manifest["files"][name]
            entry = {"original": original, "why": "texts"}
        manifest[how] = {name: entry}
        files["manifest.json"] = json.dumps(manifest).encode()

    code, said = verify_twice(rewritten(packed, change, tmp_path / "forged.zip"))
    assert code == 5
    assert name in said


def test_a_file_cannot_be_called_redacted_with_another_original(
    private: Path, tmp_path: Path, verify_twice: TwoVerifiers
) -> None:
    def change(files: dict[str, bytes]) -> None:
        del files["manifest.dsse.json"]
        manifest = json.loads(files["manifest.json"])
        manifest["redacted"]["g01/grow.parquet"]["original"]["sha256"] = "0" * 64
        files["manifest.json"] = json.dumps(manifest).encode()

    code, said = verify_twice(rewritten(private, change, tmp_path / "forged.zip"))
    assert code == 5
    assert "g01/grow.parquet: " in said


# --- the report, and what is refused


def test_a_report_with_samples_stays_out_unless_it_is_asked_for(
    run: Path, tmp_path: Path, restaudit: Call, key_file: Path, verify_twice: TwoVerifiers
) -> None:
    (run / "report").mkdir()
    (run / "report" / "report.html").write_text(SENTENCES[0], encoding="utf-8")
    assert restaudit("sign", run, "--key", key_file)[0] == 0
    code, out, _ = restaudit("bundle", run, "--without-texts", "--out", tmp_path / "a.zip")
    assert code == 0
    assert (
        "the rendered report is not in it, since it shows samples (--with-report keeps it)" in out
    )
    assert "manifest: not signed" in out
    assert not any(
        n.startswith("report/") or "report.dsse" in n for n in contents(tmp_path / "a.zip")
    )
    assert verify_twice(tmp_path / "a.zip")[0] == 0
    assert (
        restaudit("bundle", run, "--without-texts", "--with-report", "--out", tmp_path / "b.zip")[0]
        == 0
    )
    assert "report/report.html" in contents(tmp_path / "b.zip")
    assert verify_twice(tmp_path / "b.zip")[0] == 0


def test_an_unfinished_run_is_packed_up_to_its_last_event(
    tmp_path: Path, signer: Signer, verify_twice: TwoVerifiers
) -> None:
    run = signed_run(tmp_path / "run", signer, until="g01/i02/audit")
    (run / "g01/i02/half.parquet").write_bytes(b"not recorded")
    whole = (run / ledger.FILE).read_bytes()
    (run / ledger.FILE).write_bytes(whole + b'{"at":')
    packed = pack(run, tmp_path / "run.zip", Wish())
    assert contents(packed.path)[ledger.FILE] == whole
    assert verify_twice(packed.path)[0] == 0


def test_a_run_that_does_not_verify_is_not_packed(
    run: Path, restaudit: Call, tmp_path: Path
) -> None:
    (run / "g01/grow.parquet").write_bytes(b"x")
    code, _, err = restaudit("bundle", run, "--out", tmp_path / "a.zip")
    assert code == 5
    assert "g01/grow.parquet: changed" in err
    assert not (tmp_path / "a.zip").exists()


def test_a_file_that_changes_after_the_check_is_found_while_packing(
    run: Path, tmp_path: Path
) -> None:
    (run / "g01/grow.parquet").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"^g01/grow\.parquet: changed while it was packed"):
        pack(run, tmp_path / "a.zip", Wish())
    assert list(tmp_path.glob("*.zip")) == list(tmp_path.glob(".tmp*")) == []


def test_where_a_bundle_goes(run: Path, restaudit: Call, tmp_path: Path) -> None:
    code, out, _ = restaudit("bundle", run)
    assert code == 0
    assert (tmp_path / "run.zip").is_file()
    assert "restaudit verify run.zip" in out
    code, _, err = restaudit("bundle", run)
    assert code == 2
    assert "is there already" in err
    code, _, err = restaudit("bundle", run, "--out", run / "report" / "a.zip")
    assert code == 2
    assert "lies in the run folder" in err
    code, _, err = restaudit("bundle", run, "--out", tmp_path / "none" / "a.zip")
    assert code == 2
    assert "cannot be written" in err


@pytest.mark.parametrize(
    "name", ["r\u00e9sum\u00e9.html", "a:b", "nul.txt", "x.", "report.html", "Report.HTML"]
)
def test_names_that_not_every_machine_can_hold_are_refused(
    run: Path, tmp_path: Path, name: str
) -> None:
    (run / "report").mkdir()
    (run / "report" / name).write_text("x", encoding="utf-8")
    if name.lower() == "report.html":
        if name == "report.html":
            pack(run, tmp_path / "a.zip", Wish())
            return
        (run / "report" / "report.html").write_text("x", encoding="utf-8")
    with pytest.raises(BadInput, match="cannot be packed"):
        pack(run, tmp_path / "a.zip", Wish())


def test_a_link_in_the_report_is_not_followed(run: Path, tmp_path: Path) -> None:
    (run / "report").mkdir()
    (run / "report" / "link").symlink_to("/etc/hostname")
    with pytest.raises(BadInput, match="report/link: is a symbolic link"):
        pack(run, tmp_path / "a.zip", Wish())


def test_what_cannot_be_redacted_is_named(run: Path, tmp_path: Path) -> None:
    write_json({"measurements": 3}, run / "g01/i01/measurements.json")
    with pytest.raises(BadInput, match=r"measurements\.json: not measurements"):
        pack(run, tmp_path / "a.zip", Wish(texts=True))
    (run / "g00/i00/audit.parquet").write_bytes(b"no table")
    with pytest.raises(BadInput, match=r"audit\.parquet: not a readable Parquet table"):
        pack(run, tmp_path / "b.zip", Wish(texts=True))
