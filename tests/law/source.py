"""What the law tests read: every Python module of the tree, parsed once."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
PACKAGE = "localgpt"


@dataclass(frozen=True)
class Module:
    """One parsed file."""

    name: str  # "localgpt.nn.norm"; a package's __init__ carries the package's name
    path: Path
    tree: ast.Module
    num_lines: int

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def where(self) -> str:
        return str(self.path.relative_to(ROOT))


@dataclass(frozen=True)
class Import:
    """One import of another module of the tree."""

    target: str  # the module meant: of `from localgpt.nn import norm` it is localgpt.nn.norm
    line: int
    function: str | None  # name of the enclosing function; None at module level


def parse(path: Path, *, base: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    parts = path.relative_to(base).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path, ast.parse(text, filename=str(path)), len(text.splitlines()))


@cache
def package_modules() -> tuple[Module, ...]:
    """Every module of the package."""
    return tuple(parse(path, base=SRC) for path in sorted((SRC / PACKAGE).rglob("*.py")))


@cache
def all_modules() -> tuple[Module, ...]:
    """Every Python file that is ours: package, recipes, benchmarks, tests and the build hook."""
    folders = [ROOT / name for name in ("recipes", "benchmarks", "tests")]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))] + sorted(ROOT.glob("*.py"))
    return package_modules() + tuple(parse(path, base=ROOT) for path in files)


def imports(module: Module, known: frozenset[str]) -> Iterator[Import]:
    """Imports of names below `localgpt` or `recipes`; what stands under TYPE_CHECKING is left out."""
    for node, function in _walk(module.tree, None):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, function)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(module, node)
            for alias in node.names:
                if (origin, alias.name) == (PACKAGE, "__version__"):
                    continue  # a constant every part may name
                inner = f"{origin}.{alias.name}"
                yield Import(inner if inner in known else origin, node.lineno, function)


def _walk(node: ast.AST, function: str | None) -> Iterator[tuple[ast.AST, str | None]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield other, function
                yield from _walk(other, function)
            continue
        inside = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = function or child.name
        yield child, inside
        yield from _walk(child, inside)


def _origin(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + (1 if module.is_package else 0)]
    return ".".join([*parts, *([node.module] if node.module else [])])


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files git tracks, or every file outside ignored folders where there is no git."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return tuple(ROOT / name for name in sorted(names) if name and (ROOT / name).is_file())
    skipped = {".git", ".venv", "node_modules", "__pycache__", "dist", "build", "static"}
    return tuple(
        path
        for path in sorted(ROOT.rglob("*"))
        if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)
    )
