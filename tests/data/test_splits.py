"""Prompts, splits and what they have in common."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restaudit.config import DataConfig, PromptSource, SplitConfig, TableSource
from restaudit.data import as_text, load_prompts, make_splits, overlap, prompt_id
from restaudit.data.near_duplicates import jaccard, near_pairs, shingles
from restaudit.errors import BadInput
from restaudit.evidence.record import PROMPTS

WORDS = st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), max_size=9).map(" ".join)
REVIEWS = PromptSource(source="builtin:reviews", format="reviews")


def frame(
    prompts: list[str],
    use: tuple[str, ...] = ("grow", "d_eval", "audit"),
    family: str | None = None,
) -> pd.DataFrame:
    rows = [(prompt_id(p), p, [], None, family, "t", use) for p in prompts]
    return pd.DataFrame(
        rows, columns=["prompt_id", "prompt", "references", "group", "family", "source", "use"]
    )


def numbered(count: int) -> list[str]:
    return [f"prompt number {i} about topic {i * 7}" for i in range(count)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def load(*sources: PromptSource, **config: Any) -> Any:
    return load_prompts(DataConfig(prompts=sources, **config))


@settings(max_examples=20)
@given(st.permutations(numbered(60)), st.integers(0, 99))
def test_splits_are_disjoint_and_ignore_file_order_and_seed(order: list[str], seed: int) -> None:
    splits, report = make_splits(frame(order), SplitConfig(), seed)
    usual, _ = make_splits(frame(numbered(60)), SplitConfig(), 0)
    for name, table in splits.items():
        assert tuple(table.columns) == PROMPTS
        assert table.equals(usual[name])
    for a, b in combinations(splits.values(), 2):
        assert not set(a["prompt_id"]) & set(b["prompt_id"])
    assert sum(map(len, splits.values())) == 60
    assert set(report["exact"].values()) == {0}


@settings(max_examples=20)
@given(st.permutations(numbered(80)))
def test_sizes_choose_by_hash_and_stay_on_their_side(order: list[str]) -> None:
    sizes: Any = {"grow": 10, "d_eval": 4, "audit": 8}
    capped, _ = make_splits(frame(order), SplitConfig(sizes=sizes), 5)
    usual, _ = make_splits(frame(numbered(80)), SplitConfig(sizes=sizes), 5)
    whole, _ = make_splits(frame(numbered(80)), SplitConfig(), 5)
    for name, table in capped.items():
        assert len(table) == sizes[name]
        assert table.equals(usual[name])
        assert set(table["prompt_id"]) <= set(whole[name]["prompt_id"])


def test_another_seed_chooses_other_prompts_within_the_same_split() -> None:
    config = SplitConfig(sizes={"grow": 10})
    a, b = (make_splits(frame(numbered(80)), config, seed)[0]["grow"] for seed in (1, 2))
    assert set(a["prompt_id"]) != set(b["prompt_id"])


def test_a_source_goes_only_where_it_may() -> None:
    both = pd.concat(
        [frame(numbered(60)), frame([f"x {i}" for i in range(30)], use=("audit",))],
        ignore_index=True,
    )
    splits, _ = make_splits(both, SplitConfig(), 0)
    assert sum(p.startswith("x ") for p in splits["audit"]["prompt"]) == 30
    only, _ = make_splits(
        pd.concat([frame(numbered(60), use=("grow", "d_eval")), frame(["x"], use=("audit",))]),
        SplitConfig(),
        0,
    )
    assert only["audit"]["prompt"].tolist() == ["x"]


def test_families_never_straddle_and_are_capped_whole() -> None:
    prompts, _ = load(REVIEWS)
    wanted: Any = {"grow": 4, "d_eval": 0, "audit": 16}
    splits, _ = make_splits(
        prompts, SplitConfig(sizes={"d_eval": 24}, counterfactual_families=wanted), 3
    )
    seen: dict[str, str] = {}
    for name, table in splits.items():
        variants = table[table["family"].notna()]
        assert variants["family"].nunique() == wanted[name]
        assert all(n == 4 for n in variants.groupby("family")["group"].nunique())
        assert all(seen.setdefault(f, name) == name for f in variants["family"])


def test_too_few_prompts_for_a_size_is_an_error() -> None:
    with pytest.raises(
        BadInput, match=r"sizes\.audit is 50, but only \d+ prompts fall into this split"
    ):
        make_splits(frame(numbered(60)), SplitConfig(sizes={"audit": 50}), 0)
    with pytest.raises(BadInput, match=r"counterfactual_families\.audit is 1, but only 0 families"):
        make_splits(frame(numbered(60)), SplitConfig(counterfactual_families={"audit": 1}), 0)
    with pytest.raises(BadInput, match="no prompt falls into audit"):
        make_splits(frame(numbered(60), use=("grow", "d_eval")), SplitConfig(), 0)


def test_the_same_prompt_under_two_families_is_caught() -> None:
    parts = [frame(["the very same words"], family=f"f{i}") for i in range(12)]
    with pytest.raises(BadInput, match="are both in grow and"):
        make_splits(pd.concat(parts, ignore_index=True), SplitConfig(), 0)


def test_near_duplicates_are_refused_above_the_limit_or_dropped_and_counted() -> None:
    copies = [f"{'a b c d e f g h i j k l m n o p q r s t ' * 1}{i}" for i in range(40)]
    prompts = frame(copies + numbered(60))
    with pytest.raises(
        BadInput, match=r"have a near-duplicate in grow \(limit 2\.0%, Jaccard ≥ 0\.8\)"
    ):
        make_splits(prompts, SplitConfig(), 0)
    splits, report = make_splits(prompts, SplitConfig(near_duplicates="drop"), 0)
    assert all(part["pairs"] == 0 for part in report["near"].values())
    assert report["dropped"]["audit"] == 0 < report["dropped"]["grow"]
    assert sum(map(len, splits.values())) + sum(report["dropped"].values()) == 100
    accepted, report = make_splits(prompts, SplitConfig(max_near_duplicate_share=1), 0)
    assert report["near"]["grow~audit"]["pairs"] > 0
    assert sum(map(len, accepted.values())) == 100


@given(
    st.lists(WORDS, max_size=12),
    st.lists(WORDS, max_size=12),
    st.sampled_from([0.3, 0.5, 0.7, 0.8, 1.0]),
)
def test_the_prefix_filter_misses_no_pair(left: list[str], right: list[str], limit: float) -> None:
    found = {(i, j) for i, j, _ in near_pairs(left, right, limit)}
    every = {
        (i, j)
        for i, a in enumerate(left)
        for j, b in enumerate(right)
        if jaccard(shingles(a), shingles(b)) >= limit
    }
    assert found == every


def test_overlap_counts_exact_and_near() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    found = overlap([text, "other words here"], [text.upper(), f"{text} more", "nothing in common"])
    assert (found["exact"], found["near"], found["of"]) == (1, 1, 3)
    assert found["share"] == pytest.approx(2 / 3)
    assert overlap(["a"], [])["share"] is None


def test_the_builtin_prompts_are_many_distinct_short_and_in_families() -> None:
    prompts, (report,) = load(REVIEWS)
    plain, variants = prompts[prompts["family"].isna()], prompts[prompts["family"].notna()]
    assert len(plain) >= 480
    assert variants["family"].nunique() >= 60
    assert variants["group"].value_counts().nunique() == 1
    assert report.dropped == {}
    assert prompts["prompt"].str.split().str.len().max() <= 28
    near = sum(i < j for i, j, _ in near_pairs(list(plain["prompt"]), list(plain["prompt"]), 0.8))
    assert near <= len(plain) // 50
    # One sentence, four names: taking the first names out leaves one text.
    names = {w for p in variants["prompt"] for w in p.replace("'s", "").split()}
    for _, family in variants.groupby("family"):
        texts = {frozenset(p.split()) for p in family["prompt"]}
        assert len(texts) == 4
        assert len(frozenset.intersection(*texts)) >= min(map(len, texts)) - 1
    assert {"Lakisha", "Emily", "Jamal", "Greg"} <= names


def test_references_of_one_prompt_are_joined(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "references": ["a", "b"]},
        {"prompt": "P ", "reference": "b"},
        {"prompt": "q", "reference": ""},
    ]
    prompts, (report,) = load(PromptSource(source=jsonl(tmp_path / "p.jsonl", rows)))
    assert prompts["references"].tolist() == [["a", "b"], []]
    assert dict(report.dropped) == {"same prompt, references joined": 1}


def test_csv_prompts_may_hold_chats_and_lists(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi"}]
    pd.DataFrame([{"prompt": json.dumps(chat), "references": json.dumps(["yo", "hey"])}]).to_csv(
        tmp_path / "p.csv", index=False
    )
    prompts, _ = load(PromptSource(source=str(tmp_path / "p.csv")))
    assert as_text(prompts.loc[0, "prompt"]) == "System: be short\n\nHuman: hi"
    assert prompts.loc[0, "references"] == ["yo", "hey"]


def test_prompts_of_an_excluded_source_are_left_out_and_counted(tmp_path: Path) -> None:
    pairs = jsonl(tmp_path / "f.jsonl", [{"prompt": "P1", "chosen": "a", "rejected": "b"}])
    mine = jsonl(tmp_path / "p.jsonl", [{"prompt": "p1"}, {"prompt": "p2"}])
    prompts, (report,) = load(PromptSource(source=mine, exclude=(TableSource(source=pairs),)))
    assert prompts["prompt"].tolist() == ["p2"]
    assert dict(report.dropped) == {"in an excluded source": 1}


def test_a_prompt_belongs_to_the_first_source_that_gives_it(tmp_path: Path) -> None:
    a, b = (jsonl(tmp_path / f"{n}.jsonl", [{"prompt": "same"}, {"prompt": n}]) for n in "ab")
    prompts, reports = load(
        PromptSource(source=a, use=("grow",)), PromptSource(source=b, use=("audit",))
    )
    assert prompts[["prompt", "use"]].to_numpy().tolist() == [
        ["same", ("grow",)],
        ["a", ("grow",)],
        ["b", ("audit",)],
    ]
    assert [dict(r.dropped) for r in reports] == [{}, {"already given by an earlier source": 1}]


def test_a_prompt_limit_keeps_families_together() -> None:
    prompts, (report,) = load(REVIEWS.model_copy(update={"limit": 100}))
    assert len(prompts) == 100
    sizes = prompts[prompts["family"].notna()].groupby("family").size()
    assert (sizes < 4).sum() <= 1
    assert dict(report.dropped) == {"over the limit of 100": 788}


def test_bad_prompt_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match="format 'vader_lexicon' holds no prompts; expected table, hh"
    ):
        load(PromptSource(source="x", format="vader_lexicon"))
    with pytest.raises(BadInput, match="expected builtin:reviews"):
        load(PromptSource(source="builtin:poems", format="reviews"))
    empty = tmp_path / "p.jsonl"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(BadInput, match=r"data\.prompts: no usable prompt in"):
        load(PromptSource(source=str(empty)))
    xstest = tmp_path / "x.csv"
    xstest.write_text("prompt,label\nhello,safe\n", encoding="utf-8")
    with pytest.raises(
        BadInput, match=r"options\.label is 'good'; expected one of all, safe, unsafe"
    ):
        load(PromptSource(source=str(xstest), format="xstest", options={"label": "good"}))
