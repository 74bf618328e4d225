"""Listening and stopping: one bound socket, one uvicorn, an end within two seconds even with open streams."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from localgpt.errors import ConfigError

__all__ = ["Server", "address_of", "bind", "run_server"]

_BACKLOG = 128
_DRAIN_S = 1


class Server(uvicorn.Server):
    """A uvicorn that ends open streams when it is told to stop, and says when it listens."""

    def __init__(self, app: FastAPI, *, on_listening: Callable[[], None] | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="auto",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,  # the application writes its own line, without query strings
                server_header=False,
                timeout_graceful_shutdown=_DRAIN_S,
                timeout_keep_alive=30,
            )
        )
        self._app = app
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self._on_listening is not None and self.started:
            self._on_listening()

    def stop(self) -> None:
        """Stop soon, even before the start; for any thread."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the streams, then stop as uvicorn does."""
        self._app.state.gateway.stopping.set()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is known before any model is loaded.

    Args:
        host: a name or an IPv4 or IPv6 address.
        port: 0 lets the system choose.

    Raises:
        ConfigError: the port is in use or not allowed, or the address is not this machine's.
    """
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        if listener is not None:
            listener.close()
        raise ConfigError(_bind_message(host, port, error)) from None
    return listener


def _bind_message(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"port {port} on {host} is in use, perhaps by another LocalGPT; choose another port"
    if number == errno.EACCES:
        return f"port {port} needs more rights than this user has; choose one above 1023"
    return f"cannot listen on {host}:{port} ({error}); use 127.0.0.1 or an address of this machine"


def address_of(listener: socket.socket) -> str:
    """The URL to open: the bound address, with this machine's own name where it is "every address"."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(server: Server, listener: socket.socket) -> bool:
    """Serve until Ctrl-C, SIGTERM or `server.stop`; returns normally after each.

    Args:
        server: not started yet.
        listener: made by `bind`; closed at the end.

    Returns:
        Whether Ctrl-C ended it.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Once stopped, uvicorn raises SIGTERM again for whoever handled it before; by default that is death.
    previous = signal.signal(signal.SIGTERM, _do_nothing) if in_main_thread else None
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return True
    finally:
        listener.close()
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
    return False


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal that has done its work."""
