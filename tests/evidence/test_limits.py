"""What a self-signed chain cannot show, and what shows it: a key that the reader got another
way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from restaudit.evidence import ledger
from restaudit.evidence.seal.keys import load_private
from restaudit.evidence.seal.signer import Signer
from restaudit.evidence.seal.statements import FOLDER
from tests.evidence.runs import edit_json, loosen, rechain

TwoVerifiers = Callable[..., tuple[int, str]]


def test_who_removes_the_signer_too_leaves_an_unsigned_run_which_only_a_trusted_key_refuses(
    run: Path, verify_twice: TwoVerifiers, public_file: Path
) -> None:
    shutil.rmtree(run / FOLDER)
    edit_json(run / "plan.json", lambda plan: {k: v for k, v in plan.items() if k != "signer"})
    rechain(run)
    code, said = verify_twice(run)
    assert code == 0
    assert "UNSIGNED" in said
    code, said = verify_twice(run, "--key", public_file)
    assert code == 5
    assert "UNSIGNED" in said


def test_who_seals_all_of_it_again_with_a_key_of_his_own_is_refused_only_by_a_trusted_key(
    run: Path, verify_twice: TwoVerifiers, other_key: Path, public_file: Path
) -> None:
    other = Signer(load_private(other_key))
    shutil.rmtree(run / FOLDER)
    edit_json(run / "plan.json", lambda plan: {**loosen(plan), "signer": other.key_id})
    for path in run.glob("g01/i0?/decision.json"):
        text = path.read_text(encoding="utf-8")
        assert '"margin": -0.2' in text
        path.write_text(text.replace('"margin": -0.2', '"margin": -9.0'), encoding="utf-8")
    rechain(run)
    other.sign(run, ledger.read(run))
    code, said = verify_twice(run)
    assert code == 0
    assert (
        f"SELF-SIGNED: the key is only the one that the folder itself names: {other.key_id}" in said
    )
    code, said = verify_twice(run, "--key", public_file)
    assert code == 5
    assert "which is not the key you trust" in said
