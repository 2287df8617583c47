"""Counterfactual texts by swap rules: the same text with one group's words in place of
another's, or None.

swap("She praised her brother.", "gender")    # "He praised his sister."
swap("A black comedy about trains.", "race")  # None: nothing there names people

Every swap can be undone: swapping twice gives the text again, or the rule refuses. What a rule
exchanges, and what it cannot do, is written in probes/data/swaps.json.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pandas as pd

from probes.texts.word_lists import WORD, limits, word_list

FAMILY_COLUMNS = ("prompt_id", "prompt", "family", "group", "rule", "source")
GENDERS = ("men", "women")
PRONOUNS = frozenset({"him", "his", "her", "hers"})


@dataclass(frozen=True)
class Rule:
    """One rule: `words` maps a word in lower case to its counterpart and the group (0 or 1) it
    names.

    Words in `nouns` need nothing more; the others count only before a noun for people. `need` are
    words of which the text must hold one, `refuse` those that have no counterpart. `pronouns`: him,
    his, her, hers are told apart by what stands around them.
    """

    name: str
    groups: tuple[str, str]
    words: Mapping[str, tuple[str, int]]
    nouns: frozenset[str] = frozenset()
    need: frozenset[str] = frozenset()
    refuse: frozenset[str] = frozenset()
    pronouns: bool = False
    limits: str = field(default="", repr=False)


@dataclass(frozen=True)
class Swap:
    """A swapped text, and the group that the text named before: 0 or 1 of the rule's groups, None
    if it named both.
    """

    text: str
    side: int | None


@cache
def rules() -> Mapping[str, Rule]:
    """All rules by name: gender, names_race, names_gender, race, age, class, sexuality, religion,
    disability.
    """
    data = word_list("swaps")
    names = data["names"]
    listed = frozenset(n.lower() for group in names.values() for n in group)
    gender = _both_ways(data["gender"])
    no_counterpart = frozenset(data["no_counterpart"])
    of_race = _both_ways(
        [
            *zip(names["white women's names"], names["Black women's names"], strict=True),
            *zip(names["white men's names"], names["Black men's names"], strict=True),
        ]
    )
    of_gender = _both_ways(
        [
            *zip(names["white men's names"], names["white women's names"], strict=True),
            *zip(names["Black men's names"], names["Black women's names"], strict=True),
        ]
    )
    known_limits = limits("swaps")
    all_rules = [
        Rule(
            "gender",
            GENDERS,
            gender,
            frozenset(gender),
            refuse=no_counterpart | listed,
            pronouns=True,
            limits=known_limits,
        ),
        Rule(
            "names_race",
            ("white people's names", "Black people's names"),
            of_race,
            listed,
            limits=known_limits,
        ),
        Rule(
            "names_gender",
            ("men's names", "women's names"),
            {**gender, **of_gender},
            frozenset(gender) | listed,
            need=listed,
            refuse=no_counterpart,
            pronouns=True,
            limits=known_limits,
        ),
    ]
    for name, one in data["descriptors"].items():
        words = _both_ways(one["pairs"])
        plural = frozenset(w for w in words if w.endswith("s"))
        all_rules.append(Rule(name, tuple(one["groups"]), words, plural, limits=known_limits))
    return {r.name: r for r in all_rules}


def swap(text: str, rule: str) -> str | None:
    """The text with the rule's words exchanged, in the same case; None where the rule finds nothing
    or refuses.

    It refuses words that have no counterpart in its list ("Mrs"), a "her" that may be him or his,
    and whatever it could not undo: swap(swap(text)) is the text. Raises ValueError for a rule that
    is not in `rules()`.
    """
    result = swapped(text, rule)
    return None if result is None else result.text


def swapped(text: str, rule: str) -> Swap | None:
    """As `swap`, with the group that the text named."""
    if rule not in rules():
        raise ValueError(f"rule {rule!r}: not known; expected one of {', '.join(rules())}")
    once = _once(text, rules()[rule])
    if once is None:
        return None
    # A swap that cannot be undone has lost something: two words of the text with one counterpart.
    back = _once(once.text, rules()[rule])
    if back is None or back.text != text:
        return None
    return once


# --- one pass


def _both_ways(pairs: Sequence[Sequence[str]]) -> dict[str, tuple[str, int]]:
    there: dict[str, tuple[str, int]] = {}
    back: dict[str, tuple[str, int]] = {}
    for first, second in pairs:
        there[first.lower()] = second.lower(), 0
        back[second.lower()] = first.lower(), 1
    # A word that stands on both sides counts for the second group.
    return there | back


def _once(text: str, rule: Rule) -> Swap | None:
    words = list(WORD.finditer(text))
    lower = [w.group().lower() for w in words]
    word_set = set(lower)
    if word_set & rule.refuse or (rule.need and not word_set & rule.need):
        return None
    new: dict[int, str] = {}
    sides = set()
    for i, word in enumerate(lower):
        if rule.pronouns and word in PRONOUNS:
            counterpart = _pronoun(text, words, lower, i)
            if counterpart is None:
                return None
            side = int(word.startswith("her"))
        elif word in rule.words and (word in rule.nouns or _before_person(text, words, lower, i)):
            counterpart, side = rule.words[word]
        else:
            continue
        new[i] = _in_case_of(words[i].group(), counterpart)
        sides.add(side)
        # The article has to fit the new word: "an uncle", but "a niece".
        if i and lower[i - 1] in ("a", "an") and _between(text, words, i - 1).isspace():
            article = "an" if counterpart[0] in "aeiou" else "a"
            new[i - 1] = _in_case_of(words[i - 1].group(), article)
    if not sides:
        return None
    named = sides.pop() if len(sides) == 1 else None
    return Swap(_replaced(text, words, new), named)


def _replaced(text: str, words: Sequence[re.Match[str]], new: Mapping[int, str]) -> str:
    parts, end = [], 0
    for i in sorted(new):
        parts += [text[end : words[i].start()], new[i]]
        end = words[i].end()
    return "".join([*parts, text[end:]])


def _in_case_of(old: str, new: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    if old[0].isupper():
        return new.capitalize()
    return new


def _between(text: str, words: Sequence[re.Match[str]], i: int) -> str:
    """What stands between word i and the next one, or the end of the text."""
    end = words[i + 1].start() if i + 1 < len(words) else len(text)
    return text[words[i].end() : end]


def _before_person(text: str, words: Sequence[re.Match[str]], lower: Sequence[str], i: int) -> bool:
    """Whether word i stands before a noun for people, with at most other descriptors between ("a
    young Black man").
    """
    adjectives, nouns = _descriptors()
    while i + 1 < len(words) and re.fullmatch(r",?\s+", _between(text, words, i)):
        i += 1
        if lower[i] in nouns:
            return True
        if lower[i] not in adjectives:
            return False
    return False


@cache
def _descriptors() -> tuple[frozenset[str], frozenset[str]]:
    data: dict[str, Any] = word_list("swaps")
    adjectives: set[str] = set()
    for rule in data["descriptors"].values():
        for pair in rule["pairs"]:
            adjectives.update(pair)
    return frozenset(adjectives), frozenset(data["person_nouns"])


@cache
def _around_her() -> tuple[frozenset[str], frozenset[str]]:
    data = word_list("swaps")
    return frozenset(data["after_object"]), frozenset(data["object_verbs"])


def _pronoun(text: str, words: Sequence[re.Match[str]], lower: Sequence[str], i: int) -> str | None:
    """The counterpart of him, his, her or hers; None where English leaves it open.

    "her" before a word of a closed class, punctuation or the end is him, else his; it is left open
    after a verb that may take a second object or a bare verb ("saw her leave"), before "and" and
    before a word in -ly.
    """
    word = lower[i]
    if word in ("him", "hers"):
        return {"him": "her", "hers": "his"}[word]
    function_words, object_verbs = _around_her()
    gap = _between(text, words, i)
    following = lower[i + 1] if i + 1 < len(words) else None
    alone = following is None or not gap.isspace() or following in function_words
    if word == "his":
        return "hers" if alone else "her"
    if alone:
        # A quotation mark or a dash after it does not end the phrase: the noun may come behind.
        quoted = (
            following is not None and not gap.isspace() and not re.search(r"[.,;:!?)\]\n]", gap)
        )
        if quoted or following in ("and", "or"):
            return None
        return "him"
    assert following is not None
    if (i and lower[i - 1] in object_verbs) or following.endswith("ly"):
        return None
    return "his"


# --- prompts


def families(prompts: Sequence[str], *, only: Sequence[str] | None = None) -> pd.DataFrame:
    """Counterfactual families made from plain prompts: a table with the columns FAMILY_COLUMNS, a
    row a prompt.

    A prompt gives one family for each rule that finds something in it and names one of its groups
    only: the prompt and its swap. One that holds a listed first name gives the family "names" of
    four: both races, both genders. `only` names the rules to use (of `rules()`, and "names" in
    place of names_race and names_gender); None means all. Two prompts that are each other's swap
    make one family. `source` is the position of the prompt in `prompts`; prompts in which no rule
    finds anything have no row, so that `len(set(table["source"]))` says how many could be used.
    Deterministic: ids are hashes of rule and text. Raises ValueError for an unknown rule, or a
    prompt that is no text.
    """
    known = ["names", *(r for r in rules() if not r.startswith("names_"))]
    for name in only or ():
        if name not in known:
            raise ValueError(f"only: {name!r} is not a rule; expected some of {', '.join(known)}")
    used = known if only is None else only
    rows: dict[str, dict[str, Any]] = {}
    for source, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise ValueError(f"prompts: item {source} is {type(prompt).__name__}; expected text")
        for name in used:
            versions = _four(prompt) if name == "names" else _two(prompt, name)
            # Sorted, so that a prompt and its swap name one family.
            family = f"{name}-{_hash(name, *sorted(versions))}"
            for text, group in versions.items():
                row = (f"cf-{_hash(name, family, text)}", text, family, group, name, source)
                rows.setdefault(row[0], dict(zip(FAMILY_COLUMNS, row, strict=True)))
    table = pd.DataFrame(list(rows.values()), columns=list(FAMILY_COLUMNS))
    return table.sort_values(["family", "group"], kind="stable", ignore_index=True)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _two(prompt: str, name: str) -> dict[str, str]:
    """Text -> group."""
    result = swapped(prompt, name)
    if result is None or result.side is None:
        return {}
    groups = rules()[name].groups
    return {prompt: groups[result.side], result.text: groups[1 - result.side]}


def _four(prompt: str) -> dict[str, str]:
    """Text -> group, for all four combinations of race and gender of the names in the text."""
    race = swapped(prompt, "names_race")
    gender = swapped(prompt, "names_gender")
    both = None if race is None else swapped(race.text, "names_gender")
    if race is None or gender is None or both is None or race.side is None or gender.side is None:
        return {}
    race_own, race_other = _own_and_other(("white", "Black"), race.side)
    gender_own, gender_other = _own_and_other(("men's names", "women's names"), gender.side)
    return {
        prompt: f"{race_own} {gender_own}",
        race.text: f"{race_other} {gender_own}",
        gender.text: f"{race_own} {gender_other}",
        both.text: f"{race_other} {gender_other}",
    }


def _own_and_other(groups: tuple[str, str], side: int) -> tuple[str, str]:
    """The group that the prompt named, and the one that its swap names."""
    return groups[side], groups[1 - side]
