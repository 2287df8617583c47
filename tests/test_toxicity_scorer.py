"""Scorers of toxicity: the weights are read from an ONNX file as numbers, and nothing else is taken
for them.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from restaudit.config import AuditConfig, GatePolicy, HatesonarToxicity, NoToxicity, PythonToxicity
from restaudit.errors import BadInput
from restaudit.loop.toxicity import HATESONAR_FAILS, hatesonar, load_scorer
from restaudit.models.onnx_weights import read_graph

# --- a small ONNX file, written by hand


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: bytes | str | int | float) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def floats(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def attribute(name: str, number: int, values: list[bytes | str | int | float]) -> bytes:
    return field(5, field(1, name) + b"".join(field(number, v) for v in values))


def node(operation: str, *attributes: bytes) -> bytes:
    return field(1, field(4, operation) + b"".join(attributes))


WORDS = ["fool", "kind", "you"]
IDF = [2.0, 1.5, 1.0]
# By class: hate speech, offensive, neither.
WEIGHTS = [[1.0, -1.0, 0.0], [3.0, -2.0, 0.5], [-2.0, 1.0, 0.0]]
INTERCEPTS = [-1.0, 0.0, 1.0]


def model(
    *, packed: bool = True, weights: list[list[float]] = WEIGHTS, last: str = "ZipMap"
) -> bytes:
    flat = [w for row in weights for w in row]
    coefficients = attribute("coefficients", 7, [floats(flat)] if packed else list(flat))
    order: list[bytes | str | int | float] = [0, 1, 2]
    indexes = attribute(
        "ngram_indexes", 8, [b"".join(varint(int(k)) for k in (0, 1, 2))] if packed else order
    )
    graph = [
        node("Reshape"),
        node("StringNormalizer"),
        node("Tokenizer", attribute("tokenexp", 4, ["[a-zA-Z0-9_]+"])),
        node("Flatten"),
        node("TfIdfVectorizer", attribute("pool_strings", 9, list(WORDS)), indexes),
        node("Mul"),
        node("Normalizer"),
        node("LinearClassifier", coefficients, attribute("intercepts", 7, [floats(INTERCEPTS)])),
        node("Cast"),
        node("Normalizer"),
        node(last),
        field(5, field(1, 3) + field(2, 1) + field(8, "idfcst") + field(4, floats(IDF))),
    ]
    return field(2, "skl2onnx") + field(7, b"".join(graph))


def by_hand(counts: list[int]) -> float:
    x = np.array(counts) * np.array(IDF)
    x = x / np.linalg.norm(x) if x.any() else x
    raised = np.exp(np.array(WEIGHTS) @ x + np.array(INTERCEPTS))
    return float(1 - raised[2] / raised.sum())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(model())
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("packed", [True, False])
def test_the_score_is_what_the_weights_say_by_hand(tmp_path: Path, packed: bool) -> None:
    (tmp_path / "m.onnx").write_bytes(model(packed=packed))
    scorer = hatesonar(tmp_path / "m.onnx")
    texts = {
        "You FOOL, you": [1, 0, 2],
        "kind": [0, 1, 0],
        "": [0, 0, 0],
        "foolish kindness": [0, 0, 0],
    }
    assert scorer.scores(list(texts)).tolist() == pytest.approx(
        [by_hand(c) for c in texts.values()], abs=1e-6
    )
    assert scorer.scores([]).shape == (0,)


def test_a_text_has_the_same_score_whatever_is_scored_beside_it(path: Path) -> None:
    scorer = hatesonar(path)
    texts = ["you fool", "how kind of you", "nothing"]
    assert scorer.scores(texts).tolist() == [scorer.scores([t])[0] for t in texts]


def test_the_scorer_says_what_it_is_and_how_it_fails(path: Path) -> None:
    scorer = load_scorer(HatesonarToxicity(kind="hatesonar", model=str(path), sha256=None))
    assert scorer is not None
    assert (scorer.name, scorer.version, len(scorer.sha256)) == ("hatesonar", "0.1.0", 64)
    assert scorer.known_failure == HATESONAR_FAILS
    assert "near chance" in HATESONAR_FAILS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ONNX model"),
        (b"\x3a\xff\xff", "not an ONNX model"),
        (model()[:300], "not an ONNX model"),
        (model(last="Softmax"), "expected the classifier of hatesonar"),
        (model(weights=WEIGHTS[:2]), "do not belong together"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        hatesonar(tmp_path / "m.onnx")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    try:
        nodes, tensors = read_graph(tmp_path / "m.onnx")
    except BadInput:
        return
    assert isinstance(nodes, list)
    assert isinstance(tensors, dict)


# --- configuration


def test_no_scorer_is_the_default() -> None:
    assert isinstance(AuditConfig().toxicity, NoToxicity)
    assert load_scorer(NoToxicity()) is None


def test_a_python_callable_scores_with_the_digest_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
def rude(texts):
    return [float('fool' in t) for t in texts]

def loud(texts):
    return [2.0] * len(texts)
"""
    (tmp_path / "my_scorer_of_rudeness.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    made = PythonToxicity(
        kind="python", callable="my_scorer_of_rudeness:rude", known_failure="knows one word"
    )
    scorer = load_scorer(made)
    assert scorer is not None
    assert scorer.scores(["you fool", "hello"]).tolist() == [1.0, 0.0]
    assert (scorer.known_failure, len(scorer.sha256)) == ("knows one word", 64)
    loud = load_scorer(made.model_copy(update={"callable": "my_scorer_of_rudeness:loud"}))
    assert loud is not None
    with pytest.raises(BadInput, match="from 0 to 1"):
        loud.scores(["hello"])


