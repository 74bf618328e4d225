"""Asking a hub over HTTP: one place for tries, waits, redirects and what each refusal means."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from localgpt import __version__
from localgpt.checkpoints.hub.address import Hub, split_quant
from localgpt.errors import (
    CancelledRequestError,
    CheckpointError,
    GatedModelError,
    HubError,
    LocalGPTError,
    UnknownModelError,
)

__all__ = ["Attempts", "HubClient", "PassingTroubleError", "Patience", "RangesIgnoredError", "Stop"]

_PASSING = (408, 425, 429, 500, 502, 503, 504)
_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Stop(threading.Event):
    """An event that also calls whoever has to be interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Callable[[], None]] = []

    def set(self) -> None:
        """Let everything end, also what waits for the hub."""
        super().set()
        for call in list(self._calls):
            call()

    def calls(self, call: Callable[[], None]) -> None:
        """Have a function called when it is set."""
        self._calls.append(call)

    def calls_no_more(self, call: Callable[[], None]) -> None:
        """Forget a function."""
        self._calls.remove(call)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a hub that does not answer is waited for."""

    max_tries: int = 5  # in a row without one new byte
    first_wait_s: float = 1.0  # doubled each time
    longest_wait_s: float = 60.0  # a hub that asks for a longer one ends the pull
    connect_s: float = 10.0
    read_s: float = 30.0


class PassingTroubleError(HubError):
    """Something that another try may well mend; `retry_after_s` is what the hub asks for."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RangesIgnoredError(HubError):
    """The hub sends whole files whatever is asked for."""


class Attempts:
    """Counts tries that brought nothing, and waits between them.

    Args:
        patience: how many, how long.
        stop: ends a wait.
    """

    def __init__(self, patience: Patience, stop: Stop) -> None:
        self._patience = patience
        self._stop = stop
        self._num_failed = 0

    def progressed(self) -> None:
        """Something came: the count begins anew."""
        self._num_failed = 0

    def failed(self, trouble: PassingTroubleError) -> None:
        """Wait, and return for the next try.

        Raises:
            HubError: that was the last one, or the hub asks for more time than anyone has.
            CancelledRequestError: it was stopped.
        """
        if self._stop.is_set():
            raise CancelledRequestError("the pull was stopped; run the same command again to go on from here")
        self._num_failed += 1
        if self._num_failed >= self._patience.max_tries:
            raise HubError(str(trouble)) from None
        wait_s = self._patience.first_wait_s * 2.0 ** (self._num_failed - 1)
        if trouble.retry_after_s is not None:
            wait_s = trouble.retry_after_s
            if wait_s > self._patience.longest_wait_s:
                raise HubError(f"{trouble}; it asks to come back in {wait_s:,.0f} seconds") from None
        self._stop.wait(min(wait_s, self._patience.longest_wait_s))


