"""Measure the house: how many files and rooms there are, how they hang together, how dense the
lines are.

    python tools/house.py            the table for this checkout
    python tools/house.py --small    also every file under 60 lines that one other file imports
    python tools/house.py --floors   also the rooms of each package, floor by floor

It is a mirror and no gate: nothing enforces a number, and a line that reads well stays, whatever a
counter says. A room is a file or a folder directly inside a package. A room's floor is the longest
way down from it through imports (late imports count, imports for types only do not); rooms that
import one another stand on one floor and are a circle.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("probes", "restaudit", "reports")
SHORT = 60
WIDE = 100
VAGUE = ("found", "said", "of", "how")
Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Source:
    """One file: its dotted name, its text and tree, and the modules of the three packages that it
    imports.
    """

    name: str
    path: Path
    text: str
    tree: ast.Module
    imports: frozenset[str]

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def read_sources(root: Path) -> dict[str, Source]:
    paths = sorted(p for package in PACKAGES for p in (root / package).rglob("*.py"))
    names = {_dotted(p, root): p for p in paths}
    sources = {}
    for name, path in names.items():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        sources[name] = Source(name, path, text, tree, frozenset(_imports(tree, name, names)))
    return sources


def _dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module, name: str, known: Mapping[str, Path]) -> Iterator[str]:
    typing_only = {
        id(n) for block in ast.walk(tree) if _is_type_checking(block) for n in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in known and a.name != name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                target = submodule if submodule in known else node.module
                if target in known and target != name:
                    yield target


def _is_type_checking(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


# Rooms and floors


def rooms_of(package: str, sources: Mapping[str, Source]) -> dict[str, set[str]]:
    """The rooms of a package, each with the rooms of the same package that it imports."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for source in sources.values():
        own = _room(source.name, package)
        if own is None:
            continue
        others = {_room(target, package) for target in source.imports}
        rooms[own] |= {o for o in others if o is not None and o != own}
    return dict(rooms)


