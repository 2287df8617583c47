"""The texts behind a feature that the policy learned: found by the probe's own rule, beside the
base policy's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import pandas as pd
import streamlit as st

from probes.hacking.features import Kind, Span, look_up, spans
from reports.record import series
from reports.run_report.material import Material
from reports.viewer.pages import BY_FILE
from reports.viewer.reading import AS_RUN
from reports.viewer.samples.address import Address
from reports.viewer.samples.prompt import prompts_of
from reports.viewer.samples.rows import Place, recorded
from reports.viewer.text import OPEN, SHUT, escaped, multiline, one_line, said
from restaudit.evidence.record import BASE, Run
from restaudit.evidence.shown import NOTHING, figure

READ = ("sample_id", "prompt_id", "family", "text", "n_tokens", "reward", "human")
NONE = ""
PAGE, MOST_PROMPT = 4, 300
# Each entry of the second holds the texts of a whole audit, so few are kept.
CHOICES, PAGES_OF_TEXTS = 64, 16


@dataclass(frozen=True)
class Feature:
    """One line of the table of what the policy learned."""

    kind: Kind
    name: str
    sentence: str

    @property
    def key(self) -> str:
        """What stands in the address."""
        return f"{self.kind}: {self.name}"


@dataclass(frozen=True)
class Example:
    """A text that has the feature, and the base policy's answer to the same prompt."""

    prompt_id: str
    text: str
    about: str
    base: str
    base_about: str
    base_has: bool


@dataclass(frozen=True)
class FeatureTexts:
    """All texts that have a feature, the highest reward first; how many have it, and of how
    many.
    """

    examples: tuple[Example, ...]
    texts: int
    base: int
    base_texts: int


def show(run: Run) -> None:
    """Choose a feature, and read the texts that have it.

    All of them are shown as text, with marks around the place.
    """
    iteration, known = features(run)
    if not known:
        return
    address = Address(st.container(gap="xsmall"))
    by_key = {f.key: f for f in known}
    chosen = address.pick(
        "Read the texts that have a feature",
        [NONE, *by_key],
        "feature",
        width=620,
        written=lambda key: one_line(by_key[key].sentence, 160) if key else "Choose a feature",
    )
    if chosen == NONE:
        return
    feature = by_key[chosen]
    compared = texts_with(run, iteration, feature.kind, feature.name)
    said(_counted(compared, iteration))
    _link_to_samples(run, iteration, feature)
    pages = max(1, math.ceil(len(compared.examples) / PAGE))
    first = PAGE * (address.page(pages, feature.key) - 1)
    # Only what is on this page gets its prompt read.
    shown = compared.examples[first : first + PAGE]
    asked = tuple(dict.fromkeys(example.prompt_id for example in shown))
    prompts = prompts_of(run, Place(iteration, "audit"), asked)
    for example in shown:
        _pair(feature, example, prompts.get(example.prompt_id, example.prompt_id), iteration)


@st.cache_data(max_entries=CHOICES, show_spinner=False, hash_funcs=AS_RUN)
def features(run: Run) -> tuple[str, list[Feature]]:
    """The last audited iteration, and the features that its measurements list."""
    material = Material(run)
    if not material.iterations:
        return BASE, []
    last = material.iterations[-1]
    # The last look: what the policy has learned by now, and not what it once did.
    signature = material.measured[last].get("hacking.signature")
    listed = [] if signature is None else signature.detail.get("features") or []
    return last, [_feature(raw) for raw in listed if _is_feature(raw)]


def _is_feature(raw: Any) -> bool:
    """Whether it is one that this version knows; a run may be of another."""
    return (
        isinstance(raw, Mapping)
        and raw.get("kind") in get_args(Kind)
        and isinstance(raw.get("name"), str)
    )


def _feature(raw: Mapping[str, Any]) -> Feature:
    sentence = (
        f"{raw['name']} ({raw['kind']}; {raw.get('verdict')}): {_share(raw, 'share')} of texts, "
        f"base policy {_share(raw, 'share_base')}"
    )
    return Feature(cast(Kind, raw["kind"]), raw["name"], sentence)


