"""Open detectors: RT-DETR, DETR and their like, by the network and the processor of transformers.

A picture is turned upright first; boxes are in its pixels, within its edges, surest first.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from localgpt.compute.memory.state import Size
from localgpt.errors import CancelledRequestError, InputError, MissingWeightsError
from localgpt.media.image import decode_image
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.network_model import NetworkModel
from localgpt.runtime.open.weights import LoadedNetwork, load_network, reading
from localgpt.tasks import DetectedObject, DetectRequest, DetectResult, Notice, Request, Result

__all__ = ["Detector", "load"]

_SHAPE = "picture"
_ALIVE_BYTES = 900  # of a pixel of what the network reads, in float32: an upper estimate, measured afterwards
_PROCESSOR = "preprocessor_config.json"


def load(checkpoint: OpenCheckpoint) -> Detector:
    """Read a detector.

    Raises:
        CheckpointError: the folder is incomplete or broken.
    """
    folder = checkpoint.folder
    if not (folder / _PROCESSOR).is_file():
        raise MissingWeightsError(f"{folder} has no {_PROCESSOR}; copy it from the model's repository")
    loaded = load_network(checkpoint, "AutoModelForObjectDetection")
    with reading(folder):
        from transformers import AutoImageProcessor

        make: Any = AutoImageProcessor
        processor = make.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return Detector(checkpoint, loaded, processor)


class Detector(NetworkModel):
    """One loaded detector; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        processor: of transformers; from a picture to the network, and from its answer to boxes.
    """

    tasks: tuple[str, ...] = ("detect",)

    def __init__(self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, processor: Any) -> None:
        super().__init__(checkpoint, loaded)
        self._processor = processor
        self._labels: dict[int, str] = {
            int(key): str(name) for key, name in self.network.config.id2label.items()
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """Every kind of object it knows."""
        return tuple(dict.fromkeys(self._labels.values()))

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What a picture takes; all are resized to about the same.

        Raises:
            InputError: a label that the model does not know.
        """
        self._wanted(request)
        sides = [int(side) for side in dict(self._processor.size).values() if isinstance(side, int)] or [640]
        nbytes = max(sides) ** 2 * _ALIVE_BYTES * self._compute_dtype.itemsize // 4
        return (Size(shape=_SHAPE, nbytes=nbytes),)

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Find objects.

        Raises:
            ImageFormatError: it is no picture.
            CancelledRequestError: nobody waits any more.
        """
        asked, wanted = self._wanted(request)
        image = decode_image(asked.image.data)
        height, width = image.shape[:2]
        if is_cancelled():
            raise CancelledRequestError("detecting was cancelled")
        for text in self.notices:
            emit(Notice(text=text))
        with torch.inference_mode():
            inputs = self._processor(images=Image.fromarray(image), return_tensors="pt")
            inputs = inputs.to(self.network.device, self._compute_dtype)
            outputs = self.network(**inputs)
            (found,) = self._processor.post_process_object_detection(
                outputs, threshold=asked.threshold, target_sizes=[(height, width)]
            )
        rows = zip(found["scores"].tolist(), found["labels"].tolist(), found["boxes"].tolist(), strict=True)
        objects = [
            DetectedObject(label=self._labels[label], score=score, box_xyxy=_within(box, width, height))
            for score, label, box in sorted(rows, reverse=True)
            if label in self._labels and (wanted is None or self._labels[label] in wanted)
        ]
        return DetectResult(
            objects=tuple(objects[: asked.max_objects]),
            width=width,
            height=height,
            model=self.id,
            notices=self.notices,
        )

    def _wanted(self, request: Request) -> tuple[DetectRequest, set[str] | None]:
        """The request, and the labels it wants as the model writes them; None for all."""
        if not isinstance(request, DetectRequest):
            raise InputError(f"the model {self.id} finds objects; expected a picture", param="model")
        if request.labels is None:
            return request, None
        known = {label.lower(): label for label in self.labels}
        wanted = set()
        for label in request.labels:
            key = label.strip().lower()
            if key not in known:
                near = difflib.get_close_matches(key, known, n=3) or list(known)[:5]
                raise InputError(
                    f"the label {label!r} is none of the {len(known)} that {self.id} knows; expected "
                    f"{', '.join(known[name] for name in near)} or the like",
                    param="labels",
                )
            wanted.add(known[key])
        return request, wanted


def _within(box: list[float], width: int, height: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    left, right = (min(max(x, 0.0), float(width)) for x in (left, right))
    top, bottom = (min(max(y, 0.0), float(height)) for y in (top, bottom))
    return left, top, max(left, right), max(top, bottom)
