"""What a run concludes, for whoever has two minutes: may this model go on, why, what got better and
worse, what a reviewer should know, what is open and what would settle it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from probes.base import Measurement
from restaudit.evidence.findings import Finding, findings
from restaudit.evidence.record import ADAPTER, BASE, Override, Run
from restaudit.evidence.shown import LEVEL, brief, count, figure, listed, number, sentence
from restaudit.files.signs import printable
from restaudit.gates import FIRED, Decision, GateResult

Word = Literal["CLEARED", "UNDECIDED", "WARNED", "STOPPED"]
REWARD_CHANGE, HUMAN_CHANGE = "divergence.reward_change", "divergence.human_change"
VARIETY = "diversity.vendi_ratio"
# First word of the human score's label -> what its figures are called, and whose judgement it is.
JUDGES = {
    "PEOPLE": ("people's ratings", ""),
    "LEXICON": (
        "word-based human score",
        "No person rated a text: the human score is made of people's ratings of single words.",
    ),
    "MODEL": (
        "judge model's score",
        "No person rated a text: a model that was trained on people's judgements scored them.",
    ),
    "REFERENCE": (
        "likeness to human texts",
        "No person rated a text: the human score is the likeness to texts that people wrote.",
    ),
    "SIMULATED": ("simulated human score", "No person rated a text: a program stands in for them."),
    "NONE": ("human score", "Nobody judged the texts: this run has no human score."),
}
OTHER_JUDGE = "human score"
# Before the probe's sentences were whole: by the verdict on the feature that it found first.
WHOLE_SENTENCES = 3
SENTENCES = {
    "signature": "What the policy learned by {}",
    "temptation": "What the policy may learn next, seen at {}",
}


@dataclass(frozen=True)
class Change:
    """How one of the main figures changed since the base policy, with its 95% interval.

    `better`: True or False where the interval excludes no change, else None.
    """

    what: str
    text: str
    better: bool | None
    metric: str


@dataclass(frozen=True)
class Best:
    """An earlier iteration with a higher human score than the last one's. `exported` says whether
    its weights are in the record.
    """

    iteration: str
    text: str
    exported: bool


@dataclass(frozen=True)
class Open:
    """A check that is undecided, and what would settle it ("" where that cannot be said)."""

    gate: str
    text: str
    settle: str


@dataclass(frozen=True)
class Conclusion:
    """The first screen of a run.

    word        CLEARED: every check that must pass did, at the last look; UNDECIDED: no alarm, and
                not every check passed; WARNED: a check warned; STOPPED: a check stopped the run
    reason      why, in one sentence
    unfinished  how far the run is, where it is not at its end
    overrides   who let it go on after a HALT
    look, stage the last look ("g02/i02"), and how much it sampled
    judge       whose judgement the human score is, in a sentence; "" where people rated the texts
    looked_at   intervals on bias and capability that were looked at for `found`
    """

    word: Word
    reason: str
    unfinished: str | None
    overrides: tuple[Override, ...]
    look: str | None
    stage: str | None
    changes: tuple[Change, ...]
    best: Best | None
    found: tuple[Finding, ...]
    looked_at: int
    judge: str
    open: tuple[Open, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reviewer should know, in words, the clearest first."""
        bad = [f.text for f in self.found if not f.good]
        return (*bad, *([self.judge] if self.judge else []))


def conclude(run: Run) -> Conclusion:
    """The conclusion of a run that is finished, halted or half done; a pure function of its record.

    Raises BadInput for a folder that cannot be read.
    """
    iterations = run.iterations()
    decisions = [d for i in iterations if (d := run.decision(i)) is not None]
    last = decisions[-1] if decisions else None
    measured = {m.name: m for m in run.measurements(iterations[-1])} if iterations else {}
    name, judge = _judge(run)
    shown = findings(run)
    word: Word = _word(run, last)
    return Conclusion(
        word=word,
        reason=_reason(run, word, decisions, name),
        unfinished=_unfinished(run),
        overrides=tuple(run.overrides()),
        look=last.iteration if last else None,
        stage=_stage(last),
        changes=_changes(measured, name),
        best=_best(run, iterations),
        found=shown.found,
        looked_at=shown.looked_at,
        judge=judge,
        open=tuple(_open(g) for g in last.undecided) if last else (),
    )


