"""`restaudit plan`: before a run, what its audit will be able to conclude, and what that costs."""

from __future__ import annotations

import json
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restaudit.commands.calibrate import audit_size, run_shape, vectors
from restaudit.commands.program import MOST_SEED
from restaudit.console import say
from restaudit.errors import BadInput

if TYPE_CHECKING:
    from restaudit.calibrate.planning import Ground, Wish
    from restaudit.calibrate.pool import Pool
    from restaudit.config import Config
    from restaudit.console import Reporter

SCHEMA = "restaudit.audit-plan/1"
# Of 80 runs 64 decided OK have a 95% interval of 70% to 88%: enough to tell a good audit from a poor
# one, in half a minute.
RUNS = 80


class Format(StrEnum):
    """What is printed."""

    TEXT = "text"
    JSON = "json"


def plan(
    target: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A recipe's name or a YAML file.")
    ] = "reviews",
    pool: Annotated[
        str,
        typer.Option(
            help="Generations whose spread is taken for that of yours: 'reviews' (ships with "
            "restaudit), a Parquet file, or a run folder."
        ),
    ] = "reviews",
    find: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=3,
            metavar="LOSS",
            help="Also look for the audit that finds a loss of this many standard deviations.",
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=10, max=100_000, help="Emulated healthy runs of each of two kinds.")
    ] = RUNS,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the configuration."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same figures.")
    ] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes (default: all cores).")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.TEXT,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Lines only, no progress bars.")
    ] = False,
) -> None:
    """Before a run: what its audit will be able to conclude, and what it will cost.

    Says how often a healthy run will end decided OK and which rule stands in the way, the smallest
    loss that is found 9 times in 10, and the texts and ratings it takes. With `--find 0.2`: the size
    of an audit that finds such a loss.
    """
    from restaudit.calibrate.planning import check_wish
    from restaudit.calibrate.pool import load_pool
    from restaudit.config.reading import load
    from restaudit.console import Reporter
    from restaudit.evidence.record import is_run
    from restaudit.loop.sealing import with_gates

    if is_run(target):
        raise BadInput(
            f"{target}: a run, whose plan is sealed; restaudit calibrate measures its gates. Give "
            "a recipe's name or a YAML file"
        )
    config = with_gates(load(target, changes or []))
    if find is not None:
        check_wish(find, config.gates)
    # Progress is for people; a program that reads the figures gets nothing else.
    reporter = Reporter(quiet=quiet or form is Format.JSON)
    found = figures(
        config, load_pool(pool), reporter, find=find, runs=runs, seed=seed, workers=workers
    )
    say(json.dumps(found, indent=2) if form is Format.JSON else "\n".join(lines(found)))


def figures(
    config: Config,
    pool: Pool,
    reporter: Reporter,
    *,
    find: float | None,
    runs: int,
    seed: int,
    workers: int | None,
) -> dict[str, Any]:
    """Everything that can be said before the run, as plain JSON."""
    from restaudit.calibrate.emulate import MODES, check_size
    from restaudit.calibrate.planning import (
        bottleneck,
        ground,
        healthy_rates,
        smallest_loss,
        texts_of,
    )
    from restaudit.calibrate.pool import modes
    from restaudit.calibrate.screen import habits
    from restaudit.calibrate.trial import Setup

    size, shape = audit_size(config), run_shape(config)
    check_size(pool, size)
    embed = vectors(config, pool, reporter)
    setup = Setup(config.gates, config.audit.resamples, embed, habits(pool, modes(pool, MODES)))
    shown = {r.name for r in setup.shown(size)}
    with reporter.task("measuring the pool", 1, "pools") as advance:
        on = ground(pool, shape, size)
        advance(1)
    with reporter.task("emulated healthy runs", 2 * runs, "runs") as advance:
        healthy = healthy_rates(
            setup, on, size, runs=runs, seed=seed, workers=workers, progress=advance
        )
    for kind in healthy.values():
        kind["bottleneck"] = bottleneck(kind["rules"])
    improves = healthy["improves"]
    texts = texts_of(
        size,
        shape,
        len(pool.groups),
        improves["texts_a_prompt"],
        improves["texts_a_counterfactual_prompt"],
    )
    wish = None
    if find is not None:
        wish = _wish(find, config, on, reporter)
    return {
        "schema": SCHEMA,
        "name": config.name,
        "audit": {
            "prompts": size.prompts,
            "families": size.families,
            "stages": [list(stage) for stage in size.stages],
            "base_per_prompt": size.base_per_prompt,
            "looks": shape.looks,
        },
        "healthy": healthy,
        "smallest_loss": {
            "even": smallest_loss(config.gates, on, size, even=True),
            "uneven": smallest_loss(config.gates, on, size, even=False),
        },
        "texts": texts,
        "ratings": _ratings(config, shape.looks),
        "seconds": _seconds(pool, texts["base"] + texts["looks"]),
        "not_shown": [
            r.name for r in config.gates.rules if not r.alarm_only and r.name not in shown
        ],
        "pool": {"source": pool.source, "sha256": pool.sha256},
        "assumes": _assumes(config, pool),
        "wish": wish,
    }


