"""The weights of a training by somebody else, put together from what the run kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from restaudit.console import Reporter
from restaudit.errors import BadInput
from restaudit.weights.export import export_weights
from tests.loop.conftest import make_job_folder
from tests.weights.exported import CARD


@pytest.fixture(scope="module")
def trained_outside(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory):
    """Runs of trainers that AuditCallback looked at: with a LoRA, with all weights kept, with none
    kept.
    """
    pytest.importorskip("trl", reason="the extra rlhf is not installed")
    from restaudit.trainers import AuditCallback
    from tests.trainers.test_callback import audit_raw, make_trainer

    made: dict[str, Path] = {}

    def make(keep: str) -> Path:
        if keep not in made:
            folder = tmp_path_factory.mktemp(keep)
            with pytest.MonkeyPatch.context() as patch:
                make_job_folder(folder, patch)
                watching = AuditCallback(audit_raw(tiny_policy), folder / "run", looks=1, keep=keep)
                lora = keep != "trained"
                make_trainer(
                    "sft", tiny_policy, folder / "out", [watching], lora=lora, steps=2
                ).train()
            made[keep] = folder / "run"
        return made[keep]

    return make


@pytest.mark.parametrize(
    ("keep", "kind"), [("adapter", "peft"), ("adapter", "checkpoint"), ("trained", "checkpoint")]
)
def test_a_policy_that_somebody_else_trained_is_put_together_from_what_was_kept(
    trained_outside: Any, tmp_path: Path, silent: Reporter, keep: str, kind: Any
):
    run = trained_outside(keep)
    found = export_weights(run, kind, tmp_path / "out", lambda _: CARD, silent)
    assert found.chosen.iteration == "step-2"
    assert found.agreement.difference.token < 0.001
    assert found.facts["recorded_weights"].keys() == {
        f"step-2/adapter/{p.name}" for p in (run / "step-2/adapter").iterdir()
    }


def test_weights_that_were_not_kept_are_refused_with_where_they_are(
    trained_outside: Any, tmp_path: Path, silent: Reporter
):
    with pytest.raises(
        BadInput,
        match="the weights of step-2 were not kept in the run; the trainer's own checkpoint",
    ):
        export_weights(trained_outside("none"), "peft", tmp_path / "out", lambda _: CARD, silent)
