"""Ctrl-C: at once while models load, with care while there is something to put away.

A KeyboardInterrupt raised while a large library is imported can be swallowed by it, or leave it half
imported. So the process simply ends there; commands that hold something say so with `graceful_interrupts`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["INTERRUPTED", "abrupt_interrupts", "graceful_interrupts"]

INTERRUPTED = 130  # exit status


def abrupt_interrupts() -> None:
    """Let Ctrl-C end the process from now on."""
    signal.signal(signal.SIGINT, _end)


@contextmanager
def graceful_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in this block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous or signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # a spinner hides the cursor
        sys.stderr.flush()
    os._exit(INTERRUPTED)
