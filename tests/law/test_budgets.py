"""Budgets: a file near 400 lines, a function near 40, six parameters before an options dataclass.

Tests are read one by one, so a file of them only has to stay below the hard limit.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.law.source import ROOT, Module, all_modules, tracked_files

SOFT_LINES, HARD_LINES = 400, 700
HARD_FUNCTION_LINES = 100
MAX_PARAMETERS = 6  # positional ones; keyword-only options are counted by the reader

# Files above 400 lines, each with its reason. Above 700 there is no reason.
LONG_FILES = {
    "recipes/scenes/questions.py": "one short maker for each kind of question, read side by side",
    "recipes/scenes/wordings.py": "all wordings of scene questions, training beside evaluation",
    "recipes/scenes/vocabulary.py": "one table of words; splitting it would hide that",
}


@pytest.mark.parametrize("module", all_modules(), ids=lambda module: module.where)
def test_budgets(module: Module) -> None:
    is_excused = module.where in LONG_FILES or module.where.startswith("tests/")
    limit = HARD_LINES if is_excused else SOFT_LINES
    broken = []
    if module.num_lines > limit:
        broken.append(f"{module.num_lines} lines, at most {limit} (or a reason in LONG_FILES)")
    for node in functions(module.tree):
        num_lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if num_lines > HARD_FUNCTION_LINES:
            broken.append(f"{node.name}: {num_lines} lines, at most {HARD_FUNCTION_LINES}")
        if num_positional(node) > MAX_PARAMETERS and not (is_command(module) or is_kernel(node)):
            broken.append(
                f"{node.name}: {num_positional(node)} positional parameters, at most {MAX_PARAMETERS}"
            )
    assert not broken, f"{module.where}: " + "; ".join(broken)


def test_page_files_stay_small() -> None:
    """TypeScript only: a style sheet of one declaration a line is long and still easy to read."""
    long = {
        str(path.relative_to(ROOT)): num_lines
        for path in tracked_files()
        if path.suffix in {".ts", ".tsx"}
        and (num_lines := len(path.read_text(encoding="utf-8").splitlines())) > SOFT_LINES
    }
    assert not long


def test_exceptions_are_still_needed() -> None:
    lines = {module.where: module.num_lines for module in all_modules()}
    assert not [name for name in LONG_FILES if lines.get(name, 0) <= SOFT_LINES]


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def num_positional(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len([name for name in names if name not in {"self", "cls"}])


def is_command(module: Module) -> bool:
    """In a command line module a parameter is an option of the command: its number is the command's."""
    return module.name.startswith("localgpt.cli.")


def is_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A kernel of Triton is launched with pointers, sizes and constants, and knows no dataclasses."""
    return any(ast.unparse(mark) in {"jit", "triton.jit"} for mark in node.decorator_list)
