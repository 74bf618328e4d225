"""`UpstreamService`: the TaskService of models that other servers run.

Rules told to the caller:

* A model is called `upstream:NAME/MODEL`, MODEL as the upstream calls it; it need not be in its list.
* Nothing is asked twice: what fails is told, and asking again is the caller's decision.
* What an upstream cannot do is refused before anything is sent, where that is known of its kind
  (`address.DIALECTS`); what it refuses itself comes back in its own words, with its `param`.
* Vectors are made unit length; the lengths of an upstream's own vectors are not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from localgpt.errors import CancelledRequestError, InputError
from localgpt.runtime.upstream.address import Upstream
from localgpt.runtime.upstream.answers import AnswerReader, read_vectors
from localgpt.runtime.upstream.bodies import AnswerRequest, answer_body, answer_path, embed_body
from localgpt.runtime.upstream.connection import ask_events, ask_json, within
from localgpt.runtime.upstream.listing import Listing, Survey
from localgpt.tasks import (
    UPSTREAM_PREFIX,
    AskRequest,
    Channel,
    ChatRequest,
    CompleteRequest,
    DescribeRequest,
    EmbedRequest,
    EmbedResult,
    Event,
    Finished,
    Request,
    Result,
    Status,
    split_upstream,
)
from localgpt.units import MIB

__all__ = ["UpstreamService"]

_FIRST_WAIT_S: Final = 0.5
_MAX_BATCH: Final = 64  # told as the number of answers at once: each upstream has a queue of its own
_MAX_VECTORS_BYTES: Final = 256 * MIB


class UpstreamService:
    """Asks other servers; implements `tasks.TaskService`.

    One instance may be used from several event loops. It holds no connection between requests.

    Args:
        upstreams: checked, with their keys; see `read_upstreams`.
        first_wait_s: how long the first `status` waits for the upstreams' lists of models.
    """

    def __init__(self, upstreams: Sequence[Upstream], *, first_wait_s: float = _FIRST_WAIT_S) -> None:
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self._listings = [Listing(upstream, first_wait_s=first_wait_s) for upstream in upstreams]
        self._num_running = 0
        self._is_closed = False

    @property
    def notices(self) -> tuple[str, ...]:
        """Which upstreams what is asked leaves this machine for."""
        return tuple(one.warning for one in self._upstreams.values() if one.warning is not None)

    def warning_about(self, model: str) -> str | None:
        """What to know before that model is asked; None where nothing leaves this machine."""
        parts = split_upstream(model)
        upstream = None if parts is None else self._upstreams.get(parts[0])
        return None if upstream is None else upstream.warning

    async def run(self, request: Request) -> Result:
        """Run one request to its end; errors as `stream`."""
        if isinstance(request, EmbedRequest):
            return await self._embed(request)
        async with aclosing(self._answer(request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.result
        raise AssertionError("an answer ended without its last event")

    def stream(self, request: Request) -> AsyncIterator[Event]:
        """Run one request for an answer and yield its events; the last one is `Finished`.

        Closing the iterator closes the connection to the upstream.

        Raises:
            LocalGPTError: the request is refused here or there, or the upstream fails.
        """
        if isinstance(request, EmbedRequest):
            raise InputError("got a request to embed, expected one with an answer to stream", param="stream")
        return self._answer(request)

    async def open(self, request: Request) -> Channel:
        """Refused: upstreams have no voice here.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{request.model} cannot listen while it answers; voice is for models of this machine",
            param="model",
        )

    async def status(self) -> Status:
        """The upstreams' models as last heard; at once, but for the very first time."""
        surveys: list[Survey] = []
        if not self._is_closed:
            surveys = await asyncio.gather(*(listing.look() for listing in self._listings))
        return Status(
            ready=not self._is_closed,
            device="upstream",
            dtype="",
            models=tuple(model for survey in surveys for model in survey.models),
            resident_bytes=0,
            num_running=self._num_running,
            num_waiting=0,
            max_batch_size=_MAX_BATCH,
            notices=self.notices,
        )

    async def close(self) -> None:
        """Refuse what comes; answers under way end with those who read them. May be called twice."""
        self._is_closed = True
        for listing in self._listings:
            await listing.close()

    async def _answer(self, request: Request) -> AsyncGenerator[Event]:
        upstream, model = self._find(request.model)
        asked = _answer_request(request)
        reader = AnswerReader(
            upstream,
            request.model,
            is_chat=not isinstance(request, CompleteRequest),
            with_logprobs=asked.options.top_logprobs is not None,
        )
        deadline = _deadline_of(request)
        chunks = ask_events(upstream, answer_path(asked), answer_body(asked, upstream, model))
        self._num_running += 1
        try:
            async with aclosing(chunks):
                while (chunk := await within(deadline, anext(chunks, None))) is not None:
                    for event in reader.take(chunk):
                        yield event
        finally:
            self._num_running -= 1
        yield Finished(result=reader.result())

    async def _embed(self, request: EmbedRequest) -> EmbedResult:
        upstream, model = self._find(request.model)
        body = embed_body(request, upstream, model)
        asking = ask_json(upstream, "POST", "/embeddings", body, max_bytes=_MAX_VECTORS_BYTES)
        self._num_running += 1
        try:
            reply = await within(_deadline_of(request), asking)
        finally:
            self._num_running -= 1
        vectors, usage = read_vectors(upstream, reply, len(request.inputs))
        if request.dimensions not in (None, len(vectors[0])):
            raise InputError(
                f"dimensions is {request.dimensions}; the vectors of upstream {upstream.name} have "
                f"{len(vectors[0])} numbers",
                param="dimensions",
            )
        return EmbedResult(embeddings=vectors, usage=usage, model=request.model)

    def _find(self, name: str) -> tuple[Upstream, str]:
        """Who is asked, and for which of its models."""
        if self._is_closed:
            raise CancelledRequestError("LocalGPT is closing; the answer was not finished")
        parts = split_upstream(name)
        upstream = self._upstreams.get(parts[0]) if parts is not None else None
        if parts is None or upstream is None:
            known = ", ".join(f"{UPSTREAM_PREFIX}{one}/MODEL" for one in self._upstreams)
            raise InputError(
                f"the model {name!r} is of no upstream; expected {known or 'none'}", param="model"
            )
        model = parts[1]
        if not model or not model.isprintable():
            raise InputError(
                f"{name!r} names no model; expected {UPSTREAM_PREFIX}{upstream.name}/MODEL", param="model"
            )
        if model.startswith(UPSTREAM_PREFIX):
            raise InputError(
                f"{name!r} is an upstream of an upstream; make it an upstream of this server", param="model"
            )
        if not upstream.allow_remote and _is_in_a_cloud(model):
            raise InputError(
                f"{model!r} is a model that Ollama runs in its cloud: what is asked of it would leave this "
                f"machine. Set allow_remote for upstream {upstream.name} if that is meant",
                param="model",
            )
        return upstream, model


def _is_in_a_cloud(model: str) -> bool:
    """Whether a name has a tag by which a local Ollama passes requests on to its makers' servers."""
    return any(tag == "cloud" or tag.endswith("-cloud") for tag in model.lower().split(":")[1:])


def _answer_request(request: Request) -> AnswerRequest:
    if isinstance(request, ChatRequest | CompleteRequest | DescribeRequest | AskRequest):
        return request
    raise InputError(
        f"upstreams chat, complete, describe, ask and embed; {type(request).__name__} is for models of this "
        "machine",
        param="model",
    )


def _deadline_of(request: Request) -> float | None:
    """The running event loop's time at which the request is given up."""
    if request.deadline_s is None:
        return None
    return asyncio.get_running_loop().time() + request.deadline_s
