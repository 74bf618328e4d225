"""Recordings in conversations: written down by the model that listens here, before anybody reads them.

The models of words here do not hear. What is said reaches them as text, in the recording's place, and a
notice tells the caller how it was understood. Clients send the whole conversation with every turn, so what
was heard lately is remembered, for its owner alone.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from localgpt.errors import AudioFormatError, InputError, MissingWeightsError
from localgpt.server.gateway import Gateway
from localgpt.server.hearing import hear
from localgpt.server.schemas.parts import ChatTurn, InputAudioPart, TextContentPart, UserTurn
from localgpt.server.voice import SWITCHED_OFF, voice_model
from localgpt.tasks import AudioPart, ListenRequest

if TYPE_CHECKING:
    from localgpt.server.schemas.parts import InputAudio

__all__ = ["Ears", "has_recordings", "hear_turns"]

MAX_RECORDINGS: Final = 32  # in one conversation
_MAX_TOLD: Final = 300  # characters of a text in its notice
_MEANWHILE: Final = "write what is said into a text part"


class Ears:
    """Writes down the recordings of one request.

    Args:
        gateway: runs the work.
        owner: whose request it is.
        model: that answers; it listens itself, where it can.
    """

    def __init__(self, gateway: Gateway, owner: str, model: str) -> None:
        self.notices: list[str] = []
        self._gateway, self._owner, self._model = gateway, owner, model
        self._num_heard = 0

    async def hear(self, recording: InputAudio, param: str) -> str:
        """What is said in a recording.

        Args:
            recording: as it was sent.
            param: its place, for errors and the notice.

        Raises:
            InputError: it cannot be heard, nobody speaks in it, or nothing listens here.
        """
        if not self._gateway.settings.enable_voice:
            raise InputError(f"{SWITCHED_OFF}; meanwhile, {_MEANWHILE}", param=param)
        self._num_heard += 1
        if self._num_heard > MAX_RECORDINGS:
            raise InputError(
                f"the conversation has more than {MAX_RECORDINGS} recordings; send the text of earlier ones",
                param=param,
            )
        data = _decoded(recording.data, f"{param}.data")
        listener, notices = await self._listener()
        text = self._gateway.heard.get(self._owner, listener, data)
        if text is None:
            text = await self._listen(listener, data, recording.format, param)
            self._gateway.heard.put(self._owner, listener, data, text)
        if not text:
            raise InputError(f"nobody speaks in the recording; {_MEANWHILE}", param=param)
        told = text if len(text) <= _MAX_TOLD else f"{text[:_MAX_TOLD]} ..."
        self.notices += [one for one in notices if one not in self.notices]
        self.notices.append(f"{param} was heard by {listener} and read as text: {told}")
        return text

    async def _listener(self) -> tuple[str, list[str]]:
        status = await self._gateway.service.status()
        if any("listen" in one.tasks and self._model == one.id for one in status.models):
            return self._model, []
        return await voice_model(self._gateway, None, "listen")

    async def _listen(self, listener: str, data: bytes, format: str, param: str) -> str:
        task = ListenRequest(
            id=f"heard-{uuid.uuid4().hex}",
            owner=self._owner,
            model=listener,
            audio=AudioPart(data=data, media_type=f"audio/{format}"),
            timestamps="none",
        )
        try:
            return (await hear(self._gateway, task)).text.strip()
        except MissingWeightsError as error:
            raise InputError(f"{error}; meanwhile, {_MEANWHILE}", param=param) from error
        except AudioFormatError as error:
            error.param = f"{param}.data"
            raise
        except InputError as error:
            raise InputError(f"{error}; meanwhile, {_MEANWHILE}", param=param) from error


def has_recordings(turns: Sequence[ChatTurn]) -> bool:
    """Whether there is anything to hear."""
    return any(
        isinstance(part, InputAudioPart)
        for turn in turns
        if isinstance(turn, UserTurn) and isinstance(turn.content, list)
        for part in turn.content
    )


async def hear_turns(gateway: Gateway, owner: str, model: str, turns: Sequence[ChatTurn]) -> list[str]:
    """Put the text of each recording of a conversation in its place; what the caller should know.

    Raises:
        InputError: see `Ears.hear`; `param` is the recording's place.
    """
    ears = Ears(gateway, owner, model)
    for index, turn in enumerate(turns):
        if not isinstance(turn, UserTurn) or isinstance(turn.content, str):
            continue
        for place, part in enumerate(turn.content):
            if isinstance(part, InputAudioPart):
                text = await ears.hear(part.input_audio, f"messages[{index}].content[{place}].input_audio")
                turn.content[place] = TextContentPart(type="text", text=text)
    return ears.notices


def _decoded(text: str, param: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise AudioFormatError(
            "the recording's base64 text is broken; send the file's bytes in base64", param=param
        ) from None
    if not data:
        raise AudioFormatError("the recording is empty; send the file's bytes", param=param)
    return data
