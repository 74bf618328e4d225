"""Planning: a state of the device and a need in, a plan out. Pure functions; nothing is moved here.

The rules, in order:

1. The first size that fits once everything that can go has gone is the one that is planned for, whole. Only
   what is fixed or pinned stays for ever, so a need waits for others' work to end before it is made smaller.
2. Where the whole of a large denoiser never fits at that size, as many of its blocks as fit stay on the
   device, and the others are streamed through two buffers of the largest block.
3. Only then the next smaller size is tried.
4. Room is made in stages: caches are dropped; then weights go to pinned host memory; where that is full, what
   is cheapest to bring back makes room there or goes to disk. Within a stage the cheapest go first, and what
   turns out not to be needed stays.
5. Nothing is taken from the device for a need that cannot start now.

So weights are taken away only after every cache that could go, at no moment of a plan is more on the device
than its budget, and each piece that is taken away was put there for an earlier need or by its owner: over any
run there are no more evictions than pieces registered and loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from localgpt.compute.memory.state import Held, Kind, Need, Piece, Place, Resident, Size, State

__all__ = ["Partial", "Plan", "Step", "TooLarge", "Wait", "make_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One piece goes from one place to another. A cache that goes to "disk" is dropped."""

    resident: str
    piece: str
    nbytes: int
    source: Place
    target: Place
    is_drop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """Which blocks of a denoiser stay on the device, and which are streamed."""

    resident: str
    staying: tuple[str, ...]
    streamed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do before work of `size` starts; steps in order."""

    need: Need
    size: Size
    reserved_bytes: int
    steps: tuple[Step, ...] = ()
    partial: tuple[Partial, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """It fits, but only once others are done. `missing_bytes` is how much they have to give back."""

    size: Size
    missing_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge:
    """It never fits.

    `least_bytes` is its smallest size with all it needs, `room_bytes` all there can be, and `short_bytes` by
    how much that is too little: more than the difference where the budget was exceeded from the start.
    """

    wanted_bytes: int
    least_bytes: int
    room_bytes: int
    short_bytes: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a size would put on the device: its own bytes, and the pieces of each resident it needs."""

    size: Size
    reserved: int  # not yet rounded up
    wanted: dict[str, frozenset[str]]  # by resident: pieces on the device
    total: int  # charged bytes of both
    partial: tuple[Partial, ...] = ()


def make_plan(state: State, need: Need, *, waits_for_others: bool = True) -> Plan | Wait | TooLarge:
    """What to do so that a need can start.

    Args:
        state: the device now.
        need: what is asked for; its residents are registered.
        waits_for_others: whether memory that other programs took may come back.
    """
    pinned = [held for held in state.held if held.need.pins]
    foreign = 0 if waits_for_others else state.foreign_bytes
    room_ever = state.budget_bytes - foreign - _stays(state, need, pinned)
    room_now = state.budget_bytes - state.foreign_bytes - _stays(state, need, state.held)
    layout = _choose(state, need, room_ever)
    if layout is None:
        least = min(_least(state, need, size) for size in need.sizes)
        return TooLarge(
            wanted_bytes=_whole(state, need, need.sizes[0]).total,
            least_bytes=least,
            room_bytes=max(0, room_ever),
            short_bytes=least - room_ever,
        )
    if layout.total > room_now or _would_disturb(state, layout):
        return Wait(size=layout.size, missing_bytes=max(0, layout.total - room_now))
    return Plan(
        need=need,
        size=layout.size,
        reserved_bytes=layout.reserved,
        steps=tuple(_steps(state, need, layout)),
        partial=layout.partial,
    )


def _locked(state: State, held: Iterable[Held]) -> set[str]:
    """Residents that cannot go: fixed ones, and those that the given reservations use."""
    fixed = {resident.name for resident in state.residents if resident.is_fixed}
    return fixed.union(*(one.need.residents for one in held))


