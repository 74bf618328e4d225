"""Which model hears, which one speaks and which one paints, and the switch that turns voice off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from localgpt.errors import InputError, MissingWeightsError
from localgpt.server.access import GatewayDep
from localgpt.server.aliases import aliases_of, target_of
from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway
from localgpt.server.models import resolve_model
from localgpt.tasks import EMBEDDED_MODEL_ID, ModelStatus

__all__ = ["OPENAI_VOICES", "VoiceTask", "lacking_is_told", "require_voice", "voice_model"]

VoiceTask = Literal["listen", "speak", "paint"]
OPENAI_VOICES: Final = frozenset((
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer",
    "verse",
))  # fmt: skip
"""Names of another service's voices, which stand for the first voice of whatever speaks here."""

SWITCHED_OFF = (
    "voice is switched off on this server: it was started with enable_voice (enable语音) false; start it "
    "with true, or without the switch"
)


def require_voice(gateway: GatewayDep) -> None:
    """A dependency of every route that hears or speaks.

    Raises:
        WireError: 501; the operator switched voice off.
    """
    if not gateway.settings.enable_voice:
        raise _not_here(SWITCHED_OFF)


async def voice_model(gateway: Gateway, name: str | None, task: VoiceTask) -> tuple[str, list[str]]:
    """The model that hears, speaks or paints, and what its caller should be told of the choice.

    A model that is named answers or refuses. An alias (`whisper-1`, `gpt-image-1`), and no name at all, stand
    for what does the job here: the embedded family, else the newest pulled model that can.

    Raises:
        WireError: 404; there is no such model.
    """
    model = await resolve_model(gateway, EMBEDDED_MODEL_ID if name is None else name)
    status = await gateway.service.status()
    known = [EMBEDDED_MODEL_ID, *(name for one in status.models for name in (one.id, *one.names))]
    is_choice = name is None or (name not in known and target_of(name, aliases_of(gateway.settings)))
    if not is_choice or model.id != EMBEDDED_MODEL_ID:
        return model.id, []
    able = [one for one in status.models if task in one.tasks]
    if not able or any(_is_embedded(one) for one in able):
        return model.id, []
    newest = max(able, key=lambda one: one.created)
    return newest.id, [f"{newest.id} does this; the embedded model cannot {task}"]


@contextmanager
def lacking_is_told(model_id: str) -> Iterator[None]:
    """Tell what the embedded family lacks as what this server does not have (501), not as a wrong request."""
    try:
        yield
    except MissingWeightsError as error:
        raise _not_here(str(error)) from error
    except InputError as error:
        if error.param == "model" and model_id == EMBEDDED_MODEL_ID:
            raise _not_here(str(error), param="model") from error
        raise


def _is_embedded(model: ModelStatus) -> bool:
    return EMBEDDED_MODEL_ID in (model.id, *model.names)


def _not_here(message: str, *, param: str | None = None) -> WireError:
    return WireError(
        501,
        message,
        kind="server_error",
        param=param,
        code="not_implemented",
        headers={"x-should-retry": "false"},  # else stock clients try again, and again
    )
