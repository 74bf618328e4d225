"""The import law: who may import whom, no cycles, and nobody imports the recipes."""

from __future__ import annotations

from itertools import chain

import pytest

from tests.law.source import PACKAGE, Module, imports, package_modules

BASE = frozenset({"errors", "picture_types", "quiet", "units"})
NETWORK = BASE | {"nn", "media", "models"}
SEAM = frozenset({"tasks"})  # plain dataclasses and a protocol: imports nothing but errors and units
FACE = BASE | SEAM | {"settings", "compliance", "sandbox"}
LOCAL = NETWORK | SEAM | {"sampling", "compute", "checkpoints", "engine", "runtime", "sandbox", "compliance"}

# What each part of the package may import, itself always included. A part that is not here breaks the law:
# a new one is entered together with the decision who may use it.
LAW: dict[str, frozenset[str]] = {
    "": frozenset({"pipeline"}),  # localgpt/__init__.py: hands out the facade, lazily
    "errors": frozenset(),
    "picture_types": frozenset(),
    "quiet": frozenset(),
    "units": frozenset(),
    "settings": BASE | SEAM,
    "tasks": BASE,
    "nn": BASE,
    "media": BASE,
    "models": BASE | {"nn", "media"},
    "sampling": NETWORK | SEAM,
    "training": NETWORK | {"sampling"},
    "checkpoints": NETWORK | SEAM,
    "compute": NETWORK | {"checkpoints"},
    "engine": NETWORK | SEAM | {"sampling", "compute", "checkpoints"},
    "runtime": LOCAL - {"runtime"},
    "pipeline": LOCAL | {"settings"},
    "cluster": LOCAL | {"settings"},
    "sandbox": BASE,
    "compliance": BASE,
    "worker": LOCAL | {"settings"},  # loads none of it before it is the models' process
    "apps": FACE,
    "server": FACE,
    "cli": LOCAL | FACE | {"pipeline", "server", "cluster", "worker", "apps", "training"},
    "__main__": frozenset({"cli"}),
}
# The functions of the server that may build a local service and hand it over.
BUILDERS = {"start_api", "serve", "_serve", "_models"}
MODULES = frozenset(module.name for module in package_modules())


def part_of(name: str) -> str:
    """`localgpt.nn.norm` is of the part `nn`; `localgpt` itself of the part ``."""
    return name.partition(".")[2].partition(".")[0]


@pytest.mark.parametrize("module", package_modules(), ids=lambda module: module.name)
def test_imports_only_what_the_law_allows(module: Module) -> None:
    own = part_of(module.name)
    assert own in LAW, f"{module.where}: the part {own!r} is not in the import law yet"
    broken = []
    for found in imports(module, MODULES):
        if found.target.split(".")[0] == "recipes":
            broken.append(
                f"line {found.line} imports {found.target}; recipes are loaded by name, dynamically"
            )
        if found.target.split(".")[0] != PACKAGE:
            continue
        part = part_of(found.target)
        allowed = LAW[own] | {own}
        if own == "server" and found.function in BUILDERS:
            allowed |= LOCAL | {"worker"}
        if part not in allowed:
            broken.append(f"line {found.line} imports {found.target}; {own or PACKAGE} may not use {part}")
    assert not broken, f"{module.where}: " + "; ".join(broken)


def test_the_law_has_no_way_round() -> None:
    """Nothing that a part may use may, over any number of steps, use that part."""

    def reach(part: str) -> set[str]:
        seen: set[str] = set()
        todo = [part]
        while todo:
            for other in LAW[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        return seen

    assert not [part for part in LAW if part in reach(part)]
    assert "engine" not in reach("training") and "training" not in reach("engine")
    assert not reach("server") & {"runtime", "engine", "models", "nn", "media"}


def test_no_import_cycle() -> None:
    """Imports at module level form no cycle; re-exports through a package's __init__ count."""
    edges = {
        module.name: {
            found.target
            for found in imports(module, MODULES)
            if found.function is None and found.target in MODULES and found.target != module.name
        }
        for module in package_modules()
    }
    assert not cycle(edges), "modules import each other in a circle: " + " -> ".join(cycle(edges))


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """One cycle of a directed graph, or an empty list: depth-first search with the path on the stack."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        found = next(filter(None, (visit(other, [*path, node]) for other in sorted(edges[node]))), [])
        done.add(node)
        return found

    return next(filter(None, (visit(node, []) for node in sorted(edges))), [])


def test_the_cycle_finder_finds_cycles() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_recipes_are_imported_by_nobody() -> None:
    dynamic = [
        module.where
        for module in package_modules()
        for found in imports(module, MODULES)
        if found.target.split(".")[0] in {"recipes", "benchmarks", "tests"}
    ]
    assert not dynamic
    assert set(chain.from_iterable(LAW.values())) <= set(LAW)
