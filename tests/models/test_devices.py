"""One device: a trainer that sees several GPUs would wrap the model in DataParallel."""

from __future__ import annotations

import pytest
from transformers import TrainingArguments

from restaudit.errors import BadInput
from restaudit.models.devices import on_one_gpu, pick_device


@pytest.mark.parametrize(("there", "said"), [(0, 0), (1, 0), (4, 1)])
def test_a_trainer_uses_the_first_gpu_only_and_that_is_said(there, said, tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    arguments._n_gpu = there
    lines: list[str] = []
    on_one_gpu(arguments, lines.append)
    assert arguments.n_gpu == min(there, 1)
    assert len(lines) == said
    assert all("4 GPUs are here; training uses the first one" in line for line in lines)


def test_a_gpu_that_is_not_there_is_asked_for_in_vain(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BadInput, match="torch sees no CUDA device"):
        pick_device("cuda")
