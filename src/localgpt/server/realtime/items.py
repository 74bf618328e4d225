"""The items of one realtime conversation, as the wire shows them and as a model reads them.

What is kept is bounded: the oldest items go first, and before them the sound of the oldest.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from localgpt.errors import InputError
from localgpt.server.realtime.sound import WireFormat, decode_sound, encode_sound
from localgpt.server.schemas.realtime_items import (
    AssistantItem,
    CallItem,
    OutputItem,
    PicturePart,
    SoundPart,
    SystemItem,
    UserItem,
)
from localgpt.server.translate import checked_text, image_part
from localgpt.tasks import Message, Part, TextPart, ToolCall
from localgpt.units import MIB

__all__ = ["Content", "Conversation", "ConversationItem", "Span", "new_id", "read_item"]

MAX_ITEMS: Final = 512
MAX_SOUND_BYTES: Final = 8 * MIB  # of all items of a conversation, as they came or went
MAX_TEXT_BYTES: Final = 4 * MIB  # of all items, pictures included

Role = Literal["user", "assistant", "system"]
Kind = Literal["message", "function_call", "function_call_output"]
ContentKind = Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]


def new_id(prefix: str) -> str:
    """A fresh id: `item_...`, `resp_...`, `event_...`."""
    return f"{prefix}_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Span:
    """Words and when they are heard, in milliseconds of their item's sound."""

    text: str
    start_ms: float
    end_ms: float


@dataclass(slots=True, kw_only=True)
class Content:
    """A part of a message. `text` of sound is its transcript; None while it is not known."""

    kind: ContentKind
    text: str | None = None
    sound: bytes = b""  # of the wire; nothing, where it was too much to keep
    num_sound: int = 0  # bytes of all of it
    spans: list[Span] = field(default_factory=list)  # of spoken words

    def wire(self, *, with_sound: bool) -> dict[str, Any]:
        """As the wire shows it."""
        shown: dict[str, Any] = {"type": self.kind}
        if self.kind in ("input_audio", "output_audio"):
            shown["transcript"] = self.text
            if with_sound:
                shown["audio"] = encode_sound(self.sound)
        elif self.kind == "input_image":
            shown["image_url"] = self.text
        else:
            shown["text"] = self.text or ""
        return shown

    def keep_sound(self, data: bytes) -> None:
        """Add to the sound, and keep it while it is not too much."""
        is_whole = len(self.sound) == self.num_sound
        self.num_sound += len(data)
        self.sound = self.sound + data if is_whole and self.num_sound <= MAX_SOUND_BYTES // 2 else b""

    def truncate(self, end_ms: int) -> None:
        """Keep the words that were heard by a time; of the clause in which it lies, whole words."""
        kept: list[Span] = []
        for span in self.spans:
            if span.end_ms <= end_ms:
                kept.append(span)
                continue
            length_ms = span.end_ms - span.start_ms
            part = _beginning(span.text, (end_ms - span.start_ms) / length_ms if length_ms else 0.0)
            if part:
                kept.append(Span(part, span.start_ms, float(end_ms)))
            break
        self.spans = kept
        self.text = "".join(span.text for span in kept).rstrip()


