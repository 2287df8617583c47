"""The configuration: recipes, overrides, and what is said about a key or value that is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from restaudit.config import Config, TableSource
from restaudit.config.reading import load, parse, recipe_names, recipe_text
from restaudit.data.adapters import FEEDBACK, PROMPTS
from restaudit.errors import BadInput

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
