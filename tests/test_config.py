"""The configuration: recipes, overrides, and what is said about a key or value that is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from restaudit.config import Config, TableSource
from restaudit.config.reading import load, parse, recipe_names, recipe_text
from restaudit.data.adapters import FEEDBACK, PROMPTS
from restaudit.errors import BadInput
from restaudit.files.strict import parse_json, parse_yaml
from restaudit.loop.refusals import check_threads

RECIPES = ("d2t", "harmless", "instructions", "reviews", "reviews_snippets")


def reviews(**changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load(recipe_text("reviews")), **changes}


def sources(config: Config) -> list[TableSource]:
    found: list[TableSource] = list(config.data.prompts)
    found += [e for p in config.data.prompts for e in p.exclude]
    return found + [part.data for part in (config.reward, config.human) if hasattr(part, "data")]


def test_the_packaged_recipes_are_these() -> None:
    assert tuple(recipe_names()) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_complete_commented_and_valid(name: str) -> None:
    config = load(name)
    assert config.name == name
    assert recipe_text(name).startswith("# ")
    assert len(config.loop.thresholds.values) >= config.loop.improve_steps  # type: ignore[union-attr]
    assert config.gates.rules
    assert all(rule.reason for rule in config.gates.rules)
    assert {rule.action for rule in config.gates.rules} == {"WARN", "HALT"}


@pytest.mark.parametrize("name", RECIPES)
def test_everything_a_recipe_fetches_is_pinned_and_licensed(name: str) -> None:
    config: Any = load(name)
    pins = [
        (config.policy.model, config.policy.sha256),
        (config.reward.encoder, config.reward.encoder_sha256),
    ]
    pins += [(config.audit.encoder, config.audit.encoder_sha256)]
    for source in sources(config):
        assert source.licence, source.source
        assert source.format in {**FEEDBACK, **PROMPTS}
        if not source.source.startswith("builtin:"):
            pins.append((source.source, source.sha256))
        for key, specs in source.options.items():
            if f"{key}_sha256" in source.options:
                digests = source.options[f"{key}_sha256"]
                both = (
                    zip(specs, digests, strict=True)
                    if isinstance(specs, list)
                    else [(specs, digests)]
                )  # type: ignore[arg-type]
                pins += [(str(s), str(d)) for s, d in both]
    for spec, digest in pins:
        assert re.fullmatch(r"(pypi:\S+==\S+!\S+|url:https://\S+)", spec), spec
        assert re.fullmatch(r"[0-9a-f]{64}", str(digest)), spec


def test_raters_who_judge_do_not_train() -> None:
    for name in ("reviews", "reviews_snippets"):
        config: Any = load(name)
        assert not set(config.reward.train_raters) & set(config.human.judge_raters)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(
        BadInput, match=r"no recipe 'review' \(did you mean 'reviews'\?\); there are: d2t, harmless"
    ):
        load("review")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": {}}, r"config: gate: unknown key \(did you mean 'gates'\?\)"),
        ({"seed": -1}, "config: seed: .*greater than or equal to 0 .*got -1"),
        ({"name": "a b"}, "config: name: .*match pattern"),
        ({"data": {"prompts": []}}, "config: data: at least one source of prompts is needed"),
        ({"reward": {"kind": "magic"}}, "config: reward: .*'magic'"),
        (
            {"human": {"kind": "lexicon"}},
            r"config: human\.lexicon\.data: missing; it must be given",
        ),
        (
            {"loop": {"improve_steps": 3, "thresholds": {"kind": "percentile", "values": [1]}}},
            "has 1 entries, but improve_steps is 3",
        ),
        ({"loop": {"thresholds": {"kind": "percentile", "values": [90, 70]}}}, "must rise"),
        (
            {"loop": {"thresholds": {"kind": "percentile", "values": [90, 170]}}},
            r"loop\.thresholds\.percentile\.values\.1: .*less than or equal to 100 .*got 170",
        ),
        ({"threads": 0}, r"config: threads.*greater than or equal to 1 .*got 0"),
        (
            {"loop": {"binary_reward_above": float("inf")}},
            r"loop\.binary_reward_above: .*finite number .*got inf",
        ),
    ],
)
def test_a_bad_value_names_its_key_and_what_was_expected(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        parse(reviews(**change))


def test_an_unknown_key_deep_down_names_the_nearest_key_there() -> None:
    raw = reviews()
    raw["loop"]["sampling"]["temprature"] = 1
    raw["reward"]["ensemble"]["sise"] = 3
    with pytest.raises(
        BadInput, match=r"loop\.sampling\.temprature: unknown key \(did you mean 'temperature'\?\)"
    ) as error:
        parse(raw)
    assert "(did you mean 'size'?)" in str(error.value)


def test_a_prompt_source_s_unknown_key_names_the_nearest() -> None:
    raw = reviews()
    raw["data"]["prompts"][0]["licens"] = "MIT"
    with pytest.raises(
        BadInput, match=r"data\.prompts\.0\.licens: unknown key \(did you mean 'licence'\?\)"
    ):
        parse(raw)


def test_overrides_reach_sections_and_lists() -> None:
    config = load(
        "reviews",
        [
            "loop.grow_steps=3",
            "data.prompts.0.limit=7",
            "data.splits.sizes={grow: 2}",
            "human={kind: none}",
        ],
    )
    assert config.loop.grow_steps == 3
    assert config.data.prompts[0].limit == 7
    assert dict(config.data.splits.sizes) == {"grow": 2}
    assert config.human.kind == "none"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("seed", "--set seed: expected key.path=value"),
        ("seed.x=1", "seed is a value, not a section"),
        ("data.prompts.9.limit=1", r"data\.prompts has 1 entries; expected an index"),
        ("loop.grow_stepps=1", r"loop\.grow_stepps: unknown key \(did you mean 'grow_steps'\?\)"),
    ],
)
def test_a_bad_override_says_what_was_expected(item: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load("reviews", [item])


def test_a_file_is_read_like_a_recipe_and_its_faults_carry_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(recipe_text("reviews"), encoding="utf-8")
    assert load(str(path)) == load("reviews")
    for content, message in (
        (b"a: [", r"mine\.yaml, line 1: not valid YAML"),
        (b"- a", r"mine\.yaml: expected a mapping"),
        (b"\xff", r"mine\.yaml: not UTF-8 text \(byte 0\)"),
        (b"nam: x", r"mine\.yaml: nam: unknown key \(did you mean 'name'\?\)"),
    ):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=message):
            load(str(path))
    with pytest.raises(BadInput, match=r"absent\.yaml: no such file"):
        load(str(tmp_path / "absent.yaml"))


def test_methods_fill_in_what_is_not_given() -> None:
    raw = reviews(loop={"method": "rest_em", "sampling": {"max_tokens": 12}})
    loop = parse(raw).loop
    assert (loop.start_from, loop.include_references, loop.improve_steps) == ("base", False, 1)
    assert (loop.sampling.top_k, loop.sampling.max_tokens) == (40, 12)


def test_more_anchors_than_samples_are_refused() -> None:
    from restaudit.config import PeopleHuman

    with pytest.raises(ValueError, match=r"anchors \(9\) are some of the samples \(8\)"):
        PeopleHuman(kind="people", samples=8, anchors=9, instructions="rate")


# --- what no number or text may be


def numbers(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Every number of a model and of the sections in it: its place, and its schema."""
    schema = model.model_json_schema()
    waiting: list[tuple[str, Any]] = [("", schema)]
    waiting += [(f"{name}", inner) for name, inner in schema.get("$defs", {}).items()]
    while waiting:
        place, node = waiting.pop()
        if isinstance(node, dict):
            if node.get("type") in ("integer", "number"):
                yield place, node
            waiting += [
                (f"{place}.{k}", v) for k, v in node.items() if k not in ("$defs", "default")
            ]
        elif isinstance(node, list):
            waiting += [(f"{place}[{k}]", v) for k, v in enumerate(node)]


