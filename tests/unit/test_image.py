"""Pictures: every format becomes upright RGB; every broken file becomes one clear line."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from localgpt.errors import ImageFormatError
from localgpt.media.image import decode_image, to_pixels


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def two_halves(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    return image


def close(pixel: np.ndarray, expected: tuple[int, int, int], within: int = 12) -> bool:
    return bool(np.abs(pixel.astype(int) - np.array(expected)).max() <= within)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF"])
def test_common_formats(kind: str) -> None:
    image = decode_image(encoded(two_halves(), kind))
    assert image.shape == (20, 40, 3)
    assert image.dtype == np.uint8
    assert close(image[10, 5], (255, 0, 0))
    assert close(image[10, 35], (0, 0, 255))


def test_heic() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(two_halves((64, 64))).save(buffer, quality=95)
    image = decode_image(buffer.getvalue())
    assert image.shape == (64, 64, 3)
    assert close(image[32, 8], (255, 0, 0), 30)


def test_exif_turns_are_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    image = decode_image(encoded(two_halves(), "JPEG", exif=exif, quality=95))
    assert image.shape == (40, 20, 3)
    assert close(image[5, 10], (255, 0, 0))  # left went up
    assert close(image[35, 10], (0, 0, 255))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    layer = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    layer.paste((0, 0, 0, 255), (0, 0, 4, 8))
    image = decode_image(encoded(layer.convert(mode), "PNG"))
    assert close(image[4, 1], (0, 0, 0))
    assert close(image[4, 6], (255, 255, 255))


def test_half_transparent_red_on_white_is_pink() -> None:
    image = decode_image(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "PNG"))
    assert close(image[0, 0], (255, 127, 127))


def test_cmyk() -> None:
    image = decode_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert close(image[4, 4], (255, 0, 0), 20)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_cut(kind: str) -> None:
    values = np.array([[0, 16384, 32768, 65535]], dtype=np.uint16).repeat(4, axis=0)
    image = decode_image(encoded(Image.fromarray(values), kind))
    assert image[0, :, 0].tolist() == [0, 64, 128, 255]


def test_floating_point_tiff() -> None:
    values = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    assert decode_image(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    image = decode_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100))
    assert close(image[8, 8], (255, 0, 0))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(20_000, 20_000), (12_000, 12_000)])
def test_too_many_pixels_are_refused_before_decoding(size: tuple[int, int]) -> None:
    with pytest.raises(ImageFormatError, match=r"million.*make it smaller") as caught:
        decode_image(png_header(*size))
    assert caught.value.param == "image"


JPEG = encoded(Image.effect_noise((200, 200), 80).convert("RGB"), "JPEG")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"Dear diary,\nthis is no picture.\n" * 50, "text file"),
        ("这不是图片。".encode(), "text file"),
        (b"%PDF-1.7\n...", "PDF"),
        (bytes(range(256)) * 4, "not a picture"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:30], "not a picture"),
        (encoded(Image.effect_noise((200, 200), 80), "PNG")[:5000], "truncated"),
        (png_header(50, 50), "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "text file"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x01" * 90, "not a picture"),
    ],
)
def test_bad_files_give_one_clear_line(data: bytes, message: str) -> None:
    with pytest.raises(ImageFormatError, match=message) as caught:
        decode_image(data)
    assert caught.value.param == "image"
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pixels_are_squashed_scaled_and_channel_first() -> None:
    pixels = to_pixels(np.asarray(two_halves((300, 100))), 224)
    assert pixels.shape == (3, 224, 224)
    assert pixels.dtype == np.float32
    assert pixels.min() >= -1.0
    assert pixels.max() <= 1.0
    assert pixels[:, 100, 50].tolist() == [1.0, -1.0, -1.0]
    assert pixels[:, 100, 200].tolist() == [-1.0, -1.0, 1.0]
