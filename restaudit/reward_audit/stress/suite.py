"""The stress tests of one reward, on some real texts: what it pays for that makes no text better,
failures first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from restaudit.reward_audit.stress.attribution import Attribution, attribute
from restaudit.reward_audit.stress.changes import changed, scored_again
from restaudit.reward_audit.stress.finding import (
    LEVEL,
    MARGIN,
    ORDER,
    VERSION,
    Finding,
    failures_first,
)
from restaudit.reward_audit.stress.groups import groups
from restaudit.reward_audit.stress.paid_words import NOTE, PaidWords, paid
from restaudit.reward_audit.stress.search import BUDGET, Exploits, searched
from restaudit.reward_audit.stress.sensitivity import sensitivity
from restaudit.reward_audit.stress.subject import (
    MOST_TEXTS,
    UNIT,
    Array,
    Score,
    check_numbers,
    subject,
)

SCHEMA = "restaudit.reward.stress/1"
LIMITS = (
    (
        "Every interval holds by itself: of many rules that are kept only just, about one in forty "
        "fails by chance."
    ),
    (
        "The unit (sd of the reward on the unchanged texts) is taken as known; its own error is "
        "not in the intervals."
    ),
    (
        "The sentences, marks, keyboard and word lists are English; texts in another language are "
        "hardly tested."
    ),
    (
        "No person judged the changed texts. That a change makes a text no better is our claim, "
        "written with each test."
    ),
)


@dataclass(frozen=True)
class StressReport:
    """All findings, failures first; `words`, `exploits`, `errors` are None where not asked for
    (`not_measured`).
    """

    findings: tuple[Finding, ...]
    words: PaidWords | None
    exploits: Exploits | None
    errors: Attribution | None
    sd: float | None
    texts: int
    texts_left_out: int
    prompts: int
    seed: int
    resamples: int
    not_measured: tuple[str, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence for every failure: tests first, then the words that are paid for, then
        exploits.
        """
        failed = [f for f in self.findings if f.verdict == "FAIL"]
        sentences = [f"{f.name}: {f.why}. {f.rule}" for f in failed]
        if self.words is not None:
            paid_for = [w for w in self.words.words if w.verdict == "FAIL"]
            sentences += [
                f"paid word {w.word!r}: {w.why} when it is taken out; {NOTE}" for w in paid_for
            ]
        if self.exploits is not None and self.exploits.verdict == "FAIL":
            sentences.append(f"search: {self.exploits.why}")
        return tuple(sentences)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        verdicts = [f.verdict for f in self.findings]
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "failures": list(self.failures),
            "counts": {verdict: verdicts.count(verdict) for verdict in ORDER},
            "findings": [f.to_json() for f in self.findings],
            "paid_words": _json_of(self.words),
            "exploits": _json_of(self.exploits),
            "errors": _json_of(self.errors),
            "unit": UNIT,
            "sd": self.sd,
            "level": LEVEL,
            "texts": self.texts,
            "texts_left_out": self.texts_left_out,
            "prompts": self.prompts,
            "seed": self.seed,
            "resamples": self.resamples,
            "not_measured": list(self.not_measured),
            "limits": list(LIMITS),
        }


def _json_of(part: PaidWords | Exploits | Attribution | None) -> dict[str, Any] | None:
    return None if part is None else part.to_json()


def stress(
    score: Score,
    prompts: Sequence[str],
    texts: Sequence[str],
    human: Sequence[float] | Array | None = None,
    *,
    seed: int,
    resamples: int = 1000,
    most: int = MOST_TEXTS,
    margin: float = MARGIN,
    words: bool = True,
    budget: int = BUDGET,
) -> StressReport:
    """Test a reward on real texts.

    score      (prompts, texts) -> combined rewards (n,), finite, the same for a text whatever else
               is scored with it
    prompts    the prompt of every text, "" where it has none (such a text is a unit of resampling
               by itself)
    texts      real texts; at most `most` are used, few of many prompts, chosen by checksum (groups
               read all of them)
    human      people's judgement of every text (n,), NaN where nobody judged: the largest errors
               are then explained
    margin     how far, in sd, a mean reward may move before a rule fails
    words      whether to look for single words that are paid for (`paid_words`)
    budget     how many texts the search for exploits may score; 0 leaves it out

    The same reward, texts and seed give the same report, in whatever order the texts are given.
    Raises BadInput for no texts, another number of prompts than texts, rewards that are not one
    finite number a text, or numbers out of range. Where the rewards of the unchanged texts do not
    vary, every value is None with that reason.
    """
    check_numbers(seed, resamples, margin)
    tested = subject(score, prompts, texts, most=most)
    # `changed` and `sensitivity` share changes of a text; the subject remembers what it scored.
    findings = changed(tested, seed=seed, resamples=resamples, margin=margin)
    findings += [scored_again(tested, seed=seed, resamples=resamples, margin=margin)]
    findings += sensitivity(tested, seed=seed, resamples=resamples, margin=margin)
    findings += groups(tested, prompts, texts, seed=seed, resamples=resamples, margin=margin)
    # The two parts that cost most, and can be left out.
    single = paid(tested, seed=seed, resamples=resamples, margin=margin) if words else None
    worst = searched(tested, seed=seed, budget=budget) if budget else None
    # On all texts and not only those of `tested`: the largest errors are what is looked for.
    errors = None if human is None else attribute(score, prompts, texts, human)
    # What was not measured is listed with its reason, so that nobody reads silence as a pass.
    skipped = [f"{f.name}: {f.change.reason}" for f in findings if f.change.value is None]
    if single is not None and single.reason:
        skipped.append(f"paid_words: {single.reason}")
    if worst is not None and worst.reason:
        skipped.append(f"search: {worst.reason}")
    if not words:
        skipped.append("paid_words: not asked for")
    if not budget:
        skipped.append("search: not asked for (budget 0)")
    skipped.append(
        "position bias: a reward of single texts sees no second text, so there is no position"
    )
    if errors is None:
        skipped.append("attribution: nobody judged these texts")
    elif errors.reason:
        skipped.append(f"attribution: {errors.reason}")
    return StressReport(
        findings=failures_first(findings),
        words=single,
        exploits=worst,
        errors=errors,
        sd=tested.sd,
        texts=len(tested.rows),
        texts_left_out=len(texts) - len(tested.rows),
        prompts=len(set(tested.prompt_ids)),
        seed=seed,
        resamples=resamples,
        not_measured=tuple(skipped),
    )
