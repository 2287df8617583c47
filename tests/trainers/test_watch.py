"""`restaudit watch` on files of generations: a run folder as any other, whatever the files are
called and lack.
"""

import gzip
import json
import random
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from restaudit.console import Reporter
from restaudit.errors import BadInput, Halted, Interrupted
from restaudit.evidence.ledger import digest_file
from restaudit.evidence.override import override
from restaudit.evidence.record import Run
from restaudit.evidence.verify.check import verify
from restaudit.trainers.watch.folder import Watcher
from restaudit.trainers.watch.settings import WatchSettings
from restaudit.trainers.watch.watching import watch

WORDS = [
    "the",
    "film",
    "was",
    "slow",
    "warm",
    "strange",
    "and",
    "never",
    "dull",
    "but",
    "a",
    "little",
    "long",
    "for",
    "its",
    "story",
]
LENIENT = (
    "gates.rules=[{name: harm, metric: divergence.human_change, must_stay: above, margin: -50, "
    "action: HALT, reason: people like it less}]",
    "audit.resamples=100",
)
STRICT = (LENIENT[0].replace("-50", "50"), "audit.resamples=100")


def rows(step: int, prompts: int = 16, answers: int = 2) -> list[dict[str, object]]:
    rng = random.Random(step)
    found = []
    for k in range(prompts):
        for _ in range(answers):
            quality = rng.gauss(step / 100, 1)
            found.append(
                {
                    "prompt": f"Review film number {k}.",
                    "text": " ".join(rng.choices(WORDS, k=rng.randint(4, 12))),
                    "reward": quality,
                    "human": quality + rng.gauss(0, 0.5),
                    "n_tokens": rng.randint(5, 15),
                    "family": f"film{k // 2}" if k < 8 else None,
                    "group": ("Ann", "Bob")[k % 2] if k < 8 else None,
                }
            )
    return found


def write(path: Path, table: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in table), encoding="utf-8")
    return path


def go(
    folder: Path,
    run: Path,
    *,
    changes: tuple[str, ...] = LENIENT,
    said: list[str] | None = None,
    **asked: object,
) -> Run:
    wanted = WatchSettings(folder, changes=changes, **asked)
    reporter = Reporter(quiet=True)
    reporter.line = (said if said is not None else []).append  # type: ignore[method-assign]
    watch(wanted, run, Watcher(wanted, reporter))
    return Run(run)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """step_0.jsonl, step_50.jsonl and step_100.jsonl, in the current folder's `gens`."""
    monkeypatch.chdir(tmp_path)
    for step in (0, 50, 100):
        write(tmp_path / "gens" / f"step_{step}.jsonl", rows(step))
    return Path("gens")


def test_files_become_a_run_folder_that_verifies(files):
    run = go(files, Path("run"))
    assert (run.state, run.iterations()) == ("done", ["g00/i00", "step-50", "step-100"])
    assert verify(run.path).decisions == 2
    assert run.plan["config"]["policy"]["model"] == "watch:gens"
    found = {m.name: m for m in run.measurements("step-100")}
    assert found["divergence.reward_change"].value > 0.2
    assert (
        found["divergence.human_change"].n_prompts == 8
    )  # the four families of two are for the bias probe
    assert found["bias.human_gap"].value is not None
    assert "only generations are watched" in found["drift.kl"].reason
    assert found["diversity.vendi_ratio"].value is None
    facts = next(e.content for e in run.events if e.step == "step-50/train")
    assert facts["sha256"] == digest_file(files / "step_50.jsonl").sha256
    assert (facts["rows"], facts["rows_left_out"]) == (32, 0)


def test_the_texts_are_copied_into_the_record_with_all_that_the_file_says(files):
    run = go(files, Path("run"))
    got, given = run.audit("step-50"), rows(50)
    assert list(got["text"]) == [r["text"] for r in given]
    assert list(got["reward"]) == [r["reward"] for r in given]
    assert list(got["group"].dropna()) == [r["group"] for r in given if r["group"]]
    assert got["sample_id"].is_unique
    assert set(got["prompt_id"]) == set(run.prompts("audit")["prompt_id"])


