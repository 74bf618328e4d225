"""A tiny voice with random weights, written as the family's member "speaker"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from localgpt.media.text.speech import SYMBOLS
from recipes.common import RunOptions
from recipes.speaker import plain_weights
from recipes.speaker_export import export_speaker
from recipes.voice_data.prepare import SPEAKERS
from recipes.voice_network import VoiceNetwork, voice_config

__all__ = ["describe_voice", "write_member"]


def describe_voice() -> dict[str, Any]:
    """What `recipes.speaker` writes beside the weights."""
    voices = [
        {"name": name, "language": name, "speaker": number, "bandwidth_hz": hz}
        for number, (name, hz) in enumerate((("en", 16_000), ("zh", 12_000)))
    ]
    config = voice_config("tiny", vocab_size=len(SYMBOLS), num_speakers=len(SPEAKERS))
    return {"vits": config, "symbols": SYMBOLS, "voices": voices}


def write_member(folder: Path) -> None:
    """Write the member into a family's folder; `family.json` is told too, where there is one."""
    torch.manual_seed(0)
    described = describe_voice()
    network = VoiceNetwork(described["vits"], slice_frames=4)
    with torch.no_grad():
        network.vits.duration_predictor.proj.bias.fill_(1.0)  # about three frames a sound
        for parameter in network.vits.decoder.parameters():
            parameter.mul_(2.0)
    trained = folder.parent / f"{folder.name}_trained"
    trained.mkdir()
    save_file(plain_weights(network.vits), trained / "speaker.safetensors")
    (trained / "speaker.json").write_text(json.dumps(described), encoding="utf-8")
    export_speaker(RunOptions(data=trained, init=trained, out=folder))
