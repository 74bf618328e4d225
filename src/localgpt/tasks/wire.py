"""Requests, results, events and a service's status as bytes, for services that live in another process.

Form of a message: `LGPT`, one version byte, the header's length (4 bytes, big endian), a JSON header,
then the raw blobs (pictures) one after another. The header holds the message's type and fields and the
blobs' lengths.

Covered: a message is decoded field by field against the dataclass's own annotations; an unknown type, an
unknown or missing field, a value of another type or a wrong length is an `InputError`. Nothing in a
message can name code to run (no pickle). Not covered: how long a message may be; whoever reads the socket
bounds that.
"""

from __future__ import annotations

import json
import struct
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from localgpt.errors import InputError
from localgpt.tasks.requests import Request, Result
from localgpt.tasks.service import Event, Status

__all__ = [
    "decode_event",
    "decode_request",
    "decode_result",
    "decode_status",
    "encode_event",
    "encode_request",
    "encode_result",
    "encode_status",
]

_PREFIX: Final = struct.Struct(">4sBI")
_MAGIC: Final = b"LGPT"
_VERSION: Final = 1
_BROKEN = (struct.error, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, RecursionError)

T = TypeVar("T")


def encode_request(request: Request) -> bytes:
    """Bytes of a request."""
    return _encode(request)


def decode_request(data: bytes) -> Request:
    """Inverse of `encode_request`.

    Raises:
        InputError: not the bytes of a request.
    """
    message: Request = _decode(data, Request)
    return message


def encode_result(result: Result) -> bytes:
    """Bytes of a result."""
    return _encode(result)


def decode_result(data: bytes) -> Result:
    """Inverse of `encode_result`.

    Raises:
        InputError: not the bytes of a result.
    """
    message: Result = _decode(data, Result)
    return message


def encode_event(event: Event) -> bytes:
    """Bytes of an event."""
    return _encode(event)


def decode_event(data: bytes) -> Event:
    """Inverse of `encode_event`.

    Raises:
        InputError: not the bytes of an event.
    """
    message: Event = _decode(data, Event)
    return message


def encode_status(status: Status) -> bytes:
    """Bytes of a status."""
    return _encode(status)


def decode_status(data: bytes) -> Status:
    """Inverse of `encode_status`.

    Raises:
        InputError: not the bytes of a status.
    """
    message: Status = _decode(data, Status)
    return message


def _encode(message: object) -> bytes:
    blobs: list[bytes] = []
    header = {"message": _pack(message, blobs), "blobs": [len(blob) for blob in blobs]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return b"".join([_PREFIX.pack(_MAGIC, _VERSION, len(text)), text, *blobs])


def _pack(value: object, blobs: list[bytes]) -> object:
    if is_dataclass(value):
        packed = {field.name: _pack(getattr(value, field.name), blobs) for field in fields(value)}
        return {"type": type(value).__name__, "fields": packed}
    if isinstance(value, bytes):
        blobs.append(value)
        return {"blob": len(blobs) - 1}
    if isinstance(value, tuple):
        return [_pack(item, blobs) for item in value]
    return value


def _decode(data: bytes, hint: Any) -> Any:
    try:
        magic, version, length = _PREFIX.unpack_from(data)
        if (magic, version) != (_MAGIC, _VERSION):
            raise _wrong(f"{magic!r} version {version}", f"{_MAGIC!r} version {_VERSION}")
        start = _PREFIX.size + length
        header = json.loads(data[_PREFIX.size : start].decode("utf-8", "surrogatepass"))
        blobs = _split(memoryview(data)[start:], header["blobs"])
        return _unpack(header["message"], hint, blobs)
    except _BROKEN as error:
        raise _wrong(f"a broken message ({type(error).__name__}: {error})", "a whole one") from error


def _split(data: memoryview, lengths: Any) -> list[bytes]:
    sizes = _unpack(lengths, tuple[int, ...], [])
    if min(sizes, default=0) < 0 or sum(sizes) != len(data):
        raise _wrong(f"{len(data)} bytes of blobs", f"{sum(sizes)}")
    blobs, start = [], 0
    for size in sizes:
        blobs.append(bytes(data[start : start + size]))
        start += size
    return blobs


def _unpack(value: Any, hint: Any, blobs: list[bytes]) -> Any:
    """`value` as what `hint` says, or an InputError."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _unpack(value, _member(value, get_args(hint)), blobs)
    if origin is Literal:
        if value not in get_args(hint):
            raise _wrong(repr(value), f"one of {get_args(hint)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(type(value).__name__, "a list")
        return tuple(_unpack(item, get_args(hint)[0], blobs) for item in value)
    if is_dataclass(hint):
        return _unpack_dataclass(value, hint, blobs)
    if hint is bytes:
        place = _unpack(value["blob"], int, blobs)
        if not 0 <= place < len(blobs):
            raise _wrong(f"blob {place}", f"one of {len(blobs)}")
        return blobs[place]
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint and not (hint is NoneType and value is None):
        raise _wrong(type(value).__name__, getattr(hint, "__name__", str(hint)))
    return value


def _member(value: Any, members: tuple[Any, ...]) -> Any:
    """The member of a union that a packed value says it is."""
    if isinstance(value, dict) and "type" in value:
        named = [member for member in members if getattr(member, "__name__", None) == value["type"]]
        if not named:
            raise _wrong(repr(value["type"]), " or ".join(member.__name__ for member in members))
        return named[0]
    if value is None and NoneType in members:
        return NoneType
    return next(member for member in members if member is not NoneType)


def _unpack_dataclass(value: Any, cls: Any, blobs: list[bytes]) -> Any:
    if not isinstance(value, dict) or value.get("type") != cls.__name__:
        raise _wrong(repr(value)[:80], f"a {cls.__name__}")
    hints, required = _fields_of(cls)
    packed = value["fields"]
    if not isinstance(packed, dict):
        raise _wrong(type(packed).__name__, f"the fields of a {cls.__name__}")
    if unknown := set(packed) - set(hints):
        raise _wrong(f"{cls.__name__} with {sorted(unknown)}", f"only {sorted(hints)}")
    if missing := required - set(packed):
        raise _wrong(f"{cls.__name__} without {sorted(missing)}", "all its fields")
    return cls(**{name: _unpack(item, hints[name], blobs) for name, item in packed.items()})


@cache
def _fields_of(cls: Any) -> tuple[dict[str, Any], set[str]]:
    hints = get_type_hints(cls)
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    return {field.name: hints[field.name] for field in fields(cls)}, required


def _wrong(got: str, expected: str) -> InputError:
    return InputError(f"a message between processes cannot be read: got {got}, expected {expected}")
