"""Promises of the workshop: what is packaged, what imports what, and how large a file may grow."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import yaml

from restaudit.config import reading as configure

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "scipy.stats",
    "torch",
    "transformers",
    "lm_eval",
    "streamlit",
    "sklearn",
    "matplotlib",
    "trl",
    "datasets",
)
LONGEST = 700


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _sources() -> list[Path]:
    return sorted(
        p for top in ("restaudit", "probes", "reports") for p in (ROOT / top).rglob("*.py")
    )


@pytest.mark.parametrize(
    "module",
    ["restaudit.commands.cli", "restaudit.evidence.verify", "restaudit.evidence.record", "probes"],
)
def test_starting_does_not_import_the_heavy_libraries(module: str) -> None:
    loaded = _python(f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "", (
        f"importing {module} imports {loaded}: import inside the function that needs it"
    )


@pytest.mark.parametrize("module", ["restaudit.loop.running", "restaudit.commands.summary"])
def test_what_is_refused_or_only_shown_waits_for_no_torch(module: str) -> None:
    # `status`, and `run` with a mistake in its configuration: torch alone takes 3 s.
    loaded = _python(
        f"import sys, {module}; print(*{{'torch', 'transformers'}}.intersection(sys.modules))"
    )
    assert loaded == ""


def test_imports_only_point_down() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_recipe_of_the_source_tree_is_packaged_and_valid() -> None:
    names = configure.recipe_names()
    assert "reviews" in names
    for name in names:
        assert resources.files("restaudit.recipes").joinpath(f"{name}.yaml").is_file()
        assert configure.load(name).name


def test_no_source_file_is_too_long_to_read_in_one_sitting() -> None:
    lines = {
        p.relative_to(ROOT).as_posix(): len(p.read_text(encoding="utf-8").splitlines())
        for p in _sources()
    }
    assert {name: n for name, n in lines.items() if n > LONGEST} == {}


def test_every_package_says_it_is_typed() -> None:
    assert [
        p for p in ("restaudit", "probes", "reports") if not (ROOT / p / "py.typed").is_file()
    ] == []


def test_no_source_file_reads_or_writes_pickles() -> None:
    pattern = re.compile(r"\b(import pickle|torch\.load\(|joblib\.load\(|allow_pickle=True)")
    assert [p.name for p in _sources() if pattern.search(p.read_text(encoding="utf-8"))] == []


def test_constraints_pin_every_direct_dependency_without_a_build_suffix() -> None:
    import tomllib

    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert re.fullmatch(r"[0-9][0-9A-Za-z.!]*", version), (
                f"{line}: expected name==public version"
            )
            pins[name] = version
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(d for e in ("app", "charts", "rlhf", "test", "dev") for d in extras[e]),
    ]
    names = {re.match(r"[A-Za-z0-9._-]+", w)[0].lower().replace("_", "-") for w in wanted}  # type: ignore[index]
    assert sorted(names - set(pins) - {"restaudit"}) == []


def test_every_file_that_the_docs_name_is_there() -> None:
    named = re.compile(
        r"(?<![\w./-])((?:restaudit|probes|reports|tests|tools|benchmarks)/[\w./-]*\w)"
    )
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    gone = [
        f"{page.relative_to(ROOT)}: {path}"
        for page in sorted(pages)
        for path in named.findall(page.read_text(encoding="utf-8"))
        # `probes/NAME.py` stands for a file that the reader is about to make.
        if "NAME" not in path and not (ROOT / path).exists()
    ]
    assert gone == []


def test_pre_commit_runs_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][
        0
    ]["hooks"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tools = {hook["entry"].removeprefix(".venv/bin/").split(" --")[0] for hook in hooks}
    assert tools == {"ruff check", "ruff format", "mypy", "lint-imports"}
    assert [t for t in tools if f"$(BIN)/{t}" not in makefile] == []


def test_the_tiny_policy_generates_and_its_tokenizer_round_trips_any_text(
    tiny_policy: Path,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    model = AutoModelForCausalLM.from_pretrained(tiny_policy)
    text = "Naïve façade, 5 stars — 好!"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    chat = [{"role": "user", "content": "Write one sentence."}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        out = model.generate(
            **prompt, max_new_tokens=5, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
    assert prompt["input_ids"].shape[1] < out.shape[1] <= prompt["input_ids"].shape[1] + 5
    assert tokenizer.eos_token_id != tokenizer.pad_token_id


def test_the_tiny_encoder_embeds(tiny_encoder: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(tiny_encoder)(
            **tokenizer(["A quiet film."], return_tensors="pt")
        )
    assert hidden.last_hidden_state.shape[-1] == 32
    assert torch.isfinite(hidden.last_hidden_state).all()
