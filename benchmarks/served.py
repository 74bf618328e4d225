"""A server in a process of its own, and what it holds: memory, descriptors, tasks, answers under way."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

__all__ = ["Served"]

PATIENCE_S = 120.0
TICK_S = 0.1
NUM_CALM = 3  # looks in a row that must find the same


class Served:
    """`localgpt serve` on a free port.

    Args:
        folder: of its state.
        options: further ones of the command.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCALGPT_")}
        command = [sys.executable, "-m", "localgpt", "serve", "--port", "0", "--log-level", "warning"]
        self._process = subprocess.Popen(
            [*command, "--data-dir", str(folder / "home"), *options],
            env=kept,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"listens on (\S+)", line):
                self.url = found.group(1)
                return
        raise RuntimeError(f"the server ended with status {self._process.wait()} before it listened")

    async def ready(self) -> None:
        """Wait until the models are loaded."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self._get("/ready")).status_code != 200:
                await asyncio.sleep(TICK_S)

    async def status(self) -> dict[str, Any]:
        """`GET /v1/status`."""
        status: dict[str, Any] = (await self._get("/v1/status")).json()
        return status

    async def held(self) -> dict[str, int]:
        """Answers under way, tasks of the event loop, sockets, and other open descriptors."""
        status = await self.status()
        metrics = (await self._get("/metrics")).text
        tasks = re.search(r"^localgpt_asyncio_tasks ([\d.]+)$", metrics, re.MULTILINE)
        assert tasks is not None
        links = self._descriptors()
        num_sockets = sum(link.startswith("socket:") for link in links)
        return {
            "answers": status["num_running"] + status["num_waiting"],
            "tasks": int(float(tasks.group(1))),
            "sockets": num_sockets,
            "other_descriptors": len(links) - num_sockets,
        }

    async def held_at_rest(self) -> dict[str, int]:
        """What is held once it no longer changes: a closed connection is noticed a moment later."""
        calm, last = 0, await self.held()
        async with asyncio.timeout(PATIENCE_S):
            while calm < NUM_CALM:
                await asyncio.sleep(TICK_S)
                now = await self.held()
                calm = calm + 1 if now == last and now["answers"] == 0 else 0
                last = now
        return last

    def _processes(self) -> list[Path]:
        """The server's process and those it started: that of the models, where they have their own."""
        own = Path(f"/proc/{self._process.pid}")
        children = (own / f"task/{self._process.pid}/children").read_text(encoding="ascii").split()
        return [own, *(Path("/proc", child) for child in children)]

    def _descriptors(self) -> list[str]:
        """What is open, by name; what is closed while it is looked at is left out."""
        links = []
        for path in [path for process in self._processes() for path in (process / "fd").iterdir()]:
            with suppress(FileNotFoundError):
                links.append(str(path.readlink()))
        return links

    def resident_mib(self) -> float:
        """Memory of the processes now; pages that they share are counted in each."""
        texts = [(process / "status").read_text(encoding="ascii") for process in self._processes()]
        found = [re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE) for text in texts]
        return sum(int(one.group(1)) for one in found if one) / 1024

    def processor_s(self) -> float:
        """Processor time of the processes so far."""
        fields = [(process / "stat").read_text(encoding="ascii") for process in self._processes()]
        ticks = [sum(map(int, text.rpartition(")")[2].split()[11:13])) for text in fields]  # user and system
        return sum(ticks) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """End it as a service manager does; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End it in any case."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    async def _get(self, path: str) -> httpx.Response:
        # A connection of its own each time, closed at once: it must not be among what is counted.
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            return await client.get(self.url + path, headers={"connection": "close"})
