"""A server in a process of its own, for tests that ask it over HTTP."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

PATIENCE_S = 60  # of a busy machine; a hang fails the test


class Server:
    """A server in a process of its own, and what it said while it started."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "listens on" in line:
                break
        else:
            raise AssertionError(self.process.communicate()[1])
        self.url = "http://127.0.0.1:" + re.findall(r":(\d+)$", self.said.strip())[0]

    def ask(self, key: str | None = None) -> dict[str, object]:
        body = {
            "model": "local/multimodal-base",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 3,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions", json.dumps(body).encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            answer = json.load(reply)
        assert isinstance(answer, dict)
        return answer

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Exit status, and what it wrote to standard error."""
        self.process.send_signal(number)
        err = self.process.communicate(timeout=PATIENCE_S)[1]
        return self.process.returncode, err
