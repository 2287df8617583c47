"""What was trained and tested on: prompts, splits, cleaning, synthetic rows by their policy,
duplicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.document.model import Row, Table
from reports.frameworks.readings.material import (
    NO_LOOK,
    Reading,
    absent,
    cited,
    config,
    joined,
    last_audit,
    measured_at,
    named,
    over_iterations,
    recorded,
    sealed,
    step_place,
)
from reports.record.compute import steps
from reports.record.files import Records
from reports.record.lineage import Policy, grows, policies, synthetic_share
from reports.record.series import short_name
from restaudit.evidence.record import BASE, KEPT
from restaudit.evidence.shown import lines_of, number

REPORT = "data/report.json"
NO_REPORT = f"{REPORT} with the counts was not recorded"
DUPLICATES = {
    "diversity.duplicates": "share of outputs that repeat another",
    "diversity.mode_share": "share of the most frequent opening",
    "diversity.vendi_ratio": "effective number of texts, ratio to the base policy",
    "diversity.distinct_2_ratio": "distinct word pairs, ratio to the base policy",
    "drift.copying": "long word sequences copied from the kept texts",
}


def data_sources(records: Records) -> Reading:
    """The prompt sets that the run read: where from, licence, format, which split they feed."""
    sets = config(records, "data").get("prompts")
    if not isinstance(sets, list) or not sets:
        return absent("the plan names no prompt set")
    counts = _counts(records)
    rows = []
    for k, one in enumerate(sets):
        read = counts.get(str(one.get("source")), {})
        cells = (
            str(one.get("source")),
            str(one.get("licence") or "no licence recorded"),
            str(one.get("format")),
            ", ".join(one.get("use") or ()),
            number(read.get("read")),
            number(read.get("used")),
            str(one.get("sha256") or "not pinned (built in, or recorded with the prompts)"),
        )
        sources = [sealed(records, f"config.data.prompts[{k}]")]
        sources += [records.source(REPORT, "rows")] if read else []
        rows.append(Row(cells, tuple(sources)))
    columns = ("source", "licence", "format", "feeds", "rows read", "rows used", "SHA-256")
    said = "prompts from " + joined([f"{r.cells[0]} ({r.cells[1]})" for r in rows])
    return Reading(
        said,
        tuple(r.sources[0] for r in rows),
        (Table("Prompt sets", columns, tuple(rows), prose=(0, 1)),),
    )


def data_splits(records: Records) -> Reading:
    """How prompts are kept apart, how many each part has, and what overlaps."""
    splits = (recorded(records, REPORT) or {}).get("splits")
    if not isinstance(splits, Mapping):
        return absent(NO_REPORT)
    exact, near = splits.get("exact", {}), splits.get("near", {})
    rows = tuple(
        Row(
            (
                pair.replace("~", " and "),
                number(exact[pair]),
                number(near.get(pair, {}).get("pairs")),
                number(near.get(pair, {}).get("share")),
            ),
            (records.source(REPORT, f"splits.near.{pair}"),),
        )
        for pair in sorted(exact)
    )
    table = Table(
        "Overlap between the parts",
        ("parts", "same prompts", "near-duplicate pairs", "share"),
        rows,
    )
    sizes = ", ".join(f"{k} {number(v)}" for k, v in sorted(splits.get("sizes", {}).items()))
    said = (
        f"prompts: {sizes}; each prompt belongs to one part, by the hash of its normalised text; "
        f"near duplicates by {splits.get('method')}, at {splits.get('jaccard')}; more than a "
        f"share of {splits.get('max_share')} is refused"
    )
    return Reading(said, (records.source(REPORT, "splits"),), (table,))


def data_cleaning(records: Records) -> Reading:
    """The rules for bad rows, and how many rows each left out."""
    rules = config(records, "data").get("rows")
    found = recorded(records, REPORT)
    if not isinstance(rules, Mapping) or found is None:
        return absent(NO_REPORT)
    dropped = [
        (
            f"{r.get('source')}: "
            f"{', '.join(f'{n} {why}' for why, n in (r.get('dropped') or {}).items()) or 'none'}"
        )
        for r in found.get("rows", [])
    ]
    said = (
        "rules: "
        + ", ".join(f"{k} {v}" for k, v in lines_of(rules))
        + "; rows left out: "
        + joined(dropped)
    )
    return Reading(said, (sealed(records, "config.data.rows"), records.source(REPORT, "rows")))


def data_counts(records: Records) -> Reading:
    """How many prompts, samples and training rows there are, and how many tokens."""
    made = grows(records)
    report = recorded(records, REPORT)
    if not made and report is None:
        return absent("no data was read or written yet")
    found = steps(records)
    kept = [(p.name, p.facts["kept"]) for p in _trained(records) if "kept" in p.facts]
    said = [
        f"samples written by a policy of this run: {number(sum(g.samples for g in made))}",
        f"human references among the candidates: {number(sum(g.references for g in made))}",
        (
            "rows trained on: "
            f"{', '.join(f'{short_name(n)} {number(k)}' for n, k in kept) or 'none yet'}"
        ),
        f"response tokens trained on, all epochs: {number(sum(s.trained_tokens for s in found))}",
    ]
    sources = tuple(step_place(records, g.step) for g in made)
    if report is not None:
        sizes = (report.get("splits") or {}).get("sizes", {})
        said.insert(
            0, "prompts: " + ", ".join(f"{k} {number(v)}" for k, v in sorted(sizes.items()))
        )
        sources = (records.source(REPORT, "splits.sizes"), *sources)
    return Reading(joined(said), sources)


def data_digests(records: Records) -> Reading:
    """The files that hold prompts and training rows, by SHA-256."""
    wanted = [
        n
        for n in sorted(records.digests)
        if n.endswith((".parquet", ".json"))
        and (n.startswith("data/") or n.endswith(("/grow.parquet", "/kept.parquet")))
    ]
    if not wanted:
        return absent("no data file is recorded")
    rows = tuple(
        Row((n, number(records.digests[n].bytes), records.digests[n].sha256), (records.source(n),))
        for n in wanted
    )
    table = Table("Data files", ("file", "bytes", "SHA-256"), rows)
    return Reading(
        f"{len(rows)} files, each with its SHA-256 in the ledger", (rows[0].sources[0],), (table,)
    )


def data_first_used(records: Records) -> Reading:
    """When this run first used its data."""
    time = records.run.events[0].at.get("time")
    if not time:
        return absent("the first event has no time")
    return Reading(
        f"read and sealed on {time} by this run's clock; earlier use by others is not known here",
        (step_place(records, records.run.events[0].step),),
    )


def synthetic(records: Records) -> Reading:
    """Which policy wrote which training rows: generators by weights digest, and the share they
    wrote.
    """
    made = grows(records)
    if not made:
        return absent("no Grow step has been done yet")
    by_name = _digests(records)
    rows = [
        Row(
            (
                f"{g.name} Grow",
                f"written by {short_name(g.policy)}",
                number(g.samples),
                number(g.references),
                "–",
                by_name.get(g.policy, "not recorded"),
            ),
            (step_place(records, g.step),),
        )
        for g in made
    ]
    shares = []
    for p in _trained(records):
        if p.data is None:
            continue
        share = written_share(records, p)
        shares.append(f"{short_name(p.name)}: {share}")
        chosen = f"{p.name}/kept.parquet"
        kept = records.source(chosen if records.has(chosen) else f"{p.data}/grow.parquet")
        cells = (
            f"{short_name(p.name)} Improve",
            f"trained on {p.data}",
            number(p.facts.get("kept")),
            "–",
            share,
            p.digest,
        )
        rows.append(Row(cells, (kept, step_place(records, str(p.step)))))
    columns = (
        "step",
        "what",
        "rows",
        "human references",
        "share written by a policy",
        "weights digest of the policy",
    )
    said = (
        f"{number(sum(g.samples for g in made))} texts were written by policies of this run and "
        "used as candidates; share of rows trained on that a policy wrote: "
        f"{', '.join(shares) or 'not recorded'}"
    )
    table = Table("Synthetic training data and its generators", columns, tuple(rows))
    return Reading(said, tuple(r.sources[0] for r in rows), (table,))


def written_share(records: Records, policy: Policy) -> str:
    """Which part of a policy's training rows a policy of this run wrote, in percent; "–" for the
    base policy.
    """
    if policy.data is None:
        return "–"
    if not records.has(f"{policy.data}/grow.parquet"):
        return "not recorded"
    share = synthetic_share(records, policy)
    return "no row was kept" if share is None else f"{100 * share:.4g}%"


def duplicates(records: Records) -> Reading:
    """Duplicates and sameness of the policy's own texts, which are the synthetic training data."""
    table = over_iterations(records, "Duplicates and sameness of the outputs", DUPLICATES)
    if not table.rows:
        return absent(NO_LOOK if last_audit(records) is None else "duplicates were not measured")
    newest = last_audit(records)
    assert newest is not None
    found = records.measurements(newest)
    said = [
        f"{label}: {number(found[n].value)}"
        for n, label in DUPLICATES.items()
        if n in found and found[n].value is not None
    ]
    if not said:
        return absent(
            "none of them could be measured; the table says why", *measured_at(records, newest)
        )
    where = "the base policy" if newest == BASE else short_name(newest)
    return Reading(f"at {where}: {joined(said)}", cited(table), (table,))


