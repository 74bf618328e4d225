"""Per-call options and the accounting that comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localgpt.errors import InputError

__all__ = ["FinishReason", "SamplingOptions", "Usage"]

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """How the answer's tokens are chosen.

    Raises:
        InputError: a value is out of range; `param` names it.
    """

    temperature: float = 0.3  # 0 = greedy; low, since small models state facts better than they vary them
    top_p: float = 0.95
    top_k: int = 50  # 0 = no limit
    max_tokens: int | None = None  # None = the task's own limit; the context may leave fewer
    repetition_penalty: float = 1.0  # above 1 makes tokens the answer already holds less likely; 1 = off
    stop: tuple[str, ...] = ()  # the answer ends before any of these strings
    seed: int | None = None  # None = a fresh one for each request

    def __post_init__(self) -> None:
        _require(0.0 <= self.temperature <= 2.0, "temperature", self.temperature, "from 0 to 2")
        _require(0.0 < self.top_p <= 1.0, "top_p", self.top_p, "above 0 and at most 1")
        _require(self.top_k >= 0, "top_k", self.top_k, "0 (no limit) or more")
        _require(
            1.0 <= self.repetition_penalty <= 2.0,
            "repetition_penalty",
            self.repetition_penalty,
            "from 1 to 2",
        )
        if self.max_tokens is not None:
            _require(self.max_tokens >= 1, "max_tokens", self.max_tokens, "1 or more")
        _require(len(self.stop) <= 4 and all(self.stop), "stop", self.stop, "at most 4 non-empty strings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens read and written for one request; a picture counts its image tokens."""

    prompt_tokens: int
    completion_tokens: int


def _require(ok: bool, param: str, got: object, expected: str) -> None:
    if not ok:
        raise InputError(f"{param} is {got!r}; expected {expected}", param=param)