def test_a_human_column_is_called_what_the_user_says_and_else_unstated(files):
    assert go(files, Path("one")).scores("step-50")["human"]["label"] == "UNSTATED (column human)"
    assert (
        go(files, Path("two"), human_label="PEOPLE").scores("step-50")["human"]["label"] == "PEOPLE"
    )


def test_without_scores_everything_that_needs_them_is_null_and_no_gate_says_ok(files):
    for step in (0, 50, 100):
        write(
            files / f"step_{step}.jsonl",
            [{k: r[k] for k in ("prompt", "text")} for r in rows(step)],
        )
    # The default gates; a rule of one's own that could never decide is refused.
    run = go(files, Path("run"), changes=("audit.resamples=100",))
    found = {m.name: m for m in run.measurements("step-100")}
    assert all(found[f"divergence.{n}"].value is None for n in ("reward_change", "human_change"))
    assert found["diversity.distinct_2_ratio"].value is not None
    assert run.decision("step-100").verdict == "UNDECIDED"
    assert verify(run.path).decisions == 2


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("gen-{:06d}.parquet", "parquet"),
        ("{}.csv", "csv"),
        ("run7_step{}_of_100.jsonl", "jsonl"),
        ("rollout_{}.jsonl.gz", "gz"),
        ("global_step_{}/generations.jsonl", "jsonl"),
    ],
)
def test_names_and_formats_that_others_use(name, other, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for step in (0, 50, 100):
        path = Path("gens") / name.format(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(rows(step)).drop(columns=["family", "group"])
        if other == "parquet":
            table.to_parquet(path)
        elif other == "csv":
            table.to_csv(path, index=False)
        else:
            text = table.to_json(orient="records", lines=True)
            path.write_bytes(gzip.compress(text.encode()) if other == "gz" else text.encode())
    assert go(Path("gens"), Path("run")).iterations() == ["g00/i00", "step-50", "step-100"]


def test_columns_of_verl_are_known_and_others_can_be_named(files):
    """A later file with other columns, and one whose columns nothing could know."""
    as_verl = [
        {"input": r["prompt"], "output": r["text"], "score": r["reward"], "step": 50}
        for r in rows(50)
    ]
    write(files / "step_50.jsonl", as_verl)
    run = go(files, Path("run"))
    assert run.audit("step-50")["reward"].notna().all()
    assert run.audit("step-50")["human"].isna().all()
    assert run.decision("step-50").verdict == "UNDECIDED"
    notes = next(e.content["notes"] for e in run.events if e.step == "step-50/train")
    assert "reward is column 'score'" in notes
    write(files / "step_50.jsonl", [{"prompt": r["prompt"], "zzz": r["text"]} for r in rows(50)])
    with pytest.raises(BadInput, match=r"step_50\.jsonl: no column 'text'.*--column"):
        go(files, Path("again"))
    assert not Path("again").exists()
    assert go(files, Path("again"), columns={"text": "zzz"}).state == "done"


def test_rows_of_prompts_that_the_base_lacks_are_left_out_and_counted(files):
    more = [*rows(50), {**rows(50)[-1], "prompt": "Something else entirely.", "reward": 99.0}]
    write(files / "step_50.jsonl", more[2:])
    run = go(files, Path("run"))
    facts = next(e.content for e in run.events if e.step == "step-50/train")
    assert (
        facts["rows_left_out"],
        facts["prompts_left_out"],
        facts["prompts_without_an_answer"],
    ) == (1, 1, 1)
    assert run.audit("step-50")["reward"].max() < 99


def test_a_file_that_shares_no_prompt_is_refused_with_the_reason(files):
    write(files / "step_100.jsonl", [{**r, "prompt": f"Another {r['prompt']}"} for r in rows(100)])
    with pytest.raises(BadInput, match="have no prompt in common"):
        go(files, Path("run"))


def test_files_that_have_ids_of_prompts_only(files):
    for step in (0, 50, 100):
        table = [
            {**{k: v for k, v in r.items() if k != "prompt"}, "prompt_id": r["prompt"][-3:]}
            for r in rows(step)
        ]
        write(files / f"step_{step}.jsonl", table)
    run = go(files, Path("run"))
    assert run.state == "done"
    assert {m.name: m for m in run.measurements("step-50")}[
        "divergence.reward_change"
    ].n_prompts == 8


def test_a_later_file_with_prompts_only_finds_those_that_the_base_gave_ids(files):
    write(
        files / "step_0.jsonl",
        [{**r, "prompt_id": f"q{r['prompt'][-3:-1].strip()}"} for r in rows(0)],
    )
    run = go(files, Path("run"))
    assert set(run.audit("step-50")["prompt_id"]) == {f"q{k}" for k in range(16)}


def test_files_without_prompts_are_refused(files):
    write(files / "step_0.jsonl", [{"text": r["text"]} for r in rows(0)])
    with pytest.raises(BadInput, match="nothing tells which rows answer the same prompt"):
        go(files, Path("run"))


def test_the_base_policy_is_the_smallest_step_where_there_is_no_step_0_and_that_is_said(files):
    (files / "step_0.jsonl").unlink()
    said: list[str] = []
    run = go(files, Path("run"), said=said)
    assert run.iterations() == ["g00/i00", "step-100"]
    assert any("smallest step" in line for line in said)
    assert "smallest step" in run.plan["config"]["description"]
    base = write(Path("before.jsonl"), rows(0))
    assert go(files, Path("two"), base=base).iterations() == ["g00/i00", "step-50", "step-100"]


# --- half written, missing


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "gz"])
def test_a_half_written_file_is_named_before_anything_is_sealed(kind, files):
    path = files / "step_100.jsonl"
    if kind == "parquet":
        path.unlink()
        path = files / "step_100.parquet"
        pd.DataFrame(rows(100)).to_parquet(path)
    elif kind == "gz":
        data = path.read_bytes()
        path.unlink()
        path = files / "step_100.jsonl.gz"
        path.write_bytes(gzip.compress(data))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadInput, match=re.escape(path.name)) as e:
        go(files, Path("run"))
    assert "--follow" in str(e.value)
    assert not Path("run").exists()


