"""Listening and stopping: one bound socket, one uvicorn, and an end that is neither abrupt nor late.

SIGTERM drains: nothing new is let in and `/ready` says so, while answers under way get `settings.drain_s`.
Ctrl-C does not drain. Then open streams are told that the server stops, which takes less than two seconds. A
second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from localgpt.errors import ConfigError
from localgpt.server.gateway import Gateway
from localgpt.server.protocol import ConnectionLimits, GuardedProtocol, GuardedSocket
from localgpt.server.tls import Identity
from localgpt.units import MIB

__all__ = ["Server", "address_of", "bind", "run_server"]

_BACKLOG = 128
_LAST_WORDS_S = 1  # for streams to tell their clients that the server stops
_TICK_S = 0.05
_MAKING_TICKS = 3  # of the event loop: a connection's task begins, its protocol is made, its reading starts
_KEEP_ALIVE_S = 30
_MAX_DESCRIPTORS = 16_384  # asked of the system, which often grants 1,024 until it is asked for more
_MAX_MESSAGE_BYTES = 16 * MIB  # of a WebSocket; the wire allows 15 MiB of sound at once
_MAX_HEADER_BYTES = 64 * 1024  # of headers that are not whole yet; the application has its own, lower limit


class Server(uvicorn.Server):
    """A uvicorn that drains, ends open streams when it is told to stop, and says when it listens.

    Args:
        app: made by `create_app`.
        identity: certificate and key; None speaks plain HTTP.
        on_listening: called once requests are accepted.
    """

    def __init__(
        self,
        app: FastAPI,
        *,
        identity: Identity | None = None,
        on_listening: Callable[[], None] | None = None,
    ) -> None:
        self._gateway = cast("Gateway", app.state.gateway)
        settings = self._gateway.settings
        limits = ConnectionLimits(
            max_connections=settings.max_connections,
            read_timeout_s=settings.read_timeout_s,
            write_timeout_s=settings.write_timeout_s,
        )
        super().__init__(
            uvicorn.Config(
                app,
                http=cast("type[asyncio.Protocol]", partial(GuardedProtocol, limits=limits)),
                ws=cast("type[asyncio.Protocol]", partial(GuardedSocket, limits=limits)),
                ws_max_size=_MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,  # sound does not become smaller, and a bomb would become larger
                lifespan="on",
                log_config=None,
                access_log=False,  # the application writes its own line, without query strings
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
                timeout_graceful_shutdown=_LAST_WORDS_S,
                timeout_keep_alive=_KEEP_ALIVE_S,
                h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
                ssl_certfile=None if identity is None else identity.cert,
                ssl_keyfile=None if identity is None else identity.key,
            )
        )
        self._on_listening = on_listening
        self._drain_s = settings.drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self._on_listening is not None and self.started:
            self._on_listening()

    def stop(self) -> None:
        """Stop soon, even before the start; for any thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on the first signal, and at once on the second; Ctrl-C does not wait for answers."""
        if self.should_exit:
            self.force_exit = True
            logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what breaks off now does so on purpose
        if sig == signal.SIGINT:
            self._drain_s = 0.0
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, tell the streams, then stop as uvicorn does."""
        await self._drain()
        self._gateway.stopping.set()
        await self._stop_accepting()
        await super().shutdown(sockets)
        await self._break_off()

    async def _stop_accepting(self) -> None:
        """Accept nothing more, and let what was just accepted become a connection that hears of the end.

        Python forgets, and does not close, a connection that is made after its listener was closed.
        """
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError):  # event loops that do not wait for files (Windows)
            for server in self.servers:
                for listener in server.sockets:
                    loop.remove_reader(listener.fileno())
        for _ in range(_MAKING_TICKS):
            await asyncio.sleep(0)

    async def _break_off(self) -> None:
        """Close what is left, so that no socket outlives the event loop."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    async def _drain(self) -> None:
        """Let nobody in, and wait for the answers under way; a second signal ends the wait."""
        turns = self._gateway.turns
        turns.is_closed = True
        clock = asyncio.get_running_loop().time
        end = clock() + self._drain_s
        while not (turns.idle.is_set() or self.force_exit) and clock() < end:
            await asyncio.sleep(min(_TICK_S, self._drain_s))


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


def address_of(listener: socket.socket, *, scheme: str = "http") -> str:
    """The URL to open: the bound address, with this machine's own name where it is "every address"."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


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
    _ask_for_descriptors()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return True
    finally:
        listener.close()
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
    return False


def _ask_for_descriptors() -> None:
    """Let this process have as many connections as it may refuse in words, where the system lets it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_MAX_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal that has done its work."""
