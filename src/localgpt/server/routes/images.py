"""`POST /v1/images/generations`, `/v1/images/edits` and `/v1/images/variations`."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, TypeVar, cast

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from localgpt.errors import InputError
from localgpt.server.access import GatewayDep, Owner
from localgpt.server.answers import notices_header
from localgpt.server.errors import STREAM_REPLIES, WireError
from localgpt.server.events import EventBodies, Events
from localgpt.server.gateway import Gateway
from localgpt.server.pictures import PictureWire, PictureWriter, paint_task, strength_of, wire_names
from localgpt.server.schemas.common import ErrorBody
from localgpt.server.schemas.images import (
    EditBody,
    EditForm,
    GenerationsBody,
    ImageFields,
    ImagesReply,
    VariationForm,
)
from localgpt.server.translate import image_part
from localgpt.server.uploads import Form, Upload, read_form
from localgpt.server.voice import lacking_is_told, voice_model
from localgpt.server.work import EventStream, run_for_client
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    ChatResult,
    DescribeRequest,
    ImagePart,
    PaintResult,
)
from localgpt.units import MIB, format_bytes

__all__ = ["router"]

router = APIRouter(tags=["images"])
MAX_PICTURE_BYTES: Final = 50 * MIB  # of one picture, as the wire documents it
_FILES: Final = frozenset({"image", "image[]", "mask"})
_REPLIES: dict[int | str, dict[str, Any]] = {
    **STREAM_REPLIES,
    501: {"model": ErrorBody, "description": "No model here paints."},
    507: {"model": ErrorBody, "description": "The disk has no room for the picture."},
}
FormT = TypeVar("FormT", bound=BaseModel)


def _form_schema(kind: type[BaseModel], *files: str) -> dict[str, Any]:
    schema = kind.model_json_schema()
    binary = {"type": "string", "format": "binary"}
    schema["properties"] = {**dict.fromkeys(files, binary), **schema["properties"]}
    schema["required"] = [*schema.get("required", ()), "image"]
    return schema


def _bodies(form: dict[str, Any], json_kind: type[BaseModel] | None = None) -> dict[str, Any]:
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if json_kind is not None:
        content["application/json"] = {"schema": json_kind.model_json_schema()}
    return {"requestBody": {"required": True, "content": content}}


@router.post("/v1/images/generations", response_model=ImagesReply, responses=_REPLIES)
async def create_image(
    body: GenerationsBody, request: Request, gateway: GatewayDep, owner: Owner
) -> Response:
    """Paint a text, whole or as server-sent events with the picture's stages (`stream: true`)."""
    model_id, notices = await voice_model(gateway, body.model, "paint")
    task = paint_task(body, owner=owner, model=model_id)
    writer = PictureWriter(task=task, safety_identifier=_label_of(body), notices=notices)
    return await _answer(writer, request, gateway, is_stream=body.stream)


@router.post(
    "/v1/images/edits",
    response_model=ImagesReply,
    responses=_REPLIES,
    openapi_extra=_bodies(_form_schema(EditForm, "image", "image[]", "mask"), EditBody),
)
async def edit_image(request: Request, gateway: GatewayDep, owner: Owner) -> Response:
    """Paint a picture over, all of it or what a mask leaves open; sent as a form, or as JSON."""
    if "json" in request.headers.get("content-type", "").lower():
        fields: EditForm | EditBody = await _read_json(request, EditBody)
        assert isinstance(fields, EditBody)
        image, mask = _referred(fields)
    else:
        form = await read_form(request, gateway, files=_FILES)
        fields = _checked(EditForm, form.values)
        image, mask = await _sent(form)
    model_id, notices = await voice_model(gateway, fields.model, "paint")
    task = paint_task(
        fields,
        owner=owner,
        model=model_id,
        image=image,
        mask=mask,
        strength=strength_of(fields.input_fidelity if mask is None else "low", fields.strength),
    )
    writer = PictureWriter(task=task, kind="image_edit", safety_identifier=_label_of(fields), notices=notices)
    return await _answer(writer, request, gateway, is_stream=fields.stream)


