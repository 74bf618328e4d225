"""What kind of picture a file is, by its first bytes; standard library only, nothing is decoded."""

from __future__ import annotations

from typing import Final

__all__ = ["picture_type"]

_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_HEIC_BRANDS: Final = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
_HEIF_BRANDS: Final = (b"mif1", b"msf1")
_AVIF_BRANDS: Final = (b"avif", b"avis")


def picture_type(data: bytes) -> str | None:
    """The media type of a picture that every browser shows without running anything in it; None for others.

    SVG is not among them, because it can hold scripts.
    """
    for start, media_type in _STARTS:
        if data.startswith(start):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return _iso_picture_type(data)
    return None


def _iso_picture_type(data: bytes) -> str | None:
    """HEIC, HEIF or AVIF by the brands of an ISO base media file (ISO/IEC 23008-12)."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    for known, media_type in ((_AVIF_BRANDS, "image/avif"), (_HEIC_BRANDS, "image/heic")):
        if any(brand in known for brand in brands):
            return media_type
    return "image/heif" if any(brand in _HEIF_BRANDS for brand in brands) else None