def _share(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return f"{value:.0%}" if isinstance(value, int | float) else NOTHING


@st.cache_data(max_entries=PAGES_OF_TEXTS, show_spinner="Looking for the texts", hash_funcs=AS_RUN)
def texts_with(run: Run, iteration: str, kind: Kind, name: str) -> FeatureTexts:
    """The texts of an iteration that have a feature, among those that the probe compared.

    Beside each stands the base policy's answer to the same prompt: the first by name that has the
    feature too, else the first by name.
    """
    # Against the ledger first: what is shown here as the policy's own words must be what was
    # recorded.
    for place in (iteration, BASE):
        recorded(run, f"{place}/audit.parquet")
    texts = look_up(kind, name, outputs=run.audit(iteration, READ), base=run.audit(BASE, READ))
    mine = texts.now[texts.now["has"]].sort_values(
        ["reward", "sample_id"], ascending=[False, True], kind="stable"
    )
    # The base policy's text that comes nearest is shown: one that has the feature too speaks
    # against it having been learned.
    before = texts.base.sort_values(["has", "sample_id"], ascending=[False, True], kind="stable")
    answers = before.drop_duplicates("prompt_id").set_index("prompt_id")
    examples = []
    for _, row in mine.iterrows():
        base = answers.loc[row["prompt_id"]]
        examples.append(
            Example(
                str(row["prompt_id"]),
                str(row["text"]),
                _about(row),
                str(base["text"]),
                _about(base),
                bool(base["has"]),
            )
        )
    return FeatureTexts(
        tuple(examples), len(texts.now), int(texts.base["has"].sum()), len(texts.base)
    )


def highlighted(text: str, places: Sequence[Span]) -> str:
    """The text, fit to be shown as text, with marks around these places; without, where it has such
    marks itself.
    """
    # Marks that the text brought along could not be told from ours.
    if OPEN in text or SHUT in text:
        return multiline(text)
    parts, at = [], 0
    for start, end in places:
        parts += [text[at:start], f"{OPEN}{text[start:end]}{SHUT}"]
        at = end
    return multiline("".join([*parts, text[at:]]))


def _counted(compared: FeatureTexts, iteration: str) -> str:
    now, base = len(compared.examples), compared.base
    return (
        f"{now} of {compared.texts} compared texts of {series.short_name(iteration)} have it, and "
        f"{base} of {compared.base_texts} of the base policy's. The highest reward comes first. "
        "Beside it: the base policy's answer to the same prompt, one that has the feature too "
        f"where there is one. {OPEN} and {SHUT} mark where it stands."
    )


def _about(row: pd.Series[Any]) -> str:
    human = NOTHING if pd.isna(row["human"]) else figure(float(row["human"]))
    return f"reward {figure(float(row['reward']))}, human score {human} ({row['sample_id']})"


def _pair(feature: Feature, example: Example, prompt: str, iteration: str) -> None:
    said(one_line(prompt, MOST_PROMPT))
    base_title = "base policy, has it too" if example.base_has else "base policy"
    sides = (
        (base_title, example.base, example.base_about, example.base_has),
        (series.short_name(iteration), example.text, example.about, True),
    )
    for column, (title, text, about, has) in zip(st.columns(2), sides, strict=True):
        with column.container(border=True, height="stretch", gap="xsmall"):
            st.caption(title)
            places = spans(feature.kind, feature.name, text) if has else []
            said(highlighted(text, places) if text.strip() else "(an empty text)")
            st.caption(escaped(about))


def _link_to_samples(run: Run, iteration: str, feature: Feature) -> None:
    """The Samples page with these letters searched for; a format is nothing that letters find."""
    page = BY_FILE["samples.py"]
    address = {"run": run.path.name, "where": iteration, "sort": "highest reward"}
    label, warning = "All samples of this iteration", None
    if feature.kind != "format":
        address["q"] = feature.name
        label = "Search these letters in all samples"
        warning = (
            "The search looks for letters, in prompts about groups too: it may find more texts, "
            "or fewer."
        )
    st.page_link(page.path, icon=page.icon, query_params=address, label=label, help=warning)
