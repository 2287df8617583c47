"""What was trained and tested on: prompts, splits, cleaning, synthetic rows by their policy,
duplicates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from reports.record.lineage import PolicyRecord, grows, policies, synthetic_share
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
        if read:
            sources.append(records.source(REPORT, "rows"))
        rows.append(Row(cells, tuple(sources)))
    columns = ("source", "licence", "format", "feeds", "rows read", "rows used", "SHA-256")
    table = Table("Prompt sets", columns, tuple(rows), prose=(0, 1))
    named_sets = joined([f"{row.cells[0]} ({row.cells[1]})" for row in rows])
    return Reading(f"prompts from {named_sets}", tuple(r.sources[0] for r in rows), (table,))


def data_splits(records: Records) -> Reading:
    """How prompts are kept apart, how many each part has, and what overlaps."""
    splits = (recorded(records, REPORT) or {}).get("splits")
    if not isinstance(splits, Mapping):
        return absent(NO_REPORT)
    rows = []
    for pair, same in sorted(splits.get("exact", {}).items()):
        near = splits.get("near", {}).get(pair, {})
        parts = pair.replace("~", " and ")
        cells = (parts, number(same), number(near.get("pairs")), number(near.get("share")))
        rows.append(Row(cells, (records.source(REPORT, f"splits.near.{pair}"),)))
    columns = ("parts", "same prompts", "near-duplicate pairs", "share")
    table = Table("Overlap between the parts", columns, tuple(rows))
    sentence = (
        f"prompts: {_sizes(splits)}; each prompt belongs to one part, by the hash of its normalised text; "
        f"near duplicates by {splits.get('method')}, at {splits.get('jaccard')}; more than a "
        f"share of {splits.get('max_share')} is refused"
    )
    return Reading(sentence, (records.source(REPORT, "splits"),), (table,))


def _sizes(splits: Mapping[str, Any]) -> str:
    """How many prompts each part has."""
    sizes = sorted(splits.get("sizes", {}).items())
    return ", ".join(f"{part} {number(n)}" for part, n in sizes)


def data_cleaning(records: Records) -> Reading:
    """The rules for bad rows, and how many rows each left out."""
    rules = config(records, "data").get("rows")
    report = recorded(records, REPORT)
    if not isinstance(rules, Mapping) or report is None:
        return absent(NO_REPORT)
    dropped = []
    for one in report.get("rows", []):
        counts = ", ".join(f"{n} {why}" for why, n in (one.get("dropped") or {}).items())
        dropped.append(f"{one.get('source')}: {counts or 'none'}")
    listed = ", ".join(f"{label} {text}" for label, text in lines_of(rules))
    sources = (sealed(records, "config.data.rows"), records.source(REPORT, "rows"))
    return Reading(f"rules: {listed}; rows left out: {joined(dropped)}", sources)


def data_counts(records: Records) -> Reading:
    """How many prompts, samples and training rows there are, and how many tokens."""
    made = grows(records)
    # Either alone is an answer: the data is sealed before anything is sampled.
    report = recorded(records, REPORT)
    if not made and report is None:
        return absent("no data was read or written yet")
    kept = []
    for policy in _trained(records):
        if "kept" in policy.facts:
            kept.append(f"{short_name(policy.name)} {number(policy.facts['kept'])}")
    tokens = sum(step.trained_tokens for step in steps(records))
    parts = [
        f"samples written by a policy of this run: {number(sum(g.samples for g in made))}",
        f"human references among the candidates: {number(sum(g.references for g in made))}",
        f"rows trained on: {', '.join(kept) or 'none yet'}",
        f"response tokens trained on, all epochs: {number(tokens)}",
    ]
    sources = [step_place(records, grow.step) for grow in made]
    if report is not None:
        parts.insert(0, f"prompts: {_sizes(report.get('splits') or {})}")
        sources.insert(0, records.source(REPORT, "splits.sizes"))
    return Reading(joined(parts), tuple(sources))


def data_digests(records: Records) -> Reading:
    """The files that hold prompts and training rows, by SHA-256."""
    rows = []
    for name, digest in sorted(records.digests.items()):
        if _holds_data(name):
            cells = (name, number(digest.bytes), digest.sha256)
            rows.append(Row(cells, (records.source(name),)))
    if not rows:
        return absent("no data file is recorded")
    table = Table("Data files", ("file", "bytes", "SHA-256"), tuple(rows))
    sentence = f"{len(rows)} files, each with its SHA-256 in the ledger"
    return Reading(sentence, (rows[0].sources[0],), (table,))


def _holds_data(name: str) -> bool:
    """Whether a recorded file holds prompts or training rows."""
    if not name.endswith((".parquet", ".json")):
        return False
    return name.startswith("data/") or name.endswith(("/grow.parquet", "/kept.parquet"))


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
    weights = _digests(records)
    rows = []
    for grow in made:
        writer = f"written by {short_name(grow.policy)}"
        counts = (number(grow.samples), number(grow.references))
        digest = weights.get(grow.policy, "not recorded")
        cells = (f"{grow.name} Grow", writer, *counts, "–", digest)
        rows.append(Row(cells, (step_place(records, grow.step),)))
    shares = []
    for p in _trained(records):
        share = written_share(records, p)
        shares.append(f"{short_name(p.name)}: {share}")
        # Not every method records a kept set: then the Grow set is the source.
        chosen = f"{p.name}/kept.parquet"
        if not records.has(chosen):
            chosen = f"{p.data}/grow.parquet"
        kept = records.source(chosen)
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
    sentence = (
        f"{number(sum(g.samples for g in made))} texts were written by policies of this run and "
        "used as candidates; share of rows trained on that a policy wrote: "
        f"{', '.join(shares) or 'not recorded'}"
    )
    table = Table("Synthetic training data and its generators", columns, tuple(rows))
    return Reading(sentence, tuple(r.sources[0] for r in rows), (table,))


def written_share(records: Records, policy: PolicyRecord) -> str:
    """Which part of a policy's training rows a policy of this run wrote, in percent; "–" for the
    base policy.
    """
    if policy.data is None:
        return "–"
    # Somebody else's training is looked at from outside: its rows are not in the record.
    if not records.has(f"{policy.data}/grow.parquet"):
        return "not recorded"
    share = synthetic_share(records, policy)
    if share is None:
        return "no row was kept"
    return f"{100 * share:.4g}%"


def duplicates(records: Records) -> Reading:
    """Duplicates and sameness of the policy's own texts, which are the synthetic training data."""
    newest = last_audit(records)
    if newest is None:
        return absent(NO_LOOK)
    table = over_iterations(records, "Duplicates and sameness of the outputs", DUPLICATES)
    if not table.rows:
        return absent("duplicates were not measured")
    measured = records.measurements(newest)
    phrases = []
    for name, label in DUPLICATES.items():
        if name in measured and measured[name].value is not None:
            phrases.append(f"{label}: {number(measured[name].value)}")
    if not phrases:
        return absent(
            "none of them could be measured; the table says why", *measured_at(records, newest)
        )
    where = "the base policy" if newest == BASE else short_name(newest)
    return Reading(f"at {where}: {joined(phrases)}", cited(table), (table,))


