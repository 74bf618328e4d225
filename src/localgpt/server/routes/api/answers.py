"""`POST /api/conversations/{id}/answer`: answer a branch, and keep the answer however it ends."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from localgpt.errors import CancelledRequestError, InputError, LocalGPTError
from localgpt.server.access import GatewayDep, Hold, Owner, StoreDep
from localgpt.server.answers import ChatWriter, stream_chat
from localgpt.server.errors import EVENT_CONTENT, WireError
from localgpt.server.gateway import Gateway
from localgpt.server.models import AnsweringModel, resolve_model
from localgpt.server.pictures import sides_of
from localgpt.server.routes.api.common import API_REPLIES, PathId, conversation_missing
from localgpt.server.schemas.api import AnswerBody
from localgpt.server.schemas.common import ErrorBody
from localgpt.server.schemas.gallery import PaintBody
from localgpt.server.store.records import (
    Conversation,
    Preferences,
    StoredMessage,
    StoredPicture,
    StoredUsage,
    branch_of,
)
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    ChatRequest,
    ChatResult,
    Event,
    Finished,
    ImagePart,
    Message,
    Notice,
    PaintedImage,
    Painting,
    Part,
    SamplingOptions,
    TextDelta,
    TextPart,
)

if TYPE_CHECKING:
    from localgpt.server.store.opening import Store

__all__ = ["router"]

logger = logging.getLogger(__name__)
router = APIRouter()
_REPLIES = API_REPLIES | {
    200: {
        "description": "Server-sent events: the chunks of /v1/chat/completions, then [DONE].",
        "content": EVENT_CONTENT,
    },
    409: {"model": ErrorBody, "description": "There is a message of that id already."},
}


@router.post("/conversations/{conversation_id}/answer", response_class=Response, responses=_REPLIES)
async def answer_conversation(
    conversation_id: PathId, body: AnswerBody, gateway: GatewayDep, store: StoreDep, owner: Owner, hold: Hold
) -> Response:
    """Answer the branch that ends at a user's message, as a stream, and store the answer.

    The answer is on disk before `[DONE]` is sent. It is kept however it ends: `finish_reason` is `stop`,
    `length`, `cancelled` (the client went away or the server stopped; what was written so far stays) or
    `error`.
    """
    conversation, branch = await _branch(store, owner, conversation_id, body)
    chosen = await store.preferences.get(owner)
    model = await resolve_model(
        gateway, body.model or conversation.model or chosen.model or EMBEDDED_MODEL_ID
    )
    task = ChatRequest(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        owner=owner,
        model=model.id,
        messages=await _messages(
            _Album(store=store, owner=owner, most=await _most_pictures(gateway, model), hold=hold), branch
        ),
        options=_options(chosen, body),
        painting=_painting(body),
    )
    writer = ChatWriter(id=task.id, model=model.id, created=int(time.time()), fingerprint=model.fingerprint)
    keeper = _Keeper(store, owner, conversation_id, body, model)
    return stream_chat(gateway, [task], writer, watcher=keeper)


async def _branch(
    store: Store, owner: str, conversation_id: str, body: AnswerBody
) -> tuple[Conversation, list[StoredMessage]]:
    whole = await store.conversations.whole(owner, conversation_id)
    if whole is None:
        raise conversation_missing()
    conversation, messages = whole
    by_id = {message.id: message for message in messages}
    if body.id in by_id:
        raise WireError(
            409,
            f"this conversation has a message {body.id!r} already; choose another id",
            param="id",
            code="message_exists",
        )
    parent = by_id.get(body.parent_id)
    if parent is None or parent.role != "user":
        raise InputError(
            f"parent_id is {body.parent_id!r}; expected a user's message of this conversation",
            param="parent_id",
        )
    return conversation, branch_of(messages, parent.id)


async def _most_pictures(gateway: Gateway, model: AnsweringModel) -> int:
    """How many pictures can be in the model's context at the most."""
    models = (await gateway.service.status()).models
    found = next((one for one in models if model.id == one.id or model.id in one.names), None)
    if found is None and model.id == EMBEDDED_MODEL_ID:  # whoever is the main one
        found = next(iter(models), None)
    if found is None:  # it is being loaded, or its upstream does not list it
        return sys.maxsize
    if found.upstream is not None or not found.is_loaded:  # what it sees is told once it is loaded, or never
        return sys.maxsize
    return found.context_len // found.num_image_tokens if found.num_image_tokens else 0


