"""`restaudit probe`: every probe that applies, on any generations file or model, with no ReST at
all.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaudit.commands.program import COLUMN, MOST, MOST_SEED, keyed, listed
from restaudit.console import say
from restaudit.errors import BadInput, Interrupted

if TYPE_CHECKING:
    from restaudit.probing.session import ProbeResult


class Format(StrEnum):
    """How measurements are printed."""

    TABLE = "table"
    JSON = "json"


class RatedRows(StrEnum):
    """How the rows that have a human score were chosen."""

    ALL = "all"
    RANDOM = "random"
    UNKNOWN = "unknown"


Words = list[str] | None
MODEL = "Of a model"


# --- the options: what a file or a model is measured with

What = Annotated[
    str,
    typer.Argument(
        metavar="FILE|MODEL", help="Generations (.jsonl, .csv, .parquet), or a model to sample."
    ),
]
AgainstOption = Annotated[
    str | None, typer.Option(metavar="BASE", help="Compare with these, prompt by prompt.")
]
ColumnOption = Annotated[
    Words, typer.Option(metavar="NAME=COLUMN", help="How a file calls it: text=response.")
]
GrowOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A Grow set with the column kept.")
]
RatingsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="People's ratings: sample_id, rater, score.")
]
DimensionOption = Annotated[
    str | None, typer.Option(help="Which dimension of the ratings is the human score.")
]
HumanLabelOption = Annotated[
    str | None, typer.Option(help="What the human column is: PEOPLE, MODEL …")
]
HumanSamplingOption = Annotated[
    RatedRows | None, typer.Option(help="How the rated rows were chosen.")
]
RewardOption = Annotated[
    str | None, typer.Option(metavar="MODULE:CALLABLE", help="Reward for texts that have none.")
]
HumanOption = Annotated[
    str | None,
    typer.Option(metavar="MODULE:CALLABLE", help="Simulated human score for texts that have none."),
]
EncoderOption = Annotated[
    str | None,
    typer.Option(metavar="SPEC|none", help="Embeddings (default: that of the recipe reviews)."),
]
TrainedOnOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Texts the reward model learned from (column text)."),
]
ToxicityOption = Annotated[
    str | None,
    typer.Option(metavar="none|MODULE:CALLABLE", help="Scorer of toxicity (default: none)."),
]
OnlyOption = Annotated[
    Words, typer.Option(metavar="NAME", help="A probe or measurement, or several by comma.")
]
LevelOption = Annotated[
    list[float] | None,
    typer.Option(min=0, max=1, help="Confidence level; the first is shown (0.95)."),
]
ResamplesOption = Annotated[int, typer.Option(min=100, max=100_000, help="Bootstrap resamples.")]
SeedOption = Annotated[
    int, typer.Option(min=0, max=MOST_SEED, help="Of resampling, and of sampling a model.")
]
JsonFileOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="All of it, as JSON.")
]
OutputOption = Annotated[Format, typer.Option("--format", help="What is printed.")]
# --- and of a model alone

PromptsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|builtin:reviews",
        help="What to ask (default: builtin).",
        rich_help_panel=MODEL,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=MOST, help="At most so many plain prompts, by hash.", rich_help_panel=MODEL
    ),
]
SamplesOption = Annotated[
    int, typer.Option(min=1, max=100_000, help="Responses to each prompt.", rich_help_panel=MODEL)
]
MaxTokensOption = Annotated[
    int, typer.Option(min=1, max=1 << 20, help="Of a response.", rich_help_panel=MODEL)
]
TemperatureOption = Annotated[
    float, typer.Option(min=0, max=1000, help="Above 0.", rich_help_panel=MODEL)
]
SystemOption = Annotated[str | None, typer.Option(help="The system prompt.", rich_help_panel=MODEL)]
TasksOption = Annotated[
    Words, typer.Option(help="Benchmark tasks, also by comma.", rich_help_panel=MODEL)
]
TaskLimitOption = Annotated[
    int | None, typer.Option(min=1, max=MOST, help="Items a task.", rich_help_panel=MODEL)
]
HumanTextOption = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="Text people wrote (default: the prompts' references).",
        rich_help_panel=MODEL,
    ),
]
SaveOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.parquet", help="Keep the generations.", rich_help_panel=MODEL),
]


def probe(
    what: What,
    against: AgainstOption = None,
    column: ColumnOption = None,
    grow: GrowOption = None,
    ratings: RatingsOption = None,
    dimension: DimensionOption = None,
    human_label: HumanLabelOption = None,
    human_sampling: HumanSamplingOption = None,
    reward: RewardOption = None,
    human: HumanOption = None,
    encoder: EncoderOption = None,
    trained_on: TrainedOnOption = None,
    toxicity: ToxicityOption = None,
    only: OnlyOption = None,
    level: LevelOption = None,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    json_file: JsonFileOption = None,
    output: OutputOption = Format.TABLE,
    prompts: PromptsOption = None,
    limit: LimitOption = None,
    samples: SamplesOption = 4,
    max_tokens: MaxTokensOption = 48,
    temperature: TemperatureOption = 0.8,
    system: SystemOption = None,
    tasks: TasksOption = None,
    task_limit: TaskLimitOption = None,
    human_text: HumanTextOption = None,
    save: SaveOption = None,
) -> None:
    """Measure a file of generations or a model, and what changed against another one.

    Needs one column, text. Uses where there: prompt or prompt_id, sample_id, reward, human, group
    and family, and more (docs/probe-command.md). Exit code 2 with one message for input that is not
    what it should be.
    """
    from restaudit.probing.files import is_model, probe_files, texts_of
    from restaudit.probing.session import ProbeSettings, names_wanted

    settings = ProbeSettings(
        only=listed(only),
        levels=tuple(level or (0.95,)),
        resamples=resamples,
        seed=seed,
        reward=reward,
        human=human,
        human_label=human_label,
        human_sampling=None if human_sampling is None else human_sampling.value,
        encoder=encoder,
        toxicity=toxicity,
    )
    # What can be refused is refused before a model is loaded, which takes minutes.
    names_wanted(settings.only)
    columns = keyed("--column", column, COLUMN)
    _writable(json_file)
    learned = texts_of(trained_on)
    # An option that is passed over in silence would be taken to have had its effect.
    about_files = {
        "--column": column,
        "--grow": grow,
        "--ratings": ratings,
        "--dimension": dimension,
        "--human-label": human_label,
        "--human-sampling": human_sampling,
    }
    about_models = {
        "--prompts": prompts,
        "--limit": limit,
        "--system": system,
        "--tasks": tasks,
        "--task-limit": task_limit,
        "--human-text": human_text,
        "--save": save,
    }
    try:
        if is_model(what):
            # Only for a model: a file is measured without the code that samples one.
            from restaudit.probing.models import ModelSampling, probe_models

            _refuse("a model", about_files)
            _refuse_file_as_base(what, against)
            sampling = ModelSampling(
                prompts=prompts,
                limit=limit,
                samples=samples,
                max_tokens=max_tokens,
                temperature=temperature,
                system=system,
                tasks=listed(tasks),
                task_limit=task_limit,
                human_text=human_text,
                save=save,
            )
            result = probe_models(what, against, sampling, settings, trained_on=learned)
        else:
            _refuse("a file", about_models)
            result = probe_files(
                what,
                against,
                columns,
                settings,
                grow=grow,
                ratings=ratings,
                dimension=dimension,
                trained_on=learned,
            )
    # Nothing is written before the end, so there is nothing to go on with.
    except KeyboardInterrupt:
        raise Interrupted("stopped before anything was measured; run the command again") from None
    _out(result, output, json_file)


def _refuse(what: str, options: Mapping[str, object]) -> None:
    """Raise BadInput for an option that was given and would be passed over."""
    for name, value in options.items():
        if value:
            raise BadInput(f"{name} says nothing about {what}; leave it out")


def _refuse_file_as_base(model: str, against: str | None) -> None:
    from restaudit.probing.files import is_model

    if against is not None and not is_model(against):
        raise BadInput(
            f"{against} is no model; sample {model} first (--save FILE.parquet), then compare the "
            "two files"
        )


def _writable(path: Path | None) -> None:
    if path is None:
        return
    # Found out before minutes of sampling, and not after them.
    if path.is_dir():
        raise BadInput(f"--json {path}: a folder; expected a file")
    if not path.parent.is_dir():
        raise BadInput(f"--json {path}: no folder {path.parent}")


def _out(result: ProbeResult, output: Format, json_file: Path | None) -> None:
    from restaudit.console import Terminal
    from restaudit.files import plain
    from restaudit.probing.show import as_json, show

    if json_file is not None:
        try:
            plain.write_out(json_file, as_json(result).encode())
        except OSError as e:
            raise BadInput(f"{json_file}: cannot be written: {e.strerror}") from None
    if output is Format.JSON:
        # Nothing else goes to standard output, which a program may be reading.
        say(as_json(result), nl=False)
    else:
        show(result, Terminal(highlight=False))
        if json_file is not None:
            say(f"measurements: {json_file}")
