"""A call's configuration: what holds, what a client changes of it, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from localgpt.server.errors import WireError, describe_invalid
from localgpt.server.functions import named_tool, tool_of
from localgpt.server.realtime.members import voice_of
from localgpt.server.realtime.sound import WireFormat
from localgpt.server.schemas.realtime import ResponseOptions, SemanticVad, ServerVad, SessionBody, VoiceId
from localgpt.server.schemas.responses import FunctionChoice
from localgpt.server.schemas.tools import LegacyFunction
from localgpt.tasks import SamplingOptions, Tool, ToolChoice

__all__ = [
    "INSTRUCTIONS",
    "AnswerOptions",
    "detection_of",
    "first_session",
    "merged",
    "read_as",
    "session_wire",
]

INSTRUCTIONS: Final = "You speak with the user. Answer in one or two short sentences, without lists."
"""What a session begins with, shown in `session.created`."""

_REFUSED: Final = {"prompt", "reasoning"}
_SECTIONS: Final = ("audio", "input", "output", "localgpt")  # merged field by field; all else is replaced
ModelT = TypeVar("ModelT", bound=BaseModel)


def read_as(kind: Any, value: Any, place: str = "") -> Any:
    """`value` as what `kind` says.

    Raises:
        WireError: 400; `param` is the path of the first field that is wrong.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        message, param = describe_invalid(error.errors()[0], place)
        raise WireError(400, message, param=param) from None


def first_session(kind: str = "realtime") -> SessionBody:
    """What a session begins with.

    Args:
        kind: "realtime" or "transcription".
    """
    values: dict[str, Any] = {
        "type": kind,
        "audio": {
            "input": {"format": {"type": "audio/pcm"}, "turn_detection": {"type": "server_vad"}},
            "output": {"format": {"type": "audio/pcm"}},
        },
    }
    if kind == "realtime":
        values["instructions"] = INSTRUCTIONS
    else:
        values["audio"]["input"]["transcription"] = {}
    return SessionBody.model_validate(values)


def merged(body: SessionBody, given: dict[str, Any]) -> SessionBody:
    """A session with what a client changes of it.

    Raises:
        WireError: 400; a value is not possible, and `param` says which.
    """
    read_as(SessionBody, {"type": body.type, **given}, "session")  # what is wrong is told by its own path
    held = body.model_dump(by_alias=True, exclude_none=True, exclude=_REFUSED)
    together = _merge(held, given)
    if together.get("type") != body.type:
        raise WireError(
            400,
            f"session.type is {together.get('type')!r}; this one is {body.type!r} to its end",
            param="session.type",
        )
    session: SessionBody = read_as(SessionBody, together, "session")
    return session


def _merge(held: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    together = dict(held)
    for name, value in given.items():
        known = held.get(name)
        if name in _SECTIONS and isinstance(value, dict) and isinstance(known, dict):
            together[name] = _merge(known, value)
        else:
            together[name] = value
    return together


def session_wire(body: SessionBody, *, session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    """The whole session as the wire shows it."""
    shown = body.model_dump(by_alias=True, exclude_none=True, exclude=_REFUSED | {"tracing"})
    sound = shown["audio"]
    sound["input"] = {"transcription": None, "turn_detection": None, "noise_reduction": None} | sound["input"]
    shown |= {
        "id": session_id,
        "object": "realtime.session" if body.type == "realtime" else "realtime.transcription_session",
        "expires_at": expires_at,
    }
    if body.type == "transcription":
        return {name: shown[name] for name in ("id", "object", "type", "expires_at", "include")} | {
            "audio": {"input": sound["input"]}
        }
    sound["output"] = {"voice": None} | sound["output"]
    return shown | {"model": model, "tracing": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """One answer: the session with what `response.create` says."""

    is_spoken: bool
    instructions: str | None
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice
    is_parallel: bool
    max_tokens: int | None  # None: as many as the model has
    voice: str | None  # as tasks know it
    voice_name: str | None  # as the client said it
    speed: float
    wire: WireFormat
    leaves_out_turns: bool
    metadata: dict[str, str] | None = None

    @classmethod
    def of(cls, session: SessionBody, given: ResponseOptions | None = None) -> AnswerOptions:
        """What holds for an answer.

        Raises:
            InputError, WireError: a tool or a choice cannot be used.
        """
        given = given or ResponseOptions()
        output = given.audio.output
        if given.modalities is not None and given.output_modalities not in (None, given.modalities):
            raise WireError(
                400, "modalities and output_modalities differ; send one", param="response.modalities"
            )
        modalities = given.output_modalities or given.modalities or session.output_modalities
        held = session.audio.output
        voice = held.voice if output.voice is None else output.voice
        tools = _tools(session.tools if given.tools is None else given.tools)
        choice = session.tool_choice if given.tool_choice is None else given.tool_choice
        limit = session.max_output_tokens if given.max_output_tokens is None else given.max_output_tokens
        return cls(
            is_spoken=modalities == ["audio"],
            instructions=session.instructions if given.instructions is None else given.instructions,
            tools=tools,
            tool_choice=_choice(choice, tools),
            is_parallel=session.parallel_tool_calls
            if given.parallel_tool_calls is None
            else given.parallel_tool_calls,
            max_tokens=None if limit == "inf" else limit,
            voice=voice_of(voice),
            voice_name=voice.id if isinstance(voice, VoiceId) else voice,
            speed=held.speed if "speed" not in output.model_fields_set else output.speed,
            wire=WireFormat.of(output.format or held.format),
            leaves_out_turns=session.truncation == "auto",
            metadata=given.metadata,
        )

    def sampling(self) -> SamplingOptions:
        """How tokens are chosen."""
        return SamplingOptions(max_tokens=self.max_tokens)


def detection_of(session: SessionBody) -> ServerVad | SemanticVad | None:
    """How turns are found; None where the client says when one is over."""
    return session.audio.input.turn_detection


def _tools(bodies: Any) -> tuple[Tool, ...]:
    tools: dict[str, Tool] = {}
    for place, body in enumerate(bodies):
        param = f"tools[{place}]"
        if body.name in tools:
            raise WireError(400, f"the name {body.name!r} stands twice", param=f"{param}.name")
        function = read_as(
            LegacyFunction,
            {"name": body.name, "description": body.description, "parameters": body.parameters},
            param,
        )
        tools[body.name] = tool_of(function, param)
    return tuple(tools.values())


def _choice(choice: str | FunctionChoice, tools: tuple[Tool, ...]) -> ToolChoice:
    if isinstance(choice, FunctionChoice):
        return named_tool(tools, choice.name, param="tool_choice.name")
    if choice == "required" and not tools:
        raise WireError(400, "tool_choice is 'required', but there are no tools", param="tool_choice")
    return ToolChoice(mode=choice)  # type: ignore[arg-type]
