"""From a run folder to its report: a pure function of the recorded files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reports.document.model import Document, Section
from reports.run_report import appendix, behaviour, first_page, methods, origins, scores, verdict
from reports.run_report.material import Material
from restaudit.errors import BadInput
from restaudit.evidence.record import Run

# In the report's order; the app shows the same sections on its pages.
SECTIONS: Mapping[str, Callable[[Material], Section]] = {
    "verdict": verdict.verdict,
    "scores": scores.reward_and_human,
    "bias": behaviour.bias,
    "diversity": behaviour.diversity,
    "capability": behaviour.capability,
    "reward-model": origins.reward_model,
    "data": origins.data,
    "lineage": origins.lineage_section,
    "compute": methods.computation,
    "methods": methods.methods,
    "integrity": methods.integrity,
    appendix.KEY: appendix.everything,
}


def run_report(run: Run) -> Document:
    """The report of a run that is finished, halted or half done; the same folder gives the same
    document.

    Raises BadInput for a folder that cannot be read, VerificationFailed where a file it reads is
    not as recorded.
    """
    material = Material(run)
    for key in ("artifacts", "prompts", "config.loop", "config.policy.model"):
        node = run.plan
        for part in key.split("."):
            if part not in node:
                raise BadInput(f"{run.path}/plan.json: {key}: missing; restaudit always writes it")
            node = node[part]
    return Document(
        kind="run",
        title=f"Audit report: {run.name}",
        subtitle=f"{run.loop.method} on {run.plan['config']['policy']['model']}",
        banner=verdict.banner(material),
        sections=tuple(section(material) for section in SECTIONS.values()),
        heads=((run.name, material.records.head),),
        front=first_page.front(material),
    )
