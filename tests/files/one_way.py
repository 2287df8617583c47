"""What in our source reads, writes or looks for a file in another way than restaudit/files does.

Found by parsing: a call of this name whose file is not one that `plain`, `given` or memory opened.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Whatever one of these opened is the one way: `with plain.created(...) as f: np.save(f, ...)`.
ROOM = ("plain", "given", "parquet")
MEMORY = ("BytesIO", "StringIO", "TextIOWrapper", "TemporaryFile")
# What is opened within these stands in a file that they were given, which is looked at there.
WITHIN = ("ZipFile", "ParquetWriter")
STREAMS = (
    "IO",
    "BinaryIO",
    "TextIO",
    "BufferedReader",
    "BufferedIOBase",
    "FileIO",
    "BytesIO",
    "_File",
)

# Methods of a path, and functions of modules. With True: only where an argument names a place.
WRITES = {
    **dict.fromkeys(
        ("write_text", "write_bytes", "touch", "symlink_to", "hardlink_to", "mkdir"), False
    ),
    **dict.fromkeys(("makedirs", "copytree", "move"), True),
    **dict.fromkeys(("copyfile", "copy2", "copymode"), True),
    **dict.fromkeys(("rename", "replace", "renames"), True),
    **dict.fromkeys(("to_parquet", "to_csv", "to_excel", "to_pickle", "to_feather"), True),
    **dict.fromkeys(("savez", "savez_compressed", "savetxt", "savefig", "save_file"), True),
    **dict.fromkeys(("save_pretrained", "ParquetWriter", "mkstemp"), True),
    **dict.fromkeys(("FileLock", "NamedTemporaryFile", "tofile", "extractall", "extract"), True),
}
READS = {
    **dict.fromkeys(("read_text", "read_bytes"), False),
    **dict.fromkeys(("read_parquet", "read_csv", "read_excel", "ParquetFile"), True),
    **dict.fromkeys(("load_file", "safe_open", "fromfile", "loadtxt", "memmap"), True),
}
LOOKS = dict.fromkeys(("is_file", "exists", "is_dir", "glob", "rglob", "iterdir", "walk"), False)
# Functions that are one thing in one module and something harmless elsewhere.
OF_MODULES = {
    ("json", "load"): "reads",
    ("json", "loads"): "reads",
    ("json", "dump"): "writes",
    ("yaml", "load"): "reads",
    ("yaml", "safe_load"): "reads",
    ("yaml", "dump"): "writes",
    ("pq", "read_table"): "reads",
    ("pq", "read_schema"): "reads",
    ("pq", "read_metadata"): "reads",
    ("pd", "read_json"): "reads",
    ("pq", "write_table"): "writes",
    ("np", "load"): "reads",
    ("np", "save"): "writes",
    ("torch", "save"): "writes",
    ("torch", "load"): "reads",
    ("pickle", "load"): "reads",
    ("gzip", "open"): "reads",
    ("tarfile", "open"): "reads",
    ("shutil", "copy"): "writes",
    ("os", "link"): "writes",
    ("os", "symlink"): "writes",
    ("os", "truncate"): "writes",
    ("os", "mkfifo"): "writes",
    ("os", "scandir"): "looks",
    ("os", "listdir"): "looks",
}


@dataclass(frozen=True)
class Found:
    """One call, and the function that it stands in."""

    file: str
    function: str
    line: int
    kind: str
    call: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What an exception is made for."""
        return self.file, self.function, self.call


def found(source: str, file: str) -> list[Found]:
    """Every such call of one module, in order."""
    visitor = _Visitor(file)
    visitor.visit(ast.parse(source))
    return visitor.found


def everywhere(root: Path) -> Iterator[Found]:
    """Every such call of the program, outside the room that does it."""
    for package in ("restaudit", "reports", "probes", "app.py"):
        place = root / package
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            name = path.relative_to(root).as_posix()
            if not name.startswith("restaudit/files/"):
                yield from found(path.read_text(encoding="utf-8"), name)


