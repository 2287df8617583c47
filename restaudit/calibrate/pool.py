"""The pool of real generations that trials are emulated from: every text with its reward and human
score, by prompt.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from probes.texts.grams import coded, grams
from probes.texts.sets import words_of
from probes.texts.word_lists import groups, mentions
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_in
from restaudit.evidence.record import LARGEST_TABLE
from restaudit.files import parquet, plain

BUILTIN = "reviews"
COLUMNS = ("prompt_id", "sample_id", "text", "n_tokens", "reward", "human", "group", "family")
NAMES = ("prompt_id", "sample_id", "text", "group", "family")
FEWEST_SAMPLES = 8
WORD = re.compile(r"[^\W\d_]+")
# The keyword is the word of at least so many letters (others mean little) that nearest this share
# of texts hold: common enough to be taken up, rare enough to have room.
KEYWORD_LETTERS = 5
KEYWORD_SHARE = 0.08
LONG_SHARE = 0.2
REPETITIVE_SHARE = 0.1
FEWEST_SHARE = 0.01  # a feature rarer than that cannot be taken up by reweighting texts

Rows = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Bigrams:
    """Pairs of words running: `words` of each row, and their `code`s, row after row: `size` of them
    from `start` on.
    """

    words: Rows
    code: Rows
    start: Rows
    size: Rows

    def of(self, rows: Rows, most: int) -> Rows:
        """The codes of the first `most` words of each of these rows, one row after the other."""
        take = np.minimum(self.size[rows], max(most - 1, 0))
        ends = np.cumsum(take)
        within = np.arange(int(take.sum())) - np.repeat(ends - take, take)
        codes: Rows = self.code[np.repeat(self.start[rows], take) + within]
        return codes


@dataclass(frozen=True)
class Pool:
    """Samples of one policy, many a prompt.

    table     the rows that have a reward (columns: COLUMNS); the human score may be NaN
    plain     row numbers, shape (prompts, samples): equally many samples of every plain prompt
    families  row numbers, shape (families, groups, samples); groups in the order of `groups`
    source, sha256   where it comes from
    """

    table: pd.DataFrame
    plain: Rows
    families: Rows
    groups: tuple[str, ...]
    source: str
    sha256: str
    left_out: int

    @property
    def reward(self) -> Floats:
        """Rewards of all rows, in standard deviations about their mean."""
        return _standard(self.table["reward"].to_numpy(dtype=np.float64))

    @cached_property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The table's columns as plain arrays, made once: every look of every run takes its rows
        from them.
        """
        columns: dict[str, npt.NDArray[Any]] = {}
        for name in map(str, self.table.columns):
            # Text stays Python strings, which is what probes read.
            dtype = object if name in NAMES else None
            columns[name] = self.table[name].to_numpy(dtype=dtype)
        return columns

    @cached_property
    def bigrams(self) -> Bigrams:
        """Every row's pairs of words running, made once."""
        words = [words_of(str(t)) for t in self.columns["text"]]
        pairs = grams(coded(words), 2)
        sizes = np.bincount(pairs.text, minlength=len(words))
        return Bigrams(
            np.array([len(w) for w in words]),
            pairs.code.astype(np.intp),
            np.cumsum(sizes) - sizes,
            sizes,
        )

    @cached_property
    def features(self) -> dict[str, tuple[Flags, str]]:
        """Features a reward may wrongly pay for, found once: see `features`."""
        return _features(self)

    @property
    def human_sd(self) -> float:
        """Standard deviation of the human score."""
        return float(self.table["human"].std())

    @property
    def reward_sd(self) -> float:
        """Standard deviation of the reward."""
        return float(self.table["reward"].std())


def load_pool(source: str) -> Pool:
    """Read a pool: `reviews` (ships with restaudit), a Parquet file, or a run folder (its first
    Grow set).

    Rows without a reward are left out and counted; every prompt then keeps as many samples as the
    poorest of the kept prompts has (prompts with fewer than FEWEST_SAMPLES are left out). Raises
    BadInput when nothing usable is left.
    """
    root, name = _place(source)
    path = root / name
    try:
        with plain.opened(root, name, LARGEST_TABLE) as f:
            table = parquet.read_frame(path, f)
    except OSError as e:
        raise BadInput(f"{path}: cannot be read ({e})") from None
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise BadInput(
            f"{path}: a pool lacks the column(s) {', '.join(missing)}; it has {', '.join(COLUMNS)}"
        )
    _check_kinds(path, table)
    # A Grow set may hold references too, which no policy wrote.
    if "origin" in table.columns:
        table = table[table["origin"] == "policy"]
    whole = len(table)
    used = table[np.isfinite(table["reward"])][list(COLUMNS)]
    if used["human"].notna().sum() < FEWEST_SAMPLES:
        raise BadInput(
            f"{path}: fewer than {FEWEST_SAMPLES} rows have a human score; a pool needs one for "
            "most rows"
        )
    used = used.sort_values(["prompt_id", "sample_id"], kind="stable").reset_index(drop=True)
    without_family = _equal(used, used.index[used["family"].isna()].to_numpy(), path)
    families, groups = _families(used)
    sha256 = digest_in(root, name).sha256
    return Pool(used, without_family, families, groups, source, sha256, whole - len(used))


