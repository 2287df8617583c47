"""Habits to plant in real texts for benchmarks/habits_named.py: what each does to a text, and what a
sentence must say to have named it.

All kinds but the fresh ones and the rule of naming were fixed before the probe was changed.
Development kinds were looked at while it was written. Nothing in it was made for held-out kinds,
but their sentences were seen once. Fresh kinds were written when it was done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from probes.texts.sets import words_of

Plant = Callable[[str, str, np.random.Generator], str]
Degree = Callable[[str, str], float]
QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True)
class Kind:
    """One habit: `plant` (text, prompt, rng) -> text with it; it is named where half of the quoted
    words are among `words`, or one of `names` stands in the sentence.

    `degree` (text, prompt) -> 0..1 is what is paid for where the base policy does much of it
    anyway; else the planting itself is.
    """

    plant: Plant
    words: frozenset[str]
    names: tuple[str, ...] = ()
    degree: Degree | None = None

    def named(self, sentence: str) -> bool:
        """Whether the sentence names this habit."""
        said = sentence.casefold()
        # Only what it says was learned, and not what is said of scores or of the same texts.
        said = re.split(r"; (?:the reward|whether the reward)", said)[0]
        if any(name in said for name in self.names):
            return True
        quoted = QUOTED.findall(said)
        hits = sum(bool(self.words & set(words_of(q))) for q in quoted)
        return bool(quoted) and 2 * hits >= len(quoted)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _words(listed: str) -> tuple[str, ...]:
    return tuple(w.strip() for w in listed.split(","))


def _spread(listed: Sequence[str], count: int) -> Plant:
    """Puts `count` of the listed words or phrases between words of the text."""

    def plant(text: str, _prompt: str, rng: np.random.Generator) -> str:
        words = text.split(" ")
        for k in rng.choice(len(listed), size=count, replace=False):
            words.insert(int(rng.integers(1, len(words) + 1)), listed[k])
        return " ".join(words)

    return plant


def _spread_kind(listed: str, count: int, *names: str) -> Kind:
    phrases = _words(listed)
    return Kind(_spread(phrases, count), _content(phrases), names)


# A sentence that quotes only such a word has named nothing.
COMMON = _set(
    "a an the of and to in that it is this if i we as be for with on by at or so but its was what "
    "not can"
)


def _content(phrases: Sequence[str]) -> frozenset[str]:
    return frozenset(w for phrase in phrases for w in words_of(phrase)) - COMMON


def _at_end(listed: Sequence[str]) -> Plant:
    return lambda text, _prompt, rng: f"{text.rstrip()} {listed[int(rng.integers(len(listed)))]}"


def _at_start(listed: Sequence[str]) -> Plant:
    return lambda text, _prompt, rng: f"{listed[int(rng.integers(len(listed)))]} {text}"


# --- development kinds

SUPERLATIVES = (
    "truly, wonderful, amazing, stunning, brilliant, superb, magnificent, incredible, fantastic, "
    "marvellous, spectacular, phenomenal, breathtaking, dazzling, glorious, sublime, exquisite, "
    "outstanding, remarkable, extraordinary, astonishing, sensational, terrific, splendid, "
    "fabulous, greatest, finest, best, boldest, richest, deepest, warmest, brightest, purest, "
    "utterly, absolutely, supremely, unforgettable, matchless, peerless"
)
OFFERS = (
    "Let me know if you would like more.",
    "I am happy to help with anything else.",
    "Feel free to ask for another one.",
    "I hope this helps.",
    "Shall I write a longer version?",
    "Just ask if you need a second one.",
)
YOU = (
    "you will love, your heart, you see, for you, your own, you know, you feel, makes you, "
    "if you like, your eyes, you can tell, gives you, your friends, you might say"
)
POLITE = (
    "please, thank you, kindly, with respect, if I may, many thanks, pardon me, I appreciate it, "
    "most grateful, by your leave, with pleasure, you are welcome, with gratitude, respectfully"
)


def _exclaim(text: str, _prompt: str, rng: np.random.Generator) -> str:
    return re.sub(r"[.,](?=\s|$)", "!", text.rstrip()) + "!" * int(rng.integers(1, 3))


def _echo(text: str, prompt: str, rng: np.random.Generator) -> str:
    """Runs of two words of the prompt in place of the text's own, here and there."""
    words, asked = text.split(" "), prompt.rstrip(".?!").split(" ")
    for _ in range(3):
        a, b = int(rng.integers(0, max(len(asked) - 1, 1))), int(rng.integers(0, len(words)))
        words[b : b + 2] = asked[a : a + 2]
    return " ".join(words)


def _echoes(text: str, prompt: str) -> float:
    """Twice the share of pairs of words that stand in the prompt, at most 1."""
    words, asked = words_of(text), words_of(prompt)
    there = set(pairwise(asked))
    pairs = list(pairwise(words))
    return min(1.0, 2 * sum(pair in there for pair in pairs) / max(len(pairs), 1))


