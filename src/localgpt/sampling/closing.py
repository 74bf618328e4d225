"""The shortest way to end a JSON text that a grammar is in the middle of.

Notable: a grammar only says which bytes may follow, so the way is searched. A text is closed greedily: ends
of strings, lists and objects are taken as soon as they are allowed, and where they are not, the nearest place
that allows one is looked for, byte by byte, breadth first. Places that allow the same bytes after the same
number of bytes are held to be the same one, which keeps the search narrow and may miss the very shortest way,
never the rules: every byte was allowed by the grammar itself. A thorough search also tries the alternatives
of each branch (members of an enum, types of a union) to their end.

What it cannot find in a bounded number of steps it does not find: the caller refuses the token or the schema.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol, Self

__all__ = ["Closing", "JsonText", "Place", "ends_of_values", "find_closing"]

_MOST_BYTES = 4096  # of a way to the end
_QUICK_STEPS, _THOROUGH_STEPS = 3_000, 12_000  # bytes tried in one search
_MOST_VISITED, _FEW_VISITED = 24, 6  # places that are looked at around one place
_MOST_ALTERNATIVES = 16
_MOST_TAILS = 4

_QUOTE, _BACKSLASH = b'"\\'
_CLOSERS = b"}],"
_LONGEST_RUN = 64  # bytes said at once


def _rank(preferred: bytes) -> dict[int, int]:
    return {byte: place for place, byte in reversed(list(enumerate(preferred + bytes(range(256)))))}


# What is tried first where nothing can be closed: short values; in strings what few tokens can say many of.
_RANK = _rank(b'0123456789"[{ntf-.eE+')
_RANK_IN_STRING = _rank(b"- a0")


class Place(Protocol):
    """A place in a grammar."""

    @property
    def is_complete(self) -> bool:
        """Whether the text may end here."""

    def copy(self) -> Self:
        """The same place, to walk on from independently."""

    def forced(self) -> bytes:
        """The bytes that have to follow; empty where there is a choice."""

    def next_bytes(self) -> bytes:
        """The bytes any of which may follow, in rising order."""

    def push(self, data: bytes) -> bool:
        """Walk on; False, and no step taken, when the grammar does not allow it."""

    def completes(self, data: bytes) -> bool:
        """Whether a text may follow and the whole text may end after it."""


class JsonText:
    """Tells whether a JSON text is inside a string."""

    __slots__ = ("in_string", "is_escaped")

    def __init__(self, *, in_string: bool = False, is_escaped: bool = False) -> None:
        self.in_string = in_string
        self.is_escaped = is_escaped

    def copy(self) -> JsonText:
        """The same state, to go on from independently."""
        return JsonText(in_string=self.in_string, is_escaped=self.is_escaped)

    def push(self, data: bytes) -> None:
        """Read on."""
        for byte in data:
            if self.is_escaped:
                self.is_escaped = False
            elif byte == _QUOTE:
                self.in_string = not self.in_string
            elif byte == _BACKSLASH and self.in_string:
                self.is_escaped = True


@dataclass(frozen=True, slots=True)
class Closing:
    """A text that completes another: `way`, then the tail of that number, if one was of use."""

    way: bytes
    tail: int | None = None


def find_closing(
    place: Place, text: JsonText, *, tails: Sequence[bytes] = (), thorough: bool = False
) -> Closing | None:
    """A short text that completes what a place is in the middle of; empty where it may end already.

    Args:
        place: where the grammar is; not changed.
        text: whether that is inside a string; not changed.
        tails: texts that may complete it after a few bytes more, which saves most of the search.
        thorough: take time to try alternatives, once for a grammar rather than for each token.

    Returns:
        None when none was found in a bounded number of steps.
    """
    quick = _Search(_QUICK_STEPS).close(place, text, tails)
    if not thorough:
        return quick
    better = _Search(_THOROUGH_STEPS).close_best(place, text)
    found = [closing for closing in (quick, better) if closing is not None]
    return min(found, key=lambda closing: len(closing.way), default=None)


def ends_of_values(data: bytes, text: JsonText) -> list[int]:
    """The first few places of a text at which a value has just ended; the text follows what `text` read."""
    at = text.copy()
    places = []
    for place, byte in enumerate(data):
        if not at.in_string and byte in _CLOSERS:
            places.append(place)
            if len(places) == _MOST_TAILS:
                break
        at.push(data[place : place + 1])
    return places


class _Search:
    """One search with its budget of steps."""

    def __init__(self, num_steps: int) -> None:
        self._left = num_steps

    def close(self, start: Place, text: JsonText, tails: Sequence[bytes] = ()) -> Closing | None:
        """The greedy way to the end."""
        place, text, way = start.copy(), text.copy(), b""
        while not place.is_complete:
            for number, tail in enumerate(tails):
                if place.completes(tail):
                    return Closing(way, number)
            step = place.forced() or self._step(place, text)
            if not step or len(way) > _MOST_BYTES or not self._push(place, text, step):
                return None
            way += step
        return Closing(way)

    def close_best(self, start: Place, text: JsonText) -> Closing | None:
        """The greedy way, with every branch's alternatives tried to their ends."""
        place, text, way = start.copy(), text.copy(), b""
        while not place.is_complete:
            if self._left < _QUICK_STEPS:  # the rest goes the greedy way
                rest = self.close(place, text)
                return None if rest is None else Closing(way + rest.way)
            step = place.forced()
            if not step:
                step = (self._step if text.in_string else self._best_alternative)(place, text)
            if not step or len(way) > _MOST_BYTES or not self._push(place, text, step):
                return None
            way += step
        return Closing(way)

    def _best_alternative(self, place: Place, text: JsonText) -> bytes:
        """The byte whose greedy way to the end is the shortest."""
        allowed = place.next_bytes()
        if closer := _closer(allowed, text):
            return closer
        best, best_len = b"", _MOST_BYTES
        seen: set[bytes] = set()
        for step, after, after_text in self._steps(place, allowed, text):
            signature = after.forced() or after.next_bytes()
            if signature in seen:
                continue
            seen.add(signature)
            rest = self.close(after, after_text)
            if rest is not None and len(rest.way) < best_len:
                best, best_len = step, len(rest.way)
            if len(seen) >= _MOST_ALTERNATIVES:
                break
        return best

    def _step(self, place: Place, text: JsonText) -> bytes:
        """The next bytes of the greedy way where there is a choice; empty when there is no way."""
        allowed = place.next_bytes()
        if closer := _closer(allowed, text):
            return closer
        run, can_close = self._run(place, allowed, text) if text.in_string else (b"", False)
        near = self._nearest(place, allowed, text, most_visited=_FEW_VISITED if can_close else _MOST_VISITED)
        if near and not (can_close and len(run) <= len(near)):
            return near
        return run or next((step for step, *_ in self._steps(place, allowed, text)), b"")

    def _nearest(self, start: Place, allowed: bytes, text: JsonText, *, most_visited: int) -> bytes:
        """The shortest way to where something can be closed; empty when none is near."""
        order = count()
        queue = [(0, next(order), b"", start, text, allowed, False)]
        seen: set[tuple[int, bytes]] = set()
        for _ in range(most_visited):
            if not queue:
                return b""
            _, _, way, place, at, allowed_here, is_end = heapq.heappop(queue)
            if is_end:
                return way
            for step, after, after_text in self._steps(place, allowed_here, at):
                longer = way + step
                if forced := after.forced():
                    if not self._push(after, after_text, forced):
                        continue
                    longer += forced
                allowed_next = after.next_bytes()
                ends = (
                    after.is_complete or bool(_closer(allowed_next, after_text)) or _ends_value(longer, text)
                )
                key = (len(longer), allowed_next)
                if ends or key not in seen:
                    seen.add(key)
                    item = (len(longer), next(order), longer, after, after_text, allowed_next, ends)
                    heapq.heappush(queue, item)
        return min((way for _, _, way, *_, is_end in queue if is_end), key=len, default=b"")

    def _run(self, start: Place, allowed: bytes, text: JsonText) -> tuple[bytes, bool]:
        """One byte of a string, said until something else may follow; and whether it can be closed then."""
        for step, place, at in self._steps(start, allowed, text):
            way, size = step, _LONGEST_RUN
            while size and len(way) <= _MOST_BYTES:
                ahead, ahead_text = place.copy(), at.copy()
                is_same = self._push(ahead, ahead_text, step * size) and ahead.next_bytes() == allowed
                if is_same:
                    place, at, way = ahead, ahead_text, way + step * size
                else:
                    size //= 2
            if place.next_bytes() == allowed and self._push(place, at, step):
                way += step
            return way, bool(_closer(place.next_bytes(), at))
        return b"", False

    def _steps(self, place: Place, allowed: bytes, text: JsonText) -> Iterator[tuple[bytes, Place, JsonText]]:
        """Single bytes that may follow, the preferred ones first, and where they lead."""
        rank = _RANK_IN_STRING if text.in_string else _RANK
        for byte in sorted(_spread(allowed), key=rank.__getitem__):
            after, after_text, step = place.copy(), text.copy(), bytes([byte])
            if self._push(after, after_text, step):
                yield step, after, after_text

    def _push(self, place: Place, text: JsonText, data: bytes) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        text.push(data)
        return place.push(data)


def _closer(allowed: bytes, text: JsonText) -> bytes:
    """The byte that ends a string, an object, a list or an item of one, if it may come; else empty."""
    if text.in_string:
        return b'"' if _QUOTE in allowed and not text.is_escaped else b""
    return next((bytes([byte]) for byte in _CLOSERS if byte in allowed), b"")


def _ends_value(way: bytes, text: JsonText) -> bool:
    """Whether a value ends within a text that follows a place: a comma or a closing mark outside strings."""
    return bool(ends_of_values(way, text))


def _spread(allowed: bytes) -> bytes:
    """A few bytes that stand for many: of letters and of what is no ASCII only some."""
    if len(allowed) <= 40:
        return allowed
    marks = {byte for byte in allowed if byte < 0x80 and not chr(byte).isalnum()}
    return bytes(marks | ({*b"abA0", allowed[0], allowed[-1]} & set(allowed)))
