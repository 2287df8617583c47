"""Everything that the document of a reward model says: verdict and failures, a summary that fits a
page, answers by topic, and the same as JSON (schema restaudit.reward-document/1).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reports.document.model import STATUSES, Chart, Row, Table, table_of
from reports.frameworks.answers import Answer, reward_answer
from reports.frameworks.readings.reward_in_run import DISTANCE, overrides
from reports.frameworks.readings.reward_model import figures, worst_exploits
from reports.frameworks.reward_records import RewardRecords, gather
from reports.frameworks.schema import Topic, reward_questions
from reports.record.files import Source
from restaudit.errors import BadInput
from restaudit.evidence.shown import escaped_json, number, plain
from restaudit.reward_audit.verdict import verdict

SCHEMA = "restaudit.reward-document/1"
NOT_SAID = "MISSING"
# The validation's own figure, by kind of judgement, and what it is to be read beside.
OWN = ("validation.pair_accuracy", "validation.pearson")
BESIDE = {
    "validation.baseline.longer": "longer wins",
    "validation.baseline.shorter": "shorter wins",
    "validation.ceiling_agreement": "people with each other",
    "validation.ceiling_pearson": "people with each other",
}


@dataclass(frozen=True)
class AnsweredTopic:
    """A topic with its answers, in the order of its questions."""

    topic: Topic
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Failure:
    """A test that fails: what was done and found, and examples."""

    name: str
    says: str
    table: Table | None = None


@dataclass(frozen=True)
class RewardAnswers:
    """Everything that is shown, in order: overrides, verdict and failures, summary, topics, files.

    overrides    a line for every time somebody let the run go on after HALT
    failures     None where nobody stressed the reward
    files        what it was made from: name relative to the folder -> SHA-256
    declared_by  name and date of who answered what the record cannot, or None
    validation   the dossier's own measurements, as plain JSON
    """

    name: str
    kind: str
    digest: str
    verdict: str
    reasons: tuple[str, ...]
    overrides: tuple[str, ...]
    failures: tuple[Failure, ...] | None
    summary: tuple[tuple[str, str], ...]
    topics: tuple[AnsweredTopic, ...]
    files: Mapping[str, str]
    declared_by: tuple[str, str] | None = None
    validation: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All answers, in order."""
        return tuple(answer for topic in self.topics for answer in topic.answers)

    @property
    def gaps(self) -> tuple[Answer, ...]:
        """What nobody said."""
        return tuple(answer for answer in self.answers if answer.status == "MISSING")

    def answer(self, key: str) -> Answer:
        """The answer to one question."""
        return next(answer for answer in self.answers if answer.question.key == key)


def reward_answers(folder: Path, where: Path) -> RewardAnswers:
    """What is known of the reward of a folder whose dossier lies in `where`; the same files give the
    same answers.

    Raises BadInput where a file cannot be read, is about another reward, or is not shaped as
    restaudit writes it.
    """
    return assembled(gather(folder, where))


def assembled(records: RewardRecords) -> RewardAnswers:
    """The answers from what was gathered."""
    facts, declared = records.facts, records.declared
    topics = []
    by_key: dict[str, Answer] = {}
    for topic in reward_questions().topics:
        answers = tuple(reward_answer(question, records) for question in topic.fields)
        topics.append(AnsweredTopic(topic, answers))
        by_key |= {answer.question.key: answer for answer in answers}
    # None is not the same as no failure: nobody looked for one.
    failures = None
    try:
        word, reasons = verdict(facts, records.stress)
        if records.stress is not None:
            failures = _failures(records.stress)
    # A report is a file that anybody may have edited: what reading it can raise is told as such.
    except (KeyError, TypeError, IndexError, AttributeError) as e:
        raise BadInput(
            f"{records.folder}: the stress report or the dossier is not as restaudit writes it "
            f"({e!r})"
        ) from None
    declared_by = None
    if declared is not None and declared.answers:
        declared_by = (declared.declared_by, declared.date)
    return RewardAnswers(
        name=str(facts.get("name", NOT_SAID)),
        kind=str(facts.get("kind", NOT_SAID)),
        digest=str(facts.get("digest", NOT_SAID)),
        verdict=word,
        reasons=tuple(reasons),
        overrides=overrides(records),
        failures=failures,
        summary=_summary(records, by_key),
        topics=tuple(topics),
        files=dict(sorted(records.files.items())),
        declared_by=declared_by,
        validation=tuple(records.validation),
    )


def by_file(sources: Sequence[Source]) -> list[Source]:
    """One source a file, in order, with all its places."""
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.path, []).append(source)
    joined = []
    for path, group in groups.items():
        places = dict.fromkeys(source.at for source in group if source.at)
        joined.append(Source(path, ", ".join(places), group[0].sha256))
    return joined


