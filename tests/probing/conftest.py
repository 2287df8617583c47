"""Files of generations with a planted change, written in every format, and the command as a shell
would call it.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restaudit.commands import cli

Row = dict[str, Any]
WORDS = [
    f"{a}{b}" for a in "bdfgklmnprst" for b in ("an", "el", "ip", "ok", "um", "ar", "est", "ine")
]


def rows(
    *, seed: int, prompts: int = 12, per_prompt: int = 3, shift: float = 0.0, vocabulary: int = 90
) -> list[Row]:
    """Plain prompts with a few samples each, and four families of two groups; reward and human move
    by `shift`.
    """
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, vocabulary + 1)
    plans: list[tuple[str, str | None, str | None]] = [
        (f"Write about {WORDS[k]}.", None, None) for k in range(prompts)
    ]
    plans += [
        (f"{name} made film {f}.", f"f{f}", g)
        for f in range(4)
        for g, name in (("a", "Ann"), ("b", "Bob"))
    ]
    out = []
    for prompt, family, group in plans:
        for k in range(1 if family else per_prompt):
            reward = shift + float(rng.normal())
            words = rng.choice(
                WORDS[:vocabulary], size=int(rng.integers(8, 14)), p=share / share.sum()
            )
            out.append(
                {
                    "prompt": prompt,
                    "sample_id": f"s{seed}/{prompt}/{k}",
                    "text": " ".join(words),
                    "n_tokens": len(words) + 2,
                    "reward": reward,
                    "human": 0.6 * reward + float(rng.normal(0, 0.6)),
                    "family": family,
                    "group": group,
                }
            )
    return out


def write(path: Path, table: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as the name of the file says."""
    names = list(dict.fromkeys(name for row in table for name in row))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(_lines(table)))
    elif path.suffix == ".jsonl":
        path.write_bytes(_lines(table))
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as f:
            out = csv.writer(f)
            out.writerow(names)
            out.writerows([["" if row.get(n) is None else row[n] for n in names] for row in table])
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(
            pa.Table.from_pylist([{n: row.get(n) for n in names} for row in table]), path
        )
    return path


def _lines(table: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table).encode("utf-8")


@pytest.fixture
def policy_rows() -> list[Row]:
    return rows(seed=1, shift=1.5, vocabulary=20)


@pytest.fixture
def base_rows() -> list[Row]:
    return rows(seed=2)


@pytest.fixture
def both_files(tmp_path: Path, policy_rows: list[Row], base_rows: list[Row]) -> tuple[Path, Path]:
    """The policy's and the base policy's generations."""
    return write(tmp_path / "policy.jsonl", policy_rows), write(
        tmp_path / "base.parquet", base_rows
    )


@pytest.fixture
def run_probe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`restaudit probe …` as a shell would call it, without fetched models: (exit code, stdout,
    stderr).
    """

    def call(*words: object, encoder: str = "none", toxicity: str = "none") -> tuple[int, str, str]:
        extra = ["--encoder", encoder, "--toxicity", toxicity]
        monkeypatch.setattr(sys, "argv", ["restaudit", "probe", *map(str, words), *extra])
        try:
            cli.main()
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call
