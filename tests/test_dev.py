"""`restaudit dev`: a new probe runs at once, is found, and says what it still lacks; the tables of
docs/probes.md are those of the probes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import probes
from restaudit.commands import dev
from restaudit.errors import BadInput

ROOT = Path(probes.__file__).parents[1]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with no more than what a new probe needs."""
    for folder in ("probes", "tests/probes"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "docs").mkdir()
    for name in ("docs/probes.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(probes, "__file__", str(tmp_path / "probes" / "__init__.py"))
    return tmp_path


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_new_probe_runs_at_once_is_found_and_lacks_what_only_its_author_knows(copy: Path) -> None:
    done = CliRunner().invoke(dev.dev, ["new-probe", "asking_back"])
    assert done.exit_code == 0
    assert done.output.split()[:2] == ["probes/asking_back.py", "tests/probes/test_asking_back.py"]
    own = python(
        copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/probes/test_asking_back.py"
    )
    assert own.returncode == 0, own.stdout
    catalogue = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/probes/test_catalogue.py"]
    contract = python(copy, *catalogue, "-k", "asking_back and (says or explained)")
    failed = [line for line in contract.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 2, contract.stdout
    assert "where the idea comes from" in contract.stdout
    assert "restaudit dev docs" in contract.stdout


@pytest.mark.parametrize("name", ["Reading", "reading level", "2nd", "class", "../up", ""])
def test_a_name_that_is_none_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(BadInput, match=r"expected small letters.*reading_level"):
        dev.new_probe(name)


@pytest.mark.parametrize("name", ["toxicity", "bias", "rows", "benchmarks", "grams"])
def test_a_name_that_something_has_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"^{name}: there is .* already; choose another name$"):
        dev.new_probe(name)
    assert not (ROOT / "probes" / "grams.py").exists()


def test_an_installed_package_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "__file__", str(tmp_path / "probes" / "__init__.py"))
    with pytest.raises(BadInput, match=r"no checkout of restaudit.*Clone the repository"):
        dev.new_probe("reading_level")


def test_the_documentation_lists_what_the_probes_measure() -> None:
    text = (ROOT / "docs" / "probes.md").read_text(encoding="utf-8")
    assert dev.with_tables(text) == text, "run: restaudit dev docs"


def test_a_probe_without_a_place_in_the_documentation_gets_a_section_once() -> None:
    text = "# Probes\n\n## Adding one\n\nText.\n"
    once = dev.with_tables(text)
    assert once.count("## divergence\n") == 1
    assert "| `bias.mention.…` | texts that mention … | share |  |" in once
    assert once.endswith("## Adding one\n\nText.\n")
    assert dev.with_tables(once) == once
