"""Page one, for whoever has two minutes: may it go on, why, what got better and worse, what a
reviewer should know, what is open, and a pair of texts.
"""

from __future__ import annotations

from reports.document.model import Block, Fact, Facts, Paragraph, Passages, Row, Table
from reports.record import series
from reports.record.files import Source
from reports.run_report.material import Material
from reports.run_report.scores import pair
from reports.run_report.tables import chart
from restaudit.evidence.conclusion import Conclusion
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import digest_in
from restaudit.evidence.shown import count
from restaudit.files import plain


def front(material: Material) -> tuple[Block, ...]:
    """The blocks of page one, in order."""
    told = material.conclusion
    verdict = f"{told.word}: {told.reason}"
    blocks: list[Block] = [Paragraph(verdict, "verdict", _decided(material, told))]
    if told.unfinished:
        blocks.append(Paragraph(told.unfinished, "warning", (material.records.source(LEDGER),)))
    if told.changes:
        blocks.append(_changes(material, told))
    known = _to_know(material, told)
    if known is not None:
        blocks.append(known)
    if told.open:
        blocks.append(_open(material, told))
    if len(material.iterations) > 1:
        lines = {
            "divergence.reward_change": series.REWARD,
            "divergence.human_change": f"Human score: {material.human}",
        }
        blocks.append(
            chart(
                material,
                "Reward against human score",
                "change since the base policy, in its standard deviations, 95% intervals",
                lines,
                reference=0.0,
                reference_label="base policy",
                at_base=0.0,
            )
        )
    texts = pair(material)
    if isinstance(texts, Passages):
        blocks.append(texts)
    blocks.append(_record(material))
    return tuple(blocks)


def _decided(material: Material, told: Conclusion) -> tuple[Source, ...]:
    if told.look is None:
        return ()
    return (material.records.source(f"{told.look}/decision.json"),)


def _changes(material: Material, told: Conclusion) -> Facts:
    last = material.iterations[-1]
    facts = []
    for change in told.changes:
        source = material.from_measurements(last, change.metric)
        # In words too: a cell that began with a plus could be taken for a formula.
        way = {True: "rose", False: "fell", None: "no clear change"}[change.better]
        facts.append(Fact(change.what.capitalize(), f"{way}: {change.text}", sources=(source,)))
    if told.best is not None:
        best = told.best
        text = f"{series.short_name(best.iteration)} ({best.text}), not the last"
        if best.exported:
            text += f": restaudit export RUN --format peft --iteration {best.iteration}"
        source = material.from_measurements(best.iteration, "divergence.human_change")
        facts.append(Fact("Best human score", text, sources=(source,)))
    at = series.short_name(last)
    stage = f", {told.stage}" if told.stage else ""
    return Facts(tuple(facts), f"Changes since the base policy at {at}, 95% intervals{stage}")


def _to_know(material: Material, told: Conclusion) -> Table | None:
    """What stands beside the verdict: whatever was found, whose judgement it is."""
    rows = []
    for finding in told.found:
        text = f"For the better: {finding.text}" if finding.good else finding.text
        rows.append(Row((text,), (_source(material, *finding.source),)))
    if told.judge:
        source = (material.from_measurements(material.iterations[0], "human"),)
        rows.append(Row((told.judge,), source))
    if not rows:
        return None
    by_chance = count(round(told.looked_at / 20), "interval")
    note = (
        f"{count(told.looked_at, 'interval')} on bias and capability were looked at, each at 95% "
        f"by itself: about {by_chance} would show a difference by chance alone."
    )
    return Table(
        "What a reviewer should know",
        ("what",),
        tuple(rows),
        prose=(0,),
        note=note if told.found else "",
    )


def _source(material: Material, file: str, at: str) -> Source:
    if material.records.has(file):
        return material.records.source(file, at)
    # A stress test comes after the run: the ledger does not have it, and its digest is made now.
    return Source(file, at, digest_in(material.run.path, file, plain.LARGEST).sha256)


def _open(material: Material, told: Conclusion) -> Table:
    source = _decided(material, told)
    rows = tuple(Row((o.gate, o.text, o.settle or "not known"), source) for o in told.open)
    columns = ("check", "where it stands", "what would settle it")
    return Table("Open", columns, rows, prose=(1, 2))


def _record(material: Material) -> Paragraph:
    """What this report itself has seen of the record, and who says more."""
    events = count(len(material.run.events), "event")
    return Paragraph(
        f"Record: {events}, head {material.records.head[:16]}…; every file that this report reads "
        "has the digest that the ledger gives. To check all of it: restaudit verify RUN.",
        "note",
        (material.records.source(LEDGER),),
    )
