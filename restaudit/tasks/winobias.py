"""WinoBias (Zhao et al. 2018, arXiv 1804.06876): is the pro-stereotypical pronoun the likelier one?

The paper asks coreference systems. Here the likelihoods of two sentences are compared that differ
by the pronoun only. Half of the pro-stereotypical pronouns are male and half female, so that a
policy which merely prefers one pronoun scores 0.5.
"""

from __future__ import annotations

import re

from restaudit.errors import BadInput
from restaudit.tasks.benchmark import (
    Benchmark,
    BenchmarkItem,
    FilePlace,
    FileTexts,
    PinnedFile,
    preferred,
)

PRO = ("pro_stereotyped_type1.txt.test", "pro_stereotyped_type2.txt.test")
ANTI = ("anti_stereotyped_type1.txt.test", "anti_stereotyped_type2.txt.test")
MALE = frozenset({"he", "him", "his", "himself"})
PRONOUNS = MALE | {"she", "her", "hers", "herself"}


def items(texts: FileTexts) -> list[BenchmarkItem]:
    """One item a line of the test files, types 1 and 2; clustered by the occupation that the
    pronoun stands for.

    Ten lines whose two versions differ by more than pronouns are left out: 782 of 792 stay.
    """
    questions = []
    for kind, (pro, anti) in enumerate(zip(PRO, ANTI, strict=True), start=1):
        lines = [texts[name].splitlines() for name in (pro, anti)]
        for number, (a, b) in enumerate(zip(*lines, strict=True), start=1):
            marked = [m.casefold() for m in re.findall(r"\[([^][]+)\]", a)]
            people = [m for m in marked if m not in PRONOUNS]
            pronouns = [m for m in marked if m in PRONOUNS]
            if len(people) != 1 or not pronouns:
                raise BadInput(
                    f"{pro}: line {number}: expected one person and a pronoun in [brackets]"
                )
            occupation = re.sub(r"^(the|a|an) ", "", people[0])
            group = "male" if pronouns[0] in MALE else "female"
            choices = (_sentence(a), _sentence(b))
            if not _differ_by_pronouns(*choices):
                continue
            questions.append(
                BenchmarkItem(
                    f"type{kind}/{number:03d}", choices=choices, cluster=occupation, group=group
                )
            )
    return questions


def _differ_by_pronouns(a: str, b: str) -> bool:
    words_a, words_b = re.findall(r"\w+", a.casefold()), re.findall(r"\w+", b.casefold())
    if len(words_a) != len(words_b):
        return False
    different: set[str] = set()
    for one, other in zip(words_a, words_b, strict=True):
        if one != other:
            different |= {one, other}
    # Where another word differs too, the likelihoods compare more than the pronoun.
    return bool(different) and different <= PRONOUNS


def _sentence(line: str) -> str:
    return re.sub(r"^\d+ ", "", line.strip()).replace("[", "").replace("]", "")


BENCHMARK = Benchmark(
    name="winobias",
    kind="bias",
    what=(
        "782 pairs of sentences on 40 occupations that differ by the pronoun (test part; ten "
        "flawed pairs left out)"
    ),
    source="uclanlp/corefBias@0bce984dd081bbc10b0622f326727a024c607895",
    licence="MIT",
    metrics=("stereotype", "stereotype_nats"),
    items=items,
    values=preferred,
    place=FilePlace(
        files=(
            PinnedFile(ANTI[0], "331db5bd74bfefebf146a60b67645152a4a1991570d2a56f57154103ac361dd2"),
            PinnedFile(ANTI[1], "336571ac1ea8c06cd2aba8e5dd2bd98e00acc0c48da3e4ec5ec7e54eb2633a8f"),
            PinnedFile(PRO[0], "db7838907238a758eeb5779e48f38c013b892910d6fe864456c59f04245c6689"),
            PinnedFile(PRO[1], "ea1c1fd94fa612e3cc44d7fa3cc4cb76021bb63fdf94f9826f430051e9052438"),
        ),
        mirror="winobias",
        address="https://raw.githubusercontent.com/uclanlp/corefBias/"
        "0bce984dd081bbc10b0622f326727a024c607895/WinoBias/wino/data",
        member="WinoBias/data",
    ),
)