def _room(module: str, package: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == package and len(parts) > 1 else None


def circles(graph: Graph) -> list[list[str]]:
    """Groups of rooms of which each reaches every other (Tarjan's strongly connected components of
    two and more).
    """
    return sorted(sorted(group) for group in _components(graph) if len(group) > 1)


def floors(graph: Graph) -> dict[str, int]:
    """The floor of each room: 1 where nothing of the package is imported, else one above the
    highest it imports.
    """
    group_of = {room: group for group in _components(graph) for room in group}

    def floor(group: tuple[str, ...]) -> int:
        if group not in known:
            below = {
                group_of[t] for room in group for t in graph.get(room, ()) if t in group_of
            } - {group}
            known[group] = 1 + max((floor(g) for g in below), default=0)
        return known[group]

    known: dict[tuple[str, ...], int] = {}
    return {room: floor(group) for room, group in group_of.items()}


def _components(graph: Graph) -> list[tuple[str, ...]]:
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[tuple[str, ...]] = []

    def visit(room: str) -> None:
        index[room] = low[room] = len(index)
        stack.append(room)
        for target in sorted(graph.get(room, ())):
            if target not in graph:
                continue
            if target not in index:
                visit(target)
                low[room] = min(low[room], low[target])
            elif target in stack:
                low[room] = min(low[room], index[target])
        if low[room] == index[room]:
            cut = stack.index(room)
            groups.append(tuple(sorted(stack[cut:])))
            del stack[cut:]

    for room in sorted(graph):
        if room not in index:
            visit(room)
    return groups


# Files


def importers(sources: Mapping[str, Source]) -> dict[str, set[str]]:
    """Of each file, the files of the three packages that import it.

    A package's __init__ counts as itself.
    """
    by: dict[str, set[str]] = {name: set() for name in sources}
    for source in sources.values():
        for target in source.imports:
            by[target].add(source.name)
    return by


def small_single(sources: Mapping[str, Source]) -> list[tuple[str, int, str]]:
    by = importers(sources)
    return [
        (name, len(source.lines), next(iter(by[name])))
        for name, source in sorted(sources.items())
        if len(by[name]) == 1 and len(source.lines) < SHORT and source.path.name != "__init__.py"
    ]


# Lines


def _comment_lines(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return len(
        {t.start[0] for t in tokens if t.type == tokenize.COMMENT and "fmt:" not in t.string}
    )


def _bindings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


def _nested(tree: ast.Module) -> int:
    return sum(
        any(isinstance(inner, ast.IfExp) for inner in ast.walk(node) if inner is not node)
        for node in ast.walk(tree)
        if isinstance(node, ast.IfExp)
    )


def repeated_classes(sources: Iterable[Source]) -> dict[str, int]:
    names = Counter(
        node.name
        for s in sources
        for node in ast.walk(s.tree)
        if isinstance(node, ast.ClassDef) and node.name[0] != "_"
    )
    return {
        name: n for name, n in sorted(names.items(), key=lambda item: (-item[1], item[0])) if n > 1
    }


def table(sources: Mapping[str, Source]) -> list[tuple[str, str, str]]:
    """Rows of what is counted, today's figure, and the aim."""
    lines = [line for s in sources.values() for line in s.lines]
    written = sum(1 for line in lines if line.strip())
    nodes = Counter(type(n) for s in sources.values() for n in ast.walk(s.tree))
    conditionals = nodes[ast.IfExp]
    comprehensions = sum(
        nodes[kind] for kind in (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    )
    bound = Counter(name for s in sources.values() for name in _bindings(s.tree))
    read = {
        t
        for s in sources.values()
        if s.name.startswith("reports")
        for t in s.imports
        if t.startswith("restaudit")
    }
    classes = repeated_classes(sources.values())
    rows = [
        ("files", f"{len(sources)}", "about 330"),
        ("lines", f"{len(lines):,}", ""),
        (
            f"files with one importer and under {SHORT} lines",
            f"{len(small_single(sources))}",
            "under 30",
        ),
    ]
    for package, aim in zip(PACKAGES, ("about 17, 7", "20, 9", ""), strict=True):
        graph = rooms_of(package, sources)
        rows.append(
            (f"{package}/: rooms, floors", f"{len(graph)}, {max(floors(graph).values())}", aim)
        )
        rows += [(f"{package}/: a circle", " ".join(circle), "none") for circle in circles(graph)]
    rows += [
        ("modules of restaudit that reports imports", f"{len(read)}", "the reading side"),
        (
            "one-line conditionals a 1,000 lines",
            f"{1000 * conditionals / written:.1f}",
            "at most 15",
        ),
        ("  of them nested", f"{sum(_nested(s.tree) for s in sources.values())}", "0"),
        ("comprehensions a 1,000 lines", f"{1000 * comprehensions / written:.1f}", "at most 30"),
        (
            f"lines over {WIDE} characters",
            f"{100 * sum(len(x) > WIDE for x in lines) / len(lines):.1f}%",
            "under 3%",
        ),
        ("# fmt: skip", f"{sum('# fmt: skip' in x for x in lines)}", "under 60"),
        (
            "lines with a comment",
            f"{100 * sum(_comment_lines(s.text) for s in sources.values()) / len(lines):.1f}%",
            "3-5%",
        ),
        (
            "variables " + " / ".join(VAGUE),
            " / ".join(str(bound[v]) for v in VAGUE),
            "names that say what is held",
        ),
        (
            "classes of one name",
            ", ".join(f"{name} x{n}" for name, n in classes.items()) or "none",
            "one name, one thing",
        ),
    ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="list small files with one importer")
    parser.add_argument("--floors", action="store_true", help="list rooms floor by floor")
    parser.add_argument(
        "root", nargs="?", type=Path, default=ROOT, help="a checkout (default: this one)"
    )
    options = parser.parse_args()
    sources = read_sources(options.root)
    for what, today, aim in table(sources):
        print(f"{what:<46} {today:<24} {aim}")
    if options.small:
        print()
        for name, n, importer in small_single(sources):
            print(f"{n:>4}  {name}  <- {importer}")
    if options.floors:
        for package in PACKAGES:
            by_floor: dict[int, list[str]] = defaultdict(list)
            for room, n in floors(rooms_of(package, sources)).items():
                by_floor[n].append(room)
            print(f"\n{package}/")
            for n in sorted(by_floor, reverse=True):
                print(f"{n:>4}  {' '.join(sorted(by_floor[n]))}")


if __name__ == "__main__":
    main()
