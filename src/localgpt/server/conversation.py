"""From the messages of the chat wire to the conversation as tasks know it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from localgpt.errors import InputError
from localgpt.server.schemas.parts import (
    AssistantTurn,
    ChatTurn,
    FunctionTurn,
    ImageUrlPart,
    InputAudioPart,
    InstructionTurn,
    RefusalPart,
    TextContentPart,
    ToolTurn,
    UserTurn,
)
from localgpt.server.translate import checked_text, image_part
from localgpt.tasks import Message, Part, TextPart, ToolCall

__all__ = ["conversation_notices", "detail_notice", "messages_of"]

_Content = str | Sequence[TextContentPart | ImageUrlPart | InputAudioPart | RefusalPart] | None


def messages_of(turns: Sequence[ChatTurn]) -> tuple[Message, ...]:
    """The conversation as tasks know it.

    Raises:
        InputError: a message is empty, a picture is not a usable data URL, or a tool's message answers no
            call of the assistant; `param` says which.
    """
    messages: list[Message] = []
    open_calls: dict[str, str] = {}  # id to name, of calls that were not answered yet
    for index, turn in enumerate(turns):
        message = _message(turn, f"messages[{index}]", open_calls)
        open_calls.update((call.id, call.name) for call in message.tool_calls)
        messages.append(message)
    if all(message.role == "system" for message in messages):
        raise InputError("messages holds no user message; expected at least one", param="messages")
    return tuple(messages)


def _message(turn: ChatTurn, param: str, open_calls: dict[str, str]) -> Message:
    match turn:
        case InstructionTurn():
            return Message(role="system", content=_parts(turn.content, param))
        case UserTurn():
            return _user_message(turn, param)
        case AssistantTurn():
            return _assistant_message(turn, param)
        case ToolTurn():
            if turn.tool_call_id not in open_calls:
                raise InputError(
                    "no call of that id waits for an answer; expected one of the tool_calls before",
                    param=f"{param}.tool_call_id",
                )
            del open_calls[turn.tool_call_id]
            parts = _parts(turn.content, param)
            return Message(role="tool", content=parts, tool_call_id=turn.tool_call_id)
        case FunctionTurn():
            waiting = [id for id, name in open_calls.items() if name == turn.name]
            if not waiting:
                raise InputError(
                    "no call of that function waits for an answer; expected a function_call before",
                    param=f"{param}.name",
                )
            del open_calls[waiting[0]]
            return Message(role="tool", content=_parts(turn.content, param), tool_call_id=waiting[0])
        case _:
            assert_never(turn)


def _user_message(turn: UserTurn, param: str) -> Message:
    parts = _parts(turn.content, param)
    if all(isinstance(part, TextPart) and not part.text.strip() for part in parts):
        raise InputError("the message is empty; expected text or a picture", param=f"{param}.content")
    return Message(role="user", content=parts)


def _assistant_message(turn: AssistantTurn, param: str) -> Message:
    calls = [
        ToolCall(
            id=checked_text(call.id, f"{param}.tool_calls[{index}].id"),
            name=call.function.name,
            arguments=checked_text(
                call.function.arguments, f"{param}.tool_calls[{index}].function.arguments"
            ),
        )
        for index, call in enumerate(turn.tool_calls or ())
    ]
    if turn.function_call is not None:
        text = checked_text(turn.function_call.arguments, f"{param}.function_call.arguments")
        calls.append(ToolCall(id=f"{param}.function_call", name=turn.function_call.name, arguments=text))
    content: _Content = turn.content
    if content is None and turn.refusal is not None:
        content = turn.refusal
    if content is None and not calls:
        raise InputError(
            "the message is empty; expected content, a refusal or calls", param=f"{param}.content"
        )
    return Message(role="assistant", content=_parts(content, param), tool_calls=tuple(calls))


def _parts(content: _Content, param: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(text=checked_text(content, f"{param}.content")),)
    return tuple(_part(part, f"{param}.content[{index}]") for index, part in enumerate(content))


def _part(part: TextContentPart | ImageUrlPart | InputAudioPart | RefusalPart, param: str) -> Part:
    if isinstance(part, InputAudioPart):
        raise AssertionError("recordings are written down before a conversation is read")
    if isinstance(part, ImageUrlPart):
        return image_part(part.image_url.url, f"{param}.image_url.url")
    if isinstance(part, RefusalPart):
        return TextPart(text=checked_text(part.refusal, f"{param}.refusal"))
    return TextPart(text=checked_text(part.text, f"{param}.text"))


def conversation_notices(turns: Sequence[ChatTurn]) -> list[str]:
    """What of a conversation was read and could not be followed to the letter."""
    details = {
        part.image_url.detail
        for turn in turns
        if isinstance(turn, UserTurn) and isinstance(turn.content, list)
        for part in turn.content
        if isinstance(part, ImageUrlPart)
    }
    notices = [detail_notice(detail) for detail in ("high", "original") if detail in details]
    if any(isinstance(turn, AssistantTurn) and turn.reasoning_content for turn in turns):
        notices.append("reasoning_content of earlier answers was left out; this model does not read it")
    return notices


def detail_notice(detail: str) -> str:
    """What is told about a picture that shall be seen more sharply than the model sees."""
    return f"detail={detail} was asked for; this model sees every picture at its one size (detail=low)"
