"""Standard output for the answer, standard error for everything else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["note", "print_json", "progress", "write_text"]

# What a terminal would obey: escapes and the like. Tabs and line ends stay.
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def write_text(text: str, *, end: str = "\n") -> None:
    """Write a piece of an answer at once; a terminal gets it without control characters."""
    if sys.stdout.isatty():
        text = text.translate(_CONTROLS)
    sys.stdout.write(text + end)
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Write an answer as one line of JSON."""
    write_text(json.dumps(value, ensure_ascii=False))


def note(text: str, *, below: bool = False) -> None:
    """Tell something beside the answer, as one line on standard error.

    Args:
        text: what to tell.
        below: an answer stands there without an end of line; on one terminal the note goes below it.
    """
    if below and sys.stdout.isatty() and sys.stderr.isatty():
        sys.stderr.write("\n")
    sys.stderr.write("localgpt: " + " ".join(text.split()).translate(_CONTROLS) + "\n")
    sys.stderr.flush()


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show on a terminal's standard error that work goes on; elsewhere say nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
