"""Which entries of a watched folder are which step, and when it is not clear."""

from pathlib import Path

import pytest

from restaudit.errors import BadInput
from restaudit.trainers.watch.folder import find


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def steps(folder: Path, pattern: str | None = None) -> dict[int, str]:
    found = find(folder, pattern)
    return (
        {}
        if found is None
        else {s: p.relative_to(folder).as_posix() for s, p in found.steps.items()}
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("step_50.jsonl", "step_5.jsonl"), {5: "step_5.jsonl", 50: "step_50.jsonl"}),
        (("gen-000100.parquet",), {100: "gen-000100.parquet"}),
        (("150.csv", "README.md"), {150: "150.csv"}),
        (("completions_7.jsonl.gz",), {7: "completions_7.jsonl.gz"}),
        (("run3-step_40-of-90.json",), {40: "run3-step_40-of-90.json"}),
        (("global_step_50/generations.jsonl",), {50: "global_step_50/generations.jsonl"}),
        (
            ("checkpoint-50/config.json", "checkpoint-60/adapter_config.json"),
            {50: "checkpoint-50", 60: "checkpoint-60"},
        ),
        (
            ("global_step_50/actor/huggingface/config.json",),
            {50: "global_step_50/actor/huggingface"},
        ),
        (("checkpoint-50/config.json", "runs/Nov26_00/events.out"), {50: "checkpoint-50"}),
        ((".step_50.jsonl.tmp", "notes.jsonl"), {}),
    ],
)
def test_the_number_in_a_name_is_the_step(names, expected, tmp_path):
    assert steps(make(tmp_path, *names)) == expected


def test_a_name_with_two_numbers_is_refused_until_a_pattern_says_which(tmp_path):
    make(tmp_path, "llama-3-0050.jsonl", "llama-3-0100.jsonl")
    with pytest.raises(
        BadInput, match=r"which number is the step \(3, 50\)\? Say it with --pattern"
    ):
        find(tmp_path)
    assert list(steps(tmp_path, "llama-3-{step}.jsonl")) == [50, 100]


def test_two_entries_of_one_step_are_refused(tmp_path):
    make(tmp_path, "step_50.jsonl", "eval_50.jsonl")
    with pytest.raises(BadInput, match=r"both of step 50.*--pattern"):
        find(tmp_path)
    assert steps(tmp_path, "eval_*.jsonl") == {50: "eval_50.jsonl"}


def test_both_kinds_are_refused_until_a_pattern_says_which(tmp_path):
    make(tmp_path, "checkpoint-50/config.json", "gen_50.jsonl")
    with pytest.raises(BadInput, match=r"files of generations .* and checkpoints"):
        find(tmp_path)
    assert steps(tmp_path, "checkpoint-*") == {50: "checkpoint-50"}


def test_a_folder_with_several_files_is_refused_until_a_pattern_says_which(tmp_path):
    make(tmp_path, "step_50/train.jsonl", "step_50/test.jsonl")
    with pytest.raises(BadInput, match="holds 2 files that could be its generations"):
        find(tmp_path)
    assert steps(tmp_path, "*/test.jsonl") == {50: "step_50/test.jsonl"}


def test_a_folder_that_is_just_being_made_is_no_step_yet(tmp_path):
    (tmp_path / "checkpoint-50").mkdir()
    assert find(tmp_path) is None
    with pytest.raises(BadInput, match="no such folder"):
        find(tmp_path / "nowhere")
