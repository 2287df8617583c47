"""Reward models trained here: planted truths, splits, papers, and scores that come back bit for
bit.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from restaudit.config import EnsembleConfig, HeadConfig, RowRules, TableSource, TrainedReward
from restaudit.errors import BadInput
from restaudit.models.encoder import Encoder, load_encoder
from restaudit.reward import build_reward, load_reward
from restaudit.reward.examples import choose_raters, examples
from restaudit.reward.head import learn_heads
from restaudit.reward.trained import Fitted, beaten_by
from restaudit.reward.trained import fit as fit_with
from restaudit.reward.validation.held_out import validate
from restaudit.reward.validation.judged import from_examples
from restaudit.reward.validation.report import validated

HEAD = HeadConfig(hidden=0, learning_rate=0.02, weight_decay=0, epochs=80, batch=32)
WORDS = (
    "wonderful",
    "brave",
    "quiet",
    "dull",
    "mess",
    "tired",
    "film",
    "music",
    "plot",
    "a",
    "the",
    "and",
)
GOODNESS = {"wonderful": 2.0, "brave": 1.0, "dull": -1.5, "mess": -2.0, "tired": -1.0}


def ratings(n: int = 240, raters: int = 4, noise: float = 0.3, seed: int = 0) -> pd.DataFrame:
    """Texts whose rating is the sum of their words' goodness, by raters with noise of their own."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        text = " ".join(rng.choice(WORDS, size=6))
        truth = sum(GOODNESS.get(w, 0.0) for w in text.split())
        rows += [(f"i{i}", "", text, str(r), truth + noise * rng.normal()) for r in range(raters)]
    return pd.DataFrame(rows, columns=["item_id", "prompt", "response", "rater", "score"])


