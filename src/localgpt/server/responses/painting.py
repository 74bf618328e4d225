"""Pictures as answers of the responses wire: the tool that allows them, and their items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localgpt.errors import InputError
from localgpt.server.painted import picture_parts
from localgpt.server.pictures import base64_text, effort_of, sides_of
from localgpt.server.responses.items import output_id
from localgpt.server.schemas.response_replies import OutputPicture
from localgpt.server.schemas.responses import PaintChoice, PaintTool
from localgpt.tasks import ChatResult, Painting

__all__ = ["painting_of", "picture_items"]


def painting_of(tools: Sequence[Any] | None, choice: Any) -> Painting | None:
    """How pictures are painted that are answers; None where they are not allowed.

    Raises:
        InputError: a picture has to be painted, and there is no tool for that, or more than one; or PNG is to
            be compressed with a loss.
    """
    found = [(index, tool) for index, tool in enumerate(tools or ()) if isinstance(tool, PaintTool)]
    is_wanted = isinstance(choice, PaintChoice)
    if is_wanted and not found:
        raise InputError("tool_choice is image_generation, which is not among the tools", param="tool_choice")
    if not found or choice == "none":
        return None
    if len(found) > 1:
        raise InputError("image_generation stands twice; send it once", param=f"tools[{found[1][0]}]")
    index, tool = found[0]
    kind = tool.output_format or "png"
    quality = 100 if tool.output_compression is None else tool.output_compression
    if kind == "png" and quality != 100:
        raise InputError(
            f"output_compression is {quality}, but PNG loses nothing; expected output_format jpeg or webp",
            param=f"tools[{index}].output_compression",
        )
    width, height = sides_of(tool.size or "auto")
    return Painting(
        model=tool.model,
        width=width,
        height=height,
        effort=effort_of(tool.quality or "auto"),
        format=kind,
        format_quality=quality,
        num_previews=tool.partial_images or 0,
        is_wanted=is_wanted,
    )


def picture_items(
    result: ChatResult, painting: Painting | None, response_id: str, index: int
) -> list[OutputPicture]:
    """The pictures of an answer as items, of which the first has that index."""
    parts = picture_parts(result) or []
    assert painting is not None or not parts
    return [
        OutputPicture(
            id=output_id("ig", response_id, index + number),
            status="completed",
            result=base64_text(image.data),
            revised_prompt=result.paints,
            size=f"{image.width}x{image.height}",
            quality=None if painting is None else painting.effort,
            background="opaque",
            output_format=None if painting is None else painting.format,
            localgpt=part.localgpt,
        )
        for number, (image, part) in enumerate(zip(result.images, parts, strict=True))
    ]
