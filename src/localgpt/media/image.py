"""Encoded pictures to arrays: every common format, turned upright, on white, eight bits a channel.

Notable: the size is read from the header and checked before any pixel is decoded; only the formats of
`FORMATS` are tried, so Pillow's interpreters (EPS and the like) never see foreign bytes. What the networks
read is made of a picture band by band (`read_pixels`), so that a large one costs little more than its own
pixels.

Shape legend: H height, W width, S side of the network's square input.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from localgpt.errors import ImageFormatError
from localgpt.quiet import unheard_warnings

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "MAX_SIDE",
    "decode_image",
    "encode_picture",
    "encode_png",
    "read_clear",
    "read_pixels",
    "to_pixels",
]

FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")  # and HEIF
# Of that size `read_pixels` takes 130 MB for a palette, 430 MB for RGB, with or without alpha, and 690 MB for
# a progressive JPEG (`tests/unit/test_large_pictures.py`).
MAX_PIXELS: Final = 100_000_000
# Formats whose decoders take 16 bytes a pixel, or 7 to 10, so that these take no more.
_MAX_PIXELS_OF: Final = {"WEBP": 32_000_000, "AVIF": 64_000_000, "HEIF": 64_000_000}
MAX_SIDE: Final = 1_000_000  # rows and columns are read whole

_EXPECTED = "expected a JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF picture"
# What Pillow and its codecs raise on damaged files.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError,
            struct.error, zlib.error)  # fmt: skip
_CONTROL_BYTES: Final = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")
_BAND_PIXELS: Final = 1 << 20  # converted at once
_HALF_CLEAR: Final = 128  # of 255; what is less is seen through
_FULL_COLOUR_QUALITY: Final = 95  # of a JPEG, from which on its colours are as fine as its greys
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by the EXIF orientation
_Box = tuple[int, int, int, int]  # left, top, right, bottom


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
    image = _load(data, max_pixels)
    with _told_colours(image):
        part = _Upright(image)
        return np.ascontiguousarray(np.asarray(part.rgb((0, 0, *part.size)), dtype=np.uint8))


def read_pixels(data: bytes, size: int = 224, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    """`to_pixels(decode_image(data), size)` to the last bit, without the whole picture in RGB.

    A picture is resized along one axis and then along the other, and the first takes one band at a time.

    Args:
        data: the file's bytes.
        size: side S of the square.
        max_pixels: as for `decode_image`.

    Returns:
        (3, S, S) float32 RGB in [-1, 1].

    Raises:
        ImageFormatError: as `decode_image`.
    """
    image = _load(data, max_pixels)
    with _told_colours(image):
        upright = _Upright(image)
        slim = Image.new("RGB", _slim_size(upright.size, size))
        by_rows = slim.height == upright.size[1]
        for box in upright.bands(by_rows=by_rows):
            band = upright.rgb(box)
            shape = (slim.width, band.height) if by_rows else (band.width, slim.height)
            slim.paste(band.resize(shape, Image.Resampling.BICUBIC), box[:2])
        return _to_square(slim, size)


def _load(data: bytes, max_pixels: int) -> Image.Image:
    """A picture in its own colours, as it lies in the file."""
    if not data:
        raise ImageFormatError(f"got an empty file, {_EXPECTED}", param="image")
    image = _open(data, max_pixels)
    width, height = image.size
    max_pixels = min(max_pixels, _MAX_PIXELS_OF.get(image.format or "", max_pixels))
    if width * height > max_pixels:
        raise ImageFormatError(
            f"got a picture of {width:,} x {height:,} pixels, expected at most {max_pixels / 1e6:g} million; "
            "make it smaller first",
            param="image",
        )
    if max(width, height) > MAX_SIDE:
        raise ImageFormatError(
            f"got a picture of {width:,} x {height:,} pixels, expected at most {MAX_SIDE:,} on a side; "
            "cut it into parts",
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
    return image


@contextmanager
def _told_colours(image: Image.Image) -> Iterator[None]:
    try:
        yield
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
    whole = Image.fromarray(image)
    return _to_square(whole.resize(_slim_size(whole.size, size), Image.Resampling.BICUBIC), size)


def _slim_size(whole: tuple[int, int], size: int) -> tuple[int, int]:
    """What a picture is first resized to, along one axis: the one that Pillow takes first."""
    width, height = whole
    return (width, size) if height > max(size, 2 * width - size) else (size, height)


def _to_square(slim: Image.Image, size: int) -> NDArray[np.float32]:
    square = slim.resize((size, size), Image.Resampling.BICUBIC)  # antialiased when it shrinks
    pixels = np.asarray(square, dtype=np.float32) / np.float32(127.5) - np.float32(1.0)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header only."""
    formats: tuple[str, ...] = FORMATS
    if data[4:8] == b"ftyp":  # an ISO container: HEIC or AVIF
        _register_heif()
        formats = (*FORMATS, "HEIF")
    try:
        with unheard_warnings():  # our own limit decides; Pillow also warns of odd metadata
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


