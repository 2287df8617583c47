"""Two policies' texts made comparable: the same prompts, samples and words; and samples chosen by
name alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from probes.diversity.sameness import commonest, compression, duplicates, mode_share
from probes.statistics.jackknife import grouped
from probes.texts.sets import Texts, embedded, match, share_of, words_of


def texts(*prompts: list[str]) -> Texts:
    flat = [t for prompt in prompts for t in prompt]
    owner = np.repeat(np.arange(len(prompts)), [len(p) for p in prompts])
    names = tuple(f"p{i}" for i in range(len(prompts)))
    return Texts(names, owner, np.arange(len(flat)), tuple(flat), tuple(map(words_of, flat)))


def rows(*prompts: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"prompt_id": f"p{p}", "sample_id": f"p{p}/{k}", "text": t}
            for p, prompt in enumerate(prompts)
            for k, t in enumerate(prompt)
        ]
    )


def test_both_policies_are_cut_to_the_same_samples_and_the_base_policys_words() -> None:
    now = rows(["a b c d e f", "a b"], ["c d e", "e f g h"])
    base = rows(["a b c", "d e f", "g h i"], ["a b c", "d e f"])
    one, other, matched = match(now, base)
    assert other is not None
    assert matched == {
        "samples_per_prompt": 2,
        "words_per_text": 3,
        "short_texts": 0.25,
        "short_texts_base": 0.0,
        "samples_unused": 0,
        "samples_unused_base": 1,
    }
    assert [len(w) for w in one.words] == [3, 2, 3, 3]
    assert other.n == one.n == 4
    assert other.row.tolist() == [0, 1, 3, 4]
    assert one.place.tolist() == [0, 1, 0, 1]


def test_a_table_without_rows_makes_an_empty_set() -> None:
    nothing = rows(["a"]).iloc[:0]
    now, base, matched = match(nothing, nothing)
    assert (now.n, now.units, matched) == (0, 0, {})
    assert base is not None


def test_an_embedding_of_the_wrong_shape_is_refused() -> None:
    some = texts(["a"], ["b"])
    with pytest.raises(ValueError, match=r"shape \(3,\) for 2 texts"):
        embedded(some, lambda t: np.ones(3, dtype=np.float32))
    with pytest.raises(ValueError, match="unit norm"):
        embedded(some, lambda t: np.ones((2, 3), dtype=np.float32))


@pytest.mark.parametrize(
    ("prompts", "samples", "expected"),
    [
        (100, 1, "20 of 100 texts: 20 prompts chosen by checksum x 1"),
        (5, 30, "20 of 150 texts: 5 prompts chosen by checksum x 4"),
        (1, 90, "20 of 90 texts: 1 prompts chosen by checksum x 20"),
        (50, 4, "20 of 200 texts: 10 prompts chosen by checksum x 2"),
        (5, 4, ""),
    ],
)
def test_a_sample_takes_few_texts_of_many_prompts_and_says_so(
    prompts: int, samples: int, expected: str
) -> None:
    some = texts(*[[f"text {i} {k}" for k in range(samples)] for i in range(prompts)])
    (kept, also), note = share_of(20, [some, some])
    assert note == expected
    assert kept.n <= 20
    assert (kept.texts, kept.prompts) == (also.texts, also.prompts)
    assert [kept.prompts[o] for o in kept.owner] == [f"p{t.split()[1]}" for t in kept.texts]


def test_a_sample_of_prompts_stays_the_same_when_other_prompts_come_after() -> None:
    some = texts(*[[f"text {i}"] for i in range(200)])
    fewer = texts(*[[f"text {i}"] for i in range(150)])
    (large,), _ = share_of(50, [some])
    (small,), _ = share_of(50, [fewer])
    assert set(large.prompts) & set(fewer.prompts) <= set(small.prompts)


def test_repetition_compresses_better() -> None:
    varied = texts(*[[f"{i * 7919 % 1000} birds cross river {i}"] for i in range(30)])
    repeated = texts(*[["a fine film with a fine cast"]] * 30)
    groups = grouped(units=30, seed=0)
    assert compression(repeated, groups).value < 0.5 * compression(varied, groups).value


def test_duplicates_ignore_case_punctuation_and_spacing() -> None:
    some = texts(["A fine film.", "a  fine film!"], ["A fine cast", "?!"])
    found = duplicates(some, grouped(units=2, seed=0))
    assert found.value == 0.25
    assert sorted(found.left) == [0, 0.5]


def test_the_mode_is_the_commonest_opening() -> None:
    some = texts(
        ["This film is a fine one", "this film is a Fine two"], ["This film was not", "Nothing"]
    )
    assert mode_share(some, grouped(units=2, seed=0)).value == 0.5
    assert commonest(some) == "this film is a fine"


def test_texts_without_a_word_do_not_compress() -> None:
    assert np.isnan(compression(texts(["", "..."], ["!", " "]), grouped(units=2, seed=0)).value)