def _stays(state: State, need: Need, held: Iterable[Held]) -> int:
    """Bytes on the device that are not the need's own and cannot go while the given reservations last."""
    held = tuple(held)
    locked = _locked(state, held) - set(need.residents)
    pieces = [
        piece
        for resident in state.residents
        if resident.name in locked
        for piece in resident.pieces
        if piece.place == "device"
    ]
    return sum(state.charge(piece.nbytes) for piece in pieces) + sum(state.charge(one.nbytes) for one in held)


def _choose(state: State, need: Need, room: int) -> _Layout | None:
    for size in need.sizes:
        whole = _whole(state, need, size)
        if whole.total <= room:
            return whole
        partial = _partial(state, need, size, room)
        if partial is not None:
            return partial
    return None


def _whole(state: State, need: Need, size: Size) -> _Layout:
    wanted = {name: frozenset(piece.name for piece in state.resident(name).pieces) for name in need.residents}
    weights = sum(
        state.charge(piece.nbytes) for name in need.residents for piece in state.resident(name).pieces
    )
    return _Layout(size, size.nbytes, wanted, state.charge(size.nbytes) + weights)


def _streamable(state: State, need: Need) -> list[Resident]:
    """Residents of the need that need not be on the device as a whole; an open connection never streams."""
    locked = _locked(state, [held for held in state.held if held.need.pins])
    residents = [] if need.pins else [state.resident(name) for name in need.residents]
    return [one for one in residents if one.is_partial and one.pieces and one.name not in locked]


def _would_disturb(state: State, layout: _Layout) -> bool:
    """Whether pieces would have to be moved with which others work at this moment."""
    busy = set().union(*(held.need.residents for held in state.held))
    return any(resident.name in busy for moves in _own_moves(state, layout) for resident, _ in moves)


def _buffers(state: State, resident: Resident) -> int:
    """Two of the largest block: one works while the next one arrives."""
    return 2 * state.charge(max(piece.nbytes for piece in resident.pieces))


def _least(state: State, need: Need, size: Size) -> int:
    """The least a size takes: with nothing of the denoisers on the device but their buffers."""
    total = _whole(state, need, size).total
    for resident in _streamable(state, need):
        whole = sum(state.charge(piece.nbytes) for piece in resident.pieces)
        total -= max(0, whole - _buffers(state, resident))
    return total


def _partial(state: State, need: Need, size: Size, room: int) -> _Layout | None:
    """As much on the device as fits; blocks that are there already are the first to stay."""
    if _least(state, need, size) > room:
        return None
    whole = _whole(state, need, size)
    wanted, partial, total, reserved = dict(whole.wanted), [], whole.total, size.nbytes
    for resident in _streamable(state, need):
        sizes = {piece.name: state.charge(piece.nbytes) for piece in resident.pieces}
        buffers = _buffers(state, resident)
        if total <= room or sum(sizes.values()) <= buffers:
            continue
        total -= sum(sizes.values()) - buffers
        left, staying = room - _least_of_others(state, need, resident, total), set()
        for piece in sorted(resident.pieces, key=lambda one: (one.place != "device", -one.nbytes)):
            if sizes[piece.name] <= left:
                staying.add(piece.name)
                left -= sizes[piece.name]
        total += sum(sizes[name] for name in staying)
        reserved = state.charge(reserved) + buffers
        wanted[resident.name] = frozenset(staying)
        names = [piece.name for piece in resident.pieces]
        partial.append(
            Partial(
                resident=resident.name,
                staying=tuple(name for name in names if name in staying),
                streamed=tuple(name for name in names if name not in staying),
            )
        )
    return _Layout(size, reserved, wanted, total, tuple(partial))


def _least_of_others(state: State, need: Need, resident: Resident, total: int) -> int:
    """`total`, with the denoisers after this one streamed wholly: what is left over may stay."""
    streamable = _streamable(state, need)
    for one in streamable[streamable.index(resident) + 1 :]:
        whole = sum(state.charge(piece.nbytes) for piece in one.pieces)
        total -= max(0, whole - _buffers(state, one))
    return total


# Making room. A group of pieces goes together: a block of a denoiser, else a whole resident.

_Group = tuple[Resident, tuple[Piece, ...]]


