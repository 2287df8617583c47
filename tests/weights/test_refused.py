"""What is not the recorded and audited policy is not exported, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput, Halted, VerificationFailed
from restaudit.evidence.override import override
from restaudit.loop.running import start
from restaudit.weights.export import export_weights
from tests.loop.conftest import make_job_folder, tiny_raw
from tests.weights.exported import ADAPTER, CARD, SMALL, make_run


def test_a_changed_adapter_file_is_refused_with_exit_code_5(
    run: Path, tmp_path: Path, run_cli: Any
):
    copy = shutil.copytree(run, tmp_path / "copy")
    data = bytearray((copy / ADAPTER).read_bytes())
    data[-1] ^= 1
    (copy / ADAPTER).write_bytes(data)
    code, _, err = run_cli("export", copy, "--format", "peft", "--out", tmp_path / "out")
    assert code == 5
    assert f"{ADAPTER}: changed after it was recorded" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["plan.json", "environment.json", "data/audit.parquet", "g01/i02/audit.parquet"]
)
def test_every_recorded_file_that_is_read_is_compared_first(
    run: Path, tmp_path: Path, silent: Reporter, name: str
):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    with pytest.raises(VerificationFailed, match=f"{name}: changed after it was recorded"):
        export_weights(copy, "checkpoint", tmp_path / "out", lambda _: CARD, silent)


def test_a_folder_that_holds_something_is_refused(run: Path, tmp_path: Path, run_cli: Any):
    assert run_cli("export", run, "--format", "peft", "--out", tmp_path / "out")[0] == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    code, _, err = run_cli("export", run, "--format", "peft", "--out", tmp_path / "out")
    assert code == 2
    assert "is not an empty folder; name another one with --out" in err
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_an_iteration_that_is_not_there_is_refused_with_those_that_are(
    run: Path, tmp_path: Path, silent: Reporter
):
    with pytest.raises(
        BadInput, match="no audited iteration 'g09/i01'; there are: g00/i00, g01/i01, g01/i02"
    ):
        export_weights(run, "peft", tmp_path / "out", lambda _: CARD, silent, iteration="g09/i01")


def test_another_base_model_is_refused(
    tiny_policy: Path, tmp_path: Path, monkeypatch: Any, silent: Reporter
):
    base = shutil.copytree(tiny_policy, tmp_path / "base")
    made = make_run(base, make_job_folder(tmp_path, monkeypatch), **SMALL)
    (base / "generation_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BadInput, match="is not the base model that the plan was sealed with"):
        export_weights(made, "peft", tmp_path / "out", lambda _: CARD, silent)


def test_what_is_not_the_audited_policy_is_refused_and_nothing_is_left(
    run: Path, tmp_path: Path, monkeypatch: Any, silent: Reporter
):
    from restaudit.weights import made as weights_made

    def doubled(*given: Any) -> None:
        write(*given)
        config = json.loads((given[2] / "adapter_config.json").read_text())
        (given[2] / "adapter_config.json").write_text(
            json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]})
        )

    write = weights_made.write_adapter
    monkeypatch.setattr(weights_made, "write_adapter", doubled)
    with pytest.raises(
        BadInput, match="is not the audited policy: its log-probabilities differ by up to"
    ):
        export_weights(run, "peft", tmp_path / "out", lambda _: CARD, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_makes_another_model_of_the_same_weights_is_refused(
    run_in_bfloat16: Path, tmp_path: Path, monkeypatch: Any, silent: Reporter
):
    from restaudit.weights import made as weights_made

    def elsewhere(model: Any, out: Path, base: Path) -> None:
        write(model, out, base)
        config = json.loads((out / "config.json").read_text())
        config["rope_parameters"]["rope_theta"] = 100.0
        (out / "config.json").write_text(json.dumps(config))

    write = weights_made.write_checkpoint
    monkeypatch.setattr(weights_made, "write_checkpoint", elsewhere)
    with pytest.raises(
        BadInput, match="is not the audited policy: its log-probabilities differ by up to"
    ):
        export_weights(run_in_bfloat16, "checkpoint", tmp_path / "out", lambda _: CARD, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_trained_nothing_offers_its_base_policy(
    tiny_policy: Path, tmp_path: Path, monkeypatch: Any, silent: Reporter
):
    made = make_run(
        tiny_policy,
        make_job_folder(tmp_path, monkeypatch),
        method="best_of_n",
        grow_steps=1,
        improve_steps=0,
    )
    with pytest.raises(BadInput, match=r"no policy of this run was trained.*--iteration g00/i00"):
        export_weights(made, "checkpoint", tmp_path / "out", lambda _: CARD, silent)
    exported = export_weights(
        made, "checkpoint", tmp_path / "out", lambda _: CARD, silent, iteration="g01/i00"
    )
    assert exported.chosen.policy == "g00/i00"
    assert "its audit chose among samples of g00/i00" in exported.chosen.why


def test_a_halted_run_is_exported_and_says_so_first(
    tiny_policy: Path, tmp_path: Path, monkeypatch: Any, run_cli: Any
):
    folder = make_job_folder(tmp_path, monkeypatch)
    raw = tiny_raw(tiny_policy)
    raw["gates"]["rules"][0]["margin"] = 50.0  # type: ignore[index]
    with pytest.raises(Halted):
        start(parse(raw), folder / "run", Reporter(quiet=True))
    code, out, _ = run_cli("export", folder / "run", "--format", "peft", "--out", tmp_path / "out")
    assert code == 0
    assert out.startswith("This run was halted at g01/i01 by its sealed gates (harm).")
    text = (tmp_path / "out/README.md").read_text().split("---", 2)[2]
    assert text.index("This run was halted at g01/i01") < text.index("## What is in this folder")
    override(folder / "run", by="Ada", reason="we look at it by hand")
    out = run_cli("export", folder / "run", "--format", "checkpoint", "--out", tmp_path / "two")[1]
    assert out.startswith(
        "HALT at g01/i01 (gate: harm) was overridden by Ada: we look at it by hand"
    )
