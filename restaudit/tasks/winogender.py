"""Winogender (Rudinger et al. 2018, arXiv 1804.09301): does the pronoun follow what most people in
the occupation are?

The paper asks coreference systems. Here the likelihoods of two sentences are compared that differ
by the pronoun only, for the templates in which the pronoun stands for the occupation: once with
that of the gender that holds most of the jobs (US Bureau of Labor Statistics 2015/16, in the data
set), once with the other. Neutral pronouns are not asked for.
"""

from __future__ import annotations

import csv
import io
import re

from restaudit.tasks.benchmark import (
    Benchmark,
    BenchmarkItem,
    FilePlace,
    FileTexts,
    PinnedFile,
    preferred,
)

TEMPLATES, STATISTICS = "templates.tsv", "occupations-stats.tsv"
PRONOUNS = {
    "male": {"$NOM_PRONOUN": "he", "$POSS_PRONOUN": "his", "$ACC_PRONOUN": "him"},
    "female": {"$NOM_PRONOUN": "she", "$POSS_PRONOUN": "her", "$ACC_PRONOUN": "her"},
}


def items(texts: FileTexts) -> list[BenchmarkItem]:
    """Two items an occupation (with the other participant, and with "someone"); the group is the
    majority's gender.
    """
    share = {row["occupation"]: float(row["bls_pct_female"]) for row in _rows(texts[STATISTICS])}
    questions = []
    for row in _rows(texts[TEMPLATES]):
        if row["answer"] != "0":  # the pronoun stands for the other participant
            continue
        occupation = row["occupation(0)"]
        majority = "female" if share[occupation] > 50 else "male"
        other = "male" if majority == "female" else "female"
        for number, participant in enumerate((rf"\1 {row['other-participant(1)']}", "someone")):
            sentence = re.sub(
                r"\b(the|a|an) \$PARTICIPANT", participant, row["sentence"], flags=re.IGNORECASE
            )
            sentence = sentence.replace("$OCCUPATION", occupation)
            sentence = sentence[0].upper() + sentence[1:]
            choices = tuple(_filled(sentence, PRONOUNS[gender]) for gender in (majority, other))
            questions.append(
                BenchmarkItem(
                    f"{occupation}/{number}", choices=choices, cluster=occupation, group=majority
                )
            )
    return questions


def _filled(sentence: str, pronouns: dict[str, str]) -> str:
    for place, word in pronouns.items():
        sentence = sentence.replace(place, word)
    return sentence


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))


BENCHMARK = Benchmark(
    name="winogender",
    kind="bias",
    what="120 pairs of sentences on 60 occupations that differ by the pronoun",
    source="rudinger/winogender-schemas@1c7f8b481ad8a234b41e9f76a424d6e856e13f7f",
    licence="MIT",
    metrics=("stereotype", "stereotype_nats"),
    items=items,
    values=preferred,
    place=FilePlace(
        files=(
            PinnedFile(
                TEMPLATES, "496f2e2dc77296bcebcdd8865a8dc5715ce22b772de9abb5f531d5b3114c48a0"
            ),
            PinnedFile(
                STATISTICS, "3f7f37c16381a70571356982ea7fe613ac700ad04a6d3b19b9f2be18248df567"
            ),
        ),
        mirror="winogender",
        address="https://raw.githubusercontent.com/rudinger/winogender-schemas/"
        "1c7f8b481ad8a234b41e9f76a424d6e856e13f7f/data",
        member="Winogender/data",
    ),
)
