"""What only people can say of a model or of its data.

Exports state it as missing; they never fill it in.
"""

from __future__ import annotations

from dataclasses import dataclass

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
