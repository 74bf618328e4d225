"""Pictures of turns that are left out are never looked at, so that callers need not bring them."""

from __future__ import annotations

from localgpt.runtime.local import LocalService
from localgpt.tasks import ChatRequest, ChatResult, ImagePart, Message, SamplingOptions, TextPart
from tests import tiny

PHOTO = ImagePart(data=tiny.make_photo(), media_type="image/png")
PLACE = ImagePart(data=b"")


async def test_a_place_stands_for_a_picture_that_does_not_fit() -> None:
    service = LocalService(tiny.make_family())
    (model,) = (await service.status()).models
    assert model.num_image_tokens == tiny.PROJECTOR.n_image_token
    most = model.context_len // model.num_image_tokens
    pictures = [PLACE, *[PHOTO] * most]
    messages = tuple(Message(role="user", content=(picture, TextPart(text="Hi"))) for picture in pictures)
    options = SamplingOptions(temperature=0.0, max_tokens=2)
    result = await service.run(ChatRequest(id="1", messages=messages, options=options))
    assert isinstance(result, ChatResult)
    assert any("the oldest turns were left out" in notice for notice in result.notices)
    await service.close()


async def test_a_model_without_eyes_counts_no_picture() -> None:
    service = LocalService(tiny.make_family(sees=False))
    (model,) = (await service.status()).models
    assert model.num_image_tokens == 0
    await service.close()
