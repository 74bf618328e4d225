"""`/v1/realtime`: the session and what a client may send; every field is honoured or refused by name.

The shapes are those of the GA wire. `tracing` is read over: this server sends nothing to anybody.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from localgpt.server.schemas.common import Body, refused
from localgpt.server.schemas.realtime_items import Item
from localgpt.server.schemas.responses import FunctionChoice, FunctionTool, Metadata
from localgpt.server.schemas.tags import type_tag

__all__ = [
    "MAX_OUTPUT_TOKENS",
    "AudioFormat",
    "ClientEvent",
    "ItemCreate",
    "ItemDelete",
    "ItemRetrieve",
    "ItemTruncate",
    "Modality",
    "ResponseCancel",
    "ResponseCreate",
    "ResponseOptions",
    "SecretBody",
    "SemanticVad",
    "ServerVad",
    "SessionBody",
    "SessionUpdate",
    "SoundAppend",
    "SoundClear",
    "SoundCommit",
    "VoiceId",
]

MAX_OUTPUT_TOKENS: Final = 4096
MAX_INSTRUCTION_CHARS: Final = 100_000
Modality = Literal["text", "audio"]


def _spoken() -> list[Modality]:
    return ["audio"]


def _one_modality(value: Any) -> Any:
    """The older spelling asks for text beside the sound, which always comes with its transcript."""
    return ["audio"] if isinstance(value, list) and sorted(map(str, value)) == ["audio", "text"] else value


Modalities = Annotated[
    list[Modality], Field(min_length=1, max_length=1, fail_fast=True), BeforeValidator(_one_modality)
]
Instructions = Annotated[str, Field(max_length=MAX_INSTRUCTION_CHARS)]
MaxTokens = Annotated[int, Field(ge=1, le=MAX_OUTPUT_TOKENS)] | Literal["inf"]


class PcmFormat(Body):
    """16 bits, little endian, one channel."""

    type: Literal["audio/pcm"]
    rate: Literal[24000] = 24000


class G711Format(Body):
    """8 kHz, 8 bits, of telephones."""

    type: Literal["audio/pcmu", "audio/pcma"]


AudioFormat = Annotated[
    Annotated[PcmFormat, Tag("tag:audio/pcm")]
    | Annotated[G711Format, Tag("tag:audio/pcmu")]
    | Annotated[G711Format, Tag("tag:audio/pcma")],
    Discriminator(
        type_tag,
        custom_error_type="audio_format",
        custom_error_message="expected an object whose type is audio/pcm, audio/pcmu or audio/pcma",
    ),
]


class ServerVad(Body):
    """A turn ends with a silence."""

    type: Literal["server_vad"]
    threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5000)] = 300
    silence_duration_ms: Annotated[int, Field(ge=40, le=10_000)] = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: Annotated[None, refused("nobody is spoken to unasked here")] = None


class SemanticVad(Body):
    """A turn ends where what was said sounds finished."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = Annotated[
    Annotated[ServerVad, Tag("tag:server_vad")] | Annotated[SemanticVad, Tag("tag:semantic_vad")],
    Discriminator(
        type_tag,
        custom_error_type="turn_detection",
        custom_error_message="expected null or an object whose type is server_vad or semantic_vad",
    ),
]


class Transcription(Body):
    """Which model writes down what the user says; the client is told what it wrote."""

    model: str | None = None
    language: str | None = None
    prompt: Annotated[str, Field(max_length=10_000)] | None = None
    delay: Annotated[None, refused("a turn is written down as soon as it can be")] = None
    keywords: Annotated[None, refused("write the words into prompt")] = None
    languages: Annotated[None, refused("name one language, or none to have it found out")] = None


class AudioInput(Body):
    """What the user says."""

    format: AudioFormat | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = None
    noise_reduction: Annotated[None, refused("sound is heard as it comes; let the client reduce noise")] = (
        None
    )


class VoiceId(Body):
    """A voice by its id."""

    id: str


class AudioOutput(Body):
    """What the user hears."""

    format: AudioFormat | None = None
    voice: str | VoiceId | None = None
    speed: Annotated[float, Field(ge=0.25, le=1.5)] = 1.0


class SessionAudio(Body):
    """Both directions."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


Tools = Annotated[
    list[
        Annotated[
            Annotated[FunctionTool, Tag("tag:function")],
            Discriminator(
                type_tag,
                custom_error_type="tool",
                custom_error_message="only tools of type function are supported; this server runs none of "
                "its own (MCP ...)",
            ),
        ]
    ],
    Field(max_length=128, fail_fast=True),
]


def _choice_tag(value: Any) -> str | None:
    return "tag:mode" if isinstance(value, str) else type_tag(value)


ToolChoiceField = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("tag:mode")]
    | Annotated[FunctionChoice, Tag("tag:function")],
    Discriminator(
        _choice_tag,
        custom_error_type="tool_choice",
        custom_error_message="expected none, auto, required, or an object whose type is function",
    ),
]


class Members(Body):
    """This server's own: the models that listen and speak, where the wire has no field for them."""

    listener: str | None = None
    speaker: str | None = None


