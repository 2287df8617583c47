"""LLMBar's files: where each row goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from restaudit.config import RowRules, TableSource
from restaudit.data import Feedback, load_feedback
from restaudit.errors import BadInput

ROW = {"input": "Say hi.", "output_1": "hi", "output_2": "bye", "label": 2}


def load(path: Path, rows: list[dict[str, Any]]) -> Feedback:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return load_feedback(TableSource(source=str(path), format="llmbar"), RowRules(empty="count"))


def test_the_label_says_which_output_is_better_and_text_that_is_none_is_counted(
    tmp_path: Path,
) -> None:
    found = load(
        tmp_path / "d.json", [ROW, {**ROW, "input": "Go.", "label": 1}, {**ROW, "output_1": True}]
    )
    assert found.kind == "pairs"
    assert found.table[["prompt", "chosen", "rejected"]].to_numpy().tolist() == [
        ["Say hi.", "bye", "hi"],
        ["Go.", "hi", "bye"],
    ]
    assert found.table["rater"].isna().all()
    assert dict(found.report.dropped) == {"not text": 1}


@pytest.mark.parametrize("label", [0, 3, "1", None, True, [1]])
def test_another_label_is_refused_with_its_row(tmp_path: Path, label: Any) -> None:
    with pytest.raises(BadInput, match=r"row 2: column 'label'.*expected 1 or 2"):
        load(tmp_path / "d.json", [ROW, {**ROW, "input": "Go.", "label": label}])


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "read", "dropped"),
    [
        ("LLMBar_Natural", 100, {}),
        ("LLMBar_Adversarial_GPTInst", 92, {}),
        ("LLMBar_Adversarial_GPTOut", 47, {}),
        ("LLMBar_Adversarial_Manual", 46, {}),
        ("LLMBar_Adversarial_Neighbor", 134, {}),
        ("Processed_FairEval", 66, {}),
        ("Processed_LLMEval_2", 200, {"empty": 1, "same response twice": 1}),
        ("Processed_MT-Bench", 200, {"duplicate": 5}),
    ],
)
def test_every_published_file_is_read(
    shared_data: Path, name: str, read: int, dropped: dict[str, int]
) -> None:
    source = TableSource(source=str(shared_data / "llmbar" / f"{name}.json"), format="llmbar")
    found = load_feedback(source, RowRules(empty="count"))
    assert found.report.read == read
    assert dict(found.report.dropped) == dropped