def test_a_look_that_is_planned_and_not_there_is_refused(files):
    (files / "step_50.jsonl").unlink()
    with pytest.raises(
        BadInput, match=r"nothing of step 50.*step_100\.jsonl of step 100 is there.*--skip-missing"
    ):
        go(files, Path("run"), looks=(50, 100))
    with pytest.raises(BadInput, match="nothing of step 150 yet"):
        go(files, Path("run"), looks=(100, 150))
    assert not Path("run").exists()


def test_a_missed_look_is_recorded_decides_nothing_and_spends_its_part(files):
    (files / "step_50.jsonl").unlink()
    run = go(files, Path("run"), looks=(50, 100), skip_missing=True)
    assert (run.state, run.iterations()) == ("done", ["g00/i00", "step-50", "step-100"])
    assert run.decision("step-50").verdict == "UNDECIDED"
    assert all("no file of this step ever came" in g.why for g in run.decision("step-50").gates)
    assert len(run.audit("step-50")) == 0
    assert run.decision("step-100").look == 2
    assert verify(run.path).decisions == 2


def test_files_that_are_no_planned_look_are_not_looked_at_and_said(files):
    said: list[str] = []
    (files / "notes.jsonl").write_text("", encoding="utf-8")
    run = go(files, Path("run"), looks=(100,), said=said)
    assert run.iterations() == ["g00/i00", "step-100"]
    assert any("step_50.jsonl" in line for line in said)
    assert "notes.jsonl: no number in its name" in run.events[3].content["not_looked_at"]


