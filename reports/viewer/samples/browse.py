"""Search, filter, sort and page through the samples of one place."""

from __future__ import annotations

from typing import cast, get_args

import streamlit as st

from reports import series
from reports.viewer import frame
from reports.viewer.samples import address
from reports.viewer.samples.cards import WHY, answer, card
from reports.viewer.samples.places import Place, last_audit, places, trained_on
from reports.viewer.samples.prompt import prompts_of, show_across
from reports.viewer.samples.query import FLAGS, SORTS, Facts, Human, Numbers, Query, facts, matching
from reports.viewer.samples.rows import samples
from reports.viewer.samples.tables import recorded
from restaudit.record import Run

PAGE = 25
MOST_GROUPS = 500
ANY = "any"
FILTERS = ("q", "sort", "kept", "group", "human", "flags", "reward_from", "reward_to", "human_from", "human_to")


@st.fragment
def browse(run: Run) -> None:
    """The list of samples; only this part is drawn again when a filter or the page changes."""
    with frame.guarded():
        found = places(run)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            place = _place(found)
            recorded(run, place.file)
            known = facts(run, place)
            query = _query(run, place, known)
        positions = matching(run, place, query)
        _list(run, place, _page_of(positions, known.rows))


def _place(found: list[Place]) -> Place:
    names = [p.name for p in found]
    titles = {p.name: p.title for p in found}
    address.choices("where", names, lambda n: titles.get(n, n), "where")
    chosen = st.selectbox("Where", names, index=names.index(last_audit(found).name), key="where", bind="query-params",
                          format_func=lambda n: titles.get(n, n), on_change=_first_page, width=210)  # fmt: skip
    # A browser can send anything; only a place of this run becomes part of a path.
    return next((p for p in found if p.name == chosen), last_audit(found))


def _query(run: Run, place: Place, known: Facts) -> Query:
    text = st.text_input("Search in the texts", key="q", bind="query-params", type="search", max_chars=200,
                         placeholder="any part of a text", on_change=_first_page, width=280)  # fmt: skip
    sort = _select("Order", list(SORTS), "sort", width=210)
    with st.popover("Filters", icon=":material/filter_list:"):
        kept = _kept(run, place)
        group = None
        if len(known.groups) > 1:
            group = _select("Group", [ANY, *known.groups[:MOST_GROUPS]], "group")
        human = _select("Human score", list(get_args(Human)), "human")
        flags = st.pills("Only samples that are", FLAGS, selection_mode="multi", key="flags", bind="query-params",
                         on_change=_first_page)  # fmt: skip
        reward = _range("Reward", "reward")
        human_range = _range("Human score", "human")
        st.button("Clear all filters", on_click=_clear, icon=":material/filter_list_off:", key="clear_filters")
    return Query(
        text=text or "", sort=sort, kept=kept, group=None if group in (None, ANY) else group,
        human=cast(Human, human), flags=tuple(f for f in FLAGS if f in flags), reward=reward,
        human_range=human_range,
    )  # fmt: skip


def _kept(run: Run, place: Place) -> str | None:
    steps = trained_on(run, place)
    if not steps:
        return None
    written = {
        ANY: ANY,
        **{s: f"trained on in {series.short_name(s)}" for s in steps},
        **{f"not {s}": f"left out of {series.short_name(s)}" for s in steps},
    }
    chosen = _select("Improve step", list(written), "kept", written)
    return None if chosen == ANY else chosen


def _select(label: str, options: list[str], key: str, written: dict[str, str] | None = None, width: int = 0) -> str:
    def label_of(option: str) -> str:
        return (written or {}).get(option, option)

    address.choices(key, options, label_of, label.lower())
    chosen = st.selectbox(label, options, key=key, bind="query-params", format_func=label_of, on_change=_first_page,
                          width=width or "stretch")  # fmt: skip
    return chosen if chosen in options else options[0]


def _range(label: str, key: str) -> tuple[float | None, float | None]:
    ends = []
    for column, end in zip(st.columns(2), ("from", "to"), strict=True):
        with column:
            address.numbers(f"{key}_{end}", f"{label.lower()} {end}")
            ends.append(st.number_input(f"{label} {end}", value=None, key=f"{key}_{end}", bind="query-params",
                                        format="%.3g", placeholder=ANY, on_change=_first_page))  # fmt: skip
    return ends[0], ends[1]


def _page_of(positions: Numbers, rows: int) -> tuple[int, ...]:
    pages = max(1, -(-len(positions) // PAGE))
    address.page("page", pages)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{len(positions):,} of {rows:,} samples")
        page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    first = PAGE * (min(max(int(page), 1), pages) - 1)
    return tuple(int(p) for p in positions[first : first + PAGE])


def _list(run: Run, place: Place, page: tuple[int, ...]) -> None:
    shown = samples(run, place, page)
    asked = st.query_params.get(WHY)
    if asked and asked not in {s.sample_id for s in shown}:
        st.subheader("Why was this sample trained on?")
        answer(run, asked)
    if not shown:
        st.info("No sample is like this. Take a filter away, or search for a shorter part.", title="Nothing found")
        return
    texts = prompts_of(run, place, tuple(dict.fromkeys(s.prompt_id for s in shown)))

    def across(prompt: str) -> None:
        show_across(run, place, prompt)

    for sample in shown:
        card(run, place, sample, texts.get(sample.prompt_id, sample.prompt_id), across)


def _first_page() -> None:
    st.session_state["page"] = 1


def _clear() -> None:
    for key in FILTERS:
        st.session_state.pop(key, None)
    _first_page()
