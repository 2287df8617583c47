"""Signatures while a run is written: the plan before the first sample, each gate's head, and what a
crash may leave.
"""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from restaudit.console import Reporter
from restaudit.errors import BadInput, RestauditError, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.override import override
from restaudit.evidence.record import Run
from restaudit.evidence.seal.keys import ENVIRONMENT, load_private, load_public
from restaudit.evidence.seal.signer import Signer, given_signer
from restaudit.evidence.steps import Writer
from restaudit.evidence.verify import verify
from restaudit.files import plain
from restaudit.loop.running import resume
from tests.evidence.runs import STEPS, signed_run

SILENT = Reporter(quiet=True)
HEADS = [k for k, step in enumerate(STEPS) if step.endswith("audit") or step == "end"]


def names(run: Path) -> set[str]:
    return {p.name for p in (run / "signatures").iterdir()}


def test_the_plan_is_signed_before_the_next_step_begins(tmp_path: Path, signer: Signer) -> None:
    run = signed_run(tmp_path / "run", signer, until="reward_model")
    assert names(run) == {"plan.dsse.json", f"{signer.key_id}.pem"}
    seen: list[set[str]] = []

    def sample(_: Path) -> dict[str, object]:
        seen.append(names(run))
        return {}

    with Writer(run, signer=signer) as writer:
        writer.step("reward_model", "", sample)
    assert "plan.dsse.json" in seen[0]


def test_every_gate_and_the_end_have_a_signed_head(
    pristine: Path, signer: Signer, public_file: Path
) -> None:
    expected = {f"head-{k:04d}.dsse.json" for k in HEADS}
    assert names(pristine) == {"plan.dsse.json", f"{signer.key_id}.pem", *expected}
    report = verify(pristine)
    assert (report.signed.signer, report.signed.trusted) == (signer.key_id, False)
    assert (report.signed.heads, report.signed.through) == (len(HEADS), HEADS[-1])
    assert verify(pristine, trusted=load_public(public_file)).signed.trusted


def test_an_unsigned_run_says_so_and_a_trusted_key_is_not_satisfied(
    tmp_path: Path, public_file: Path
) -> None:
    run = signed_run(tmp_path / "run", None)
    assert verify(run).signed.signer is None
    with pytest.raises(VerificationFailed, match="UNSIGNED"):
        verify(run, trusted=load_public(public_file))


def test_another_trusted_key_is_not_satisfied(pristine: Path, other_key: Path) -> None:
    with pytest.raises(
        VerificationFailed, match=r"^plan\.json: sealed with key .* which is not the key you trust"
    ):
        verify(pristine, trusted=load_public(other_key.with_name("other.pub.pem")))


def test_the_trusted_key_need_not_lie_in_the_folder(
    run: Path, signer: Signer, public_file: Path
) -> None:
    (run / "signatures" / f"{signer.key_id}.pem").unlink()
    with pytest.raises(
        VerificationFailed,
        match=r"\.pem: missing, so signatures/plan\.dsse\.json cannot be checked",
    ):
        verify(run)
    assert verify(run, trusted=load_public(public_file)).signed.trusted


@pytest.mark.parametrize("halted", [True, False])
def test_a_run_goes_on_with_the_key_of_its_plan_only(
    tmp_path: Path, signer: Signer, other_key: Path, halted: bool
) -> None:
    run = signed_run(tmp_path / "run", signer, halted=halted, until=None if halted else "g01/grow")
    unsigned = signed_run(
        tmp_path / "unsigned", None, halted=halted, until=None if halted else "g01/grow"
    )

    def go_on(folder: Path, given: Signer | None) -> None:
        if halted:
            override(folder, by="Ada Moreau", reason="we looked at all of it", given=given)
        else:
            resume(folder, SILENT, given)

    with pytest.raises(
        BadInput, match=f"was sealed with key {signer.key_id}; go on with the same key: --key FILE"
    ):
        go_on(run, None)
    with pytest.raises(BadInput, match="but the key given is"):
        go_on(run, Signer(load_private(other_key)))
    with pytest.raises(
        BadInput, match=f"sealed without a key.*leave out --key, and unset {ENVIRONMENT}"
    ):
        go_on(unsigned, signer)


def test_an_override_is_signed(tmp_path: Path, signer: Signer) -> None:
    run = signed_run(tmp_path / "run", signer, halted=True)
    override(run, by="Ada Moreau", reason="we looked at all of it", given=signer)
    last = len(Run(run).events) - 1
    assert f"head-{last:04d}.dsse.json" in names(run)
    assert verify(run).signed.through == last