class _Upright:
    """A loaded picture as it is to be seen, read part by part; boxes are those of the upright picture."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self._orientation = _orientation_of(image)
        width, height = image.size
        self.size = (height, width) if self._orientation >= 5 else (width, height)
        self._white_level = 0.0
        if image.mode.startswith(("I", "F")):
            self._white_level = _white_level(image.mode, map(self._part, self.bands(by_rows=True)))

    def bands(self, *, by_rows: bool) -> Iterator[_Box]:
        """Boxes that cover the picture: some whole rows each, or some whole columns."""
        width, height = self.size
        length, num_lines = (width, height) if by_rows else (height, width)
        step = max(1, _BAND_PIXELS // length)
        for at in range(0, num_lines, step):
            end = min(at + step, num_lines)
            yield (0, at, width, end) if by_rows else (at, 0, end, height)

    def rgb(self, box: _Box) -> Image.Image:
        """A part in RGB, on white."""
        return _to_rgb(self._part(box), self._white_level)

    def _part(self, box: _Box) -> Image.Image:
        left, top, right, bottom = box
        width, height = self._image.size
        if self._orientation >= 5:
            left, top, right, bottom = top, left, bottom, right
        if self._orientation in (2, 3, 7, 8):
            left, right = width - right, width - left
        if self._orientation in (3, 4, 6, 7):
            top, bottom = height - bottom, height - top
        part = self._image.crop((left, top, right, bottom))
        turn = _TURNS.get(self._orientation)
        return part if turn is None else part.transpose(turn)


def _orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:  # broken metadata does not make the picture unreadable
        return 1
    return orientation if orientation in _TURNS else 1


def _to_rgb(image: Image.Image, white_level: float) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        grey = np.clip(_deep_values(image) / white_level * 255.0 + 0.5, 0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _white_level(mode: str, parts: Iterable[Image.Image]) -> float:
    """What is white in a grey of 16 bits, 32 bits or floating point, which is scaled instead of cut off."""
    highest = max(float(_deep_values(part).max(initial=0.0)) for part in parts)
    steps = (1.0, 255.0) if mode == "F" else (65535.0,)
    return next((step for step in steps if highest <= step), highest)


def _deep_values(image: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(image).astype(np.float64))


def read_clear(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_] | None:
    """Where a picture is more transparent than not, upright, (H, W); None where it knows no transparency.

    Raises:
        ImageFormatError: as `decode_image`.
    """
    image = _load(data, max_pixels)
    if not image.has_transparency_data:
        return None
    with _told_colours(image):
        turn = _TURNS.get(_orientation_of(image))
        alpha = image.convert("RGBA").getchannel("A")
        return np.asarray(alpha if turn is None else alpha.transpose(turn)) < _HALF_CLEAR


def encode_picture(image: NDArray[np.uint8], kind: Literal["png", "jpeg", "webp"], quality: int) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a file.

    Args:
        image: the pixels.
        kind: of file.
        quality: of JPEG and WebP, from 0 to 100.
    """
    if kind == "png":
        return encode_png(image)
    sink = io.BytesIO()
    if kind == "jpeg":
        fine = {"subsampling": 0} if quality >= _FULL_COLOUR_QUALITY else {}
        Image.fromarray(image).save(sink, "JPEG", quality=max(1, quality), **fine)
    else:
        Image.fromarray(image).save(sink, "WEBP", quality=quality)
    return sink.getvalue()


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB, or (H, W) grey, as the bytes of a PNG file."""
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG", compress_level=4)  # a photograph: 6 takes twice as long for 1 %
    return sink.getvalue()
