"""Keys, a signed run, and the two verifiers."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import typer

from restaudit.commands import cli
from restaudit.commands.verify import verify
from restaudit.errors import RestauditError
from restaudit.evidence.bundle.pack import Wish, pack
from restaudit.evidence.seal.keys import load_private, new_key
from restaudit.evidence.seal.signer import Signer
from tests.evidence.runs import signed_run
from tests.evidence.verifiers import second_verifier

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key; its public half lies beside it as key.pub.pem."""
    return new_key(tmp_path_factory.mktemp("keys") / "key.pem")[0]


@pytest.fixture(scope="session")
def public_file(key_file: Path) -> Path:
    return key_file.with_name("key.pub.pem")


@pytest.fixture(scope="session")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_key(tmp_path_factory.mktemp("others") / "other.pem")[0]


@pytest.fixture(scope="session")
def signer(key_file: Path) -> Signer:
    return Signer(load_private(key_file))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Path:
    """A finished signed run; never changed."""
    return signed_run(tmp_path_factory.mktemp("pristine") / "run", signer)


@pytest.fixture
def run(pristine: Path, tmp_path: Path) -> Path:
    """A copy of it to tamper with."""
    return Path(shutil.copytree(pristine, tmp_path / "run"))


@pytest.fixture
def packed(pristine: Path, tmp_path: Path) -> Path:
    """Its bundle."""
    return pack(pristine, tmp_path / "run.zip", Wish()).path


@pytest.fixture
def restaudit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command line as a shell would; returns (exit code, standard output, standard
    error).
    """

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["restaudit", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture(scope="session")
def second() -> ModuleType:
    """tools/verify_bundle.py as a module."""
    return second_verifier()


@pytest.fixture
def verify_twice(
    second: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Both verifiers on one folder or bundle, which must agree: (exit code, what the first one
    said).
    """
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(verify)

    def call(what: Path, *options: object) -> tuple[int, str]:
        words = [str(what), *map(str, options)]
        code, failure = 0, ""
        try:
            app(words, standalone_mode=False)
        except RestauditError as e:
            code, failure = int(e.exit_code), str(e)
        said = capsys.readouterr().out + failure
        monkeypatch.setattr(sys, "argv", ["verify_bundle.py", *words])
        again = second.main()
        told = capsys.readouterr()
        assert again == code, f"restaudit: {code} {failure}; verify_bundle: {again} {told.err}"
        return code, said

    return call
