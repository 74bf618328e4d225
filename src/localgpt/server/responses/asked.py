"""One responses request, understood: the task it asks for, and the draft of its answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from localgpt.server.conversation import conversation_notices, messages_of
from localgpt.server.functions import answer_format_of, tool_use_of
from localgpt.server.gateway import Gateway
from localgpt.server.heard import Ears
from localgpt.server.models import resolve_model
from localgpt.server.responses.chat import AsChat
from localgpt.server.responses.draft import Draft
from localgpt.server.responses.items import PlacedItem, listed
from localgpt.server.responses.kept import KeptReader, KeptResponse, ResponseArchive, archive_of
from localgpt.server.responses.painting import painting_of
from localgpt.server.responses.refusals import check_echo, refuse_unknown_wishes
from localgpt.server.schemas.chat import ChatBody
from localgpt.server.schemas.neutral import refuse_unsupported
from localgpt.server.schemas.response_items import (
    HeardPart,
    InputItem,
    InputMessage,
    InputTextPart,
    ItemReference,
    PaintedItem,
    ReasoningItem,
)
from localgpt.server.schemas.response_replies import ResponseReply
from localgpt.server.schemas.responses import ResponsesBody
from localgpt.server.translate import options_of
from localgpt.server.voice import voice_model
from localgpt.tasks import EMBEDDED_MODEL_ID, ChatRequest
from localgpt.units import MIB

__all__ = ["Asked", "understand"]

_NOT_KEPT = (
    "store is true, but this server runs without a store: the response is not kept, and "
    "previous_response_id cannot name it"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for."""

    task: ChatRequest
    draft: Draft
    as_chat: AsChat  # names errors as this wire does
    owner: str
    archive: ResponseArchive | None  # where the response is kept; None where it is not
    input: list[PlacedItem]

    async def keep(self, reply: ResponseReply) -> None:
        """Keep an ended response, where that is asked for."""
        if self.archive is not None:
            items = listed([item for item, _ in self.input], self.draft.id)
            kept = KeptResponse(response=reply.model_dump(), input=items)
            await self.archive.put(self.owner, self.draft.id, kept.encode())


async def understand(body: ResponsesBody, gateway: Gateway, owner: str, hold: Callable[[int], None]) -> Asked:
    """Read a request; `hold` counts what is read of kept responses.

    Raises:
        CapacityError: there is no room for those at the moment.
        InputError: a parameter asks for something that is not done here, or is of no use; `param` names it.
        WireError: the model or the previous response is not known.
    """
    check_echo(body)
    refuse_unknown_wishes(body)
    model = await resolve_model(gateway, body.model)
    archive, notices = archive_of(gateway), []
    reader = KeptReader(archive, owner, hold, max_bytes=gateway.settings.max_body_mib * MIB)
    history = await reader.history(body.previous_response_id)
    items: list[PlacedItem] = []
    thoughts: list[str] = []
    painted: list[str] = []
    for item, param in _placed(body):
        if isinstance(item, ItemReference):
            items.append(await reader.reference(item, param))
        elif isinstance(item, ReasoningItem):
            thoughts.append(param)
        elif isinstance(item, PaintedItem):
            painted.append(param)
        else:
            items.append(PlacedItem(item, param))
    notices += await _hear(items, Ears(gateway, owner, model.id))
    if thoughts:
        notices.append(_unread(thoughts))
    if painted:
        notices.append(
            f"{painted[0]} is a picture that was painted before, and was left out; send it as input_image"
        )
    if body.store and archive is None:
        notices.append(_NOT_KEPT)
    if body.store is False:
        archive = None
    as_chat = AsChat()
    id = f"resp_{uuid.uuid4().hex}"
    with as_chat.renamed():
        task = _task(as_chat.body(body, [*history, *items]), notices)
    painting = painting_of(body.tools, body.tool_choice)
    if painting is not None and painting.model is not None:
        painter, told = await voice_model(gateway, painting.model, "paint")
        notices += told
        painting = replace(painting, model=None if painter == EMBEDDED_MODEL_ID else painter)
    task = replace(task, painting=painting)
    task = replace(task, id=id, owner=owner, model=model.id, leave_out_turns=body.truncation == "auto")
    draft = Draft(
        id=id,
        body=body,
        model=model.id,
        options=task.options,
        is_kept=archive is not None,
        notices=notices,
        painting=painting,
    )
    return Asked(task=task, draft=draft, as_chat=as_chat, owner=owner, archive=archive, input=items)


def _placed(body: ResponsesBody) -> Iterator[tuple[InputItem, str]]:
    if isinstance(body.input, str):
        yield InputMessage(role="user", content=body.input), "input"
    else:
        for index, item in enumerate(body.input):
            yield item, f"input[{index}]"


async def _hear(items: Sequence[PlacedItem], ears: Ears) -> list[str]:
    """Put the text of each recording in its place, so that it is kept as that too."""
    for item, param in items:
        if not isinstance(item, InputMessage) or isinstance(item.content, str):
            continue
        for place, part in enumerate(item.content):
            if isinstance(part, HeardPart):
                text = await ears.hear(part.input_audio, f"{param}.content[{place}].input_audio")
                item.content[place] = InputTextPart(type="input_text", text=text)
    return ears.notices


def _unread(thoughts: list[str]) -> str:
    what = f"{thoughts[0]} is a reasoning item and was"
    if len(thoughts) > 1:
        what = f"{len(thoughts)} reasoning items, the first of them {thoughts[0]}, were"
    return f"{what} left out; this model does not read reasoning"


def _task(chat: ChatBody, notices: list[str]) -> ChatRequest:
    refuse_unsupported(chat)
    notices.extend(conversation_notices(chat.messages))
    tool_use = tool_use_of(chat)
    return ChatRequest(
        id="",
        messages=messages_of(chat.messages),
        options=options_of(chat, max_tokens=chat.max_completion_tokens, top_logprobs=chat.top_logprobs),
        tools=tool_use.tools,
        tool_choice=tool_use.choice,
        parallel_tool_calls=tool_use.parallel,
        answer_format=answer_format_of(chat),
    )
