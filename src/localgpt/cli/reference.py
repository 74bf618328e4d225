"""Writes docs/cli.md from the commands themselves: `python -m localgpt.cli.reference > docs/cli.md`.

Made of what the commands declare, not of printed help, which differs between versions of Typer.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

from typer.main import get_command

from localgpt.cli.main import app

__all__ = ["markdown"]

wrap = partial(
    textwrap.wrap, width=110, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
)
HEADER = """\
# The command line

Written by `python -m localgpt.cli.reference > docs/cli.md` from the commands themselves; a test compares.

The answer goes to standard output and everything else to standard error. A mistake is one line and exit
status 2, anything unexpected one line and 1 (`--debug`, or `LOCALGPT_DEBUG=1`, shows the details), no room or
a device that fails 3, Ctrl-C 130. Options may be written with underscores: `--max_length` is `--max-length`.
What is not given comes from the environment (`LOCALGPT_MODEL`, `LOCALGPT_DEVICE`, `LOCALGPT_PORT` ...), then
from the defaults.
"""


def markdown() -> str:
    """The page."""
    parts = [HEADER]
    for path, command in _commands(get_command(app), "localgpt"):
        parts.append(_section(path, command))
    return "\n".join(parts)


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, f"{path} {name}")


def _section(path: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    usage = " ".join(
        [path, *map(_usage, arguments), *(["[COMMAND]"] if hasattr(command, "commands") else [])]
    )
    lines = [
        "#" * (1 + len(path.split())) + f" {path}",
        "",
        f"`{usage}`",
        "",
        inspect.cleandoc(command.help),
        "",
    ]
    lines += [f"* `{_usage(param)}`: {param.help}" for param in arguments]
    lines += [f"* {_names(param)}: {param.help}{_default(param)}" for param in options]
    wrapped = (wrap(line) if line.startswith("* ") else [line] for line in lines)
    return "\n".join(chain.from_iterable(wrapped)).rstrip() + "\n"


def _usage(param: Any) -> str:
    name = (param.metavar or param.name).strip(".").upper()
    name = f"{name}..." if param.nargs == -1 else name
    return name if param.required else f"[{name}]"


def _names(param: Any) -> str:
    names = ", ".join(f"`{name}`" for name in param.opts)
    if param.is_flag:
        return names
    return f"{names} `{param.metavar}`"


def _default(param: Any) -> str:
    shown = param.default is not None and not param.is_flag and not param.required and param.show_default
    return f" Default: {param.default}." if shown else " Required." * param.required


if __name__ == "__main__":
    sys.stdout.write(markdown())
