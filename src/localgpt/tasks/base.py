"""What every request carries, and how a value out of range is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from localgpt.errors import InputError

__all__ = ["EMBEDDED_MODEL_ID", "RequestBase", "require"]

EMBEDDED_MODEL_ID: Final = "local/multimodal-base"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBase:
    """Fields every request carries."""

    id: str
    owner: str = "local"
    model: str = EMBEDDED_MODEL_ID
    deadline_s: float | None = None  # seconds from submission; None = no deadline


def require(ok: bool, param: str, got: object, expected: str) -> None:
    """Refuse a value unless it is `ok`.

    Raises:
        InputError: it is not; `param` names the field.
    """
    if not ok:
        raise InputError(f"{param} is {got!r}; expected {expected}", param=param)
