"""A draft of one answer, and how far the answer has followed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from localgpt.tasks.options import SamplingOptions

__all__ = ["Draft", "is_repeatable"]

_FIRST_TOKENS: Final = 4  # read at once of a draft that may be wrong; twice as many each time it was right


class Draft:
    """Tokens an answer may have. It is done with at the first one that the answer does not have.

    Args:
        token_ids: the whole answer.
        is_certain: the same options gave it, so that all of it is expected again.
    """

    def __init__(self, token_ids: Sequence[int] = (), *, is_certain: bool = True) -> None:
        self._token_ids = token_ids
        self._num_followed = 0
        self._num_at_once = len(token_ids) if is_certain else _FIRST_TOKENS

    @property
    def is_left(self) -> bool:
        """Whether any token is left."""
        return self._num_followed < len(self._token_ids)

    @property
    def num_followed(self) -> int:
        """Tokens the answer has had from it."""
        return self._num_followed

    def next_tokens(self, most: int) -> list[int]:
        """The next ones to try, at most so many."""
        num = max(0, min(most, self._num_at_once))
        self._num_at_once *= 2
        return list(self._token_ids[self._num_followed : self._num_followed + num])

    def follow(self, token_id: int) -> None:
        """Tell it the answer's next token."""
        if self.is_left and self._token_ids[self._num_followed] == token_id:
            self._num_followed += 1
        else:
            self._token_ids = self._token_ids[: self._num_followed]


def is_repeatable(options: SamplingOptions) -> bool:
    """Whether the same question has the same answer: without randomness, or with a seed for it."""
    return options.temperature == 0 or options.seed is not None
