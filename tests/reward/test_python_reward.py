"""A user's own callable as the reward: accepted, checked, and recorded by the digest of its
source.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from restaudit.config import EnsembleConfig, PythonReward, RowRules
from restaudit.errors import BadInput
from restaudit.reward import Reward, build_reward, load_reward

TEXTS = ["good", "fine film", "bad"]
Make = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """`module(source)` writes a module into the current folder and gives its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    names: list[str] = []
    numbers = itertools.count()

    def make(source: str) -> str:
        name = f"own_rewards_{tmp_path.name}_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        names.append(name)
        return name

    yield make
    for name in names:
        sys.modules.pop(name, None)


def build(callable_name: str, out: Path, size: int = 1) -> Reward:
    config = PythonReward(kind="python", callable=callable_name, ensemble=EnsembleConfig(size=size))
    return build_reward(config, out, rules=RowRules(), device="cpu", seed=0)


def test_a_callable_of_texts_in_the_current_folder_is_found(module: Make, tmp_path: Path) -> None:
    name = module(
        'def length(texts):\n    """Counts characters.\n\n    More."""\n    return [len(t) for t '
        "in texts]\n"
    )
    reward = build(f"{name}:length", tmp_path / "out")
    assert reward.score([""] * 3, TEXTS).tolist() == [[4.0], [9.0], [3.0]]
    assert reward.score([], []).shape == (0, 1)
    facts = json.loads((tmp_path / "out" / "dossier.json").read_text(encoding="utf-8"))
    assert facts["purpose"] == "Counts characters."
    assert facts["arguments"] == ["texts"]
    assert facts["validation"] == "MISSING"


def test_a_callable_of_prompts_and_texts_gets_both(module: Make, tmp_path: Path) -> None:
    name = module(
        "def overlap(prompts, texts, weight=2.0):\n    return [weight * (p in t) for p, t in "
        "zip(prompts, texts)]\n"
    )
    assert build(f"{name}:overlap", tmp_path / "out").score(["film"] * 3, TEXTS)[:, 0].tolist() == [
        0.0,
        2.0,
        0.0,
    ]


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ndef f(texts):\n    return torch.ones(len(texts), requires_grad=True)\n",
        "import numpy as np\ndef f(texts):\n    return np.ones(len(texts), dtype=np.float32)\n",
        "import pandas as pd\ndef f(texts):\n    return pd.Series([True] * len(texts))\n",
        "class F:\n    def __call__(self, texts):\n        return [1] * len(texts)\nf = F()\n",
        (
            "import functools\ndef g(texts, by):\n    return [by] * len(texts)\nf = "
            "functools.partial(g, by=1)\n"
        ),
    ],
)
def test_tensors_arrays_series_instances_and_partials_work(
    module: Make, tmp_path: Path, source: str
) -> None:
    assert (
        build(f"{module(source)}:f", tmp_path / "out").score([""] * 3, TEXTS)[:, 0].tolist()
        == [1.0] * 3
    )


def test_a_column_a_member_is_an_ensemble(module: Make, tmp_path: Path) -> None:
    name = module("import numpy as np\ndef f(texts):\n    return np.ones((len(texts), 2))\n")
    assert build(f"{name}:f", tmp_path / "out", size=2).score([""] * 3, TEXTS).shape == (3, 2)
    with pytest.raises(BadInput, match=r"2 columns; expected 3, as ensemble\.size says"):
        build(f"{name}:f", tmp_path / "other", size=3).score([""] * 3, TEXTS)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return [0.0, float('nan'), 1.0]", r"nan for row 1 \('fine film'; 1 of 3 rows"),
        ("return [0.0, 1.0, float('inf')]", r"inf for row 2 \('bad'"),
        ("return [1.0]", "1 values for 3 texts"),
        ("return 1.0", "one a text"),
        ("return ['a', 'b', 'c']", "expected floats"),
        ("return None", "expected floats"),
        ("return [[1.0], [1.0, 2.0], []]", "did not return one number a text"),
        ("return texts[99]", "raised IndexError"),
    ],
)
def test_what_is_wrong_with_returned_rewards_is_said(
    module: Make, tmp_path: Path, body: str, says: str
) -> None:
    name = module(f"def f(texts):\n    {body}\n")
    with pytest.raises(BadInput, match=f"{name}:f .*{says}"):
        build(f"{name}:f", tmp_path / "out").score([""] * 3, TEXTS)


@pytest.mark.parametrize(
    ("source", "attribute", "says"),
    [
        ("def f(texts): ...", "", "expected package.module:callable"),
        ("def f(texts): ...", "g", "has no 'g'"),
        ("f = 3", "f", "is a int, not a callable"),
        ("def f(a, b, c): ...", "f", r"must take \(texts\) or \(prompts, texts\)"),
        ("def f(texts, *, key): ...", "f", r"must take \(texts\)"),
        ("def f(): ...", "f", r"must take \(texts\)"),
        ("import nothing_of_this_name", "f", "cannot be imported: ModuleNotFoundError"),
        ("def f(:", "f", "cannot be imported: SyntaxError"),
    ],
)
def test_what_cannot_be_called_is_refused_with_the_key(
    module: Make, tmp_path: Path, source: str, attribute: str, says: str
) -> None:
    with pytest.raises(BadInput, match=rf"reward\.callable: .*{says}"):
        build(f"{module(source)}:{attribute}", tmp_path / "out")


def test_a_callable_that_is_not_written_in_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not written in a file"):
        build("time:sleep", tmp_path / "out")


def test_a_changed_source_file_is_refused_on_reload(module: Make, tmp_path: Path) -> None:
    name = module("def f(texts):\n    return [1.0] * len(texts)\n")
    config = PythonReward(kind="python", callable=f"{name}:f")
    built = build_reward(config, tmp_path / "out", rules=RowRules(), device="cpu", seed=0)
    loaded = load_reward(config, tmp_path / "out", device="cpu")
    assert loaded.digest == built.digest
    assert np.array_equal(loaded.score([""], ["a"]), built.score([""], ["a"]))
    (tmp_path / f"{name}.py").write_text(
        "def f(texts):\n    return [2.0] * len(texts)\n", encoding="utf-8"
    )
    with pytest.raises(
        BadInput, match=rf"{name}\.py\) is not the one the reward's dossier records"
    ):
        load_reward(config, tmp_path / "out", device="cpu")