async def _messages(album: _Album, branch: Sequence[StoredMessage]) -> tuple[Message, ...]:
    """The prompt: the owner's system prompt, then the branch with its pictures."""
    system = (await album.store.preferences.get(album.owner)).system_prompt.strip()
    pictures = await album.pictures(branch)
    messages = [Message.of("system", system)] if system else []
    for stored in branch:
        shown = (pictures[ref.id] for ref in stored.attachments) if stored.role == "user" else ()
        parts: list[Part] = [part for part in shown if part is not None]
        text = "\n".join(filter(None, (stored.text.strip(), *(one.prompt for one in stored.pictures))))
        if text:
            parts.append(TextPart(text=stored.text if not stored.pictures else text))
        if parts:  # an answer that failed before its first word says nothing
            messages.append(Message(role=stored.role, content=tuple(parts)))
    return tuple(messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Album:
    """An owner's stored pictures, of which at most so many come with their content."""

    store: Store
    owner: str
    most: int
    hold: Callable[[int], None]

    async def pictures(self, branch: Sequence[StoredMessage]) -> dict[str, ImagePart | None]:
        """The pictures of a branch by their ids, None for those that are gone.

        The newest come with their content. The others hold a place: the turns they are of do not fit the
        context, so the service leaves them out and says so.

        Raises:
            CapacityError: there is no room for them, as while the models load and many wait with pictures.
        """
        pictures: dict[str, ImagePart | None] = {}
        num_shown = 0
        asked = [stored for stored in reversed(branch) if stored.role == "user"]
        for ref in (ref for stored in asked for ref in reversed(stored.attachments)):
            if ref.id not in pictures and num_shown < self.most:
                self.hold(ref.num_bytes)
                found = await self.store.attachments.get(self.owner, ref.id)
                pictures[ref.id] = ImagePart(data=found.data, media_type=found.media_type) if found else None
            elif ref.id not in pictures:
                pictures[ref.id] = ImagePart(data=b"", media_type=ref.media_type)
            num_shown += pictures[ref.id] is not None
        return pictures


def _painting(body: AnswerBody) -> Painting:
    """Pictures may always be the answer on the page, which shows their stages."""
    wish = body.paint or PaintBody()
    width, height = sides_of(wish.size)
    return Painting(
        model=wish.model,
        width=width,
        height=height,
        effort=wish.quality,
        seed=wish.seed,
        num_previews=2,
        wants_heat_maps=wish.heat_maps,
        is_wanted=wish.wanted,
    )


def _options(chosen: Preferences, body: AnswerBody) -> SamplingOptions:
    """What the request says, else what the owner chose, else the tasks' defaults."""
    defaults = SamplingOptions()
    temperatures = (body.temperature, chosen.temperature, defaults.temperature)
    return SamplingOptions(
        temperature=next(value for value in temperatures if value is not None),
        top_p=defaults.top_p if body.top_p is None else body.top_p,
        max_tokens=chosen.max_tokens if body.max_tokens is None else body.max_tokens,
        seed=body.seed,
    )


class _Keeper:
    """Collects an answer while it is sent, and stores it at its end. A `Watcher`."""

    def __init__(
        self, store: Store, owner: str, conversation_id: str, body: AnswerBody, model: AnsweringModel
    ) -> None:
        self._store = store
        self._owner = owner
        self._conversation_id = conversation_id
        self._body = body
        self._model = model
        self._texts: list[str] = []
        self._notices: list[str] = []
        self._result: ChatResult | None = None
        self._kept = asyncio.get_running_loop().create_future()
        store.holds.add(self._kept)

    def on_event(self, event: Event) -> None:
        """Remember what was written."""
        match event:
            case TextDelta():
                self._texts.append(event.text)
            case Notice():
                self._notices.append(event.text)
            case Finished():
                self._result = event.answer
                self._notices += event.answer.notices

    async def on_end(self, error: BaseException | None) -> None:
        """Store it; a conversation that was deleted meanwhile stays deleted."""
        try:
            pictures = await self._keep_pictures()
            ids = [id for one in pictures for id in (one.id, *(map_id for _, map_id in one.heat_maps))]
            message = replace(self._message(error), pictures=tuple(pictures))
            await self._store.conversations.add(self._owner, self._conversation_id, message, ids)
        except LocalGPTError:
            logger.exception("an answer could not be stored")
            raise
        finally:
            self._store.holds.discard(self._kept)
            self._kept.set_result(None)

    async def _keep_pictures(self) -> list[StoredPicture]:
        result = self._result
        if result is None:
            return []
        return [await self._keep(image, result) for image in result.images]

    async def _keep(self, image: PaintedImage, result: ChatResult) -> StoredPicture:
        put = self._store.attachments.put
        ref = await put(self._owner, image.data, image.media_type)
        maps = [(one.word, (await put(self._owner, one.data, one.media_type)).id) for one in image.heat_maps]
        return StoredPicture(
            id=ref.id,
            prompt=result.paints or "",
            model=result.painter or result.model,
            seed=image.seed,
            width=image.width,
            height=image.height,
            heat_maps=tuple(maps),
        )

    def _message(self, error: BaseException | None) -> StoredMessage:
        result = self._result
        return StoredMessage(
            id=self._body.id,
            parent_id=self._body.parent_id,
            role="assistant",
            text="".join(self._texts) if result is None else result.text,
            notices=tuple(dict.fromkeys(self._notices)),
            finish_reason=self._finish_reason(error),
            error=None if error is None or _is_cancelled(error) else _told(error),
            model=self._model.id,
            usage=None
            if result is None
            else StoredUsage(
                prompt_tokens=result.usage.prompt_tokens, completion_tokens=result.usage.completion_tokens
            ),
        )

    def _finish_reason(self, error: BaseException | None) -> str:
        if error is not None:
            return "cancelled" if _is_cancelled(error) else "error"
        return "stop" if self._result is None else self._result.finish_reason


def _is_cancelled(error: BaseException) -> bool:
    """Whether the caller went away or the server stopped; a deadline that passed is an error."""
    return type(error) is CancelledRequestError


def _told(error: BaseException) -> str:
    is_known = isinstance(error, LocalGPTError | WireError)
    return str(error) if is_known else "an internal error; the server's log has the details"
