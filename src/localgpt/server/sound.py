"""Spoken answers as they are made: bytes of a file, or server-sent events that hold them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from localgpt.server.events import Events, news_of
from localgpt.tasks import SpeakChunk, SpeechFormat

__all__ = ["MEDIA_TYPES", "sound_of", "speech_bodies"]

MEDIA_TYPES: Final[Mapping[SpeechFormat, str]] = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
}
"""As `media.audio_files` has them, which this process does not load."""


async def sound_of(events: Events, notices: list[str]) -> AsyncGenerator[bytes]:
    """The bytes of one request to speak, as they are made; notices before the first are added."""
    async for _, event, _ in news_of(events, notices):
        if isinstance(event, SpeakChunk) and event.data:
            yield event.data


async def speech_bodies(events: Events, notices: list[str], text: str) -> AsyncGenerator[str]:
    """The events of a stream: bytes of the file in base64 as they are made, then what it took.

    Voices read characters and make samples: those of the text are the tokens read, and none are written.
    """
    async for data in sound_of(events, notices):
        audio = base64.b64encode(data).decode("ascii")
        yield json.dumps({"type": "speech.audio.delta", "audio": audio})
    usage = {"input_tokens": len(text), "output_tokens": 0, "total_tokens": len(text)}
    yield json.dumps({"type": "speech.audio.done", "usage": usage})