def pairs(n: int = 240, prompts: int = 40, raters: int = 1, seed: int = 0) -> pd.DataFrame:
    """Pairs in which the better text wins, on `prompts` different prompts; rater "1" always says
    the opposite.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    while len(rows) < n * raters:
        a, b = (" ".join(rng.choice(WORDS, size=5)) for _ in range(2))
        x, y = (sum(GOODNESS.get(w, 0.0) for w in t.split()) for t in (a, b))
        if x == y:
            continue
        better, worse = (a, b) if x > y else (b, a)
        k = len(rows) // raters
        rows += [
            (
                f"i{k}",
                f"about film {k % prompts}",
                *((better, worse) if r != 1 else (worse, better)),
                str(r),
                False,
            )
            for r in range(raters)
        ]
    return pd.DataFrame(rows, columns=["item_id", "prompt", "chosen", "rejected", "rater", "tied"])


def config(encoder: Path | str, source: Path | str = "unused", **more: Any) -> TrainedReward:
    given = {"head": HEAD, "ensemble": EnsembleConfig(size=2), "max_tokens": 64, **more}
    return TrainedReward(
        kind="trained", encoder=str(encoder), data=TableSource(source=str(source)), **given
    )


def fit(
    kind: Any, table: pd.DataFrame, encoder: Encoder, given: TrainedReward, *, seed: int
) -> Fitted:
    return fit_with(
        kind,
        table,
        lambda data: learn_heads(data, encoder, given, spec=None, seed=seed),
        given,
        seed=seed,
    )


def measured(found: Any) -> dict[str, Any]:
    return {m.name.removeprefix("validation."): m for m in found}


# --- examples


def test_held_out_raters_judge_and_the_others_train() -> None:
    data = examples("ratings", ratings(), train_raters=[0, 1])
    row, long = data.table.iloc[0], ratings()
    own = long[long["item_id"] == row["item_id"]]
    assert data.raters.used == ("0", "1")
    assert data.raters.held_out == ("2", "3")
    assert row["target"] == pytest.approx(own[own["rater"].isin(["0", "1"])]["score"].mean())
    assert row["judged"] == pytest.approx(own[own["rater"].isin(["2", "3"])]["score"].mean())


def test_the_same_text_in_other_letters_never_straddles_a_split() -> None:
    table = ratings()
    shouted = table.assign(item_id=table["item_id"] + "x", response=table["response"].str.upper())
    data = examples("ratings", pd.concat([table, shouted]))
    assert data.unit == "item"
    assert (data.table.groupby(data.table["left"].str.lower())["split"].nunique() == 1).all()


def test_responses_to_one_prompt_stay_on_one_side() -> None:
    data = examples("pairs", pairs())
    assert data.unit == "prompt"
    assert (data.table.groupby("prompt")["split"].nunique() == 1).all()
    assert {"train", "stop", "held_out"} == set(data.table["split"])


def test_the_same_items_are_held_out_whatever_the_order_of_the_rows() -> None:
    one, other = (
        examples("ratings", ratings()),
        examples("ratings", ratings().sample(frac=1, random_state=1)),
    )
    held_out = [set(d.table[d.table["split"] == "held_out"]["item_id"]) for d in (one, other)]
    assert held_out[0] == held_out[1]


def test_raters_who_disagree_give_a_share_of_votes() -> None:
    data = examples("pairs", pairs(raters=3))
    shares = data.table["target"]
    assert sorted(set(shares.round(3))) == [0.333, 0.667]
    assert data.table["agreement"].unique() == pytest.approx([1 / 3])


def test_an_item_the_training_raters_never_saw_does_not_train_and_is_still_judged() -> None:
    table = ratings()
    table = table[
        ~(table["item_id"].isin([f"i{i}" for i in range(120)]) & table["rater"].isin(["0", "1"]))
    ]
    data = examples("ratings", table, train_raters=[0, 1])
    unseen = data.table[data.table["target"].isna()]
    assert len(unseen) > 0
    assert set(unseen["split"]) == {"held_out"}


@pytest.mark.parametrize(
    ("raters", "says"),
    [([0, 9], "rater.* 9 are not in the data; it has: 0, 1, 2, 3"), ([], "(none)")],
)
def test_raters_that_are_not_there_are_named(raters: list[int], says: str) -> None:
    with pytest.raises(BadInput, match=says.replace("(none)", r"\(none\)")):
        choose_raters(ratings(n=3), raters)


def test_raters_cannot_be_chosen_where_nobody_is_named() -> None:
    with pytest.raises(BadInput, match="names no rater"):
        choose_raters(ratings(n=3).assign(rater=None), [0])


def test_an_objective_that_does_not_fit_the_data_is_refused() -> None:
    with pytest.raises(BadInput, match="bradley_terry does not fit data of ratings"):
        examples("ratings", ratings(), objective="bradley_terry")


def test_too_little_data_for_the_splits_is_refused() -> None:
    with pytest.raises(BadInput, match="no item is left for the split"):
        examples("ratings", ratings(n=1))


# --- fit and validate


def test_a_planted_rating_is_predicted_on_held_out_texts(tiny_encoder: Path) -> None:
    given = config(tiny_encoder, train_raters=(0, 1))
    found = fit("ratings", ratings(n=400), load_encoder(tiny_encoder), given, seed=0)
    by_name = measured(found.validation)
    assert by_name["pearson"].value > 0.8
    assert by_name["pearson"].interval().low > 0.6
    assert abs(by_name["baseline.longer"].value or 0) < 0.5
    assert by_name["ceiling_pearson"].value > 0.95
    assert "held-out raters" in by_name["pearson"].detail["meaning"]
    assert "item-clustered" in by_name["pearson"].method


def test_planted_preferences_are_ranked_on_held_out_prompts(tiny_encoder: Path) -> None:
    found = fit(
        "pairs", pairs(n=600, prompts=60), load_encoder(tiny_encoder), config(tiny_encoder), seed=0
    )
    by_name = measured(found.validation)
    assert by_name["pair_accuracy"].value > 0.8
    assert by_name["baseline.longer"].value + by_name["baseline.shorter"].value == pytest.approx(1)
    assert by_name["ceiling_agreement"].value is None
    assert "two judges" in by_name["ceiling_agreement"].reason
    assert "prompt" in by_name["pair_accuracy"].method


def test_prompt_and_response_together_learn_what_the_response_alone_cannot(
    tiny_encoder: Path,
) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(400):
        prompt, response = rng.choice(["wonderful brave", "dull mess"], size=2)
        score = 1.0 if prompt == response else -1.0
        prompt_text = f"{prompt} {' '.join(rng.choice(WORDS[6:], size=3))}"
        rows.append(
            (
                f"i{i}",
                prompt_text,
                f"{response} {' '.join(rng.choice(WORDS[6:], size=3))}",
                None,
                score,
            )
        )
    table = pd.DataFrame(rows, columns=["item_id", "prompt", "response", "rater", "score"])
    encoder = load_encoder(tiny_encoder)
    alone, both = (
        measured(fit("ratings", table, encoder, config(tiny_encoder, input=i), seed=0).validation)[
            "pearson"
        ].value
        or 0
        for i in ("response", "prompt_response")
    )
    assert both > 0.7
    assert both > alone + 0.4


def test_a_trivial_rule_that_does_better_is_said_among_the_limits() -> None:
    data = examples("pairs", pairs())
    table = data.table.assign(left=np.where(data.table["judged"] > 0.5, "a b c", "a"), right="a b")
    longer_wins = replace(data, table=table)
    nothing = np.zeros((len(table), 1))
    judged = from_examples(longer_wins, nothing, nothing, EnsembleConfig(size=1), table=pairs())
    found = [
        *validate(longer_wins, nothing[:, 0], nothing[:, 0], seed=0),
        *validated(judged, seed=0).measurements,
    ]
    assert beaten_by(found) == [
        "On held-out items the rule 'longer is better' does as well or better (1.00 against 0.50)."
    ]
    rated = examples("ratings", ratings())
    assert beaten_by(validate(rated, rated.table["judged"].to_numpy(), None, seed=0)) == []
    assert (
        "could not be measured"
        in beaten_by(validate(rated, np.zeros(len(rated.table)), None, seed=0))[0]
    )


def test_the_ceiling_without_held_out_raters_is_their_split_half() -> None:
    data = examples("ratings", ratings(noise=1.0))
    ceiling = measured(validate(data, data.table["judged"].to_numpy(), None, seed=0))[
        "ceiling_pearson"
    ]
    assert "Spearman-Brown" in ceiling.detail["meaning"]
    assert 0.85 < ceiling.value < 1
    assert ceiling.interval().low < ceiling.value < ceiling.interval().high


def test_one_rater_has_no_ceiling_and_says_why() -> None:
    data = examples("ratings", ratings(raters=1))
    ceiling = measured(validate(data, data.table["judged"].to_numpy(), None, seed=0))[
        "ceiling_pearson"
    ]
    assert ceiling.value is None
    assert ceiling.reason


def test_a_reward_that_never_varies_has_no_correlation_rather_than_zero() -> None:
    data = examples("ratings", ratings())
    found = measured(validate(data, np.zeros(len(data.table)), None, seed=0))["pearson"]
    assert found.value is None
    assert "same for all" in found.reason


def test_equal_rewards_count_one_half_and_evenly_split_pairs_are_left_out() -> None:
    data = examples("pairs", pairs(raters=2))  # the two raters always disagree
    assert (
        measured(validate(data, np.zeros(len(data.table)), np.zeros(len(data.table)), seed=0))[
            "pair_accuracy"
        ].n
        == 0
    )
    data = examples("pairs", pairs())
    zeros = np.zeros(len(data.table))
    assert measured(validate(data, zeros, zeros, seed=0))["pair_accuracy"].value == 0.5


# --- files


@pytest.fixture
def ratings_file(tmp_path: Path) -> Path:
    wide = (
        ratings()
        .pivot(index=["item_id", "response"], columns="rater", values="score")
        .reset_index()
    )
    path = tmp_path / "ratings.csv"
    wide.rename(columns={"response": "text"}).drop(columns="item_id").drop_duplicates(
        "text"
    ).to_csv(path, index=False)
    return path


def source(path: Path) -> TableSource:
    return TableSource(source=str(path), options={"rater_columns": ["0", "1", "2", "3"]})


def test_a_reward_reloads_without_its_data_and_scores_the_same_bit_for_bit(
    tiny_encoder: Path, ratings_file: Path, tmp_path: Path
) -> None:
    given = config(tiny_encoder, train_raters=(0, 1)).model_copy(
        update={"data": source(ratings_file)}
    )
    built = build_reward(given, tmp_path / "a", rules=RowRules(), device="cpu", seed=1)
    again = build_reward(given, tmp_path / "b", rules=RowRules(), device="cpu", seed=1)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["compute.json", "dossier.json", "validation.parquet", "weights.safetensors"]
    for name in files[1:]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    ratings_file.unlink()
    loaded = load_reward(given, tmp_path / "a", device="cpu")
    texts = ["a wonderful film", "the plot is a mess", ""]
    scores = built.score([""] * 3, texts)
    assert scores.shape == (3, built.members) == (3, 2)
    assert np.array_equal(loaded.score([""] * 3, texts), scores)
    assert np.array_equal(loaded.score([""], texts[1:2])[0], scores[1])
    assert loaded.digest == built.digest == again.digest
    assert scores[0].mean() > scores[1].mean()


def test_the_dossier_says_who_judged_and_what_nobody_knows(
    tiny_encoder: Path, ratings_file: Path, tmp_path: Path
) -> None:
    given = config(tiny_encoder, train_raters=(0, 1)).model_copy(
        update={"data": source(ratings_file)}
    )
    build_reward(given, tmp_path / "out", rules=RowRules(), device="cpu", seed=1)
    facts = json.loads((tmp_path / "out" / "dossier.json").read_text(encoding="utf-8"))
    assert facts["schema"] == "restaudit.reward-dossier/1"
    assert facts["raters"]["used"] == ["0", "1"]
    assert facts["raters"]["held_out"] == ["2", "3"]
    assert facts["raters"]["judgements_used"] == facts["raters"]["judgements"] // 2
    assert (
        facts["raters"]["demographics"]
        == facts["data"]["licence"]
        == facts["encoder"]["licence"]
        == "MISSING"
    )
    assert sum(facts["items"].values()) == facts["data"]["rows"]["used"]
    assert len(facts["training"]) == facts["members"] == 2
    assert all(m["value"] is not None or m["reason"] for m in facts["validation"])
    table = pd.read_parquet(tmp_path / "out" / "validation.parquet")
    assert list(table) == ["item", "split", "target", "judged", "prediction_0", "prediction_1"]
    assert len(table) == sum(facts["items"].values())


def test_changed_weights_another_encoder_or_a_missing_file_are_refused(
    tiny_encoder: Path, tiny_policy: Path, ratings_file: Path, tmp_path: Path
) -> None:
    given = config(tiny_encoder).model_copy(update={"data": source(ratings_file)})
    out = tmp_path / "out"
    build_reward(given, out, rules=RowRules(), device="cpu", seed=1)
    with pytest.raises(BadInput, match=r"the encoder .* not the one"):
        load_reward(given.model_copy(update={"encoder": str(tiny_policy)}), out, device="cpu")
    weights = out / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BadInput, match=r"weights.safetensors is not the one"):
        load_reward(given, out, device="cpu")
    weights.unlink()
    with pytest.raises(BadInput, match=r"weights.safetensors: missing"):
        load_reward(given, out, device="cpu")
    (out / "dossier.json").write_text('{"schema": "other"}', encoding="utf-8")
    with pytest.raises(BadInput, match="schema 'other'"):
        load_reward(given, out, device="cpu")
    (out / "dossier.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match="not valid JSON"):
        load_reward(given, out, device="cpu")
    (out / "dossier.json").unlink()
    with pytest.raises(BadInput, match=r"dossier.json: missing"):
        load_reward(given, out, device="cpu")


def test_what_is_wrong_with_the_data_is_said_with_the_source(
    tiny_encoder: Path, ratings_file: Path, tmp_path: Path
) -> None:
    given = config(tiny_encoder, train_raters=(7,)).model_copy(
        update={"data": source(ratings_file)}
    )
    with pytest.raises(BadInput, match=r"ratings.csv: rater.* 7 are not in the data"):
        build_reward(given, tmp_path / "out", rules=RowRules(), device="cpu", seed=1)


def test_prompts_and_responses_must_come_in_equal_numbers(
    tiny_encoder: Path, ratings_file: Path, tmp_path: Path
) -> None:
    given = config(tiny_encoder).model_copy(update={"data": source(ratings_file)})
    reward = build_reward(given, tmp_path / "out", rules=RowRules(), device="cpu", seed=1)
    assert reward.score([], []).shape == (0, 2)
    with pytest.raises(BadInput, match="1 prompts for 2 responses"):
        reward.score([""], ["a", "b"])
