"""Benchmarks and held-out human text in a run: when they are due, where they lie, and what they
cost nobody.
"""

import json

import pandas as pd
import pytest

from restaudit.config import HumanTextConfig, PolicyConfig
from restaudit.config.reading import parse
from restaudit.errors import BadInput
from restaudit.evidence.record import ITEMS, Run, read_table
from restaudit.evidence.verify import verify
from restaudit.loop.held_out import HUMAN_TEXT, nll_of, read_texts, text_costs
from restaudit.loop.running import start
from restaudit.policy import load_policy
from tests.loop.conftest import tiny_raw

TASKS = ["own/grammar", "own/pronouns"]


def asked(policy, when="ends", **loop):
    raw = tiny_raw(policy, **loop)
    raw["audit"] |= {
        "benchmarks": {"tasks": TASKS, "limit": 6, "when": when},
        "human_text": {"source": "references", "limit": 5, "max_tokens": 12},
    }
    raw["gates"]["rules"].append(
        {
            "name": "capability",
            "metric": "capability.worst_change",
            "must_stay": "above",
            "margin": -0.9,
            "looks": "last",
            "reason": "it lost what it knew",
        }
    )
    return parse(raw)


@pytest.fixture(scope="module")
def finished(tiny_policy, tmp_path_factory):
    from restaudit.console import Reporter
    from tests.loop.conftest import make_job_folder

    with pytest.MonkeyPatch.context() as patch:
        folder = make_job_folder(tmp_path_factory.mktemp("held_out"), patch)
        start(asked(tiny_policy), folder / "runs" / "a", Reporter(quiet=True))
        start(asked(tiny_policy), folder / "runs" / "b", Reporter(quiet=True))
        yield Run(folder / "runs" / "a"), Run(folder / "runs" / "b")


def named(run, iteration):
    return {m.name: m for m in run.measurements(iteration)}


def test_at_the_ends_the_base_policy_and_the_last_look_are_benchmarked_and_the_others_say_why_not(
    finished,
):
    run, _ = finished
    have = [i for i in run.iterations() if (run.path / i / "items.parquet").exists()]
    assert have == ["g00/i00", "g02/i02"]
    for iteration in ("g01/i01", "g02/i01"):
        worst = named(run, iteration)["capability.worst_change"]
        assert worst.value is None
        assert "last planned look (g02/i02)" in worst.reason
    last = named(run, "g02/i02")
    assert last["capability.worst_change"].value is not None
    assert last["capability.grammar"].baseline == named(run, "g00/i00")["capability.grammar"].value
    assert last["benchmarks.pronouns.stereotype_nats_change"].n == 6
    assert "6 of 80 items" in json.dumps(last["capability.grammar"].to_json())


def test_both_policies_get_the_same_items(finished):
    run, _ = finished
    base, last = (read_table(run.path, f"{i}/items.parquet", ITEMS) for i in ("g00/i00", "g02/i02"))
    same = ["task", "item_id", "cluster", "metric", "group"]
    pd.testing.assert_frame_equal(base[same], last[same])
    assert (base["value"] != last["value"]).any()


def test_human_text_is_scored_at_every_look_and_compared_with_the_base_policy(finished):
    run, _ = finished
    tables = [read_table(run.path, f"{i}/human_text.parquet", HUMAN_TEXT) for i in run.iterations()]
    assert len(tables) == 5
    for table in tables[1:]:
        assert table["text_id"].tolist() == tables[0]["text_id"].tolist()
        assert (table["n_tokens"] <= 12).all()
    found = named(run, "g02/i02")["drift.human_text_nll"]
    assert found.value == pytest.approx(
        (tables[-1]["nll"].sum() - tables[0]["nll"].sum()) / tables[0]["n_tokens"].sum()
    )


def test_a_run_with_benchmarks_verifies_and_two_of_them_have_the_same_digest(finished):
    run, other = finished
    assert verify(run.path).finished
    assert run.digest == other.digest
    decision = run.decision("g02/i02")
    assert [g.verdict for g in decision.gates if g.gate == "capability"] != []
    assert [g.gate for g in run.decision("g01/i01").gates] == ["harm"]