@router.post(
    "/v1/images/variations",
    response_model=ImagesReply,
    responses=_REPLIES,
    openapi_extra=_bodies(_form_schema(VariationForm, "image")),
)
async def vary_image(request: Request, gateway: GatewayDep, owner: Owner) -> Response:
    """Paint a picture in another way: it is described, and the description is painted over it."""
    form = await read_form(request, gateway, files=frozenset({"image"}))
    fields = _checked(VariationForm, form.values)
    image, _ = await _sent(form)
    model_id, notices = await voice_model(gateway, fields.model, "paint")
    plain = ImageFields(
        prompt="-", n=fields.n, size=fields.size, seed=fields.seed, user=fields.user
    )  # what it shows is not known yet, but all else can be refused before it is looked at
    task = paint_task(plain, owner=owner, model=model_id, image=image, strength=fields.strength)
    look = DescribeRequest(id=f"{task.id}-look", owner=owner, model=EMBEDDED_MODEL_ID, image=image)
    seen = cast("ChatResult", await run_for_client(request, gateway, gateway.service.run(look)))
    prompt = seen.text.strip()
    if not prompt:
        raise InputError(
            "nothing could be told of the picture; use /v1/images/edits with a prompt", param="image"
        )
    plain = plain.model_copy(update={"prompt": prompt})
    task = paint_task(plain, owner=owner, model=model_id, image=image, strength=fields.strength)
    writer = PictureWriter(
        task=task,
        kind="image_edit",
        safety_identifier=_label_of(plain),
        revised_prompt=prompt,
        notices=notices,
    )
    return await _answer(writer, request, gateway, is_stream=False)


async def _answer(writer: PictureWriter, request: Request, gateway: Gateway, *, is_stream: bool) -> Response:
    if is_stream:
        events = Events(gateway, [writer.task])
        bodies = EventBodies(writer.events(events), events)
        headers = lambda: notices_header(writer.notices)  # noqa: E731 - asked when the status goes out
        return EventStream(bodies, gateway, headers=headers, wire=PictureWire())
    with lacking_is_told(writer.task.model), wire_names():
        result = cast("PaintResult", await run_for_client(request, gateway, gateway.service.run(writer.task)))
    reply = writer.whole(result)
    return JSONResponse(reply, headers=notices_header(reply["localgpt"]["notices"]))


def _label_of(fields: ImageFields) -> str | None:
    return fields.safety_identifier or fields.user or None


async def _read_json(request: Request, kind: type[FormT]) -> FormT:
    try:
        values = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise WireError(400, "the body is not valid JSON", code="invalid_json") from None
    return _checked(kind, values)


def _checked(kind: type[FormT], values: Any) -> FormT:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestValidationError([{**first, "loc": ("body", *first["loc"])}]) from None


def _referred(body: EditBody) -> tuple[ImagePart, ImagePart | None]:
    """The pictures of a JSON body."""
    if len(body.images) > 1:
        raise _too_many(len(body.images), "images")
    parts: list[ImagePart | None] = []
    for reference, param in ((body.images[0], "images[0]"), (body.mask, "mask")):
        if reference is None:
            parts.append(None)
            continue
        if reference.image_url is None:
            raise InputError(f"{param} has no image_url; send the picture in it", param=param)
        parts.append(image_part(reference.image_url, f"{param}.image_url"))
    assert parts[0] is not None
    return parts[0], parts[1]


async def _sent(form: Form) -> tuple[ImagePart, ImagePart | None]:
    """The pictures of a form."""
    images = [upload for name in ("image", "image[]") if (upload := form.files.get(name)) is not None]
    if not images:
        raise InputError("image is missing; send the picture as a file", param="image")
    if len(images) > 1:
        raise _too_many(len(images), "image")
    mask = form.files.get("mask")
    return await _part(images[0], "image"), None if mask is None else await _part(mask, "mask")


async def _part(upload: Upload, param: str) -> ImagePart:
    if upload.num_bytes > MAX_PICTURE_BYTES:
        raise WireError(413, f"{param} is too large; at most {format_bytes(MAX_PICTURE_BYTES)}", param=param)
    if upload.num_bytes == 0:
        raise InputError(f"{param} is empty; send the file's bytes", param=param)
    data = upload.data if upload.path is None else await asyncio.to_thread(upload.path.read_bytes)
    return ImagePart(data=data, media_type=upload.media_type)


def _too_many(number: int, param: str) -> InputError:
    return InputError(f"got {number} pictures; one is painted over at a time, expected one", param=param)
