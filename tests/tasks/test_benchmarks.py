"""Benchmarks on a tiny model: what is measured is what the model was made to prefer, and nothing
else is touched.
"""

import random
import re

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from restaudit.config import PolicyConfig, TrainConfig
from restaudit.errors import BadInput
from restaudit.evidence.record import ITEMS
from restaudit.policy import TrainingExample, fine_tune, load_policy
from restaudit.policy.model import Policy
from restaudit.tasks import BenchmarkItem, available, check_names, run_tasks, short_name
from restaudit.tasks import bbq as bbq_module
from restaudit.tasks.benchmark import accuracy, preferred
from restaudit.tasks.run import _items


@pytest.fixture(scope="module")
def policy(tiny_policy) -> Policy:
    return load_policy(
        PolicyConfig(model="tiny", dtype="float32"), tiny_policy, device="cpu", seed=0
    )


@pytest.fixture
def local_task(tmp_path):
    rows = [{"q": f"Film {k} was", "right": k % 2, "a": "good", "b": "bad"} for k in range(12)]
    pd.DataFrame(rows).to_json(tmp_path / "films.jsonl", orient="records", lines=True)
    task = {
        "task": "films",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": str(tmp_path / "films.jsonl")},
        "test_split": "train",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_target": "right",
        "doc_to_choice": ["good", "bad"],
        "metric_list": [
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
            {"metric": "f1", "aggregation": "f1", "higher_is_better": True},
        ],
    }
    (tmp_path / "films.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    return tmp_path / "films.yaml"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """lm-eval reads local files through `datasets`, which keeps copies: here, not in the user's
    cache.
    """
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


OURS = ["own/everyday", "own/grammar", "own/pronouns"]


def test_a_table_has_one_row_an_item_and_metric(policy):
    table = run_tasks(policy, OURS, limit=6, seed=1)
    assert list(table.columns) == list(ITEMS)
    assert not table.duplicated(["task", "item_id", "metric"]).any()
    assert table.groupby(["task", "metric"]).size().to_dict() == {
        ("everyday", "acc"): 6,
        ("grammar", "acc"): 6,
        ("pronouns", "stereotype"): 6,
        ("pronouns", "stereotype_nats"): 6,
    }
    assert table.attrs["notes"] == dict.fromkeys(["everyday", "grammar"], "6 of 80 items") | {
        "pronouns": "6 of 40 items"
    }
    assert table["value"].dtype == np.float64
    assert set(table.loc[table["task"] == "pronouns", "group"]) <= {"female", "male"}


def test_the_same_seed_gives_the_same_items_to_every_policy_and_the_same_values(policy):
    one = run_tasks(policy, OURS, limit=6, seed=1)
    pd.testing.assert_frame_equal(one, run_tasks(policy, OURS[::-1], limit=6, seed=1))
    other = run_tasks(policy, OURS, limit=6, seed=2)
    assert set(one["item_id"]) != set(other["item_id"])
    assert (
        run_tasks(policy, ["own/grammar"], limit=None, seed=1).attrs["notes"]["grammar"]
        == "80 of 80 items"
    )


def test_generators_training_mode_tokenizer_and_weights_are_left_as_they_were(policy):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    policy.model.train()
    weights = {n: p.detach().clone() for n, p in policy.model.named_parameters()}
    before = (
        random.getstate(),
        np.random.get_state()[1].copy(),
        torch.get_rng_state(),
        policy.tokenizer.padding_side,
    )
    try:
        run_tasks(policy, ["own/everyday", "own/harmless"], limit=2, seed=0)
        modes = {m.training for m in policy.model.modules()}
    finally:
        policy.model.eval()
    assert modes == {True}
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])
    assert policy.tokenizer.padding_side == before[3]
    assert all(torch.equal(p, weights[n]) for n, p in policy.model.named_parameters())


def test_nothing_is_printed(policy, capfd):
    run_tasks(policy, ["own/everyday"], limit=2, seed=0)
    assert capfd.readouterr() == ("", "")


def taught(tiny_policy, *, key: int) -> Policy:
    """A policy fine-tuned on one side of every pair of `own/pronouns`: 0 the stereotypical one, 1
    the other.
    """
    config = PolicyConfig(model="tiny", dtype="float32", training="full")
    policy = load_policy(config, tiny_policy, device="cpu", seed=0)
    start = (int(policy.tokenizer.bos_token_id),)
    sentences = [item.choices[key] for item in _items("own/pronouns")]
    examples = [TrainingExample(start, tuple(policy.response_tokens(s)[:-1])) for s in sentences]
    config = TrainConfig(batch=8)
    for _ in fine_tune(policy, examples, config, learning_rate=5e-3, epochs=25, seed=0):
        pass
    return policy


@pytest.mark.parametrize(("key", "low", "high"), [(0, 0.9, 1.0), (1, 0.0, 0.1)])
def test_a_policy_that_was_taught_one_side_of_the_pairs_prefers_that_side(
    tiny_policy, key, low, high
):
    table = run_tasks(taught(tiny_policy, key=key), ["own/pronouns"], limit=None, seed=0)
    values = table.groupby("metric")["value"].mean()
    assert low <= values["stereotype"] <= high
    assert (values["stereotype_nats"] > 0) == (key == 0)


def test_a_reply_that_refuses_is_seen_as_a_refusal(policy, monkeypatch):
    for reply, refused in (
        ("I'm sorry, but I can't help with that.", 1.0),
        ("Use a sharp knife and a board.", 0.0),
    ):
        monkeypatch.setattr(Policy, "text", lambda self, tokens, reply=reply: reply)
        table = run_tasks(policy, ["own/harmless"], limit=3, seed=0)
        assert table["value"].tolist() == [refused] * 3
        assert set(table["metric"]) == {"refused"}


def test_ties_are_shared_and_the_likelier_side_wins():
    item = BenchmarkItem("x", choices=("a", "b"))
    assert preferred(item, [-1.0, -2.0]) == {"stereotype": 1.0, "stereotype_nats": 1.0}
    assert preferred(item, [-2.0, -1.0])["stereotype"] == 0.0
    assert preferred(item, [-1.0, -1.0])["stereotype"] == 0.5
    assert accuracy(item, [-1.0, -1.0]) == {"acc": 0.5}
    assert accuracy(item, [-2.0, -1.0]) == {"acc": 0.0}


def test_bbq_scores_an_answer_by_where_the_stereotype_points():
    ambiguous = BenchmarkItem("x", choices=(" aa", " bb", " cc"), key=1, tag="ambiguous,2,1")
    assert bbq_module.values(ambiguous, [-9.0, -1.0, -9.0]) == {
        "accuracy_ambiguous": 1.0,
        "bias_ambiguous": 0.0,
    }
    assert bbq_module.values(ambiguous, [-9.0, -9.0, -1.0]) == {
        "accuracy_ambiguous": 0.0,
        "bias_ambiguous": 1.0,
    }
    clear = BenchmarkItem("x", choices=(" aa", " bb", " cc"), key=0, tag="disambiguated,2,1")
    assert bbq_module.values(clear, [-1.0, -9.0, -9.0]) == {
        "accuracy_disambiguated": 1.0,
        "bias_disambiguated": -1.0,
    }
    assert bbq_module.values(clear, [-9.0, -1.0, -9.0]) == {"accuracy_disambiguated": 0.0}


# --- our own sets


def test_our_sums_are_right_where_they_say_so_and_wrong_where_not():
    for item in _items("own/arithmetic"):
        right, wrong = (int(c) for c in item.choices)
        a, b = (int(n) for n in re.findall(r"\d+", item.context)[:2])
        operator = next((w for w in ("minus", "times") if w in item.context), "plus")
        assert right == {"plus": a + b, "minus": a - b, "times": a * b}[operator], item
        assert wrong != right
        assert len(str(wrong)) == len(str(right))


@pytest.mark.parametrize("name", [n for n in available() if n.startswith("own/")])
def test_our_sets_have_different_items_and_no_empty_choice(name):
    items = _items(name)
    assert len({i.item_id for i in items}) == len(items) >= 20
    assert len({(i.context, i.choices) for i in items}) == len(items)
    for i in items:
        assert len(set(i.choices)) == len(i.choices)
        assert all(c.strip() for c in i.choices)
        assert i.choices or i.context


def test_every_benchmark_says_where_it_comes_from_and_every_preference_is_known_to_the_probe():
    from probes.statistics.items import PREFERENCES

    for benchmark in available().values():
        assert benchmark.source
        assert benchmark.licence
        assert benchmark.what
        assert (benchmark.values is None) != (benchmark.judged is None)
        for metric in benchmark.metrics:
            assert (metric in PREFERENCES) == (benchmark.kind == "bias"), metric


# --- tasks of lm-eval


def test_a_task_file_of_ones_own_runs_and_what_cannot_be_averaged_is_named(
    policy, local_task, hub_cache
):
    table = run_tasks(policy, [f"path:{local_task}"], limit=5, seed=3)
    assert set(table["task"]) == {"films"}
    assert len(table) == 5
    assert set(table["value"]) <= {0.0, 1.0}
    assert "5 of 12 items" in table.attrs["notes"]["films"]
    assert "f1" in table.attrs["notes"]["films"]
    pd.testing.assert_frame_equal(table, run_tasks(policy, [f"path:{local_task}"], limit=5, seed=3))


def test_lm_evals_tasks_are_found_by_name_in_a_folder_of_ones_own(policy, local_task, hub_cache):
    table = run_tasks(policy, ["lm_eval:films"], limit=3, seed=3, include_path=local_task.parent)
    assert table["task"].tolist() == ["films"] * 3


def test_a_task_whose_data_are_not_there_says_so(policy, local_task, hub_cache):
    (local_task.parent / "films.jsonl").unlink()
    with pytest.raises(BadInput, match="cannot be loaded"):
        run_tasks(policy, [f"path:{local_task}"], limit=3, seed=3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["own/grammer"], "did you mean 'own/grammar'"),
        (["crows"], "crows_pairs"),
        (["path:there/is/none.yaml"], "a task file of lm-eval that is there"),
        (["lm_eval:arc_eazy"], "did you mean lm_eval:arc_easy"),
        (["own/grammar", "path:grammar.yaml"], "both be called grammar"),
    ],
)
def test_a_wrong_name_is_one_clear_message(policy, names, message, monkeypatch):
    # lm-eval reads every task file below the folder of its manager: here a few of its own in place
    # of 14,000.
    from lm_eval.tasks import arc, manager

    monkeypatch.setattr(manager, "__file__", f"{arc.__path__[0]}/manager.py")
    with pytest.raises(BadInput, match=message):
        run_tasks(policy, names, limit=2, seed=0)


def test_a_benchmark_that_cannot_be_fetched_says_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("RESTAUDIT_CACHE", str(tmp_path))
    monkeypatch.setenv("RESTAUDIT_MIRROR", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match=r"xstest/xstest_prompts\.csv.*RESTAUDIT_MIRROR"):
        _items("xstest")


def test_names_in_measurements_are_short():
    assert [
        short_name(n) for n in ("own/grammar", "crows_pairs", "lm_eval:arc_easy", "path:a/b.yaml")
    ] == ["grammar", "crows_pairs", "arc_easy", "b"]
    check_names(list(available()))


# --- the public sets

PUBLIC = {
    "crows_pairs": 1508,
    "winogender": 120,
    "winobias": 782,
    "honest": 329,
    "bbq": 864,
    "xstest": 450,
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", PUBLIC)
def test_public_benchmarks_are_read_whole_and_run(policy, shared_data, monkeypatch, name):
    monkeypatch.setenv("RESTAUDIT_MIRROR", str(shared_data))
    assert len(_items(name)) == PUBLIC[name]
    table = run_tasks(policy, [name], limit=3, seed=0)
    assert set(table["task"]) == {name}
    assert table["item_id"].nunique() == 3
    assert set(table["metric"]) <= set(available()[name].metrics)
    assert table["group"].notna().all()


@pytest.mark.realdata
def test_a_changed_file_is_refused(shared_data, monkeypatch, tmp_path):
    (tmp_path / "winogender").mkdir()
    for name in ("templates.tsv", "occupations-stats.tsv"):
        text = (
            (shared_data / "winogender" / name)
            .read_text(encoding="utf-8")
            .replace("nurse", "nurses")
        )
        (tmp_path / "winogender" / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("RESTAUDIT_MIRROR", str(tmp_path))
    with pytest.raises(BadInput, match="sha256 differs"):
        _items("winogender")


@pytest.mark.realdata
def test_our_sentences_of_winogender_are_its_own(shared_data, monkeypatch):
    monkeypatch.setenv("RESTAUDIT_MIRROR", str(shared_data))
    lines = (
        (shared_data / "winogender" / "all_sentences.tsv").read_text(encoding="utf-8").splitlines()
    )
    published = {line.split("\t")[1].strip() for line in lines}
    assert {choice for item in _items("winogender") for choice in item.choices} <= published
