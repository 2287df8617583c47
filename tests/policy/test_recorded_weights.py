"""The weights that a run recorded, and the checkpoints that it watches, come from folders that
somebody else may have prepared: plain files only, whole, and those that are in the record.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import zoo
from restaudit.config import PolicyConfig
from restaudit.errors import BadInput
from restaudit.policy import Policy, load_policy
from restaudit.trainers.watch.checkpoints import digest_of_checkpoint, open_checkpoints

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "llama"
    zoo.make("llama", folder)
    return folder


@pytest.fixture(scope="module")
def policy(made: Path) -> Policy:
    return load_policy(PolicyConfig(model=str(made)), made, device="cpu", seed=0)


def a_link_to_weights(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")


def a_link_to_the_folder(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")


def a_pipe(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def a_pipe_beside(folder: Path) -> None:
    os.mkfifo(folder / "notes")


def half(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 8)


def of_another_rank(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    found = load_file(folder / WEIGHTS)
    save_file({name: tensor[:1].clone() for name, tensor in found.items()}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (a_link_to_weights, "symbolic link"),
        (a_link_to_the_folder, "symbolic link"),
        (a_pipe, "named pipe"),
        (a_pipe_beside, "named pipe"),
        (half, "of .* bytes"),
        (of_another_rank, "has the shape"),
    ],
)
def test_recorded_weights_are_plain_files_whole_and_this_policy_s(
    policy: Policy, tmp_path: Path, plant: Callable[[Path], None], message: str
) -> None:
    policy.save(tmp_path / "adapter")
    policy.become(tmp_path / "adapter")
    plant(tmp_path / "adapter")
    with pytest.raises(BadInput, match=message):
        policy.become(tmp_path / "adapter")


def test_a_checkpoint_is_compared_with_the_record_when_it_is_loaded(
    made: Path, tmp_path: Path
) -> None:
    base, step = tmp_path / "step-0", tmp_path / "step-1"
    shutil.copytree(made, base)
    shutil.copytree(made, step)
    checkpoints = open_checkpoints(PolicyConfig(model=str(base)), base, device="cpu")
    checkpoints.steps["step-1"] = step
    checkpoints.recorded[step] = digest_of_checkpoint(step)
    checkpoints.become(Path("run/step-1/adapter"))

    checkpoints.become(None)
    _exchange(step / "model.safetensors")
    with pytest.raises(BadInput, match="step-1: is not the checkpoint that was recorded"):
        checkpoints.become(Path("run/step-1/adapter"))
    _exchange(base / "model.safetensors")
    with pytest.raises(BadInput, match="the base policy is not what the run began with"):
        checkpoints.become(None)


def _exchange(file: Path) -> None:
    """Other bytes of the same size, with the same times."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
