"""What a user can ask: request and result dataclasses and the `TaskService` protocol."""

from localgpt.tasks.messages import ImagePart, Message, Part, Role, TextPart
from localgpt.tasks.options import FinishReason, SamplingOptions, Usage
from localgpt.tasks.requests import (
    EMBEDDED_MODEL_ID,
    AskRequest,
    ChatRequest,
    ChatResult,
    DescribeRequest,
    EmbedRequest,
    EmbedResult,
    Language,
    Request,
    Result,
)
from localgpt.tasks.service import (
    Channel,
    Event,
    Finished,
    ModelStatus,
    Notice,
    Status,
    TaskService,
    TextDelta,
)

__all__ = [
    "EMBEDDED_MODEL_ID",
    "AskRequest",
    "Channel",
    "ChatRequest",
    "ChatResult",
    "DescribeRequest",
    "EmbedRequest",
    "EmbedResult",
    "Event",
    "FinishReason",
    "Finished",
    "ImagePart",
    "Language",
    "Message",
    "ModelStatus",
    "Notice",
    "Part",
    "Request",
    "Result",
    "Role",
    "SamplingOptions",
    "Status",
    "TaskService",
    "TextDelta",
    "TextPart",
    "Usage",
]
