"""`restaudit reward train | stress | declare | dossier | diff`: a reward model in the open, without
a ReST run.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from reports.commands import register
from reports.reward.answers import SCHEMA
from restaudit.commands.cli import app
from restaudit.errors import BadInput
from restaudit.reward.dossier import ABSENT, differences
from restaudit.reward_audit.verdict import verdict

GOOD, BAD = "A warm and honest film.", "Dull, loud and far too long."


def judgement(value: float | None, low: float, name: str = "pair_accuracy") -> dict[str, Any]:
    intervals = [] if value is None else [{"level": 0.95, "low": low, "high": 0.9}]
    return {
        "name": f"validation.{name}",
        "value": value,
        "intervals": intervals,
        "n": 40,
        "reason": "too few",
        "detail": {"meaning": "held-out pairs"},
    }


@cache
def whole() -> typer.Typer:
    """The command line with the commands of reports, as `restaudit` has it."""
    register(app)
    return app


def call(*arguments: str) -> Result:
    return CliRunner().invoke(whole(), ["reward", *arguments])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reward that pays for one word, built from a file that says nothing but `reward:`."""
    (tmp_path / "my_reward.py").write_text(
        (
            "def pays(texts):\n    return [len(set(t)) / 50 + 2.0 * ('warm' in t.lower()) for t in "
            "texts]\n"
        ),
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = {"reward": {"kind": "python", "callable": "my_reward:pays"}, "seed": 3}
    (tmp_path / "reward.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    rows = [
        json.dumps({"text": f"{GOOD if k % 2 else BAD} Number {k}.", "prompt": f"Film {k}"})
        for k in range(24)
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    result = call("train", "reward.yaml", "--out", "one")
    assert result.exit_code == 0, result.output
    return tmp_path


def test_a_reward_is_stressed_and_its_dossier_lists_failures_first(made: Path) -> None:
    stressed = call("stress", "one", "--texts", "texts.jsonl", "--budget", "200")
    assert stressed.exit_code == 0, stressed.output
    report = json.loads((made / "one" / "stress.json").read_text(encoding="utf-8"))
    assert report["texts_are"] == "the texts of texts.jsonl"
    assert report["failures"]
    assert "warm" in {w["word"] for w in report["paid_words"]["words"] if w["verdict"] == "FAIL"}
    page = call("dossier", "one").output
    assert (
        page.index("Failures of the stress tests")
        < page.index("2. Summary")
        < page.index("What it is for")
    )
    assert "| warm |" in page
    assert "NOT ESTABLISHED" in page
    again = call("dossier", "one", "--out", "page.md")
    assert again.exit_code == 0
    assert (made / "page.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("form", "start"), [("html", "<!DOCTYPE html>"), ("card", "---\n"), ("json", "{"), ("md", "# ")]
)
def test_a_dossier_of_text_is_printed(made: Path, form: str, start: str) -> None:
    page = call("dossier", "one", "--format", form).output
    assert page.startswith(start)
    assert "NOT ESTABLISHED" in page
    assert call("dossier", "one", "--format", form).output == page


@pytest.mark.parametrize(("form", "start"), [("pdf", b"%PDF-"), ("docx", b"PK")])
def test_a_dossier_that_is_no_text_needs_a_file(made: Path, form: str, start: bytes) -> None:
    assert "name it with --out" in str(call("dossier", "one", "--format", form).exception)
    assert call("dossier", "one", "--format", form, "--out", "page").exit_code == 0
    assert (made / "page").read_bytes().startswith(start)


def test_the_dossier_as_json_says_what_is_missing_and_null_where_nobody_stressed_it(
    made: Path,
) -> None:
    found = json.loads(call("dossier", "one", "--format", "json").output)
    assert (found["schema"], found["kind"], found["failures"]) == (SCHEMA, "python", None)
    assert "raters.counts" in {g["key"] for g in found["gaps"]}


def test_declarations_are_filled_in_checked_and_shown(made: Path) -> None:
    assert call("declare", "one", "--out", "mine.yaml").exit_code == 0
    assert "is there already" in str(call("declare", "one", "--out", "mine.yaml").exception)
    filled = yaml.safe_load((made / "mine.yaml").read_text(encoding="utf-8"))
    filled["answers"]["raters.pool"] = "readers of one magazine"
    (made / "mine.yaml").write_text(yaml.safe_dump(filled), encoding="utf-8")
    assert "declared_by: empty" in str(call("declare", "one", "--from", "mine.yaml").exception)
    signed = {**filled, "declared_by": "Ada", "date": "2026-05-01"}
    (made / "mine.yaml").write_text(yaml.safe_dump(signed), encoding="utf-8")
    kept = call("declare", "one", "--from", "mine.yaml")
    assert kept.exit_code == 0
    assert "declared by Ada: 1 answers" in kept.output
    page = call("dossier", "one").output
    assert "**Which pool of people were they drawn from?** (DECLARED)" in page
    assert "readers of one magazine" in page


def test_two_builds_of_the_same_say_the_same_and_of_another_say_where_they_part(made: Path) -> None:
    assert call("train", "reward.yaml", "--out", "two").exit_code == 0
    assert "the two dossiers say the same" in call("diff", "one", "two").output
    source = (made / "my_reward.py").read_text(encoding="utf-8")
    (made / "my_reward2.py").write_text(source.replace("2.0", "3.0"), encoding="utf-8")
    assert (
        call(
            "train", "reward.yaml", "--out", "three", "--set", "reward.callable=my_reward2:pays"
        ).exit_code
        == 0
    )
    shown = call("diff", "one", "three").output
    assert "my_reward2" in shown
    assert "facts differ" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "reward.yaml", "--out", "one"), "already holds a reward model"),
        (("train", "nothing.yaml", "--out", "x"), "no such file"),
        (("train", "reward.yaml", "--out", "x", "--set", "reward.kind=trainde"), "reward"),
        (("stress", "one"), "no texts to test this reward on"),
        (("stress", "one", "--texts", "empty.jsonl"), "empty.jsonl"),
        (("dossier", "nowhere"), "neither a run folder nor a reward model"),
    ],
)
def test_bad_input_is_one_clear_message(
    made: Path, arguments: tuple[str, ...], message: str
) -> None:
    (made / "empty.jsonl").write_text("", encoding="utf-8")
    result = call(*arguments)
    assert isinstance(result.exception, BadInput)
    assert message in str(result.exception)


