"""`POST /v1/completions`."""

from __future__ import annotations

import time
import uuid
from typing import cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from localgpt.errors import InputError
from localgpt.server.access import GatewayDep, Owner
from localgpt.server.answers import notices_header
from localgpt.server.errors import STREAM_REPLIES
from localgpt.server.events import EventBodies, Events, check_places, run_tasks
from localgpt.server.models import resolve_model
from localgpt.server.schemas.completions import (
    DEFAULT_MAX_TOKENS,
    MAX_TEXTS,
    CompletionBody,
    CompletionReply,
)
from localgpt.server.schemas.neutral import refuse_stream_options
from localgpt.server.texts import CompletionWriter, likeliest
from localgpt.server.translate import checked_text, choices_of, options_of
from localgpt.server.work import EventStream, run_for_client
from localgpt.tasks import ChatResult, CompleteRequest

__all__ = ["router"]

router = APIRouter(tags=["completions"])


@router.post("/v1/completions", response_model=CompletionReply, responses=STREAM_REPLIES)
async def create_completion(
    body: CompletionBody, request: Request, gateway: GatewayDep, owner: Owner
) -> Response:
    """Go on with texts, whole or as server-sent events (`stream: true`)."""
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    num_choices, num_candidates = _counts(body, len(prompts))
    model = await resolve_model(gateway, body.model)
    # The best of several are told by their log probabilities, whether these are shown or not.
    num_alternatives = body.logprobs if num_candidates == num_choices else body.logprobs or 0
    options = options_of(body, max_tokens=DEFAULT_MAX_TOKENS, top_logprobs=num_alternatives)
    answer_id = f"cmpl-{uuid.uuid4().hex}"
    tasks = []
    for index, prompt in enumerate(prompts):
        text = checked_text(prompt, "prompt" if isinstance(body.prompt, str) else f"prompt[{index}]")
        task_id = f"{answer_id}-p{index}" if index else answer_id
        task = CompleteRequest(id=task_id, owner=owner, model=model.id, prompt=text, options=options)
        tasks.extend(choices_of(task, num_candidates))
    check_places(gateway, tasks, param=_plural(body, len(prompts)))
    writer = CompletionWriter(
        id=answer_id,
        model=model.id,
        created=int(time.time()),
        fingerprint=model.fingerprint,
        heads=prompts if body.echo else [""] * len(prompts),
        num_choices=num_choices,
        num_alternatives=body.logprobs,
        with_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
    )
    if body.stream:
        events = Events(gateway, tasks)
        bodies = EventBodies(writer.chunks(events), events)
        return EventStream(bodies, gateway, headers=lambda: notices_header(writer.notices))
    results = [
        cast("ChatResult", one) for one in await run_for_client(request, gateway, run_tasks(gateway, tasks))
    ]
    groups = [results[start : start + num_candidates] for start in range(0, len(results), num_candidates)]
    if num_candidates > num_choices:
        results = [best for group in groups for best in likeliest(group, num_choices)]
    reply = writer.whole(results, groups)
    notices = reply.localgpt.notices if reply.localgpt else []
    return JSONResponse(reply.model_dump(), headers=notices_header(notices))


def _plural(body: CompletionBody, num_prompts: int) -> str:
    """The parameter that makes one request several."""
    if num_prompts > 1:
        return "prompt"
    return "n" if body.best_of is None else "best_of"


def _counts(body: CompletionBody, num_prompts: int) -> tuple[int, int]:
    """How many texts are shown of each prompt, and how many are made."""
    refuse_stream_options(body)
    num_choices = body.n or 1
    num_candidates = body.best_of or num_choices
    if num_candidates < num_choices:
        raise InputError(
            f"best_of is {num_candidates}; expected at least n, which is {num_choices}", param="best_of"
        )
    if body.stream and num_candidates > num_choices:
        raise InputError("best_of above n cannot be streamed; leave out one of them", param="best_of")
    if body.echo and body.logprobs is not None:
        raise InputError(
            "the echoed prompt has no log probabilities; leave out echo or logprobs", param="logprobs"
        )
    if num_prompts * num_candidates > MAX_TEXTS:
        raise InputError(
            f"got {num_prompts} prompts with {num_candidates} choices each; expected at most {MAX_TEXTS} "
            "choices in one request",
            param="prompt",
        )
    return num_choices, num_candidates