def test_every_number_of_the_configuration_has_a_range() -> None:
    # Of unions with text, a validator of their own holds 64 bits.
    free = re.compile(r"options|template_arguments|_raters")
    found = [(place, node) for place, node in numbers(Config) if not free.search(place)]
    assert len(found) > 80
    for place, node in found:
        assert {"minimum", "exclusiveMinimum"} & set(node), place
        assert {"maximum", "exclusiveMaximum"} & set(node), place


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), 1e400, 10**400, -(10**30), 2**70]
)
@pytest.mark.parametrize(
    "key",
    [
        "seed",
        "threads",
        "policy.lora.alpha",
        "data.prompts.0.options.part",
        "data.splits.shares.grow",
        "data.splits.seed",
        "loop.sampling.temperature",
        "loop.sampling.batch",
        "loop.thresholds.values.0",
        "loop.train.learning_rate",
        "audit.resamples",
        "gates.rules.0.margin",
        "reward.train_raters.0",
    ],
)
def test_numbers_that_are_none_or_absurd_are_refused_from_python_too(key: str, value: Any) -> None:
    raw: Any = reviews()
    node, parts = raw, key.split(".")
    for part in parts[:-1]:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if isinstance(node, list):
        node[int(parts[-1])] = value
    else:
        node[parts[-1]] = value
    with pytest.raises(BadInput) as refused:
        parse(raw)
    assert max(map(len, str(refused.value).split("\n"))) < 400


