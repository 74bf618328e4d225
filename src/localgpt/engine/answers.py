"""Answers that were given, kept as drafts for the same question asked again.

A draft is only a guess: the engine computes every position of it again, many at once, and chooses each token
as it always does (see `Engine`). So it can make an answer quicker and never change one, and nothing is lost
if a draft was made under other conditions, or is simply wrong.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from localgpt.engine.prefixes import picture_digest
from localgpt.engine.sequence import GenerationRequest

__all__ = ["AnswerShelf", "AnswerStore", "question_key"]

_OVERHEAD_BYTES: Final = 512  # of an entry, beside its tokens
_TOKEN_BYTES: Final = array("I").itemsize


class AnswerShelf(Protocol):
    """Where answers are kept beyond this process."""

    def get(self, key: bytes) -> bytes | None:
        """The answer to a question, if it is there."""
        ...

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep an answer."""
        ...


class AnswerStore:
    """Token ids of answers by what was asked; the one used longest ago is forgotten first. For any thread.

    Args:
        limit_bytes: most that is held.
        vocab_size: of the model; an answer with other tokens was another model's.
        shelf: asked for what is not held, and told of every answer; None for nowhere else.
        on_size: told the bytes held, after each change.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        vocab_size: int,
        shelf: AnswerShelf | None = None,
        on_size: Callable[[int], None] | None = None,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._vocab_size = vocab_size
        self._shelf = shelf
        self._on_size = on_size
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        with self._lock:
            return self._nbytes

    def clear(self) -> None:
        """Forget all that is held in memory."""
        with self._lock:
            self._answers.clear()
            self._nbytes = 0

    def find(self, request: GenerationRequest) -> list[int]:
        """The answer that was given to a request like this; empty where none is known."""
        key = question_key(request)
        with self._lock:
            answer = self._answers.get(key)
            if answer is not None:
                self._answers.move_to_end(key)
        if answer is None and self._shelf is not None:
            answer = self._shelf.get(key)
        if answer is None or len(answer) % _TOKEN_BYTES:
            return []
        token_ids = array("I", answer).tolist()
        return token_ids if max(token_ids, default=0) < self._vocab_size else []

    def put(self, request: GenerationRequest, answer_ids: Sequence[int]) -> None:
        """Keep the answer that was given to a request."""
        key, answer = question_key(request), array("I", answer_ids).tobytes()
        with self._lock:
            self._forget(key)
            self._answers[key] = answer
            self._nbytes += _size(key, answer)
            while self._nbytes > self._limit_bytes:
                self._forget(next(iter(self._answers)))
            held = self._nbytes
        if self._on_size is not None:
            self._on_size(held)
        if self._shelf is not None:
            self._shelf.put(key, answer)

    def _forget(self, key: bytes) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._nbytes -= _size(key, answer)


def question_key(request: GenerationRequest) -> bytes:
    """What makes two requests the same question: who asks, prompt, pictures, and how tokens are chosen.

    It holds all of it, so that different questions never have the same key. Left out is what changes no
    token, or only where an answer ends.
    """
    options = replace(request.options, top_logprobs=None, max_tokens=None)
    parts = (
        request.owner.encode(),
        array("I", request.token_ids).tobytes(),
        b"" if request.image_tokens is None else picture_digest(request.image_tokens),
        repr(options).encode("utf-8", "backslashreplace"),
        repr((request.grammar is not None, request.grammar_opener)).encode(),
    )
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _size(key: bytes, answer: bytes) -> int:
    return len(key) + len(answer) + _OVERHEAD_BYTES
