"""Pictures that would take much memory: read band by band to the same pixels, few at once, or refused."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from localgpt.errors import ImageFormatError
from localgpt.media import image as media
from localgpt.media.image import MAX_SIDE, decode_image, read_pixels, to_pixels
from localgpt.runtime.local import LocalService
from localgpt.tasks import ChatRequest, EmbedRequest, ImagePart, Message, SamplingOptions
from tests import tiny

PNG, TIFF, JPEG = "PNG", "TIFF", "JPEG"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int, num_channels: int = 3) -> NDArray[np.uint8]:
    """(H, W, C) of random values."""
    return np.random.default_rng(width * height).integers(
        0, 256, (height, width, num_channels), dtype=np.uint8
    )


def coloured(mode: str, size: tuple[int, int]) -> Image.Image:
    """A picture of random colours."""
    width, height = size
    match mode:
        case "I;16":
            return Image.fromarray(noise(width, height, 2).view(np.uint16)[..., 0])
        case "F":
            return Image.fromarray(noise(width, height, 1)[..., 0].astype(np.float32) * 7 - 300)
        case "RGBA":
            return Image.fromarray(noise(width, height, 4), "RGBA")
        case "LA":
            return Image.fromarray(noise(width, height, 2), "LA")
        case _:
            return Image.fromarray(noise(width, height)).convert(mode)


@pytest.fixture
def narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small pictures take many bands."""
    monkeypatch.setattr(media, "_BAND_PIXELS", 999)


@pytest.mark.usefixtures("narrow_bands")
@pytest.mark.parametrize(
    "size", [(301, 200), (200, 301), (64, 500), (500, 64), (64, 64), (30, 20), (20, 30), (1, 70), (70, 1)]
)
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *((mode, PNG) for mode in ("RGB", "RGBA", "P", "1", "L", "LA", "I;16")),
        *((mode, TIFF) for mode in ("F", "I;16", "PA", "CMYK")),
        ("CMYK", JPEG),
    ],
)
def test_bands_give_the_same_pixels(mode: str, kind: str, size: tuple[int, int]) -> None:
    data = encoded(coloured(mode, size), kind)
    assert np.array_equal(read_pixels(data, 64), to_pixels(decode_image(data), 64))


@pytest.mark.usefixtures("narrow_bands")
def test_bands_of_a_clear_palette_give_the_same_pixels() -> None:
    data = encoded(coloured("P", (301, 200)), PNG, transparency=bytes(range(256)))
    assert np.array_equal(read_pixels(data, 64), to_pixels(decode_image(data), 64))


@pytest.mark.usefixtures("narrow_bands")
@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("size", [(301, 200), (200, 301), (40, 40)])
def test_turned_pictures(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(coloured("RGB", size), PNG, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(decode_image(data), expected)
    assert np.array_equal(read_pixels(data, 64), to_pixels(expected, 64))


@pytest.mark.parametrize(
    "size",
    [
        (700, 1100),
        (1100, 700),
        (300, 376),
        (300, 377),
        (100, 224),
        (100, 225),
        (224, 300),
        (300, 224),
        (900, 10),
        (10, 900),
        (10, 10),
        (10, 224),
        (224, 10),
        (2000, 3776),
        (2000, 3777),
    ],
)
def test_the_axes_are_taken_in_the_order_of_pillow(size: tuple[int, int]) -> None:
    image = noise(*size)
    plain = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC))
    got = (to_pixels(image).transpose(1, 2, 0) + 1) * 127.5
    assert np.abs(got - plain).max() < 1.5  # 0 with Pillow 13; another one may round after the other axis


_PEAK = """
import sys
from localgpt.media.image import read_pixels

def kilobytes(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

data = sys.stdin.buffer.read()
before = kilobytes("VmRSS")
read_pixels(data)
print((kilobytes("VmHWM") - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("mode", "most_bytes"), [("P", 3), ("RGBA", 6), ("I;16", 5)])
def test_a_large_picture_takes_little_more_than_its_pixels(mode: str, most_bytes: int) -> None:
    side = 5000
    image = Image.new(mode, (side, side))
    options: dict[str, object] = {"transparency": 0} if mode == "P" else {}
    data = encoded(image, PNG, compress_level=1, **options)
    done = subprocess.run([sys.executable, "-c", _PEAK], input=data, capture_output=True, check=True)
    assert int(done.stdout) < most_bytes * side * side


@pytest.mark.parametrize("size", [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1)])
def test_a_side_that_is_far_too_long_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageFormatError, match="at most 1,000,000 on a side; cut it"):
        read_pixels(encoded(Image.new("1", size), PNG))


@pytest.mark.parametrize(("kind", "limit"), [("WEBP", "32"), ("AVIF", "64")])
def test_formats_whose_decoders_take_much_have_lower_limits(
    monkeypatch: pytest.MonkeyPatch, kind: str, limit: str
) -> None:
    assert f"{media._MAX_PIXELS_OF[kind] / 1e6:g}" == limit
    data = encoded(Image.new("RGB", (40, 30)), kind)
    assert decode_image(data).shape == (30, 40, 3)
    monkeypatch.setitem(media._MAX_PIXELS_OF, kind, 1199)
    with pytest.raises(ImageFormatError, match=r"40 x 30 pixels, expected at most 0.001199 million"):
        read_pixels(data)


async def test_few_pictures_are_decoded_at_once_and_prompts_do_not_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = LocalService(tiny.make_family())
    assert local._pictures is not None
    may_end, begun = threading.Event(), threading.Semaphore(0)
    num_begun = 0
    read = local._pictures.read_pixels

    def slow(data: bytes) -> NDArray[np.float32]:
        nonlocal num_begun
        num_begun += 1
        begun.release()
        may_end.wait()
        return read(data)

    monkeypatch.setattr(local._pictures, "read_pixels", slow)
    photos = [tiny.make_photo((shade, 0, 0)) for shade in range(40)]
    requests = [EmbedRequest(id="1", inputs=(ImagePart(data=photo),)) for photo in photos]
    tasks = [asyncio.create_task(local.run(request)) for request in requests]
    await asyncio.to_thread(lambda: (begun.acquire(), begun.acquire()))
    options = SamplingOptions(temperature=0.0, max_tokens=2)
    await local.run(ChatRequest(id="2", messages=(Message.of("user", "Hello"),), options=options))
    assert num_begun == 2
    may_end.set()
    await asyncio.gather(*tasks)
    assert num_begun == len(photos)
    await local.close()
