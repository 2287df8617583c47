"""A link, a pipe, a device or an endless file, planted at any place of a stranger's run folder that
a command reads or writes: the command ends, with one sentence where it was in the way, nothing is
written outside, and nothing of the victim's gets into what it makes.

RESTAUDIT_ALL_ATTACKS=1 tries everything at every place (about 6,000 calls); otherwise each place
gets one thing, another one in each command, and one place in three does where that takes long.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from restaudit.evidence import ledger
from restaudit.evidence.seal.keys import new_key
from tests.files.attacks import (
    PLANTS,
    SECRET,
    Answer,
    TookTooLong,
    called,
    files_below,
    planted,
    scene,
    touched,
    untouched,
)
from tests.people.rated import RATED, build, native, rows_of, scores_for, write_rows
from tests.reports.charts.test_calibration_chart import small
from tests.reports.make_run import make_run, resealed
from tests.trainers.test_watch import LENIENT, rows, write

# In seconds: the first call of a command imports torch, and half an import cannot be taken up again.
FIRST = 600
EVERYTHING = "RESTAUDIT_ALL_ATTACKS" in os.environ
KEY = "runs/key.pem"
WHO = ("--by", "Ann Example", "--reason", "It may go on now.")
SETTINGS = ("--steps", "50,100", *(word for c in LENIENT for word in ("--set", c)))
CODE = ("--code", "tests.files.attacks:pays")
# command -> (the run that it is about, its words); what it makes beside the run is in ALONGSIDE.
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "status": ("run", ("status", "{run}")),
    "verify": ("run", ("verify", "{run}")),
    "report": ("run", ("report", "{run}", "--format", "md,json")),
    "chart": ("run", ("chart", "{run}")),
    "export": ("run", ("export", "{run}", "--format", "tables,hf")),
    "export to a folder in the run": (
        "run",
        ("export", "{run}", "--format", "hf", "--out", "{run}/mine"),
    ),
    "compliance": (
        "run",
        ("compliance", "{run}", "--framework", "nist-ai-600-1", "--format", "md"),
    ),
    "declare": ("run", ("declare", "{run}")),
    "keep declarations": ("run", ("declare", "{run}", "--from", "runs/form.yaml")),
    "why": ("run", ("why", "{run}", "g01/grow-000-0")),
    "dossier": ("run", ("reward", "dossier", "{run}")),
    "anchor": ("run", ("anchor", "{run}")),
    "sign": ("run", ("sign", "{run}", "--key", KEY)),
    "bundle": ("run", ("bundle", "{run}")),
    "bundle without texts": ("run", ("bundle", "{run}", "--without-texts", "--with-report")),
    "override": ("halted", ("override", "{run}", *WHO)),
    "resume": ("halted", ("resume", "{run}")),
    "rate export": (
        "rated",
        ("rate", "export", "{run}", "--n", "4", "--out", "{run}/human/out.jsonl"),
    ),
    "rate import": ("rated", ("rate", "import", "{run}", "runs/votes.jsonl")),
    "rate status": ("rated", ("rate", "status", "{run}")),
    "rate pairs": (
        "rated",
        ("rate", "pairs", "{run}", "--n", "4", "--out", "{run}/human/out.jsonl"),
    ),
    "import choices": ("compared", ("rate", "import", "{run}", "runs/choices.jsonl")),
    "rate wins": ("chosen", ("rate", "wins", "{run}")),
    "anchor in the run": ("run", ("anchor", "{run}", "--out", "{run}/mine/anchor.json")),
    "probe into the run": (
        "run",
        (
            "probe",
            "runs/gens/step_0.jsonl",
            "--encoder",
            "none",
            "--json",
            "{run}/report/probe.json",
        ),
    ),
    "check an anchor": ("run", ("anchor", "{run}", "--check", "runs/anchor.json")),
    "compare": ("run", ("compare", "{run}", "runs/other", "--out", "{run}/compared")),
    "calibrate": (
        "run",
        ("calibrate", "{run}", "--runs", "10", "--hack-runs", "10", "--workers", "1", "-q"),
    ),
    "watch": ("watched", ("watch", "runs/gens", "--out", "{run}", "-q", *SETTINGS)),
    "stress": ("paid", ("reward", "stress", "{run}", "--budget", "0", *CODE)),
    "validate": ("paid", ("reward", "validate", "{run}", "--data", "runs/judged.jsonl", *CODE)),
    "diff": ("paid", ("reward", "diff", "{run}", "runs/reward")),
    "declare a reward": ("paid", ("reward", "declare", "{run}", "--from", "runs/reward.yaml")),
    "stress a reward": (
        "reward",
        ("reward", "stress", "{run}", "--budget", "0", "--texts", "runs/texts.jsonl", *CODE),
    ),
    "validate a reward": (
        "reward",
        ("reward", "validate", "{run}", "--data", "runs/judged.jsonl", *CODE),
    ),
    "dossier of a reward": ("reward", ("reward", "dossier", "{run}")),
}
# Ten seconds of processor time and more, for something at every place.
SLOW = ("report", "compliance", "compare", "watch")
# What a command may make outside its run.
ALONGSIDE = ("runs/run.zip", "runs/run-", "runs/halted-")
# Unreadable where it lies in the way, refused, or (resume) still halted.
ENDINGS = frozenset({0, 2, 4, 5})


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs: finished with a report and a signature, halted, rated by people, compared by people in
    pairs before and after their choices, watched half-way, with a reward that is code; and a reward
    without a run.
    """
    place = tmp_path_factory.mktemp("pristine") / "runs"
    make_run(place / "run")
    make_run(place / "halted", "halted")
    make_run(place / "other", name="other")
    build(place / "rated")
    build(place / "compared")
    new_key(place / "key.pem")
    (place / "pays.yaml").write_text(f"reward: {{kind: python, callable: '{CODE[1]}'}}\n")
    write_rows(place / "texts.jsonl", [{"text": f"A good film {k}."} for k in range(20)])
    judged = [{"prompt": f"{k}", "chosen": f"Good {k}.", "rejected": "No."} for k in range(40)]
    write_rows(place / "judged.jsonl", judged)
    for step in (0, 50, 100):
        write(place / "gens" / f"step_{step}.jsonl", rows(step))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.parent)
        for words in (
            ("report", "runs/run", "--format", "md"),
            ("sign", "runs/run", "--key", KEY),
            ("anchor", "runs/run", "--out", "runs/anchor.json"),
            ("declare", "runs/run", "--out", "runs/form.yaml"),
            ("rate", "export", "runs/rated", "--n", "4", "--out", "runs/tasks.jsonl"),
            ("rate", "pairs", "runs/compared", "--n", "4", "--out", "runs/pairs.jsonl"),
            ("reward", "train", "runs/pays.yaml", "--out", "runs/reward"),
            ("reward", "declare", "runs/reward", "--out", "runs/reward.yaml"),
            words_of("watch"),
        ):
            assert called(words, FIRST).code == 0
        tasks = (place / "tasks.jsonl").read_text()
        (place / "votes.jsonl").write_text(native(tasks, "r1", scores_for(place / "tasks.jsonl")))
        chosen = [
            {**pair, "rater_id": rater, "choice": "A", "started_at": RATED, "submitted_at": RATED}
            for pair in rows_of(place / "pairs.jsonl")
            for rater in ("r1", "r2")
        ]
        write_rows(place / "choices.jsonl", chosen)
        shutil.copytree(place / "compared", place / "chosen")
        assert called(("rate", "import", "runs/chosen", "runs/choices.jsonl"), FIRST).code == 0
    _half_way(place / "watched")
    _with_reward(make_run(place / "paid"), place / "reward")
    return place