def learned(run: Run, iteration: str) -> str | None:
    """What the policy learned to write, in words, and who pays for it; None where that was not
    looked at (or, by old versions of the probe, where nothing was found).
    """
    by_name = {m.name: m for m in run.measurements(iteration)}
    if "hacking.signature" not in by_name:
        return None
    signature = by_name["hacking.signature"]
    detail, version = signature.detail, signature.version
    # The words come from a run folder, and so perhaps from a stranger's.
    words = printable(str(detail.get("in_words", "")))
    # Since version 3 every sentence says who learned what, and a null what it could have missed.
    if version.isdigit() and int(version) >= WHOLE_SENTENCES:
        return f"At {iteration}: {words}" if words else None
    features = detail.get("features")
    verdict = features[0]["verdict"] if features else None
    return f"{SENTENCES[verdict].format(iteration)}: {words}" if verdict in SENTENCES else None


# --- the verdict


def _word(run: Run, last: Decision | None) -> Word:
    if run.halt is not None or (last is not None and last.verdict == "HALT"):
        return "STOPPED"
    if last is None or last.verdict not in ("OK", "WARN"):
        return "UNDECIDED"
    return "CLEARED" if last.verdict == "OK" else "WARNED"


def _reason(run: Run, word: Word, decisions: Sequence[Decision], human: str) -> str:
    if not decisions:
        return "no look has been decided yet."
    last = decisions[-1]
    if not last.gates:
        return "the sealed policy has no check, so nothing was decided."
    must_pass = [g for g in last.gates if not g.alarm_only]
    if word in ("STOPPED", "WARNED"):
        fired = [g for g in last.gates if g.verdict == last.verdict]
        return f"{_fired(fired, last.iteration)}{_overridden(run, last)}."
    if word == "CLEARED":
        n = len(must_pass)
        passed = "the one check" if n == 1 else f"all {n} checks"
        fall = _ruled_out(must_pass)
        if fall is None:
            return f"{passed} that must pass did; {_alarms(decisions)}."
        return (
            f"a fall of the {human} by more than {figure(fall)} sd is ruled out, and {passed} that "
            f"must pass did; {_alarms(decisions)}."
        )
    waiting = [g.gate for g in last.undecided]
    are = "is" if len(waiting) == 1 else "are"
    return (
        f"{_alarms(decisions)}, but {len(waiting)} of {count(len(must_pass), 'check')} {are} "
        f"undecided ({listed(waiting)})."
    )


def _fired(gates: Sequence[GateResult], look: str) -> str:
    """What fired where, with the interval of the first and the reason that its rule gives."""
    names = listed(g.gate for g in gates)
    first = gates[0]
    # The sealed reason stands behind what was measured.
    why = sentence(first.why.partition(": ")[2]).rstrip(".")
    span = ""
    if first.value is not None and first.low is not None and first.high is not None:
        shown = brief(first.value, first.low, first.high, apart_from=first.margin)
        span = f" ({shown}; must stay {first.must_stay} {figure(first.margin)})"
    said = f"{names} fired at {look}{span if len(gates) == 1 else ''}"
    return printable(f"{said}: {why}" if why else said)


def _overridden(run: Run, last: Decision) -> str:
    if last.verdict != "HALT" or run.halt is not None:
        return ""
    return ", and a person let the run go on"


def _alarms(decisions: Sequence[Decision]) -> str:
    """Whether anything fired, at the last look or before."""
    earlier = [
        f"{listed(g.gate for g in d.gates if g.verdict in FIRED)} at {d.iteration}"
        for d in decisions[:-1]
        if any(g.verdict in FIRED for g in d.gates)
    ]
    if earlier:
        return f"no alarm at the last look (earlier: {', '.join(earlier)})"
    return "no alarm"


def _ruled_out(gates: Sequence[GateResult]) -> float | None:
    """The fall of the human score that the passed checks rule out, in standard deviations of the
    base policy's scores; None where no check is about it.
    """
    falls = [
        -(g.margin if g.ok_margin is None else g.ok_margin)
        for g in gates
        if g.metric == HUMAN_CHANGE and g.must_stay == "above"
    ]
    return min((fall for fall in falls if fall > 0), default=None)


