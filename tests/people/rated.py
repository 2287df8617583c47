"""A run to rate, and rating tools that fill in what was exported the way the real ones do."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from restaudit.evidence import record
from restaudit.gates import decide
from restaudit.people.rating import (
    RatingsRefused,
    TaskSet,
    export_tasks,
    import_ratings,
    load_ratings,
)
from tests.recorded import LOOKS, POLICY, SCORES, finish_step, measured

ITERATIONS = ("g00/i00", "g01/i01", "g01/i02")
RECORDED = "2026-01-01T00:00:00Z"
RATED = "2026-01-02T10:00:00Z"
PROMPTS, SAMPLES, FAMILY = 20, 2, 4
ASK = {
    "raters": 2,
    "seed": 7,
    "dimension": "quality",
    "scale": (1, 7),
    "instructions": "Rate from 1 to 7.\nBe fair.",
}

Fill = Callable[[str, str, Mapping[str, float]], str]


def build(
    run: Path, texts: Sequence[str] = (), *, run_id: str = "r1", prompts: int = PROMPTS
) -> Path:
    """A run of three audited iterations: 20 plain prompts with 2 samples each, and one family of 4
    prompts.

    `texts` are used first, in turn, as the base policy's plain responses.
    """
    run.mkdir(parents=True)
    plan = {
        "schema": record.SCHEMA,
        "config": {
            "name": "rated",
            "seed": 3,
            "gates": POLICY.model_dump(mode="json"),
            "human": {"kind": "none"},
        },
        "steps": ["plan", *(f"{i}/audit" for i in ITERATIONS), "end"],
        "looks": list(LOOKS),
    }
    record.write_json(plan, run / "plan.json")
    names = [f"p{k:03d}" for k in range(prompts)] + [f"f{k}" for k in range(FAMILY)]
    table = pd.DataFrame(
        {
            "prompt_id": names,
            "prompt": [
                f"Write one sentence from a review of film number {k}, please."
                for k in range(len(names))
            ],
            "references": [[] for _ in names],
            "group": [None] * len(names),
            "family": [None] * prompts + ["fam"] * FAMILY,
            "source": "made",
            "split": "audit",
        }
    )
    (run / "data").mkdir()
    record.write_table(table, run / "data/audit.parquet", record.PROMPTS)
    finish_step(run, "plan", ("plan.json", "data/audit.parquet"))
    for number, iteration in enumerate(ITERATIONS):
        (run / iteration).mkdir(parents=True)
        given = texts if number == 0 else ()
        record.write_table(
            _samples(table, iteration, number, given),
            run / iteration / "audit.parquet",
            record.AUDIT,
        )
        files = ["audit.parquet", "measurements.json"]
        found = [measured(), measured("divergence.gap", 0.3)]
        measurements = {**SCORES, "measurements": [m.to_json() for m in found]}
        record.write_json(measurements, run / iteration / "measurements.json")
        if number:
            decision = decide(POLICY, found, iteration=iteration, look=number, looks=len(LOOKS))
            record.write_json(decision.to_json(), run / iteration / "decision.json")
            files.append("decision.json")
        finish_step(run, f"{iteration}/audit", tuple(f"{iteration}/{file}" for file in files))
    return run


def _samples(
    prompts: pd.DataFrame, iteration: str, number: int, texts: Sequence[str]
) -> pd.DataFrame:
    rows = [
        (p, f, j)
        for p, f in zip(prompts["prompt_id"], prompts["family"], strict=True)
        for j in range(SAMPLES)
    ]
    wording = (
        "A warm and patient film",
        "A dull and noisy film",
        "A film that trusts its audience",
    )[number]
    return pd.DataFrame(
        {
            "sample_id": [f"{iteration}/audit/{p}/{j:03d}" for p, _, j in rows],
            "prompt_id": [p for p, _, _ in rows],
            "group": None,
            "family": [f for _, f, _ in rows],
            "text": [
                texts[k]
                if k < len(texts)
                else f"{wording}, {'take one' if j else 'take two'}; about {p}."
                for k, (p, _, j) in enumerate(rows)
            ],
            "n_tokens": 12,
            "finished": True,
            "logprob": -20.0,
            "reward": [0.123456 + number + 0.01 * k for k in range(len(rows))],
            "reward_01": 0.654321,
            "reward_spread": 0.098765,
            "human": float("nan"),
            "kl": 0.1 * number,
            "kl_tokens": 12,
        }
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The rows as JSON Lines."""
    path.write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8"
    )
    return path


def scores_for(tasks: Path, *, low: int = 1, high: int = 7) -> dict[str, float]:
    """A score for every item of a native tasks file, spread over the scale."""
    return {r["item_id"]: float(low + k % (high - low + 1)) for k, r in enumerate(rows_of(tasks))}


# --- the tools


def native(tasks: str, rater: str, scores: Mapping[str, float]) -> str:
    """Somebody's script fills in our own lines."""
    rows = [json.loads(line) for line in tasks.split("\n") if line]
    filled = [
        {
            **r,
            "rater_id": rater,
            "score": scores.get(r["item_id"]),
            "started_at": RATED,
            "submitted_at": RATED,
        }
        for r in rows
    ]
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in filled)


