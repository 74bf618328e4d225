"""XMP packets in PNG, JPEG and WebP files, byte by byte, and the hash of what they show.

Notable: no pixel is decoded or encoded, so that a label costs no quality and little time. Other metadata
(EXIF, comments, a colour profile) is neither read nor changed.

Sources: PNG 3rd edition (W3C 2025) and XMP part 3 (Adobe 2020) for `XML:com.adobe.xmp`; JPEG APP1 and the
WebP container (RFC 9649).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from localgpt.errors import ImageFormatError
from localgpt.picture_types import picture_type

__all__ = ["MEDIA_TYPES", "content_hash", "media_type_of", "read_xmp", "write_xmp"]

MEDIA_TYPES: Final = ("image/png", "image/jpeg", "image/webp")

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_XMP: Final = b"XML:com.adobe.xmp\0\0\0\0\0"  # keyword, not compressed, no language
_PNG_SHOWN: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT")
_JPEG_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_APP1, _SOS = 0xE1, 0xDA
_JPEG_UNSHOWN: Final = (*range(0xE0, 0xF0), 0xFE)  # of applications, and comments
_MAX_JPEG_SEGMENT: Final = 0xFFFF - 2
_WEBP_UNSHOWN: Final = (b"VP8X", b"XMP ", b"EXIF", b"ICCP")
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10


class _Piece(NamedTuple):
    """A chunk or a segment: its kind, its content, and where it lies with all that belongs to it."""

    kind: bytes
    content: bytes
    start: int
    end: int


def media_type_of(data: bytes) -> str | None:
    """One of `MEDIA_TYPES` by the first bytes of a file; None for others."""
    kind = picture_type(data)
    return kind if kind in MEDIA_TYPES else None


def read_xmp(data: bytes) -> bytes | None:
    """The XMP packet of a file; None where there is none.

    Raises:
        ImageFormatError: no PNG, JPEG or WebP, or a damaged one.
    """
    head, pieces = _pieces(data)
    found = [piece for piece in pieces if _is_xmp(head, piece)]
    return found[0].content[len(_xmp_head(head)) :] if found else None


def write_xmp(data: bytes, packet: bytes) -> bytes:
    """The same file with that XMP packet, instead of the one it may have had.

    Raises:
        ImageFormatError: no PNG, JPEG or WebP, or a damaged one; or a packet too long for JPEG.
    """
    head, pieces = _pieces(data)
    kept = [piece for piece in pieces if not _is_xmp(head, piece)]
    if head == "image/png":
        body = _png_chunk(b"iTXt", _PNG_XMP + packet)
        first = kept[0].end  # behind IHDR
        return data[:first] + body + b"".join(data[piece.start : piece.end] for piece in kept[1:])
    if head == "image/webp":
        return _webp_with(data, kept, packet)
    content = _JPEG_XMP + packet
    if len(content) > _MAX_JPEG_SEGMENT:
        raise ImageFormatError(
            f"got {len(packet):,} bytes of metadata, expected at most {_MAX_JPEG_SEGMENT:,} in a JPEG"
        )
    body = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    is_jfif = bool(kept) and kept[0].kind == b"\xe0"  # which has to stand first
    rest = kept[1:] if is_jfif else kept
    start = data[: kept[0].end] if is_jfif else data[:2]
    return start + body + b"".join(data[piece.start : piece.end] for piece in rest)


def content_hash(data: bytes) -> str:
    """SHA-256, in hexadecimal digits, of the parts of a file that make what it shows; no metadata.

    Raises:
        ImageFormatError: no PNG, JPEG or WebP, or a damaged one.
    """
    head, pieces = _pieces(data)
    digest = hashlib.sha256(head.encode())
    for piece in pieces:
        if head == "image/png":
            is_shown = piece.kind in _PNG_SHOWN
        elif head == "image/jpeg":
            is_shown = piece.kind[0] not in _JPEG_UNSHOWN
        else:
            is_shown = piece.kind not in _WEBP_UNSHOWN
        if is_shown:
            digest.update(piece.kind + struct.pack(">Q", len(piece.content)))
            digest.update(piece.content)
    return digest.hexdigest()


def _pieces(data: bytes) -> tuple[str, list[_Piece]]:
    head = media_type_of(data)
    read = {"image/png": _png_pieces, "image/jpeg": _jpeg_pieces, "image/webp": _webp_pieces}
    if head is None:
        raise ImageFormatError("got a file that is no PNG, JPEG or WebP, which alone carry labels here")
    try:
        pieces = list(read[head](data))
    except (struct.error, IndexError, ValueError) as error:
        raise _damaged(head) from error
    if not pieces:
        raise _damaged(head)
    return head, pieces


def _damaged(head: str) -> ImageFormatError:
    return ImageFormatError(f"got a damaged or truncated {head}, expected a complete one")


def _is_xmp(head: str, piece: _Piece) -> bool:
    kinds = {"image/png": b"iTXt", "image/jpeg": bytes([_APP1]), "image/webp": b"XMP "}
    return piece.kind == kinds[head] and piece.content.startswith(_xmp_head(head))


def _xmp_head(head: str) -> bytes:
    return {"image/png": _PNG_XMP, "image/jpeg": _JPEG_XMP, "image/webp": b""}[head]


def _png_pieces(data: bytes) -> Iterator[_Piece]:
    at = len(_PNG)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ValueError("cut short")
        yield _Piece(kind, data[at + 8 : end - 4], at, end)
        at = end


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _jpeg_pieces(data: bytes) -> Iterator[_Piece]:
    """Segments up to the first scan; that and all behind it are one piece."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker")
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _SOS:
            yield _Piece(bytes([marker]), data[at + 2 :], at, len(data))
            return
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end > len(data):
            raise ValueError("cut short")
        yield _Piece(bytes([marker]), data[at + 4 : end], at, end)
        at = end


def _webp_pieces(data: bytes) -> Iterator[_Piece]:
    end_of_file = 8 + struct.unpack_from("<I", data, 4)[0]
    if end_of_file > len(data):
        raise ValueError("cut short")
    at = 12
    while at + 8 <= end_of_file:
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length
        if end > end_of_file:
            raise ValueError("cut short")
        yield _Piece(kind, data[at + 8 : end], at, end)
        at = end + length % 2


def _webp_with(data: bytes, pieces: list[_Piece], packet: bytes) -> bytes:
    if pieces[0].kind == b"VP8X":
        extended = bytearray(pieces[0].content)
        extended[0] |= _XMP_FLAG
        pieces = pieces[1:]
    else:
        extended = bytearray(_webp_header(pieces[0]))
    chunks = [(b"VP8X", bytes(extended)), *((piece.kind, piece.content) for piece in pieces)]
    body = b"".join(_webp_chunk(kind, content) for kind, content in (*chunks, (b"XMP ", packet)))
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _webp_header(piece: _Piece) -> bytes:
    """The extended header of a simple file: flags, and width and height less one in 24 bits each."""
    flags = _XMP_FLAG
    if piece.kind == b"VP8L":
        bits = struct.unpack_from("<I", piece.content, 1)[0]
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
        flags |= _ALPHA_FLAG if bits >> 28 & 1 else 0
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", piece.content, 6))
    return bytes([flags, 0, 0, 0]) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