def training_duplicates(records: Records) -> Reading:
    """Rows that an Improve step trained on whose text another of its rows has too."""
    rows = []
    for name in (
        e.step.removesuffix("/improve") for e in records.run.events if e.step.endswith("/improve")
    ):
        files = (f"{name.split('/')[0]}/grow.parquet", f"{name}/kept.parquet")
        if all(records.has(f) for f in files):
            texts = records.table(files[0], ("sample_id", "text"))
            kept = texts[texts["sample_id"].isin(set(records.table(files[1], KEPT)["sample_id"]))][
                "text"
            ]
            same = int(kept.str.split().str.join(" ").str.casefold().duplicated(keep=False).sum())
            cells = (
                short_name(name),
                str(len(kept)),
                str(same),
                number(same / len(kept)) if len(kept) else "–",
            )
            rows.append(Row(cells, tuple(records.source(f) for f in files)))
    if not rows:
        return absent("no rows that were trained on are recorded")
    columns = ("Improve step", "rows trained on", "with a text that another row has", "share")
    table = Table(
        "Equal texts among the rows trained on",
        columns,
        tuple(rows),
        note=(
            "Equal after joining white space and folding case. The program counts them and does "
            "not take them out."
        ),
    )
    said = joined([f"{r.cells[0]} {r.cells[2]} of {r.cells[1]} rows" for r in rows])
    return Reading(
        f"rows with a text that another row has: {said}; they are counted, not taken out",
        cited(table),
        (table,),
    )


def _trained(records: Records) -> list[Policy]:
    return [p for p in policies(records) if p.data is not None] if _known(records) else []


def _digests(records: Records) -> dict[str, str]:
    return {p.name: p.digest for p in policies(records)} if _known(records) else {}


def _known(records: Records) -> bool:
    return bool(records.run.plan.get("artifacts"))


def _counts(records: Records) -> dict[str, Mapping[str, Any]]:
    rows = (recorded(records, REPORT) or {}).get("rows")
    return {str(r.get("source")): r for r in rows} if isinstance(rows, list) else {}


READINGS = named(
    [
        data_sources,
        data_splits,
        data_cleaning,
        data_counts,
        data_digests,
        data_first_used,
        synthetic,
        duplicates,
        training_duplicates,
    ]
)
