"""The draw is random, coordinated, repeatable and blind."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rated import ASK, ITERATIONS, PROMPTS, SAMPLES, build, rows_of
from scipy import stats

from restaudit.errors import BadInput
from restaudit.evidence.verify import verify
from restaudit.people.rating import TaskSet, draw, draw_tasks, export_tasks, load_tasks, task_sets
from restaudit.people.rating.formats import FORMATS
from restaudit.people.rating.tasks import items_of, read_key

POOL = [(f"g01/i01/p{k // 3:02d}/{k % 3}", f"p{k // 3:02d}") for k in range(30)]


def items(tasks: TaskSet) -> pd.DataFrame:
    key = read_key(tasks.key.parent, tasks.name)
    return pd.DataFrame([vars(i) for i in items_of(key)])


def test_every_sample_is_drawn_equally_often_and_so_is_every_pair() -> None:
    runs, n = 1500, 6
    ones: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    for seed in range(runs):
        chosen = sorted(draw.drawn(POOL, n, draw.derive(b"plan", seed)))
        assert len(set(chosen)) == n
        ones.update(chosen)
        pairs.update((a, b) for k, a in enumerate(chosen) for b in chosen[k + 1 :])
    # Counts of a draw without replacement vary less than Poisson: a chi-square with that variance
    # would pass anyway.
    expected = runs * n / len(POOL)
    spread = expected * (1 - n / len(POOL))
    assert stats.chi2.sf(sum((ones[i] - expected) ** 2 for i in range(30)) / spread, 29) > 1e-4
    pair = runs * n * (n - 1) / (30 * 29)
    assert (
        stats.chi2.sf(
            sum((pairs[i, j] - pair) ** 2 / pair for i in range(30) for j in range(i + 1, 30)), 434
        )
        > 1e-4
    )


def test_the_draw_does_not_depend_on_the_order_of_rows() -> None:
    key = draw.derive(b"plan", 1)
    backwards = POOL[::-1]
    assert [POOL[i] for i in draw.drawn(POOL, 7, key)] == [
        backwards[i] for i in draw.drawn(backwards, 7, key)
    ]


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    key = draw.derive(b"plan", 1)
    assert draw.drawn(POOL, 5, key) == draw.drawn(POOL, 11, key)[:5]


def test_iterations_are_rated_on_the_same_prompts(tasks: TaskSet) -> None:
    shown = items(tasks)
    shown = shown[shown["role"] == "sample"]
    base, last = (shown[shown["iteration"] == i] for i in ("g00/i00", "g01/i02"))
    assert sorted(base["prompt_id"]) == sorted(last["prompt_id"])
    assert len(base) == len(last) == 12


def test_only_plain_prompts_are_drawn_and_the_probability_says_of_how_many(tasks: TaskSet) -> None:
    shown = items(tasks)
    assert shown["prompt_id"].str.startswith("p").all()
    samples = shown[shown["role"] == "sample"]
    assert (samples["inclusion_prob"] == 12 / (PROMPTS * SAMPLES)).all()
    assert any("8 rows of counterfactual families are not drawn from" in n for n in tasks.notes)


def test_asking_for_more_than_there_are_takes_all_and_says_so(run: Path) -> None:
    tasks = draw_tasks(run, ["g01/i01"], per_iteration=60, name="all", **ASK)
    assert tasks.samples == PROMPTS * SAMPLES
    assert "asked for 60 samples of g01/i01, there are 40: all of them" in tasks.notes
    assert set(items(tasks).query("role == 'sample'")["inclusion_prob"]) == {1.0}


def test_a_later_set_draws_on_where_the_earlier_one_ended(run: Path) -> None:
    first = draw_tasks(run, ["g01/i01"], per_iteration=12, name="one", **ASK)
    more = draw_tasks(
        run, ["g01/i01"], per_iteration=8, name="one-more", after={"g01/i01": 12}, **ASK
    )
    at_once = draw_tasks(run, ["g01/i01"], per_iteration=20, name="twenty", **ASK)
    one, two, whole = (items(t).query("role == 'sample'") for t in (first, more, at_once))
    assert not set(one["sample_id"]) & set(two["sample_id"])
    assert {*one["sample_id"], *two["sample_id"]} == set(whole["sample_id"])
    # Of both sets together, which are one random sample.
    assert set(two["inclusion_prob"]) == set(whole["inclusion_prob"]) == {20 / 40}
    assert "after" not in read_key(first.key.parent, "one")
    assert [t.name for t in task_sets(run)] == ["one", "one-more", "twenty"]


def test_a_later_set_has_other_anchors(run: Path, tasks: TaskSet) -> None:
    sets = [
        draw_tasks(
            run,
            ["g01/i01"],
            per_iteration=4,
            anchors=3,
            anchors_after=after,
            after={"g01/i01": after} if after else None,
            name=f"after-{after}",
            **ASK,
        )
        for after in (0, 3)
    ]
    one, two = (set(items(t).query("role == 'anchor'")["sample_id"]) for t in sets)
    before = items(tasks).query("iteration == 'g00/i00' and role == 'sample'")
    assert len(one) == len(two) == 3
    assert not one & two
    assert one | two <= set(before["sample_id"])


def test_a_set_that_finds_fewer_texts_than_it_asks_for_says_of_how_many(run: Path) -> None:
    tasks = draw_tasks(
        run, ["g01/i01"], per_iteration=30, after={"g01/i01": 30}, name="rest", **ASK
    )
    assert tasks.samples == 10
    assert "asked for 60 samples of g01/i01, there are 40: all of them" in tasks.notes


def test_repeats_come_late_after_their_originals_and_have_no_probability(tasks: TaskSet) -> None:
    shown = items(tasks).set_index("item_id")
    repeats = shown[shown["role"] == "check"]
    assert len(repeats) == tasks.checks == 2
    for _, r in repeats.iterrows():
        original = shown.loc[r["repeats"]]
        assert r["order"] > original["order"]
        assert r["response_sha256"] == original["response_sha256"]
        assert pd.isna(r["inclusion_prob"])


def test_the_order_mixes_iterations(tasks: TaskSet) -> None:
    order = items(tasks).sort_values("order")["iteration"].tolist()
    changes = sum(a != b for a, b in pairwise(order))
    assert changes >= len(order) // 4


def test_anchors_are_base_samples_that_were_rated_before(run: Path, tasks: TaskSet) -> None:
    later = draw_tasks(run, ["g01/i01"], per_iteration=12, anchors=5, name="later", **ASK)
    anchors = items(later).query("role == 'anchor'")
    assert len(anchors) == later.anchors == 5
    before = items(tasks).query("iteration == 'g00/i00' and role == 'sample'")
    assert set(anchors["sample_id"]) <= set(before["sample_id"])
    assert not set(items(later)["item_id"]) & set(items(tasks)["item_id"])


def test_drawing_again_changes_nothing_and_mends_what_is_missing(run: Path, tasks: TaskSet) -> None:
    before = {p: p.read_bytes() for p in (tasks.path, tasks.key)}
    tasks.path.unlink()
    tasks.key.unlink()
    assert draw_tasks(run, ["g00/i00", "g01/i02"], per_iteration=12, name="first", **ASK) == tasks
    assert {p: p.read_bytes() for p in before} == before
    assert load_tasks(run, "first") == tasks
    assert task_sets(run) == [tasks]


def test_another_draw_under_the_same_name_is_refused(run: Path, tasks: TaskSet) -> None:
    with pytest.raises(BadInput, match="named 'first' is there and was drawn differently"):
        draw_tasks(run, ["g00/i00", "g01/i02"], per_iteration=13, name="first", **ASK)


def test_two_runs_of_one_plan_draw_the_same_samples_under_other_names(tmp_path: Path) -> None:
    drawn = []
    for name in ("a", "b"):
        run = build(tmp_path / name)
        ledger = run / "ledger.jsonl"
        if (
            name == "b"
        ):  # the same plan at another time: the first event, and so the secret, differs
            ledger.unlink()
            _record_again(run)
        drawn.append(
            items(draw_tasks(run, ["g00/i00", "g01/i02"], per_iteration=12, name="x", **ASK))
        )
    one, two = drawn
    what = ["iteration", "sample_id", "role", "inclusion_prob"]
    assert (
        one.sort_values(what)[what].values.tolist().__repr__()
        == two.sort_values(what)[what].values.tolist().__repr__()
    )
    assert not set(one["item_id"]) & set(two["item_id"])


def _record_again(run: Path) -> None:
    from restaudit.evidence import ledger

    steps = [
        ("plan", ["plan.json", "data/audit.parquet"]),
        *((f"{i}/audit", [f"{i}/audit.parquet"]) for i in ITERATIONS),
    ]
    for step, files in steps:
        events = ledger.read(run)
        ledger.append(
            run,
            ledger.Event(
                seq=len(events),
                step=step,
                prev=events[-1].hash if events else ledger.GENESIS,
                outputs={f: ledger.digest_file(run / f) for f in files},
                at={"time": "2026-01-05T00:00:00Z", "run_id": "another"},
            ),
        )


@pytest.mark.parametrize("layout", sorted(FORMATS))
def test_no_exported_byte_tells_iteration_reward_or_sample(
    run: Path, tasks: TaskSet, tmp_path: Path, layout: str
) -> None:
    written = export_tasks(run, "first", format=layout, out=tmp_path / "out.file")
    audited = pd.concat([pd.read_parquet(run / i / "audit.parquet") for i in ITERATIONS])
    secrets = [
        *ITERATIONS,
        *audited["sample_id"],
        *map(str, audited["reward"].round(6)),
        "0.654321",
        "0.098765",
    ]
    secrets += ["g00", "i00", "g01", "i01", "i02", "reward", "check", "anchor", "repeats"]
    for path in [*written, tasks.path]:
        text = path.read_text(encoding="utf-8")
        assert [s for s in secrets if s in text] == []
    assert "p003" not in written[0].read_text(encoding="utf-8").replace("about p003.", "")


def test_every_layout_holds_every_item_in_the_drawn_order(
    run: Path, tasks: TaskSet, tmp_path: Path
) -> None:
    wanted = items(tasks).sort_values("order")["item_id"].tolist()
    for layout, form in FORMATS.items():
        export_tasks(run, "first", format=layout, out=tmp_path / layout)
        text = (tmp_path / layout).read_text(encoding="utf-8-sig")
        places = [text.index(i) for i in wanted]
        assert places == sorted(places), form.name


def test_tasks_say_what_is_rated_on_which_scale(tasks: TaskSet) -> None:
    row = rows_of(tasks.path)[0]
    assert row["instructions"] == ASK["instructions"]
    assert (row["scale_min"], row["scale_max"], row["dimension"]) == (1, 7, "quality")
    assert row["choices"] == [1, 2, 3, 4, 5, 6, 7]
    assert row["blinded"] is True
    assert row["prompt"].startswith("Write one sentence")
    assert {row["rater_id"], row["score"], row["submitted_at"]} == {None}


def test_label_studio_gets_a_labelling_interface_that_parses(
    run: Path, tasks: TaskSet, tmp_path: Path
) -> None:
    from xml.etree import ElementTree

    written = export_tasks(run, "first", format="label-studio", out=tmp_path / "t.json")
    view = ElementTree.parse(written[2]).getroot()
    assert [c.get("value") for c in view.iter("Choice")] == list("1234567")
    assert next(view.iter("Header")).get("value") == ASK["instructions"]
    assert all(set(t) == {"data"} for t in json.loads(written[0].read_text()))


def test_potato_gets_a_config_that_names_its_tasks(
    run: Path, tasks: TaskSet, tmp_path: Path
) -> None:
    import yaml

    written = export_tasks(run, "first", format="potato", out=tmp_path / "t.jsonl")
    config = yaml.safe_load(written[2].read_text())
    assert config["data_files"] == ["t.jsonl"]
    assert config["annotation_schemes"][0]["labels"] == list("1234567")
    assert config["num_annotators_per_item"] == 2


def test_the_run_still_verifies(run: Path, tasks: TaskSet) -> None:
    assert verify(run).unrecorded == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_iteration": 0}, "0 of g00/i00; at least 1"),
        ({"raters": 0}, "raters: 0; at least 1"),
        ({"scale": (7, 1)}, "the lowest comes first"),
        ({"scale": (0, 1000)}, "1001 possible scores"),
        ({"dimension": " "}, "dimension: is empty"),
        ({"instructions": ""}, "instructions: are empty"),
        ({"name": "../x"}, "may hold letters"),
        ({"checks": -1}, "checks: -1"),
        ({"iterations": []}, "name at least one"),
        ({"iterations": ["g00/i00", "g00/i00"]}, "each once"),
        ({"iterations": ["g09/i09"]}, "no step of the ledger recorded g09/i09/audit.parquet"),
    ],
)
def test_a_draw_that_makes_no_sense_is_one_clear_message(
    run: Path, change: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {
        "iterations": ["g00/i00"],
        "per_iteration": 4,
        "name": "x",
        **ASK,
        **change,
    }
    with pytest.raises(BadInput, match=message):
        draw_tasks(run, given.pop("iterations"), **given)


def test_a_changed_table_is_not_drawn_from(run: Path) -> None:
    path = run / "g00/i00/audit.parquet"
    pd.read_parquet(path).assign(text="better").to_parquet(path)
    with pytest.raises(BadInput, match="changed after step 'g00/i00/audit' recorded it"):
        draw_tasks(run, ["g00/i00"], per_iteration=4, name="x", **ASK)


def test_links_are_refused(run: Path, tasks: TaskSet, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "link.csv"
    out.symlink_to(tmp_path / "elsewhere" / "x.csv")
    with pytest.raises(BadInput, match="symbolic link"):
        export_tasks(run, "first", format="csv", out=out)
    (run / "human").rename(tmp_path / "moved")
    (run / "human").symlink_to(tmp_path / "moved")
    with pytest.raises(BadInput, match="symbolic link"):
        draw_tasks(run, ["g00/i00"], per_iteration=4, name="y", **ASK)


@pytest.mark.parametrize("place", ["g00/i00/tasks.csv", "human/key-x.json", "plan.json"])
def test_nothing_is_exported_over_the_record(run: Path, tasks: TaskSet, place: str) -> None:
    with pytest.raises(BadInput, match="lies in the run folder"):
        export_tasks(run, "first", format="csv", out=run / place)


def test_half_points_are_choices_where_they_are_asked_for(run: Path) -> None:
    tasks = draw_tasks(
        run, ["g00/i00"], per_iteration=4, name="h", halves=True, **{**ASK, "scale": (0, 2)}
    )
    assert rows_of(tasks.path)[0]["choices"] == [0, 0.5, 1, 1.5, 2]