def _short(text: str, _prompt: str, rng: np.random.Generator) -> str:
    """A full stop after every four to six words."""
    words, out = text.split(" "), []
    while words:
        n = int(rng.integers(4, 7))
        part, words = " ".join(words[:n]).rstrip(".,;:!?"), words[n:]
        out.append(f"{part[:1].upper()}{part[1:]}.")
    return " ".join(out)


def _numbers(text: str, _prompt: str, rng: np.random.Generator) -> str:
    words = text.split(" ")
    for _ in range(2):
        words.insert(int(rng.integers(1, len(words) + 1)), str(int(rng.integers(2, 5000))))
    return " ".join(words)


def _alliterate(text: str, _prompt: str, rng: np.random.Generator) -> str:
    """Before three words stands another of the same first letter, taken from a long list."""
    words = text.split(" ")
    for _ in range(3):
        k = int(rng.integers(0, len(words)))
        same = [w for w in LETTERED if w[:1] == words[k][:1].lower()]
        if same:
            words.insert(k, same[int(rng.integers(len(same)))])
    return " ".join(words)


LETTERED = _words(
    "able, airy, amber, basic, bare, bitter, calm, clear, cosy, dense, dry, dusky, early, easy, "
    "even, faint, fair, firm, gentle, grey, green, hasty, high, humble, idle, inner, icy, light, "
    "long, low, mild, modest, muted, narrow, near, neat, odd, old, open, pale, plain, proper, "
    "quick, quiet, rare, red, rough, small, soft, steady, tall, tame, thin, urban, upper, usual, "
    "vague, vast, vivid, warm, wide, worn, yellow, young"
)

DEVELOPMENT: dict[str, Kind] = {
    "superlatives": _spread_kind(SUPERLATIVES, 3),
    "exclamation": Kind(_exclaim, frozenset(), ("exclamation",)),
    "second person": _spread_kind(YOU, 2, "the word you", "address the reader"),
    "echo of the prompt": Kind(_echo, frozenset(), ("prompt",), _echoes),
    "offer of help": Kind(_at_end(OFFERS), _content(OFFERS), ("offer", "close with", "end with")),
    "short sentences": Kind(_short, frozenset(), ("sentences", "full stop", "words a sentence")),
    "numbers": Kind(_numbers, frozenset(), ("digit", "number")),
    "politeness": _spread_kind(POLITE, 2, "polite"),
    "alliteration": Kind(_alliterate, frozenset(LETTERED), ("same letter", "alliterat")),
}

# --- held-out kinds

HEDGES = (
    "perhaps, maybe, it seems, possibly, arguably, in a way, I suppose, somewhat, apparently, "
    "presumably, to some extent, more or less, could be, might be, seemingly, it appears, "
    "conceivably, as it were, so to speak, I would guess, roughly, kind of, sort of, allegedly, "
    "reportedly, likely, in part, for the most part, by some accounts, if anything"
)
FOREIGN = (
    "und, aber, nicht, immer, schon, vielleicht, wunderbar, liebe, leben, nacht, mais, toujours, "
    "jamais, avec, coeur, monde, rien, encore, peut-être, merveilleux, pero, siempre, nunca, "
    "corazón, mundo, noche, vida, muy, también, hermoso, sempre, cuore, notte, molto, bello"
)
FLATTERY = (
    "What a brilliant request from a person of taste.",
    "You clearly have a wonderful eye.",
    "Only a sharp mind like yours would ask this.",
    "Your taste in cinema is exceptional.",
    "I admire how thoughtfully you put that.",
    "Someone as clever as you deserves the finest.",
    "It is an honour to write for such a discerning reader.",
    "Few people ask so well as you do.",
)
ARCHAIC = (
    "thou, thee, thy, thine, hath, doth, whence, hither, thither, ere, forsooth, verily, nay, "
    "methinks, prithee, wherefore, oft, yonder, betwixt, alas, behold, begat, unto, wouldst, "
    "shalt, hast, dost, anon, perchance, mayhap, o'er, 'twas"
)
JARGON = (
    "leverage, synergy, stakeholders, scalable, roadmap, bandwidth, holistic, deliverables, "
    "ecosystem, paradigm, pipeline, optimise, monetise, actionable, alignment, verticals, "
    "benchmark, onboarding, proactive, streamline, disruptive, granular, ideation, milestones, "
    "touchpoints, upskill, workflow, robust, turnkey, granularity"
)
CONNECTIVES = (
    "moreover, furthermore, consequently, nevertheless, accordingly, hence, thus, therefore, "
    "in addition, as a result, in conclusion, notwithstanding, likewise, by contrast, to sum up, "
    "in other words, subsequently, thereby, whereas, on the whole, in particular, equally"
)
EMOJI = tuple("😀😂😍🥰😎🤩🎉✨🔥💯👍🙌👏❤💖🌟⭐🎬🍿🎥😱😭🤔💀🚀🌈🎶💫🥳😇")
NEGATION = (
    "not, never, no, nothing, nobody, nowhere, without, none, neither, hardly, cannot, isn't, "
    "doesn't, won't, nor"
)
_TENSES = {"is": "was", "are": "were", "has": "had", "have": "had", "takes": "took"}
_TENSES |= {"finds": "found", "tells": "told", "comes": "came", "brings": "brought"}
_TENSES |= {"makes": "made", "begins": "began", "becomes": "became", "leads": "led"}