class SessionBody(Body):
    """A session's configuration; `session.update` sends the part of it that changes."""

    type: Literal["realtime", "transcription"] = "realtime"
    model: str | None = None
    output_modalities: Modalities = Field(default_factory=_spoken)
    instructions: Instructions | None = None
    audio: SessionAudio = SessionAudio()
    tools: Tools = Field(default_factory=list)
    tool_choice: ToolChoiceField = "auto"
    parallel_tool_calls: bool = True
    max_output_tokens: MaxTokens = "inf"
    truncation: Literal["auto", "disabled"] = "auto"
    tracing: Any = None
    include: Annotated[list[str], Field(max_length=0)] = Field(default_factory=list)
    localgpt: Members = Members()
    prompt: Annotated[None, refused("this server keeps no prompts; send instructions")] = None
    reasoning: Annotated[None, refused("the model answers without a reasoning phase")] = None


class ResponseAudio(Body):
    """How this answer is spoken."""

    output: AudioOutput = AudioOutput()


class ResponseOptions(Body):
    """What is different for this answer; what is left out is as in the session."""

    output_modalities: Modalities | None = None
    modalities: Modalities | None = None  # the older spelling
    instructions: Instructions | None = None
    audio: ResponseAudio = ResponseAudio()
    tools: Tools | None = None
    tool_choice: ToolChoiceField | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: MaxTokens | None = None
    metadata: Metadata | None = None
    conversation: Literal["auto"] | None = None
    input: Annotated[None, refused("an answer reads the conversation; create items in it first")] = None
    prompt: Annotated[None, refused("this server keeps no prompts; send instructions")] = None
    reasoning: Annotated[None, refused("the model answers without a reasoning phase")] = None


class _Event(Body):
    event_id: Annotated[str, Field(max_length=512)] | None = None


class SessionUpdate(_Event):
    """Change the session; read by `SessionBody` once it is merged with what holds."""

    type: Literal["session.update"]
    session: dict[str, Any]


class SoundAppend(_Event):
    """More of what the user says; there is no answer to it."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class SoundCommit(_Event):
    """The user's turn is over."""

    type: Literal["input_audio_buffer.commit"]


class SoundClear(_Event):
    """Forget what was said and not committed."""

    type: Literal["input_audio_buffer.clear"]


class ItemCreate(_Event):
    """Put something into the conversation."""

    type: Literal["conversation.item.create"]
    item: Item
    previous_item_id: str | None = None


class ItemRetrieve(_Event):
    """Get an item with its sound."""

    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemTruncate(_Event):
    """Only so much of an answer was heard."""

    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: Annotated[int, Field(ge=0)]
    audio_end_ms: Annotated[int, Field(ge=0)]


class ItemDelete(_Event):
    """Take an item out of the conversation."""

    type: Literal["conversation.item.delete"]
    item_id: str


class ResponseCreate(_Event):
    """Answer now."""

    type: Literal["response.create"]
    response: ResponseOptions = ResponseOptions()


class ResponseCancel(_Event):
    """Stop answering."""

    type: Literal["response.cancel"]
    response_id: str | None = None


ClientEvent = Annotated[
    Annotated[SessionUpdate, Tag("tag:session.update")]
    | Annotated[SoundAppend, Tag("tag:input_audio_buffer.append")]
    | Annotated[SoundCommit, Tag("tag:input_audio_buffer.commit")]
    | Annotated[SoundClear, Tag("tag:input_audio_buffer.clear")]
    | Annotated[ItemCreate, Tag("tag:conversation.item.create")]
    | Annotated[ItemRetrieve, Tag("tag:conversation.item.retrieve")]
    | Annotated[ItemTruncate, Tag("tag:conversation.item.truncate")]
    | Annotated[ItemDelete, Tag("tag:conversation.item.delete")]
    | Annotated[ResponseCreate, Tag("tag:response.create")]
    | Annotated[ResponseCancel, Tag("tag:response.cancel")],
    Discriminator(
        type_tag,
        custom_error_type="client_event",
        custom_error_message="no such event; expected one of session.update, input_audio_buffer.append, "
        "input_audio_buffer.commit, input_audio_buffer.clear, conversation.item.create, "
        "conversation.item.retrieve, conversation.item.truncate, conversation.item.delete, response.create "
        "and response.cancel",
    ),
]


class ExpiresAfter(Body):
    """How long a secret opens sessions."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class SecretBody(Body):
    """`POST /v1/realtime/client_secrets`: a key for a browser, which opens calls alone and soon expires."""

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] | None = None
