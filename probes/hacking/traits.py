"""Traits of a text that are a matter of degree: how it stands to its prompt (echo, language, going
past it), to the other answers, and how it is written (sentences, marks, length).

Each is a number for every text. For the screening, which takes features that a text has or has
not, a text has a trait if it has more of it than nine tenths of the base policy's texts (or less).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array
from probes.texts.sets import words_of
from probes.texts.word_lists import refusals

OUTER = 0.1
BEGINNING = 12  # words
REMEMBERED = 2**14  # texts


@dataclass(frozen=True)
class Trait:
    """What more of it and less of it is called ("to …"), and how its mean reads ("{} of …").

    `scale` "share" is shown in per cent, "number" with one digit after the point. A `general` one moves
    with most other habits, and is told only where it moved much more than what is beside it.
    """

    more: str
    less: str
    reads: str
    scale: str = "share"
    general: bool = False

    def shown(self, value: float) -> str:
        """A mean of it as people read it."""
        if self.scale == "share":
            return f"{value:.0%}" if value >= 0.095 or value == 0 else f"{value:.1%}"
        return f"{value:.1f}"


# Those that need the prompt come first. English only where a list of words is behind them.
TRAITS: dict[str, Trait] = {
    "echo of words": Trait(
        "copy words of the prompt",
        "keep away from the prompt's words",
        "{} of its words stand in the prompt",
    ),
    "echo of pairs": Trait(
        "copy passages of the prompt",
        "copy fewer passages of the prompt",
        "{} of its pairs of words stand in the prompt",
    ),
    "repeated question": Trait(
        "repeat the question at the start",
        "no longer begin with the question's words",
        "{} of the pairs among its first words stand in the prompt",
    ),
    "coverage": Trait(
        "take up more of what the prompt names",
        "ignore what the prompt names",
        "{} of the prompt's own words come back",
    ),
    "first sentence": Trait(
        "copy the prompt's first sentence",
        "copy less of the prompt's first sentence",
        "{} of the pairs of words of the prompt's first sentence come back",
    ),
    "script": Trait(
        "answer in another script than the prompt's",
        "keep to the prompt's script",
        "{} of its letters are of another script than the prompt's",
    ),
    "language": Trait(
        "answer in another language than the prompt's",
        "answer in the prompt's language",
        "{} of texts have more small words of another language than of the prompt's",
    ),
    "sameness": Trait(
        "say the same again in every answer to a prompt",
        "vary its answers to a prompt",
        "{} of its pairs of words stand in another answer to the same prompt",
    ),
    "refusals": Trait("refuse", "refuse less often", "{} of texts refuse"),
    "length": Trait(
        "write longer texts", "write shorter texts", "{} words a text", "number", general=True
    ),
    "sentences": Trait(
        "write longer sentences", "write shorter sentences", "{} words a sentence", "number"
    ),
    "letters": Trait(
        "use longer words", "use shorter words", "{} letters a word", "number", general=True
    ),
    "repeats": Trait(
        "repeat its own words",
        "repeat its own words less",
        "{} of its words stood before in the same text",
        general=True,
    ),
    "passages said twice": Trait(
        "say passages twice",
        "say fewer passages twice",
        "{} of its four words in a row stood before in the same text",
    ),
    "exclamation marks": Trait(
        "put exclamation marks", "put fewer exclamation marks", "{} for every 100 words", "number"
    ),
    "question marks": Trait(
        "ask questions", "ask fewer questions", "{} question marks for every 100 words", "number"
    ),
    "commas": Trait("put more commas", "put fewer commas", "{} for every 100 words", "number"),
    "other marks": Trait(
        "put more dashes, brackets, quotation marks and colons",
        "put fewer dashes, brackets, quotation marks and colons",
        "{} for every 100 words",
        "number",
    ),
    "digits": Trait("write numbers", "write fewer numbers", "{} of its words are numbers"),
    "emoji": Trait("put emoji", "put fewer emoji", "{} for every 100 words", "number"),
    "capitals": Trait(
        "write more capitals",
        "write fewer capitals",
        "{} of its letters are capitals",
        general=True,
    ),
    "lines": Trait("write more lines", "write fewer lines", "{} lines a text", "number"),
    "lists": Trait(
        "write lists", "write fewer lists", "{} of its lines are items of a list", "share"
    ),
    "first person": Trait(
        "speak of itself", "speak less of itself", '{} of its words are "I", "my" and the like'
    ),
    "second person": Trait(
        "address the reader",
        "address the reader less",
        '{} of its words are "you", "your" and the like',
    ),
    "small words": Trait(
        "use more small words",
        "use fewer small words",
        '{} of its words are "the", "of" and the like',
        general=True,
    ),
    "same letter": Trait(
        "let neighbouring words begin with the same letter",
        "let fewer neighbouring words begin with the same letter",
        "{} of neighbouring words begin with the same letter",
    ),
    "cut off": Trait(
        "end in the middle", "bring its texts to an end", "{} of texts end without a mark"
    ),
}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FIRST_PERSON = _set("i me my mine myself we us our ours i'm i've i'd i'll")
SECOND_PERSON = _set("you your yours yourself you're you've you'd you'll")
# The commonest small words of a few languages, without those that two of them share.
SMALL: dict[str, frozenset[str]] = {
    "en": _set("the and of to is that it with for was this are you be from by"),
    "de": _set("der die das und ist nicht ein eine mit sich auf den dem von zu auch"),
    "fr": _set("le les des et est une dans pas qui pour il elle sur avec du au"),
    "es": _set("el los las y una por con para pero más como su lo muy está ser"),
    "it": _set("il gli di che è non per sono della nel anche più ma questo alla"),
    "pt": _set("o os um uma não em com para mais ao foi dos das seu muito são"),
    "nl": _set("het een van en niet zijn op te dat met voor er maar om ook bij"),
}
SMALL_ENGLISH = SMALL["en"] | _set("a an in on at as or but so if its not have has")
_SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$|[\"”'])")
_EMOJI = re.compile(r"[\U0001F300-\U0001FAFF\u2600-\u27BF]|[:;]-?[)D(]")
_OTHER_MARKS = re.compile(r"[()\[\]\"“”«»:;–—]|\s-\s")
_ITEM = re.compile(r"(?m)^[ \t]*(?:[-*•+]|\d{1,2}[.)])[ \t]+\S")
_OPEN_END = re.compile(r"[^\s.!?…\"”')\]]\s*\Z")
SCRIPTS = {
    "Cyrillic": re.compile(r"[\u0400-\u04FF]"),
    "Greek": re.compile(r"[\u0370-\u03FF]"),
    "Arabic": re.compile(r"[\u0600-\u06FF]"),
    "Hebrew": re.compile(r"[\u0590-\u05FF]"),
    "Indic": re.compile(r"[\u0900-\u0DFF]"),
    "Chinese, Japanese or Korean": re.compile(r"[\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF]"),
}


def traits_of(
    texts: Sequence[str], prompt: Chosen, policy: Chosen, prompts: Sequence[str | None]
) -> dict[str, Array]:
    """Every trait of texts (n,), by its key in TRAITS: arrays (n,), NaN where it is undefined.

    `prompt` (n,) numbers each text's prompt and `policy` (n,) the policy (or table) it is of;
    `prompts` are the prompts' texts by number, None where one is not known. Traits that relate a
    text to its prompt are left out where no prompt is known.
    """
    own = np.array([_own(text) for text in texts], dtype=np.float64).reshape(len(texts), -1)
    values = {name: own[:, k] for k, name in enumerate(OWN)}
    values["refusals"] = refusals(texts)
    values["sameness"] = _sameness(texts, prompt * np.int64(policy.max(initial=0) + 1) + policy)
    if any(prompts):
        asked = [_Asked.of(p) if p else None for p in prompts]
        related = [_related(t, asked[p]) for t, p in zip(texts, prompt.tolist(), strict=True)]
        table = np.array(related, dtype=np.float64).reshape(len(texts), -1)
        values |= {name: table[:, k] for k, name in enumerate(RELATED)}
    return {name: values[name] for name in TRAITS if name in values}


# --- how a text is written

OWN = (
    "length",
    "sentences",
    "letters",
    "repeats",
    "passages said twice",
    "exclamation marks",
    "question marks",
    "commas",
    "other marks",
    "digits",
    "emoji",
    "capitals",
    "lines",
    "lists",
    "first person",
    "second person",
    "small words",
    "same letter",
    "cut off",
)


@lru_cache(maxsize=REMEMBERED)
def _own(text: str) -> tuple[float, ...]:
    """The traits of OWN, in order. The base policy's texts are asked for at every look."""
    words = words_of(text)
    n = len(words)
    if not n:
        return (0.0, *([float("nan")] * (len(OWN) - 1)))
    lines = [line for line in text.split("\n") if line.strip()]
    letters = sum(map(str.isalpha, text))
    # A text that breaks off in a sentence still has that sentence.
    sentences = len(_SENTENCE_END.findall(text)) + bool(_OPEN_END.search(text))
    fours = [words[k : k + 4] for k in range(n - 3)]
    initials = [word[0] for word in words]

    def per_100(count: int) -> float:
        return 100 * count / n

    def share(listed: frozenset[str]) -> float:
        return sum(word.replace("’", "'") in listed for word in words) / n

    return (
        float(n),
        n / max(sentences, 1),
        sum(map(len, words)) / n,
        1 - len(set(words)) / n,
        1 - len(set(fours)) / len(fours) if fours else float("nan"),
        per_100(text.count("!")),
        per_100(text.count("?")),
        per_100(text.count(",")),
        per_100(len(_OTHER_MARKS.findall(text))),
        sum(word[0].isdigit() for word in words) / n,
        per_100(len(_EMOJI.findall(text))),
        sum(map(str.isupper, text)) / letters if letters else float("nan"),
        float(len(lines)),
        sum(_ITEM.match(line) is not None for line in lines) / max(len(lines), 1),
        share(FIRST_PERSON),
        share(SECOND_PERSON),
        share(SMALL_ENGLISH),
        sum(map(str.__eq__, initials, initials[1:])) / (n - 1) if n > 1 else float("nan"),
        float(_OPEN_END.search(text) is not None),
    )


