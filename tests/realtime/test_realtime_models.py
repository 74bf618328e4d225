"""A call over models: a tiny Whisper hears, the family's decoder answers, a tiny VITS speaks; as frames."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from localgpt.compute.memory import Budget, CpuDevice, Ledger
from localgpt.runtime.local import LocalService
from localgpt.runtime.open.service import OpenService
from localgpt.runtime.open.shelf import Shelf, model_of_folder
from localgpt.runtime.switchboard import Switchboard
from localgpt.units import MIB
from tests import spoken
from tests.near_worker import near
from tests.realtime.speech import said
from tests.realtime.talking import talking
from tests.tiny_media import write_listener, write_voice


async def test_a_call_over_models(tmp_path: Path) -> None:
    folders = [write_listener(tmp_path / "ears"), write_voice(tmp_path / "mouth")]

    def make() -> Switchboard:
        ledger = Ledger(CpuDevice(), Budget(nbytes=512 * MIB))
        shelf = Shelf(None, [model_of_folder(folder) for folder in folders])
        family = LocalService(spoken.make_family("it is noon. the sun is high."), max_batch_size=2)
        return Switchboard(local=family, open_models=OpenService(shelf, ledger))

    session = {"audio": {"input": {"transcription": {}}}}
    async with near(make) as pair, talking(pair.service, session) as talk:  # type: ignore[arg-type]
        talk.speak(said(300, 800, 700))
        heard = await talk.until("conversation.item.input_audio_transcription.completed")
        assert heard["usage"]["seconds"] > 0.8
        if not heard["transcript"]:  # these ears are made of random numbers
            talk.type("Hello")
            talk.send("response.create")
        response = (await talk.until("response.done"))["response"]
        assert response["status"] == "completed", response
        assert response["output"][0]["content"][0]["transcript"] == "it is noon. the sun is high."
        sound = b"".join(base64.b64decode(event["delta"]) for event in talk.of("response.output_audio.delta"))
        samples = np.frombuffer(sound, dtype="<i2")
        assert len(samples) > 24_000 * 0.25 and np.abs(samples.astype(int)).max() > 0
        assert response["usage"]["output_tokens"] > 5
