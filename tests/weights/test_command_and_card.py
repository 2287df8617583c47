"""The command, the card and the hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest

from restaudit.evidence.record import Run
from restaudit.weights.agreement import audited_responses, token_logprobs
from tests.weights.exported import policy_of


def test_the_command_writes_weights_beside_the_run_and_says_where(
    run: Path, tmp_path: Path, run_cli: Any
):
    copy = shutil.copytree(run, tmp_path / "mine")
    code, out, _ = run_cli("export", copy, "--format", "peft,checkpoint,prov")
    assert code == 0
    for name in ("mine-peft-g01-i02", "mine-checkpoint-g01-i02"):
        assert str(tmp_path / name) in out
        assert (tmp_path / name / "restaudit.json").is_file()
    assert (copy / "report/exports/run.prov.json").is_file()
    assert "peft: g01/i02, the last iteration that was trained" in out
    assert "Loaded with PeftModel.from_pretrained and compared with the audited policy" in out
    code, out, _ = run_cli("export", copy, "--format", "prov,peft", "--out", tmp_path / "all")
    assert code == 0
    assert (tmp_path / "all/peft/adapter_config.json").is_file()
    assert (tmp_path / "all/run.prov.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--iteration", "g01/i01"), "--iteration: only with --format peft or --format checkpoint"),
        (
            ("--push", "org/name", "--format", "prov"),
            "--push: only with --format peft or --format checkpoint",
        ),
        (
            ("--push", "org/name", "--format", "peft,checkpoint"),
            "--push: a repository holds one model",
        ),
        (("--push", "name", "--format", "peft"), "--push: expected ORG/NAME, got 'name'"),
        (("--format", "gguf"), "or weights: peft, checkpoint"),
    ],
)
def test_options_that_do_not_fit_are_one_message(
    run: Path, run_cli: Any, words: tuple[str, ...], said: str
):
    code, _, err = run_cli("export", run, *words)
    assert code == 2
    assert said in err


def test_the_card_has_front_matter_that_the_hub_reads_and_the_comparison(
    run: Path, tmp_path: Path, run_cli: Any
):
    from huggingface_hub import ModelCard

    run_cli("export", run, "--format", "peft", "--iteration", "g01/i01", "--out", tmp_path / "out")
    card = ModelCard.load(tmp_path / "out/README.md")
    assert card.data.library_name == "peft"
    assert card.data.license == "apache-2.0"
    assert "lora" in card.data.tags
    assert "g01/i01" in card.text
    assert "largest difference in log-probability is" in card.text
    run_cli("export", run, "--format", "checkpoint", "--out", tmp_path / "two")
    assert ModelCard.load(tmp_path / "two/README.md").data.library_name == "transformers"


class Hub:
    """Stands in for huggingface_hub.HfApi."""

    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    error: ClassVar[Exception | None] = None

    def create_repo(self, repo_id: str, **how: Any) -> str:
        self.calls.append(("create", {"repo_id": repo_id, **how}))
        if self.error is not None:
            raise self.error
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, **how: Any) -> None:
        self.calls.append(
            ("upload", {**how, "names": {p.name for p in Path(how["folder_path"]).iterdir()}})
        )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    import huggingface_hub

    Hub.calls, Hub.error = [], None
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return Hub


def test_a_pushed_adapter_goes_to_a_private_repository_and_names_no_folder_of_this_machine(
    run: Path, tmp_path: Path, run_cli: Any, hub: type[Hub]
):
    code, out, _ = run_cli(
        "export", run, "--format", "peft", "--out", tmp_path / "out", "--push", "org/name"
    )
    assert code == 0
    assert "https://huggingface.co/org/name" in out
    (made, how), (sent, what) = hub.calls
    assert (made, how["repo_id"], how["private"], how["exist_ok"]) == (
        "create",
        "org/name",
        True,
        True,
    )
    assert (sent, what["repo_id"]) == ("upload", "org/name")
    assert {"adapter_model.safetensors", "README.md", "restaudit.json", "LICENSE"} <= what["names"]
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == Run(run).plan["artifacts"]["policy.model"]["spec"]


def test_where_the_hub_cannot_be_reached_the_folder_stays(
    run: Path, tmp_path: Path, run_cli: Any, hub: type[Hub]
):
    from huggingface_hub.errors import LocalTokenNotFoundError

    hub.error = LocalTokenNotFoundError("Token is required")
    code, _, err = run_cli(
        "export", run, "--format", "peft", "--out", tmp_path / "out", "--push", "org/name"
    )
    assert code == 2
    assert "not uploaded (Token is required); the folder is complete at" in err
    assert (tmp_path / "out/adapter_model.safetensors").is_file()


def test_responses_that_are_compared_are_those_that_were_drawn(run: Path):
    policy = policy_of(run, "g01/i02")
    record = Run(run)
    responses = audited_responses(record, "g01/i02", policy)
    assert len({r.prompt for r in responses}) == len(responses) == 8
    recorded = [
        (sum(t), r.logprob)
        for t, r in zip(token_logprobs(policy.model, responses, "cpu"), responses, strict=True)
        if r.logprob is not None
    ]
    close = [abs(a - b) < 0.001 for a, b in recorded if b is not None]
    assert sum(close) >= len(close) * 3 // 4
