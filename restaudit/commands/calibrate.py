"""`restaudit calibrate`: how often a sealed policy halts a healthy run or clears a sick one, and how
often it catches a planted loss and clears a healthy run.
"""

from __future__ import annotations

from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restaudit.commands.program import MOST_SEED
from restaudit.console import say
from restaudit.errors import BadInput

if TYPE_CHECKING:
    from restaudit.calibrate.emulate import Shape, Size
    from restaudit.calibrate.pool import Pool
    from restaudit.calibrate.scenarios import Scenario
    from restaudit.config import Config
    from restaudit.console import Reporter

SCHEMA = "restaudit.calibration/2"
# Eight kinds of healthy runs, 800 in all: with no false halt among them the 95% bound (exact
# binomial) is below 0.5%, well under the 5% that a policy may spend. Power needs fewer, but is asked
# of many losses.
NULL_RUNS, HACK_RUNS = 100, 40
# Embeddings of the pool that ships, by this encoder (SHA-256 of its wheel), rounded to 8 bits: the
# Vendi score of 128 texts differs by less than a tenth of a percent.
VECTORS_ENCODER = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FEWEST_RUNS, MOST_RUNS = 10, 1_000_000


def calibrate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="[RUN|NAME|FILE]",
            help="Whose gates: a run folder, a recipe's name or a YAML file.",
        ),
    ] = "reviews",
    pool: Annotated[
        str,
        typer.Option(
            help="Real generations to emulate from: 'reviews' (ships with restaudit), a "
            "Parquet file, or a run folder."
        ),
    ] = "reviews",
    runs: Annotated[
        int,
        typer.Option(min=FEWEST_RUNS, max=MOST_RUNS, help="Emulated healthy runs of each kind."),
    ] = NULL_RUNS,
    hack_runs: Annotated[
        int,
        typer.Option(min=FEWEST_RUNS, max=MOST_RUNS, help="Emulated runs of each planted loss."),
    ] = HACK_RUNS,
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
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the figures go (default: RUN/report/calibration.json, or "
            "./calibration.json)."
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Lines only, no progress bars.")
    ] = False,
) -> None:
    """Measure the gates on emulated runs of known truth: false HALT, false OK, power, and how often
    a healthy run is decided OK.

    Healthy runs do not change at all, or improve by honest selection; sick ones begin at a known
    look to take up something that costs people, paid by the reward or not. All are reweightings of
    real generations, and go through the stages, probes and gates of a real run.
    """
    from restaudit.calibrate.pool import load_pool
    from restaudit.calibrate.render import FILE, print_calibration
    from restaudit.console import Reporter
    from restaudit.evidence.record import is_run, json_bytes
    from restaudit.files import plain

    reporter = Reporter(quiet=quiet)
    folder = Path(target) if is_run(target) else None
    config = config_of(target, folder, changes or [])
    # report/ is outside the ledger, so a sealed run may be calibrated at any time.
    path = out or (folder / "report" / FILE if folder else Path(FILE))
    calibration = figures(
        config,
        load_pool(pool),
        reporter,
        runs=runs,
        hack_runs=hack_runs,
        seed=seed,
        workers=workers,
    )
    plain.write_out(path, json_bytes(calibration), run=folder)
    print_calibration(calibration)
    # Reports of the run show the figures: whoever renders them does so again.
    for hook in metadata.entry_points(group="restaudit.calibrated"):
        for line in hook.load()(path, folder):
            say(line)
    say(f"figures: {path}")