def _steps(state: State, need: Need, layout: _Layout) -> list[Step]:
    own_out, own_in = _own_moves(state, layout)
    incoming = sum(state.charge(piece.nbytes) for _, piece in own_in) + state.charge(layout.reserved)
    outgoing = sum(state.charge(piece.nbytes) for _, piece in own_out)
    missing = incoming - outgoing - state.free_bytes
    caches = _candidates(state, need, "cache")
    weights = _candidates(state, need, "weights")
    dropped = _take(state, caches, missing)
    missing -= _freed(state, dropped)
    moved = _take(state, weights, missing)
    steps = [_step(one, piece, "disk", is_drop=True) for one, pieces in dropped for piece in pieces]
    leaving = [(one, piece) for one, pieces in moved for piece in pieces]
    steps += _make_leave(state, need, [*own_out, *leaving])
    steps += [_step(one, piece, "device") for one, piece in own_in]
    return steps


def _own_moves(
    state: State, layout: _Layout
) -> tuple[list[tuple[Resident, Piece]], list[tuple[Resident, Piece]]]:
    """Pieces of the need's residents that leave the device, and those that come to it."""
    out, come = [], []
    for name, pieces in layout.wanted.items():
        resident = state.resident(name)
        for piece in resident.pieces:
            if piece.place == "device" and piece.name not in pieces:
                out.append((resident, piece))
            elif piece.place != "device" and piece.name in pieces:
                come.append((resident, piece))
    return out, come


def _candidates(state: State, need: Need, kind: Kind) -> list[_Group]:
    """What may leave the device, the cheapest first."""
    locked = _locked(state, state.held) | set(need.residents)
    groups: list[_Group] = []
    for resident in state.residents:
        there = tuple(piece for piece in resident.pieces if piece.place == "device")
        if resident.kind != kind or resident.name in locked or not there:
            continue
        groups += [(resident, (piece,)) for piece in there] if resident.is_partial else [(resident, there)]
    return sorted(groups, key=lambda group: _cost(state, group))


def _cost(state: State, group: _Group) -> float:
    return sum(state.cost(group[0], piece) for piece in group[1])


def _freed(state: State, groups: Iterable[_Group]) -> int:
    return sum(state.charge(piece.nbytes) for _, pieces in groups for piece in pieces)


def _take(state: State, groups: list[_Group], missing: int) -> list[_Group]:
    """The cheapest groups that free `missing` bytes, or all: the dearest that are not needed stay."""
    taken = groups.copy()
    spare = _freed(state, taken) - max(0, missing)
    for group in reversed(groups):
        if (freed := _freed(state, [group])) <= spare:
            taken.remove(group)
            spare -= freed
    return taken


def _make_leave(state: State, need: Need, leaving: list[tuple[Resident, Piece]]) -> list[Step]:
    """Steps from the device to host memory while it lasts, then to disk."""
    room = state.host_budget_bytes - state.bytes_in("host")
    locked = _locked(state, state.held) | set(need.residents)
    there = [
        (resident, piece)
        for resident in state.residents
        if resident.name not in locked
        for piece in resident.pieces
        if piece.place == "host"
    ]
    there.sort(key=lambda one: state.cost(*one))
    steps: list[Step] = []
    for resident, piece in leaving:
        takes = state.charge(piece.nbytes)
        cost = state.cost(resident, piece)
        cheaper = [one for one in there if state.cost(*one) < cost]
        if room < takes <= room + sum(state.charge(one.nbytes) for _, one in cheaper):
            while room < takes:
                giving, given = there.pop(0)
                steps.append(_step(giving, given, "disk"))
                room += state.charge(given.nbytes)
        target: Place = "host" if takes <= room else "disk"
        room -= takes if target == "host" else 0
        steps.append(_step(resident, piece, target))
    return steps


def _step(resident: Resident, piece: Piece, target: Place, *, is_drop: bool = False) -> Step:
    return Step(
        resident=resident.name,
        piece=piece.name,
        nbytes=piece.nbytes,
        source=piece.place,
        target=target,
        is_drop=is_drop,
    )
