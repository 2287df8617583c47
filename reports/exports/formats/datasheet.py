"""A datasheet of the synthetic data, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from reports.exports.encoding import clean, json_bytes
from reports.exports.export import Content, Export
from reports.exports.facts import MISSING, Data, RunFacts, cited, span
from reports.exports.sentences import disparities, figure, filtering, listed
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import markdown_text

SCHEMA = "restaudit.datasheet/1"
SPEC = "Datasheets for Datasets (Gebru et al. 2021, arXiv 1803.09010), questions in our own words"
MOST = 2000


def build(facts: RunFacts) -> Mapping[str, Content]:
    """Both files say the same."""
    return {"datasheet.json": json_bytes(_body(facts)), "datasheet.md": _markdown(facts).encode()}


def _body(facts: RunFacts) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "run": {
            "name": facts.run.name,
            "run_id": facts.run_id,
            "state": facts.state,
            "ledger_head": facts.head,
        },
        "human_score": f"{facts.human.name}: {facts.human.description}",
        "tables": [
            {"path": d.path, "sha256": d.sha256, "bytes": d.bytes, "rows": d.rows}
            for d in tables(facts)
        ],
        "questions": [
            {
                "section": q.section,
                "key": q.key,
                "asks": q.asks,
                "status": status,
                "answer": lines,
                "who": q.who,
            }
            for q, status, lines in answered(facts)
        ],
    }


def _markdown(facts: RunFacts) -> str:
    parts = [
        f"# Datasheet: data that the run {_text(facts.run.name)} wrote",
        f"Run {_text(facts.run_id)}, {facts.state}, ledger head `{facts.head}`. What the record "
        "does not have is MISSING; nothing is filled in for people.",
    ]
    parts += [
        f"**HALT at {_text(o.iteration)} was overridden** by {_text(o.by)}: {_text(o.reason)}"
        for o in facts.run.overrides()
    ]
    section = ""
    for q, status, lines in answered(facts):
        # Questions stand in the order of their sections: a heading once, before the first of them.
        if q.section != section:
            section = q.section
            parts.append(f"## {section}")
        parts += [f"**{q.asks}** ({status})", "\n".join(f"- {_text(line)}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _text(value: str) -> str:
    return markdown_text(clean(value), MOST)


# --- the questions, in our own words, and what the record answers

OPERATOR = "the operator of the run"
PUBLISHERS = "the publishers of the sources"
KEEPER = "whoever keeps or publishes the run folder"
LAWYER = "a person who knows the law and the sources"

Answer = Callable[[RunFacts], list[str]]


@dataclass(frozen=True)
class DatasheetQuestion:
    """One question.

    `answer` gives lines from the record, or none where it has nothing; then `who` could say.
    """

    section: str
    key: str
    asks: str
    who: str
    answer: Answer | None = None
    status: str = "RECORDED"


def tables(facts: RunFacts) -> list[Data]:
    """The data sets that a datasheet is about: Grow tables and kept sets."""
    return [d for d in facts.data if d.kind in ("grow", "kept")]


def _purpose(facts: RunFacts) -> list[str]:
    description = str(facts.config.get("description") or "")
    if not description:
        return []
    return [f"As the configuration describes the run: {description}"]


def _instances(_: RunFacts) -> list[str]:
    return [
        "A row of a Grow table is one text that a policy sampled for a prompt, or one reference "
        "text of a person, with its rewards. A row of a kept set names a row of a Grow table that "
        "one Improve step trained on."
    ]


def _counts(facts: RunFacts) -> list[str]:
    return [f"{d.title}: {d.row_count} rows ({cited(d.source)})" for d in tables(facts)]


def _whole(facts: RunFacts) -> list[str]:
    lines = [
        f"{g.name}: all {g.samples} samples that were drawn and {g.references} references."
        for g in facts.grows
    ]
    kept = [d.ref.removeprefix("kept:") for d in tables(facts) if d.kind == "kept"]
    return lines + [f"Kept set of {k}: not all rows. {filtering(facts, k)}" for k in kept]


def _links(_: RunFacts) -> list[str]:
    return [
        "sample_id links kept sets with Grow tables; prompt_id links both with data/grow.parquet; "
        "group and family name counterfactual prompts. samples.parquet of the tables export says "
        "why each row was or was not kept."
    ]


def _splits(facts: RunFacts) -> list[str]:
    return [f"{d.title}: {d.row_count} prompts" for d in facts.data if d.kind == "split"]


def _noise(facts: RunFacts) -> list[str]:
    wanted = ("diversity.duplicates", "diversity.mode_share", "drift.copying", "hacking.repetition")
    lines = []
    # Nothing measures the tables themselves; the last policy's audited samples are nearest to them.
    for audit in facts.audits[-1:]:
        for m in audit.measurements:
            if m.name in wanted:
                lines.append(
                    f"Of the audited samples of {audit.policy}, not of these tables: {m.name}: "
                    f"{figure(m)} ({cited(audit.source)})"
                )
    return lines


def _outside(facts: RunFacts) -> list[str]:
    lines = []
    for m in facts.models:
        digest = m.sha256 or MISSING
        lines.append(f"Models from elsewhere: {m.spec} ({m.role}), SHA-256 {digest}")
    for d in facts.data:
        if d.spec is not None:
            lines.append(f"{d.title}, SHA-256 {d.sha256 or MISSING}")
    return lines


def _groups(facts: RunFacts) -> list[str]:
    lines = []
    for audit in facts.audits:
        # No filter chose anything before the base policy's audit.
        if audit.iteration != BASE:
            for name, shown in disparities(audit):
                lines.append(f"{audit.iteration}: {name}: {shown}")
    return lines


def _acquired(facts: RunFacts) -> list[str]:
    sampling = listed(facts.config.get("loop", {}).get("sampling"))
    lines = [
        f"{g.name}: sampled from policy {g.policy}, {g.tokens} tokens, with {sampling}."
        for g in facts.grows
    ]
    rewards = [f"Scored by the reward model {r.name} ({cited(r.source)})." for r in facts.rewards]
    if not lines:
        return []
    return [*lines, *rewards, f"Human score: {facts.human.name}: {facts.human.description}"]


def _when(facts: RunFacts) -> list[str]:
    lines = []
    sampled = {g.step for g in facts.grows}
    for event in facts.run.events:
        began, ended = span(event)
        if event.step in sampled and ended is not None:
            lines.append(f"{event.step}: {began} to {ended} ({cited(facts.at(event.step))})")
    return lines


def _raters(facts: RunFacts) -> list[str]:
    if not facts.rewards:
        return []
    raters = facts.rewards[0].dossier.get("raters")
    if not isinstance(raters, dict):
        return []
    known = {k: v for k, v in raters.items() if v != MISSING and not isinstance(v, list)}
    absent = sorted(key for key, value in raters.items() if value == MISSING)
    lines = [f"Of the judgements that the reward goes back to, its dossier says: {listed(known)}."]
    if absent:
        lines.append(f"MISSING in the reward's dossier: {', '.join(absent)}.")
    return lines


def _cleaned(facts: RunFacts) -> list[str]:
    kept = [d.ref.removeprefix("kept:") for d in tables(facts) if d.kind == "kept"]
    rows = facts.config.get("data", {}).get("rows")
    lines = [f"{policy}: {filtering(facts, policy)}" for policy in kept]
    if not rows:
        return lines
    rules = f"Bad rows of prompts were handled by these rules: {listed(rows)}"
    return [f"{rules} (counts: data/report.json).", *lines]


def _raw(facts: RunFacts) -> list[str]:
    raw = [n for n in facts.records.digests if n.endswith("/samples.parquet")]
    if not raw:
        return []
    return [f"Yes: token ids and log-probabilities of all samples in {', '.join(sorted(raw))}."]


def _software(facts: RunFacts) -> list[str]:
    return [f"restaudit {facts.version}; the rule of the filter is in the sealed plan (plan.json)."]


def _used(facts: RunFacts) -> list[str]:
    lines = []
    for policy in facts.policies:
        if policy.data is not None:
            rows = policy.facts.get("kept", MISSING)
            lines.append(
                f"{policy.name} was trained on {rows} rows of {policy.data}; policy digest "
                f"{policy.digest}."
            )
    return lines


def _versions(facts: RunFacts) -> list[str]:
    return [
        f"This describes the record up to ledger head {facts.head}; a changed file no longer has "
        "its recorded digest."
    ]


QUESTIONS = (
    DatasheetQuestion("Motivation", "purpose", "What was the data made for?", OPERATOR, _purpose),
    DatasheetQuestion("Motivation", "creator", "Who made it, and for whom?", OPERATOR),
    DatasheetQuestion("Motivation", "funding", "Who paid for it?", OPERATOR),
    DatasheetQuestion("Composition", "instances", "What is one row?", OPERATOR, _instances),
    DatasheetQuestion("Composition", "counts", "How many rows are there?", OPERATOR, _counts),
    DatasheetQuestion(
        "Composition", "whole", "Is it all there is, or a part chosen from more?", OPERATOR, _whole
    ),
    DatasheetQuestion("Composition", "links", "How do rows hang together?", OPERATOR, _links),
    DatasheetQuestion(
        "Composition", "splits", "Which splits of prompts does it go with?", OPERATOR, _splits
    ),
    DatasheetQuestion(
        "Composition",
        "noise",
        "Which errors, noise or repetition are known?",
        OPERATOR,
        _noise,
        "MEASURED",
    ),
    DatasheetQuestion(
        "Composition", "outside", "What outside it does it rest on?", OPERATOR, _outside
    ),
    DatasheetQuestion(
        "Composition",
        "groups",
        "Which groups does it name, and how does the filter treat them?",
        OPERATOR,
        _groups,
        "MEASURED",
    ),
    DatasheetQuestion("Composition", "confidential", "Does it hold anything confidential?", LAWYER),
    DatasheetQuestion(
        "Composition",
        "offensive",
        "Would anything in it hurt or frighten a reader?",
        "a person who reads it; toxicity is measured on audited samples only",
    ),
    DatasheetQuestion(
        "Composition",
        "people",
        "Can people be recognised in it, or sensitive facts about them?",
        "a person who reads it; restaudit does not search for it",
    ),
    DatasheetQuestion(
        "Collection", "acquired", "How did the rows come about?", OPERATOR, _acquired
    ),
    DatasheetQuestion("Collection", "when", "When?", OPERATOR, _when),
    DatasheetQuestion(
        "Collection",
        "workers",
        "Who judged or wrote by hand, chosen how and paid how?",
        PUBLISHERS,
        _raters,
    ),
    DatasheetQuestion(
        "Collection",
        "consent",
        "Were the people behind prompts and judgements told and asked?",
        PUBLISHERS,
    ),
    DatasheetQuestion("Collection", "ethics", "Did anybody review the ethics of it?", OPERATOR),
    DatasheetQuestion(
        "Preprocessing",
        "cleaned",
        "What was cleaned, filtered or labelled, and how?",
        OPERATOR,
        _cleaned,
    ),
    DatasheetQuestion("Preprocessing", "raw", "Was the raw data kept?", OPERATOR, _raw),
    DatasheetQuestion("Preprocessing", "software", "With which program?", OPERATOR, _software),
    DatasheetQuestion("Uses", "used", "What has it been used for already?", OPERATOR, _used),
    DatasheetQuestion("Uses", "other", "What else could it be used for?", OPERATOR),
    DatasheetQuestion("Uses", "against", "What should it not be used for?", LAWYER),
    DatasheetQuestion(
        "Distribution", "given", "Is it given to others: to whom, when, how?", KEEPER
    ),
    DatasheetQuestion("Distribution", "licence", "Under which licence or terms?", LAWYER),
    DatasheetQuestion(
        "Distribution", "restrictions", "Do rights of others or export rules bind it?", LAWYER
    ),
    DatasheetQuestion("Maintenance", "keeper", "Who keeps it, and how are they reached?", KEEPER),
    DatasheetQuestion(
        "Maintenance", "versions", "How are versions and corrections told apart?", KEEPER, _versions
    ),
    DatasheetQuestion(
        "Maintenance", "retention", "Until when is it kept, and who may have rows removed?", KEEPER
    ),
    DatasheetQuestion("Maintenance", "contributions", "Can others add to it?", KEEPER),
)


def answered(facts: RunFacts) -> Iterator[tuple[DatasheetQuestion, str, list[str]]]:
    """Every question with its status ("RECORDED", "MEASURED" or "MISSING") and its lines."""
    for question in QUESTIONS:
        why = "only people can say it"
        if question.answer is not None:
            lines = question.answer(facts)
            if lines:
                yield question, question.status, lines
                continue
            why = "the record of this run does not have it"
        yield question, MISSING, [f"MISSING: {why}. Who could say: {question.who}."]


EXPORT = Export("datasheet", "datasheet of the synthetic data", SPEC, build)
