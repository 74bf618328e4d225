"""What was heard, in the forms of the wire: JSON, plain text, subtitles, and server-sent events."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal

from fastapi import Response
from fastapi.responses import JSONResponse, PlainTextResponse

from localgpt.server.answers import notices_header
from localgpt.server.events import Events, news_of
from localgpt.server.languages import language_name
from localgpt.server.schemas.audio import (
    DurationUsage,
    TranscriptReply,
    VerboseReply,
    VerboseSegment,
    VerboseWord,
)
from localgpt.server.schemas.common import Extension
from localgpt.server.work import StreamWire
from localgpt.tasks import ListenResult, SpeechSegment, TextDelta
from localgpt.tasks.subtitles import as_srt, as_vtt

__all__ = ["SoundWire", "TranscriptFormat", "transcript_bodies", "transcript_response"]

TranscriptFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]


class SoundWire(StreamWire):
    """How streams of the audio routes are written: the last event says that it is, and nothing follows."""

    last = ""


def transcript_response(
    result: ListenResult,
    format: TranscriptFormat,
    notices: Sequence[str],
    *,
    granularities: Sequence[str] = ("segment",),
    is_translation: bool = False,
) -> Response:
    """A whole transcript.

    Args:
        result: what was heard.
        format: how to write it.
        notices: what the caller should know; the header tells it, and JSON besides.
        granularities: which times `verbose_json` tells.
        is_translation: it was written in English.
    """
    headers = notices_header(notices)
    if format == "text":
        return PlainTextResponse(f"{result.text}\n", headers=headers)
    if format == "srt":
        return PlainTextResponse(as_srt(result), headers=headers)
    if format == "vtt":
        return Response(as_vtt(result), media_type="text/vtt; charset=utf-8", headers=headers)
    usage = DurationUsage(seconds=math.ceil(result.duration_s))
    extension = Extension(notices=list(notices))
    if format == "json":
        reply = TranscriptReply(text=result.text, usage=usage, localgpt=extension)
        return JSONResponse(reply.model_dump(), headers=headers)
    verbose = VerboseReply(
        task="translate" if is_translation else "transcribe",
        language=language_name(result.language),
        duration=result.duration_s,
        text=result.text,
        segments=_segments(result) if "segment" in granularities else None,
        words=_words(result) if "word" in granularities else None,
        usage=usage,
        localgpt=extension,
    )
    return JSONResponse(verbose.model_dump(exclude_none=True), headers=headers)


async def transcript_bodies(events: Events, notices: list[str]) -> AsyncGenerator[str]:
    """The events of a stream: pieces of text as they are heard, then the whole.

    Args:
        events: of one request to listen.
        notices: known before; those that come before the first piece are added.
    """
    pieces: list[str] = []
    late: list[str] = []
    async for _, event, untold in news_of(events, notices):
        late += untold
        if isinstance(event, TextDelta):
            pieces.append(event.text)
            yield json.dumps({"type": "transcript.text.delta", "delta": event.text}, ensure_ascii=False)
    done: dict[str, Any] = {"type": "transcript.text.done", "text": "".join(pieces)}
    if late:
        done["localgpt"] = Extension(notices=late).model_dump()
    yield json.dumps(done, ensure_ascii=False)


def _segments(result: ListenResult) -> list[VerboseSegment]:
    return [
        VerboseSegment(
            id=number,
            seek=round(100 * segment.heard_from_s),
            start=round(segment.start_s, 3),
            end=round(segment.end_s, 3),
            text=segment.text,
            tokens=list(segment.token_ids),
            temperature=segment.temperature,
            avg_logprob=segment.avg_logprob,
            compression_ratio=_compression_ratio(segment),
            no_speech_prob=segment.no_speech_prob,
        )
        for number, segment in enumerate(result.segments)
    ]


def _words(result: ListenResult) -> list[VerboseWord]:
    return [
        VerboseWord(word=word.text, start=round(word.start_s, 3), end=round(word.end_s, 3))
        for word in result.words
    ]


def _compression_ratio(segment: SpeechSegment) -> float:
    """Bytes by compressed bytes: what goes in circles has a high one."""
    data = segment.text.encode("utf-8", "replace")
    return round(len(data) / len(zlib.compress(data)), 4) if data else 0.0
