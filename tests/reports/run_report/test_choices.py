"""People's choices between runs stand in their comparison, with interval, raters and agreement;
where none are, why.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from reports.document.markdown import markdown
from reports.run_report.choices import choices
from reports.run_report.comparison import comparison
from restaudit.evidence.record import Run
from restaudit.people.rating.pairs import draw_pairs, import_choices
from restaudit.people.rating.pairs.drawing import FIRST, read_key
from tests.reports.make_run import make_run


def _drawn(tmp_path: Path) -> list[Run]:
    """Two runs, twelve pairs of their last policies' texts, and what a rater who always wants the
    second one said.
    """
    runs = [
        make_run(tmp_path / n, state, name=n)
        for n, state in (("rest", "healthy"), ("grpo", "halted"))
    ]
    last = [Run(r).iterations()[-1] for r in runs]
    one = draw_pairs(
        runs[0],
        (runs[0], last[0]),
        (runs[1], last[1]),
        n=12,
        raters=1,
        seed=3,
        dimension="quality",
        instructions="Which is better?",
        name="duel",
    )
    items = {i["item_id"]: i for i in read_key(one.path.parent, "duel")["items"]}
    rows = [json.loads(line) for line in one.path.read_text(encoding="utf-8").split("\n") if line]
    now = datetime.now(UTC).isoformat()
    for row in rows:
        row |= {
            "choice": "B" if items[row["item_id"]]["a"] == FIRST else "A",
            "rater_id": "ana",
            "submitted_at": now,
        }
    given = tmp_path / "ana.jsonl"
    given.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    import_choices(runs[0], given)
    return [Run(r) for r in runs]


def test_choices_between_the_runs_are_counted_for_the_side_that_people_preferred(
    tmp_path: Path,
) -> None:
    runs = _drawn(tmp_path)
    table = choices({"rest": runs[0], "grpo": runs[1]})
    (row,) = table.rows
    assert row.cells[0] == "duel"
    assert (row.cells[1].split(",")[0], row.cells[2].split(",")[0]) == ("grpo", "rest")
    # Prompts whose two texts are the same are ties, and every other choice is for grpo.
    assert float(row.cells[3].split("%")[0]) > 50
    assert row.cells[5] == "1"
    assert row.sources[0].path == "rest: human/key-duel.json" or row.sources[0].path.startswith(
        "rest: human/"
    )
    assert "Blinded choices by people" in markdown(comparison(runs)).decode()


def test_where_nobody_chose_or_a_side_is_of_another_run_it_is_said(tmp_path: Path) -> None:
    runs = _drawn(tmp_path)
    other = Run(make_run(tmp_path / "third", name="third"))
    for pair in ([runs[0], other], [runs[1], other]):
        said = choices({str(k): r for k, r in enumerate(pair)})
        assert "restaudit rate pairs" in said.text