# --- failures


def _failures(stress: Mapping[str, Any]) -> tuple[Failure, ...]:
    """Every failure with what was done, how far the reward moved, and the worst text before and
    after.
    """
    failures = [_failure(f) for f in stress["findings"] if f["verdict"] == "FAIL"]
    tested = stress.get("paid_words") or {}
    words = [word for word in tested.get("words", []) if word["verdict"] == "FAIL"]
    if words:
        rows = tuple(Row((word["word"], word["why"])) for word in words)
        table = Table("Words it pays for", ("word", "how much"), rows)
        says = "Taking one of these words out lowers the reward."
        failures.append(Failure("single words it pays for", says, table))
    search = stress.get("exploits")
    if search is not None and search["verdict"] == "FAIL":
        says = f"{search['why'][:1].upper()}{search['why'][1:]}. {search['rule']}"
        failures.append(Failure("search for exploits", says, worst_exploits(search)))
    if failures:
        return tuple(failures)
    # A report may count a failure of a test that this version does not know by its parts.
    return tuple(Failure("a test", str(line)) for line in stress["failures"])


def _failure(finding: Mapping[str, Any]) -> Failure:
    name = finding["name"].replace("_", " ")
    says = f"{finding['asks']} {finding['does']} The change: {finding['why']}."
    worst = finding["worst"]
    if worst is None:
        return Failure(name, says)
    rows = (
        Row(("before", number(worst["reward_before"]), worst["before"] or "(empty)")),
        Row(("after", number(worst["reward_after"]), worst["after"] or "(empty)")),
    )
    return Failure(name, says, Table("The text it moved most", ("", "reward", "text"), rows))


# --- the summary


def _summary(records: RewardRecords, answers: Mapping[str, Answer]) -> tuple[tuple[str, str], ...]:
    name, kind, unit = (records.facts.get(key, NOT_SAID) for key in ("name", "kind", "unit"))
    return (
        ("What it is", f"{name}, a reward of kind {kind}; unit: {unit}"),
        ("What it is for", _purpose(answers)),
        ("Judgements", _judgements(records)),
        ("Predicts held-out people", _validated(records)),
        ("Stress tests", _stressed(records)),
        ("Leaves its training data", _distance(records, answers["shift.distance"])),
        ("Approved by", _approval(answers["governance.approval"])),
        ("Questions answered", _counts(answers)),
    )


def _purpose(answers: Mapping[str, Answer]) -> str:
    """What people say it is for; else what the record says."""
    for key in ("purpose.intent", "purpose.recorded"):
        if answers[key].value is not None:
            return f"{answers[key].value} ({answers[key].status})"
    return NOT_SAID


def _judgements(records: RewardRecords) -> str:
    data, raters, items = (records.facts.get(key) for key in ("data", "raters", "items"))
    if not isinstance(data, Mapping):
        return f"{NOT_SAID}: the record does not say what it was trained on"
    parts = [f"{data.get('kind', NOT_SAID)} from {plain(str(data.get('source', NOT_SAID)), 80)}"]
    if isinstance(raters, Mapping):
        train = f"{len(raters['used'])} raters train it" if raters["used"] else "raters not named"
        parts.append(
            f"{number(raters['judgements'])} judgements, {train}, {len(raters['held_out'])} are "
            "held out"
        )
    if isinstance(items, Mapping):
        counted = ", ".join(f"{k.replace('_', ' ')} {number(v)}" for k, v in items.items())
        parts.append(f"items: {counted}")
    return "; ".join(parts)


def _validated(records: RewardRecords) -> str:
    by_name = {m["name"]: m for m in records.validation}
    # Pairs are judged by how many are told apart, ratings by their correlation.
    own = next((by_name[name] for name in OWN if name in by_name), None)
    if own is None:
        return f"{NOT_SAID}: it was not validated on judgements it was not trained on"
    if own["value"] is None:
        return f"not measured: {own['reason']}"
    shown = figures(own)
    name = own["name"].removeprefix("validation.").replace("_", " ")
    # Accuracy alone says little: length may predict as well, and people agree only so far.
    sentence = f"{name} {shown.value}, 95% {shown.interval}, {own['n']} items"
    beside = []
    for key, label in BESIDE.items():
        if key in by_name and by_name[key]["value"] is not None:
            beside.append(f"{label} {number(by_name[key]['value'])}")
    if not beside:
        return sentence
    return f"{sentence}. Beside it: {', '.join(beside)}"


