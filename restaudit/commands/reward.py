"""`restaudit reward train | validate | stress | diff`: a reward model in the open, run or no run.

The commands that explain one, `restaudit reward declare` and `restaudit reward dossier`, are added
to this group by reports.

Outside the package `restaudit.reward`, whose import brings numpy and pydantic to every start of the
command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from restaudit.commands.program import MOST, MOST_SEED, Code, Program, keyed
from restaudit.console import say
from restaudit.errors import BadInput

reward = Program(
    name="reward",
    help=(
        "A reward model in the open: train it, validate it, stress it, read its dossier, compare "
        "two."
    ),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[
    Path,
    typer.Argument(metavar="RUN|DIR", help="A run folder, or what `restaudit reward train` wrote."),
]


@reward.command("train")
def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A recipe's name, or a YAML file with `reward:` (and seed, device).",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the model.")] = Path(
        "reward_model"
    ),
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one value, e.g. reward.input=response."
        ),
    ] = None,
) -> None:
    """Train (or load) the reward of a configuration and validate it on people it was not trained
    on.
    """
    from restaudit.reward_audit.standalone import configured

    built = configured(config, changes or []).build(out)
    say(f"{out}: {built.name}, {built.members} member(s), digest {built.digest[:16]}")
    facts = _facts(out)
    if isinstance(facts["data"], dict) and (dropped := facts["data"]["rows"]["dropped"]):
        rows = facts["data"]["rows"]
        left_out = ", ".join(f"{n} {why}" for why, n in dropped.items())
        say(f"rows: {rows['read']} read, {rows['used']} used; left out: {left_out}")
    # Nobody has stressed it yet, so the best that can be said is NOT ESTABLISHED.
    _print_verdict(facts, None)
    say(f"next: restaudit reward stress {out}; restaudit reward dossier {out}")


@reward.command("validate")
def validate_(
    folder: Folder,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Pairs or ratings by people; may be given again. Default: its own held-out items.",
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="The files' format, as docs/data-formats.md lists them.")
    ] = "table",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="An option of the format: rater_columns=[ann, bo]."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="How the file calls it: chosen=better."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=MOST, help="At most this many items a file, chosen by hash."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same intervals.")
    ] = 0,
    code: Code = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the JSON goes (default: DIR/validation/NAME.json, or "
            "RUN/report/validation/NAME.json).",
        ),
    ] = None,
) -> None:
    """Compare a reward with people on any judged pairs or ratings: agreement, slices, calibration,
    trivial rules.
    """
    from restaudit.console import Terminal
    from restaudit.evidence.record import json_bytes
    from restaudit.files import plain
    from restaudit.files.strict import NotStrict, parse_yaml
    from restaudit.reward.dossier import VALIDATION, beside
    from restaudit.reward_audit.validation import show, sources_of, stem, validate_outside

    files = data or []
    describes_files = form != "table" or any(x is not None for x in (option, column, limit))
    if describes_files and not files:
        raise BadInput(
            "--format, --option, --column and --limit describe files; name one with --data"
        )
    options = {}
    for key, value in keyed("--option", option, "KEY=VALUE").items():
        try:
            # As in a configuration file: lists and numbers are written the same way in both.
            options[key] = parse_yaml(value)
        except NotStrict as e:
            raise BadInput(f"--option {key}={value}: {e}; quote the value") from None
    columns = keyed("--column", column, "NAME=COLUMN, for example chosen=better")
    sources = sources_of(files, form, options, columns, limit)
    result = validate_outside(folder, sources, seed=seed, code=code or ())
    # By the files' names, so that a second validation does not replace the first; cut, since a file
    # name has at most 255 bytes.
    name = "+".join(dict.fromkeys(stem(f) for f in files))[:100] or "held_out"
    path = out or beside(folder) / VALIDATION / f"{name}.json"
    # Shown first: what was measured must not be lost because a disk is full.
    show(result, Terminal(highlight=False))
    try:
        plain.write_out(path, json_bytes(result.to_json()), run=folder)
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None
    say(f"report: {path}")


@reward.command("stress")
def stress_(
    folder: Folder,
    texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Texts to test on: column text, perhaps prompt."),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=0, max=10_000_000, help="Texts the search for exploits may score; 0: none."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same report.")
    ] = 0,
    code: Code = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the report goes (default: stress.json beside the dossier, "
            "or RUN/report/stress.json).",
        ),
    ] = None,
) -> None:
    """Spoil real texts in ways that make none better, search for exploits, and list what the reward
    pays for.
    """
    from restaudit.evidence.record import json_bytes
    from restaudit.files import plain
    from restaudit.reward.dossier import STRESS, beside
    from restaudit.reward_audit.standalone import opened, scorer, texts_of
    from restaudit.reward_audit.stress import stress
    from restaudit.reward_audit.stress.search import BUDGET

    alone, where = opened(folder)
    real = texts_of(alone, folder, texts)
    tested = stress(
        scorer(folder, code or ()),
        real.prompts,
        real.texts,
        real.human,
        seed=seed,
        budget=BUDGET if budget is None else budget,
    )
    # Which reward it was, so that nobody reads the report beside the dossier of another one.
    about = {
        "reward_digest": _facts(where)["digest"],
        "texts_are": real.about,
        "human_is": real.human_is,
    }
    report = {**tested.to_json(), **about}
    path = out or beside(folder) / STRESS
    plain.write_out(path, json_bytes(report), run=folder)
    _print_verdict(_facts(where), report)
    say(f"report: {path}")


@reward.command("diff")
def diff(left: Folder, right: Folder) -> None:
    """What differs between two reward models: data, raters, settings, and how well each predicts
    people.
    """
    from restaudit.files.signs import printable
    from restaudit.reward.dossier import differences
    from restaudit.reward_audit.standalone import opened

    found = differences(*(_facts(opened(f)[1]) for f in (left, right)))
    for d in found:
        say(f"{d.path}\n  - {printable(d.left)}\n  + {printable(d.right)}")
    if found:
        say(f"{len(found)} facts differ")
    else:
        say("the two dossiers say the same")


def _print_verdict(facts: dict[str, Any], report: dict[str, Any] | None) -> None:
    from restaudit.files.signs import printable
    from restaudit.reward_audit.verdict import verdict

    word, reasons = verdict(facts, report)
    say(f"{word}: {printable(' '.join(reasons))}")
    for failure in (report or {}).get("failures", []):
        say(f"  FAIL {printable(failure)}")


def _facts(folder: Path) -> dict[str, Any]:
    from restaudit.reward.dossier import read_any

    return read_any(folder)
