"""Nothing happens at import, and light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.law.source import ROOT, Module, package_modules

HEAVY = ("torch", "PIL", "av", "transformers", "diffusers")
LIGHT_PARTS = (
    "errors",
    "picture_types",
    "quiet",
    "units",
    "settings",
    "tasks",
    "server",
    "worker",
    "cli",
    "sandbox",
    "compliance",
    "apps",
)
LIGHT_PACKAGES = ("checkpoints.hub", "checkpoints.catalogue", "runtime.upstream", "runtime.keeping")

# Other libraries may do things when they are imported; they are loaded before the watch begins.
WATCHED_IMPORT = """
import importlib, sys
for name in {outside!r}:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
seen = []
def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event in {events!r}:
        seen.append(f"{{event}} {{args[:2]}}")
sys.addaudithook(watch)
for name in {modules!r}:
    importlib.import_module(name)
assert not seen, seen
"""
EVENTS = (
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.putenv",
    "os.system",
    "shutil.rmtree",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "sqlite3.connect",
    "subprocess.Popen",
    "tempfile.mkdtemp",
    "tempfile.mkstemp",
)


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not done.stdout and not done.stderr, "an import printed: " + done.stdout + done.stderr


def test_importing_any_module_does_nothing() -> None:
    outside = sorted({name for module in package_modules() for name in outside_imports(module.tree)})
    modules = [module.name for module in package_modules() if not module.name.endswith("__main__")]
    run(WATCHED_IMPORT.format(outside=outside, events=EVENTS, modules=modules))


def outside_imports(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name for name in names if name.split(".")[0] not in {"localgpt", "recipes"}}


@pytest.mark.parametrize("part", ["", *LIGHT_PARTS, *LIGHT_PACKAGES])
def test_light_parts_leave_heavy_libraries_out(part: str) -> None:
    prefix = f"localgpt.{part}" if part else "localgpt"
    modules = [
        module.name
        for module in package_modules()
        if module.name == prefix or (part and module.name.startswith(prefix + "."))
    ]
    modules = [name for name in modules if not name.endswith("__main__")]
    if not modules:
        pytest.skip(f"{prefix} does not exist yet")
    run(
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\nassert not heavy, heavy"
    )


@pytest.mark.parametrize("module", package_modules(), ids=lambda module: module.name)
def test_module_level_reads_no_environment_and_probes_no_device(module: Module) -> None:
    forbidden = ("os.environ", "os.getenv", "torch.cuda.", "Path.cwd", "Path.home", "logging.basicConfig")
    broken = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in module_level_calls(module.tree)
        if ast.unparse(node).startswith(forbidden)
    ]
    assert not broken, f"{module.where} does something at import: " + "; ".join(broken)


def module_level_calls(tree: ast.Module) -> list[ast.Call | ast.Subscript]:
    """Calls and look-ups that run when the module is imported, class bodies and defaults included."""
    found: list[ast.Call | ast.Subscript] = []
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            defaults = [*node.args.defaults, *(value for value in node.args.kw_defaults if value)]
            todo += [*defaults, *getattr(node, "decorator_list", [])]
            continue
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Call | ast.Subscript):
            found.append(node)
        todo += ast.iter_child_nodes(node)
    return found