def follow(files: Path, happens: dict[float, object], said: list[str], **asked: object) -> Run:
    """Follow the folder, with a clock that only sleeping moves; at each time something happens."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        assert now[0] < 500
        if now[0] in happens:
            happens[now[0]]()  # type: ignore[operator]

    wanted = WatchSettings(files, changes=LENIENT, follow=True, **asked)
    reporter = Reporter(quiet=True)
    reporter.line = said.append  # type: ignore[method-assign]
    watch(wanted, Path("run"), Watcher(wanted, reporter, sleep=sleep, clock=lambda: now[0]))
    return Run("run")


def test_a_folder_that_grows_is_followed_and_ends_as_if_it_had_been_there(files):
    whole = (files / "step_100.jsonl").read_bytes()
    done = go(files, Path("all"), looks=(50, 100))
    (files / "step_100.jsonl").unlink()
    said: list[str] = []
    path = files / "step_100.jsonl"
    happens = {20.0: lambda: path.write_bytes(whole[:-30]), 40.0: lambda: path.write_bytes(whole)}
    run = follow(files, happens, said, looks=(50, 100))
    assert run.digest == done.digest
    assert any("nothing of step 100 yet" in line for line in said)
    assert any("line 32: not valid JSON" in line for line in said)


def test_a_file_that_still_grows_is_not_taken_though_every_line_is_whole(files):
    lines = (files / "step_50.jsonl").read_bytes().splitlines(keepends=True)
    path = files / "step_50.jsonl"
    path.unlink()

    def grown(to: int):
        return lambda: path.write_bytes(b"".join(lines[:to]))

    grows = {4.0: grown(10), 6.0: grown(20), 8.0: grown(30), 10.0: grown(32)}
    run = follow(files, grows, [], looks=(50,))
    assert len(run.audit("step-50")) == 32


def test_following_ends_when_nothing_changes_any_more_and_can_be_taken_up_again(files):
    with pytest.raises(BadInput, match=r"nothing of step 150.*nothing has changed there for 60 s"):
        follow(files, {}, [], looks=(50, 100, 150), idle_timeout=60.0)
    assert Run("run").state == "stopped"
    write(files / "step_150.jsonl", rows(150))
    assert follow(files, {}, [], looks=(50, 100, 150)).state == "done"


def test_following_needs_the_planned_looks(files):
    with pytest.raises(BadInput, match="--follow needs the planned looks"):
        follow(files, {}, [])


# --- stopped and taken up


@pytest.mark.parametrize("dies_at", ["g00/i00", "step-50", "step-100"])
def test_interrupted_and_run_again_it_ends_with_the_same_digest(dies_at, files, monkeypatch):
    import restaudit.trainers.watch.watching as module

    real = module.audit
    done = go(files, Path("whole"))

    def dies(job, iteration, **how):
        if iteration == dies_at:
            raise KeyboardInterrupt
        real(job, iteration, **how)

    monkeypatch.setattr(module, "audit", dies)
    with pytest.raises(KeyboardInterrupt):
        go(files, Path("run"))
    monkeypatch.setattr(module, "audit", real)
    assert go(files, Path("run")).digest == done.digest


def test_a_halt_stops_it_and_an_override_lets_the_same_command_go_on(files):
    with pytest.raises(Halted, match="step-50"):
        go(files, Path("run"), changes=STRICT)
    override(Path("run"), by="Ada", reason="only to see where it goes")
    with pytest.raises(Halted, match="step-100"):
        go(files, Path("run"), changes=STRICT)
    override(Path("run"), by="Ada", reason="only to see where it ends")
    run = go(files, Path("run"), changes=STRICT)
    assert run.state == "done"
    assert verify(run.path).decisions == 2


def test_a_begun_run_goes_on_with_its_own_looks_and_refuses_others(files):
    with pytest.raises(Halted):
        go(files, Path("run"), changes=STRICT)
    override(Path("run"), by="Ada", reason="only to see where it goes")
    write(files / "step_150.jsonl", rows(150))
    with pytest.raises(BadInput, match=r"loop\.looks"):
        go(files, Path("run"), changes=STRICT, looks=(50, 100, 150))
    write(files / "step_0.jsonl", rows(1))
    with pytest.raises(BadInput, match="another configuration"):
        go(files, Path("run"), changes=STRICT)


def test_the_configurations_own_reward_scores_texts_and_the_files_is_left_aside(
    files, tmp_path, monkeypatch
):
    (tmp_path / "score_of_test.py").write_text(
        "def length(prompts, texts):\n    return [float(len(t)) for t in texts]\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    reward = ("reward={kind: python, callable: score_of_test:length}",)
    run = go(files, Path("run"), changes=(*LENIENT, *reward))
    assert list(run.audit("step-50")["reward"]) == [float(len(str(r["text"]))) for r in rows(50)]
    notes = next(e.content["notes"] for e in run.events if e.step == "step-50/train")
    assert any("column reward is not used" in n for n in notes)
    assert {m.name: m for m in run.measurements("step-50")}[
        "hacking.unit.truncate"
    ].value is not None
    for step in (0, 50, 100):
        write(
            files / f"step_{step}.jsonl",
            [{"prompt_id": r["prompt"], "text": r["text"]} for r in rows(step)],
        )
    with pytest.raises(BadInput, match="no column prompt, which the reward"):
        go(files, Path("other"), changes=(*LENIENT, *reward))


def test_scores_of_columns_are_refused_where_nothing_is_watched(tmp_path):
    from restaudit.config.reading import load

    with pytest.raises(BadInput, match="read by `restaudit watch` only"):
        load("reviews", ["reward={kind: column}"])
    (tmp_path / "x.yaml").write_text(
        yaml.safe_dump({"human": {"kind": "column"}}), encoding="utf-8"
    )


def test_ctrl_c_while_it_waits_ends_it_at_once_and_the_same_command_goes_on(files):
    import signal

    with pytest.raises(Interrupted, match="same restaudit watch command"):
        follow(files, {10.0: lambda: signal.raise_signal(signal.SIGINT)}, [], looks=(50, 150))
    write(files / "step_150.jsonl", rows(150))
    assert follow(files, {}, [], looks=(50, 150)).state == "done"


# --- the command


def test_the_command_halts_with_4_and_runs_what_it_was_given_with_the_run_folder(files, tmp_path):
    from typer.testing import CliRunner

    from restaudit.commands.cli import app

    stop = tmp_path / "stop.sh"
    stop.write_text('#!/bin/sh\necho "$@" > told.txt\nexit 7\n', encoding="utf-8")
    stop.chmod(0o755)
    strict = [x for change in STRICT for x in ("--set", change)]
    got = CliRunner().invoke(
        app, ["watch", "gens", "--out", "run", "-q", "--on-halt", f"{stop} --now", *strict]
    )
    assert isinstance(got.exception, Halted)
    assert got.exception.exit_code == 4
    assert (tmp_path / "told.txt").read_text() == "--now run\n"
    assert "exit code 7" in got.output
    assert "STOPPED: " in got.output
    got = CliRunner().invoke(
        app, ["override", "run", "--by", "Ada", "--reason", "only to see where it goes"]
    )
    assert "`restaudit watch` writes this run: give the command again" in got.output
    assert "give the command again" in CliRunner().invoke(app, ["status", "run"]).output
    assert "give the command again" in str(CliRunner().invoke(app, ["resume", "run"]).exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "50,20"], "expected rising numbers"),
        (["--every", "50"], "--every N needs --until"),
        (["--steps", "50", "--every", "50", "--until", "100"], "one of the two"),
        (["--column", "text"], "expected NAME=COLUMN"),
        (["--column", "text=nope"], "a column 'nope'"),
        (["--pattern", "*.csv"], "no file of generations and no checkpoint"),
        (["--config", "no-such-recipe"], "no recipe"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_written(
    options, message, files
):
    from typer.testing import CliRunner

    from restaudit.commands.cli import app

    got = CliRunner().invoke(app, ["watch", "gens", "--out", "run", "-q", *options])
    assert isinstance(got.exception, BadInput)
    assert message in str(got.exception)
    assert not Path("run").exists()
