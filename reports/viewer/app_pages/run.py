"""The page that shows one run in two minutes: what it concludes and why, and below it every
decision and measurement.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from reports.record import series
from reports.viewer import badges, blocks, frame, reading
from reports.viewer.blocks import draw_lines
from reports.viewer.pages import link_to
from reports.viewer.text import escaped, said
from restaudit.evidence.conclusion import Conclusion, learned
from restaudit.evidence.record import Run
from restaudit.evidence.shown import count
from restaudit.files.spreadsheet import guarded
from restaudit.gates import Decision
from restaudit.loop.headline import alarms, refitted

NUMBER = "%.3g"
MOST = 4000
# Pixels of either half of the first screen.
SIDE = 450


def _verdict(told: Conclusion, *, halted: bool) -> None:
    """The verdict's word and its reason, before everything else."""
    look = badges.conclusion(told.word)
    reason = escaped(told.reason, MOST)
    # After an override nothing stops it any more.
    if halted:
        st.error(reason, title=told.word, icon=look.icon)
    else:
        with st.container(border=True):
            # One of our own words, and so no text that could become markup.
            st.markdown(f"#### :{look.colour}-badge[{look.icon} {told.word}] {reason}")
    if told.unfinished:
        st.markdown(escaped(told.unfinished, MOST))


def _changed(told: Conclusion) -> None:
    """Reward, human score and variety, and the best human score where that is not the last."""
    for column, change in zip(st.columns(max(len(told.changes), 1)), told.changes, strict=False):
        value, _, interval = change.text.partition(" [")
        with column.container(border=True, gap="xsmall"):
            st.caption(escaped(change.what.capitalize()))
            # A plus or a minus in front could be taken for a formula, or a list.
            arrow = {"+": "▲ ", "−": "▼ "}.get(value[:1], "")
            st.markdown(f"**{arrow}{escaped(value.lstrip('+−'))}**")
            clear = "" if change.better is not None else ", no clear change"
            st.caption(escaped(f"[{interval}{clear}"))
    if told.changes:
        stage = f"; {told.stage}" if told.stage else ""
        st.caption(
            escaped(
                f"Change since the base policy at {series.short_name(told.look or '')}, with 95% "
                f"intervals{stage}.",
                MOST,
            )
            if told.look
            else "Change since the base policy, with 95% intervals."
        )
    best = told.best
    if best is not None:
        name = series.short_name(best.iteration)
        st.markdown(escaped(f"Best human score: {name} ({best.text}), not the last.", MOST))
        if best.exported:
            st.code(
                f"restaudit export RUN --format peft --iteration {best.iteration}",
                language="bash",
                wrap_lines=True,
            )


def _to_know(run: Run, told: Conclusion, last: str) -> None:
    """What a reviewer should know, and what is open."""
    habits = learned(run, last)
    found = [habits] if habits else []
    found += [f.text for f in told.found if not f.good]
    found += [f"for the better: {f.text}" for f in told.found if f.good]
    found += [told.judge] if told.judge else []
    opened = [f"{o.gate}: {o.text}{f'; {o.settle}' if o.settle else ''}" for o in told.open]
    _bullets("What a reviewer should know", found)
    if told.found:
        st.caption(
            f"{told.looked_at} intervals on bias and capability were looked at, each at 95% by "
            f"itself: about {told.looked_at / 20:.0f} would show a difference by chance alone."
        )
    _bullets("Open", opened)


def _bullets(title: str, lines: Sequence[str]) -> None:
    if lines:
        st.markdown(f"**{title}**")
        st.markdown("\n".join(f"- {escaped(line, MOST)}" for line in lines))


def _record(run: Run) -> None:
    """One line on the record."""
    events = count(len(run.events), "event")
    st.caption(
        f"Record: {events}, head {run.events[-1].hash[:16]}. This page does not check it: Verify does."
    )


def _decisions(view: reading.Overview) -> None:
    st.header("Decisions")
    if not view.decisions:
        st.caption("No check has decided yet: decisions come after each Improve step's audit.")
        return
    with st.container(horizontal=True):
        for d in view.decisions:
            look = badges.verdict(d.verdict)
            known = d.verdict if d.verdict in badges.VERDICTS else "unknown"
            st.badge(
                f"{series.short_name(d.iteration)} {known}",
                icon=look.icon,
                color=look.colour,
                help=look.meaning,
            )


