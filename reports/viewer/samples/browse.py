"""Search, filter, sort and page through the samples of one place."""

from __future__ import annotations

from typing import cast, get_args

import streamlit as st

from reports.record import series
from reports.viewer import frame
from reports.viewer.samples.address import Address, forget
from reports.viewer.samples.cards import WHY, answer, card
from reports.viewer.samples.prompt import prompts_of, show_across
from reports.viewer.samples.query import (
    FLAGS,
    NOT,
    SORTS,
    Flag,
    Human,
    Numbers,
    PlaceFacts,
    Query,
    facts,
    matching,
)
from reports.viewer.samples.rows import Place, last_audit, places, recorded, samples, trained_on
from reports.viewer.text import one_line, said
from restaudit.evidence.record import Run

PAGE = 25
# A browser draws a list of all choices at once.
MOST_GROUPS, MOST_SAID = 500, 400
ANY = "any"
FILTERS = (
    "q",
    "sort",
    "kept",
    "group",
    "human",
    "flags",
    "reward_from",
    "reward_to",
    "human_from",
    "human_to",
)


@st.fragment
def browse(run: Run) -> None:
    """The list of samples; only this part is drawn again when a filter or the page changes."""
    with frame.guarded():
        every = places(run)
        address = Address(st.container(gap="xsmall"))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            place = _place(address, every)
            recorded(run, place.file)
            known = facts(run, place)
            query = _query(address, run, place, known)
        positions = matching(run, place, query)
        _list(run, place, _page_of(address, place, query, positions, known.rows))


def _place(address: Address, every: list[Place]) -> Place:
    by_name = {p.name: p for p in every}
    name = address.pick(
        "Where",
        list(by_name),
        "where",
        default=last_audit(every).name,
        width=190,
        written=lambda n: by_name[n].title,
    )
    return by_name[name]


def _query(address: Address, run: Run, place: Place, known: PlaceFacts) -> Query:
    text = address.text("Search in the texts", "q", placeholder="any part of a text", width=240)
    sort = address.pick("Order", list(SORTS), "sort", width=190)
    with st.popover("Filters", icon=":material/filter_list:"):
        kept = _kept(address, run, place)
        group = ANY
        # With one group there is nothing to choose between.
        if len(known.groups) > 1:
            group = address.pick("Group", [ANY, *known.groups[:MOST_GROUPS]], "group")
        human = address.pick("Human score", list(get_args(Human)), "human")
        flags = address.several("Only samples that are", FLAGS, "flags")
        reward = _range(address, "Reward", "reward")
        human_range = _range(address, "Human score", "human")
        st.button(
            "Clear all filters",
            on_click=forget,
            args=(FILTERS,),
            icon=":material/filter_list_off:",
            key="clear_filters",
        )
    return Query(
        text=text,
        sort=sort,
        kept=kept,
        group=None if group == ANY else group,
        human=cast(Human, human),
        flags=cast(tuple[Flag, ...], flags),
        reward=reward,
        human_range=human_range,
    )


def _kept(address: Address, run: Run, place: Place) -> str | None:
    # Only a Grow set is filtered; nothing of an audit is ever trained on.
    steps = trained_on(run, place)
    if not steps:
        return None
    written = {
        ANY: ANY,
        **{s: f"trained on in {series.short_name(s)}" for s in steps},
        **{f"{NOT}{s}": f"left out of {series.short_name(s)}" for s in steps},
    }
    chosen = address.pick("Improve step", list(written), "kept", written=lambda k: written[k])
    return None if chosen == ANY else chosen


def _range(address: Address, label: str, key: str) -> tuple[float | None, float | None]:
    low, high = st.columns(2)
    with low:
        first = address.number(f"{label} from", f"{key}_from", ANY)
    with high:
        return first, address.number(f"{label} to", f"{key}_to", ANY)


def _page_of(
    address: Address, place: Place, query: Query, positions: Numbers, rows: int
) -> tuple[int, ...]:
    """What was found, in words: a closed box of filters must not hide that something was left
    out.
    """
    pages = max(1, -(-len(positions) // PAGE))
    filters = "; ".join(query.in_words())
    colon = ": " if filters else ""
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
    ):
        said(f"{len(positions):,} of {rows:,} samples{colon}{one_line(filters, MOST_SAID)}")
        first = PAGE * (address.page(pages, f"{place} {query}") - 1)
    return tuple(int(p) for p in positions[first : first + PAGE])


def _list(run: Run, place: Place, page: tuple[int, ...]) -> None:
    shown = samples(run, place, page)
    asked = st.query_params.get(WHY)
    # A linked sample may be on another page of the list: its answer is given nevertheless.
    if asked and asked not in {s.sample_id for s in shown}:
        st.subheader("Why was this sample trained on?")
        answer(run, asked)
    if not shown:
        st.info(
            "No sample is like this. Take a filter away, or search for a shorter part.",
            title="Nothing found",
        )
        return
    texts = prompts_of(run, place, tuple(dict.fromkeys(s.prompt_id for s in shown)))

    def across(prompt: str) -> None:
        show_across(run, place, prompt)

    for sample in shown:
        card(run, place, sample, texts.get(sample.prompt_id, sample.prompt_id), across)
