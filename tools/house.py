"""Measure the house: how many files and rooms there are, how they hang together, how dense the
lines are.

    python tools/house.py            the table for this checkout
    python tools/house.py --small    also every file under 60 lines that one other file imports
    python tools/house.py --floors   also the rooms of each package, floor by floor
    python tools/house.py --picture docs/images/rooms.svg
                                     draw the rooms, floor by floor, into a file

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
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("probes", "restaudit", "reports")
SHORT = 60
WIDE = 100
VAGUE = ("found", "said", "of", "how")
ROOMS = {"probes": "about 17, 7", "restaudit": "20, 9"}
AIMS = {
    "one-line conditionals a 1,000 lines": "at most 15",
    "  of them nested": "0",
    "comprehensions a 1,000 lines": "at most 30",
    f"lines over {WIDE} characters": "under 3%",
    "# fmt: skip": "under 60",
    "lines with a comment": "3-5%",
    "variables " + " / ".join(VAGUE): "names that say what is held",
}
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

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


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


# --- rooms and floors


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


# --- files


def importers(sources: Mapping[str, Source]) -> dict[str, set[str]]:
    """Of each file, the files of the three packages that import it.

    A package's __init__ counts as itself.
    """
    by: dict[str, set[str]] = {name: set() for name in sources}
    for source in sources.values():
        for target in source.imports:
            by[target].add(source.name)
    return by


def single_importer(sources: Mapping[str, Source]) -> list[tuple[str, int, str]]:
    """Files that exactly one other file imports: name, lines, and who imports it."""
    by = importers(sources)
    return [
        (name, len(source.lines), next(iter(by[name])))
        for name, source in sorted(sources.items())
        if len(by[name]) == 1 and not source.is_package
    ]


# --- lines


def density(sources: Iterable[Source]) -> dict[str, str]:
    """How much stands in a line; every share is of the lines that are not blank."""
    nodes: Counter[type] = Counter()
    bound: Counter[str] = Counter()
    lines: list[str] = []
    nested = comments = 0
    for source in sources:
        nodes.update(type(node) for node in ast.walk(source.tree))
        bound.update(_bindings(source.tree))
        nested += _nested(source.tree)
        comments += _comment_lines(source.text)
        lines += [line for line in source.lines if line.strip()]
    comprehensions = nodes[ast.ListComp] + nodes[ast.SetComp] + nodes[ast.DictComp]
    comprehensions += nodes[ast.GeneratorExp]
    wide = sum(len(line) > WIDE for line in lines)
    skipped = sum("# fmt: skip" in line for line in lines)
    return {
        "one-line conditionals a 1,000 lines": f"{1000 * nodes[ast.IfExp] / len(lines):.1f}",
        "  of them nested": f"{nested}",
        "comprehensions a 1,000 lines": f"{1000 * comprehensions / len(lines):.1f}",
        f"lines over {WIDE} characters": f"{100 * wide / len(lines):.1f}%",
        "# fmt: skip": f"{skipped}",
        "lines with a comment": f"{100 * comments / len(lines):.1f}%",
        "variables " + " / ".join(VAGUE): " / ".join(str(bound[name]) for name in VAGUE),
    }


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
    """Conditionals that have another one inside."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp):
            inside = (inner for inner in ast.walk(node) if inner is not node)
            count += any(isinstance(inner, ast.IfExp) for inner in inside)
    return count


def repeated_classes(sources: Iterable[Source]) -> dict[str, int]:
    """Public class names that stand for more than one thing, and for how many."""
    names: Counter[str] = Counter()
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names[node.name] += 1
    return {name: n for name, n in sorted(names.items(), key=lambda i: (-i[1], i[0])) if n > 1}


# --- the table


def table(sources: Mapping[str, Source]) -> list[tuple[str, str, str]]:
    """What is counted, today's figure, and the aim of issue 17."""
    single = single_importer(sources)
    rows = [
        ("files", f"{len(sources)}", "about 330"),
        ("lines", f"{sum(len(s.lines) for s in sources.values()):,}", ""),
        ("files that one other file imports", f"{len(single)}", ""),
        (
            f"files under {SHORT} lines",
            f"{sum(len(s.lines) < SHORT for s in sources.values())}",
            "",
        ),
        ("files that are both", f"{sum(n < SHORT for _, n, _ in single)}", "under 30"),
    ]
    for package in PACKAGES:
        graph = rooms_of(package, sources)
        figure = f"{len(graph)}, {max(floors(graph).values(), default=0)}"
        rows.append((f"{package}/: rooms, floors", figure, ROOMS.get(package, "")))
        rows += [(f"{package}/: a circle", " ".join(circle), "none") for circle in circles(graph)]
    read = {
        target
        for source in sources.values()
        for target in source.imports
        if source.name.startswith("reports") and target.startswith("restaudit")
    }
    rows.append(("modules of restaudit that reports imports", f"{len(read)}", "the reading side"))
    rows += [(what, today, AIMS[what]) for what, today in density(sources.values()).items()]
    classes = repeated_classes(sources.values())
    named = ", ".join(f"{name} x{n}" for name, n in classes.items()) or "none"
    rows.append((f"classes of one name ({len(classes)})", named, "one name, one thing"))
    return rows


