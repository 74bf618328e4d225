"""Tool calls in the text of an answer: apart from each other, from their names and from their arguments.

A call is written `{"name": ..., "arguments": {...}}` behind its `<|tool_call|>`; a grammar has made sure of
the form. Names come out as soon as they are whole, arguments as they are written.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Final

from localgpt.tasks import ToolCall, ToolCallDelta

__all__ = ["ToolCallReader"]

_NAME: Final = re.compile(r'\{"name": ("(?:[^"\\]|\\.)*")')
_HEAD: Final = re.compile(_NAME.pattern + r', "arguments": ')


class ToolCallReader:
    """Reads the calls of one answer, piece by piece."""

    def __init__(self) -> None:
        self._calls: list[ToolCall] = []  # finished ones
        self._id = ""
        self._text = ""  # of the call that is being read
        self._name: str | None = None
        self._num_told = 0  # characters of the text before which everything was told

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """All calls, once the last one was closed."""
        return tuple(self._calls)

    def open(self) -> None:
        """A call begins, and one before it is over."""
        self.close()
        self._id = f"call_{uuid.uuid4().hex[:24]}"

    def push(self, text: str) -> list[ToolCallDelta]:
        """What became known with the next piece of the call's text."""
        self._text += text
        deltas = []
        if self._name is None and (name := _NAME.match(self._text)):
            self._name = json.loads(name.group(1))
            deltas.append(ToolCallDelta(index=len(self._calls), id=self._id, name=self._name))
        if not self._num_told and (head := _HEAD.match(self._text)):
            self._num_told = head.end()
        end = len(self._text) - 1  # the last character may be the brace that closes the call
        if 0 < self._num_told < end:
            arguments = self._text[self._num_told : end]
            deltas.append(ToolCallDelta(index=len(self._calls), arguments=arguments))
            self._num_told = end
        return deltas

    def close(self) -> None:
        """The call that is being read is over, if there is one."""
        if self._name is not None:
            head = _HEAD.match(self._text)
            assert head is not None
            arguments = self._text[head.end() : -1]
            self._calls.append(ToolCall(id=self._id, name=self._name, arguments=arguments))
        self._text, self._name, self._num_told = "", None, 0
