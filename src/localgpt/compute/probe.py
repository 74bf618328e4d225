"""Asking what may crash or hang: a child process with a time limit, whose last line is a JSON object."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["CHILDREN", "probe"]

CHILDREN = Path(__file__).parent / "children"
_REAP_S = 1.0


def probe(arguments: Sequence[str], *, what: str, limit_s: float) -> dict[str, Any]:
    """Run Python with these arguments and read the JSON object it prints; never fails.

    Args:
        arguments: a script's path, or "-m" and a module, and what follows.
        what: what is asked, for the message when there is no answer.
        limit_s: then the child is killed.

    Returns:
        The object; one with the key "failure", a line of text, when there was no answer.
    """
    try:
        # -P: the folder of the script is no place to import from
        child = subprocess.Popen(
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return {"failure": f"{what} could not be asked ({error})"}
    try:
        printed, complaint = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        with suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel cannot even be killed
            child.communicate(timeout=_REAP_S)
        return {"failure": f"{what} did not answer within {limit_s:g} s"}
    return _read(printed, complaint, child.returncode, what)


def _read(printed: str, complaint: str, status: int, what: str) -> dict[str, Any]:
    if status < 0:
        return {"failure": f"{what} crashed (signal {-status})"}
    with suppress(ValueError, IndexError):
        answer = json.loads(printed.splitlines()[-1])
        if isinstance(answer, dict):
            return answer
    reason = (complaint.strip().splitlines() or [f"exit status {status}"])[-1]
    return {"failure": f"{what} failed ({reason})"}
