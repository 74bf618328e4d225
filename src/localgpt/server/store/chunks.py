"""A file of sealed chunks: magic, header, and a body that cannot be cut, reordered or changed unnoticed.

    16 bytes   magic
     4 bytes   length of the header, big-endian
     n bytes   header: JSON, in the clear
     ...       chunks: AES-256-GCM of up to 1 MiB each, the nonce being a random prefix (in the header), the
               chunk's number, and 1 for the last chunk; the whole header is authenticated with each

This is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", 2015), as age and Tink use it, with AES-GCM inside.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import IO, Any, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from localgpt.errors import StoreError
from localgpt.units import MIB

__all__ = ["read_chunks", "read_header", "write_chunks"]

MAGIC = b"LOCALGPT-BACKUP\n"
_CHUNK_BYTES = MIB
_TAG_BYTES = 16
_PREFIX_BYTES = 7
_MAX_HEADER_BYTES = 64 * 1024


def write_chunks(out: IO[bytes], header: dict[str, Any], key: bytes, body: Iterator[bytes]) -> None:
    """Write a whole file.

    Args:
        out: opened for writing bytes.
        header: what may be read without the key.
        key: 32 bytes; the file's own key is derived from it.
        body: pieces of any length.
    """
    prefix = secrets.token_bytes(_PREFIX_BYTES)
    head = json.dumps(header | {"nonce": prefix.hex(), "salt": secrets.token_hex(16)}).encode()
    cipher = _cipher(key, head)
    out.write(MAGIC + len(head).to_bytes(4, "big") + head)
    buffer, number = bytearray(), 0
    for piece in body:
        buffer += piece
        while len(buffer) > _CHUNK_BYTES:  # the last chunk is never empty unless everything is
            out.write(cipher.encrypt(_nonce(prefix, number, False), bytes(buffer[:_CHUNK_BYTES]), head))
            del buffer[:_CHUNK_BYTES]
            number += 1
    out.write(cipher.encrypt(_nonce(prefix, number, True), bytes(buffer), head))


def read_header(file: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """The header of a file, as a dictionary and as it was written.

    Raises:
        StoreError: this is no backup, or its beginning is damaged.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise StoreError("this is not a backup of LocalGPT; expected a file that 'localgpt backup' wrote")
    num_bytes = int.from_bytes(file.read(4), "big")
    head = file.read(min(num_bytes, _MAX_HEADER_BYTES))
    try:
        header = json.loads(head)
        bytes.fromhex(header["nonce"]), bytes.fromhex(header["salt"])
    except (ValueError, KeyError, TypeError):
        raise _damaged() from None
    if header.get("version") != 1:
        raise StoreError("this backup was written by a later LocalGPT; update LocalGPT first")
    return cast("dict[str, Any]", header), head


def read_chunks(file: IO[bytes], head: bytes, key: bytes) -> Iterator[bytes]:
    """The body's pieces, each of them verified.

    Args:
        file: as `read_header` left it.
        head: as it returned it.
        key: as given to `write_chunks`.

    Raises:
        StoreError: the file was cut, damaged or changed, or the key is another one.
    """
    prefix = bytes.fromhex(json.loads(head)["nonce"])
    cipher = _cipher(key, head)
    number, chunk = 0, file.read(_CHUNK_BYTES + _TAG_BYTES)
    while True:
        following = file.read(_CHUNK_BYTES + _TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(prefix, number, not following), chunk, head)
        except (InvalidTag, ValueError):
            raise _damaged() from None
        if not following:
            return
        number, chunk = number + 1, following


def _cipher(key: bytes, head: bytes) -> AESGCM:
    salt = bytes.fromhex(json.loads(head)["salt"])
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"localgpt backup").derive(key))


def _nonce(prefix: bytes, number: int, is_last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([is_last])


def _damaged() -> StoreError:
    return StoreError("the backup is cut short, damaged or changed; nothing was restored")
