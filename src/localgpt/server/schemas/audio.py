"""`/v1/audio/*`: every documented parameter is here, and is honoured or refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from localgpt.server.schemas.common import Body, Extension, Incoming, Reply, refused

__all__ = [
    "DurationUsage",
    "SpeechBody",
    "TranscriptReply",
    "TranscriptionForm",
    "TranslationForm",
    "VerboseReply",
    "VerboseSegment",
    "VerboseWord",
    "VoiceName",
]

_ONE_VOICE = "speakers are not told apart; leave it out"
_WORD = Annotated[str, Field(min_length=1, max_length=256)]
_LANGUAGE = Annotated[str, Field(min_length=1, max_length=64)]


def _refuse_strategy(value: Any) -> Any:
    if value is None or value == "auto":
        return value
    raise PydanticCustomError(
        "refused",
        "the model's own times decide where a recording is cut, not a detector's settings; expected auto, "
        "or leave it out",
    )


def _refuse_logprobs(value: Any) -> Any:
    if value in (None, []):
        return value
    raise PydanticCustomError(
        "refused",
        "log probabilities of tokens are not told; response_format verbose_json has avg_logprob of each "
        "segment",
    )


def _refuse_speakers(value: Any) -> Any:
    if value == "diarized_json":
        raise PydanticCustomError("refused", "speakers are not told apart; expected another format")
    return value


class TranslationForm(Incoming):
    """What is said, in English. Fields of a form are texts; numbers are read from them."""

    model: str | None = None
    prompt: Annotated[str, Field(max_length=10_000)] | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None  # extension: of a temperature above 0


class TranscriptionForm(TranslationForm):
    """What is said, in its own language."""

    language: _LANGUAGE | None = None
    languages: Annotated[list[_LANGUAGE], Field(max_length=1)] | None = None
    keywords: Annotated[list[_WORD], Field(max_length=256)] | None = None
    response_format: Annotated[
        Literal["json", "text", "srt", "verbose_json", "vtt"], BeforeValidator(_refuse_speakers)
    ] = "json"
    timestamp_granularities: Annotated[list[Literal["word", "segment"]], Field(max_length=2)] | None = None
    stream: bool = False
    chunking_strategy: Annotated[Literal["auto"] | None, BeforeValidator(_refuse_strategy)] = None
    include: Annotated[list[str] | None, BeforeValidator(_refuse_logprobs)] = None
    known_speaker_names: Annotated[None, refused(_ONE_VOICE)] = None
    known_speaker_references: Annotated[None, refused(_ONE_VOICE)] = None


class DurationUsage(Reply):
    """How long the recording is, rounded up."""

    type: Literal["duration"] = "duration"
    seconds: int


class TranscriptReply(Reply):
    """What is said."""

    text: str
    usage: DurationUsage
    localgpt: Extension = Extension()


class VerboseSegment(Reply):
    """A run of speech; times in seconds."""

    id: int
    seek: int  # where the stretch begins that was heard at once, in hundredths of a second
    start: float
    end: float
    text: str
    tokens: list[int]  # of the model's own vocabulary
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class VerboseWord(Reply):
    """A word and when it is said, in seconds."""

    word: str
    start: float
    end: float


class VerboseReply(Reply):
    """What is said and when; `segments` and `words` are there when they were asked for."""

    task: Literal["transcribe", "translate"]
    language: str  # its English name; `unknown` where nobody speaks
    duration: float
    text: str
    segments: list[VerboseSegment] | None = None
    words: list[VerboseWord] | None = None
    usage: DurationUsage
    localgpt: Extension = Extension()


class VoiceName(Body):
    """A voice by its id."""

    id: Annotated[str, Field(min_length=1, max_length=256)]


_Voice = Annotated[
    Annotated[str, Field(min_length=1, max_length=256), Tag("tag:string")]
    | Annotated[VoiceName, Tag("tag:voice")],
    Discriminator(lambda value: "tag:voice" if isinstance(value, dict | VoiceName) else "tag:string"),
]


class SpeechBody(Body):
    """A text to say."""

    model: str | None = None
    input: Annotated[str, Field(max_length=50_000)]
    voice: _Voice | None = None
    instructions: Annotated[None, refused("how a voice sounds cannot be described; leave it out")] = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4.0, allow_inf_nan=False)] = 1.0
    stream_format: Literal["sse", "audio"] = "audio"
    language: _LANGUAGE | None = None  # extension
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None  # extension
    sample_rate: Annotated[int, Field(ge=8000, le=48_000)] | None = None  # extension: Hz