def test_a_damaged_stress_report_is_refused_and_says_how_to_make_it_anew(made: Path) -> None:
    (made / "one" / "stress.json").write_text("{", encoding="utf-8")
    assert "restaudit reward stress one" in str(call("dossier", "one").exception)


def test_a_trivial_rule_that_does_as_well_means_do_not_train_against_it() -> None:
    beaten = (
        "On held-out items the rule 'longer is better' does as well or better (0.72 against 0.66)."
    )
    stress = {"failures": []}
    assert (
        verdict({"validation": [judgement(0.66, 0.6)], "limits": [beaten]}, stress)[0]
        == "DO NOT TRAIN AGAINST"
    )
    assert (
        verdict({"validation": [judgement(0.52, 0.45)], "limits": []}, stress)[0]
        == "DO NOT TRAIN AGAINST"
    )
    assert verdict({"validation": [judgement(0.66, 0.6)], "limits": []}, stress)[0] == "WITH CARE"
    assert (
        verdict({"validation": [judgement(0.66, 0.6)], "limits": []}, None)[0] == "NOT ESTABLISHED"
    )
    assert verdict({"validation": "MISSING", "limits": []}, stress)[0] == "NOT ESTABLISHED"
    assert (
        verdict({"validation": [judgement(None, 0)], "limits": []}, stress)[0] == "NOT ESTABLISHED"
    )


def test_differences_name_the_path_and_what_is_absent() -> None:
    found = differences(
        {"a": 1, "m": [{"name": "r", "value": 0.5, "intervals": [], "n": 3}]}, {"b": {"c": 2}}
    )
    assert [(d.path, d.left, d.right) for d in found if d.path in {"a", "b.c"}] == [
        ("a", "1", ABSENT),
        ("b.c", ABSENT, "2"),
    ]
    assert any(d.path == "m.r.value" for d in found)
