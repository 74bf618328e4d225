"""`POST /v1/audio/transcriptions`, `/v1/audio/translations` and `/v1/audio/speech`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from localgpt.errors import InputError
from localgpt.server.access import GatewayDep, Owner
from localgpt.server.answers import notices_header
from localgpt.server.errors import ERROR_REPLIES, EVENT_CONTENT
from localgpt.server.events import EventBodies, Events
from localgpt.server.gateway import Gateway
from localgpt.server.hearing import hear
from localgpt.server.schemas.audio import SpeechBody, TranscriptionForm, TranslationForm, VoiceName
from localgpt.server.schemas.common import ErrorBody
from localgpt.server.sound import MEDIA_TYPES, sound_of, speech_bodies
from localgpt.server.transcripts import SoundWire, transcript_bodies, transcript_response
from localgpt.server.translate import checked_text
from localgpt.server.uploads import Upload, read_form
from localgpt.server.voice import OPENAI_VOICES, lacking_is_told, require_voice, voice_model
from localgpt.server.work import EventStream, FileStream, run_for_client
from localgpt.tasks import AudioPart, ListenRequest, SpeakRequest, Timestamps

__all__ = ["router"]

router = APIRouter(tags=["audio"], dependencies=[Depends(require_voice)])

PCM_RATE: Final = 24_000  # Hz: what clients of the wire take headless samples for
_FILES: Final = frozenset({"file"})
_FORM_NAMES: Final = {"audio": "file"}  # of a task's parameters, as the form has them
_SPEECH_NAMES: Final = {"text": "input", "format": "response_format"}

FormT = TypeVar("FormT", bound=TranslationForm)
_NOT_HERE: dict[int | str, dict[str, Any]] = {
    **ERROR_REPLIES,
    501: {"model": ErrorBody, "description": "Voice is switched off, or no model here does this."},
    507: {"model": ErrorBody, "description": "The disk has no room for the recording."},
}


def _replies(*kinds: str) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    text = {"schema": {"type": "string"}}
    content: dict[str, Any] = {
        kind: text if kind.startswith("text/") else {} if kind.endswith("json") else binary for kind in kinds
    }
    return {**_NOT_HERE, 200: {"description": "What was asked for.", "content": content | EVENT_CONTENT}}


def _form_of(kind: type[TranslationForm]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    schema["properties"] = {"file": {"type": "string", "format": "binary"}, **schema["properties"]}
    schema["required"] = ["file"]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.post(
    "/v1/audio/transcriptions",
    response_class=Response,
    responses=_replies("application/json", "text/plain", "text/vtt"),
    openapi_extra=_form_of(TranscriptionForm),
)
async def create_transcription(request: Request, gateway: GatewayDep, owner: Owner) -> Response:
    """Write down what is said in a recording, whole or as server-sent events (`stream: true`)."""
    form, upload = await _read(request, gateway, TranscriptionForm)
    granularities = form.timestamp_granularities or ["segment"]
    if form.timestamp_granularities and form.response_format != "verbose_json":
        raise InputError(
            "timestamp_granularities needs response_format verbose_json, where the times are told",
            param="timestamp_granularities",
        )
    if form.stream and form.response_format not in ("json", "text"):
        raise InputError(
            f"response_format is {form.response_format}, but a stream tells texts alone; expected json, or "
            "stream false",
            param="response_format",
        )
    model_id, notices = await voice_model(gateway, form.model, "listen")
    task = _listening(form, upload, owner, model_id)
    if form.stream:
        events = Events(gateway, [task])
        bodies = EventBodies(_named(transcript_bodies(events, notices), model_id, _FORM_NAMES), events)
        return EventStream(bodies, gateway, headers=lambda: notices_header(notices), wire=SoundWire())
    with lacking_is_told(model_id), _renamed(_FORM_NAMES):
        result = await run_for_client(request, gateway, hear(gateway, task))
    told = [*notices, *result.notices]
    return transcript_response(result, form.response_format, told, granularities=granularities)


@router.post(
    "/v1/audio/translations",
    response_class=Response,
    responses=_replies("application/json", "text/plain", "text/vtt"),
    openapi_extra=_form_of(TranslationForm),
)
async def create_translation(request: Request, gateway: GatewayDep, owner: Owner) -> Response:
    """Write down in English what is said in a recording, where the model can."""
    form, upload = await _read(request, gateway, TranslationForm)
    model_id, notices = await voice_model(gateway, form.model, "listen")
    task = _listening(form, upload, owner, model_id)
    with lacking_is_told(model_id), _renamed(_FORM_NAMES | {"translate": "model"}):
        result = await run_for_client(request, gateway, hear(gateway, task))
    told = [*notices, *result.notices]
    return transcript_response(result, form.response_format, told, is_translation=True)


@router.post(
    "/v1/audio/speech", response_class=Response, responses=_replies(*sorted(set(MEDIA_TYPES.values())))
)
async def create_speech(body: SpeechBody, gateway: GatewayDep, owner: Owner) -> Response:
    """Say a text: a file that is sent as it is made, or server-sent events (`stream_format: sse`)."""
    text = checked_text(body.input, "input")
    model_id, notices = await voice_model(gateway, body.model, "speak")
    voice = body.voice.id if isinstance(body.voice, VoiceName) else body.voice
    if voice in OPENAI_VOICES and isinstance(body.voice, str):
        notices.append(f"The voice {voice} is not here; {model_id} speaks with its own.")
        voice = None
    with _renamed(_SPEECH_NAMES):
        task = SpeakRequest(
            id=f"speech-{uuid.uuid4().hex}",
            owner=owner,
            model=model_id,
            text=text,
            voice=voice,
            language=body.language,
            speed=body.speed,
            seed=body.seed,
            sample_rate=body.sample_rate or (PCM_RATE if body.response_format == "pcm" else None),
            format=body.response_format,
            wants_file=False,
        )
    events = Events(gateway, [task])
    if body.stream_format == "sse":
        texts = _named(speech_bodies(events, notices, text), model_id, _SPEECH_NAMES)
        bodies = EventBodies(texts, events)
        return EventStream(bodies, gateway, headers=lambda: notices_header(notices), wire=SoundWire())
    pieces = EventBodies(_named(sound_of(events, notices), model_id, _SPEECH_NAMES), events)
    kind = MEDIA_TYPES[body.response_format]
    return FileStream(pieces, gateway, media_type=kind, headers=lambda: notices_header(notices))


async def _read(request: Request, gateway: Gateway, kind: type[FormT]) -> tuple[FormT, Upload]:
    form = await read_form(request, gateway, files=_FILES)
    values = {name: value for name, value in form.values.items() if value not in ("", [""])}
    try:
        fields = kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestValidationError([{**first, "loc": ("body", *first["loc"])}]) from None
    if "file" not in form.files:
        raise RequestValidationError([{"type": "missing", "loc": ("body", "file"), "msg": "", "input": None}])
    return fields, form.files["file"]


def _listening(form: TranslationForm, upload: Upload, owner: str, model_id: str) -> ListenRequest:
    language, hints = None, [form.prompt] if form.prompt else []
    timestamps: Timestamps = "segment"
    if isinstance(form, TranscriptionForm):
        language = form.language or (form.languages[0] if form.languages else None)
        if form.languages and form.languages[0] != language:
            raise InputError("language and languages differ; send one of them", param="languages")
        if form.keywords:
            hints.insert(0, f"{', '.join(form.keywords)}.")
        if "word" in (form.timestamp_granularities or ()):
            timestamps = "word"
    if form.response_format in ("json", "text"):
        timestamps = "none"
    path = None if upload.path is None else str(upload.path)
    return ListenRequest(
        id=f"transcript-{uuid.uuid4().hex}",
        owner=owner,
        model=model_id,
        audio=AudioPart(data=upload.data, path=path, media_type=upload.media_type),
        language=language,
        translate=not isinstance(form, TranscriptionForm),
        timestamps=timestamps,
        prompt=" ".join(hints) or None,
        temperature=form.temperature,
        seed=form.seed,
    )


BodyT = TypeVar("BodyT", str, bytes)


async def _named(
    bodies: AsyncGenerator[BodyT], model_id: str, names: dict[str, str]
) -> AsyncGenerator[BodyT]:
    """Bodies whose failures are told as this route tells them."""
    with lacking_is_told(model_id), _renamed(names):
        async with aclosing(bodies):
            async for body in bodies:
                yield body


@contextmanager
def _renamed(names: dict[str, str]) -> Iterator[None]:
    """Name a task's parameters as the caller spelled them."""
    try:
        yield
    except InputError as error:
        if error.param in names:
            error.param = names[error.param]
        raise