def _stressed(records: RewardRecords) -> str:
    if records.stress is None:
        return f"{NOT_SAID}: nobody stressed it (restaudit reward stress)"
    counts = ", ".join(f"{n} {word}" for word, n in records.stress["counts"].items())
    exploits = (records.stress.get("exploits") or {}).get("exploits", [])
    if not exploits:
        return counts
    worst = max(e["gain_sd"] for e in exploits)
    return f"{counts}; largest gain by a search of small edits {worst:+.1f} sd"


def _distance(records: RewardRecords, shift: Answer) -> str:
    measured = []
    for iteration, by_name in records.measured.items():
        if DISTANCE in by_name and by_name[DISTANCE].value is not None:
            measured.append((iteration, number(by_name[DISTANCE].value)))
    if not measured:
        return f"{shift.status}: {shift.reason}"
    # The first and the last look fit a page; every other one stands in its section.
    ends = measured if len(measured) == 1 else (measured[0], measured[-1])
    parts = ", ".join(f"{iteration} {value}" for iteration, value in ends)
    return (
        f"cosine distance: {parts} (all iterations under “Where outputs leave its training data”)"
    )


def _approval(answer: Answer) -> str:
    if not isinstance(answer.value, Mapping):
        return f"{answer.status}: {answer.reason}"
    return "{decision}, by {by} ({role}) on {date} (DECLARED; nobody verified it)".format(
        **answer.value
    )


def _counts(answers: Mapping[str, Answer]) -> str:
    by_status = Counter(answer.status for answer in answers.values())
    answered = len(answers) - by_status["MISSING"]
    counted = ", ".join(f"{by_status[status]} {status}" for status in STATUSES)
    return (
        f"{answered} of {len(answers)} ({counted}); this counts what is written down, not how "
        "good it is"
    )


# --- JSON


def json_text(of: RewardAnswers) -> str:
    """JSON whose raw bytes are harmless to show: markup, control and reordering characters are
    written as escapes.

    Reading it gives the text back unchanged.
    """
    text = json.dumps(to_json(of), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{escaped_json(text)}\n"


def to_json(of: RewardAnswers) -> dict[str, Any]:
    """Plain JSON types only; text is kept as it was given."""
    by_status = Counter(answer.status for answer in of.answers)
    failures = None
    if of.failures is not None:
        failures = []
        for f in of.failures:
            table = None
            if f.table is not None:
                table = _table(f.table)
            failures.append({"name": f.name, "says": f.says, "table": table})
    declared_by = None
    if of.declared_by is not None:
        declared_by = {"name": of.declared_by[0], "date": of.declared_by[1]}
    return {
        "schema": SCHEMA,
        "name": of.name,
        "kind": of.kind,
        "digest": of.digest,
        "overrides": list(of.overrides),
        "verdict": {"word": of.verdict, "reasons": list(of.reasons)},
        "failures": failures,
        "summary": dict(of.summary),
        "statuses": {status: by_status[status] for status in STATUSES},
        "frameworks": {
            name: {"title": paper.title, "parts": dict(paper.parts)}
            for name, paper in reward_questions().papers.items()
        },
        "sections": [
            {
                "key": one.topic.key,
                "title": one.topic.title,
                **{paper: list(parts) for paper, parts in one.topic.parts.items()},
                "fields": [_field(answer) for answer in one.answers],
            }
            for one in of.topics
        ],
        "gaps": [
            {
                "key": answer.question.key,
                "question": answer.question.asks,
                "who": answer.question.who,
                "reason": answer.reason,
            }
            for answer in of.gaps
        ],
        "declared_by": declared_by,
        "files": dict(of.files),
    }


def _field(answer: Answer) -> dict[str, Any]:
    return {
        "key": answer.question.key,
        "question": answer.question.asks,
        "status": answer.status,
        "value": answer.value,
        "tables": [_table(table) for table in answer.tables],
        "reason": answer.reason or None,
        "declared_besides": answer.declared,
        "who_could_answer": answer.question.who,
        "evidence": [asdict(source) for source in answer.sources],
    }


def _table(block: Table | Chart) -> dict[str, Any]:
    """A table, with what its picture draws as marks."""
    table = table_of(block)
    marks = []
    if isinstance(block, Chart):
        for label, point in zip(block.labels, block.lines[0].points, strict=True):
            ends = {"low": point.low, "high": point.high}
            marks.append({"label": label, "value": point.value, **ends})
    return {
        "caption": table.caption,
        "columns": list(table.columns),
        "rows": [list(row.cells) for row in table.rows],
        "marks": marks,
        "unit": block.unit if isinstance(block, Chart) else "",
    }
