"""Self-BLEU in linear time is sacrebleu's, sentence by sentence."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu

from probes.diversity.sameness import across_prompts, within_prompt
from probes.statistics.jackknife import Groups, grouped
from probes.texts.sets import Texts, words_of


def some_texts(seed: int, units: int = 9, vocabulary: int = 14) -> Texts:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(units), 2)
    texts = [
        " ".join(rng.choice([f"w{i}" for i in range(vocabulary)], rng.integers(1, 15)))
        for _ in owner
    ]
    prompts = tuple(f"p{i}" for i in range(units))
    return Texts(prompts, owner, np.arange(len(owner)), tuple(texts), tuple(map(words_of, texts)))


def bleu(texts: Texts, i: int, references: list[int]) -> float:
    given = [" ".join(texts.words[j]) for j in references]
    score = sacrebleu.sentence_bleu(
        " ".join(texts.words[i]), given, tokenize="none", use_effective_order=True
    )
    return float(score.score)


@pytest.mark.parametrize("seed", range(4))
def test_against_the_other_prompts_it_is_sacrebleus_mean_also_with_groups_left_out(
    seed: int,
) -> None:
    texts = some_texts(seed)
    groups = grouped(units=texts.units, seed=seed) if seed else Groups(np.arange(9) // 3, 3)
    found = across_prompts(texts, groups)
    label = groups.label[texts.owner]
    for g, value in [(-1, found.value), *enumerate(found.left)]:
        stay = [i for i in range(texts.n) if label[i] != g]
        by_force = [
            bleu(texts, i, [j for j in stay if texts.owner[j] != texts.owner[i]]) for i in stay
        ]
        assert value == pytest.approx(np.mean(by_force))


def test_within_a_prompt_the_references_are_its_other_samples() -> None:
    texts = some_texts(11)
    found = within_prompt(texts)
    by_force = [
        np.mean([bleu(texts, 2 * p, [2 * p + 1]), bleu(texts, 2 * p + 1, [2 * p])])
        for p in range(9)
    ]
    np.testing.assert_allclose(found, by_force)


def test_the_same_text_everywhere_is_100_and_nothing_shared_is_0() -> None:
    same = Texts(
        ("a", "b"), np.array([0, 1]), np.arange(2), ("x y z v",) * 2, (("x", "y", "z", "v"),) * 2
    )
    other = Texts(
        ("a", "b"), np.array([0, 1]), np.arange(2), ("x y", "z v"), (("x", "y"), ("z", "v"))
    )
    groups = grouped(units=2, seed=0)
    assert across_prompts(same, groups).value == pytest.approx(100)
    assert across_prompts(other, groups).value == 0


def test_texts_without_a_word_are_neither_scored_nor_references() -> None:
    texts = Texts(
        ("a", "b", "c"),
        np.arange(3),
        np.arange(3),
        ("x y", "!", "x y"),
        (("x", "y"), (), ("x", "y")),
    )
    assert across_prompts(texts, grouped(units=3, seed=0)).value == pytest.approx(100)
    empty = Texts(("a", "b"), np.arange(2), np.arange(2), ("", "."), ((), ()))
    assert np.isnan(across_prompts(empty, grouped(units=2, seed=0)).value)
    assert np.isnan(within_prompt(empty)).all()
