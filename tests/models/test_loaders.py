"""Every call that loads a model, a tokenizer, a configuration or a data set writes out that no code
is run, that weights are no pickles, and that nothing is fetched behind a digest's back.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEARCHED = ("restaudit", "probes", "reports", "benchmarks", "tools", "app.py")
NO_CODE, NO_PICKLES, NO_FETCH = (
    ("trust_remote_code", False),
    ("use_safetensors", True),
    ("local_files_only", True),
)
# What each kind of call must say. `from_pretrained` is told apart by what it is called on.
WANTED: dict[str, tuple[tuple[str, object], ...]] = {
    "from_config": (NO_CODE,),
    "load_dataset": (NO_CODE,),
    "load_dataset_builder": (NO_CODE,),
    "pipeline": (NO_CODE, ("use_safetensors", True)),
    "SentenceTransformer": (NO_CODE, NO_FETCH),
    "CrossEncoder": (NO_CODE, NO_FETCH),
    "HFLM": (NO_CODE,),
    "PolicyModel": (NO_CODE,),
}
# Reads bytes that can run code, or a library's own format for them.
NEVER = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NEVER_CALLED = {
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "pd.read_pickle",
    "torch.export.load",
}
# PEFT's classes take no such arguments. Who calls them refuses code and pickles first
# (model_folder.read_adapter), or has written the folder itself.
OF_PEFT = {
    "restaudit/models/pretrained.py",
    "restaudit/weights/made.py",
    "benchmarks/zoo.py",
    "benchmarks/exactness.py",
}


def problems(source: str, module: str) -> Iterator[str]:
    """What a file's source does that it may not, a line each."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.partition(".")[0] in NEVER:
                    yield f"{module}:{node.lineno}: imports {name}"
        if isinstance(node, ast.Call):
            yield from (f"{module}:{node.lineno}: {why}" for why in of_call(node, module))


def of_call(call: ast.Call, module: str) -> Iterator[str]:
    """What a call lacks."""
    name = ast.unparse(call.func)
    if name in NEVER_CALLED:
        yield f"calls {name}"
    if name.rpartition(".")[0] in ("np", "numpy") and name.endswith(".load"):
        yield from lacking(call, (("allow_pickle", False),))
    last = name.rpartition(".")[2]
    if last == "from_pretrained":
        yield from lacking(call, of_pretrained(name, module))
    elif last in WANTED and not isinstance(call.func, ast.Call):
        yield from lacking(call, WANTED[last])


def of_pretrained(name: str, module: str) -> tuple[tuple[str, object], ...]:
    """What a call of from_pretrained must say."""
    called_on = name.rpartition(".")[0]
    if "Peft" in called_on:
        return () if module in OF_PEFT else (("is_allowed_here", True),)
    if "GenerationConfig" in called_on:
        return (NO_FETCH,)  # a few numbers: it knows no code
    if any(word in called_on for word in ("Tokenizer", "Config", "Processor", "FeatureExtractor")):
        return (NO_CODE, NO_FETCH)
    return (NO_CODE, NO_PICKLES, NO_FETCH)


def lacking(call: ast.Call, wanted: tuple[tuple[str, object], ...]) -> Iterator[str]:
    """The arguments that are not written out with the value that they must have."""
    said = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
    for argument, value in wanted:
        if said.get(argument, "not said") is not value:
            yield f"{ast.unparse(call.func)} lacks {argument}={value}"


def sources() -> list[Path]:
    """Every source file that is searched."""
    found: list[Path] = []
    for name in SEARCHED:
        path = ROOT / name
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


def test_every_loader_says_that_no_code_and_no_pickle_is_read() -> None:
    wrong: list[str] = []
    for path in sources():
        text = path.read_text(encoding="utf-8")
        wrong += problems(text, path.relative_to(ROOT).as_posix())
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ("AutoModel.from_pretrained(p)", 3),
        ("AutoModel.from_pretrained(p, trust_remote_code=False, local_files_only=True)", 1),
        ("AutoModel.from_pretrained(p, use_safetensors=True, trust_remote_code=given)", 2),
        ("transformers.AutoTokenizer.from_pretrained(p, trust_remote_code=True)", 2),
        ("AutoConfig.from_pretrained(p, local_files_only=True)", 1),
        ("AutoProcessor.from_pretrained(p, **settings)", 2),
        ("loader.from_config(c)", 1),
        ("load_dataset('org/name')", 1),
        ("datasets.load_dataset('org/name', trust_remote_code=True)", 1),
        ("pipeline('text-classification', model=p)", 2),
        ("PeftModel.from_pretrained(model, p)", 1),
        ("SentenceTransformer(p)", 2),
        ("torch.load(p, weights_only=True)", 1),
        ("np.load(p)", 1),
        ("import pickle", 1),
        ("from joblib import load", 1),
        ("AutoTokenizer.from_pretrained(p, trust_remote_code=False, local_files_only=True)", 0),
    ],
)
def test_a_loader_that_lacks_an_argument_is_found(line: str, lacks: int) -> None:
    assert len(list(problems(line, "restaudit/other.py"))) == lacks
