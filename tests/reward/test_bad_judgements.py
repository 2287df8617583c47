"""Judgements nothing can be learned from end in one clear message, and leave nothing behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from restaudit.commands.cli import app
from restaudit.errors import BadInput

GOOD = [
    {"prompt": f"about film {k}", "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(60)
]
RATED = [{"text": f"film number {k}", "ann": 3, "bo": 3} for k in range(60)]
TIED = [
    {
        "prompt": f"about film {k}",
        "response_a": f"good {k}",
        "response_b": f"bad {k}",
        "winner": "tie",
    }
    for k in range(60)
]
LONG = {"prompt": "x", "chosen": "long " * 5000, "rejected": "short"}
BOTH = [{"chosen": "a", "rejected": "b", "text": "c", "ann": 3}] * 3


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        (
            RATED,
            {"options": {"rater_columns": ["ann", "bo"]}},
            r"every training item has the same mean rating \(3\)",
        ),
        (GOOD[:3], {}, "no item is left for the split"),
        (
            TIED,
            {
                "columns": {"chosen": "response_a", "rejected": "response_b"},
                "options": {"annotator_columns": ["winner"]},
            },
            "60 tied by every rater",
        ),
        (
            BOTH,
            {"options": {"rater_columns": ["ann"]}},
            "the columns of pairs .* and of ratings .* are both there",
        ),
        ([*GOOD, LONG], {}, "25000 characters, expected at most 8000"),
        ([], {}, "no usable row"),
    ],
    ids=[
        "one class only",
        "three rows",
        "all ties",
        "contradictory schema",
        "a row of 25,000 characters",
        "no row",
    ],
)
def test_one_message_and_nothing_written(
    tiny_encoder: Path, tmp_path: Path, rows: list[Any], more: dict[str, Any], says: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8"
    )
    reward = {
        "kind": "trained",
        "encoder": str(tiny_encoder),
        "max_tokens": 64,
        "data": {"source": str(tmp_path / "rows.jsonl"), **more},
    }
    (tmp_path / "reward.yaml").write_text(
        yaml.safe_dump({"reward": reward, "rows": {"too_long": "refuse"}}), encoding="utf-8"
    )
    said = CliRunner().invoke(
        app, ["reward", "train", str(tmp_path / "reward.yaml"), "--out", str(tmp_path / "out")]
    )
    assert isinstance(said.exception, BadInput), said.output
    assert re.search(says, str(said.exception)), str(said.exception)
    assert not (tmp_path / "out").exists()


def test_rows_that_are_left_out_are_counted_aloud(tiny_encoder: Path, tmp_path: Path) -> None:
    rows = [*GOOD, LONG]
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8"
    )
    reward = {
        "kind": "trained",
        "encoder": str(tiny_encoder),
        "max_tokens": 64,
        "ensemble": {"size": 1},
        "data": {"source": str(tmp_path / "rows.jsonl")},
    }
    (tmp_path / "reward.yaml").write_text(yaml.safe_dump({"reward": reward}), encoding="utf-8")
    said = CliRunner().invoke(
        app, ["reward", "train", str(tmp_path / "reward.yaml"), "--out", str(tmp_path / "out")]
    )
    assert "rows: 61 read, 60 used; left out: 1 too long" in said.output


def test_pairs_that_are_all_tied_teach_nothing_even_as_half_votes(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in TIED), encoding="utf-8"
    )
    data = {
        "source": str(tmp_path / "rows.jsonl"),
        "columns": {"chosen": "response_a", "rejected": "response_b"},
        "options": {"annotator_columns": ["winner"]},
    }
    reward = {
        "kind": "trained",
        "encoder": str(tiny_encoder),
        "max_tokens": 64,
        "ties": "half",
        "data": data,
    }
    (tmp_path / "reward.yaml").write_text(yaml.safe_dump({"reward": reward}), encoding="utf-8")
    said = CliRunner().invoke(
        app, ["reward", "train", str(tmp_path / "reward.yaml"), "--out", str(tmp_path / "out")]
    )
    assert "every training pair is tied" in str(said.exception)