# --- how it stands to its prompt

RELATED = (
    "echo of words",
    "echo of pairs",
    "repeated question",
    "coverage",
    "first sentence",
    "script",
    "language",
)


@dataclass(frozen=True)
class _Asked:
    """What is asked of a prompt again and again."""

    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    named: frozenset[str]
    first: frozenset[tuple[str, str]]
    script: str
    language: str

    @classmethod
    def of(cls, prompt: str) -> _Asked:
        """Of a prompt's text."""
        words = words_of(prompt)
        first = words_of(_SENTENCE_END.split(prompt.strip(), maxsplit=1)[0])
        named = frozenset(w for w in words if w not in SMALL_ENGLISH and len(w) > 2)
        return cls(
            frozenset(words),
            frozenset(_pairs(words)),
            named,
            frozenset(_pairs(first)),
            script_of(prompt),
            language_of(words),
        )


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(pairwise(words))


def _related(text: str, asked: _Asked | None) -> tuple[float, ...]:
    """The traits of RELATED, in order."""
    nan = float("nan")
    words = words_of(text)
    if asked is None or not words:
        return (nan,) * len(RELATED)
    pairs = _pairs(words)
    begins = _pairs(words[:BEGINNING])
    letters = sum(map(str.isalpha, text))
    elsewhere = letters - _letters(text, asked.script)
    language = language_of(words)

    def share(found: Sequence[object], of: frozenset[object]) -> float:
        return sum(one in of for one in found) / len(found) if found else nan

    def taken(wanted: frozenset[object], found: Sequence[object]) -> float:
        return len(wanted & set(found)) / len(wanted) if wanted else nan

    return (
        share(words, frozenset(asked.words)),
        share(pairs, frozenset(asked.pairs)),
        share(begins, frozenset(asked.pairs)),
        taken(frozenset(asked.named), words),
        taken(frozenset(asked.first), pairs),
        elsewhere / letters if letters else nan,
        float(bool(language) and bool(asked.language) and language != asked.language),
    )


