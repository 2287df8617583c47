"""Finished runs whose weights are exported, and the command line as a shell calls it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from restaudit.commands import cli
from restaudit.console import Reporter
from tests.weights.exported import SMALL, made_in


@pytest.fixture(scope="package")
def run(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One Grow step of two Improve steps in float32, on a base with tied weights. Read only."""
    yield from made_in(
        tmp_path_factory, tiny_policy, policy_is={"licence": "Apache-2.0"}, grow_steps=1
    )


@pytest.fixture(scope="package")
def run_in_bfloat16(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same in bfloat16. Read only."""
    yield from made_in(tmp_path_factory, tiny_policy, policy_is={"dtype": "bfloat16"}, **SMALL)


@pytest.fixture(scope="package")
def run_of_all_weights(
    tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A run that trains every parameter. Read only."""
    yield from made_in(tmp_path_factory, tiny_policy, policy_is={"training": "full"}, **SMALL)


@pytest.fixture
def silent() -> Reporter:
    return Reporter(quiet=True)


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call the command line as a shell would; returns (exit code, standard output, standard
    error).
    """

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["restaudit", *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call
