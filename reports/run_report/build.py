"""From a run folder to its report: a pure function of the recorded files."""

from __future__ import annotations

from reports.document.model import Document
from reports.run_report import about_it, behaviour, made_from, scores, verdict
from reports.run_report.material import Material
from restaudit.record import Run


def run_report(run: Run) -> Document:
    """The report of a run that is finished, halted or half done; the same folder gives the same document.

    Raises BadInput for a folder that cannot be read, VerificationFailed where a file it reads is not as recorded.
    """
    of = Material(run)
    sections = (
        verdict.verdict(of),
        scores.reward_and_human(of),
        behaviour.bias(of),
        behaviour.diversity(of),
        behaviour.capability(of),
        made_from.reward_model(of),
        made_from.data(of),
        made_from.lineage_section(of),
        about_it.took(of),
        about_it.methods(of),
        about_it.integrity(of),
    )
    config = run.plan["config"]
    subtitle = f"{config['loop']['preset']} on {config['policy']['model']}"
    return Document(
        kind="run",
        title=f"Audit report: {run.name}",
        subtitle=subtitle,
        banner=verdict.banner(of),
        sections=sections,
        heads=((run.name, of.records.head),),
    )