def _half_way(run: Path) -> None:
    """What a watched run is before its last look."""
    events = (run / ledger.FILE).read_bytes().splitlines(keepends=True)
    last = ("step-100/train", "step-100/audit", "end")
    kept = [line for line in events if json.loads(line)["step"] not in last]
    assert len(events) == len(kept) + 3
    (run / ledger.FILE).write_bytes(b"".join(kept))
    shutil.rmtree(run / "step-100")


def _with_reward(run: Path, reward: Path) -> None:
    """Give a run the reward of a folder."""
    plan = json.loads((run / "plan.json").read_text())
    plan["config"]["reward"] = {"kind": "python", "callable": CODE[1]}
    (run / "plan.json").write_text(json.dumps(plan))
    shutil.copy(reward / "dossier.json", run / "reward_model/dossier.json")
    resealed(run)


def words_of(command: str) -> tuple[str, ...]:
    run, words = COMMANDS[command]
    return tuple(word.replace("{run}", f"runs/{run}") for word in words)


def attacks(command: str, places: list[str]) -> Iterator[tuple[str, str]]:
    kinds, number = list(PLANTS), list(COMMANDS).index(command)
    if EVERYTHING:
        return product(places, kinds)
    some = places[number % 3 :: 3] if command in SLOW else places
    return ((place, kinds[(k + number) % 6]) for k, place in enumerate(some))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_planted_in_a_run_is_neither_followed_nor_waited_for(
    command: str, pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, run = words_of(command), COMMANDS[command][0]
    # Emulating takes a minute, and touches nothing of the run.
    monkeypatch.setattr("restaudit.commands.calibrate.figures", lambda *_, **__: small())
    monkeypatch.setattr("restaudit.calibrate.render.print_calibration", lambda *_: None)
    with scene(pristine, words) as (runs, _):
        monkeypatch.chdir(runs.parent)
        places, clean = touched(runs / run, lambda: called(words, FIRST))
        assert clean.code in (0, 4), clean.err
        assert len(places) > 2
    failed = []
    for place, what in attacks(command, places):
        with scene(pristine, words) as (runs, victim):
            monkeypatch.chdir(runs.parent)
            planted(runs / run, place, what, victim)
            before = files_below(runs.parent)
            try:
                answer = called(words)
            except TookTooLong:
                failed.append(f"{what} at {place}: it did not end")
                continue
            wrong = _wrong(answer, runs, victim, before, run)
            if wrong:
                failed.append(f"{what} at {place}: {wrong}: {answer.code} {answer.err[-300:]!r}")
    assert failed == []


def _wrong(answer: Answer, runs: Path, victim: Path, before: set[str], run: str) -> str | None:
    if answer.code not in ENDINGS or "Traceback" in answer.err:
        return "another ending"
    if answer.code in (2, 5) and not answer.err.strip():
        return "no word why"
    if answer.code in (2, 5) and answer.err.count("restaudit: ") > 1:
        return "more than one sentence"
    if not untouched(victim):
        return "the victim's files were changed"
    more = files_below(runs.parent) - before
    outside = {n for n in more if not n.startswith((f"runs/{run}/", *ALONGSIDE))}
    if outside:
        return f"written outside: {outside}"
    return _leaked(answer, runs, more)


def _leaked(answer: Answer, runs: Path, more: set[str]) -> str | None:
    """What of the victim's got into what was printed or made."""
    if SECRET in answer.out or SECRET in answer.err:
        return "the victim's words are shown"
    for name in sorted(more):
        path = runs.parent / name
        if path.is_symlink() or not path.is_file():
            continue
        if name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                if any(SECRET.encode() in archive.read(n) for n in archive.namelist()):
                    return f"the victim's words are in {name}"
        elif SECRET.encode() in path.read_bytes():
            return f"the victim's words are in {name}"
    return None


@pytest.mark.parametrize("what", PLANTS)
@pytest.mark.parametrize("name", ["plan.json", "ledger.jsonl", "writer.json"])
def test_a_list_of_runs_names_the_broken_one_and_goes_on(
    name: str, what: str, pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restaudit.evidence.record import list_runs

    with scene(pristine) as (runs, victim):
        monkeypatch.chdir(runs.parent)
        planted(runs / "halted", name, what, victim)
        by_name = {s.path.name: s for s in list_runs(runs)}
        assert by_name["run"].state == "done"
        # A run that is halted or done has no writer to look for.
        if name != "writer.json":
            assert by_name["halted"].state == "broken"
            assert by_name["halted"].problem


def test_what_goes_into_a_bundle_or_a_signature_is_below_the_run(
    pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(pristine) as (runs, victim):
        monkeypatch.chdir(runs.parent)
        planted(runs / "run", "report", "a link to a folder", victim)
        for words in (words_of("sign"), words_of("bundle")):
            answer = called(words)
            assert (answer.code, "symbolic link" in answer.err) in ((2, True), (5, True))
        assert not (runs / "run.zip").exists()
        signed = json.loads((runs / "run/signatures/report.dsse.json").read_text())
        assert SECRET not in json.dumps(signed)


@pytest.mark.parametrize("command", ["export", "pairs"])
def test_what_raters_get_is_not_written_behind_a_link_of_the_run(
    command: str, pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(pristine) as (runs, victim):
        monkeypatch.chdir(runs.parent)
        planted(runs / "rated", "mine", "a link to a folder", victim)
        answer = called(("rate", command, "runs/rated", "--out", "runs/rated/mine/x"))
        assert (answer.code, answer.err.count("symbolic link")) == (2, 1)
        assert untouched(victim)


def test_a_lock_that_leads_elsewhere_empties_nothing(
    pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(pristine) as (runs, victim):
        monkeypatch.chdir(runs.parent)
        planted(runs / "halted", ".lock", "a link to a file", victim)
        answer = called(words_of("override"))
        assert answer.code == 2
        assert ".lock: is a symbolic link" in answer.err
        assert untouched(victim)


def test_what_was_left_unfinished_is_removed_whatever_it_is(
    pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what in PLANTS:
        with scene(pristine) as (runs, victim):
            monkeypatch.chdir(runs.parent)
            planted(runs / "halted", ".tmp-g01-i01", what, victim)
            assert called(words_of("override")).code == 0, what
            assert not os.path.lexists(runs / "halted/.tmp-g01-i01")
            assert untouched(victim)