@dataclass(slots=True, kw_only=True)
class ConversationItem:
    """One item."""

    id: str
    kind: Kind = "message"
    role: Role = "user"
    content: list[Content] = field(default_factory=list)
    status: str = "completed"
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str = ""

    def wire(self, *, with_sound: bool = False) -> dict[str, Any]:
        """As the wire shows it."""
        shown: dict[str, Any] = {"id": self.id, "object": "realtime.item", "type": self.kind}
        shown["status"] = self.status
        match self.kind:
            case "message":
                shown["role"] = self.role
                shown["content"] = [part.wire(with_sound=with_sound) for part in self.content]
            case "function_call":
                shown |= {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
            case "function_call_output":
                shown |= {"call_id": self.call_id, "output": self.output}
        return shown

    @property
    def num_bytes(self) -> int:
        """Of its words and pictures, about."""
        texts = [part.text or "" for part in self.content]
        return len(self.arguments) + len(self.output) + sum(map(len, texts))

    def parts(self) -> tuple[Part, ...]:
        """What a model reads of a message."""
        read: list[Part] = []
        for place, part in enumerate(self.content):
            if part.kind == "input_image":
                read.append(image_part(part.text or "", f"item.content[{place}].image_url"))
            elif part.text and part.text.strip():
                read.append(TextPart(text=part.text))
        return tuple(read)


class Conversation:
    """The items in order. `version` changes with whatever changes what a model reads."""

    def __init__(self) -> None:
        self.id = new_id("conv")
        self.version = 0
        self._items: list[ConversationItem] = []

    def __iter__(self) -> Iterator[ConversationItem]:
        return iter(self._items)

    def add(self, item: ConversationItem, *, after: str | None = None) -> list[str]:
        """Put an item behind another, behind all, or with "root" before all.

        Returns:
            The ids of what had to go for it.

        Raises:
            InputError: the id is taken, or there is none to put it behind.
        """
        if any(other.id == item.id for other in self._items):
            raise InputError(f"an item {item.id!r} is there already; choose another id", param="item.id")
        place = len(self._items)
        if after is not None:
            place = 0 if after == "root" else self._place(after, "previous_item_id") + 1
        self._items.insert(place, item)
        self.version += 1
        return self._make_room(item)

    def find(self, item_id: str, param: str = "item_id") -> ConversationItem:
        """An item.

        Raises:
            InputError: there is none of that id.
        """
        return self._items[self._place(item_id, param)]

    def delete(self, item_id: str) -> None:
        """Take an item out; errors as those of `find`."""
        del self._items[self._place(item_id, "item_id")]
        self.version += 1

    def before(self, item: ConversationItem) -> str | None:
        """The id of the item before one."""
        place = self._items.index(item)
        return self._items[place - 1].id if place else None

    @property
    def last_id(self) -> str | None:
        """The id of the last item."""
        return self._items[-1].id if self._items else None

    def messages(self, instructions: str | None, said: str | None = None) -> tuple[Message, ...]:
        """The conversation as tasks know it.

        Args:
            instructions: how the assistant should behave.
            said: what the user says now and is no item yet.
        """
        messages = [Message.of("system", instructions)] if instructions else []
        outputs = {item.call_id: item for item in self._items if item.kind == "function_call_output"}
        calls: list[ConversationItem] = []
        for item in self._items:
            if item.kind == "function_call":
                calls += [item] if item.call_id in outputs else []  # one without an output asks for nothing
                continue
            messages += _called(calls, outputs)
            calls = []
            if item.kind == "message" and (parts := item.parts()):
                messages.append(Message(role=item.role, content=parts))
        messages += _called(calls, outputs)
        if said:
            messages.append(Message.of("user", said))
        return tuple(messages)

    def _place(self, item_id: str, param: str) -> int:
        for place, item in enumerate(self._items):
            if item.id == item_id:
                return place
        raise InputError(f"there is no item {item_id!r} in this conversation", param=param)

    def _make_room(self, newest: ConversationItem) -> list[str]:
        num_sound = sum(len(part.sound) for item in self._items for part in item.content)
        for item in self._items:
            for part in item.content:
                if num_sound > MAX_SOUND_BYTES:
                    num_sound -= len(part.sound)
                    part.sound = b""
        gone: list[str] = []
        num_text = sum(item.num_bytes for item in self._items)
        while len(self._items) > MAX_ITEMS or (num_text > MAX_TEXT_BYTES and len(self._items) > 1):
            oldest = next(item for item in self._items if item is not newest)
            self._items.remove(oldest)
            num_text -= oldest.num_bytes
            gone.append(oldest.id)
        return gone


def _called(calls: Sequence[ConversationItem], outputs: dict[str, ConversationItem]) -> list[Message]:
    """Calls as one turn of the assistant, and what they gave."""
    if not calls:
        return []
    asked = tuple(ToolCall(id=call.call_id, name=call.name, arguments=call.arguments) for call in calls)
    return [
        Message(role="assistant", content=(), tool_calls=asked),
        *(
            Message(
                role="tool",
                content=(TextPart(text=outputs[call.call_id].output),),
                tool_call_id=call.call_id,
            )
            for call in calls
        ),
    ]


def read_item(
    body: UserItem | SystemItem | AssistantItem | CallItem | OutputItem, wire: WireFormat
) -> ConversationItem:
    """An item as its client wrote it.

    Raises:
        InputError: a text, picture or sound in it cannot be used; `param` says which.
    """
    item_id = body.id or new_id("item")
    match body:
        case CallItem():
            return ConversationItem(
                id=item_id,
                kind="function_call",
                call_id=body.call_id or new_id("call"),
                name=checked_text(body.name, "item.name"),
                arguments=checked_text(body.arguments, "item.arguments"),
            )
        case OutputItem():
            output = checked_text(body.output, "item.output")
            return ConversationItem(
                id=item_id, kind="function_call_output", call_id=body.call_id, output=output
            )
    content = [_content(part, f"item.content[{place}]", wire) for place, part in enumerate(body.content)]
    return ConversationItem(id=item_id, role=body.role, content=content, status=body.status or "completed")


def _content(part: Any, param: str, wire: WireFormat) -> Content:
    match part:
        case SoundPart():
            sound = decode_sound(part.audio, wire, f"{param}.audio")
            return Content(kind="input_audio", sound=sound, num_sound=len(sound))
        case PicturePart():
            image_part(part.image_url, f"{param}.image_url")
            return Content(kind="input_image", text=part.image_url)
    kind: ContentKind = "input_text"
    if part.type != "input_text":
        kind = "output_audio" if part.type.endswith("audio") else "output_text"
    text = part.text if part.text is not None else getattr(part, "transcript", None)
    return Content(kind=kind, text=checked_text(text or "", f"{param}.text"))


def _beginning(text: str, share: float) -> str:
    """So much of a text, in whole words; an ideograph is one."""
    num_chars = round(len(text) * min(max(share, 0.0), 1.0))
    if num_chars >= len(text):
        return text
    while num_chars and text[num_chars - 1 : num_chars + 1].isalnum() and text[num_chars].isascii():
        num_chars -= 1
    return text[:num_chars]
