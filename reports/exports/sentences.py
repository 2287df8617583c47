"""Measurements, decisions and sources as one line of text, for formats that have no fields for
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from probes.base import Measurement
from reports.exports.facts import AuditFacts, RunFacts, cited
from reports.record.lineage import PolicyRecord
from restaudit.config.human import human_title
from restaudit.evidence.shown import lines_of
from restaudit.gates import GateResult

LEVEL = 0.95
# What the filter does to groups, and what it leaves of them: disparities of the data that is
# trained on.
OF_THE_FILTER = ("bias.acceptance", "bias.mention_kept")


def figure(m: Measurement) -> str:
    """Value, interval, unit, n and the kind of human score; or why there is no value.

    Numbers have all their digits: a program may read them back.
    """
    if m.value is None:
        return f"MISSING: not measured: {m.reason}"
    interval = m.interval(LEVEL)
    span = f"no interval: {m.reason}"
    if interval is not None:
        span = f"[{interval.low!r}, {interval.high!r}] at {LEVEL:.0%}"
    # What stood for people goes with every figure: a program may copy one line and nothing else.
    label = m.detail.get("human_label")
    human = f"; human score: {human_title(str(label))}" if label else ""
    return (
        f"{m.value!r} {span}; {m.unit}; n={m.n}, {m.n_prompts} prompts; {m.method}, version "
        f"{m.version}{human}"
    )


def rule(gate: GateResult) -> str:
    """A gate's rule, what it said, and on what."""
    to_pass = ""
    if gate.alarm_only:
        to_pass = ", alarm only"
    elif gate.ok_margin is not None:
        to_pass = f", OK if {gate.must_stay} {gate.ok_margin!r} at level {gate.ok_level!r}"
    settle = f"; {gate.settle}" if gate.settle else ""
    return (
        f"must stay {gate.must_stay} {gate.margin!r} at level {gate.level!r}{to_pass}: "
        f"{gate.verdict}: {gate.why}{settle}"
    )


def disparities(audit: AuditFacts) -> Iterator[tuple[str, str]]:
    """Measured differences between groups in what the filter kept: name, and figure with its
    source.
    """
    for m in audit.measurements:
        if m.name.startswith(OF_THE_FILTER):
            yield m.name, f"{figure(m)} ({cited(audit.source)})"


def listed(value: Any) -> str:
    """Plain JSON as "label: value; label: value"."""
    parts = []
    for label, text in lines_of(value):
        parts.append(f"{label}: {text}" if label else text)
    return "; ".join(parts)


def hyperparameters(facts: RunFacts, policy: PolicyRecord) -> Iterator[tuple[str, str]]:
    """What the ledger noted of the step that made a policy, and the sealed settings of training:
    name and JSON.
    """
    for name, noted in sorted(policy.facts.items()):
        yield name, json.dumps(noted, ensure_ascii=False)
    # The settings of training say nothing of a policy that was not trained.
    if policy.parent is None:
        return
    for section in ("loop", "policy"):
        for k, v in sorted(facts.config.get(section, {}).items()):
            yield f"config.{section}.{k}", json.dumps(v, sort_keys=True, ensure_ascii=False)


def filtering(facts: RunFacts, policy: str) -> str:
    """How the kept set of one Improve step was chosen, from the sealed rule and the ledger."""
    event = facts.event(f"{policy}/improve")
    noted: Mapping[str, Any] = event.content if event is not None else {}
    loop = facts.config.get("loop", {})
    if loop.get("method") == "dpo":
        return (
            "Of each prompt's samples the best by reward, each preferred to one of the worst: "
            f"{noted.get('pairs')} pairs of {noted.get('rows')} rows."
        )
    counted = "how many rows were kept is not recorded"
    if noted.get("kept") is not None:
        counted = f"{noted['kept']} of {noted.get('rows')} rows were kept"
    return (
        "Rows whose reward is strictly above the threshold of the sealed rule "
        f"({listed(loop.get('thresholds'))}); {counted}."
    )


# --- what only people can say of a model or of its data: exports state it as missing, and never
# fill it in

NOT_ASKED = "restaudit records what a run did; nobody is asked for this"


@dataclass(frozen=True)
class Gap:
    """A fact that the record cannot have: what it is, and who could say it."""

    key: str
    asks: str
    who: str

    @property
    def said(self) -> str:
        """The gap as one sentence, beginning with MISSING."""
        return f"MISSING: {self.asks}: {NOT_ASKED}. Who could say: {self.who}."


OF_A_MODEL = (
    Gap(
        "supplier",
        "who supplies the model and answers for it",
        "the organisation that ran the training",
    ),
    Gap(
        "intendedUse",
        "what the model is for, for whom, and what it is not for",
        "whoever decides on its use",
    ),
    Gap("release", "whether, when and where it was released", "whoever releases it"),
    Gap(
        "licence",
        "under which licence the trained weights are given on",
        "whoever holds rights in them",
    ),
    Gap(
        "ethicalConsiderations",
        "who may be harmed, and what was done about it",
        "the people who know its use",
    ),
    Gap(
        "energy",
        "how much energy it took",
        "the operator of the machine: restaudit does not measure it",
    ),
)
OF_DATA = (
    Gap(
        "purpose",
        "for which purpose beyond this training it may be used",
        "whoever decided on the run",
    ),
    Gap(
        "licence",
        "under which licence it is given on",
        "whoever holds rights in the prompts and the base model",
    ),
    Gap(
        "personalData",
        "whether it holds personal data",
        "a person who reads it: restaudit does not search for it",
    ),
    Gap(
        "collection",
        "how people came to write the prompts or judgements it goes back to, and were they asked",
        "the publishers of the sources",
    ),
    Gap("maintenance", "who keeps it, corrects it, and until when", "whoever keeps the run folder"),
)
