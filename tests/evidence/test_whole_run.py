"""A real run of a tiny model, from the key to the stranger: signed as it samples, halted,
overridden, handed over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from restaudit import policy
from restaudit.evidence.record import Run
from restaudit.evidence.seal.keys import ENVIRONMENT
from tests.loop.conftest import make_job_folder, tiny_raw

Call = Callable[..., tuple[int, str, str]]


def test_from_the_key_to_the_stranger(
    tiny_policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    restaudit: Call,
    verify_twice: Callable[..., tuple[int, str]],
) -> None:
    place = make_job_folder(tmp_path, monkeypatch)
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=2)
    raw["gates"]["rules"][0]["margin"] = 50.0  # type: ignore[index]
    (place / "my.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert restaudit("keys", "new", "--out", place / "keys")[0] == 0
    key, public = place / "keys" / "restaudit-key.pem", place / "keys" / "restaudit-key.pub.pem"
    run = place / "runs" / "x"

    there: list[list[str]] = []
    sampling = policy.sample

    def sample(*words: object, **more: object) -> object:
        there.append(sorted(p.name for p in (run / "signatures").glob("*.json")))
        return sampling(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(policy, "sample", sample)
    code, out, _ = restaudit("run", place / "my.yaml", "--out", run, "--quiet", "--key", key)
    assert code == 4
    assert "sealing the plan, signed with key" in out
    assert there[0] == ["plan.dsse.json"]  # before the first sample
    assert restaudit("anchor", run, "--out", place / "halted.json")[0] == 0

    reason = ("--by", "Ada Moreau", "--reason", "the margin was a typing error")
    assert restaudit("override", run, *reason)[0] == 2
    assert restaudit("override", run, *reason, "--key", key)[0] == 0
    assert restaudit("resume", run, "--quiet")[0] == 2
    monkeypatch.setenv(ENVIRONMENT, str(key))
    assert restaudit("resume", run, "--quiet")[0] == 4  # the second look halts too
    monkeypatch.delenv(ENVIRONMENT)
    assert Run(run).state == "halted"

    (run / "report").mkdir(exist_ok=True)
    (run / "report" / "report.txt").write_text("what happened", encoding="utf-8")
    assert restaudit("sign", run, "--key", key)[0] == 0
    options = ("--key", public, "--anchor", place / "halted.json")
    for kind, more in (
        ("whole", ()),
        ("private", ("--without-texts", "--without-weights", "--key", key)),
    ):
        packed = place / f"{kind}.zip"
        assert restaudit("bundle", run, "--out", packed, *more)[0] == 0
        code, said = verify_twice(packed, *options)
        assert code == 0
        assert said.index("OVERRIDE at g01/i01") < said.index("state: ")
        assert said.index("last decision: ") < said.index("events match")
        assert "SIGNED with the key you trust" in said
        assert "4 event(s) came since" in said
    assert verify_twice(run, *options)[0] == 0
