"""`/v1/responses`: ask, read what was kept, delete it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from localgpt.errors import InputError, LocalGPTError
from localgpt.server.access import GatewayDep, Hold, Owner
from localgpt.server.answers import notices_header
from localgpt.server.errors import ERROR_REPLIES, STREAM_REPLIES, WireError
from localgpt.server.events import EventBodies, Events
from localgpt.server.gateway import Gateway
from localgpt.server.responses.asked import Asked, understand
from localgpt.server.responses.events import ResponseEvents, ResponseWire
from localgpt.server.responses.kept import archive_of, find_kept, has_logprobs
from localgpt.server.responses.refusals import refuse_logprobs
from localgpt.server.schemas.response_replies import DeletedReply, InputItemsReply, ResponseReply
from localgpt.server.schemas.responses import ItemsQuery, ResponsesBody, RetrieveQuery
from localgpt.server.work import EventStream, run_for_client
from localgpt.tasks import ChatResult, Finished, Notice

__all__ = ["router"]

router = APIRouter(tags=["responses"])


@router.post("/v1/responses", response_model=ResponseReply, responses=STREAM_REPLIES)
async def create_response(
    body: ResponsesBody, request: Request, gateway: GatewayDep, owner: Owner, hold: Hold
) -> Response:
    """Answer an input, whole or as server-sent events (`stream: true`)."""
    asked = await run_for_client(request, gateway, understand(body, gateway, owner, hold))
    draft = asked.draft
    if body.stream:
        return _stream(asked, gateway)
    with asked.as_chat.renamed():
        result = cast("ChatResult", await run_for_client(request, gateway, gateway.service.run(asked.task)))
    reply = draft.finished(result, draft.output_of(result))
    await asked.keep(reply)
    return JSONResponse(reply.model_dump(), headers=notices_header(draft.notices))


@router.get("/v1/responses/{response_id}", response_model=ResponseReply, responses=ERROR_REPLIES)
async def retrieve_response(
    response_id: str, gateway: GatewayDep, owner: Owner, query: Annotated[RetrieveQuery, Query()]
) -> Response:
    """A kept response as it was answered; log probabilities are there if they were asked for then."""
    for param in ("stream", "include_obfuscation"):
        if getattr(query, param):
            raise InputError(
                f"{param} is true, but a kept response is not streamed again; leave it out", param=param
            )
    if query.starting_after is not None:
        raise InputError(
            "starting_after needs a stream, and a kept response is not streamed again; leave it out",
            param="starting_after",
        )
    kept = await find_kept(archive_of(gateway), owner, response_id)
    if not has_logprobs(kept.response):
        refuse_logprobs(query, "they were not asked for when the response was made")
    return JSONResponse(kept.response)


@router.delete("/v1/responses/{response_id}", responses=ERROR_REPLIES)
async def delete_response(response_id: str, gateway: GatewayDep, owner: Owner) -> DeletedReply:
    """Keep a response no more."""
    archive = archive_of(gateway)
    await find_kept(archive, owner, response_id)
    assert archive is not None
    await archive.delete(owner, response_id)
    return DeletedReply(id=response_id)


@router.post("/v1/responses/{response_id}/cancel", response_model=ResponseReply, responses=ERROR_REPLIES)
async def cancel_response(response_id: str, gateway: GatewayDep, owner: Owner) -> Response:
    """Always refused: only responses that run in the background can be cancelled, and there are none."""
    await find_kept(archive_of(gateway), owner, response_id)
    raise WireError(
        400,
        "the response was not made in the background and cannot be cancelled; close its connection instead, "
        "which ends the work",
        param="response_id",
    )


@router.get("/v1/responses/{response_id}/input_items", responses=ERROR_REPLIES)
async def list_input_items(
    response_id: str, gateway: GatewayDep, owner: Owner, query: Annotated[ItemsQuery, Query()]
) -> InputItemsReply:
    """What a kept response was made from, without the responses before it."""
    items = (await find_kept(archive_of(gateway), owner, response_id)).input
    refuse_logprobs(query, "those of an input's items are not read, and so not kept")
    if query.order == "desc":
        items = items[::-1]
    if query.after is not None:
        ids = [item["id"] for item in items]
        if query.after not in ids:
            raise InputError(f"no item of this response has the id {query.after!r}", param="after")
        items = items[ids.index(query.after) + 1 :]
    page = items[: query.limit]
    return InputItemsReply(
        data=page,
        first_id=page[0]["id"] if page else None,
        last_id=page[-1]["id"] if page else None,
        has_more=len(items) > query.limit,
    )


def _stream(asked: Asked, gateway: Gateway) -> EventStream:
    events, wire = Events(gateway, [asked.task]), ResponseWire()
    bodies = EventBodies(_bodies(asked, events, wire), events)
    return EventStream(bodies, gateway, headers=lambda: notices_header(asked.draft.notices), wire=wire)


async def _bodies(asked: Asked, events: Events, wire: ResponseWire) -> AsyncGenerator[str]:
    """The events of a response; none before the first piece, so that failures at the door are a status."""
    draft, writer, has_begun = asked.draft, ResponseEvents(asked.draft, wire), False
    try:
        with asked.as_chat.renamed():
            async for _, event in events:
                if isinstance(event, Notice):
                    draft.tell([event.text])
                    continue
                if not has_begun:
                    has_begun = True
                    for body in writer.begin():
                        yield body
                if isinstance(event, Finished):
                    result = event.answer
                    continue
                for body in writer.take(event):
                    yield body
    except LocalGPTError as error:
        if not has_begun:
            raise
        reply = writer.failed(error)
    else:
        for body in writer.end(result):
            yield body
        reply = draft.finished(result, writer.items)
    await asked.keep(reply)
    yield writer.ended(reply)