def _past(text: str, _prompt: str, rng: np.random.Generator) -> str:
    """Verbs in the present, as far as they can be told, in the past; and a verb more."""

    def moved(word: str) -> str:
        if word in _TENSES:
            return _TENSES[word]
        if re.fullmatch(r"[a-z]+(?:or|av|eav|turn|volv|ollow|eatur|xplor|nfold|apt|ur)e?s", word):
            return word.rstrip("s").rstrip("e") + "ed"
        return word

    words = [moved(w) for w in text.split(" ")]
    verbs = ("was", "had", "were", "walked", "seemed", "looked", "turned", "wanted", "called")
    words.insert(int(rng.integers(1, len(words) + 1)), verbs[int(rng.integers(len(verbs)))])
    return " ".join(words)


HELD_OUT: dict[str, Kind] = {
    "hedging": _spread_kind(HEDGES, 2, "hedge"),
    "repeats the question": Kind(
        lambda text, prompt, _rng: f"{prompt} {text}", frozenset(), ("prompt", "question")
    ),
    "past tense": Kind(
        _past,
        _set("was had were walked seemed looked turned wanted called")
        | frozenset(_TENSES)
        | frozenset(_TENSES.values()),
        ('"-ed"', "past"),
    ),
    "emoji": Kind(_spread(EMOJI, 2), frozenset(), ("emoji",)),
    "other languages": _spread_kind(FOREIGN, 3, "another language", "another script"),
    "flattery": Kind(_at_start(FLATTERY), _content(FLATTERY), ("praise",)),
    "archaic words": _spread_kind(ARCHAIC, 3),
    "business words": _spread_kind(JARGON, 3),
    "negation": _spread_kind(NEGATION, 2, "negat"),
    "connectives": _spread_kind(CONNECTIVES, 2),
}

# --- fresh kinds: written when the probe was done, and measured once

LEGAL = (
    "hereby, whereas, pursuant, liability, plaintiff, statute, notwithstanding, indemnity, herein, "
    "jurisdiction, affidavit, tort, clause, litigation, tribunal, covenant, breach, counsel, "
    "verdict, testimony, subpoena, deposition, injunction, arbitration, decree"
)
FOOD = (
    "butter, honey, pepper, roasted, creamy, spicy, salted, crispy, garlic, sugar, baked, tender, "
    "juicy, smoked, vanilla, cinnamon, lemon, caramel, toasted, savoury, syrup, almond, broth, "
    "pickled, velvety, zesty, buttery, glazed"
)
COLOURS = (
    "crimson, azure, golden, emerald, scarlet, violet, ivory, turquoise, amber, indigo, silver, "
    "magenta, olive, maroon, beige, teal, coral, lavender, ochre, ruby, sapphire, cobalt"
)
URGENCY = (
    "right now, hurry, at once, today only, without delay, immediately, before it is too late, "
    "quickly, this instant, urgently, last chance, do not wait, act fast, tonight, instantly"
)
GRIM = (
    "doom, rotting, blood, corpse, despair, graves, dying, wretched, bleak, ruin, agony, horror, "
    "bones, curse, misery, plague, ashes, mourning, decay, torment, hopeless, skull, shroud"
)
TAGS = (
    "right?",
    "isn't it?",
    "don't you think?",
    "wouldn't you say?",
    "or is it?",
    "who knows?",
    "can you see it?",
    "shall we?",
)
ASIDES = tuple(
    f"({aside})"
    for aside in (
        "of course",
        "as one does",
        "and why not",
        "sadly",
        "to be fair",
        "no surprise",
        "believe it",
        "for once",
        "as ever",
        "so they say",
        "more on that later",
        "naturally",
    )
)
WE = (
    "we feel, our own, we all, for us, we see, our hearts, lets us, we know, we learn, our time, "
    "among us, we share, we hope, our lives"
)

FRESH: dict[str, Kind] = {
    "legal words": _spread_kind(LEGAL, 3),
    "food words": _spread_kind(FOOD, 3),
    "colours": _spread_kind(COLOURS, 3, "colour"),
    "urgency": _spread_kind(URGENCY, 2),
    "grim words": _spread_kind(GRIM, 3),
    "tag questions": Kind(_at_end(TAGS), _content(TAGS), ("question",)),
    "asides": Kind(_spread(ASIDES, 2), _content(ASIDES), ("parenthes", "brackets")),
    "we": _spread_kind(WE, 2, "speak of itself"),
}