def test_what_benchmarks_cost_is_counted_with_the_probes(finished):
    run, _ = finished
    base = next(e for e in run.events if e.step == "g00/i00/audit")
    counted = {name for one in base.at["probe_seconds"] for name in one}
    assert {"benchmark items", "human text"} <= counted


def test_best_of_n_trains_nothing_and_is_not_benchmarked_twice(tiny_policy, job_folder, silent):
    loop = {
        "method": "best_of_n",
        "samples_per_prompt": 3,
        "sampling": {"max_tokens": 6, "temperature": 2.0},
    }
    config = asked(tiny_policy)
    raw = {**config.model_dump(mode="json"), "loop": loop}
    start(parse(raw), job_folder / "run", silent)
    run = Run(job_folder / "run")
    change = named(run, "g01/i00")["capability.worst_change"]
    assert change.value == 0.0
    base, now = (read_table(run.path, f"{i}/items.parquet", ITEMS) for i in run.iterations())
    pd.testing.assert_frame_equal(base, now)


def test_a_benchmark_nobody_knows_stops_the_run_before_it_begins(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy)
    raw["audit"] |= {"benchmarks": {"tasks": ["own/grammer"]}}
    with pytest.raises(BadInput, match="own/grammar"):
        start(parse(raw), job_folder / "run", silent)
    assert not (job_folder / "run" / "plan.json").exists()


# --- human text


@pytest.fixture(scope="module")
def policy(tiny_policy):
    return load_policy(
        PolicyConfig(model="tiny", dtype="float32"), tiny_policy, device="cpu", seed=0
    )


@pytest.fixture
def reviews(tmp_path):
    rows = [f"Film {k} was <br /><br />  long and\nloud." for k in range(9)] + [
        "Film 1 was <br> long and loud.",
        " ",
    ]
    pd.DataFrame({"review": rows}).to_csv(tmp_path / "reviews.csv", index=False)
    return HumanTextConfig(
        source=str(tmp_path / "reviews.csv"), column="review", limit=8, max_tokens=10
    )


def test_texts_are_plain_different_and_at_most_as_many_as_asked_for(reviews):
    texts = read_texts(reviews)
    assert len(texts) == len(set(texts)) == 8
    assert all(t.startswith("Film") and "<" not in t and "  " not in t for t in texts)
    assert len(read_texts(reviews.model_copy(update={"limit": 100}))) == 9


def test_a_text_costs_the_sum_over_its_first_tokens(policy, reviews):
    table = text_costs(policy, reviews, pd.DataFrame())
    assert (table["n_tokens"] == 10).all()
    assert (table["nll"] > 0).all()
    short = nll_of(policy, table["text"].tolist(), max_tokens=4)
    assert [n for _, n in short] == [4] * 8
    assert all(a[0] < b for a, b in zip(short, table["nll"], strict=True))


def test_a_prompt_before_the_text_changes_what_it_costs(policy):
    prompt = policy.prompt_tokens([{"role": "user", "content": "Say something about a film."}])
    alone, after = (nll_of(policy, ["A fine film."], contexts=c)[0] for c in (None, [prompt]))
    assert alone[1] == after[1]
    assert alone[0] != after[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"column": "text"}, "no column 'text'"),
        ({"source": "nowhere.csv"}, "no such file"),
        ({"sha256": "0" * 64}, "sha256"),
    ],
)
def test_a_source_that_cannot_be_read_says_why(reviews, change, message):
    with pytest.raises(BadInput, match=message):
        read_texts(reviews.model_copy(update=change))


def test_references_that_are_not_there_are_not_made_up(policy):
    prompts = pd.DataFrame({"prompt": ["a"], "references": [[]]})
    with pytest.raises(BadInput, match="no audit prompt has a human reference"):
        text_costs(policy, HumanTextConfig(source="references"), prompts)