def _picture(view: reading.Overview) -> None:
    """Reward against human score: the one chart of the first screen."""
    human = view.human.name
    draw_lines(
        view.changes,
        tuple(view.iterations),
        human,
        title="Change since the base policy (its sd)",
        dotted=0.0,
        height=320,
        key="reward_human",
        # The figures in words, for who cannot see the chart.
        alt=series.describe(view.changes, view.decisions),
    )
    for label in (series.REWARD, human):
        reason = series.why_missing(view.changes, label)
        if reason:
            said(f"{label} was not measured: {reason}")


def _more_pictures(view: reading.Overview) -> None:
    st.header("Variety, and whether reward and human score agree")
    for column, (table, title, dotted, key) in zip(
        st.columns(2, gap="medium"),
        (
            (view.diversity, "Diversity, base policy = 1", 1.0, "diversity"),
            (view.correlation, "Reward–human correlation", 0.0, "correlation"),
        ),
        strict=True,
    ):
        with column:
            if table["value"].notna().any():
                draw_lines(
                    table,
                    tuple(view.iterations),
                    view.human.name,
                    title=title,
                    dotted=dotted,
                    height=225,
                    key=key,
                    alt=series.describe(table),
                )
            else:
                said(f"{title} was not measured: {table['reason'].iloc[-1]}")
    st.caption(
        "Bars are 95% intervals over prompts; changes are paired with the base policy on the same "
        "prompts."
    )
    said(f"Human score: {view.human.name}. {view.human.description}")
    said(f"Reward: {view.reward_unit}.")


def _gates(decision: Decision) -> None:
    """What every gate said at one look."""
    table = series.gate_table(decision)
    table.insert(2, "title", [series.title_of(name) for name in table["metric"]])
    table["verdict"] = [f"{badges.verdict(v).sign} {v}" for v in table["verdict"]]
    if table.empty:
        st.info("The sealed policy of this run has no gates, so nothing was decided.")
        return
    # In words, which wrap: in a table a reason would be cut off.
    for g in decision.gates:
        look = badges.verdict(g.verdict)
        known = g.verdict if g.verdict in badges.VERDICTS else "unknown"
        settle = f"; {g.settle}" if g.settle else ""
        st.markdown(
            f":{look.colour}-badge[{look.icon} {known}] **{escaped(g.gate)}** "
            f"{escaped(f'{g.why}{settle}', MOST)}"
        )
    # Runs of before and of today have columns of their own.
    table = table.drop(columns=["settle", "why"])
    table = table[[c for c in table if table[c].replace("", None).notna().any()]]
    st.dataframe(
        guarded(table),
        hide_index=True,
        key="gates",
        alt="What every gate of the sealed policy said at this look",
        column_config={
            "gate": st.column_config.TextColumn("Gate", pinned=True),
            "verdict": st.column_config.TextColumn("Verdict"),
            "title": st.column_config.TextColumn("What"),
            "metric": st.column_config.TextColumn("Measurement"),
            "value": st.column_config.NumberColumn("Value", format=NUMBER),
            "interval": st.column_config.TextColumn(
                "Interval", help="At the level that this gate spends at this look, to fire."
            ),
            "must_stay": st.column_config.TextColumn("Must stay"),
            "passes_by": st.column_config.TextColumn(
                "Interval to pass", help="OK needs all of it on the right side: one-sided 5%."
            ),
            "ok_needs": st.column_config.TextColumn("OK needs"),
            "n": st.column_config.NumberColumn("Texts"),
            "n_prompts": st.column_config.NumberColumn(
                "Prompts", help="The unit that was resampled."
            ),
            "stage": st.column_config.NumberColumn("Stage"),
            "finds": st.column_config.NumberColumn(
                "Finds", format=NUMBER, help="The true value that it finds 8 times in 10."
            ),
            "mde": st.column_config.NumberColumn(
                "MDE",
                format=NUMBER,
                help="How far beyond the margin the truth would have to be, to be found 8 times in "
                "10.",
            ),
        },
        placeholder="—",
    )


