"""Public names are documented, and so are the two commands, the version and every link."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import localgpt
from localgpt.cli import main as cli
from localgpt.cli import reference
from recipes.registry import RECIPES
from tests.law.source import ROOT, Module, package_modules, tracked_files

READMES = ("README.md", "README.zh-CN.md")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("module", package_modules(), ids=lambda module: module.name)
def test_public_names_have_docstrings(module: Module) -> None:
    bare = [] if ast.get_docstring(module.tree) else ["the module itself"]
    bare += [name for name, node in public_names(module.tree, "") if not ast.get_docstring(node)]
    assert not bare, f"{module.where}: no docstring on {', '.join(bare)}"


Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_names(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Documented]]:
    """Public classes and functions with the methods of public classes; overrides are explained elsewhere."""
    for child in node.body:
        if not isinstance(child, Documented) or child.name.startswith("_"):
            continue
        marks = {ast.unparse(mark).rpartition(".")[2] for mark in child.decorator_list}
        if marks & {"overload", "override", "setter"}:
            continue
        yield prefix + child.name, child
        if isinstance(child, ast.ClassDef):
            yield from public_names(child, f"{child.name}.")


@pytest.mark.parametrize("name", READMES)
def test_the_two_commands_open_the_readme(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    first_block = text.split("```")[1]
    assert "make serve" in first_block and "make test" in first_block
    assert len(text[: text.index("```")].splitlines()) <= 15, "something stands before the two commands"


@pytest.mark.parametrize("name", READMES)
def test_python_in_the_readme_is_python(name: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        compile(block, name, "exec")


@pytest.mark.parametrize("name", READMES)
def test_figures_stand_between_their_marks(name: str) -> None:
    """Tables of figures are generated; nobody writes a number there by hand."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.count("<!-- figures -->") == text.count("<!-- /figures -->") == 1


def test_the_changelog_has_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(localgpt.__version__)}\]", text, re.MULTILINE)


@pytest.mark.parametrize(
    "path",
    [path for path in tracked_files() if path.suffix == ".md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [
        target for target in LINK.findall(text) if "://" not in target and not target.startswith("mailto:")
    ]
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing, f"{path.relative_to(ROOT)} links to nothing: {', '.join(missing)}"


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def localgpt_lines() -> list[str]:
    """Every `localgpt COMMAND ...` that stands in the code of a page, up to a comment."""
    lines = []
    for path in tracked_files():
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            code = re.findall(r"```sh\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
            lines += [
                line for block in code for line in re.findall(r"^localgpt [a-z][^#\n]*", block, re.MULTILINE)
            ]
    return lines


def test_commands_in_the_docs_exist() -> None:
    """Commands and options named in a page are there, and every command is explained."""
    group = get_command(cli.app)
    commands: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    named = set()
    for line in localgpt_lines():
        name, *rest = line.split()[1:]
        assert name in commands, line
        named.add(name)
        command = commands[name]
        if rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest[0]]
        known = {option for param in command.params for option in param.opts} | {"--help", "--debug"}
        options = {option.replace("_", "-") for option in re.findall(r"--[a-z][a-z_-]*", line)}
        assert options <= known, line
    assert {"chat", "ask", "describe"} <= named
    assert not [name for name, command in commands.items() if not command.help]


def test_the_page_of_commands_is_what_they_say() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference.markdown(), "python -m localgpt.cli.reference > docs/cli.md writes it anew"


def test_recipes_in_the_help_are_those_there_are() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    listed = re.search(r"^\* `RECIPE`: ([^.]*)\.$", page, re.MULTILINE)
    assert listed and set(re.split(r", | or ", " ".join(listed.group(1).split()))) == set(RECIPES)