def training_duplicates(records: Records) -> Reading:
    """Rows that an Improve step trained on whose text another of its rows has too."""
    rows = []
    for event in records.run.events:
        if not event.step.endswith("/improve"):
            continue
        name = event.step.removesuffix("/improve")
        grow, chosen = f"{name.split('/')[0]}/grow.parquet", f"{name}/kept.parquet"
        if not (records.has(grow) and records.has(chosen)):
            continue
        # The kept set has ids only: a text stands in the record once (docs/decisions/0002).
        samples = records.table(grow, ("sample_id", "text"))
        trained_on = set(records.table(chosen, KEPT)["sample_id"])
        texts = samples.loc[samples["sample_id"].isin(trained_on), "text"]
        # keep=False: every row of a group of equal texts counts, not all but the first.
        same = int(texts.str.split().str.join(" ").str.casefold().duplicated(keep=False).sum())
        share = "–"
        if len(texts):
            share = number(same / len(texts))
        cells = (short_name(name), str(len(texts)), str(same), share)
        rows.append(Row(cells, (records.source(grow), records.source(chosen))))
    if not rows:
        return absent("no rows that were trained on are recorded")
    columns = ("Improve step", "rows trained on", "with a text that another row has", "share")
    table = Table(
        "Equal texts among the rows trained on",
        columns,
        tuple(rows),
        note="Equal after joining white space and folding case. The program counts them and does "
        "not take them out.",
    )
    counts = joined([f"{row.cells[0]} {row.cells[2]} of {row.cells[1]} rows" for row in rows])
    sentence = f"rows with a text that another row has: {counts}; they are counted, not taken out"
    return Reading(sentence, cited(table), (table,))


def _trained(records: Records) -> list[PolicyRecord]:
    return [policy for policy in _policies(records) if policy.data is not None]


def _digests(records: Records) -> dict[str, str]:
    return {policy.name: policy.digest for policy in _policies(records)}


def _policies(records: Records) -> Sequence[PolicyRecord]:
    """Every policy; none where the plan pins no model, since their digests start from the base
    model's.
    """
    if not records.run.plan.get("artifacts"):
        return ()
    return policies(records)


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
