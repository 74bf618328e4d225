"""The stock JavaScript client of @openai/agents completes a turn, an interruption and a function."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from localgpt.settings import Settings
from tests.api.fake_service import call_deltas
from tests.api.live import PATIENCE_S, live
from tests.realtime.speech import said
from tests.realtime.voice_service import VoiceService

FOLDER = Path(__file__).parent / "agents"
NODE = shutil.which("node")
LACKING = (
    "no node on the PATH"
    if NODE is None
    else "the client is not installed: npm ci in tests/realtime/agents (make test does it where npm is)"
    if not (FOLDER / "node_modules/@openai/agents-realtime").is_dir()
    else ""
)


@pytest.mark.skipif(bool(LACKING), reason=LACKING or "the client is here")
async def test_the_stock_client_speaks_interrupts_and_runs_a_function(tmp_path: Path) -> None:
    speech = tmp_path / "speech.pcm"
    speech.write_bytes(said(300, 900, 700).tobytes())
    long = tuple(f"This is sentence number {number}. " for number in range(10))
    service = VoiceService(
        answers=(
            ("It is noon.",),
            long,
            call_deltas("weather", '{"place":', '"Rome"}'),
            ("It rains.",),
            ("Bye.",),
        ),
        heard=("What time is it?", "Tell me a story.", "How is the weather in Rome?"),
    )
    held = asyncio.Event()
    stream = service.stream

    def gated(request):  # type: ignore[no-untyped-def]
        service.gate = held if len(service.chats) == 1 else None  # the story does not end by itself
        return stream(request)

    service.stream = gated  # type: ignore[method-assign]
    async with live(Settings(), service) as server:
        assert NODE is not None
        url = f"ws://127.0.0.1:{server.port}/v1/realtime"
        process = await asyncio.create_subprocess_exec(
            NODE, str(FOLDER / "talk.mjs"), url, str(speech),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
    seen = json.loads(out)
    assert seen["errors"] == []
    assert seen["turns"] == ["completed", "turn_detected", "completed", "completed"]
    assert seen["called"] == ["Rome"] and seen["interrupted"] >= 1 and seen["audio"] > 3
    texts = [text for role, text in seen["history"] if role == "assistant"]
    assert texts[-2:] == ["It rains.", "Bye."] and len(texts) == 4
    # The client counts what it could have played; turns here come faster than that.
    assert "It is noon.".startswith(texts[0]) and len(texts[1]) < len("".join(long))
    assert [text for role, text in seen["history"] if role == "user"] == [*service.heard, "Goodbye."]
    told = service.chats[3].messages[-1]
    assert told.role == "tool"
