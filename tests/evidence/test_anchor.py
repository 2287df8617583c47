"""Anchors: what a witness keeps, and what it catches that no chain and no signature of one's own
can.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from restaudit.evidence import ledger
from restaudit.evidence.record import Run
from restaudit.evidence.seal.signer import Signer
from tests.evidence.runs import signed_run

Call = Callable[..., tuple[int, str, str]]


def test_an_anchor_is_one_small_file_and_one_line(
    restaudit: Call, run: Path, tmp_path: Path, signer: Signer
) -> None:
    code, out, _ = restaudit("anchor", run, "--out", tmp_path / "a.json")
    assert code == 0
    record = Run(run)
    said = json.loads((tmp_path / "a.json").read_text())
    assert said == {
        "format": "restaudit-anchor",
        "schema": 1,
        "run_id": record.run_id,
        "seq": len(record.events) - 1,
        "head": record.events[-1].hash,
        "comparison_digest": record.digest,
        "signer": signer.key_id,
        "plan_sha256": ledger.digest_file(run / "plan.json").sha256,
    }
    assert out.splitlines()[0].startswith(
        f"restaudit-anchor 1 run={record.run_id} seq=8 head={record.events[-1].hash}"
    )
    assert restaudit("anchor", run)[0] == 0
    assert (run.parent / "run-0008.anchor.json").read_bytes() == (tmp_path / "a.json").read_bytes()
    assert restaudit("verify", run)[0] == 0  # it lies beside the run, not in it


def test_an_earlier_head_of_the_same_run_is_fine(
    restaudit: Call, tmp_path: Path, signer: Signer
) -> None:
    run = signed_run(tmp_path / "run", signer, until="g01/i02/improve")
    anchor = tmp_path / "a.json"
    assert restaudit("anchor", run, "--out", anchor)[0] == 0
    signed_run(run, signer)
    code, out, _ = restaudit("anchor", run, "--check", anchor)
    assert code == 0
    assert "(event 5); 3 event(s) came since" in out
    code, out, _ = restaudit("verify", run, "--anchor", anchor)
    assert code == 0
    assert (
        "ANCHORED: the head the witness saw (event 5) is in this chain; 3 event(s) came since"
        in out
    )
    assert "UNANCHORED" not in out


def test_a_run_done_again_with_the_same_key_is_not_the_one_the_witness_saw(
    restaudit: Call, tmp_path: Path, signer: Signer, verify_twice: Callable[..., tuple[int, str]]
) -> None:
    """The best of many runs, as far as an anchor reaches: all signatures are right, and still it is
    another run.
    """
    anchor = tmp_path / "a.json"
    first = signed_run(tmp_path / "first", signer)
    assert restaudit("anchor", first, "--out", anchor)[0] == 0
    again = signed_run(tmp_path / "again", signer)
    assert verify_twice(again)[0] == 0
    code, said = verify_twice(again, "--anchor", anchor)
    assert code == 5
    assert "the witness saw another" in said
    assert restaudit("anchor", again, "--check", anchor)[0] == 5


def test_a_complete_rebuild_with_the_operators_own_key_is_caught(
    restaudit: Call,
    run: Path,
    tmp_path: Path,
    signer: Signer,
    verify_twice: Callable[..., tuple[int, str]],
) -> None:
    anchor = tmp_path / "a.json"
    assert restaudit("anchor", run, "--out", anchor)[0] == 0
    events = ledger.read(run)
    (run / ledger.FILE).unlink()
    prev = ledger.GENESIS
    for e in events:
        at = {**e.at, "seconds": 0.25}
        ledger.append(run, ledger.Event(e.seq, e.step, prev, e.outputs, e.content, e.context, at))
        prev = ledger.read(run)[-1].hash
    for path in (run / "signatures").glob("*.json"):
        path.unlink()
    signer.sign(run, ledger.read(run))
    assert verify_twice(run)[0] == 0
    code, said = verify_twice(run, "--anchor", anchor)
    assert code == 5
    assert "the ledger was rebuilt" in said


def test_a_cut_at_the_end_is_caught(
    restaudit: Call, run: Path, tmp_path: Path, verify_twice: Callable[..., tuple[int, str]]
) -> None:
    anchor = tmp_path / "a.json"
    assert restaudit("anchor", run, "--out", anchor)[0] == 0
    lines = (run / ledger.FILE).read_bytes().splitlines(keepends=True)
    (run / ledger.FILE).write_bytes(b"".join(lines[:-2]))
    for k in (7, 8):
        (run / "signatures" / f"head-{k:04d}.dsse.json").unlink()
    assert verify_twice(run)[0] == 0  # a shorter run like any other
    code, said = verify_twice(run, "--anchor", anchor)
    assert code == 5
    assert "ends at event 6, but the witness saw event 8: the last events were cut off" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head", "x"),
        ("seq", -1),
        ("seq", 1.5),
        ("seq", True),
        ("format", "other"),
        ("schema", 2),
        ("run_id", 7),
        ("more", 1),
    ],
)
def test_what_is_no_anchor_is_bad_input(
    restaudit: Call, run: Path, tmp_path: Path, key: str, value: object
) -> None:
    anchor = tmp_path / "a.json"
    assert restaudit("anchor", run, "--out", anchor)[0] == 0
    anchor.write_text(json.dumps({**json.loads(anchor.read_text()), key: value}))
    code, _, err = restaudit("anchor", run, "--check", anchor)
    assert code == 2
    assert "not an anchor of restaudit" in err


@pytest.mark.parametrize("key", ["comparison_digest", "plan_sha256"])
def test_an_anchor_that_was_edited_around_its_head_is_caught(
    restaudit: Call, run: Path, tmp_path: Path, key: str
) -> None:
    anchor = tmp_path / "a.json"
    assert restaudit("anchor", run, "--out", anchor)[0] == 0
    anchor.write_text(json.dumps({**json.loads(anchor.read_text()), key: "0" * 64}))
    code, _, err = restaudit("anchor", run, "--check", anchor)
    assert code == 5
    assert "what the anchor says of it beside is not so" in err


def test_an_anchor_is_never_overwritten_and_options_that_do_not_fit_are_refused(
    restaudit: Call, run: Path, tmp_path: Path
) -> None:
    anchor = tmp_path / "a.json"
    anchor.write_text("{}")
    assert restaudit("anchor", run, "--out", anchor)[0] == 2
    assert anchor.read_text() == "{}"
    assert restaudit("anchor", run, "--check", anchor, "--out", tmp_path / "b")[0] == 2
    assert restaudit("anchor", run, "--check", anchor, "--tsr", anchor)[0] == 2
    assert restaudit("anchor", run, "--check", tmp_path / "none.json")[0] == 2


# --- RFC 3161

TSA = """
[tsa]
default_tsa = own
[own]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(
        ["openssl", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A throwaway time-stamping authority: its certificate is ca.pem."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on this machine, and makes and checks RFC 3161 time-stamps")
    folder = tmp_path / "tsa"
    folder.mkdir()
    (folder / "tsa.cnf").write_text(TSA.format(folder=folder))
    (folder / "serial").write_text("01\n")
    (folder / "tsa.ext").write_text(
        "extendedKeyUsage = critical,timeStamping\nkeyUsage = critical,digitalSignature\n"
    )
    for name in ("ca", "elsewhere"):
        _openssl(
            folder,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
        )
    _openssl(
        folder,
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=tsa",
        "-keyout",
        "tsa.key",
        "-out",
        "tsa.csr",
    )
    _openssl(
        folder,
        "x509",
        "-req",
        "-in",
        "tsa.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "tsa.ext",
        "-out",
        "tsa.pem",
    )
    return folder


def test_a_time_stamp_of_an_anchor_is_checked(
    restaudit: Call, run: Path, tmp_path: Path, authority: Path
) -> None:
    anchor = tmp_path / "a.json"
    assert restaudit("anchor", run, "--out", anchor)[0] == 0
    # The command lines of docs/evidence.md.
    _openssl(tmp_path, "ts", "-query", "-data", "a.json", "-sha256", "-cert", "-out", "a.tsq")
    _openssl(
        tmp_path, "ts", "-reply", "-config", "tsa/tsa.cnf", "-queryfile", "a.tsq", "-out", "a.tsr"
    )
    stamp = ("--tsr", tmp_path / "a.tsr", "--tsa-cert")
    code, out, _ = restaudit("anchor", run, "--check", anchor, *stamp, authority / "ca.pem")
    assert code == 0
    assert "a.json existed at " in out
    assert "GMT, says the authority you trust" in out
    code, _, err = restaudit("anchor", run, "--check", anchor, *stamp, authority / "elsewhere.pem")
    assert code == 5
    assert "not a time-stamp of" in err
    anchor.write_text(anchor.read_text() + "\n")
    code, _, err = restaudit("anchor", run, "--check", anchor, *stamp, authority / "ca.pem")
    assert code == 5
    assert "not a time-stamp of" in err
