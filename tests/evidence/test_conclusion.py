"""What a run concludes: one word with its reason, and everything found that excludes "no
difference".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restaudit.evidence import record
from restaudit.evidence.conclusion import conclude, learned
from restaudit.evidence.findings import findings
from restaudit.evidence.record import Run
from restaudit.evidence.shown import brief, listed
from tests.recorded import LOOKS, build_run, measured

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build_run(tmp_path / "run")


def _with(run: Path, iteration: str, *rows: Any) -> Run:
    """The run with these measurements beside its own."""
    path = run / iteration / "measurements.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["measurements"] += [m.to_json() for m in rows]
    record.write_json(raw, path)
    return Run(run)


def _decided(run: Path, change: Change, look: str = LOOKS[-1]) -> Run:
    path = run / look / "decision.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    change(raw)
    record.write_json(raw, path)
    return Run(run)


def test_every_state_has_its_word(tmp_path: Path) -> None:
    cleared = conclude(Run(build_run(tmp_path / "done")))
    assert (cleared.word, cleared.unfinished) == ("CLEARED", None)
    stopped = conclude(Run(build_run(tmp_path / "halted", halted=True)))
    assert stopped.word == "STOPPED"
    half = conclude(Run(build_run(tmp_path / "half", finished=False)))
    assert half.unfinished == "The run is not finished: 7 of 8 steps done."
    old = conclude(Run(build_run(tmp_path / "old", schema=record.ONE_QUESTION)))
    assert (old.word, old.stage) == ("CLEARED", None)


def test_ok_says_what_is_ruled_out_and_an_earlier_alarm_is_not_forgotten(run: Path) -> None:
    assert conclude(Run(run)).reason == (
        "a fall of the word-based human score by more than 0.25 sd is ruled out, and all 2 checks "
        "that must pass did; no alarm."
    )

    def warned(raw: dict[str, Any]) -> None:
        raw["verdict"] = raw["gates"][1]["verdict"] = "WARN"

    told = conclude(_decided(run, warned, LOOKS[0]))
    assert told.word == "CLEARED"
    assert told.reason.endswith("no alarm at the last look (earlier: gap at g01/i01).")
    told = conclude(_decided(run, warned))
    assert (told.word, told.reason.partition(" (")[0]) == ("WARNED", "gap fired at g01/i02")


def test_a_silent_rule_is_neither_counted_nor_open(run: Path) -> None:
    def silent(raw: dict[str, Any]) -> None:
        raw["gates"][1] |= {"verdict": "SILENT", "alarm_only": True, "ok_margin": None}

    told = conclude(_decided(run, silent))
    assert "the one check that must pass did" in told.reason
    assert told.open == ()


def test_an_interval_that_excludes_its_neutral_value_is_said_and_others_are_not(run: Path) -> None:
    groups = {"groups": ["men", "women"], "no_preference": 0.5}
    found = findings(
        _with(
            run,
            LOOKS[-1],
            measured("bias.reward_swap.gender", 0.47, 0.15, detail=groups),
            measured("bias.reward_gap", 0.05, 0.15),
            measured("bias.acceptance_ratio", 0.5, 0.2),
            measured("bias.acceptance.women", 0.5, 0.2),
            measured("benchmarks.pronouns.stereotype", 0.75, 0.1, unit="share", detail=groups),
            measured("capability.grammar_change", 0.2, 0.1, direction="higher"),
            measured("capability.grammar", 0.9, 0.1),
        )
    )
    texts = {f.source[1]: f.text for f in found.found}
    assert set(texts) == {
        "bias.reward_swap.gender",
        "bias.acceptance_ratio",
        "benchmarks.pronouns.stereotype",
        "capability.grammar_change",
    }
    assert texts["bias.reward_swap.gender"] == (
        "the reward changes with gender: +0.47 sd [0.32, 0.62], women against men"
    )
    assert "75% [65, 85] (50% is no preference)" in texts["benchmarks.pronouns.stereotype"]
    assert [f.source[1] for f in found.found if f.good] == ["capability.grammar_change"]
    assert found.looked_at == 5


def test_what_only_the_base_policy_showed_is_said_as_its_own(run: Path) -> None:
    swap = measured("bias.reward_swap.age", 0.4, 0.1)
    _with(run, LOOKS[-1], measured("bias.reward_swap.age", 0.05, 0.1))
    (found,) = findings(_with(run, record.BASE, swap)).found
    assert found.text.endswith("(base policy)")
    assert found.source[0] == "g00/i00/measurements.json"


def test_stress_tests_that_the_reward_fails_stand_first(run: Path) -> None:
    swap = measured("stress.groups.gender", 0.4, 0.1, detail={"groups": ["men", "women"]})
    tests = [
        {"name": "append_praise", "verdict": "FAIL", "change": measured("stress.x").to_json()},
        {"name": "groups_gender", "verdict": "FAIL", "change": swap.to_json()},
        {"name": "swap_case", "verdict": "PASS", "change": measured("stress.y").to_json()},
    ]
    (run / "report").mkdir()
    record.write_json({"findings": tests}, run / "report" / "stress.json")
    assert [f.text for f in findings(Run(run)).found] == [
        "the reward model fails 2 of 3 stress tests: append praise and groups gender",
        "the reward changes with gender: +0.40 sd [0.30, 0.50], women against men",
    ]


def test_an_earlier_best_human_score_is_named_and_a_tie_is_not(run: Path) -> None:
    assert conclude(Run(run)).best is None
    path = run / LOOKS[0] / "measurements.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["measurements"][0]["value"] = 0.45
    record.write_json(raw, path)
    best = conclude(Run(run)).best
    assert best is not None
    # This run's record holds no weights.
    assert (best.iteration, best.text, best.exported) == ("g01/i01", "+0.45 sd", False)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.875, 0.677, 1.07), "0.88 [0.68, 1.07]"),
        ((22.34, 20.04, 24.51), "22.3 [20.0, 24.5]"),
        ((1234.0, 1000.0, 1500.0), "1,234 [1,000, 1,500]"),
        ((0.012, 0.004, 0.02), "0.012 [0.004, 0.020]"),
        # An end that is not zero does not look like it.
        ((0.5, 0.004, 1.0), "0.500 [0.004, 1.000]"),
        ((-0.5, -1.0, 0.0), "−0.50 [−1.00, 0.00]"),
    ],
)
def test_three_digits_are_enough(numbers: tuple[float, float, float], text: str) -> None:
    assert brief(*numbers) == text


def test_names_are_listed_as_people_do() -> None:
    assert [listed(n) for n in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


@pytest.mark.parametrize(
    ("version", "detail", "said"),
    [
        ("3", {"in_words": "No new habit was found; a rise of 9 points could have been missed."},
         "At g01/i02: No new habit was found; a rise of 9 points could have been missed."),
        ("3", {"in_words": "The policy learned to \x1b[2Jx."}, "At g01/i02: The policy learned to"),
        ("2", {"in_words": "no feature is more common", "features": []}, None),
        ("2", {"in_words": '"so" is now in 9%', "features": [{"verdict": "signature"}]},
         'What the policy learned by g01/i02: "so" is now in 9%'),
    ],
)  # fmt: skip
def test_what_was_learned_is_a_sentence_also_where_nothing_was(
    run: Path, version: str, detail: dict[str, Any], said: str | None
) -> None:
    m = measured("hacking.signature", None, version=version, detail=detail)
    sentence = learned(_with(run, LOOKS[-1], m), LOOKS[-1])
    assert (sentence is None) == (said is None)
    assert said is None or (sentence or "").startswith(said)
    assert "\x1b" not in (sentence or "")


@pytest.mark.parametrize(("value", "found_there"), [(-0.5, True), (0.05, False), (0.5, False)])
def test_a_loss_on_a_part_of_the_prompts_is_said(
    run: Path, value: float, found_there: bool
) -> None:
    words = "The human score (LEXICON) fell most on the 9 prompts about whales: -0.50 sd."
    m = measured("hacking.worst_slice", value, 0.1, detail={"in_words": words}, direction="higher")
    texts = [f.text for f in findings(_with(run, LOOKS[-1], m)).found]
    assert (words.rstrip(".") in texts) == found_there
