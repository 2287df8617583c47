"""The contract of every probe in the catalogue, on whole, poor and broken evidence."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import probes
from probes import PROBES, Evidence, Measurement, Probe, measure
from probes.catalogue import SECTIONS, metric_of
from probes.divergence.probe import DECOMPOSED

Make = Callable[..., Evidence]
EACH = pytest.mark.parametrize("probe", PROBES, ids=lambda p: p.name)

DOCUMENTATION = (Path(probes.__file__).parents[1] / "docs" / "probes.md").read_text(
    encoding="utf-8"
)
BARE = ["prompt_id", "sample_id", "text", "n_tokens"]


def where(whole: Evidence, column: str, keep: Any) -> pd.DataFrame:
    """The outputs, with the column defined only where `keep` holds."""
    return whole.outputs.assign(**{column: whole.outputs[column].where(keep)})


# What is taken away from whole evidence, by name.
POOR: dict[str, Callable[[Evidence], dict[str, Any]]] = {
    "base policy": lambda e: {"base": None, "grow": None},
    "no grow, no d_eval, no embedding": lambda e: {"grow": None, "d_eval": None, "embed": None},
    "one prompt": lambda e: {
        "outputs": e.outputs[e.outputs["prompt_id"] == "p000"],
        "ratings": e.ratings[e.ratings["prompt_id"] == "p000"],
    },
    "two prompts": lambda e: {"outputs": e.outputs[e.outputs["prompt_id"].isin(["p000", "p001"])]},
    "one sample": lambda e: {"outputs": e.outputs.head(1)},
    "one family": lambda e: {"outputs": e.outputs[e.outputs["family"] == "f00"]},
    "no human score": lambda e: {"outputs": e.outputs.assign(human=np.nan)},
    "no human score, as objects": lambda e: {"outputs": e.outputs.assign(human=None)},
    "no reward": lambda e: {"outputs": e.outputs.assign(reward=np.nan)},
    "some rewards missing": lambda e: {"outputs": where(e, "reward", e.outputs.index % 3 > 0)},
    "constant reward": lambda e: {"outputs": e.outputs.assign(reward=0.1)},
    "constant base": lambda e: {"base": e.base.assign(reward=0.1, human=0.1)},
    "only texts": lambda e: {k: getattr(e, k)[BARE] for k in ("outputs", "base", "grow", "d_eval")},
    "a group without rows": lambda e: {"outputs": e.outputs[e.outputs["group"] != "west"]},
    "one group": lambda e: {
        "outputs": e.outputs[e.outputs["group"].isna() | (e.outputs["group"] == "west")]
    },
    "families without groups": lambda e: {"outputs": e.outputs.assign(group=None)},
    "no outputs": lambda e: {"outputs": e.outputs.iloc[:0], "base": None, "ratings": None},
    "empty texts": lambda e: {"outputs": e.outputs.assign(text="")},
    "no grow rows": lambda e: {"grow": e.grow.iloc[:0]},
    "nothing kept": lambda e: {"grow": e.grow.assign(kept=False)},
    "everything kept": lambda e: {"grow": e.grow.assign(kept=True)},
    "kept not said": lambda e: {"grow": e.grow.drop(columns="kept")},
    "no d_eval rows": lambda e: {"d_eval": e.d_eval.iloc[:0]},
    "no kl": lambda e: {"outputs": e.outputs.drop(columns=["kl", "kl_tokens"])},
    "no kl tokens": lambda e: {"outputs": e.outputs.assign(kl_tokens=0.0)},
    "a prompt the base policy lacks": lambda e: {"base": e.base[e.base["prompt_id"] != "p003"]},
    "human scores of one prompt": lambda e: {
        "outputs": where(e, "human", e.outputs["prompt_id"] == "p001")
    },
}


@EACH
def test_every_probe_says_what_it_is_for_where_it_comes_from_and_where_it_is_weak(
    probe: Probe,
) -> None:
    assert probe.goal.endswith("?"), "the goal is a question that its measurements answer"
    assert probe.version
    assert probe.reads, "which columns and callables of Evidence it reads"
    assert probe.references, "where the idea comes from; or that it is your own"
    assert probe.weaknesses, "an empty weakness is a missing one: what does it not see?"
    assert all(text.strip() for text in (*probe.references, *probe.weaknesses))


@EACH
def test_every_measurement_has_a_title_and_a_section_that_exists(probe: Probe) -> None:
    assert probe.title
    assert probe.measures
    for metric in probe.measures:
        assert metric.name.startswith(f"{probe.name}."), metric
        assert metric.title, f"{metric.name}: what do people call it?"
        assert metric.section in SECTIONS, f"{metric.name}: in which section is it shown?"
        assert metric.title[-1] not in ".:", f"{metric.name}: a title is no sentence"


@EACH
def test_every_measurement_is_explained_in_the_documentation(probe: Probe) -> None:
    for name in probe.names:
        assert f"`{name}" in DOCUMENTATION, f"docs/probes.md: run `restaudit dev docs` for {name}"


def strays(folder: Path) -> list[str]:
    """Modules below `folder` that look like a probe, by their text, and are none in the
    catalogue.
    """
    known = {inspect.getfile(probe.run) for probe in PROBES}
    found = []
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "run"]
        takes = [ast.unparse(a.annotation) for f in functions for a in f.args.args if a.annotation]
        if ("Probe" in calls or "Evidence" in takes) and str(path) not in known:
            found.append(path.name)
    return found


def test_every_module_that_looks_like_a_probe_is_in_the_catalogue(tmp_path: Path) -> None:
    assert strays(Path(probes.__file__).parent) == []
    (tmp_path / "lost.py").write_text("PROBE = Probe(name='lost')")
    (tmp_path / "half.py").write_text("def run(evidence: Evidence) -> list[Measurement]: ...")
    (tmp_path / "tool.py").write_text("def run(table: DataFrame) -> float: ...")
    assert strays(tmp_path) == ["half.py", "lost.py"]


def test_the_order_of_probes_is_the_one_that_runs_of_before_recorded() -> None:
    recorded = "divergence agreement diversity bias drift hacking toxicity capability benchmarks"
    assert [p.name for p in PROBES][:9] == recorded.split()


@EACH
def test_what_a_probe_returns_is_what_it_declares(probe: Probe, make_evidence: Make) -> None:
    measurements = probe.run(make_evidence())
    names = [m.name for m in measurements]
    assert len(set(names)) == len(names)
    known = tuple(probe.names)
    undeclared = [n for n in names if n not in known and not n.startswith(families(probe))]
    assert undeclared == [], "name them in `measures`"
    assert [d for d in probe.names if not any(n.startswith(d) for n in names)] == []
    for m in measurements:
        metric = metric_of(m.name)
        assert metric is not None
        if metric.unit:
            assert (m.unit, m.direction) == (metric.unit, metric.direction), m.name


def families(probe: Probe) -> tuple[str, ...]:
    """How the names of its families begin."""
    return tuple(m.name for m in probe.measures if m.family)


@pytest.mark.parametrize(
    ("name", "title", "section"),
    [
        ("divergence.reward", "reward", "divergence"),
        ("bias.human.women", "human score, women", "bias"),
        ("bias.reward_swap", "largest change of the reward when the named group changes", "bias"),
        (
            "bias.reward_swap.names_race",
            "change of the reward when the named group changes: names race",
            "bias",
        ),
        ("capability.grammar_change", "grammar, change from the base policy", "capability"),
        ("capability.worst_change", "worst change of a task", "capability"),
        ("benchmarks.bbq.bias_ambiguous", "bbq, bias ambiguous", "preferences"),
    ],
)
def test_a_name_is_found_itself_before_its_family_whose_title_takes_in_the_rest(
    name: str, title: str, section: str
) -> None:
    metric = metric_of(name)
    assert metric is not None
    assert (metric.name, metric.title, metric.section) == (name, title, section)


@pytest.mark.parametrize("name", ["nobody.measures_this", "divergence", "bias.", "bias.human."])
def test_a_name_that_nothing_measures_has_no_contract(name: str) -> None:
    assert metric_of(name) is None


def test_every_measurement_of_whole_evidence_has_all_levels_a_method_and_what_the_base_policy_had(
    make_evidence: Make,
) -> None:
    found, seconds = measure(make_evidence())
    assert list(seconds) == [p.name for p in PROBES]
    of_one_policy = (
        "divergence.d_eval_gap",
        "divergence.filter_human",
        "bias.acceptance",
        "bias.reward_swap",
        "bias.mention_kept.",
        "drift.synthetic_share",
        "hacking.length_share",
        "hacking.unit",
        "divergence.gain_per",
        "agreement.",
    )
    for m in found:
        assert m.value is not None, f"{m.name}: {m.reason}"
        if m.name == "hacking.learned_features":
            assert "a count" in m.reason
            continue
        if m.name.startswith("divergence.peak_"):
            assert "a description, not a test" in m.reason
            continue
        assert [i.level for i in m.intervals] == [0.95, 0.99], m.name
        assert (
            m.interval(0.99).low
            <= m.interval(0.95).low
            <= m.interval(0.95).high
            <= m.interval(0.99).high
        )
        assert m.interval(0.95).low <= m.value <= m.interval(0.95).high, m.name
        assert m.method
        assert 1 < m.n_prompts <= m.n
        assert (m.baseline is None) == m.name.startswith(of_one_policy), m.name


@pytest.fixture(scope="module")
def measured() -> Callable[[str, Make], list[Measurement]]:
    """Measurements of poor evidence by case, each made once."""
    known: dict[str, list[Measurement]] = {}

    def of(case: str, make: Make) -> list[Measurement]:
        if case not in known:
            known[case] = measure(make(**POOR[case](make())))[0]
        return known[case]

    return of


@pytest.mark.parametrize("case", POOR)
def test_poor_evidence_never_fails_and_what_is_undefined_is_null_with_a_reason(
    case: str, make_evidence: Make, measured: Any
) -> None:
    found = measured(case, make_evidence)
    names = [m.name for m in found]
    assert [d for p in PROBES for d in p.names if not d.endswith(".") and d not in names] == []
    for m in found:
        assert json.loads(json.dumps(m.to_json(), allow_nan=False)) == json.loads(
            json.dumps(m.to_json())
        )
        assert m == Measurement.from_json(m.to_json())
        assert m.value is not None or (m.reason and not m.intervals)
        assert m.intervals or m.reason
        for i in m.intervals:
            assert np.isfinite([i.low, i.high]).all()
            assert i.low < i.high


UNDEFINED = {
    "no human score": [
        "divergence.human",
        "divergence.human_change",
        "divergence.gap",
        *DECOMPOSED,
        "divergence.correlation",
        "divergence.correlation_pearson",
        "bias.human_gap",
        "hacking.signature",
    ],
    "no reward": [
        "divergence.reward",
        "divergence.reward_change",
        "divergence.gap",
        *DECOMPOSED,
        "divergence.correlation",
        "divergence.d_eval_gap",
        "bias.reward_gap",
        "hacking.length_controlled_gain",
        "hacking.length_share",
    ],
    "constant reward": ["divergence.correlation", "divergence.correlation_pearson"],
    "constant base": [
        "divergence.reward_change",
        "divergence.human_change",
        "divergence.gap",
        *DECOMPOSED,
        "hacking.length_controlled_gain",
        "hacking.length_share",
        "hacking.unit_worst",
    ],
    "one group": [
        "bias.reward_gap",
        "bias.human_gap",
        "bias.sentiment_gap",
        "bias.toxicity_gap",
        "bias.refusal_gap",
        "bias.length_gap",
    ],
    "families without groups": [
        "bias.reward_gap",
        "bias.human_gap",
        "bias.sentiment_gap",
        "bias.toxicity_gap",
        "bias.refusal_gap",
        "bias.length_gap",
    ],
    "no outputs": [
        name
        for p in PROBES
        for name in p.names
        if not name.endswith(".")
        and name
        not in (
            "divergence.filter_human",
            "bias.acceptance_ratio",
            "drift.synthetic_share",
            "capability.worst_change",
            "benchmarks.worst_change",
        )
    ],
    "empty texts": [
        "diversity.distinct_1",
        "diversity.distinct_2",
        "diversity.distinct_2_ratio",
        "diversity.compression_ratio",
        "diversity.compression_ratio_ratio",
        "bias.sentiment_gap",
        "bias.refusal_gap",
        "bias.reward_swap",
        "hacking.prompt_echo",
        "hacking.repetition",
        "hacking.repetition_change",
    ],
    "no grow rows": ["divergence.filter_human", "bias.acceptance_ratio"],
    "nothing kept": ["divergence.filter_human", "bias.acceptance_ratio"],
    "everything kept": ["divergence.filter_human"],
    "no d_eval rows": ["divergence.d_eval_gap"],
    "no kl": ["drift.kl", "drift.kl_per_token"],
    "no kl tokens": ["drift.kl_per_token"],
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_nothing_undefined_comes_back_as_a_number(
    case: str, make_evidence: Make, measured: Any
) -> None:
    found = {m.name: m for m in measured(case, make_evidence)}
    assert {name: found[name].value for name in UNDEFINED[case]} == dict.fromkeys(UNDEFINED[case])


def test_one_prompt_gives_no_interval_anywhere(make_evidence: Make) -> None:
    found, _ = measure(
        make_evidence(
            **POOR["one prompt"](make_evidence()),
            grow=None,
            d_eval=None,
            human_text=None,
            items=None,
        )
    )
    assert [m.name for m in found if m.intervals] == []


def test_the_order_of_rows_changes_nothing(make_evidence: Make) -> None:
    whole = make_evidence()
    mixed = {
        k: getattr(whole, k).sample(frac=1, random_state=3)
        for k in ("outputs", "base", "grow", "d_eval")
    }
    assert measure(whole)[0] == measure(make_evidence(**mixed))[0]


def test_a_parquet_file_or_other_column_types_change_nothing(
    make_evidence: Make, tmp_path: Path
) -> None:
    whole = make_evidence()
    read, typed = {}, {}
    for name in ("outputs", "base", "grow", "d_eval"):
        table = getattr(whole, name)
        table.to_parquet(tmp_path / name)
        read[name] = pd.read_parquet(tmp_path / name)
        categories = {c: pd.Categorical(table[c]) for c in ("prompt_id", "family", "group")}
        typed[name] = table.assign(**categories, reward=table["reward"].astype("Float64"))
    assert measure(make_evidence(**read))[0] == measure(whole)[0]
    assert measure(make_evidence(**typed))[0] == measure(whole)[0]


def test_measuring_changes_no_table_and_no_global_generator(make_evidence: Make) -> None:
    whole = make_evidence()
    before = {k: getattr(whole, k).copy() for k in ("outputs", "base", "grow", "d_eval")}
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    measure(whole)
    assert (np.random.get_state()[1] == state).all()
    for name, table in before.items():
        pd.testing.assert_frame_equal(table, getattr(whole, name))


WRONG: dict[str, tuple[Callable[[Evidence], dict[str, Any]], str]] = {
    "a column is missing": (
        lambda e: {"grow": e.grow.drop(columns="text")},
        r"grow: lacks the column\(s\) text",
    ),
    "a sample is named twice": (
        lambda e: {"base": e.base.assign(sample_id="x")},
        "base: sample_id 'x' names more",
    ),
    "no prompt id": (
        lambda e: {"outputs": e.outputs.assign(prompt_id=None)},
        "outputs: row 0 has no prompt_id",
    ),
    "an infinite reward": (
        lambda e: {"outputs": e.outputs.assign(reward=np.inf)},
        "row 0, column reward is infinite",
    ),
    "words for numbers": (
        lambda e: {"d_eval": e.d_eval.assign(reward="high")},
        "d_eval: column reward is",
    ),
    "another base policy": (
        lambda e: {"base": e.base.assign(prompt_id="q")},
        "no prompt_id in common",
    ),
    "a level in percent": (lambda e: {"levels": (95,)}, "between 0 and 1"),
    "too few resamples": (lambda e: {"resamples": 10}, "at least 100"),
}


@pytest.mark.parametrize("case", WRONG)
def test_evidence_that_is_not_what_it_says_is_refused_with_table_column_and_row(
    case: str, make_evidence: Make
) -> None:
    change, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        measure(make_evidence(**change(make_evidence())))
