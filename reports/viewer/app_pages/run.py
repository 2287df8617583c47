"""The page that shows one run: decisions, reward against human score, measurements, samples."""

from __future__ import annotations

import streamlit as st

from reports import series
from reports.viewer import charts, reading, samples, tables, words
from restaudit.headline import alarms, learned, refitted
from restaudit.record import Run, Summary


def _choose() -> Summary:
    found = {s.path.name: s for s in reading.summaries(str(st.session_state["runs_root"]))}
    if not found:
        st.info("There is no run to show yet. The Runs page says how to make the first one.", title="No runs here yet")
        st.stop()
    if "run" not in st.session_state and "run" not in st.query_params:
        st.switch_page(__file__, query_params={"run": next(iter(found))})
    name = st.selectbox(
        "Run",
        list(found),
        index=None,
        key="run",
        bind="query-params",
        placeholder="Choose a run",
        label_visibility="collapsed",
        width=460,
    )
    # The address and the browser are not to be trusted with a path: only a name that was found is opened.
    if name not in found:
        st.info("The address names a run that is not in this folder. Choose one of the list.", title="No such run")
        st.stop()
    return found[name]


def _header() -> Summary:
    with st.container(horizontal=True, vertical_alignment="center"):
        summary = _choose()
        look = words.state(summary.state)
        st.badge(summary.state, icon=look.icon, color=look.colour, help=look.meaning)
        if summary.steps_planned:
            st.caption(f"{summary.steps_done} of {summary.steps_planned} steps", width="content")
        if summary.started:
            st.text(f"started {summary.started[:16].replace('T', ' ')} UTC")
    return summary


def _problem(title: str, body: str, detail: str) -> None:
    st.error(body, title=title)
    st.code(detail, language=None, wrap_lines=True)


def _overrides(run: Run) -> None:
    for o in run.overrides():
        st.warning(
            "A gate of the sealed policy stopped this run, and a person let it go on.",
            title="Overridden",
            icon=":material/warning:",
        )
        st.text(f"{o.iteration}, {o.time[:16].replace('T', ' ')} UTC: {', '.join(o.gates)} said HALT")
        st.text(f"Overridden by {o.by}: {o.reason}")


def _decisions(view: reading.Overview, *, stopped: bool) -> None:
    st.header("Decisions")
    if not view.decisions:
        st.caption("No gate has decided yet: decisions come after each Improve step's audit.")
        return
    with st.container(horizontal=True):
        for d in view.decisions:
            look = words.verdict(d.verdict)
            known = d.verdict if d.verdict in words.VERDICTS else "unknown"
            st.badge(f"{series.short_name(d.iteration)} {known}", icon=look.icon, color=look.colour, help=look.meaning)
    last = view.decisions[-1]
    if last.verdict == "HALT" and stopped:
        which = ", ".join(g.gate for g in last.gates if g.verdict == "HALT")
        st.error(
            "The table below says which gate, and why.",
            title=f"Training was stopped at {series.short_name(last.iteration)}",
        )
        st.text(f"Gates that said HALT: {which}")


def _told(run: Run, view: reading.Overview) -> None:
    """What the policy learned at people's expense, and how good the alarms are, where either is known."""
    told = learned(run, view.iterations[-1])
    for line in (*([told] if told else []), *refitted(run), *alarms(run)):
        st.text(line)


def _picture(view: reading.Overview) -> None:
    st.header("Reward against human score")
    human = view.human.name
    wide, narrow = st.columns([2, 1], gap="medium")
    with wide:
        title = "Change from the base policy, in base-policy standard deviations"
        chart = charts.lines(view.changes, view.iterations, human, title=title, dotted=0.0, height=460)
        st.altair_chart(chart, key="reward_human", alt=series.describe(view.changes, view.decisions))
        for label in (series.REWARD, human):
            if reason := series.why_missing(view.changes, label):
                st.text(f"{label} was not measured: {reason}")
    with narrow:
        for table, title, dotted, key in (
            (view.diversity, "Diversity, base policy = 1", 1.0, "diversity"),
            (view.correlation, "Reward–human correlation", 0.0, "correlation"),
        ):
            if table["value"].notna().any():
                chart = charts.lines(table, view.iterations, human, title=title, dotted=dotted, height=225)
                st.altair_chart(chart, key=key, alt=series.describe(table))
            else:
                st.text(f"{title} was not measured: {table['reason'].iloc[-1]}")
    st.caption("Bars are 95% intervals over prompts; changes are paired with the base policy on the same prompts.")
    st.text(f"Human score: {human}. {view.human.description}")
    st.text(f"Reward: {view.reward_unit}.")


def _detail(run: Run, view: reading.Overview) -> None:
    st.header("What was measured")
    verdicts = {d.iteration: d for d in view.decisions}

    def written(iteration: str) -> str:
        decision = verdicts.get(iteration)
        known = decision is not None and decision.verdict in words.VERDICTS
        sign = f" {words.verdict(decision.verdict).sign} {decision.verdict}" if decision and known else ""
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
        st.caption("The base policy is what the others are compared with; no gate decides about it.")
    st.subheader("Measurements")
    tables.measurements(reading.measurements(run, chosen))


def _show(summary: Summary) -> None:
    run = Run(summary.path)
    _overrides(run)
    view = reading.overview(run)
    if not view.iterations:
        st.info("The charts appear after the base policy's audit.", title="Nothing has been measured yet")
        st.text(f"Human score: {view.human.name}. {view.human.description}")
        return
    _decisions(view, stopped=run.halt is not None)
    _told(run, view)
    _picture(view)
    _detail(run, view)
    st.header("Samples side by side")
    samples.side_by_side(run, view.iterations, view.human.name)


st.title("Run")
chosen_run = _header()
if chosen_run.problem is not None:
    _problem(
        "This run folder cannot be read",
        "Nothing of it is shown, since nothing in it can be relied on.",
        chosen_run.problem,
    )
else:
    try:
        _show(chosen_run)
    except series.READ_ERRORS as error:
        _problem(
            "The rest of this run cannot be shown",
            "A file that the ledger names is missing or damaged. `restaudit verify` names the first one.",
            f"{type(error).__name__}: {error}",
        )