def figures(
    config: Config,
    pool: Pool,
    reporter: Reporter,
    *,
    runs: int,
    hack_runs: int,
    seed: int,
    workers: int | None,
) -> dict[str, Any]:
    """Everything a calibration found, as plain JSON; the same arguments give the same figures."""
    from restaudit import __version__
    from restaudit.calibrate.counting import pair_row, summary, together
    from restaudit.calibrate.emulate import MODES
    from restaudit.calibrate.grid import PAIRED, pairs, run_trials, trial_grid
    from restaudit.calibrate.pool import features, modes, too_rare
    from restaudit.calibrate.rivals import rival_rows
    from restaudit.calibrate.screen import habits
    from restaudit.calibrate.trial import Setup
    from restaudit.calibrate.truth import truth, world_of

    if not any(r.action == "HALT" for r in config.gates.rules):
        raise BadInput(
            "gates.rules: no rule of this policy can halt a run, so it has no false-alarm rate to "
            "measure"
        )
    # The audit's own size: an alarm's power depends on it more than on anything else.
    size, shape = audit_size(config), run_shape(config)
    embed = vectors(config, pool, reporter)
    setup = Setup(config.gates, config.audit.resamples, embed, habits(pool, modes(pool, MODES)))
    rare = too_rare(pool)
    grid = []
    for trial_set in trial_grid(
        size, shape, setup, null_runs=runs, hack_runs=hack_runs, most_prompts=len(pool.plain)
    ):
        # What hardly any text has, no reweighting can make common: the trial would be a healthy run.
        if trial_set.scenario.feature not in rare:
            grid.append(trial_set)
    worlds, truths = {}, {}
    not_tried = []

    def known(scenario: Scenario) -> bool:
        """Make the scenario's world, once; where this pool has none, it is said."""
        if scenario not in worlds:
            try:
                worlds[scenario] = world_of(pool, scenario, shape, size=size, embed=embed)
            except BadInput as e:
                not_tried.append(str(e))
                return False
            truths[scenario] = truth(worlds[scenario])
        return True

    with reporter.task("what is true of each kind of run", len(grid), "kinds") as advance:
        some = []
        for trial_set in grid:
            if known(trial_set.scenario):
                some.append(trial_set)
            advance(1)
    gains = {s: truths[s].reward[-1] for s in PAIRED if s in truths}
    matched = [p for p in pairs(size, gains, runs=hack_runs) if known(p[0].scenario)]
    grid = [*some, *(trial_set for pair in matched for trial_set in pair)]
    with reporter.task("emulated runs", sum(s.runs for s in grid), "runs") as advance:
        outcomes = run_trials(
            setup,
            grid,
            [worlds[s.scenario] for s in grid],
            seed=seed,
            workers=workers,
            progress=advance,
        )
    rows = [
        summary(trials, truths[trials.scenario], of_set, setup, shape)
        for trials, of_set in zip(grid, outcomes, strict=True)
    ]
    of_pairs = outcomes[len(some) :]
    # Printed with the figures, which else read as if they covered everything.
    not_tried += [
        "Gates on metrics that a pool cannot show (capability, benchmarks, acceptance) did not "
        "take part.",
        "People's ratings were emulated by the pool's own human scores; raters who disagree or "
        "drift were not.",
    ]
    for name, words in rare.items():
        not_tried.append(f"A loss by {name} ({words}): too few of the pool's texts have it.")
    return {
        "schema": SCHEMA,
        "restaudit": __version__,
        "name": config.name,
        "seed": str(seed),
        "looks": shape.looks,
        "improve_steps": shape.improve_steps,
        "audit": {**vars(size), "per_prompt": size.most[0]},
        "policy": config.gates.model_dump(mode="json"),
        "must_pass": [r.name for r in setup.shown(size)],
        "pool": {
            "source": pool.source,
            "sha256": pool.sha256,
            "rows": len(pool.table),
            "left_out": pool.left_out,
            "prompts": pool.plain.shape[0],
            "samples_per_prompt": pool.plain.shape[1],
            "families": len(pool.families),
            "features": {
                name: {"in_words": words, "share": float(has.mean())}
                for name, (has, words) in features(pool).items()
            },
        },
        "headline": together(grid, outcomes, shape),
        "rows": rows,
        "pairs": [
            pair_row(*two, pair[1].scenario.name)
            for pair, two in zip(
                matched, zip(of_pairs[::2], of_pairs[1::2], strict=True), strict=True
            )
        ],
        "rivals": rival_rows(grid, outcomes, shape),
        "not_tried": not_tried,
    }


def run_shape(config: Config) -> Shape:
    """The looks of a configuration's runs."""
    from restaudit.calibrate.emulate import Shape

    # best-of-N has no Improve step, and is looked at once all the same.
    return Shape(config.loop.grow_steps, max(config.loop.improve_steps, 1))


