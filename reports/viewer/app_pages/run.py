"""The page that shows one run in five minutes: decisions, reward against human score, what is not
known.
"""

from __future__ import annotations

import streamlit as st

from reports.record import series
from reports.viewer import blocks, frame, reading, tables, words
from reports.viewer.links import to
from reports.viewer.specs import draw_lines
from restaudit.evidence.record import Run
from restaudit.loop.headline import alarms, learned, refitted


def _decisions(view: reading.Overview, *, stopped: bool) -> None:
    st.header("Decisions")
    if not view.decisions:
        st.caption("No gate has decided yet: decisions come after each Improve step's audit.")
        return
    with st.container(horizontal=True):
        for d in view.decisions:
            look = words.verdict(d.verdict)
            known = d.verdict if d.verdict in words.VERDICTS else "unknown"
            st.badge(
                f"{series.short_name(d.iteration)} {known}",
                icon=look.icon,
                color=look.colour,
                help=look.meaning,
            )
    last = view.decisions[-1]
    if last.verdict in words.VERDICTS:
        st.text(
            f"The last one, at {series.short_name(last.iteration)}, is {last.verdict}: "
            f"{words.verdict(last.verdict).meaning}."
        )
    for verdict in ("HALT", "WARN", "INCONCLUSIVE"):
        if named := [f"{g.gate} ({g.why})" for g in last.gates if g.verdict == verdict]:
            st.text(f"{verdict} at {series.short_name(last.iteration)}: {'; '.join(named)}")
    if last.verdict == "HALT" and stopped:
        which = ", ".join(g.gate for g in last.gates if g.verdict == "HALT")
        st.error(
            "The table below says which gate, and why.",
            title=f"Training was stopped at {series.short_name(last.iteration)}",
        )
        st.text(f"Gates that said HALT: {which}")


def _told(run: Run, view: reading.Overview) -> None:
    """What the policy learned at people's expense, and how good the alarms are, where either is
    known.
    """
    told = learned(run, view.iterations[-1])
    for line in (*([told] if told else []), *refitted(run), *alarms(run)):
        st.text(line)


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
            alt=series.describe(view.changes, view.decisions),
        )
        for label in (series.REWARD, human):
            if reason := series.why_missing(view.changes, label):
                st.text(f"{label} was not measured: {reason}")
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
                st.text(f"{title} was not measured: {table['reason'].iloc[-1]}")
    st.caption(
        "Bars are 95% intervals over prompts; changes are paired with the base policy on the same "
        "prompts."
    )
    st.text(f"Human score: {human}. {view.human.description}")
    st.text(f"Reward: {view.reward_unit}.")


def _detail(run: Run, view: reading.Overview) -> None:
    st.header("What was measured")
    verdicts = {d.iteration: d for d in view.decisions}

    def written(iteration: str) -> str:
        decision = verdicts.get(iteration)
        known = decision is not None and decision.verdict in words.VERDICTS
        sign = (
            f" {words.verdict(decision.verdict).sign} {decision.verdict}"
            if decision and known
            else ""
        )
        return series.short_name(iteration) + sign

    iteration = st.segmented_control(
        "Iteration",
        view.iterations,
        default=view.iterations[-1],
        required=True,
        key=f"iteration_{run.path.name}",
        format_func=written,
    )
    chosen = str(iteration)
    if chosen not in view.iterations:
        st.stop()
    if chosen in verdicts:
        st.subheader("Gates")
        tables.gates(verdicts[chosen])
    else:
        st.caption(
            "The base policy is what the others are compared with; no gate decides about it."
        )
    st.subheader("Measurements")
    tables.measurements(reading.measurements(run, chosen))


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
            to(file, run)


def _show(run: Run) -> None:
    view = reading.overview(run)
    if not view.iterations:
        st.info(
            "The charts appear after the base policy's audit.",
            title="Nothing has been measured yet",
        )
        st.text(f"Human score: {view.human.name}. {view.human.description}")
        return
    _decisions(view, stopped=run.halt is not None)
    _told(run, view)
    _picture(view)
    _rest(run)
    _detail(run, view)
    st.header("Not measured")
    blocks.draw_block(reading.section(run, "verdict").blocks[-1], "not-measured")


with frame.guarded():
    _show(frame.chosen())
