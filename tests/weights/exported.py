"""Runs whose weights are exported, and what a test asks of an exported folder."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from restaudit.config import Config
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.evidence import ledger
from restaudit.evidence.chats import as_messages
from restaudit.evidence.record import Run
from restaudit.loop.running import start
from restaudit.policy import load_policy
from tests.loop.conftest import make_job_folder, tiny_raw

CARD = "the card\n"
SMALL = {"grow_steps": 1, "improve_steps": 1}
ADAPTER = "g01/i02/adapter/adapter_model.safetensors"


def make_run(
    policy: Path, folder: Path, *, policy_is: dict[str, Any] | None = None, **loop: Any
) -> Path:
    """A finished run by the real program; `folder` is where its prompts are."""
    raw = tiny_raw(policy, **loop)
    raw["policy"] |= policy_is or {}  # type: ignore[operator]
    start(parse(raw), folder / "run", Reporter(quiet=True))
    return folder / "run"


def made_in(tmp_path_factory: pytest.TempPathFactory, policy: Path, **how: Any) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        make_job_folder(folder, patch)
        yield make_run(policy, folder, **how)


def loaded(folder: Path, **more: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=False, use_safetensors=True, **more
    ).eval()


def policy_of(run: Path, iteration: str) -> Any:
    """The policy of a run with the weights of an iteration, as the run itself loads it."""
    config = Config.model_validate(Run(run).plan["config"])
    policy = load_policy(config.policy, Path(config.policy.model), device="cpu", seed=1)
    policy.become(run / iteration / "adapter")
    return policy


def pairs_of(
    run: Path, policy: Any, iteration: str
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Prompt and response of some audited samples in tokens."""
    record = Run(run)
    prompts = record.prompts("audit").set_index("prompt_id")["prompt"]
    rows = record.audit(iteration, ["prompt_id", "text"]).head(6)
    return [
        (tuple(policy.prompt_tokens(as_messages(prompts[p]))), tuple(policy.response_tokens(t)))
        for p, t in zip(rows["prompt_id"], rows["text"], strict=True)
    ]


def own_figure(model: Any, prompt: tuple[int, ...], response: tuple[int, ...]) -> float:
    """log p(response | prompt) by the model's own forward pass."""
    with torch.no_grad():
        logits = (
            model(input_ids=torch.tensor([[*prompt, *response]]))
            .logits[0, len(prompt) - 1 : -1]
            .float()
        )
    return float(torch.log_softmax(logits, -1).gather(1, torch.tensor(response)[:, None]).sum())


def re_recorded(run: Path, out: Path, change: Any) -> Path:
    """A copy of a run whose files `change` altered, with a ledger that fits them."""
    shutil.copytree(run, out)
    change(out)
    events = ledger.read(out)
    (out / ledger.FILE).unlink()
    prev = ledger.GENESIS
    for event in events:
        folders = {str(Path(n).parent) for n in event.outputs if "/adapter/" in n}
        outputs = {n: d for n, d in event.outputs.items() if "/adapter/" not in n}
        outputs |= {
            f"{f}/{p.name}": ledger.digest_file(p) for f in folders for p in (out / f).iterdir()
        }
        event = dataclasses.replace(event, prev=prev, outputs=outputs)
        ledger.append(out, event)
        prev = event.hash
    return out