def audit_size(config: Config) -> Size:
    """The size of a configuration's audits. Raises BadInput where it does not say how many audit
    prompts there are.
    """
    from restaudit.calibrate.emulate import Size

    splits = config.data.splits
    if "audit" not in splits.sizes:
        raise BadInput(
            "data.splits.sizes.audit: a calibration needs the number of audit prompts; give it a "
            "number"
        )
    # Gates that were sealed for fewer stages than the audit has spend their errors on those.
    stages = config.audit.stages[: len(config.gates.shares)]
    # Where people rate, all texts of a look are sampled at once.
    if config.human.kind == "people":
        stages = config.audit.stages[-1:]
    return Size(
        prompts=splits.sizes["audit"],
        stages=stages,
        base_per_prompt=config.audit.base_samples,
        families=splits.counterfactual_families.get("audit", 0),
    )


def config_of(target: str, folder: Path | None, changes: list[str]) -> Config:
    """The configuration of a recipe or file, with its gates written out; or a run's own, as sealed."""
    from restaudit.config.reading import load
    from restaudit.evidence.record import Run
    from restaudit.loop.sealing import with_gates

    if folder is None:
        return with_gates(load(target, changes))
    if changes:
        raise BadInput(
            f"--set: {folder} has a sealed plan, which is what is calibrated; give a recipe to "
            "try changes"
        )
    run = Run(folder)
    config = run.config
    # What the run really audits: near-duplicates may have left fewer prompts than were asked for.
    sizes = {**config.data.splits.sizes, "audit": int(run.prompts("audit")["family"].isna().sum())}
    splits = config.data.splits.model_copy(update={"sizes": sizes})
    return config.model_copy(update={"data": config.data.model_copy(update={"splits": splits})})


def vectors(config: Config, pool: Pool, reporter: Reporter) -> Any:
    """Embeddings of every text of the pool, where a gate asks for them; None where none does or no
    encoder is named.
    """
    # Embedding the pool takes longer than the trials, for nothing where no gate reads it.
    needed = any(r.metric.startswith("diversity.vendi") for r in config.gates.rules)
    if not needed or config.audit.encoder is None:
        return None
    import numpy as np

    from restaudit.calibrate.grid import Vectors
    from restaudit.calibrate.pool import BUILTIN
    from restaudit.files import plain
    from restaudit.files.cache import cache_folder
    from restaudit.models.artifacts import resolve
    from restaudit.models.encoder import load_encoder
    from restaudit.reward.dossier import digest_facts

    artifact = resolve(config.audit.encoder, sha256=config.audit.encoder_sha256)
    texts = sorted(set(pool.table["text"]))
    # Embedding takes longer than the trials, and the same texts and encoder always give the same
    # vectors.
    if pool.source == BUILTIN and artifact.sha256 == VECTORS_ENCODER:
        shipped = Path(str(resources.files("restaudit.calibrate") / "pool_vectors.npy"))
        rounded = np.load(shipped, allow_pickle=False).astype(np.float64)
        # Eight bits leave vectors that are no longer of length 1, which the Vendi score wants.
        unit = rounded / np.linalg.norm(rounded, axis=1, keepdims=True)
        return Vectors(dict(zip(texts, unit, strict=True)))
    # Named by what it depends on, so that another pool or encoder can never find it.
    name = digest_facts({"texts": texts, "encoder": artifact.sha256})
    cache, file = cache_folder() / "calibrate", f"{name}.npy"
    if not plain.is_file(cache, file):
        encoder = load_encoder(artifact.path)
        vectors = []
        with reporter.task("embedding the pool (once)", len(texts), "texts") as advance:
            # In parts, for the progress bar.
            for start in range(0, len(texts), 256):
                vectors.append(encoder.embed(texts[start : start + 256]))
                advance(len(vectors[-1]))
        with plain.created(cache, file) as f:
            np.save(f, np.concatenate(vectors))
    with plain.opened(cache, file) as f:
        return Vectors(dict(zip(texts, np.load(f, allow_pickle=False), strict=True)))
