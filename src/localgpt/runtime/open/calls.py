"""Answers of open models as events: text, and tool calls between tags.

A call is `<tool_call>`, a line with `{"name": ..., "arguments": {...}}`, and `</tool_call>`; a grammar has
made sure of the form from the first tag on. What stands before that is text (a model may think first), blanks
between calls are nothing.
"""

from __future__ import annotations

from typing import Final

from localgpt.engine.sequence import Output
from localgpt.media.text.lexicon import Lexicon
from localgpt.runtime.answers import AnswerWriter
from localgpt.runtime.tool_calls import ToolCallReader
from localgpt.sampling.closing import JsonText
from localgpt.tasks import Event, Language, TextDelta, ToolCall

__all__ = ["OPENER", "OpenAnswerWriter"]

OPENER: Final = "<tool_call>"


class OpenAnswerWriter(AnswerWriter):
    """An answer writer for models whose calls are marked by text.

    Args:
        tokenizer: tells the bytes of tokens.
        language: of notes to the reader.
        has_tools: calls are read; else tags are text like any other.
    """

    paint_id = None
    call_id = None

    def __init__(self, tokenizer: Lexicon, language: Language, *, has_tools: bool) -> None:
        super().__init__(tokenizer, language)
        self._has_tools = has_tools
        self._tagged: ToolCallReader | None = None  # once the first tag was read
        self._json, self._depth = JsonText(), 0  # of the call that is being read; no depth between calls

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of an answer that is over."""
        return self._tagged.calls if self._tagged is not None else ()

    def _text_events(self, output: Output) -> list[Event]:
        events = super()._text_events(output)
        if not self._has_tools:
            return events
        return [event for one in events for event in self._split(one)]

    def _split(self, event: Event) -> list[Event]:
        """The parts of a piece of text: what comes before calls, and the calls."""
        assert isinstance(event, TextDelta)
        if self._tagged is not None:
            return self._read_calls(event.text)
        before, opener, rest = event.text.partition(OPENER)
        events: list[Event] = []
        if before or event.logprobs:
            events.append(TextDelta(text=before, logprobs=event.logprobs))
        if opener:
            self._tagged = ToolCallReader()
            events += self._read_calls(rest)
        return events

    def _read_calls(self, text: str) -> list[Event]:
        """What is told of the calls in a text behind the first tag; braces alone open and close them."""
        assert self._tagged is not None
        events: list[Event] = []
        piece = ""
        for char in text:
            if not self._depth:
                if char != "{":
                    continue
                self._tagged.open()
            piece += char
            was_inside = self._json.in_string
            self._json.push(char.encode("utf-8", "surrogatepass"))
            if not was_inside and char in "{}":
                self._depth += 1 if char == "{" else -1
            if not self._depth:
                events += self._tagged.push(piece)
                self._tagged.close()
                piece = ""
        return [*events, *self._tagged.push(piece)] if piece else events