@st.fragment
def _measurements(run: Run, iteration: str) -> None:
    """Every measurement of one iteration, by the sections of the probes' contract; what was not
    measured says why.
    """
    sections = reading.measurements(run, iteration)
    if not sections:
        st.info("This iteration has no measurements.")
        return
    # Pills and not tabs: a row of tabs has no second line, and hides the sections at its end.
    chosen = st.pills(
        "Section",
        list(sections),
        default=next(iter(sections)),
        required=True,
        key="section",
        label_visibility="collapsed",
    )
    section = chosen if chosen in sections else next(iter(sections))
    table = sections[section]
    # An empty wide column would push the figures out of sight.
    if not table["note"].any():
        table = table.drop(columns="note")
    st.dataframe(
        guarded(table),
        hide_index=True,
        key=f"measured_{section}",
        alt=f"{section}: measurements of this iteration with 95% intervals",
        column_config={
            "title": st.column_config.TextColumn("What", pinned=True),
            "measurement": st.column_config.TextColumn("Measurement"),
            "value": st.column_config.NumberColumn("Value", format=NUMBER),
            "low": st.column_config.NumberColumn("95% low", format=NUMBER),
            "high": st.column_config.NumberColumn("95% high", format=NUMBER),
            "baseline": st.column_config.NumberColumn("Base policy", format=NUMBER),
            "unit": st.column_config.TextColumn("Unit"),
            "n": st.column_config.NumberColumn("Samples"),
            "n_prompts": st.column_config.NumberColumn("Prompts"),
            "method": st.column_config.TextColumn("Method"),
            "note": st.column_config.TextColumn("Note", width="large"),
        },
        placeholder="—",
        height="content" if len(table) <= 15 else 560,
    )


def _detail(run: Run, view: reading.Overview) -> None:
    st.header("What was measured")
    verdicts = {d.iteration: d for d in view.decisions}

    def written(iteration: str) -> str:
        decision, name = verdicts.get(iteration), series.short_name(iteration)
        # A label is read as Markdown: of what a record says, only a known word becomes part of it.
        if decision is None or decision.verdict not in badges.VERDICTS:
            return name
        return f"{name} {badges.verdict(decision.verdict).sign} {decision.verdict}"

    iteration = st.segmented_control(
        "Iteration",
        view.iterations,
        default=view.iterations[-1],
        required=True,
        key=f"iteration_{run.path.name}",
        format_func=written,
    )
    chosen = str(iteration)
    # The browser is not to be trusted with the name of a folder.
    if chosen not in view.iterations:
        st.stop()
    if chosen in verdicts:
        st.subheader("Gates")
        _gates(verdicts[chosen])
    else:
        st.caption(
            "The base policy is what the others are compared with; no gate decides about it."
        )
    st.subheader("Measurements")
    _measurements(run, chosen)


def _rest(run: Run) -> None:
    """Where to read on."""
    with st.container(horizontal=True):
        for file in (
            "divergence.py",
            "bias.py",
            "diversity.py",
            "samples.py",
            "documents.py",
            "evidence.py",
        ):
            link_to(file, run)


def _show(run: Run) -> None:
    view = reading.overview(run)
    if not view.iterations:
        st.info(
            "The charts appear after the base policy's audit.",
            title="Nothing has been measured yet",
        )
        said(f"Human score: {view.human.name}. {view.human.description}")
        return
    told, texts = reading.first_screen(run)
    _verdict(told, halted=run.halt is not None)
    _changed(told)
    # Side by side where there is room, and below one another where columns would be too narrow.
    with st.container(horizontal=True, gap="large"):
        with st.container(width=SIDE):
            _to_know(run, told, view.iterations[-1])
        with st.container(width=SIDE):
            _picture(view)
    if texts is not None:
        blocks.draw_block(texts, "before-and-after")
    _record(run)
    _rest(run)
    _decisions(view)
    for line in (*refitted(run), *alarms(run)):
        said(line)
    _detail(run, view)
    _more_pictures(view)
    st.header("Not measured")
    # What is not known ends the page, and is never folded away.
    blocks.draw_block(reading.section(run, "verdict").blocks[-1], "not-measured")


with frame.guarded():
    _show(frame.chosen())
