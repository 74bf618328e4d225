"""From the wire's shapes to the tasks' and back; no model, no decoding of pictures."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from localgpt.errors import ImageFormatError, InputError
from localgpt.server.schemas.common import PromptTokensDetails, UsageReply
from localgpt.server.schemas.embeddings import EmbeddingsBody
from localgpt.server.schemas.parts import ImageUrlPart, TextContentPart
from localgpt.server.schemas.sampling import GenerationBody
from localgpt.tasks import (
    ChatRequest,
    CompleteRequest,
    ImagePart,
    SamplingOptions,
    TextPart,
    TokenBias,
    Usage,
)

__all__ = [
    "checked_text",
    "choices_of",
    "embed_inputs",
    "float32_base64",
    "image_part",
    "options_of",
    "usage_reply",
]

T = TypeVar("T")
TaskT = TypeVar("TaskT", ChatRequest, CompleteRequest)


def checked_text(text: str, param: str) -> str:
    """`text` unchanged; JSON can write half of a character, which is no text.

    Raises:
        InputError: it holds a lone surrogate; `param` names the field.
    """
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    raise InputError("the text holds half of a character (a lone surrogate); send whole ones", param=param)


def image_part(url: str, param: str) -> ImagePart:
    """The picture of a data URL, still encoded.

    Raises:
        InputError: another kind of URL.
        ImageFormatError: the URL holds no picture, or its text is broken.
    """
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


def options_of(
    body: GenerationBody,
    *,
    max_tokens: int | None = None,
    top_logprobs: int | None = None,
    temperature: float | None = None,
) -> SamplingOptions:
    """Sampling options; what the caller left out keeps the tasks' default.

    Args:
        body: a body with the shared parameters.
        max_tokens: what to take for `max_tokens` where the body leaves it out.
        top_logprobs: alternatives of each token; None for no log probabilities.
        temperature: the task's own default, where it has one.

    Raises:
        InputError: a stop string is no text.
    """
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    defaults = SamplingOptions()
    return SamplingOptions(
        temperature=_or(body.temperature, _or(temperature, defaults.temperature)),
        top_p=_or(body.top_p, defaults.top_p),
        top_k=_or(body.top_k, defaults.top_k),
        max_tokens=_or(body.max_tokens, max_tokens),
        repetition_penalty=body.repetition_penalty,
        frequency_penalty=_or(body.frequency_penalty, defaults.frequency_penalty),
        presence_penalty=_or(body.presence_penalty, defaults.presence_penalty),
        logit_bias=tuple(
            TokenBias(token_id=int(token_id), bias=bias) for token_id, bias in (body.logit_bias or {}).items()
        ),
        top_logprobs=top_logprobs,
        stop=tuple(checked_text(text, "stop") for text in stop),
        seed=body.seed,
    )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def choices_of(task: TaskT, num_choices: int) -> list[TaskT]:
    """A task for each choice; a seed counts up, so that choices differ and can be made again."""
    tasks = [task]
    for index in range(1, num_choices):
        seed = task.options.seed
        # Beyond the largest seed comes the smallest.
        options = task.options if seed is None else replace(task.options, seed=_as_int64(seed + index))
        tasks.append(replace(task, id=f"{task.id}-{index}", options=options))
    return tasks


def _as_int64(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


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
        return image_part(item.image_url.url, f"{param}.image_url.url")
    text = item if isinstance(item, str) else item.text
    if not text.strip():
        raise InputError("the text is empty; expected at least one character", param=param)
    return TextPart(text=checked_text(text, param))


def float32_base64(vector: Sequence[float]) -> str:
    """Little-endian float32 numbers in base64, as the official client asks for by default."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def usage_reply(usages: Sequence[Usage]) -> UsageReply:
    """Token counts of answers to one prompt, which counts once for all of them.

    Tokens of it count as cached where they were so for each answer.
    """
    read = usages[0].prompt_tokens
    written = sum(usage.completion_tokens for usage in usages)
    cached = min(usage.cached_tokens for usage in usages)
    return UsageReply(
        prompt_tokens=read,
        completion_tokens=written,
        total_tokens=read + written,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
    )