def _wish(find: float, config: Config, on: Ground, reporter: Reporter) -> dict[str, Any]:
    from restaudit.calibrate.planning import designs, granting
    from restaudit.calibrate.screen import GAP
    from restaudit.loop.sealing import stage_shares

    def policy_for(stages: int) -> Any:
        return config.gates.model_copy(update={"stage_shares": stage_shares(stages)})

    gaps = any(r.metric == GAP and not r.alarm_only for r in config.gates.rules)
    with reporter.task("looking for an audit", designs(), "designs") as advance:
        found: Wish | None = granting(
            find,
            policy_for,
            on,
            families=gaps and audit_size(config).families > 0,
            progress=advance,
        )
    if found is None:
        return {"loss": find, "audit": None}
    size = found.size
    return {
        "loss": find,
        "audit": {
            "prompts": size.prompts,
            "families": size.families,
            "stages": [list(stage) for stage in size.stages],
            "base_per_prompt": size.base_per_prompt,
        },
        "found": found.sick.halted,
        "healthy_ok": found.healthy.cleared,
        "texts": found.texts,
        "set": _settings(size),
    }


def _settings(size: Any) -> list[str]:
    """The audit as values of --set."""
    plain = [k for k, _ in size.stages]
    settings = [
        f"data.splits.sizes.audit={size.prompts}",
        f"audit.samples_per_prompt={plain}",
        f"audit.base_samples_per_prompt={size.base_per_prompt}",
    ]
    if size.families:
        settings += [
            f"data.splits.counterfactual_families.audit={size.families}",
            f"audit.counterfactual_samples={[m for _, m in size.stages]}",
        ]
    return [s.replace(" ", "") for s in settings]


def _ratings(config: Config, looks: int) -> dict[str, int] | None:
    """Ratings by people that the run asks for; None where people rate nothing."""
    from restaudit.config.human import PeopleHuman
    from restaudit.people.rating.draw import default_checks

    human = config.human
    if not isinstance(human, PeopleHuman):
        return None
    # The base policy's samples are rated with those of the first look, as many as its stages ask
    # for; at every stage of a later look some of them again, and at each some texts twice.
    new = [b - a for a, b in pairwise((0, *human.counts))]
    first = [2 * n + default_checks(2 * n) for n in new]
    later = [n + default_checks(n) + human.anchors for n in new]
    least = first[0] + later[0] * (looks - 1)
    most = sum(first) + sum(later) * (looks - 1)
    return {"at_least": least * human.raters, "at_most": most * human.raters}


def _seconds(pool: Pool, texts: int) -> float | None:
    """How long sampling so many texts takes, by what the pool's own run took for its first Grow set;
    None where the pool is no run.
    """
    from restaudit.evidence.record import Run, is_run

    if not is_run(pool.source):
        return None
    step = next((e for e in Run(Path(pool.source)).events if e.step == "g01/grow"), None)
    seconds = step.at.get("seconds") if step is not None else None
    rows = len(pool.table) + pool.left_out
    return float(seconds) / rows * texts if seconds and rows else None


