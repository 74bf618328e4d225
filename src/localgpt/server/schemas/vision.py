"""`POST /v1/vision/describe` and `/v1/vision/ask`: this server's own routes for one picture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from localgpt.server.schemas.common import Reply, UsageReply
from localgpt.server.schemas.parts import DataUrl
from localgpt.server.schemas.sampling import GenerationBody
from localgpt.tasks import Language

__all__ = ["AskBody", "DescribeBody", "VisionReply"]


class _PictureBody(GenerationBody):
    image: DataUrl


class DescribeBody(_PictureBody):
    """A picture to describe, and in which language."""

    language: Language | None = None  # None = en


class AskBody(_PictureBody):
    """A picture and a question about it; the answer has the question's language."""

    question: Annotated[str, Field(min_length=1)]


class VisionReply(Reply):
    """What the picture shows."""

    generated_text: str
    finish_reason: Literal["stop", "length"]
    model: str  # the model that answered, whatever alias was asked for
    usage: UsageReply
    notices: list[str]
