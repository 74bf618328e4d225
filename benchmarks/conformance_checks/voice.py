"""The audio routes: what hears and speaks here answers; where nothing does, that is said with 501."""

from __future__ import annotations

import io
import math
import struct
import wave

from benchmarks.conformance_checks.target import Target, check, expect, refused

RATE = 16_000


def tone() -> bytes:
    """A second of a WAV file."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(struct.pack("<h", round(9000 * math.sin(0.17 * at))) for at in range(RATE)))
    return sink.getvalue()


@check("voice", "a recording is written down, or 501 says what is missing")
async def recordings(target: Target) -> None:
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        files = {"file": ("tone.wav", tone(), "audio/wav")}
        reply = await target.http.post(path, files=files, data={"response_format": "verbose_json"})
        if reply.status_code == 501:
            expect(reply.json()["error"]["message"], "it does not say what is missing")
            expect(reply.headers.get("x-should-retry") == "false", "clients would ask again")
            continue
        expect(reply.status_code == 200, f"{path} gave {reply.status_code}: {reply.text[:200]}")
        missing = {"task", "language", "duration", "text", "segments", "usage"} - set(reply.json())
        expect(not missing, f"{path} has no {missing}")


@check("voice", "a text is spoken, whole and as events, or 501 says what is missing")
async def texts(target: Target) -> None:
    body = {"input": "Hello there.", "model": "tts-1", "voice": "alloy", "response_format": "pcm"}
    reply = await target.http.post("/v1/audio/speech", json=body)
    if reply.status_code == 501:
        expect(reply.json()["error"]["message"], "it does not say what is missing")
        return
    expect(reply.status_code == 200 and len(reply.content) > 0, f"status {reply.status_code}")
    events = await target.http.post("/v1/audio/speech", json={**body, "stream_format": "sse"})
    expect('"type": "speech.audio.done"' in events.text, "the events have no end")


@check("voice", "what is not done with sound is refused by name")
async def refusals(target: Target) -> None:
    await refused(target, "/v1/audio/speech", {"input": "hi", "instructions": "Whisper."}, "instructions")
    await refused(target, "/v1/audio/speech", {"input": "hi", "speed": 9}, "speed")
    for path, field in (("transcriptions", "include[]"), ("translations", "language")):
        files = {"file": ("tone.wav", tone(), "audio/wav")}
        reply = await target.http.post(f"/v1/audio/{path}", files=files, data={field: "logprobs"})
        expect(reply.status_code == 400, f"{field} gave {reply.status_code}")
        expect(reply.json()["error"]["param"] == field.removesuffix("[]"), "another parameter is named")