class HubClient:
    """Asks one hub; its methods may be called from several threads.

    The token goes to the hub alone, never to where it redirects.

    Args:
        hub: address and token.
        patience: how long to wait.
        stop: set to end every wait, also for bytes of the hub.
    """

    def __init__(self, hub: Hub, *, patience: Patience, stop: Stop) -> None:
        self.hub = hub
        self.patience = patience
        self.stop = stop
        self._client = httpx.Client(
            headers={"User-Agent": f"localgpt/{__version__}", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(patience.read_s, connect=patience.connect_s),
            follow_redirects=True,
            max_redirects=5,
        )
        self._streams: list[Any] = []  # of the network, opened so far
        stop.calls(self._interrupt)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.calls_no_more(self._interrupt)
        self._client.close()

    def _interrupt(self) -> None:
        """End what waits for bytes: who reads from a connection that is shut down learns so at once."""
        for stream in list(self._streams):
            if (connection := stream.get_extra_info("socket")) is not None:
                with suppress(OSError):  # it has ended already
                    connection.shutdown(socket.SHUT_RDWR)

    def _trace(self, event: str, about: Mapping[str, Any]) -> None:
        """Learn of each connection while it is made."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._streams.append(about["return_value"])
            if self.stop.is_set():
                self._interrupt()

    def read_json(self, path: str, *, repo: str, revision: str, max_bytes: int) -> dict[str, Any]:
        """A JSON object; errors as `metadata.read_model`."""
        attempts = Attempts(self.patience, self.stop)
        while True:
            try:
                data = self._read(path, repo, revision, max_bytes)
                break
            except PassingTroubleError as trouble:
                attempts.failed(trouble)
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise CheckpointError(f"{self.hub.host} does not answer as a hub does; check LOCALGPT_HUB")
        return value

    def _read(self, path: str, repo: str, revision: str, max_bytes: int) -> bytes:
        data = bytearray()
        with self._open(path, {}) as response:
            self._check_status(response, repo, revision)
            for chunk in response.iter_raw():
                data += chunk
                if len(data) > max_bytes:
                    raise CheckpointError(f"{self.hub.host} says over {max_bytes:,} bytes of {repo}")
        return bytes(data)

    @contextmanager
    def open_range(
        self, repo: str, commit: str, name: str, *, start: int, stop: int, size: int, hash: str
    ) -> Iterator[Iterator[bytes]]:
        """The bytes `start` to `stop` of a file, as they come.

        Args:
            repo: owner/name.
            commit: of the repository.
            name: of the file.
            start: the first byte.
            stop: the one after the last.
            size: of the whole file.
            hash: of the whole file, as the metadata tell it.

        Raises:
            PassingTroubleError: worth another try; also when fewer bytes come than were asked for.
            RangesIgnoredError: whole files come whatever is asked for.
            ConfigError: the file is not there or not for everybody.
            HubError: the file is another than the metadata say.
        """
        path = f"/{split_quant(repo)[0]}/resolve/{commit}/{quote(name, safe='/')}"
        is_whole = start == 0 and stop == size
        headers = {} if is_whole else {"Range": f"bytes={start}-{stop - 1}"}
        with self._open(path, headers) as response:
            self._check_status(response, repo, commit)
            self._check_is_the_file(response, repo, commit, name, hash)
            if not is_whole:
                self._check_range(response, name, start, stop, size)
            yield self._limited(response, name, stop - start)

    @contextmanager
    def _open(self, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        if self.hub.token:
            headers = {**headers, "Authorization": f"Bearer {self.hub.token}"}
        try:
            with self._client.stream(
                "GET", self.hub.url + path, headers=headers, extensions={"trace": self._trace}
            ) as response:
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise PassingTroubleError(
                f"cannot reach {self.hub.host} ({_reason(error)}); check the connection and run the same "
                "command again"
            ) from None
        except httpx.TransportError as error:
            raise PassingTroubleError(
                f"{self.hub.host} broke off ({_reason(error)}); run the same command again to go on from here"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:  # a redirect to nowhere, or a circle of them
            raise HubError(f"{self.hub.host} redirects to nowhere ({_reason(error)})") from None

    def _check_status(self, response: httpx.Response, repo: str, revision: str) -> None:
        if response.is_success:
            return
        status = response.status_code
        if status in _PASSING or response.history:  # behind a redirect: an address that has run out
            raise PassingTroubleError(
                f"{response.url.host} answers {status} {response.reason_phrase}".rstrip()
                + "; run the same command again later to go on from here",
                retry_after_s=_retry_after_s(response),
            )
        raise self._refusal(response, repo, revision)

    def _refusal(self, response: httpx.Response, repo: str, revision: str) -> LocalGPTError:
        status, code = response.status_code, response.headers.get("X-Error-Code", "")
        page = f"{self.hub.url}/{split_quant(repo)[0]}"
        if code == "GatedRepo" or (status == 403 and not code):
            if self.hub.token:
                return GatedModelError(f"{repo} is gated, and the token does not open it; ask at {page}")
            return GatedModelError(
                f"{repo} is gated: accept its terms at {page}, then set HF_TOKEN to a token of your account"
            )
        if code == "RevisionNotFound":
            return UnknownModelError(f"{repo} has no revision {revision!r} on {self.hub.host}; see {page}")
        if code == "EntryNotFound":
            return HubError(f"{repo} lost a file while it was pulled; run the same command again")
        if status in (401, 404):
            private = "the token does not open it" if self.hub.token else "it is private and needs HF_TOKEN"
            return UnknownModelError(f"no model {repo!r} on {self.hub.host}, or {private}; check the name")
        return HubError(f"{self.hub.host} answers {status} {response.reason_phrase}; try again later")

    def _check_is_the_file(
        self, response: httpx.Response, repo: str, commit: str, name: str, hash: str
    ) -> None:
        """Whether the hub's own answer, before any redirect, speaks of the file of the metadata."""
        first = response.history[0] if response.history else response
        told = first.headers.get("X-Repo-Commit", commit)
        tag = first.headers.get("X-Linked-ETag", "").removeprefix("W/").strip('"')
        if told != commit or (_HEX.fullmatch(tag) and len(tag) == len(hash) and tag != hash):
            raise HubError(
                f"{name} of {repo} was changed on {self.hub.host} meanwhile; run the same command again"
            )

    def _check_range(self, response: httpx.Response, name: str, start: int, stop: int, size: int) -> None:
        if response.status_code == 200:
            raise RangesIgnoredError(f"{response.url.host} sends whole files only; {name} cannot be resumed")
        told = response.headers.get("Content-Range", "")
        if told != f"bytes {start}-{stop - 1}/{size}":
            raise HubError(
                f"{response.url.host} sends {told or 'an unknown range'} of {name}; asked for "
                f"bytes {start}-{stop - 1}/{size}"
            )

    def _limited(self, response: httpx.Response, name: str, length: int) -> Iterator[bytes]:
        came = 0
        for chunk in response.iter_raw():
            came += len(chunk)
            if came > length:
                raise HubError(f"{response.url.host} sends more of {name} than it said; try again")
            yield chunk
        if came < length:
            raise PassingTroubleError(
                f"{response.url.host} broke off within {name}; run the same command again to go on from here"
            )


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds; a date, which hubs do not send, is left to our own waits."""
    value = response.headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() and len(value) < 10 else None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
