"""Commands that run side by side, each with a log of its own; the first that fails stops the wait for all."""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

__all__ = ["StepFailedError", "Steps"]

_GRACE_S = 10.0  # between asking a step to end and ending it


class StepFailedError(Exception):
    """A step that others need ended with an error, or left nothing behind; the text names its log."""


class Steps:
    """Named commands below one folder.

    Args:
        out: where `NAME.log` goes.
        variables: set in every step's environment.
    """

    def __init__(self, out: Path, **variables: str) -> None:
        self.out, self._variables = out, variables
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str], *, out: Path | None = None, **variables: str) -> None:
        """Start a command in the background.

        Args:
            name: of the step.
            command: program and arguments.
            out: where its standard output goes; absent means into the log.
            variables: set in its environment, above those of this process and of all steps.
        """
        environment = {**os.environ, **self._variables, **variables}
        with (self.out / f"{name}.log").open("wb") as log:
            if out is None:
                process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
            else:
                with out.open("wb") as answer:
                    process = subprocess.Popen(command, stdout=answer, stderr=log, env=environment)
        self._running[name] = process

    def finish(self, *names: str, until: float = math.inf, bearing: Collection[str] = ()) -> bool:
        """Wait for steps to end, or for a moment to come.

        Args:
            names: of steps; none only waits.
            until: seconds since the epoch.
            bearing: steps whose failure does not end the wait (see `has_failed`).

        Returns:
            Whether all named steps are over.

        Raises:
            StepFailedError: any other step has failed, awaited or not.
        """
        while True:
            self._check(bearing)
            if names and all(self._running[name].poll() is not None for name in names):
                return True
            if time.time() >= until:
                return not names
            time.sleep(0.2)

    def has_failed(self, name: str) -> bool:
        """Whether a step that was started is over, and not well."""
        return bool(self._running[name].poll())

    def settle(self, *names: str, until: float) -> dict[str, str]:
        """Wait for steps whose failure others can bear; those that are late are ended.

        Returns:
            What went wrong, by name; empty where all ended well in time.
        """
        while time.time() < until and any(self._running[name].poll() is None for name in names):
            time.sleep(0.2)
        problems = {}
        for name in names:
            status = self._running[name].poll()
            if status is None:
                problems[name] = f"{name} was not over in time, and was ended (see {self.out / name}.log)"
            elif status:
                problems[name] = self._failure(name, status)
            self.end(name)
        return problems

    def wait_for(self, path: Path | None) -> None:
        """Wait until a file is there, while no step fails; no file, no wait."""
        while path is not None and not path.exists():
            self._check()
            time.sleep(0.2)

    def end(self, name: str) -> None:
        """End a step that still runs, and forget it."""
        process = self._running.pop(name, None)
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end_all(self) -> None:
        """End whatever still runs."""
        for name in list(self._running):
            self.end(name)

    def _check(self, bearing: Collection[str] = ()) -> None:
        for name, process in self._running.items():
            if name not in bearing and (status := process.poll()):
                raise StepFailedError(self._failure(name, status))

    def _failure(self, name: str, status: int) -> str:
        log = self.out / f"{name}.log"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{name} ended with status {status}: {lines[-1] if lines else 'no output'} (see {log})"
