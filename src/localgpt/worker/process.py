"""The models' process as its parent sees it: started, asked for its plan, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from localgpt.errors import BackendError
from localgpt.settings import Settings
from localgpt.worker.frames import HEADER_BYTES, BrokenFrameError, Frame, Kind, decode_header, encode_frame
from localgpt.worker.logs import LogLines, pass_on
from localgpt.worker.messages import Plan, decode_error, decode_plan, encode_settings

__all__ = ["PROGRAM", "ModelProcess", "why_not_here"]

PROGRAM: Final = Path(__file__).with_name("__main__.py")
# How threads of OpenMP wait for one another. By default they spin, and where another program takes a core (a
# browser that draws the answer, the gateway itself), those that spin keep from it the one they wait for.
_WAITING: Final = {"OMP_WAIT_POLICY": "passive"}
_HUB_TOKENS: Final = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})  # the gateway pulls
_WAIT_VARIABLES: Final = frozenset({"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"})
_REAP_S: Final = 2.0  # of a process that was killed


def why_not_here() -> str | None:
    """Why the models cannot have a process of their own on this system; None where they can."""
    if sys.platform == "win32":
        return "Windows hands no sockets to new processes"
    if not sys.executable or getattr(sys, "frozen", False):
        return "there is no Python program to start it with"
    return None


class ModelProcess:
    """One life of it. It ends with its parent, however that ends.

    Args:
        settings: what it shall load.
        program: what it runs.
        environment: further variables, which win over those of this process.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        program: Path = PROGRAM,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        greeting = encode_frame(Frame(Kind.SETTINGS, 0, encode_settings(settings)))
        with contextlib.ExitStack() as on_failure:
            self.socket, theirs = socket.socketpair()
            on_failure.callback(self.socket.close)
            with theirs:
                arguments = [str(program), str(theirs.fileno()), str(os.getpid())]
                self._child = subprocess.Popen(
                    # -P: the folder of the program is no place to import from
                    [sys.executable, "-P", *_warning_options(), *arguments],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=_environment(settings) | dict(environment or {}),
                    start_new_session=True,  # a terminal's Ctrl-C is for the parent, who decides
                )
            on_failure.pop_all()
        assert self._child.stderr is not None
        self._stderr = self._child.stderr
        with contextlib.suppress(OSError):  # it may have ended at once; that is told where its plan is read
            self.socket.sendall(greeting)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._child.pid

    def wait_for_plan(self) -> Plan:
        """Block until it has settled what to load where.

        Raises:
            LocalGPTError: why it cannot load anything; then it has ended.
        """
        try:
            frame = self._read_frame()
            if frame.kind is Kind.PLAN:
                return decode_plan(frame.body)
            if frame.kind is not Kind.FAILED:
                raise BrokenFrameError(f"a frame {frame.kind.name} came from the models, expected a plan")
            raise decode_error(frame.body)
        except EOFError:
            how = self.end(grace_s=_REAP_S)
            raise BackendError(f"the model process {how} before it could load anything") from None
        except BaseException:
            self.end()
            raise

    async def listen_to_log(self) -> tuple[LogLines, asyncio.BaseTransport]:
        """Log what it says from now on; the transport is the caller's to close."""
        transport, lines = await asyncio.get_running_loop().connect_read_pipe(LogLines, self._stderr)
        return lines, transport

    def end(self, *, grace_s: float = 0.0) -> str:
        """Wait for its end, and make one when it takes longer than that; may be called twice.

        Returns:
            How it ended, in words that follow "the model process".
        """
        try:
            status = self._child.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            try:
                status = self._child.wait(_REAP_S)
            except subprocess.TimeoutExpired:  # it hangs in the kernel, and goes when that lets it
                return "does not end"
        self.socket.close()
        if not self._stderr.closed:
            for line in self._said():
                pass_on(line)
            self._stderr.close()
        return _told(status)

    def _said(self) -> list[bytes]:
        """What it wrote to standard error and nobody has read; its own children may still hold the pipe."""
        os.set_blocking(self._stderr.fileno(), False)
        return (self._stderr.read() or b"").splitlines()

    def _read_frame(self) -> Frame:
        kind, number, length = decode_header(self._read_exactly(HEADER_BYTES))
        return Frame(kind, number, self._read_exactly(length))

    def _read_exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            try:
                piece = self.socket.recv(length - len(data))
            except ConnectionError:
                piece = b""
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)


def _warning_options() -> list[str]:
    """Options that make the child hear the warnings that are heard here."""
    return [f"-W{option}" for option in sys.warnoptions]


def _environment(settings: Settings) -> dict[str, str]:
    """This process's variables without those it does not need.

    Left out are our own, which come as settings and name what opens the store, and the keys of other servers.
    """
    keys = {upstream.api_key_env for upstream in settings.upstreams.values()} | _HUB_TOKENS
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in keys and not name.startswith("LOCALGPT_")
    }
    if not _WAIT_VARIABLES & kept.keys():
        kept |= _WAITING
    return kept


def _told(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = f" ({signal.Signals(-status).name})"
    except ValueError:
        name = ""
    why = ", perhaps because the system had no memory left" if -status == signal.SIGKILL else ""
    return f"was ended by signal {-status}{name}{why}"
