"""Human scores: each says what it is, is NaN where it is undefined, and never shares raters with
the reward.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from restaudit.config import HumanConfig, PythonReward, RewardConfig, RowRules
from restaudit.errors import BadInput
from restaudit.people.human_score import (
    HumanScore,
    build_human,
    check_raters,
    load_human,
    rated_words,
)

WORDS = {
    "good": 2.0,
    "bad": -2.0,
    "feel-good": 3.0,
    "fed up": -1.5,
    ":)": 1.0,
    ":D": 2.5,
    "can't stand": -2.2,
}


def parse(raw: dict[str, Any]) -> Any:
    return TypeAdapter(HumanConfig).validate_python(raw)


def parse_reward(raw: dict[str, Any]) -> Any:
    return TypeAdapter(RewardConfig).validate_python(raw)


def build(config: Any, out: Path) -> HumanScore:
    return build_human(config, out, rules=RowRules(), device="cpu", seed=0)


def score(human: HumanScore, *texts: str) -> list[float]:
    found = human.score([""] * len(texts), texts, [[]] * len(texts))
    assert found.dtype == np.float64
    return found.tolist()


# --- the lexicon


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A good film.", [2.0]),
        ("GOOD, good... “Bad”!", [2.0, 2.0, -2.0]),
        ("A feel-good story", [3.0]),
        ("good...but bad/good", [2.0, -2.0, 2.0]),
        ("I am fed up with it", [-1.5]),
        ("I can’t stand it", [-2.2]),
        ("nice :) and :D", [1.0, 2.5]),
        ("goodness is not goods", []),
        ("", []),
        ("...", []),
    ],
)
def test_rated_words_are_found_as_people_write_them(text: str, expected: list[float]) -> None:
    assert rated_words(text, WORDS, 2) == expected


@pytest.fixture
def word_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.csv"
    table = pd.DataFrame(
        {"text": ["good", "bad", "dull"], "a": [1, -1, -1], "b": [2, -2, -1], "c": [3, -4, 0]}
    )
    table.to_csv(path, index=False)
    return path


def lexicon(word_file: Path, **more: Any) -> Any:
    data = {"source": str(word_file), "options": {"rater_columns": ["a", "b", "c"]}}
    return parse({"kind": "lexicon", "data": data, "judge_raters": ["b", "c"], **more})


def test_the_lexicon_score_is_the_judges_mean_over_rated_words(
    word_file: Path, tmp_path: Path
) -> None:
    human = build(lexicon(word_file), tmp_path / "out")
    assert human.label == "LEXICON (human word ratings, aggregated)"
    assert "nobody rated the text itself" in human.description
    assert score(human, "a good film", "good and bad", "good good bad") == [
        2.5,
        -0.25,
        pytest.approx(2 / 3),
    ]


def test_a_text_without_a_rated_word_has_no_score_rather_than_zero(
    word_file: Path, tmp_path: Path
) -> None:
    assert math.isnan(score(build(lexicon(word_file), tmp_path / "out"), "set in Paris")[0])


def test_the_lexicon_reloads_from_the_run_folder_alone(word_file: Path, tmp_path: Path) -> None:
    config = lexicon(word_file)
    built = build(config, tmp_path / "out")
    word_file.unlink()
    loaded = load_human(config, tmp_path / "out", device="cpu")
    assert score(loaded, "good", "bad bad good") == score(built, "good", "bad bad good")
    facts = json.loads((tmp_path / "out" / "human.json").read_text(encoding="utf-8"))
    assert facts["judge_raters"] == ["b", "c"]
    assert facts["judgements"] == 6
    assert facts["licence"] == "MISSING"
    words = tmp_path / "out" / "words.parquet"
    pd.read_parquet(words).assign(score=4.0).to_parquet(words)
    with pytest.raises(BadInput, match=r"words\.parquet is not the one"):
        load_human(config, tmp_path / "out", device="cpu")


def test_judges_who_are_not_in_the_data_are_named(word_file: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"words\.csv: rater.* z are not in the data; it has: a, b, c"
    ):
        build(lexicon(word_file, judge_raters=["z"]), tmp_path / "out")


def test_a_lexicon_of_pairs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n', encoding="utf-8")
    with pytest.raises(BadInput, match="this source holds pairs"):
        build(
            parse({"kind": "lexicon", "data": {"source": str(path)}, "judge_raters": ["1"]}),
            tmp_path / "out",
        )


# --- the other kinds


def test_without_a_human_score_everything_is_undefined(tmp_path: Path) -> None:
    human = build(parse({"kind": "none"}), tmp_path)
    assert human.label == "NONE"
    assert np.isnan(score(human, "good", "bad")).all()
    assert np.isnan(score(load_human(parse({"kind": "none"}), tmp_path, device="cpu"), "x")).all()


def test_the_reference_score_takes_the_best_reference_and_is_undefined_without_one(
    tmp_path: Path,
) -> None:
    human = build(parse({"kind": "reference"}), tmp_path)
    references = [["the cat sat", "a dog ran"], [], ["zzz"], [" "]]
    found = human.score([""] * 4, ["a dog ran", "a dog ran", "a dog ran", "x"], references)
    assert found[0] == pytest.approx(100)
    assert found[2] == 0.0
    assert np.isnan(found[[1, 3]]).all()
    assert human.label == "REFERENCE (chrF against human references)"
    assert load_human(parse({"kind": "reference"}), tmp_path, device="cpu").unit == human.unit


def test_the_best_of_several_references_is_what_sacrebleu_itself_takes(tmp_path: Path) -> None:
    from sacrebleu import sentence_chrf

    human = build(parse({"kind": "reference"}), tmp_path)
    text, references = (
        "a place to eat by the river",
        ["an inn by the river", "a riverside place to eat", "a bar"],
    )
    found = human.score([""], [text], [references])
    assert found[0] == pytest.approx(sentence_chrf(text, references).score)


def test_another_version_of_the_reference_score_is_refused(tmp_path: Path) -> None:
    build(parse({"kind": "reference"}), tmp_path)
    path = tmp_path / "human.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace("sacrebleu", "other"), encoding="utf-8"
    )
    with pytest.raises(BadInput, match="install that one"):
        load_human(parse({"kind": "reference"}), tmp_path, device="cpu")


def test_a_simulated_score_says_so_and_may_be_undefined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "simulated_raters.py"
    source.write_text(
        "def f(texts):\n    return [float('nan') if not t else float('inf') if t == 'x' else 1.0 "
        "for t in texts]\n"
        "def wide(texts):\n    return [[1.0, 2.0] for t in texts]\n",
        encoding="utf-8",
    )
    config = parse({"kind": "python", "callable": "simulated_raters:f"})
    human = build(config, tmp_path / "out")
    assert human.label == "SIMULATED"
    assert human.score(["", ""], ["a", ""], [[], []])[0] == 1.0
    assert math.isnan(score(human, "")[0])
    assert score(human) == []
    with pytest.raises(BadInput, match="infinite score for row 1"):
        score(human, "a", "x")
    with pytest.raises(BadInput, match="2 scores a text"):
        score(
            build(
                parse({"kind": "python", "callable": "simulated_raters:wide"}), tmp_path / "wide"
            ),
            "a",
        )
    source.write_text("def f(texts):\n    return [0.0] * len(texts)\n", encoding="utf-8")
    with pytest.raises(BadInput, match="is not the one"):
        load_human(config, tmp_path / "out", device="cpu")


def test_a_model_score_is_called_a_model_and_reloads_bit_for_bit(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    texts = [
        " ".join(rng.choice(["wonderful", "dull", "film", "plot", "music"], size=5))
        for _ in range(80)
    ]
    scores = [t.count("wonderful") - t.count("dull") for t in texts]
    path = tmp_path / "rated.csv"
    pd.DataFrame({"text": texts, "a": scores, "b": scores}).drop_duplicates("text").to_csv(
        path, index=False
    )
    config = parse(
        {
            "kind": "model",
            "encoder": str(tiny_encoder),
            "data": {"source": str(path), "options": {"rater_columns": ["a", "b"]}},
            "judge_raters": ["b"],
            "max_tokens": 64,
            "head": {"hidden": 0, "epochs": 5},
        }
    )
    human = build(config, tmp_path / "out")
    assert human.label == "MODEL (trained on held-out raters)"
    assert human.unit == "rating units (mean of raters)"
    loaded = load_human(config, tmp_path / "out", device="cpu")
    assert score(loaded, *texts[:5]) == score(human, *texts[:5])
    dossier = json.loads((tmp_path / "out" / "dossier.json").read_text(encoding="utf-8"))
    assert dossier["raters"]["used"] == ["b"]
    assert "never to select" in dossier["purpose"]
    unnamed = config.model_copy(update={"judge_raters": None})
    assert (
        load_human(unnamed, tmp_path / "out", device="cpu").label
        == "MODEL (trained on held-out judgements)"
    )


def test_a_folder_of_another_kind_or_without_papers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"human\.json: missing"):
        load_human(parse({"kind": "none"}), tmp_path, device="cpu")
    build(parse({"kind": "none"}), tmp_path)
    with pytest.raises(BadInput, match="another human score"):
        load_human(parse({"kind": "reference"}), tmp_path, device="cpu")
    (tmp_path / "human.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match="not valid JSON"):
        load_human(parse({"kind": "none"}), tmp_path, device="cpu")


def test_lists_of_unequal_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="0 lists of references for 1 responses"):
        build(parse({"kind": "none"}), tmp_path).score([""], ["a"], [])


# --- disjoint raters


def reward_on(source: str, raters: list[int] | None, **data: Any) -> Any:
    return parse_reward(
        {
            "kind": "trained",
            "encoder": "e",
            "data": {"source": source, **data},
            "train_raters": raters,
        }
    )


def judge_on(source: str, raters: list[str] | None, **data: Any) -> Any:
    raw = {
        "kind": "model",
        "encoder": "e",
        "data": {"source": source, **data},
        "judge_raters": raters,
    }
    return parse(raw)


@pytest.mark.parametrize(
    ("reward", "human", "says"),
    [
        (reward_on("a", [0, 1]), judge_on("a", ["1", "2"]), r"rater\(s\) 1 of a"),
        (reward_on("a", None), judge_on("a", ["1"]), r"every rater \(reward.train_raters left out"),
        (reward_on("a", [0]), judge_on("a", None), r"every rater \(human.judge_raters left out"),
        (reward_on("a", None), judge_on("b", None, sha256="0" * 64), ""),
        (
            reward_on("a", None, sha256="0" * 64),
            judge_on("b", None, sha256="0" * 64),
            "every rater",
        ),
        (
            reward_on("a", None, options={"part": "0-51"}),
            judge_on("a", None, options={"part": "50-100"}),
            "every rater",
        ),
        (
            reward_on("a", None, options={"part": "0-50"}),
            judge_on("a", None, options={"part": "50-100"}),
            "",
        ),
        (reward_on("a", [0, 1]), judge_on("a", ["2"]), ""),
        (reward_on("a", None), judge_on("a", None, split="test"), ""),
        (PythonReward(kind="python", callable="a:b"), judge_on("a", None), ""),
        (reward_on("a", None), parse({"kind": "reference"}), ""),
    ],
)
def test_the_same_people_never_train_the_reward_and_judge_it(
    reward: Any, human: Any, says: str
) -> None:
    if says:
        with pytest.raises(BadInput, match=says):
            check_raters(reward, human)
    else:
        check_raters(reward, human)