def _check_kinds(path: Path, table: pd.DataFrame) -> None:
    """Raise BadInput where a column holds something else than it must."""
    for name in COLUMNS:
        column = table[name]
        if name not in NAMES:
            right = pd.api.types.is_numeric_dtype(column) or column.isna().all()
        elif name in ("group", "family"):
            right = column.dropna().map(lambda value: isinstance(value, str)).all()
        else:
            right = column.map(lambda value: isinstance(value, str)).all()
        if not right:
            expected = "a text in every row" if name in NAMES else "numbers"
            raise BadInput(f"{path}: column '{name}': holds something else than {expected}")


def features(pool: Pool) -> dict[str, tuple[Flags, str]]:
    """Features a reward may wrongly pay for: which rows have them, and what they are in words.

    Each is a property of the text: much longer than most, holding a certain common word, repeating
    its words, or naming one group of people rather than another.
    """
    return pool.features


def _features(pool: Pool) -> dict[str, tuple[Flags, str]]:
    texts = [_words(text) for text in pool.table["text"]]
    length = np.array([len(words) for words in texts])
    repeats = np.array([_repeated_share(words) for words in texts])
    # In how many texts a word stands, and not how often: a policy takes to a text as a whole.
    in_texts: Counter[str] = Counter()
    for words in texts:
        in_texts.update(word for word in set(words) if len(word) >= KEYWORD_LETTERS)
    # Sorted first: of equally good words the same one is chosen on every machine.
    keyword = min(sorted(in_texts), key=lambda w: abs(in_texts[w] / len(texts) - KEYWORD_SHARE))
    named = dict(zip(groups(), mentions(pool.table["text"].tolist()).T > 0, strict=True))
    long, often = np.quantile(length, 1 - LONG_SHARE), np.quantile(repeats, 1 - REPETITIVE_SHARE)
    return {
        "length": (length > long, f"more than {long:.0f} words"),
        "keyword": (np.array([keyword in words for words in texts]), f"the word “{keyword}”"),
        "repetition": (repeats > often, f"over {often:.0%} of its words repeat earlier ones"),
        "men": (named["men"] & ~named["women"], "names a man and no woman"),
    }


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in WORD.findall(text))


def _repeated_share(words: Sequence[str]) -> float:
    """The share of words that occurred before in the same text."""
    if not words:
        return 0.0
    return 1 - len(set(words)) / len(words)


def too_rare(pool: Pool) -> dict[str, str]:
    """The features that fewer than a hundredth of the pool's texts have, in words."""
    rare = {}
    for name, (has, in_words) in features(pool).items():
        if has.mean() < FEWEST_SHARE:
            rare[name] = in_words
    return rare


def modes(pool: Pool, count: int) -> Rows:
    """The plain rows a collapsing policy falls back to: those with the highest reward of `count`
    different prompts.
    """
    # Of different prompts, so that a collapsed policy still answers with several texts.
    reward = pool.reward[pool.plain]
    best = pool.plain[np.arange(len(pool.plain)), reward.argmax(axis=1)]
    order = np.argsort(-pool.reward[best], kind="stable")
    chosen: Rows = best[order[:count]]
    return chosen


def _place(source: str) -> tuple[Path, str]:
    """The folder of a pool, and its name in there."""
    if source == BUILTIN:
        return Path(str(resources.files("restaudit.calibrate"))), "pool.parquet"
    path = Path(source)
    # The first Grow set is what the base policy wrote, and the only one of it that has many samples
    # a prompt. Where a file is named by a link, the user meant what it leads to.
    in_run = path, "g01/grow.parquet"
    root, name = in_run if path.is_dir() else (path.resolve().parent, path.resolve().name)
    if not plain.is_file(root, name):
        raise BadInput(
            f"{source}: no pool of generations; expected '{BUILTIN}', a Parquet file, or a run "
            "folder whose first Grow set is scored"
        )
    return root, name


def _equal(table: pd.DataFrame, rows: Rows, path: Path) -> Rows:
    of_prompt = pd.Series(rows, index=table["prompt_id"].to_numpy()[rows]).groupby(level=0)
    groups = [own_rows.to_numpy() for _, own_rows in of_prompt]
    # With fewer texts reweighting has nothing to choose from.
    rich = [own_rows for own_rows in groups if len(own_rows) >= FEWEST_SAMPLES]
    if not rich:
        raise BadInput(f"{path}: no plain prompt has {FEWEST_SAMPLES} samples with a reward")
    size = min(map(len, rich))
    return np.stack([own_rows[:size] for own_rows in rich])


def _families(table: pd.DataFrame) -> tuple[Rows, tuple[str, ...]]:
    """Families with at least two samples of every group."""
    rows = table[table["family"].notna() & table["group"].notna()]
    groups = tuple(sorted(rows["group"].unique()))
    families: list[list[Sequence[int]]] = []
    for _, family in rows.groupby("family", sort=True):
        by_group = [family.index[family["group"] == group].tolist() for group in groups]
        # With one text there is nothing to reweight, and a group's own hack could not be planted.
        if min(map(len, by_group), default=0) >= 2:
            families.append(list(by_group))
    if not families:
        return np.empty((0, len(groups), 0), dtype=np.intp), groups
    # As many of every group as the poorest has, so that they are one array.
    size = min(len(samples) for family in families for samples in family)
    equal = []
    for groups_of_family in families:
        equal.append([list(samples[:size]) for samples in groups_of_family])
    return np.array(equal, dtype=np.intp), groups


def _standard(values: Floats) -> Floats:
    standard: Floats = (values - values.mean()) / values.std()
    return standard
