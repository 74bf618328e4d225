"""From the wire's shapes to the tasks' and back; no model, no decoding of pictures."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Sequence
from typing import TypeVar

from localgpt.errors import ImageFormatError, InputError
from localgpt.server.schemas.chat import ChatBody, UsageReply
from localgpt.server.schemas.embeddings import EmbeddingsBody
from localgpt.server.schemas.parts import (
    AssistantTurn,
    ImageUrlPart,
    InstructionTurn,
    TextContentPart,
    UserTurn,
)
from localgpt.tasks import ImagePart, Message, Part, SamplingOptions, TextPart, Usage

__all__ = ["embed_inputs", "float32_base64", "messages_of", "options_of", "usage_reply", "wire_notices"]

T = TypeVar("T")
_DETAIL_NOTICE = "detail={detail} was asked for; this model sees every picture at its one size (detail=low)"


def messages_of(body: ChatBody) -> tuple[Message, ...]:
    """The conversation as tasks know it.

    Raises:
        InputError: an empty message, or a picture that is not a usable data URL; `param` says which.
    """
    turns = tuple(_message(turn, f"messages[{index}]") for index, turn in enumerate(body.messages))
    if all(turn.role == "system" for turn in turns):
        raise InputError("messages holds no user message; expected at least one", param="messages")
    return turns


def _message(turn: InstructionTurn | UserTurn | AssistantTurn, param: str) -> Message:
    role = "system" if isinstance(turn, InstructionTurn) else turn.role
    parts: tuple[Part, ...]
    if isinstance(turn.content, str):
        parts = (TextPart(text=_checked(turn.content, f"{param}.content")),)
    else:
        parts = tuple(_part(part, f"{param}.content[{index}]") for index, part in enumerate(turn.content))
    is_empty = all(isinstance(part, TextPart) and not part.text.strip() for part in parts)
    if is_empty and role == "user":
        raise InputError("the message is empty; expected text or a picture", param=f"{param}.content")
    return Message(role=role, content=parts)


def _part(part: TextContentPart | ImageUrlPart, param: str) -> Part:
    if isinstance(part, TextContentPart):
        return TextPart(text=_checked(part.text, f"{param}.text"))
    return _image_part(part.image_url.url, f"{param}.image_url.url")


def _image_part(url: str, param: str) -> ImagePart:
    if not url.startswith("data:"):
        raise InputError(
            "only data: URLs are read, because this server fetches nothing from the network; "
            "send the picture itself as data:image/jpeg;base64,...",
            param=param,
        )
    head, comma, payload = url[len("data:") :].partition(",")
    media_type, *attributes = head.split(";")
    if not comma or "base64" not in attributes or not media_type.startswith("image/"):
        raise ImageFormatError(
            "the data URL is not a picture; expected data:image/<format>;base64,<data>", param=param
        )
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise ImageFormatError("the picture's base64 text is broken; send it again", param=param) from None
    if not data:
        raise ImageFormatError("the picture is empty; send the file's bytes", param=param)
    return ImagePart(data=data, media_type=media_type)


def options_of(body: ChatBody) -> SamplingOptions:
    """Sampling options; what the caller left out keeps the tasks' default.

    Raises:
        InputError: a value is out of range, or `max_tokens` and `max_completion_tokens` disagree.
    """
    limits = {limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None}
    if len(limits) > 1:
        raise InputError(
            "max_tokens and max_completion_tokens differ; send one of them", param="max_completion_tokens"
        )
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    stop = tuple(_checked(text, "stop") for text in stop)
    defaults = SamplingOptions()
    return SamplingOptions(
        temperature=_or(body.temperature, defaults.temperature),
        top_p=_or(body.top_p, defaults.top_p),
        top_k=_or(body.top_k, defaults.top_k),
        repetition_penalty=_or(body.repetition_penalty, defaults.repetition_penalty),
        max_tokens=next(iter(limits), defaults.max_tokens),
        stop=stop,
        seed=body.seed,
    )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def wire_notices(body: ChatBody) -> list[str]:
    """What of the request was read and could not be followed to the letter."""
    details = {
        part.image_url.detail
        for turn in body.messages
        if isinstance(turn, UserTurn) and isinstance(turn.content, list)
        for part in turn.content
        if isinstance(part, ImageUrlPart) and part.image_url.detail in ("high", "original")
    }
    return [_DETAIL_NOTICE.format(detail=detail) for detail in sorted(filter(None, details))]


def embed_inputs(body: EmbeddingsBody) -> tuple[TextPart | ImagePart, ...]:
    """Texts and pictures to embed, in order.

    Raises:
        InputError: an input is empty or not usable; `param` says which.
    """
    if isinstance(body.input, str):
        return (_embed_input(body.input, "input"),)
    return tuple(_embed_input(item, f"input[{index}]") for index, item in enumerate(body.input))


def _embed_input(item: str | TextContentPart | ImageUrlPart, param: str) -> TextPart | ImagePart:
    if isinstance(item, ImageUrlPart):
        return _image_part(item.image_url.url, f"{param}.image_url.url")
    text = item if isinstance(item, str) else item.text
    if not text.strip():
        raise InputError("the text is empty; expected at least one character", param=param)
    return TextPart(text=_checked(text, param))


def _checked(text: str, param: str) -> str:
    """`text` unchanged; JSON can write half of a character, which is no text."""
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    raise InputError("the text holds half of a character (a lone surrogate); send whole ones", param=param)


def float32_base64(vector: Sequence[float]) -> str:
    """Little-endian float32 numbers in base64, as the official client asks for by default."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def usage_reply(usage: Usage) -> UsageReply:
    """Token counts with their sum."""
    return UsageReply(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )
