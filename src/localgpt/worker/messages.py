"""Bodies of frames that are no requests, results, events or statuses: settings, a plan, errors.

All are JSON. An error travels as the names of its class and of those above it, its message, and its further
fields; whoever reads it makes the nearest class that is known there. Only classes of the tree in
`localgpt.errors` are made, and none is imported for it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from localgpt.errors import ConfigError, LocalGPTError
from localgpt.settings import Settings, data_folder
from localgpt.worker.frames import BrokenFrameError

__all__ = [
    "Plan",
    "RemoteError",
    "copy_error",
    "decode_error",
    "decode_plan",
    "decode_settings",
    "encode_error",
    "encode_plan",
    "encode_settings",
]

# Of no use to the models: who may ask, what opens the store, and what other servers are asked with.
_KEPT_HERE: Final = frozenset({"api_keys", "database_url", "passphrase", "tls_cert", "tls_key", "upstreams"})
_BROKEN = (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, ConfigError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be loaded where, as the start tells it."""

    device: str
    notices: tuple[str, ...]  # what differs from what was asked for
    max_batch_size: int


class RemoteError(Exception):
    """An error of no class of ours happened in the process of the models; its traceback is in the log."""


def encode_settings(settings: Settings) -> bytes:
    """Bytes of the settings that concern the models."""
    values = settings.model_dump(mode="json", exclude=set(_KEPT_HERE))
    return _encode(values | {"data_dir": str(data_folder(settings))})


def decode_settings(body: bytes) -> Settings:
    """Inverse of `encode_settings`; what was left out has its default.

    Raises:
        BrokenFrameError: not the bytes of settings.
    """
    try:
        return Settings(**_decode(body))
    except _BROKEN as error:
        raise _broken("settings", error) from None


def encode_plan(plan: Plan) -> bytes:
    """Bytes of a plan."""
    return _encode(asdict(plan))


def decode_plan(body: bytes) -> Plan:
    """Inverse of `encode_plan`.

    Raises:
        BrokenFrameError: not the bytes of a plan.
    """
    try:
        values = _decode(body)
        return Plan(**{**values, "notices": tuple(values["notices"])})
    except _BROKEN as error:
        raise _broken("a plan", error) from None


def encode_error(error: BaseException) -> bytes:
    """Bytes of an error; of one that is no LocalGPTError, what it says."""
    if not isinstance(error, LocalGPTError):
        return _encode({"classes": [], "message": f"{type(error).__name__}: {error}", "fields": {}})
    classes = [cls.__name__ for cls in type(error).__mro__ if issubclass(cls, LocalGPTError)]
    plain = (str, int, float, bool, type(None))
    fields = {name: value for name, value in vars(error).items() if isinstance(value, plain)}
    return _encode({"classes": classes, "message": str(error), "fields": fields})


def decode_error(body: bytes) -> LocalGPTError | RemoteError:
    """Inverse of `encode_error`, as near as the classes known here allow.

    Raises:
        BrokenFrameError: not the bytes of an error.
    """
    try:
        values = _decode(body)
        message, names, fields = str(values["message"]), list(values["classes"]), dict(values["fields"])
        if not names:
            return RemoteError(message)
        known = _known_errors()
        error = next(known[name] for name in names if name in known)(message)
    except (*_BROKEN, StopIteration) as broken:
        raise _broken("an error", broken) from None
    for name in vars(error).keys() & fields.keys():
        setattr(error, name, fields[name])
    return error


def copy_error(error: BaseException) -> LocalGPTError | RemoteError:
    """The same error for another caller: a raised exception carries one caller's traceback."""
    return decode_error(encode_error(error))


def _known_errors() -> dict[str, type[LocalGPTError]]:
    """Every class of the tree that is loaded here, by name."""
    known: dict[str, type[LocalGPTError]] = {}
    todo: list[type[LocalGPTError]] = [LocalGPTError]
    while todo:
        cls = todo.pop()
        known.setdefault(cls.__name__, cls)
        todo += cls.__subclasses__()
    return known


def _encode(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _decode(body: bytes) -> dict[str, Any]:
    values = json.loads(body.decode("utf-8", "surrogatepass"))
    if not isinstance(values, dict):
        raise TypeError(f"a {type(values).__name__}")
    return values


def _broken(what: str, error: BaseException) -> BrokenFrameError:
    return BrokenFrameError(
        f"what came between gateway and models cannot be read as {what}: {type(error).__name__}"
    )
