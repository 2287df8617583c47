"""What a stranger's run says is printed as signs: nothing in it moves the cursor, colours, links or
turns a line round.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

from restaudit.files.signs import REORDERING
from tests.files.test_other_users import tried
from tests.reports.hostile import ALL, LINE, make_hostile
from tests.reports.make_run import resealed

# Where a plan's own check refuses them, or where what a record says must follow from elsewhere.
WITHOUT_CONTROLS = ("plan.json", "decision.json")


def with_controls(run: Path) -> Path:
    """The hostile run, and in it the signs that act on a terminal too."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: changed(v) for k, v in value.items()}
        if isinstance(value, list):
            return [changed(v) for v in value]
        return value.replace(LINE, ALL) if isinstance(value, str) else value

    for path in run.rglob("*.json"):
        if path.name not in WITHOUT_CONTROLS:
            path.write_text(json.dumps(changed(json.loads(path.read_text()))))
    return resealed(run)


def acting(text: str) -> set[str]:
    """The signs of a text that a terminal acts on."""
    return {c for c in text if unicodedata.category(c) == "Cc" or c in REORDERING} - {"\n"}


def test_no_command_prints_a_sign_that_acts_on_a_terminal(tmp_path):
    with_controls(make_hostile(tmp_path / "run"))
    with_controls(make_hostile(tmp_path / "other"))
    commands = [
        ["status", "run"],
        ["verify", "run"],
        ["verify", "run", "--no-render"],
        ["anchor", "run", "--out", "anchor.json"],
        ["chart", "run"],
        ["report", "run", "--format", "md"],
        ["why", "run", "g01-001-0"],
        ["compare", "run", "other"],
        ["compliance", "run", "--framework", "nist-ai-600-1", "--format", "md"],
        ["declare", "run"],
        ["export", "run", "--format", "cyclonedx,croissant"],
        ["rate", "status", "run"],
        ["reward", "dossier", "run"],
        ["override", "run", "--by", "Ann Example", "--reason", "It may go on now."],
        ["resume", "run"],
        ["bundle", "run", "--out", "run.zip"],
        ["verify", "run.zip"],
        ["status", "nothing\x1b[31m\u202ehere"],
    ]
    said = tried(commands, tmp_path)
    for command, (code, out, err) in said.items():
        assert acting(out + err) == set(), (command, out + err)
        assert code in (0, 2, 4, 5), (command, err)
    # They printed something of the record, and so could have failed.
    assert "evil.example" in said["status run"][1]
