"""Pictures for requests, and pictures of results as numbers."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from localgpt.tasks import ImagePart

__all__ = ["pixels", "png"]


def png(image: NDArray[np.uint8]) -> ImagePart:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG")
    return ImagePart(data=sink.getvalue())


def pixels(data: bytes) -> NDArray[np.int16]:
    return np.asarray(Image.open(io.BytesIO(data))).astype(np.int16)
