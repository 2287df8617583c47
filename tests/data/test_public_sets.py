"""Every adapter against the real files: where each row of the published sets goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from restaudit.config import DataConfig, PromptSource, RowRules, TableSource
from restaudit.config.reading import load, recipe_names
from restaudit.data import Feedback, load_feedback, load_prompts, overlap
from restaudit.loop.sealing import split_prompts
from restaudit.models.artifacts import MIRROR
from restaudit.reward.leakage import leakage

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
COUNT = RowRules(empty="count")
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(
        not SHARED.is_dir(), reason=f"the folder of public data sets is absent: {SHARED}"
    ),
]


def feedback(path: str, name: str, **options: Any) -> Feedback:
    return load_feedback(
        TableSource(source=str(SHARED / path), format=name, options=options), COUNT
    )


def prompts(path: str, name: str, **options: Any) -> tuple[Any, Any]:
    source = PromptSource(source=str(SHARED / path), format=name, options=options)
    table, (report,) = load_prompts(DataConfig(prompts=(source,), rows=COUNT))
    return table, report


def test_the_lexicon_has_7506_words_and_ten_raters() -> None:
    found = feedback("vader/vader_lexicon.txt", "vader_lexicon")
    assert (found.report.read, found.report.used) == (7520, 7506)
    assert dict(found.report.dropped) == {"duplicate": 14}
    assert sorted(found.table["rater"].unique()) == [str(i) for i in range(10)]
    assert found.table["score"].between(-4, 4).all()


@pytest.mark.parametrize(
    ("name", "suffix", "read", "dropped"),
    [
        ("movieReviewSnippets", ".txt.gz", 10605, {"duplicate": 2}),
        ("amazonReviewSnippets", ".txt", 3708, {"duplicate": 11}),
        ("nytEditorialSnippets", ".txt.gz", 5190, {"duplicate": 71}),
        ("tweets", ".txt", 4200, {"its two files disagree": 195}),
    ],
)
def test_snippets_join_their_two_files(
    name: str, suffix: str, read: int, dropped: dict[str, int]
) -> None:
    found = feedback(
        f"vader/{name}_GroundTruth{suffix}",
        "vader_snippets",
        ratings=str(SHARED / f"vader/{name}_anonDataRatings{suffix}"),
    )
    assert found.report.read == read
    assert dict(found.report.dropped) == dropped
    assert found.table.groupby("item_id").size().min() >= 15


def test_hh_has_2307_pairs_on_one_context_of_which_four_have_an_empty_reply() -> None:
    found = feedback("hh_harmless_base_test/test.jsonl.gz", "hh")
    assert found.report.read == 2312
    assert dict(found.report.dropped) == {"different contexts": 5, "empty": 4}
    table, _ = prompts("hh_harmless_base_test/test.jsonl.gz", "hh")
    assert 600 < len(table) <= 662


def test_pandalm_has_six_rows_that_are_not_text() -> None:
    found = feedback("pandalm_test/testset-v1.json", "pandalm")
    assert found.report.read == 999
    assert found.report.dropped["response is not text"] == 6
    assert set(found.table["rater"]) == {"1", "2", "3"}
    table, _ = prompts("pandalm_test/testset-v1.json", "pandalm")
    assert len(table) == 170


def test_self_instruct_has_175_seed_tasks_and_252_user_tasks() -> None:
    seeds, _ = prompts("self_instruct/seed_tasks.jsonl", "self_instruct")
    users, _ = prompts("self_instruct/user_oriented_instructions.jsonl", "self_instruct")
    assert (len(seeds), len(users)) == (175, 252)
    assert all(len(r) == 1 for r in seeds["references"])


def test_xstest_has_250_safe_and_200_unsafe_prompts() -> None:
    table, _ = prompts("xstest/xstest_prompts.csv", "xstest")
    assert table["source"].value_counts().to_dict() == {"xstest/safe": 250, "xstest/unsafe": 200}
    safe, _ = prompts("xstest/xstest_prompts.csv", "xstest", label="safe")
    assert len(safe) == 250


def test_d2t_joins_its_three_sets() -> None:
    more = [str(SHARED / f"d2t_nlg_ratings/{n}.jsonl.gz") for n in ("SFHOT", "BAGEL")]
    found = feedback("d2t_nlg_ratings/SFRES.jsonl.gz", "d2t", more=more)
    assert found.report.read == 1181 + 875 + 404
    assert found.table["score"].between(1, 6).all()
    table, _ = prompts("d2t_nlg_ratings/SFRES.jsonl.gz", "d2t", more=more)
    assert all(table["references"].map(len) > 0)


@pytest.mark.parametrize("name", ["harmless", "instructions", "d2t"])
def test_a_recipe_s_reward_data_judge_data_and_prompts_share_no_prompt(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, str(SHARED))
    config: Any = load(name)
    splits, report, _ = split_prompts(config)
    leakage(
        config.reward, config.data.rows, config.data.splits, splits
    )  # refuses what a run would refuse
    assert {s: len(t) for s, t in splits.items()} == dict(config.data.splits.sizes)
    assert (
        max(part["share"] for part in report["near"].values())
        <= config.data.splits.max_near_duplicate_share
    )
    train = set(load_feedback(config.reward.data, config.data.rows).table["prompt"])
    judge = set()
    if config.human.kind == "model":
        judge = set(load_feedback(config.human.data, config.data.rows).table["prompt"])
    assert not train & judge
    for split in splits.values():
        assert overlap(sorted(train | judge), list(split["prompt"]))["exact"] == 0


def test_the_snippet_recipe_resolves_from_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, str(SHARED))
    assert "reviews_snippets" in recipe_names()
    config: Any = load("reviews_snippets")
    assert config.reward.data == config.human.data
    found = load_feedback(config.reward.data, config.data.rows)
    panels = set(config.reward.train_raters), set(config.human.judge_raters)
    assert not panels[0] & panels[1]
    assert all(found.table["rater"].isin(p).any() for p in panels)