def test_what_people_really_use_is_within_the_ranges() -> None:
    loop = {
        "samples_per_prompt": 1024,
        "improve_steps": 1,
        "sampling": {"temperature": 1e-6, "top_k": 0, "max_tokens": 131_072, "batch": 4096},
        "train": {"learning_rate": 1e-7, "max_grad_norm": 1e9, "epochs": 100},
    }
    config = parse(reviews(loop=loop, threads=192, seed=2**31 - 1))
    assert config.threads == 192


def test_names_and_paths_hold_no_control_characters() -> None:
    raw = reviews()
    for key, value in (("name", "a/b"), ("name", "a\nb"), ("name", "a" * 200)):
        with pytest.raises(BadInput, match="config: name"):
            parse({**raw, key: value})
    for model in ("m\x00", "m\x1b[31m", "m\nn", "m\u2028n"):
        with pytest.raises(BadInput, match=r"policy\.model: expected one line"):
            parse({**raw, "policy": {"model": model}})


def test_a_key_twice_in_a_file_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"{recipe_text('reviews')}\nname: other\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"mine\.yaml, line \d+: .*'name' comes twice"):
        load(str(file))
    file.write_text("gates: {rules: [{margin: 1, margin: 2}]}", encoding="utf-8")
    with pytest.raises(BadInput, match="'margin' comes twice"):
        load(str(file))


def test_a_pipe_and_a_huge_file_are_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(BadInput, match="named pipe"):
        load(str(tmp_path / "pipe.yaml"))
    with (tmp_path / "huge.yaml").open("wb") as f:
        f.truncate(1 << 30)
    with pytest.raises(BadInput, match="the most that is read"):
        load(str(tmp_path / "huge.yaml"))


def test_a_layer_says_a_key_once_and_a_later_layer_may_say_it_again() -> None:
    assert load("reviews", ["seed=1"], ["seed=2"]).seed == 2
    for layer in (
        ["seed=1", "seed=1"],
        ["loop={}", "loop.grow_steps=1"],
        ["a.b.c=1", "x=1", "a=2"],
    ):
        with pytest.raises(BadInput, match="only one could count"):
            load("reviews", layer)


def test_values_of_set_are_read_strictly_and_named() -> None:
    for item in (
        "name=[x",
        "seed=.nan",
        "loop={a: 1, a: 2}",
        f"seed={'9' * 5000}",
        "seed=2024-99-99",
    ):
        with pytest.raises(BadInput, match="--set") as refused:
            load("reviews", [item])
        assert len(str(refused.value)) < 400
    for item in ("data.prompts.²=1", f"data.prompts.{'9' * 5000}=1", ".".join("a" * 5000) + "=1"):
        with pytest.raises(BadInput, match="--set"):
            load("reviews", [item])


def test_a_mapping_from_python_that_never_ends_is_refused() -> None:
    raw = reviews()
    inner: Any = {}
    raw["loop"] = inner
    for _ in range(100_000):
        inner["loop"] = inner = {}
    with pytest.raises(BadInput, match=r"nested too deep|unknown key"):
        parse(raw)


def test_threads_fit_the_machine() -> None:
    check_threads(parse(reviews(threads="auto")))
    with pytest.raises(BadInput, match=r"threads: 1024, and this machine has \d+ cores"):
        check_threads(parse(reviews(threads=1024)))


def test_every_yaml_and_json_that_ships_is_strict() -> None:
    root = Path(__file__).resolve().parents[1]
    found = 0
    for top in ("restaudit", "reports", "probes"):
        for path in (root / top).rglob("*"):
            if path.suffix == ".yaml":
                parse_yaml(path.read_bytes())
                found += 1
            elif path.suffix == ".json":
                parse_json(path.read_bytes())
                found += 1
    assert found > 25
