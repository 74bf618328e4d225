"""What all bodies share: strictness, and the error body of the OpenAI wire."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

__all__ = [
    "Body",
    "ErrorBody",
    "ErrorDetail",
    "Extension",
    "Incoming",
    "Reply",
    "UsageReply",
    "entries",
    "refused",
]

_MANY = 64  # entries that may all be wrong before the first wrong one ends the reading


class Incoming(BaseModel):
    """What a request says: no field that nobody reads.

    One wrong field is told, so no more are looked for: lists of what is read have `fail_fast`, dictionaries
    are `entries`, and here it is the fields that are unknown. The library would collect an error for each.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _stop_at_the_first_unknown(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > _MANY and cls.model_config["extra"] == "forbid":
            known = {field.alias or name for name, field in cls.model_fields.items()}
            unknown = next((name for name in value if name not in known), None)
            if unknown is not None:
                error = InitErrorDetails(type="extra_forbidden", loc=(unknown,), input=None)
                raise ValidationError.from_exception_data(cls.__name__, [error])
        return value


class Body(Incoming):
    """A request body: as `Incoming`, no coercion between JSON types, and null says what leaving out says."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, value: Any) -> Any:
        if not (isinstance(value, dict) and any(item is None for item in value.values())):
            return value
        defaulted = cls._defaulted()
        return {name: item for name, item in value.items() if item is not None or name not in defaulted}

    @classmethod
    def _defaulted(cls) -> set[str]:
        """Names of the fields that have a value when they are left out."""
        return {
            field.alias or name
            for name, field in cls.model_fields.items()
            if not field.is_required() and field.get_default(call_default_factory=True) is not None
        }

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name in cls._defaulted():
            shown = {
                key: properties[name].pop(key) for key in ("title", "default") if key in properties[name]
            }
            properties[name] = {"anyOf": [properties[name], {"type": "null"}], **shown}
        return schema


class Reply(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Reply):
    """The four keys every error carries; `param` and `code` may be null but are never left out."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Reply):
    """Every answer of status 400 and above."""

    error: ErrorDetail


class Extension(Reply):
    """What this server adds to an answer: notices about anything that was downgraded or left out."""

    notices: list[str] = []


class PromptTokensDetails(Reply):
    """Of the tokens read."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionTokensDetails(Reply):
    """Of the tokens written."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class UsageReply(Reply):
    """Tokens read and written; a picture counts its image tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


def refused(reason: str) -> BeforeValidator:
    """What annotates a field that the wire knows and this server cannot follow; null is accepted."""

    def refuse(value: Any) -> None:
        if value is not None:
            raise PydanticCustomError("refused", "{reason}", {"reason": reason})

    return BeforeValidator(refuse)


def entries(max_length: int) -> WrapValidator:
    """What annotates a dictionary of at most so many entries; the first wrong one ends the reading.

    The library counts a dictionary only after it has read all of it.
    """

    def read(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, dict) and len(value) > max_length:
            raise PydanticCustomError(
                "too_long", "expected at most {max_length} entries", {"max_length": max_length}
            )
        if isinstance(value, dict) and len(value) > _MANY:
            for name, entry in value.items():
                handler({name: entry})
        return handler(value)

    return WrapValidator(read)
