"""One request to an upstream: what is sent, how much of an answer is read, and when it is given up.

Notable:
- Each request has a connection of its own, which ends with it. A kept one may be closed by the other side at
  the moment it is used again, and that could only be mended by asking twice, which is never done here.
- Proxies, `.netrc` and certificates of the environment are not used: what is asked goes to the address that
  was written down and to no other. Redirects are not followed.
- An upstream may lie: lines, answers and errors are read up to a limit each.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

import httpx

from localgpt import __version__
from localgpt.errors import DeadlineError
from localgpt.runtime.upstream.address import Upstream
from localgpt.runtime.upstream.refusals import broken, error_of_status, unreachable
from localgpt.units import MIB

__all__ = ["ask_events", "ask_json", "within"]

_CONNECT_S: Final = 10.0
_MAX_LINE_BYTES: Final = 4 * MIB
_MAX_STREAM_BYTES: Final = 256 * MIB
_MAX_ERROR_BYTES: Final = 64 * 1024
_DONE: Final = "[DONE]"

T = TypeVar("T")


async def ask_events(upstream: Upstream, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
    """Post a request and yield the JSON objects of its event stream, up to `[DONE]`.

    Closing the iterator closes the connection, which is how servers learn that nobody waits any more.

    Raises:
        LocalGPTError: the upstream cannot be reached, refuses, breaks off, or does not send such a stream.
    """
    async with _response(upstream, "POST", path, body) as response:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            raise broken(upstream, f"answers with {kind[:60] or 'something'!r} instead of a stream of events")
        async with aclosing(_lines(upstream, response)) as lines:
            async for line in lines:
                if not line.startswith("data:"):  # a comment, a name, or the end of an event
                    continue
                data = line.removeprefix("data:").strip()
                if data == _DONE:
                    return
                yield _object(upstream, data)
    raise broken(upstream, "broke off before its answer was finished")


async def ask_json(
    upstream: Upstream, method: str, path: str, body: dict[str, Any] | None = None, *, max_bytes: int
) -> dict[str, Any]:
    """Ask for one JSON object; errors as `ask_events`."""
    data = bytearray()
    async with _response(upstream, method, path, body) as response:
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > max_bytes:
                raise broken(upstream, f"answers with more than {max_bytes:,} bytes")
    return _object(upstream, data)


async def within(deadline: float | None, awaitable: Awaitable[T]) -> T:
    """Await something up to a time of the running event loop; None for ever.

    Raises:
        DeadlineError: the deadline passed.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await awaitable
    except TimeoutError:
        raise DeadlineError(
            "the upstream had not finished its answer before the request's deadline"
        ) from None


@asynccontextmanager
async def _response(
    upstream: Upstream, method: str, path: str, body: dict[str, Any] | None
) -> AsyncIterator[httpx.Response]:
    """An answer with status 200, of which the body is still to be read."""
    headers = {"User-Agent": f"localgpt/{__version__}", "Accept-Encoding": "identity"}
    if upstream.key is not None:
        headers["Authorization"] = f"Bearer {upstream.key}"
    # A long prompt is read for minutes before the first byte comes: the request's deadline bounds that.
    timeout = httpx.Timeout(None, connect=_CONNECT_S)
    # Plain http needs no certificates, which the client would read all the same.
    verify = upstream.tls if upstream.tls is not None else False
    async with httpx.AsyncClient(
        headers=headers, timeout=timeout, verify=verify, trust_env=False, follow_redirects=False
    ) as client:
        try:
            async with client.stream(method, upstream.base_url + path, json=body) as response:
                if response.status_code != 200:
                    raise await _refusal(upstream, response)
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise broken(upstream, "answers with a compressed body, which was not asked for")
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise unreachable(upstream, str(error) or "no answer in time") from None
        except httpx.HTTPError as error:
            raise broken(
                upstream, f"broke off before its answer was finished ({type(error).__name__})"
            ) from None


async def _refusal(upstream: Upstream, response: httpx.Response) -> Exception:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= _MAX_ERROR_BYTES:
            break
    return error_of_status(upstream, response.status_code, response.headers, bytes(body[:_MAX_ERROR_BYTES]))


async def _lines(upstream: Upstream, response: httpx.Response) -> AsyncGenerator[str]:
    """The lines of a body; the last one counts without its end too, since some servers leave it out."""
    rest = bytearray()
    num_bytes = 0
    async for chunk in response.aiter_raw():
        num_bytes += len(chunk)
        if num_bytes > _MAX_STREAM_BYTES:
            raise broken(upstream, f"answers with more than {_MAX_STREAM_BYTES // MIB} MiB")
        start = len(rest)
        rest += chunk
        if rest.find(b"\n", start) >= 0:
            *lines, last = rest.split(b"\n")
            rest = bytearray(last)
            for line in lines:
                yield _text(upstream, line)
        if len(rest) > _MAX_LINE_BYTES:
            raise broken(upstream, f"sends a line of more than {_MAX_LINE_BYTES // MIB} MiB")
    if rest:
        yield _text(upstream, rest)


def _text(upstream: Upstream, line: bytes | bytearray) -> str:
    try:
        return line.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise broken(upstream, "sends bytes that are no text") from None


def _object(upstream: Upstream, data: str | bytes | bytearray) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # not JSON, or not UTF-8
        value = None
    if not isinstance(value, dict):
        raise broken(upstream, "sends something that is no JSON object")
    return value