# --- the picture

WIDTH, ROW, GAP, MARGIN, LEFT = 960, 30, 8, 16, 128
# One hue a package, with the text dark on light, so that the picture reads in grey and in print.
FILLS = {"reports": "#dbe9f6", "restaudit": "#fdf0d5", "probes": "#e2f0d9"}
SAYS = {
    "reports": ("reports/", "explains a run"),
    "restaudit": ("restaudit/", "does the run"),
    "probes": ("probes/", "measures"),
}


def picture(sources: Mapping[str, Source]) -> str:
    """The three packages as an SVG: a row a floor, a box a room; every import points down."""
    shapes: list[str] = []
    y = MARGIN
    for package in reversed(PACKAGES):
        top = y
        by_floor: dict[int, list[str]] = defaultdict(list)
        for room, n in floors(rooms_of(package, sources)).items():
            by_floor[n].append(room)
        boxes: list[str] = []
        y += GAP
        for n in sorted(by_floor, reverse=True):
            y = _draw_floor(sorted(by_floor[n]), y, boxes)
        shapes.append(_box(MARGIN, top, WIDTH - 2 * MARGIN, y - top, FILLS[package], "#777777"))
        name, says = SAYS[package]
        shapes.append(_text(MARGIN + 12, top + 28, name, size=17, weight="bold"))
        shapes.append(_text(MARGIN + 12, top + 48, says, size=13))
        shapes += boxes
        y += GAP
    height = y + MARGIN - GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif">'
    )
    title = "<title>The rooms of reports, restaudit and probes, floor by floor</title>"
    back = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, title, back, *shapes, "</svg>"]) + "\n"


def _draw_floor(rooms: Iterable[str], y: int, shapes: list[str]) -> int:
    """Boxes of one floor from left to right, in as many lines as it takes; the next free y."""
    x = LEFT + MARGIN
    for room in rooms:
        width = 22 + 9 * len(room)
        if x + width > WIDTH - MARGIN - GAP:
            x, y = LEFT + MARGIN, y + ROW + GAP
        shapes.append(_box(x, y, width, ROW, "#ffffff", "#555555"))
        shapes.append(_text(x + 10, y + 20, room, size=14))
        x += width + GAP
    return y + ROW + GAP


def _box(x: int, y: int, width: int, height: int, fill: str, line: str) -> str:
    size = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<rect {size} rx="4" fill="{fill}" stroke="{line}"/>'


def _text(x: int, y: int, words: str, *, size: int, weight: str = "normal") -> str:
    place = f'x="{x}" y="{y}" font-size="{size}" font-weight="{weight}"'
    return f'<text {place} fill="#1a1a1a">{escape(words)}</text>'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="list small files with one importer")
    parser.add_argument("--floors", action="store_true", help="list rooms floor by floor")
    parser.add_argument("--picture", type=Path, help="draw the rooms into this SVG file")
    parser.add_argument(
        "root", nargs="?", type=Path, default=ROOT, help="a checkout (default: this one)"
    )
    options = parser.parse_args()
    sources = read_sources(options.root)
    if options.picture is not None:
        options.picture.write_text(picture(sources), encoding="utf-8")
        return
    for what, today, aim in table(sources):
        print(f"{what:<46} {today:<24} {aim}")
    if options.small:
        print()
        for name, n, importer in single_importer(sources):
            if n < SHORT:
                print(f"{n:>4}  {name}  <- {importer}")
    if options.floors:
        for package in PACKAGES:
            print_floors(package, sources)


def print_floors(package: str, sources: Mapping[str, Source]) -> None:
    by_floor: dict[int, list[str]] = defaultdict(list)
    for room, n in floors(rooms_of(package, sources)).items():
        by_floor[n].append(room)
    print(f"\n{package}/")
    for n in sorted(by_floor, reverse=True):
        print(f"{n:>4}  {' '.join(sorted(by_floor[n]))}")


if __name__ == "__main__":
    main()
