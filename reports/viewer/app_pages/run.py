"""The page that shows one run in five minutes: decisions, reward against human score, what is not
known.
"""

from __future__ import annotations

import streamlit as st

from reports.record import series
from reports.viewer import badges, blocks, frame, reading
from reports.viewer.blocks import draw_lines
from reports.viewer.pages import link_to
from reports.viewer.text import said
from restaudit.evidence.record import Run
from restaudit.files.spreadsheet import guarded
from restaudit.gates import Decision
from restaudit.loop.headline import alarms, learned, refitted

NUMBER = "%.3g"


def _decisions(view: reading.Overview, *, stopped: bool) -> None:
    st.header("Decisions")
    if not view.decisions:
        st.caption("No gate has decided yet: decisions come after each Improve step's audit.")
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
    last = view.decisions[-1]
    if last.verdict in badges.VERDICTS:
        said(
            f"The last one, at {series.short_name(last.iteration)}, is {last.verdict}: "
            f"{badges.verdict(last.verdict).meaning}."
        )
    # The worst first; what is OK needs no words.
    for verdict in ("HALT", "WARN", "INCONCLUSIVE"):
        gates = [f"{g.gate} ({g.why})" for g in last.gates if g.verdict == verdict]
        if gates:
            said(f"{verdict} at {series.short_name(last.iteration)}: {'; '.join(gates)}")
    # After an override the HALT no longer stops it.
    if last.verdict == "HALT" and stopped:
        which = ", ".join(g.gate for g in last.gates if g.verdict == "HALT")
        st.error(
            "The table below says which gate, and why.",
            title=f"Training was stopped at {series.short_name(last.iteration)}",
        )
        said(f"Gates that said HALT: {which}")


def _headlines(run: Run, view: reading.Overview) -> None:
    """What the policy learned at people's expense, and how good the alarms are, where either is
    known.
    """
    what_it_learned = learned(run, view.iterations[-1])
    if what_it_learned:
        said(what_it_learned)
    for line in (*refitted(run), *alarms(run)):
        said(line)


def _picture(view: reading.Overview) -> None:
    st.header("Reward against human score")
    human = view.human.name
    wide, narrow = st.columns([2, 1], gap="medium")
    with wide:
        title = "Change from the base policy, in base-policy standard deviations"
        draw_lines(
            view.changes,
            tuple(view.iterations),
            human,
            title=title,
            dotted=0.0,
            height=460,
            key="reward_human",
            # The figures in words, for who cannot see the chart.
            alt=series.describe(view.changes, view.decisions),
        )
        for label in (series.REWARD, human):
            reason = series.why_missing(view.changes, label)
            if reason:
                said(f"{label} was not measured: {reason}")
    with narrow:
        for table, title, dotted, key in (
            (view.diversity, "Diversity, base policy = 1", 1.0, "diversity"),
            (view.correlation, "Reward–human correlation", 0.0, "correlation"),
        ):
            if table["value"].notna().any():
                draw_lines(
                    table,
                    tuple(view.iterations),
                    human,
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
    said(f"Human score: {human}. {view.human.description}")
    said(f"Reward: {view.reward_unit}.")


def _gates(decision: Decision) -> None:
    """What every gate said at one look."""
    table = series.gate_table(decision)
    table.insert(2, "title", [series.title_of(name) for name in table["metric"]])
    table["verdict"] = [f"{badges.verdict(v).sign} {v}" for v in table["verdict"]]
    if table.empty:
        st.info("The sealed policy of this run has no gates, so nothing was decided.")
        return
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
                "Interval", help="At the level this look uses."
            ),
            "must_stay": st.column_config.TextColumn("Must stay"),
            "n_prompts": st.column_config.NumberColumn(
                "Prompts", help="The unit that was resampled."
            ),
            "mde": st.column_config.NumberColumn(
                "Detectable", format=NUMBER, help="Minimum detectable effect."
            ),
            "why": st.column_config.TextColumn("Why", width="large"),
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
    _decisions(view, stopped=run.halt is not None)
    _headlines(run, view)
    _picture(view)
    _rest(run)
    _detail(run, view)
    st.header("Not measured")
    # What is not known ends the page, and is never folded away.
    blocks.draw_block(reading.section(run, "verdict").blocks[-1], "not-measured")


with frame.guarded():
    _show(frame.chosen())