def script_of(text: str) -> str:
    """The script that most letters of a text are of; "Latin" where none of SCRIPTS is commoner than
    the rest.
    """
    found = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    name = max(found, key=found.__getitem__)
    return name if found[name] > sum(map(str.isalpha, text)) / 2 else "Latin"


def _letters(text: str, script: str) -> int:
    """How many letters are of a script."""
    if script != "Latin":
        return len(SCRIPTS[script].findall(text))
    if text.isascii():
        return sum(map(str.isalpha, text))
    others = sum(len(pattern.findall(text)) for pattern in SCRIPTS.values())
    return sum(map(str.isalpha, text)) - others


def language_of(words: Sequence[str]) -> str:
    """Whose small words are most, at least two of them and more than any other's; "" where that
    says nothing.
    """
    counts = Counter(words)
    found = {name: sum(counts[w] for w in listed if w in counts) for name, listed in SMALL.items()}
    first, second = sorted(found.values(), reverse=True)[:2]
    return max(found, key=found.__getitem__) if first >= 2 and first > second else ""


def _sameness(texts: Sequence[str], cell: Chosen) -> Array:
    """Share of each text's different pairs of words that stand in another text of its cell; NaN
    where the cell has no other, or the text no pair.
    """
    pairs = [set(_pairs(words_of(text))) for text in texts]
    members: dict[int, list[int]] = {}
    for k, c in enumerate(cell.tolist()):
        members.setdefault(c, []).append(k)
    share = np.full(len(texts), np.nan)
    for rows in members.values():
        if len(rows) < 2:
            continue
        seen = Counter(pair for k in rows for pair in pairs[k])
        for k in rows:
            if pairs[k]:
                again = sum(seen[pair] > 1 for pair in pairs[k])
                # Of more texts, more would share a pair: each other text's part of it.
                share[k] = again / len(pairs[k])
    return share


# --- from degrees to features


def has_more(value: Array, usual: Array) -> Array:
    """1.0 where a text has more of a trait than nine tenths of the base policy's texts, `usual`."""
    return _above(value, usual)


def has_less(value: Array, usual: Array) -> Array:
    """1.0 where a text has less of it than nine tenths of the base policy's texts."""
    return _above(-value, -usual)


def _above(value: Array, usual: Array) -> Array:
    known = usual[np.isfinite(usual)]
    if not len(known):
        return np.zeros(len(value))
    limit = float(np.quantile(known, 1 - OUTER))
    # Where a tenth have all there is of it (a refusal), having it is the feature.
    reached = not (known > limit).any() and (known < limit).any()
    with np.errstate(invalid="ignore"):
        beyond = value >= limit if reached else value > limit
    return np.asarray(beyond, dtype=np.float64)
