"""Requests as the bodies that an upstream reads; what it would not honour is refused here, by name.

Rules told to the caller:

* `temperature` and `top_p` are always sent, so that what is left open means here what it means everywhere in
  LocalGPT. `top_k` is sent to servers that know it; for the others its default stands for "left open".
* What else is left open (`max_tokens`, `repetition_penalty`) is the upstream's to decide.
* With `tool_choice` "none" the tools are not sent; a named tool is sent alone, and one is demanded.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from localgpt.errors import ImageFormatError, InputError
from localgpt.media.text.template import DESCRIBE_PROMPTS
from localgpt.picture_types import picture_type
from localgpt.runtime.conversation import check_messages
from localgpt.runtime.upstream.address import Upstream
from localgpt.tasks import (
    AskRequest,
    ChatRequest,
    CompleteRequest,
    DescribeRequest,
    EmbedRequest,
    ImagePart,
    Message,
    SamplingOptions,
    TextPart,
    Tool,
)

__all__ = ["AnswerRequest", "answer_body", "answer_path", "embed_body"]

AnswerRequest = ChatRequest | CompleteRequest | DescribeRequest | AskRequest
_KINDS: Final = frozenset(("image/jpeg", "image/png", "image/webp", "image/gif"))  # that all servers read


def answer_path(request: AnswerRequest) -> str:
    """Where an upstream answers such a request."""
    return "/completions" if isinstance(request, CompleteRequest) else "/chat/completions"


def answer_body(request: AnswerRequest, upstream: Upstream, model: str) -> dict[str, Any]:
    """The body of a request that has an answer, which is always streamed.

    Args:
        request: what is asked.
        upstream: who is asked.
        model: as the upstream calls it.

    Raises:
        InputError: the upstream cannot do it; `param` names the field.
    """
    body = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    body |= _options(request.options, upstream)
    top_logprobs = request.options.top_logprobs
    if isinstance(request, CompleteRequest):
        return (
            body | {"prompt": request.prompt} | ({} if top_logprobs is None else {"logprobs": top_logprobs})
        )
    if top_logprobs is not None:
        body |= {"logprobs": True} | ({"top_logprobs": top_logprobs} if top_logprobs else {})
    if isinstance(request, ChatRequest):
        check_messages(request.messages)
        body["messages"] = [_turn(message) for message in request.messages]
        return body | _tools(request, upstream) | _format(request)
    text = request.question if isinstance(request, AskRequest) else DESCRIBE_PROMPTS[request.language]
    if not text.strip():
        raise InputError("got an empty question, expected some words", param="question")
    content = (request.image, TextPart(text=text))
    return body | {"messages": [_turn(Message(role="user", content=content), image_param="image")]}


def embed_body(request: EmbedRequest, upstream: Upstream, model: str) -> dict[str, Any]:
    """The body of a request to embed; errors as `answer_body`."""
    if not request.inputs:
        raise InputError("got nothing to embed, expected at least one text or picture", param="input")
    inputs: list[Any] = []
    for number, part in enumerate(request.inputs):
        param = "input" if len(request.inputs) == 1 else f"input[{number}]"
        if isinstance(part, ImagePart):
            if not upstream.dialect.embeds_pictures:
                raise _cannot(upstream, "embed pictures", param)
            inputs.append(_picture(part, f"{param}.image_url.url"))
        elif not part.text.strip():
            raise InputError("got an empty text to embed, expected some words", param=param)
        else:
            inputs.append(part.text)
    body = {"model": model, "input": inputs, "encoding_format": "float"}
    return body | ({} if request.dimensions is None else {"dimensions": request.dimensions})


def _options(options: SamplingOptions, upstream: Upstream) -> dict[str, Any]:
    dialect = upstream.dialect
    body: dict[str, Any] = {"temperature": options.temperature, "top_p": options.top_p}
    if dialect.top_k:
        body["top_k"] = options.top_k
    elif options.top_k != SamplingOptions().top_k:
        raise _cannot(upstream, "use top_k", "top_k")
    if options.repetition_penalty is not None:
        if dialect.repetition_penalty is None and options.repetition_penalty != 1.0:
            raise _cannot(upstream, "use repetition_penalty", "repetition_penalty")
        if dialect.repetition_penalty is not None:
            body[dialect.repetition_penalty] = options.repetition_penalty
    if options.logit_bias:
        if not dialect.logit_bias:
            raise _cannot(upstream, "use logit_bias", "logit_bias")
        body["logit_bias"] = {str(entry.token_id): entry.bias for entry in options.logit_bias}
    if options.top_logprobs is not None and not dialect.logprobs:
        raise _cannot(upstream, "send log probabilities", "logprobs")
    for name in ("frequency_penalty", "presence_penalty"):
        if value := getattr(options, name):
            body[name] = value
    if options.max_tokens is not None:
        body["max_tokens"] = options.max_tokens
    if options.stop:
        body["stop"] = list(options.stop)
    return body | ({} if options.seed is None else {"seed": options.seed})


def _tools(request: ChatRequest, upstream: Upstream) -> dict[str, Any]:
    choice, tools = request.tool_choice, request.tools
    if choice.mode in ("required", "named") and not tools:
        raise InputError(
            f"tool_choice is {choice.mode} but there are no tools; send some, or leave tool_choice out",
            param="tool_choice",
        )
    if choice.mode == "named":
        known = ", ".join(tool.name for tool in tools)
        tools = tuple(tool for tool in tools if tool.name == choice.name)
        if not tools:
            raise InputError(
                f"tool_choice names {choice.name!r}, expected one of {known}", param="tool_choice"
            )
    if not tools or choice.mode == "none":
        return {}
    body: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]}
    if choice.mode in ("required", "named"):
        if not upstream.dialect.forces_tools:
            raise _cannot(upstream, "be made to call a tool", "tool_choice")
        body["tool_choice"] = "required"
    if not request.parallel_tool_calls:
        if not upstream.dialect.single_calls:
            raise _cannot(upstream, "be kept to one call at a time", "parallel_tool_calls")
        body["parallel_tool_calls"] = False
    return body


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = _schema(tool.parameters, "tools")
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _format(request: ChatRequest) -> dict[str, Any]:
    if request.answer_format.kind == "text":
        return {}
    text = request.answer_format.schema
    if text is None:
        return {"response_format": {"type": "json_object"}}
    schema = {"name": "answer", "strict": True, "schema": _schema(text, "response_format")}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _schema(text: str, param: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(
            f"{param} holds a schema that is not JSON; expected an object", param=param
        ) from None


def _turn(message: Message, *, image_param: str = "messages") -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": _content(message, image_param)}
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        turn["content"] = turn["content"] or None
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return turn


def _content(message: Message, image_param: str) -> str | list[dict[str, Any]]:
    """A text as text, since not every server reads parts; parts where there is more than one."""
    if all(isinstance(part, TextPart) for part in message.content):
        return "\n".join(part.text for part in message.content if isinstance(part, TextPart))
    return [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else _picture(part, image_param)
        for part in message.content
    ]


def _picture(image: ImagePart, param: str) -> dict[str, Any]:
    """A picture as it arrived, in a data URL; its kind is read from its first bytes, not from its name."""
    kind = picture_type(image.data)
    if kind not in _KINDS:
        raise ImageFormatError(
            "the picture is none that other servers read; send JPEG, PNG, WebP or GIF", param=param
        )
    data = base64.b64encode(image.data).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def _cannot(upstream: Upstream, what: str, param: str) -> InputError:
    return InputError(
        f"upstream {upstream.name} ({upstream.kind}) cannot {what}; leave {param} out, or ask another model",
        param=param,
    )
