"""Multipart bodies, read as they come: fields in memory, files on the disk once they are not small.

A small file stays in memory, so that a dictated sentence never touches the disk; a larger one is written to
the folder `uploads` of the data folder, readable by this user alone, and is removed when its request ends,
however it ends. What a crash left there goes when the next server starts.

Covered: too many or too large fields, names that are not the route's, two values where one is expected,
files without end, many uploads at once, a full disk, senders that go away. Not covered: erasing what was
written from the disk's own memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from localgpt.errors import CancelledRequestError, DiskFullError, InputError, StoreError
from localgpt.server.errors import WireError
from localgpt.server.gateway import Gateway
from localgpt.settings import Settings, data_folder
from localgpt.units import KIB, MIB, format_bytes

if TYPE_CHECKING:
    from io import BufferedRandom

__all__ = ["Form", "Upload", "read_form", "sweep_uploads"]

UPLOADS_FOLDER: Final = "uploads"  # in the data folder
_IN_MEMORY: Final = MIB  # of a file; beyond that it goes to the disk
_MAX_FIELDS: Final = 256
_MAX_FIELD_BYTES: Final = 64 * KIB
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[([A-Za-z0-9_]*)\])?")
_WANTS = "expected a body of multipart/form-data, with a boundary, as forms with files are sent"


@dataclass(slots=True, kw_only=True)
class Upload:
    """One file of a form: its bytes, or where they are."""

    name: str
    media_type: str
    num_bytes: int = 0
    data: bytes = b""
    path: Path | None = None


@dataclass(slots=True)
class Form:
    """What a multipart body says. `values` has texts, lists (`a[]`) and tables (`a[b]`) of texts."""

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)


async def read_form(request: Request, gateway: Gateway, *, files: frozenset[str]) -> Form:
    """Read a body to its end; its files are there until the request ends.

    Args:
        request: the request that is answered.
        gateway: knows the folder, and how much room there is on the disk for uploads.
        files: names of the parts that are files; all others are fields.

    Raises:
        InputError: the body is no form, or one of its parts is not usable; `param` names it.
        WireError: 413 or 415.
        CapacityError: other requests fill the room for uploads.
        DiskFullError: the disk does.
        CancelledRequestError: its sender went away.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    reading = _Reading(gateway, request, files)
    try:
        parser = MultipartParser(_boundary(request), reading.callbacks())  # type: ignore[arg-type]
        async for chunk in request.stream():
            parser.write(chunk)
            await reading.store()
        parser.finalize()
    except FormParserError as error:
        raise InputError(f"the multipart body is broken ({error}); {_WANTS}") from None
    except ClientDisconnect:
        raise CancelledRequestError("the client went away") from None
    if not reading.is_whole:
        raise InputError(f"the multipart body ends too soon; {_WANTS}")
    return reading.form


def sweep_uploads(settings: Settings) -> None:
    """Remove what a server that crashed left of uploads; nobody else may serve from this data folder."""
    folder = data_folder(settings) / UPLOADS_FOLDER
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)


def _boundary(request: Request) -> bytes:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise WireError(415, f"the body's content type is not the one that is read here; {_WANTS}")
    return options[b"boundary"]