class _Visitor(ast.NodeVisitor):
    def __init__(self, file: str) -> None:
        self.file, self.found = file, []
        self.functions: list[str] = []
        self.opened: list[set[str]] = [set()]
        self.room = set(ROOM)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == "restaudit.files":
            self.room |= {a.asname for a in node.names if a.asname and a.name in ROOM}

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._within(node, node.name, set())

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        streams = {a.arg for a in arguments if _is_stream(a.annotation)}
        self._within(node, node.name, streams)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.generic_visit(node)

    def _within(self, node: ast.AST, name: str, streams: set[str]) -> None:
        self.functions.append(name)
        self.opened.append(self.opened[-1] | streams | _opened_in(node, self.room))
        self.generic_visit(node)
        self.opened.pop()
        self.functions.pop()

    def visit_Call(self, node: ast.Call) -> None:
        name, module = _name(node.func)
        kind = self._kind(node, name, module)
        if kind:
            call = f"{module}.{name}" if (module, name) in OF_MODULES else name
            where = ".".join(self.functions) or "module"
            self.found.append(Found(self.file, where, node.lineno, kind, call))
        self.generic_visit(node)

    def _kind(self, node: ast.Call, name: str, module: str) -> str | None:
        first = node.args[0] if node.args else None
        is_opened = isinstance(first, ast.Name) and first.id in self.opened[-1]
        if module in self.room or _of_package(node.func) or is_opened:
            return None
        if (module, name) in OF_MODULES:
            return OF_MODULES[module, name]
        if name in ("open", "ZipFile", "FileIO") and not self._is_stream(node.func):
            return _mode(node, name)
        for kind, names in (("writes", WRITES), ("reads", READS), ("looks", LOOKS)):
            if name in names and _names_a_place(node, name, needs=names[name]):
                return kind
        return None

    def _is_stream(self, function: ast.expr) -> bool:
        value = function.value if isinstance(function, ast.Attribute) else None
        return isinstance(value, ast.Name) and value.id in self.opened[-1]


def _names_a_place(node: ast.Call, name: str, *, needs: bool) -> bool:
    if not needs:
        return isinstance(node.func, ast.Attribute)
    if not node.args:
        return any(k.arg in ("path", "filename", "fname", "dir", "where") for k in node.keywords)
    if name in ("rename", "replace"):
        # Texts and clocks have a `replace`, tables a `rename`; a path's takes one path.
        return (
            isinstance(node.func, ast.Attribute)
            and len(node.args) == 1 + (_name(node.func)[1] == "os")
            and not isinstance(node.args[0], ast.Constant | ast.Dict | ast.JoinedStr)
        )
    return not isinstance(node.args[0], ast.List)


def _mode(node: ast.Call, name: str) -> str:
    place = 0 if name == "open" and isinstance(node.func, ast.Attribute) else 1
    if _name(node.func)[1] == "os":
        flags = ast.dump(node.args[1]) if len(node.args) > 1 else ""
        return "reads" if "O_RDONLY" in flags and "O_CREAT" not in flags else "writes"
    given = [k.value for k in node.keywords if k.arg == "mode"]
    mode = given[0] if given else node.args[place] if len(node.args) > place else ast.Constant("r")
    if isinstance(mode, ast.Constant) and isinstance(mode.value, str):
        return "writes" if set(mode.value) & set("wax+") else "reads"
    # A mode that is worked out may be any.
    return "writes" if name != "open" or isinstance(node.func, ast.Name) else "reads"


def _name(function: ast.expr) -> tuple[str, str]:
    """The name that is called, and what stands before the dot where that is a name."""
    if isinstance(function, ast.Attribute):
        value = function.value
        return function.attr, value.id if isinstance(value, ast.Name) else ""
    return (function.id if isinstance(function, ast.Name) else ""), ""


def _of_package(function: ast.expr) -> bool:
    """Whether it is about a file that came with a package: `(resources.files(...) / x).read_text`."""
    return "resources" in {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}


def _is_stream(annotation: ast.expr | None) -> bool:
    if annotation is None:
        return False
    names = {n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(annotation) if isinstance(n, ast.Attribute)}
    return bool(names & set(STREAMS))


def _opened_in(function: ast.AST, room: set[str]) -> set[str]:
    """Names that this function gives to what the room, or memory, opened."""
    names: set[str] = set()
    pairs: list[tuple[ast.expr | None, ast.expr]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.withitem):
            pairs.append((node.optional_vars, node.context_expr))
        elif isinstance(node, ast.Assign):
            pairs.append((node.targets[0], node.value))
    for target, value in pairs:
        if not isinstance(target, ast.Name) or not isinstance(value, ast.Call):
            continue
        name, module = _name(value.func)
        if module in room or name in (*MEMORY, *WITHIN):
            names.add(target.id)
    return names
