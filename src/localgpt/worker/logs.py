"""The log of the models' process: lines of JSON on its standard error, which the gateway logs as its own.

What else comes there (a library's complaint, the trace of a crash) is passed on as it is, a line at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Final

__all__ = ["LogLines", "log_lines_to_stderr", "pass_on"]

logger = logging.getLogger(__name__)
_MAX_LINE_BYTES: Final = 64 * 1024


class _AsLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelno, "name": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_lines_to_stderr(level: str) -> None:
    """Send this process's log, warnings included, to standard error in the form that `pass_on` reads."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsLine())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def pass_on(line: bytes) -> None:
    """Log a line of the other process here."""
    text = line.decode("utf-8", "replace").rstrip()
    if not text:
        return
    try:
        said = json.loads(text)
        name, level, message = said["name"], said["level"], said["message"]
        is_record = isinstance(name, str) and isinstance(level, int)
    except (ValueError, TypeError, KeyError):
        is_record = False
    if not is_record:
        logger.warning("the model process says: %s", text)
        return
    extra = {"exception": str(said["exception"])} if "exception" in said else None
    logging.getLogger(name).log(level, "%s", message, extra=extra)


class LogLines(asyncio.Protocol):
    """Passes on what comes through a pipe, line by line."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            pass_on(line)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        pass_on(self._rest)
        self._is_over.set()

    async def over(self) -> None:
        """Wait for the end."""
        await self._is_over.wait()
