"""The named benchmarks, and how a name in a configuration finds one."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from restaudit.errors import BadInput
from restaudit.models.artifacts import Artifact, digest_of
from restaudit.tasks import bbq, crows_pairs, honest, own, winobias, winogender, xstest
from restaudit.tasks.benchmark import Benchmark, pinned_files

# To add a benchmark: a module with BENCHMARK, a line here, a metric that is no capability in
# PREFERENCES of probes/statistics/items.py, a line in docs/benchmark-tasks.md.
BENCHMARKS: tuple[Benchmark, ...] = (
    own.EVERYDAY,
    own.ARITHMETIC,
    own.GRAMMAR,
    own.PRONOUNS,
    own.HARMLESS,
    crows_pairs.BENCHMARK,
    winogender.BENCHMARK,
    winobias.BENCHMARK,
    honest.BENCHMARK,
    bbq.BENCHMARK,
    xstest.BENCHMARK,
)
_BY_NAME = {b.name: b for b in BENCHMARKS}


def available() -> dict[str, Benchmark]:
    """The named benchmarks: what each is, where its data come from, and their licence."""
    return dict(_BY_NAME)


def find(spec: str) -> Benchmark | None:
    """The benchmark of this name; None for `lm_eval:NAME` and `path:FILE.yaml`.

    Raises BadInput for any other name.
    """
    if spec.partition(":")[0] in {"lm_eval", "path"} and ":" in spec:
        return None
    if spec in _BY_NAME:
        return _BY_NAME[spec]
    near = get_close_matches(spec, _BY_NAME, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise BadInput(
        f"benchmark '{spec}': unknown{hint} Expected one of {', '.join(_BY_NAME)}, lm_eval:NAME "
        "or path:FILE.yaml"
    )


def short_name(spec: str) -> str:
    """What measurements call a benchmark: own/grammar is `grammar`, lm_eval:arc_easy `arc_easy`,
    path:a/b.yaml `b`.
    """
    kind, _, name = spec.partition(":")
    if kind == "path" and name:
        return Path(name).stem
    return (name or spec).removeprefix("own/")


def check_names(specs: Sequence[str]) -> None:
    """Raises BadInput where a name is not known, or two benchmarks would have the same name in
    measurements.
    """
    seen: dict[str, str] = {}
    for spec in specs:
        find(spec)
        name = short_name(spec)
        if name == "worst":
            raise BadInput(
                f"benchmark '{spec}': `worst` names the lowest change of all; give the task "
                "another name"
            )
        if name in seen:
            raise BadInput(
                f"benchmarks '{seen[name]}' and '{spec}' would both be called {name}; leave one out"
            )
        seen[name] = spec


def artifacts(specs: Sequence[str]) -> dict[str, Artifact]:
    """Every file these benchmarks need, fetched and checked, by benchmark and file name; not those
    of lm-eval's own.
    """
    check_names(specs)
    files: dict[str, Artifact] = {}
    for spec in specs:
        benchmark = find(spec)
        if benchmark is not None:
            files |= {f"{spec}/{name}": a for name, a in pinned_files(benchmark).items()}
        elif spec.startswith("path:"):
            path = Path(spec.partition(":")[2]).expanduser()
            if not path.is_file():
                raise BadInput(
                    f"{spec}: expected path:FILE.yaml, a task file of lm-eval that is there"
                )
            files[spec] = Artifact(path, spec, digest_of(path))
    return files
