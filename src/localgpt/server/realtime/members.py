"""Which models take part in a call: who listens, who answers, who speaks.

`model` answers. The recogniser is `audio.input.transcription.model`, or this server's own field
`localgpt.listener`; the voice's model is `localgpt.speaker`. Where none of this server's models is named, it
is what does the job for the other voice routes.
"""

from __future__ import annotations

from typing import Final

from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway
from localgpt.server.schemas.realtime import SessionBody, VoiceId
from localgpt.server.voice import OPENAI_VOICES, VoiceTask, voice_model

__all__ = ["find_listener", "find_speaker", "voice_of"]

_LACKING: Final = {
    "listen": (
        "no model here can listen; `localgpt pull whisper-base` gets one, or send the turn as text "
        "(conversation.item.create with input_text)"
    ),
    "speak": (
        "no model here can speak; `localgpt pull mms-tts-eng` gets one, or ask for words with "
        'output_modalities: ["text"]'
    ),
}


async def find_listener(gateway: Gateway, body: SessionBody) -> str:
    """The model that writes down what the user says.

    Raises:
        WireError: 404, the named one is not here; 400, it cannot; 501, none here can.
    """
    transcription = body.audio.input.transcription
    named = body.localgpt.listener or (transcription.model if transcription else None)
    return await _find(gateway, named, "listen", "session.audio.input.transcription.model")


async def find_speaker(gateway: Gateway, body: SessionBody) -> str:
    """The model that says the answers; errors as those of `find_listener`."""
    return await _find(gateway, body.localgpt.speaker, "speak", "session.localgpt.speaker")


def voice_of(voice: str | VoiceId | None) -> str | None:
    """The voice that is asked for, as tasks know it: None is the model's first."""
    name = voice.id if isinstance(voice, VoiceId) else voice
    return None if name in OPENAI_VOICES else name


async def _find(gateway: Gateway, named: str | None, task: VoiceTask, param: str) -> str:
    model, _ = await voice_model(gateway, named, task)
    status = await gateway.service.status()
    found = next((one for one in status.models if model in (one.id, *one.names)), None)
    if not status.ready or found is None or task in found.tasks:
        return model  # of what is not loaded yet, the request itself tells what it can
    if not any(task in one.tasks for one in status.models):
        code = "no_listener" if task == "listen" else "no_speaker"
        raise WireError(501, _LACKING[task], kind="server_error", param=param, code=code)
    can = ", ".join(found.tasks)
    raise WireError(400, f"the model {model} cannot {task}, it can {can}", param=param)
