"""Per-call options and the accounting that comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localgpt.tasks.base import require

__all__ = ["FinishReason", "SamplingOptions", "TokenBias", "TokenLogprob", "Usage"]

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
MAX_TOP_LOGPROBS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBias:
    """Added to the logit of one token of this model's vocabulary; -100 bans it, 100 all but forces it."""

    token_id: int
    bias: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """One token of an answer and how likely the model held it, before temperature and cuts."""

    data: bytes  # the token's own bytes; one character may be spread over several tokens
    logprob: float  # natural logarithm
    top: tuple[TokenLogprob, ...] = ()  # the likeliest alternatives, likeliest first


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
    # above 1 makes tokens the answer already holds less likely; 1 = off; None = the task's own
    repetition_penalty: float | None = None
    frequency_penalty: float = 0.0  # from -2 to 2; times the count of a token in the answer
    presence_penalty: float = 0.0  # from -2 to 2; once for a token the answer already holds
    logit_bias: tuple[TokenBias, ...] = ()
    top_logprobs: int | None = None  # None = no logprobs; 0 = those of the chosen tokens alone
    stop: tuple[str, ...] = ()  # the answer ends before any of these strings
    seed: int | None = None  # None = a fresh one for each request

    def __post_init__(self) -> None:
        require(0.0 <= self.temperature <= 2.0, "temperature", self.temperature, "from 0 to 2")
        require(0.0 < self.top_p <= 1.0, "top_p", self.top_p, "above 0 and at most 1")
        require(self.top_k >= 0, "top_k", self.top_k, "0 (no limit) or more")
        if self.repetition_penalty is not None:
            in_range = 1.0 <= self.repetition_penalty <= 2.0
            require(in_range, "repetition_penalty", self.repetition_penalty, "from 1 to 2")
        for name in ("frequency_penalty", "presence_penalty"):
            require(-2.0 <= getattr(self, name) <= 2.0, name, getattr(self, name), "from -2 to 2")
        biases = [entry.bias for entry in self.logit_bias]
        require(all(-100.0 <= bias <= 100.0 for bias in biases), "logit_bias", biases, "from -100 to 100")
        if self.top_logprobs is not None:
            expected = f"from 0 to {MAX_TOP_LOGPROBS}"
            require(0 <= self.top_logprobs <= MAX_TOP_LOGPROBS, "top_logprobs", self.top_logprobs, expected)
        if self.max_tokens is not None:
            require(self.max_tokens >= 1, "max_tokens", self.max_tokens, "1 or more")
        require(len(self.stop) <= 4 and all(self.stop), "stop", self.stop, "at most 4 non-empty strings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens read and written for one request; a picture counts its image tokens."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # of the prompt: known from an earlier one that began the same way