def spreadsheet(tasks: str, rater: str, scores: Mapping[str, float]) -> str:
    """A spreadsheet with ; between cells and other line ends, as a European Excel saves it."""
    rows = list(csv.DictReader(io.StringIO(tasks.removeprefix("\ufeff"), newline="")))
    out = io.StringIO()
    writer = csv.DictWriter(
        out, list(rows[0]), delimiter=";", lineterminator="\n", quoting=csv.QUOTE_ALL
    )
    writer.writeheader()
    for r in rows:
        score = scores.get(r["item_id"])
        r |= {
            "rater_id": rater,
            "score": "" if score is None else f"{score:g}",
            "submitted_at": "2026-01-02 10:00",
        }
        writer.writerow(r)
    return out.getvalue()


def label_studio(tasks: str, rater: str, scores: Mapping[str, float]) -> str:
    """A project's JSON export: task, annotation and result as the documented task format has
    them.
    """
    exported = []
    for number, task in enumerate(json.loads(tasks), start=1):
        score = scores.get(task["data"]["item_id"])
        annotation = {
            "id": 1000 + number,
            "completed_by": {
                "id": int(rater.removeprefix("r")),
                "email": f"{rater}@example.org",
                "first_name": "",
            },
            "result": [
                {
                    "id": f"res{number}",
                    "from_name": "score",
                    "to_name": "response",
                    "type": "choices",
                    "origin": "manual",
                    "value": {"choices": [f"{score:g}"]} if score is not None else {},
                }
            ],
            "was_cancelled": score is None,
            "ground_truth": False,
            "created_at": "2026-01-02T10:00:00.123456Z",
            "updated_at": "2026-01-02T10:00:09.123456Z",
            "lead_time": 8.25,
            "parent_prediction": None,
            "parent_annotation": None,
        }
        exported.append(
            {
                "id": number,
                "annotations": [annotation],
                "drafts": [],
                "predictions": [],
                "data": task["data"],
                "meta": {},
                "created_at": "2026-01-02T09:00:00Z",
                "project": 1,
            }
        )
    return json.dumps(exported, ensure_ascii=False)


def argilla(tasks: str, rater: str, scores: Mapping[str, float]) -> str:
    """dataset.records.to_list(flatten=True), as JSON."""
    exported = []
    for r in json.loads(tasks):
        score = scores.get(r["id"])
        exported.append(
            {
                "id": r["id"],
                "status": "completed",
                "_server_id": "0b7f",
                **r["fields"],
                **r["metadata"],
                "score.responses": [score] if score is not None else None,
                "score.responses.users": [rater] if score is not None else None,
                "score.responses.status": ["submitted"] if score is not None else None,
            }
        )
    return json.dumps(exported, ensure_ascii=False)


def potato(tasks: str, rater: str, scores: Mapping[str, float]) -> str:
    """annotations.jsonl of `potato export --format jsonl`."""
    rows = [json.loads(line) for line in tasks.split("\n") if line]
    exported = [
        {
            "instance_id": r["id"],
            "user_id": rater,
            "labels": {"score": {f"{scores[r['id']]:g}": f"{scores[r['id']]:g}"}}
            if r["id"] in scores
            else {},
            "spans": {},
            "links": {},
        }
        for r in rows
    ]
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in exported)


def prodigy(tasks: str, rater: str, scores: Mapping[str, float]) -> str:
    """`prodigy db-out`: the task as it was, with accept, answer and who."""
    exported = []
    for r in (json.loads(line) for line in tasks.split("\n") if line):
        score = scores.get(r["item_id"])
        exported.append(
            {
                **r,
                "_input_hash": 17,
                "_task_hash": -17,
                "_view_id": "choice",
                "config": {"choice_style": "single"},
                "accept": [] if score is None else [f"{score:g}"],
                "answer": "ignore" if score is None else "accept",
                "_timestamp": 1767348000,
                "_annotator_id": f"set-{rater}",
                "_session_id": f"set-{rater}",
            }
        )
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in exported)


TOOLS: Mapping[str, Fill] = {
    "native": native,
    "csv": spreadsheet,
    "label-studio": label_studio,
    "argilla": argilla,
    "potato": potato,
    "prodigy": prodigy,
}


# --- out, through a tool, and back


def returned(
    run: Path, tasks: TaskSet, layout: str, rater: str = "r1", *, keep: int | None = None
) -> Path:
    """A file as the tool gives it back, with the first `keep` items rated."""
    out = run.parent / f"{layout}-out"
    export_tasks(run, tasks.name, format=layout, out=out)
    scores = dict(list(scores_for(tasks.path).items())[:keep])
    back = run.parent / f"{layout}-{rater}-back"
    back.write_bytes(TOOLS[layout](out.read_bytes().decode(), rater, scores).encode())
    return back


def filled(run: Path, tasks: TaskSet, rater: str = "r1") -> list[dict[str, Any]]:
    """Our own lines, filled in."""
    return rows_of(returned(run, tasks, "native", rater))


def refused(run: Path, path: Path, **more: Any) -> tuple[str, ...]:
    """Why a file was refused; nothing of it was taken."""
    with pytest.raises(RatingsRefused) as caught:
        import_ratings(run, path, **more)
    assert load_ratings(run).empty
    return caught.value.problems
