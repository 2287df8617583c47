"""`restaudit dev`: for people who change restaudit itself; a new probe, and the tables of its
documentation.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaudit.commands.program import Program
from restaudit.console import say
from restaudit.errors import BadInput

if TYPE_CHECKING:
    from probes.base import Metric, Probe

dev = Program(
    name="dev", help="For a checkout: add a probe, rewrite generated docs.", no_args_is_help=True
)

BETTER = {"higher": "higher", "lower": "lower", "neutral": ""}

# A probe that runs and is right, so that a new one begins from something that passes its test.
PROBE_TEMPLATE = '''\
"""{Title}: what is measured, in one line."""

from __future__ import annotations

import pandas as pd

from probes.base import Evidence, Measurement, Metric, Probe
from probes.rows import audited
from probes.statistics import stats

NAME, VERSION = "{name}", "1"  # another version if the same table would give another number
SHARE = Metric(f"{{NAME}}.share", "texts that ask", "share of texts", NAME)
CHANGE = Metric(f"{{NAME}}.share_change", "texts that ask, change", "share of texts", NAME)


def run(evidence: Evidence) -> list[Measurement]:
    """Share of texts with a question mark, and its change from the base policy."""
    rows, base, notes = audited(evidence)
    now, then = _marked(rows), None if base is None else _marked(base)
    share = stats.share(table=now, column="holds", **evidence.resampling)
    change = stats.share_change(table=now, base=then, column="holds", **evidence.resampling)
    before, itself = stats.mean_value(then, "holds"), None if then is None else 0.0
    return [
        share.recorded(SHARE, version=VERSION, baseline=before, detail=notes),
        change.recorded(CHANGE, version=VERSION, baseline=itself, detail=notes),
    ]


def _marked(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(holds=["?" in str(text) for text in table["text"]])


PROBE = Probe(
    name=NAME,
    title="{Title}",
    version=VERSION,
    goal="Does the policy ask more often than the base policy?",
    reads=("outputs.text", "base.text"),
    measures=(SHARE, CHANGE),
    references=(),  # where the idea comes from; or that it is your own
    weaknesses=(),  # what it does not see, and what it takes for something else
    run=run,
)
'''

TEST_TEMPLATE = '''\
"""{Title}: found where it is planted, and not where it is not."""

from __future__ import annotations

import pandas as pd

from probes import Evidence
from probes.{name} import run


def texts(*each: str) -> pd.DataFrame:
    """Ten prompts with these samples each."""
    rows = [(f"p{{p}}", f"p{{p}}/{{k}}", text) for p in range(10) for k, text in enumerate(each)]
    return pd.DataFrame(rows, columns=["prompt_id", "sample_id", "text"]).assign(n_tokens=5)


def test_a_policy_that_asks_more_is_found() -> None:
    sick, healthy = texts("Is it?", "It is."), texts("It is.", "It is.")
    share, change = run(Evidence(outputs=sick, base=healthy))
    assert (share.value, share.baseline, change.value) == (0.5, 0.0, 0.5)
    assert change.interval().low > 0


def test_the_same_texts_show_no_change() -> None:
    healthy = texts("It is.", "It is.")
    _, change = run(Evidence(outputs=healthy, base=healthy))
    assert change.value == 0
    assert change.interval().low < 0 < change.interval().high
'''


def checkout() -> Path:
    """The checkout whose code is running.

    Raises BadInput where restaudit is an installed package.
    """
    import probes

    root = Path(probes.__file__).resolve().parents[1]
    missing = [
        p for p in ("pyproject.toml", "tests/probes", "docs/probes.md") if not (root / p).exists()
    ]
    if missing:
        raise BadInput(
            f"{root} is no checkout of restaudit (it has no {missing[0]}): `restaudit dev` changes "
            "restaudit's own source. Clone the repository, then `pip install -e .` in it"
        )
    return root


@dev.command("new-probe")
def new_probe(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits, underscores.")],
) -> None:
    """Write probes/NAME.py and its test from a template that runs."""
    root = checkout()
    _refuse(name, root)
    title = name.replace("_", " ").capitalize()
    files = {
        root / "probes" / f"{name}.py": PROBE_TEMPLATE.format(name=name, Title=title),
        root / "tests" / "probes" / f"test_{name}.py": TEST_TEMPLATE.format(name=name, Title=title),
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        say(path.relative_to(root))
    say(
        "Measure what you mean, say where it is weak, then: restaudit dev docs; "
        f"pytest tests/probes/test_{name}.py tests/probes/test_catalogue.py"
    )


def _refuse(name: str, root: Path) -> None:
    """Raise BadInput for a name that cannot be a probe's, or that something has."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BadInput(
            f"{name!r} cannot be a probe's name; expected small letters, digits and underscores, "
            "beginning with a letter, e.g. reading_level"
        )
    # Here and not above: the catalogue imports every probe.
    from probes.catalogue import PROBES, SECTIONS

    places = (f"probes/{name}.py", f"probes/{name}", f"tests/probes/test_{name}.py")
    taken = [place for place in places if (root / place).exists()]
    if not taken and (name in SECTIONS or name in {probe.name for probe in PROBES}):
        taken = ["a probe or section of this name"]
    if taken:
        raise BadInput(f"{name}: there is {taken[0]} already; choose another name")


@dev.command("docs")
def docs() -> None:
    """Rewrite the tables of docs/probes.md that list what is measured, from the probes."""
    path = checkout() / "docs" / "probes.md"
    before = path.read_text(encoding="utf-8")
    after = with_tables(before)
    path.write_text(after, encoding="utf-8")
    outcome = "as it was" if after == before else "rewritten"
    say(f"docs/probes.md: {outcome}")


def with_tables(text: str) -> str:
    """docs/probes.md with the table of every probe between its two marks; a probe without a place
    gets a section before the last one.
    """
    from probes.catalogue import PROBES

    for probe in PROBES:
        begin, end = f"<!-- measures: {probe.name} -->", "<!-- end -->"
        block = f"{begin}\n{_table(probe)}\n{end}"
        if begin in text:
            before, _, rest = text.partition(begin)
            text = before + block + rest.partition(end)[2]
            continue
        section = f"## {probe.name}\n\n*{probe.goal}*\n\n{block}\n\n"
        # The last section is about probes in general, and stays last.
        at = text.rindex("\n## ") + 1
        text = text[:at] + section + text[at:]
    return text


def _table(probe: Probe) -> str:
    rows = ["| measurement | what it is | unit | better |", "|---|---|---|---|"]
    return "\n".join([*rows, *(_row(metric) for metric in probe.measures)])


def _row(metric: Metric) -> str:
    name = f"{metric.name}…" if metric.family else metric.name
    unit = metric.unit or "the run's"
    return f"| `{name}` | {metric.title} | {unit} | {BETTER[metric.direction]} |"
