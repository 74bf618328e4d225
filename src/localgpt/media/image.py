"""Encoded pictures to arrays: every common format, turned upright, on white, eight bits a channel.

Notable: the size is read from the header and checked before any pixel is decoded; only the formats of
`FORMATS` are tried, so Pillow's interpreters (EPS and the like) never see foreign bytes.

Shape legend: H height, W width, S side of the network's square input.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from localgpt.errors import ImageFormatError

__all__ = ["FORMATS", "MAX_PIXELS", "decode_image", "to_pixels"]

FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")  # and HEIF
MAX_PIXELS: Final = 100_000_000  # about 300 MB decoded

_EXPECTED = "expected a JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF picture"
# What Pillow and its codecs raise on damaged files.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError,
            struct.error, zlib.error)  # fmt: skip
_CONTROL_BYTES: Final = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")
_open_lock = threading.Lock()  # guards the process-wide warning filters


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a picture as a viewer would show it.

    EXIF turns and mirrors are applied, transparency is laid on white, CMYK, palettes and 16-bit greys become
    RGB, and of an animation the first frame is taken.

    Args:
        data: the file's bytes.
        max_pixels: pictures with more pixels are refused before they are decoded.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageFormatError: empty, not a picture, damaged, or too large; `param` is "image".
    """
    if not data:
        raise ImageFormatError(f"got an empty file, {_EXPECTED}", param="image")
    image = _open(data, max_pixels)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageFormatError(
            f"got a picture of {width:,} x {height:,} pixels, expected at most {max_pixels / 1e6:g} million; "
            "make it smaller first",
            param="image",
        )
    try:
        image.load()
    except _DAMAGED as error:
        raise ImageFormatError(
            f"got a damaged or truncated {image.format} picture ({error}), expected a complete one; "
            "copy or download it again",
            param="image",
        ) from error
    try:
        return np.ascontiguousarray(np.asarray(_to_rgb(_upright(image)), dtype=np.uint8))
    except _DAMAGED as error:
        raise ImageFormatError(
            f"got a {image.format} picture whose colours ({image.mode}) cannot be read ({error}), "
            "expected RGB, grey, CMYK or palette colours; save it as PNG or JPEG first",
            param="image",
        ) from error


def to_pixels(image: NDArray[np.uint8], size: int = 224) -> NDArray[np.float32]:
    """Squash a picture to the square the networks read; nothing is cropped away.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: side S of the square.

    Returns:
        (3, S, S) float32 RGB in [-1, 1].
    """
    square = Image.fromarray(image).resize(
        (size, size), Image.Resampling.BICUBIC
    )  # antialiased when it shrinks
    pixels = np.asarray(square, dtype=np.float32) / np.float32(127.5) - np.float32(1.0)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header only."""
    formats: tuple[str, ...] = FORMATS
    if data[4:8] == b"ftyp":  # an ISO container: HEIC or AVIF
        _register_heif()
        formats = (*FORMATS, "HEIF")
    try:
        with _open_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit decides; Pillow also warns of odd metadata
            return Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageFormatError(
            f"got a picture of more than {limit / 1e6:.0f} million pixels, "
            f"expected at most {max_pixels / 1e6:g} million; make it smaller first",
            param="image",
        ) from error
    except _DAMAGED as error:
        raise ImageFormatError(f"got {_looks_like(data)}, {_EXPECTED}", param="image") from error


@cache
def _register_heif() -> None:
    import pi_heif  # decoding only: its wheel carries no GPL encoder, unlike pillow_heif's

    pi_heif.register_heif_opener()


def _looks_like(data: bytes) -> str:
    head = data[:4096]
    if data[:5] == b"%PDF-":
        return "a PDF file"
    if b"<svg" in head:
        return "an SVG drawing"
    if not set(head) & _CONTROL_BYTES:
        return "a text file"
    return f"a file of {len(data):,} bytes that is not a picture, or a broken one"


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED:  # broken metadata does not make the picture unreadable
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point greys, scaled to eight bits instead of cut off."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    highest = float(values.max(initial=0.0))
    steps = (1.0, 255.0) if image.mode == "F" else (65535.0,)
    top = next((step for step in steps if highest <= step), highest)
    return Image.fromarray(np.clip(values / top * 255.0 + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
