"""One answer in the making: words from the model that answers, and their sound from the one that speaks.

It is made ahead of its reader, up to a bound, so that it can begin before it is certain that the user's turn
is over. The words are never held up: whoever holds the models must not wait for whoever speaks, who may be
waiting for the models. Closing it cancels the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from localgpt.server.admission import Admission
from localgpt.server.realtime.phrases import Phrases, pause_ms, speakable
from localgpt.server.realtime.sound import WireFormat
from localgpt.server.realtime.trace import Trace
from localgpt.tasks import (
    ChatRequest,
    Finished,
    Notice,
    SpeakChunk,
    SpeakRequest,
    TextDelta,
    ToolCallDelta,
)

__all__ = ["Answer", "Piece", "Sound", "Voice"]

_PIECES_AHEAD: Final = 4  # of sound; a piece is a clause


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Who speaks, and how."""

    request: SpeakRequest  # its text is replaced
    wire: WireFormat


@dataclass(frozen=True, slots=True)
class Sound:
    """Words and how they sound, in bytes of the wire; the words are of the first of several."""

    text: str
    data: bytes
    is_pause: bool = False  # behind the words


Piece = TextDelta | Sound | ToolCallDelta | Notice | Finished


class Answer:
    """Begins at once.

    Args:
        service: runs the tasks.
        chat: what is asked.
        voice: says it; None for words alone.
        trace: what happens when.
    """

    def __init__(self, service: Admission, chat: ChatRequest, voice: Voice | None, trace: Trace) -> None:
        self._service = service
        self._chat = chat
        self._voice = voice
        self._trace = trace
        self._written: asyncio.Queue[Piece | BaseException] = asyncio.Queue()
        # Words alone are as few as the answer's tokens; sound is much more, and waits.
        self._spoken: asyncio.Queue[Piece | BaseException] = asyncio.Queue(_PIECES_AHEAD)
        self._tasks = [asyncio.ensure_future(self._write())]
        if voice is not None:
            self._tasks.append(asyncio.ensure_future(self._speak(voice)))

    async def pieces(self) -> AsyncIterator[Piece]:
        """The answer as it comes; the last piece is `Finished`.

        Raises:
            LocalGPTError: it failed; whatever else was raised is a bug.
        """
        source = self._written if self._voice is None else self._spoken
        while True:
            piece = await source.get()
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            if isinstance(piece, Finished):
                return

    async def aclose(self) -> None:
        """Cancel what still runs; may be called twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self) -> None:
        phrases = Phrases()
        try:
            async with aclosing(self._service.stream(self._chat)) as events:
                async for event in events:
                    match event:
                        case TextDelta():
                            self._trace.mark("first_token")
                            self._put_words(event, phrases)
                        case ToolCallDelta():
                            self._trace.mark("first_token")
                            self._put_rest(phrases)
                            self._written.put_nowait(event)
                        case Finished():
                            self._put_rest(phrases)
                            self._written.put_nowait(event)
                        case Notice():
                            self._written.put_nowait(event)
        except Exception as error:  # noqa: BLE001 - told to whoever reads, who must not wait for ever
            self._written.put_nowait(error)

    def _put_words(self, delta: TextDelta, phrases: Phrases) -> None:
        if self._voice is None:
            self._written.put_nowait(delta)
            return
        for phrase in phrases.feed(delta.text):
            self._trace.mark("first_clause")
            self._written.put_nowait(TextDelta(text=phrase))

    def _put_rest(self, phrases: Phrases) -> None:
        for phrase in phrases.finish():
            self._trace.mark("first_clause")
            self._written.put_nowait(TextDelta(text=phrase))

    async def _speak(self, voice: Voice) -> None:
        try:
            while True:
                piece = await self._written.get()
                if isinstance(piece, TextDelta):
                    await self._say(piece.text, voice)
                    continue
                await self._spoken.put(piece)
                if isinstance(piece, Finished | BaseException):
                    return
        except Exception as error:  # noqa: BLE001 - likewise
            self._tasks[0].cancel()
            await self._spoken.put(error)

    async def _say(self, phrase: str, voice: Voice) -> None:
        words = speakable(phrase)
        if not words:
            await self._spoken.put(Sound(phrase, b""))
            return
        request = replace(voice.request, text=words)
        is_first = True
        async with aclosing(self._service.stream(request)) as events:
            async for event in events:
                if isinstance(event, SpeakChunk):
                    await self._spoken.put(Sound(phrase if is_first else "", voice.wire.from_pcm(event.data)))
                    is_first = False
                elif isinstance(event, Notice):
                    await self._spoken.put(event)
        silence = bytes(2 * voice.wire.sample_rate * pause_ms(phrase) // 1000)
        await self._spoken.put(Sound("", voice.wire.from_pcm(silence), is_pause=True))