def _assumes(config: Config, pool: Pool) -> str | None:
    """What the figures take for granted, where the human scores of the run are others than the
    pool's; None where they are its own.
    """
    from restaudit.calibrate.pool import BUILTIN

    if pool.source != BUILTIN or (config.name == "reviews" and config.human.kind == "lexicon"):
        return None
    return (
        f"The figures assume that scores vary as in the pool '{BUILTIN}' (word-based scores of "
        f"short film reviews), but this run's human score is of kind {config.human.kind}. Give a run "
        "of your own with --pool RUN, even a small one."
    )


def lines(found: dict[str, Any]) -> list[str]:
    """The figures as sentences."""
    from restaudit.calibrate.planning import in_words
    from restaudit.calibrate.render import percent

    audit, texts = found["audit"], found["texts"]
    stages = in_words([k for k, _ in audit["stages"]])
    told = [
        f"{found['name']}: {audit['looks']} looks, {audit['prompts']} audit prompts x {stages} texts, "
        f"base policy x {audit['base_per_prompt']}, {audit['families']} counterfactual families",
        "",
    ]
    for kind, of_kind in found["healthy"].items():
        ok = of_kind["ok"]
        told.append(
            f"A healthy run that {kind} ends decided OK in {percent(ok['rate'])} of emulated runs "
            f"({percent(ok['low'])} to {percent(ok['high'])}; {ok['runs']} runs), with "
            f"{of_kind['texts_a_prompt']:.1f} texts a prompt at a look."
        )
        each = ", ".join(f"{name} {percent(share)}" for name, share in of_kind["rules"].items())
        told.append(f"  each rule alone: {each}")
        if of_kind["bottleneck"]:
            told.append(f"  what stands in the way most often: {of_kind['bottleneck']}")
    if found["not_shown"]:
        told.append(
            f"  not in these figures, and it must pass too: {', '.join(found['not_shown'])}"
        )
    even, uneven = (
        "none up to 3 sd" if loss is None else f"{loss:.2f} sd"
        for loss in (found["smallest_loss"]["even"], found["smallest_loss"]["uneven"])
    )
    told += [
        "",
        f"The smallest loss of human score that is found 9 times in 10: {even} where all texts lose "
        f"alike, {uneven} where it sits in some texts of some prompts (no reward pays for it).",
    ]
    told.append(
        f"Texts to sample for the audits: about {texts['base'] + texts['looks']:,} for a healthy run "
        f"({texts['base']:,} of the base policy), at most {texts['at_most']:,}."
    )
    if found["ratings"] is not None:
        least, most = found["ratings"]["at_least"], found["ratings"]["at_most"]
        between = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        told.append(f"Ratings by people: {between}.")
    if found["seconds"] is not None:
        told.append(
            f"Sampling them would take about {found['seconds']:,.0f} s at the pace of the pool's run."
        )
    if found["assumes"]:
        told.append(found["assumes"])
    return told + _wish_lines(found["wish"])


def _wish_lines(wish: dict[str, Any] | None) -> list[str]:
    from restaudit.calibrate.planning import in_words
    from restaudit.calibrate.render import percent

    if wish is None:
        return []
    if wish["audit"] is None:
        return [
            "",
            f"No audit of up to 1,024 prompts finds a loss of {wish['loss']:g} sd 9 times in 10 and "
            "decides healthy runs OK 8 times in 10.",
        ]
    audit = wish["audit"]
    families = ""
    if audit["families"]:
        of_families = in_words([m for _, m in audit["stages"]])
        families = f", {audit['families']} families x {of_families}"
    return [
        "",
        f"To find a loss of {wish['loss']:g} sd in some texts: {audit['prompts']} audit prompts x "
        f"{in_words([k for k, _ in audit['stages']])} texts, base policy x "
        f"{audit['base_per_prompt']}{families}. It finds it in {percent(wish['found'])} and decides "
        f"healthy runs OK in {percent(wish['healthy_ok'])}, with about {wish['texts']:,} texts (by "
        "normal theory).",
        *(f"  --set {setting}" for setting in wish["set"]),
    ]
