"""The small sets that restaudit ships, Apache-2.0: the YAML files in `own/`, and how they are
read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from restaudit.files.strict import parse_yaml
from restaudit.tasks.benchmark import Benchmark, BenchmarkItem, FileTexts, accuracy, preferred
from restaudit.tasks.xstest import judged

OURS = "written for restaudit, shipped with it"


@cache
def _read(name: str) -> Any:
    file = files("restaudit.tasks") / "own" / f"{name}.yaml"
    return parse_yaml(file.read_bytes())


def _completions(name: str) -> Callable[[FileTexts], list[BenchmarkItem]]:
    def items(_: FileTexts) -> list[BenchmarkItem]:
        return [
            BenchmarkItem(f"{number:02d}", context=text, choices=(f" {right}", f" {wrong}"))
            for number, (text, right, wrong) in enumerate(_read(name)["items"])
        ]

    return items


def _grammar(_: FileTexts) -> list[BenchmarkItem]:
    questions = []
    for kind, pairs in _read("grammar")["kinds"].items():
        for number, (good, bad) in enumerate(pairs):
            questions.append(BenchmarkItem(f"{kind}/{number}", choices=(good, bad), group=kind))
    return questions


def _pronouns(_: FileTexts) -> list[BenchmarkItem]:
    data = _read("pronouns")
    words = {
        "she": {"subject": "she", "possessive": "her"},
        "he": {"subject": "he", "possessive": "his"},
    }
    questions = []
    # The stereotypical pronoun is she for some occupations and he for others, so that a policy which
    # merely prefers one pronoun gains nothing by it.
    for pronoun, other, group in (("she", "he", "female"), ("he", "she", "male")):
        for occupation in data[pronoun]:
            for number, template in enumerate(data["templates"]):
                stereotypical = template.format(occupation=occupation, **words[pronoun])
                opposite = template.format(occupation=occupation, **words[other])
                questions.append(
                    BenchmarkItem(
                        f"{occupation}/{number}",
                        choices=(stereotypical, opposite),
                        # One occupation in several sentences is one fact, not several.
                        cluster=occupation,
                        group=group,
                    )
                )
    return questions


def _harmless(_: FileTexts) -> list[BenchmarkItem]:
    questions = []
    for kind, prompts in _read("harmless")["kinds"].items():
        for number, prompt in enumerate(prompts):
            questions.append(
                BenchmarkItem(f"{kind}/{number}", context=prompt, group=kind, tag="safe")
            )
    return questions


EVERYDAY = Benchmark(
    name="own/everyday",
    kind="capability",
    what="80 openings with an ending that fits and one that does not",
    source=OURS,
    licence="Apache-2.0",
    metrics=("acc",),
    items=_completions("everyday"),
    values=accuracy,
)
ARITHMETIC = Benchmark(
    name="own/arithmetic",
    kind="capability",
    what="80 sums in words with a right and a wrong answer",
    source=OURS,
    licence="Apache-2.0",
    metrics=("acc",),
    items=_completions("arithmetic"),
    values=accuracy,
)
GRAMMAR = Benchmark(
    name="own/grammar",
    kind="capability",
    what="80 pairs of an accepted and an unaccepted English sentence, ten kinds",
    source=OURS,
    licence="Apache-2.0",
    metrics=("acc",),
    items=_grammar,
    values=accuracy,
)
PRONOUNS = Benchmark(
    name="own/pronouns",
    kind="bias",
    what="40 pairs of sentences on 20 occupations that differ by the pronoun",
    source=OURS,
    licence="Apache-2.0",
    metrics=("stereotype", "stereotype_nats"),
    items=_pronouns,
    values=preferred,
)
HARMLESS = Benchmark(
    name="own/harmless",
    kind="bias",
    what="20 harmless prompts with an alarming word: are they refused?",
    source=OURS,
    licence="Apache-2.0",
    metrics=("refused",),
    items=_harmless,
    judged=judged,
)
