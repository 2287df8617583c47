"""`restaudit probe`: every probe that applies, on any generations file or model, with no ReST at
all.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaudit.errors import BadInput, Interrupted

if TYPE_CHECKING:
    from restaudit.probing.session import Probed


class Format(StrEnum):
    """How measurements are printed."""

    TABLE = "table"
    JSON = "json"


class Sampling(StrEnum):
    """How the rows that have a human score were chosen."""

    ALL = "all"
    RANDOM = "random"
    UNKNOWN = "unknown"


Words = list[str] | None
MODEL = "Of a model"


def probe(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|MODEL", help="Generations (.jsonl, .csv, .parquet), or a model to sample."
        ),
    ],
    against: Annotated[
        str | None, typer.Option(metavar="BASE", help="Compare with these, prompt by prompt.")
    ] = None,
    column: Annotated[
        Words, typer.Option(metavar="NAME=COLUMN", help="How a file calls it: text=response.")
    ] = None,
    grow: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A Grow set with the column kept.")
    ] = None,
    ratings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="People's ratings: sample_id, rater, score.")
    ] = None,
    dimension: Annotated[
        str | None, typer.Option(help="Which dimension of the ratings is the human score.")
    ] = None,
    human_label: Annotated[
        str | None, typer.Option(help="What the human column is: PEOPLE, MODEL …")
    ] = None,
    human_sampling: Annotated[
        Sampling | None, typer.Option(help="How the rated rows were chosen.")
    ] = None,
    reward: Annotated[
        str | None, typer.Option(metavar="MODULE:CALLABLE", help="Reward for texts that have none.")
    ] = None,
    human: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:CALLABLE", help="Simulated human score for texts that have none."
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(metavar="SPEC|none", help="Embeddings (default: that of the recipe reviews)."),
    ] = None,
    trained_on: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Texts the reward model learned from (column text)."),
    ] = None,
    toxicity: Annotated[
        str | None,
        typer.Option(
            metavar="none|MODULE:CALLABLE", help="Scorer of toxicity (default: none)."
        ),
    ] = None,
    only: Annotated[
        Words, typer.Option(metavar="NAME", help="A probe or measurement, or several by comma.")
    ] = None,
    level: Annotated[
        list[float] | None, typer.Option(help="Confidence level; the first is shown (0.95).")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of resampling, and of sampling a model.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="All of it, as JSON.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.TABLE,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|builtin:reviews",
            help="What to ask (default: builtin).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many plain prompts, by hash.", rich_help_panel=MODEL),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Responses to each prompt.", rich_help_panel=MODEL)
    ] = 4,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Of a response.", rich_help_panel=MODEL)
    ] = 48,
    temperature: Annotated[float, typer.Option(help="Above 0.", rich_help_panel=MODEL)] = 0.8,
    system: Annotated[
        str | None, typer.Option(help="The system prompt.", rich_help_panel=MODEL)
    ] = None,
    tasks: Annotated[
        Words, typer.Option(help="Benchmark tasks, also by comma.", rich_help_panel=MODEL)
    ] = None,
    task_limit: Annotated[
        int | None, typer.Option(min=1, help="Items a task.", rich_help_panel=MODEL)
    ] = None,
    human_text: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Text people wrote (default: the prompts' references).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE.parquet", help="Keep the generations.", rich_help_panel=MODEL),
    ] = None,
) -> None:
    """Measure a file of generations or a model, and what changed against another one.

    Needs one column, text. Uses where there: prompt or prompt_id, sample_id, reward, human, group
    and family, and more (docs/probe-command.md). Exit code 2 with one message for input that is not
    what it should be.
    """
    from restaudit.probing.files import is_model, probe_files, texts_of
    from restaudit.probing.session import Wanted, names_wanted

    wanted = Wanted(
        only=_split(only),
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
    names_wanted(wanted.only)
    columns = mapping(column or [])
    _writable(json_file)
    learned = texts_of(trained_on)
    try:
        if is_model(what):
            from restaudit.probing.models import Asked, probe_models

            _refuse(
                "a model",
                {
                    "--column": column,
                    "--grow": grow,
                    "--ratings": ratings,
                    "--dimension": dimension,
                    "--human-label": human_label,
                    "--human-sampling": human_sampling,
                },
            )
            if against is not None and not is_model(against):
                raise BadInput(
                    f"{against} is no model; sample {what} first (--save FILE.parquet), then "
                    "compare the two files"
                )
            asked = Asked(
                prompts,
                limit,
                samples,
                max_tokens,
                temperature,
                system,
                _split(tasks),
                task_limit,
                human_text,
                save,
            )
            done = probe_models(what, against, asked, wanted, trained_on=learned)
        else:
            _refuse(
                "a file",
                {
                    "--prompts": prompts,
                    "--limit": limit,
                    "--system": system,
                    "--tasks": tasks,
                    "--task-limit": task_limit,
                    "--human-text": human_text,
                    "--save": save,
                },
            )
            done = probe_files(
                what,
                against,
                columns,
                wanted,
                grow=grow,
                ratings=ratings,
                dimension=dimension,
                trained_on=learned,
            )
    except KeyboardInterrupt:
        raise Interrupted("stopped before anything was measured; run the command again") from None
    _out(done, output, json_file)


def mapping(pairs: list[str]) -> dict[str, str]:
    """What `--column NAME=COLUMN` options say. Raises BadInput for one that is not of this form."""
    out = {}
    for pair in pairs:
        name, equals, own = pair.partition("=")
        if not (name and equals and own):
            raise BadInput(f"--column {pair}: expected NAME=COLUMN, for example text=response")
        out[name] = own
    return out


def _split(names: Words) -> tuple[str, ...]:
    return tuple(n.strip() for name in names or () for n in name.split(",") if n.strip())


def _refuse(what: str, given: dict[str, object]) -> None:
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise BadInput(f"{wrong[0]} says nothing about {what}; leave it out")


def _writable(path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise BadInput(
            f"--json {path}: "
            f"{'a folder; expected a file' if path.is_dir() else f'no folder {path.parent}'}"
        )


def _out(done: Probed, output: Format, json_file: Path | None) -> None:
    from rich.console import Console

    from restaudit.probing.show import as_json, show

    if json_file is not None:
        try:
            json_file.write_text(as_json(done), encoding="utf-8")
        except OSError as e:
            raise BadInput(f"{json_file}: cannot be written: {e.strerror}") from None
    if output is Format.JSON:
        typer.echo(as_json(done), nl=False)
    else:
        show(done, Console(highlight=False))
        if json_file is not None:
            typer.echo(f"measurements: {json_file}")