def test_a_crash_between_an_event_and_its_signature_is_mended_when_the_run_goes_on(
    run: Path, signer: Signer
) -> None:
    last = run / "signatures" / f"head-{HEADS[-1]:04d}.dsse.json"
    whole = last.read_bytes()
    last.unlink()
    with pytest.raises(
        VerificationFailed,
        match=r"head-\d+\.dsse\.json: missing, but 'end' is recorded .*restaudit resume",
    ):
        verify(run)
    resume(run, SILENT, signer)
    assert last.read_bytes() == whole
    verify(run)


KILLED = """
import os, signal, sys
from pathlib import Path
from restaudit.evidence.seal.keys import load_private
from restaudit.evidence.seal.signer import Signer
from tests.evidence.runs import signed_run

class Dies(Signer):
    def sign(self, run, events):
        if len(events) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        super().sign(run, events)

signed_run(Path(sys.argv[1]), Dies(load_private(Path(sys.argv[2]))))
"""


@pytest.mark.parametrize("after", [1, 3, 6, 9])
def test_a_kill_between_an_event_and_its_signature_loses_nothing(
    tmp_path: Path, pristine: Path, key_file: Path, signer: Signer, after: int
) -> None:
    run = tmp_path / "run"
    words = [sys.executable, "-c", KILLED, str(run), str(key_file), str(after)]
    done = subprocess.run(
        words, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(ledger.read(run)) == after
    signed_run(run, signer)
    assert verify(run).digest == verify(pristine).digest
    assert names(run) == names(pristine)


def test_a_disk_that_is_full_when_a_head_is_signed_is_a_clear_stop(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = signed_run(tmp_path / "run", signer, until="g00/i00/audit")

    def full(run: Path, name: str, data: bytes, **more: int) -> Path:
        if name.startswith("signatures/"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(run, name, data, **more)

    write = plain.write
    monkeypatch.setattr(plain, "write", full)
    with pytest.raises(RestauditError, match=r"\(No space left on device\).*restaudit resume"):
        signed_run(run, signer)
    monkeypatch.undo()
    signed_run(run, signer)
    assert verify(run).finished


def test_in_an_unfinished_run_the_last_head_may_still_lack_its_signature(
    tmp_path: Path, signer: Signer
) -> None:
    run = signed_run(tmp_path / "run", signer, until="g01/i02/improve")
    last = len(ledger.read(run)) - 1
    (run / "signatures" / f"head-{last:04d}.dsse.json").unlink()
    assert verify(run).signed.through == HEADS[0]


def test_signatures_that_were_removed_are_not_made_again(run: Path, signer: Signer) -> None:
    (run / "signatures" / f"head-{HEADS[0]:04d}.dsse.json").unlink()
    with (
        pytest.raises(VerificationFailed, match="missing, although the run went on after it"),
        Writer(run, signer=signer),
    ):
        pass


def test_a_ledger_that_was_rebuilt_is_not_signed(run: Path, signer: Signer) -> None:
    """The operator's key must not seal what somebody else did to a stopped run."""
    events = ledger.read(run)
    (run / ledger.FILE).unlink()
    prev = ledger.GENESIS
    for e in events[:-1]:
        ledger.append(run, ledger.Event(e.seq, e.step, prev, e.outputs, {"n": 1}, e.context, e.at))
        prev = ledger.read(run)[-1].hash
    with pytest.raises(VerificationFailed, match="signed for another ledger"):
        resume(run, SILENT, signer)
    with Writer(run):  # and the lock is free again
        pass


def test_a_key_comes_from_the_option_or_else_from_the_environment(
    key_file: Path, other_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert given_signer(None) is None
    monkeypatch.setenv(ENVIRONMENT, str(other_key))
    assert given_signer(None).key_id == load_private(other_key).key_id  # type: ignore[union-attr]
    assert given_signer(key_file).key_id == load_private(key_file).key_id  # type: ignore[union-attr]


def test_the_command_line_says_whose_key_it_is(
    restaudit: Callable[..., tuple[int, str, str]],
    pristine: Path,
    public_file: Path,
    signer: Signer,
) -> None:
    code, out, _ = restaudit("verify", pristine)
    assert code == 0
    assert (
        f"SELF-SIGNED: the key is only the one that the folder itself names: {signer.key_id}" in out
    )
    code, out, _ = restaudit("verify", pristine, "--key", public_file)
    assert code == 0
    assert f"SIGNED with the key you trust: {signer.key_id}" in out
    assert "UNANCHORED" in out
    code, out, _ = restaudit("keys", "--help")
    assert code == 0
    assert "new" in out


# --- the report


@pytest.fixture
def reported(run: Path) -> Path:
    (run / "report").mkdir()
    (run / "report" / "report.html").write_text("<p>quiet</p>", encoding="utf-8")
    return run


def test_a_report_is_bound_to_the_record(
    restaudit: Callable[..., tuple[int, str, str]], reported: Path, key_file: Path, other_key: Path
) -> None:
    code, out, _ = restaudit("sign", reported, "--key", key_file)
    assert code == 0
    assert "1 file(s) under report/" in out
    report = verify(reported)
    assert report.signed.report_files == ("report/report.html",)
    assert report.signed.report_at == len(STEPS) - 1
    assert report.unchecked == ()
    (reported / "report" / "late.txt").write_text("x", encoding="utf-8")
    assert [u.name for u in verify(reported).unchecked] == ["report/late.txt"]
    (reported / "report" / "report.html").write_text("<p>loud!</p>", encoding="utf-8")
    with pytest.raises(
        VerificationFailed, match=r"^report/report\.html: changed after it was signed"
    ):
        verify(reported)
    (reported / "report" / "report.html").unlink()
    with pytest.raises(VerificationFailed, match=r"^report/report\.html: missing; it was signed"):
        verify(reported)
    code, _, _ = restaudit(
        "sign", reported, "--key", other_key
    )  # somebody else answers for the report as it is now
    assert code == 0
    assert verify(reported).signed.report_by == load_private(other_key).key_id
    code, out, err = restaudit("verify", reported, "--key", key_file.with_name("key.pub.pem"))
    assert code == 5
    assert out.startswith("NOT CHECKED: report/late.txt: signed with key ")
    assert "for event 8, and that is NOT the key you trust" in out
    assert "NOT CHECKED: signed with key " in err


def test_a_report_of_another_run_is_refused(
    reported: Path,
    tmp_path: Path,
    signer: Signer,
    key_file: Path,
    restaudit: Callable[..., tuple[int, str, str]],
) -> None:
    assert restaudit("sign", reported, "--key", key_file)[0] == 0
    other = signed_run(tmp_path / "other", signer)
    shutil.copytree(reported / "report", other / "report")
    shutil.copy(reported / "signatures" / "report.dsse.json", other / "signatures")
    with pytest.raises(
        VerificationFailed, match="the report was signed for a record whose head is"
    ):
        verify(other)


def test_a_report_of_an_earlier_head_or_a_changed_record_is_not_signed(
    restaudit: Callable[..., tuple[int, str, str]], reported: Path, key_file: Path
) -> None:
    manifest = reported / "report" / "manifest.json"
    for written, code, said in (
        ('{"head": "' + "0" * 64 + '"}', 2, "was rendered before the run's last event"),
        ("[]", 2, "not a report's manifest"),
    ):
        manifest.write_text(written, encoding="utf-8")
        assert restaudit("sign", reported, "--key", key_file)[0] == code
        assert said in restaudit("sign", reported, "--key", key_file)[2]
    manifest.unlink()
    (reported / "g01/grow.parquet").write_bytes(b"x")
    code, _, err = restaudit("sign", reported, "--key", key_file)
    assert code == 5
    assert "g01/grow.parquet: changed after step 'g01/grow' recorded it" in err


def test_more_signatures_than_a_run_has_are_not_read(run: Path) -> None:
    for number in range(9):
        (run / "signatures" / f"x{number}").write_bytes(bytes(4 << 20))
    with pytest.raises(
        VerificationFailed,
        match=r"^signatures/x\d: with those before it more than 33,554,432 bytes",
    ):
        verify(run)
    (run / "signatures" / "x0").write_bytes(bytes((4 << 20) + 1))
    with pytest.raises(VerificationFailed, match=r"^signatures/x0: is larger than 4,194,304 bytes"):
        verify(run)


def test_signing_without_a_report_or_a_key_is_bad_input(
    restaudit: Callable[..., tuple[int, str, str]],
    run: Path,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert restaudit("sign", run)[0] == 2
    code, _, err = restaudit("sign", run, "--key", key_file)
    assert code == 2
    assert "holds no file to sign" in err


def test_a_report_signature_alone_makes_an_unsigned_run_signed_by_the_trusted_key(
    tmp_path: Path,
    restaudit: Callable[..., tuple[int, str, str]],
    key_file: Path,
    public_file: Path,
) -> None:
    run = signed_run(tmp_path / "run", None)
    (run / "report").mkdir()
    (run / "report" / "a.txt").write_text("x", encoding="utf-8")
    assert restaudit("sign", run, "--key", key_file)[0] == 0
    code, out, _ = restaudit("verify", run, "--key", public_file)
    assert code == 0
    assert "UNSIGNED: the sealed plan names no key" in out
    assert "report: 1 file(s) signed with key" in out


def test_a_signed_plan_says_the_key_it_was_sealed_with(pristine: Path, signer: Signer) -> None:
    assert json.loads((pristine / "plan.json").read_text())["signer"] == signer.key_id
