"""Public names are documented, and so are the two commands, the version and every link."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import localgpt
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


def test_commands_in_the_docs_exist() -> None:
    """Every `localgpt COMMAND` in a code block of a page is a command, and every command is explained."""
    cli = pytest.importorskip("localgpt.cli.main")
    from typer.main import get_command

    group = get_command(cli.app)
    commands = set(group.list_commands(None))  # type: ignore[attr-defined]
    named = set()
    for path in tracked_files():
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            code = re.findall(r"```sh\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
            named |= {
                name for block in code for name in re.findall(r"^localgpt ([a-z]+)", block, re.MULTILINE)
            }
    assert named - {"train"} <= commands
    assert "chat" in named
    assert not [name for name in commands if not group.get_command(None, name).help]  # type: ignore[attr-defined]
