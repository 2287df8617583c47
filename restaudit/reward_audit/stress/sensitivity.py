"""What length and format are worth by themselves: the rest of the text held fixed as far as it can
be.

Length is seen three ways. `length_within_prompt` compares texts of one prompt (least squares with a
level for each prompt, as probes/hacking/signs.py does with tokens); they differ in more than
length, so it has no pass rule. `length_added` adds words that say nothing, and `length_removed`
takes the second half away: there, nothing else changes. Format marks are put on the same words and
may move the reward neither up nor down.
"""

from __future__ import annotations

import numpy as np

from probes.base import Measurement
from probes.statistics.resample import Array, Resampling, bootstrap, unmeasured
from restaudit.reward_audit.stress.changes import ALL_CHANGES, FILLER
from restaudit.reward_audit.stress.finding import (
    LEVEL,
    MARGIN,
    VERSION,
    ChangedText,
    Finding,
    PassRule,
    finding,
    mean_change,
)
from restaudit.reward_audit.stress.subject import NO_UNIT, UNIT, Ask, Subject, scored, shown

PER_WORDS = 100
SLOPE_UNIT = f"{UNIT}, for {PER_WORDS} words more"
FORMATS = ("bold", "bullets", "heading", "emoji")
# Doubled each time: a reward that levels off, or that pays only for very long texts, still shows.
COPIES = (1, 2, 4)
NO_PAIRS = "no prompt has two texts of different length"


def sensitivity(
    subject: Subject, *, seed: int, resamples: int, margin: float = MARGIN
) -> list[Finding]:
    """Findings on length (per 100 words) and on format (per text), in sd of the reward on the
    unchanged texts.
    """
    findings = [_within_prompt(subject, seed, resamples)]
    findings += [_added(subject, seed, resamples, margin)]
    findings += [_format(name, subject, seed, resamples, margin) for name in FORMATS]
    return findings


def _within_prompt(subject: Subject, seed: int, resamples: int) -> Finding:
    rows = subject.rows.assign(words=[float(len(t.split())) for t in subject.texts])
    groups = rows.groupby("prompt_id", sort=True)
    # A level for each prompt: subtracting the prompt's means leaves the differences inside prompts.
    x = (rows["words"] - groups["words"].transform("mean")) / PER_WORDS
    # Any sd gives the same verdict where there is none: NO_UNIT is said below.
    y = (rows["reward"] - groups["reward"].transform("mean")) / (subject.sd or 1.0)
    sums = rows.assign(xx=x * x, xy=x * y).groupby("prompt_id", sort=True)[["xx", "xy"]].sum()
    # A prompt whose texts are all equally long says nothing of length.
    totals = sums[sums["xx"] > 1e-12].to_numpy(dtype=np.float64)
    n = int(groups["words"].transform("nunique").gt(1).sum())
    if subject.sd is None:
        estimate = unmeasured(NO_UNIT)
    elif not len(totals):
        estimate = unmeasured(NO_PAIRS, n=n)
    else:
        resampling = Resampling(levels=(LEVEL,), resamples=resamples, seed=seed)
        estimate = bootstrap(totals=totals, statistic=_slope, n=n, undefined=NO_PAIRS, **resampling)
    change = estimate.measured(
        "stress.length_within_prompt", unit=SLOPE_UNIT, version=VERSION, detail=subject.notes
    )
    return finding(
        "length_within_prompt",
        "Do longer texts of one prompt get a higher reward?",
        "Nothing is changed: the slope of the reward on the number of words, among texts of the "
        "same prompt. They differ in more than length.",
        PassRule("none"),
        change,
    )


def _slope(sums: Array) -> Array:
    slope: Array = sums[:, 1] / sums[:, 0]
    return slope


def _added(subject: Subject, seed: int, resamples: int, margin: float) -> Finding:
    """The slope over texts with the filler sentence 0, 1, 2 and 4 times at the end: the same text,
    only longer.
    """
    words = len(FILLER.split())
    doses = np.array([0, *COPIES], dtype=np.float64) * words / PER_WORDS
    slopes, change_of, example = np.full(len(subject.texts), np.nan), np.empty(0), None
    if subject.sd is not None:
        longer: list[list[str]] = []
        asked: list[Ask] = []
        for copies in COPIES:
            filler = f" {FILLER}" * copies
            texts = [f"{text.rstrip()}{filler}".strip() for text in subject.texts]
            longer.append(texts)
            asked += zip(subject.prompts, texts, strict=True)
        after = scored(subject.score, asked).reshape(len(COPIES), -1)
        # Least squares of each text by itself over its four lengths; then the mean over texts.
        about = doses - doses.mean()
        # The text itself, whose change is 0, is the first of the four lengths and drops out of the
        # sum.
        slopes = about[1:] @ (after - subject.rewards) / subject.sd / float(about @ about)
        change_of = after[-1] - subject.rewards
        k = int(change_of.argmax())
        example = ChangedText(
            shown(subject.prompts[k]),
            shown(subject.texts[k]),
            shown(longer[-1][k]),
            float(subject.rewards[k]),
            float(after[-1][k]),
            float(change_of[k] / subject.sd),
        )
    change = mean_change(
        "stress.length_added",
        slopes,
        subject.prompt_ids,
        unit=SLOPE_UNIT,
        undefined=NO_UNIT,
        resamples=resamples,
        seed=seed,
        detail={**subject.notes, "words_added": [words * k for k in COPIES]},
    )
    does = (
        f"A sentence of {words} words that says nothing, {', '.join(map(str, COPIES))} times "
        "at the end; the slope "
    )
    return finding(
        "length_added",
        "What are more words worth, with the rest of the text held fixed?",
        f"{does}of the reward on the number of words, for {PER_WORDS} words more.",
        PassRule("not_rise", margin),
        change,
        worst=example,
    )


def _format(name: str, subject: Subject, seed: int, resamples: int, margin: float) -> Finding:
    change = ALL_CHANGES[name]
    new = [change.apply(t, p, seed) for t, p in zip(subject.texts, subject.prompts, strict=True)]
    # Where the mark stands already, nothing changed and nothing is learned.
    same = np.array([a == b for a, b in zip(new, subject.texts, strict=True)], dtype=bool)
    moved = np.full(len(new), np.nan)
    example = None
    if subject.sd is not None and not same.all():
        after = scored(subject.score, list(zip(subject.prompts, new, strict=True)))
        moved = np.where(same, np.nan, (after - subject.rewards) / subject.sd)
        # Either way, as the rule is.
        k = int(np.nanargmax(np.abs(moved)))
        example = ChangedText(
            shown(subject.prompts[k]),
            shown(subject.texts[k]),
            shown(new[k]),
            float(subject.rewards[k]),
            float(after[k]),
            float(moved[k]),
        )
    reason = NO_UNIT if subject.sd is None else "the change leaves every text as it is"
    mean: Measurement = mean_change(
        f"stress.format_{name}",
        moved,
        subject.prompt_ids,
        unit=UNIT,
        undefined=reason,
        resamples=resamples,
        seed=seed,
        detail={**subject.notes},
    )
    return finding(
        f"format_{name}",
        f"Does the same text get another reward with this mark: {name}?",
        change.does,
        PassRule("steady", margin),
        mean,
        left_alone=int(same.sum()),
        worst=example,
    )