class _Reading:
    """A form on its way: called by the parser with every piece, and then asked to put away files.

    Args:
        gateway: see `read_form`.
        request: its state counts what is held in memory, and ends what was opened for it.
        files: see `read_form`.
    """

    def __init__(self, gateway: Gateway, request: Request, files: frozenset[str]) -> None:
        self.form = Form()
        self.is_whole = False
        self._gateway = gateway
        self._hold: Callable[[int], None] = request.state.hold
        self._ending: ExitStack = request.state.ending
        self._file_names = files
        self._num_fields = 0
        self._head: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._name = ""
        self._text = bytearray()
        self._upload: Upload | None = None
        self._coming: list[tuple[Upload, bytes]] = []  # pieces of files that were not put away yet
        self._parts: dict[int, list[bytes]] = {}  # of files in memory
        self._sinks: dict[int, BufferedRandom] = {}
        self._num_taken = 0  # bytes of the room for uploads
        self._ending.callback(self._give_back)

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    async def store(self) -> None:
        """Put away the pieces of files that have come."""
        coming, self._coming = self._coming, []
        for upload, piece in coming:
            upload.num_bytes += len(piece)
            sink = self._sinks.get(id(upload))
            if sink is None and upload.num_bytes <= _IN_MEMORY:
                self._hold(len(piece))
                self._parts.setdefault(id(upload), []).append(piece)
                continue
            if sink is None:
                sink = self._to_disk(upload)
                piece = b"".join([*self._parts.pop(id(upload), []), piece])
            self._take_room(len(piece))
            await asyncio.to_thread(_write, sink, piece)
        for upload in self.form.files.values():
            if upload is not self._upload and (parts := self._parts.pop(id(upload), None)):
                upload.data = b"".join(parts)

    def _begin(self) -> None:
        self._head, self._text = {}, bytearray()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._head[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _open(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._head.get(b"content-disposition", b""))
        self._num_fields += 1
        if b"name" not in options or self._num_fields > _MAX_FIELDS:
            raise InputError(f"a part of the body has no name, or they are more than {_MAX_FIELDS}; {_WANTS}")
        self._name = options[b"name"].decode("utf-8", "replace")
        is_file = self._name in self._file_names
        if is_file and self._name in self.form.files:
            raise InputError(f"{self._name} is given twice; send one", param=self._name)
        if is_file != (b"filename" in options):
            what = "a field, expected a file with its name" if is_file else "a file, expected a field"
            raise InputError(f"{self._name} was sent as {what}", param=self._name)
        if is_file:
            kind = self._head.get(b"content-type", b"application/octet-stream").decode("latin-1")
            name = options[b"filename"].decode("utf-8", "replace")
            self._upload = self.form.files[self._name] = Upload(name=name, media_type=kind)

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._upload is not None:
            self._coming.append((self._upload, bytes(data[start:end])))
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD_BYTES:
            raise InputError(
                f"{self._name[:80]} has more than {format_bytes(_MAX_FIELD_BYTES)}; expected a short text",
                param=self._name[:80],
            )

    def _close(self) -> None:
        if self._upload is not None:
            self._upload = None
            return
        try:
            _place(self.form.values, self._name, self._text.decode("utf-8"))
        except UnicodeDecodeError:
            raise InputError(f"{self._name} is not UTF-8 text; send it as that", param=self._name) from None

    def _end(self) -> None:
        self.is_whole = True

    def _to_disk(self, upload: Upload) -> BufferedRandom:
        folder = data_folder(self._gateway.settings, create=True) / UPLOADS_FOLDER
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            number, name = tempfile.mkstemp(dir=folder)
        except OSError as error:
            raise _failed(error) from error
        upload.path = Path(name)
        self._ending.callback(_remove, upload.path)
        sink = self._sinks[id(upload)] = os.fdopen(number, "w+b")
        self._ending.callback(_shut, sink)
        return sink

    def _take_room(self, num_bytes: int) -> None:
        self._num_taken += num_bytes
        self._gateway.upload_room.take(num_bytes)

    def _give_back(self) -> None:
        self._gateway.upload_room.num_bytes -= self._num_taken


def _place(values: dict[str, Any], name: str, text: str) -> None:
    """Enter a field under its name: a text, an entry of a list (`a[]`) or of a table (`a[b]`)."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise InputError(f"{name[:80]!r} is not a parameter of this route", param=name[:80])
    base, key = found[1], found[2]
    if key is None:
        if base in values:
            raise InputError(f"{base} is given twice; send one, or a list as {base}[]", param=base)
        values[base] = text
        return
    whole = values.setdefault(base, {} if key else [])
    if key and isinstance(whole, dict) and key not in whole:
        whole[key] = text
    elif not key and isinstance(whole, list):
        whole.append(text)
    else:
        raise InputError(f"{base} is given twice; send one", param=base)


def _write(sink: BufferedRandom, data: bytes) -> None:
    try:
        sink.write(data)
        sink.flush()
    except OSError as error:
        raise _failed(error) from error


def _failed(error: OSError) -> DiskFullError | StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError("the disk has no room for the upload; free some, or send a smaller one")
    return StoreError(f"the upload cannot be written into the data folder: {error.strerror or error}")


def _shut(sink: BufferedRandom) -> None:
    """Close a file; what a full disk did not take is tried once more then, and no longer wanted."""
    with contextlib.suppress(OSError):
        sink.close()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
