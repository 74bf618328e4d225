"""What a request to paint begins from: a picture and a mask as arrays, checked, and laid over the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from localgpt.errors import ImageFormatError, InputError
from localgpt.media.image import decode_image, read_clear
from localgpt.tasks import ImagePart, MaskMarks, PaintRequest

__all__ = ["PaintInputs", "read_inputs"]

_IS_PAINTED = 128  # of 255; a mask is painted over from here on


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintInputs:
    """A picture to begin from, (H, W, 3) uint8 RGB, and where it is painted over, (H, W) bool."""

    picture: NDArray[np.uint8] | None = None
    mask: NDArray[np.bool_] | None = None

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """Width and height of the picture."""
        return None if self.picture is None else (self.picture.shape[1], self.picture.shape[0])

    def at(self, width: int, height: int) -> PaintInputs:
        """The same at another size."""
        if self.picture is None or self.picture_size == (width, height):
            return self
        picture = Image.fromarray(self.picture).resize((width, height), Image.Resampling.LANCZOS)
        mask = self.mask
        if mask is not None:
            mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
        return PaintInputs(picture=np.asarray(picture), mask=mask)

    def laid_over(self, painted: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What was painted, (H, W, 3), with the picture's own pixels wherever the mask keeps them."""
        if self.picture is None or self.mask is None:
            return painted
        return np.where(self.mask[..., None], painted, self.picture)


def read_inputs(request: PaintRequest) -> PaintInputs:
    """Decode the pictures of a request.

    Raises:
        ImageFormatError: one is no picture; `param` names it.
        InputError: the mask is of another size, or keeps everything.
    """
    if request.image is None:
        return PaintInputs()
    picture = decode_image(request.image.data)
    if request.mask is None:
        return PaintInputs(picture=picture)
    mask = _read_mask(request.mask, request.mask_marks)
    if mask.shape != picture.shape[:2]:
        (height, width), (mask_height, mask_width) = picture.shape[:2], mask.shape
        raise InputError(
            f"the mask has {mask_width} x {mask_height} pixels; expected {width} x {height}, as its picture",
            param="mask",
        )
    if not mask.any():
        where = "transparent, or white" if request.mask_marks == "clear" else "white"
        raise InputError(
            f"the mask keeps everything, so nothing would be painted; expected {where} where to paint",
            param="mask",
        )
    return PaintInputs(picture=picture, mask=mask)


def _read_mask(part: ImagePart, marks: MaskMarks) -> NDArray[np.bool_]:
    """Where is painted. A mask that is to be transparent there and knows no transparency is read as white."""
    if marks == "clear":
        try:
            clear = read_clear(part.data)
        except ImageFormatError as error:
            error.param = "mask"
            raise
        if clear is not None:
            return clear
    lightness = _decode(part, "mask").max(axis=2)
    return np.asarray(lightness >= _IS_PAINTED)


def _decode(part: ImagePart, param: str) -> NDArray[np.uint8]:
    try:
        return decode_image(part.data)
    except ImageFormatError as error:
        error.param = param
        raise
