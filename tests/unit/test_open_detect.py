"""Open detectors: the boxes of transformers, in the upright picture, filtered and bounded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from localgpt.errors import CancelledRequestError, ImageFormatError, InputError, MissingWeightsError
from localgpt.runtime.open.base import OpenCheckpoint, kind_of, load_open
from localgpt.runtime.open.detect import Detector
from localgpt.tasks import DetectRequest, DetectResult, ImagePart
from tests.tiny_media import write_detector

PIXELS = np.random.default_rng(0).integers(0, 255, (48, 96, 3), dtype=np.uint8)


def picture(*, orientation: int = 1) -> ImagePart:
    """96 x 48 pixels in the file, turned by a tag."""
    sink = io.BytesIO()
    image = Image.fromarray(PIXELS)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(sink, "PNG", exif=exif)
    return ImagePart(data=sink.getvalue())


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    folder = write_detector(tmp_path_factory.mktemp("detector") / "rtdetr")
    model = load_open(OpenCheckpoint(folder=folder, id="maker/detector", kind=kind_of(folder)))
    assert isinstance(model, Detector)
    return model


def detect(detector: Detector, **values: Any) -> DetectResult:
    request = DetectRequest(**{"id": "1", "image": picture(), "threshold": 0.0, **values})
    result = detector.answer(request, lambda event: None, lambda: False, detector.sizes(request)[0])
    assert isinstance(result, DetectResult)
    return result


def test_boxes_are_those_of_transformers(detector: Detector) -> None:
    result = detect(detector)
    processor, network = detector._processor, detector.network
    with torch.inference_mode():
        outputs = network(**processor(images=Image.fromarray(PIXELS), return_tensors="pt"))
    (expected,) = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(48, 96)])
    assert (result.width, result.height, result.model) == (96, 48, "maker/detector")
    assert len(result.objects) == 20
    scores = [thing.score for thing in result.objects]
    assert scores == sorted(expected["scores"].tolist(), reverse=True)
    best = int(expected["scores"].argmax())
    assert result.objects[0].label == ("cat", "dog", "traffic light")[int(expected["labels"][best])]
    expected_box = expected["boxes"][best].clamp(min=0).tolist()
    assert result.objects[0].box_xyxy == pytest.approx(
        [min(side, limit) for side, limit in zip(expected_box, (96, 48, 96, 48), strict=True)]
    )


def test_boxes_lie_in_the_upright_picture(detector: Detector) -> None:
    turned = detect(detector, image=picture(orientation=6))
    assert (turned.width, turned.height) == (48, 96)
    for thing in turned.objects:
        left, top, right, bottom = thing.box_xyxy
        assert 0 <= left <= right <= 48 and 0 <= top <= bottom <= 96
    upright = io.BytesIO()
    Image.fromarray(np.rot90(PIXELS, -1)).save(upright, "PNG")
    assert detect(detector, image=ImagePart(data=upright.getvalue())) == turned


def test_thresholds_labels_and_number(detector: Detector) -> None:
    everything = detect(detector).objects
    middle = everything[10].score
    surest = detect(detector, threshold=middle).objects
    assert surest == tuple(thing for thing in everything if thing.score > middle)
    for label in ("cat", "dog", "traffic light"):
        named = detect(detector, labels=(f" {label.upper()} ",)).objects
        assert named == tuple(thing for thing in everything if thing.label == label)
    assert detect(detector, max_objects=3).objects == everything[:3]
    assert detect(detector, threshold=1.0).objects == ()


def test_labels_that_are_not_known(detector: Detector) -> None:
    with pytest.raises(InputError, match="expected traffic light") as caught:
        detect(detector, labels=("cat", "trafic light"))
    assert caught.value.param == "labels"
    with pytest.raises(InputError, match="expected cat, dog, traffic light"):
        detect(detector, labels=("helicopter",))


def test_what_is_no_picture_and_what_is_cancelled(detector: Detector) -> None:
    with pytest.raises(ImageFormatError, match="text file"):
        detect(detector, image=ImagePart(data=b"This is a text."))
    request = DetectRequest(id="1", image=picture())
    with pytest.raises(CancelledRequestError):
        detector.answer(request, lambda event: None, lambda: True, detector.sizes(request)[0])


def test_a_folder_without_its_processor(tmp_path: Path) -> None:
    folder = write_detector(tmp_path / "detector")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(MissingWeightsError, match="preprocessor_config"):
        load_open(OpenCheckpoint(folder=folder, id="maker/detector", kind="detect"))