def _unfinished(run: Run) -> str | None:
    """How far a run is; whether a process is writing it now is nothing that its record says."""
    if run.events and run.events[-1].step == "end":
        return None
    if run.halt is not None:
        return None
    planned = run.plan["steps"]
    done = len(run.done & set(planned))
    waits = ", and it waits for people's ratings" if run.waits else ""
    return f"The run is not finished: {done} of {count(len(planned), 'step')} done{waits}."


def _stage(last: Decision | None) -> str | None:
    """How much the last look sampled, where looks have stages."""
    if last is None or last.stage is None or last.stages is None or last.stages < 2:
        return None
    # Of families, which have several groups each, a quotient would say nothing.
    by_prompts = [g for g in last.gates if not g.metric.startswith("bias.")]
    texts = [g.n / g.n_prompts for g in by_prompts if g.n and g.n_prompts]
    per_prompt = f", up to {figure(max(texts))} texts a prompt" if texts else ""
    return f"stage {last.stage} of {last.stages}{per_prompt}"


def _open(gate: GateResult) -> Open:
    low = gate.ok_low if gate.ok_low is not None else gate.low
    high = gate.ok_high if gate.ok_high is not None else gate.high
    if gate.value is None or low is None or high is None:
        return Open(gate.gate, printable(f"not measured: {gate.why}"), "")
    limit = gate.ok_margin if gate.ok_margin is not None else gate.margin
    span = brief(gate.value, low, high, apart_from=limit).partition(" ")[2].strip("[]")
    text = f"between {span.replace(', ', ' and ')}; must stay {gate.must_stay} {figure(limit)}"
    if gate.verdict == "INCONCLUSIVE":
        mde = "" if gate.mde is None else f"MDE {figure(gate.mde)}"
        return Open(gate.gate, text, mde)
    return Open(gate.gate, text, gate.settle or "")


# --- what changed


def _judge(run: Run) -> tuple[str, str]:
    """What the human score's figures are called, and whose judgement it is."""
    iterations = run.iterations()
    if not iterations:
        return OTHER_JUDGE, ""
    label = str(run.scores(iterations[0])["human"].get("label") or "NONE")
    known = JUDGES.get(label.split(" ")[0])
    if known is not None:
        return known
    return OTHER_JUDGE, printable(f"The human score is what its owner calls {label}.")


def _changes(measured: dict[str, Measurement], human: str) -> tuple[Change, ...]:
    """Reward, human score and variety since the base policy, as far as they were measured."""
    changes = []
    for what, metric in (("reward", REWARD_CHANGE), (human, HUMAN_CHANGE)):
        m = measured.get(metric)
        interval = m.interval(LEVEL) if m else None
        if m is None or m.value is None or interval is None:
            continue
        text = brief(m.value, interval.low, interval.high, sign=True).replace(" [", " sd [", 1)
        changes.append(Change(what, text, _side(interval.low, interval.high, 0.0), metric))
    m = measured.get(VARIETY)
    interval = m.interval(LEVEL) if m else None
    if m is not None and m.value is not None and interval is not None:
        value, low, high = (_percent(x) for x in (m.value, interval.low, interval.high))
        better = _side(interval.low, interval.high, 1.0)
        changes.append(Change("variety", f"{value} [{low}, {high}]", better, VARIETY))
    return tuple(changes)


def _percent(ratio: float) -> str:
    """A ratio to the base policy as a change in percent."""
    change = round(100 * (ratio - 1))
    return f"{'+' if change > 0 else ''}{change}%".replace("-", "−")


def _side(low: float, high: float, neutral: float) -> bool | None:
    if low > neutral:
        return True
    return False if high < neutral else None


def _best(run: Run, iterations: Sequence[str]) -> Best | None:
    """The iteration with the highest human score, where that is not the last one."""
    gains = {}
    for iteration in iterations:
        if iteration == BASE:
            continue
        for m in run.measurements(iteration):
            if m.name == HUMAN_CHANGE and m.value is not None:
                gains[iteration] = m.value
    if not gains:
        return None
    # Of equal gains the latest iteration.
    best = max(reversed(list(gains)), key=lambda i: gains[i])
    if best == list(gains)[-1]:
        return None
    kept = any(name.startswith(f"{best}/{ADAPTER}/") for e in run.events for name in e.outputs)
    shown = number(gains[best], decimals=2, minus="−")
    return Best(best, f"{'+' if gains[best] > 0 else ''}{shown} sd", kept)