def test_toxicity_is_never_a_gate_by_itself() -> None:
    rule = {
        "name": "rude",
        "metric": "toxicity.mean_change",
        "must_stay": "below",
        "margin": 0.1,
        "reason": "none",
    }
    with pytest.raises(ValidationError, match="never a gate by itself"):
        GatePolicy.model_validate({"rules": [rule]})
    when = {"metric": "toxicity.mean_change", "side": "above", "margin": 0.1}
    assert GatePolicy.model_validate(
        {"rules": [{**rule, "metric": "divergence.human_change", "when": when}]}
    )


# --- the figures in HATESONAR_FAILS


def auc(good: np.ndarray, bad: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([0] * len(good) + [1] * len(bad), np.concatenate([good, bad])))


@pytest.mark.realmodel
@pytest.mark.realdata
def test_the_measured_failures_are_those_that_are_printed(shared_data: Path) -> None:
    import gzip
    import json

    from sklearn.model_selection import train_test_split

    scorer = load_scorer(HatesonarToxicity(kind="hatesonar"))
    assert scorer is not None
    tweets = pd.read_csv(shared_data / "davidson" / "labeled_data.csv.gz")
    # hatesonar/trainer.py holds out these 30%; the vocabulary of the other 70% is exactly the
    # model's.
    held_out = train_test_split(np.arange(len(tweets)), test_size=0.3, random_state=42)[1]
    scores = scorer.scores(tweets["tweet"].iloc[held_out].tolist())
    clean = (tweets["class"].iloc[held_out] == 2).to_numpy()
    assert auc(scores[clean], scores[~clean]) == pytest.approx(0.98, abs=0.005)
    assert (scores[clean] >= 0.5).mean() == pytest.approx(0.08, abs=0.005)
    asked = pd.read_csv(shared_data / "xstest" / "xstest_prompts.csv")
    unsafe = (asked["label"] == "unsafe").to_numpy()
    prompts = scorer.scores(asked["prompt"].tolist())
    assert auc(prompts[~unsafe], prompts[unsafe]) == pytest.approx(0.62, abs=0.005)
    with gzip.open(
        shared_data / "hh_harmless_base_test" / "test.jsonl.gz", "rt", encoding="utf-8"
    ) as lines:
        pairs = [json.loads(line) for line in lines]
    better, worse = (
        scorer.scores([p[k].split("\n\nAssistant:")[-1] for p in pairs])
        for k in ("chosen", "rejected")
    )
    assert auc(better, worse) == pytest.approx(0.52, abs=0.005)
    crows = pd.read_csv(shared_data / "crows_pairs" / "crows_pairs_anonymized.csv")
    marked = [(scorer.scores(crows[c].tolist()) >= 0.5).mean() for c in ("sent_more", "sent_less")]
    assert marked == pytest.approx([0.11, 0.25], abs=0.005)
    said = identities(shared_data)
    scores = scorer.scores(said["text"].tolist())
    assert (scores >= 0.5).mean() == pytest.approx(0.14, abs=0.005)
    assert (scores[said["descriptor"].isin(["queer", "white"])] >= 0.5).all()
    assert scorer.scores(["zqxv"])[0] == pytest.approx(0.32, abs=0.005)


def identities(shared_data: Path) -> pd.DataFrame:
    """Harmless sentences by people who say what they are, by HolisticBias's descriptors but for
    dispreferred ones.
    """
    import json

    axes = json.loads(
        (shared_data / "holistic_bias" / "descriptors.json").read_text(encoding="utf-8")
    )
    rows = []
    for buckets in axes.values():
        for each in (d for ds in buckets.values() for d in ds):
            if isinstance(each, dict) and each.get("preference") == "dispreferred":
                continue
            word = each["descriptor"] if isinstance(each, dict) else each
            article = "an" if word[0].lower() in "aeiou" else "a"
            for noun in ("person", "woman", "man"):
                for say in (
                    "I'm {}.",
                    "I love being {}.",
                    "Hi! I'm {}.",
                    "What do you do for a living? I'm {}.",
                ):
                    rows.append(
                        {"descriptor": word, "text": say.format(f"{article} {word} {noun}")}
                    )
    return pd.DataFrame(rows)
