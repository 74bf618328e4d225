"""What the embedded family holds in the memory ledger, and what its work reserves there.

The weights and the slots of the key/value cache are fixed: this service always serves them. What is
remembered of pictures and of prompts (see `remembering`) is a cache, and dropped when something else needs
the room. Each answer, each look at a picture and each embedded text reserves its activations before it
starts, by an upper estimate until the first one was measured; nothing is done for each token.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from localgpt.compute.memory import (
    Budget,
    CpuDevice,
    CudaDevice,
    Device,
    Ledger,
    Need,
    PeakBook,
    Piece,
    Plan,
    Size,
    TooLarge,
    device_of,
    make_plan,
    reserve_bytes,
)
from localgpt.compute.memory.state import Place
from localgpt.engine.runner import one_slot
from localgpt.errors import CapacityError
from localgpt.runtime.footprint import measure
from localgpt.units import MIB, format_bytes

if TYPE_CHECKING:
    from localgpt.engine.prefixes import PrefixCache
    from localgpt.engine.runner import ModelRunner, SlotCache
    from localgpt.runtime.models import Models
    from localgpt.runtime.pictures import PictureCache, PictureReader

__all__ = ["Holdings", "MemoryOptions", "host_budget"]

PICTURES: Final = "remembered pictures"
_PREFILL: Final = 256  # tokens read in one go; see `ModelRunner`
_FIRST_SHAPE: Final = 64  # prompts are told apart by powers of two from here
# Of a layer, alive at once, in widths: queries, keys, values, both sides of the MLP, the residual.
_ALIVE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOptions:
    """How much memory the models may use, and where what was learned about it is kept."""

    budget_mib: int | None = None  # None: what the device has, less a reserve for others
    peaks_file: Path | None = None  # None: learned for this process alone


def host_budget(device: Device) -> int:
    """Pinned memory for weights that are put away: half of what is free, beside a card with its own."""
    return CpuDevice().free_bytes() // 2 if isinstance(device, CudaDevice) else 0


class Holdings:
    """One family's entries in a ledger of its device.

    Args:
        family: loaded, where it shall run.
        max_batch_size: slots of the key/value cache that are wanted.
        options: budget and file.
        device: measured; None for the one of that place.
        place: where the models run, as `resolve_device` names it; None for where the decoder's numbers are.

    Raises:
        CapacityError: the budget that was set holds the weights and not even one slot.
    """

    def __init__(
        self,
        family: Models,
        *,
        max_batch_size: int,
        options: MemoryOptions | None = None,
        device: Device | None = None,
        place: str | None = None,
    ) -> None:
        options, place = options or MemoryOptions(), place or str(family.decoder.device)
        self._slot = one_slot(family.decoder)
        self._model = family.info.id
        self._encoder = None if family.encoder is None else family.encoder.config
        self._width, self._n_head = family.decoder.config.n_embd, family.decoder.config.n_head
        self._dtype = str(self._slot.dtype).removeprefix("torch.")
        self._itemsize = self._slot.dtype.itemsize
        self._touches_pages = place == "cpu"
        device = device_of(place) if device is None else device
        weights = {
            name: measure(model).weight_bytes
            for name in ("decoder", "encoder", "projector")
            if (model := getattr(family, name)) is not None
        }
        self.notices: list[str] = []
        self._weight_bytes = sum(weights.values())
        budget = self._budget(device, options)
        shared = Budget(nbytes=budget, host_bytes=host_budget(device))
        self.ledger = Ledger(device, shared, peaks=PeakBook(options.peaks_file))
        for name, nbytes in weights.items():
            self.ledger.hold(name, pieces=(Piece(name=name, nbytes=nbytes),))
        self.num_slots = self._fitting_slots(max_batch_size)

    @property
    def slot(self) -> SlotCache:
        """The cache of one sequence, empty."""
        return self._slot

    def register(self, runner: ModelRunner) -> None:
        """Enter the cache, once it is made."""
        nbytes = runner.cache.nbytes
        self.ledger.hold("key/value cache", kind="cache", pieces=(Piece(name="slots", nbytes=nbytes),))

    def resident_bytes(
        self, runner: ModelRunner, pictures: PictureReader | None, prefixes: PrefixCache | None
    ) -> int:
        """What weights, cache and what is remembered occupy; on a CPU, pages count once they are touched."""
        cache = runner.touched_bytes if self._touches_pages else runner.cache.nbytes
        remembered = 0 if pictures is None else pictures.cache.nbytes
        return self._weight_bytes + cache + remembered + _nbytes(prefixes)

    @asynccontextmanager
    async def answer(
        self, num_prompt_tokens: int, runner: ModelRunner, prefixes: PrefixCache | None = None
    ) -> AsyncIterator[tuple[str, ...]]:
        """Reserve an answer's activations; yields what was made smaller."""
        length = _bucket(num_prompt_tokens, self._slot.context_len)
        need = self._need("an answer", f"answer to {length} tokens", self._answer_bytes(length))
        async with self.ledger.reserve(need) as reservation:
            before = runner.touched_bytes + _nbytes(prefixes)
            yield reservation.notices
            grown = runner.touched_bytes + _nbytes(prefixes) - before
            reservation.leave_out(max(0, grown))  # both caches are entered by themselves

    @asynccontextmanager
    async def picture(self, reader: PictureReader) -> AsyncIterator[None]:
        """Reserve what looking at a picture takes; afterwards the remembered ones are counted anew."""
        assert self._encoder is not None
        start = time.monotonic()
        async with self.ledger.reserve(self._need("a look at a picture", "picture", self._picture_bytes())):
            before = reader.cache.nbytes
            yield
        if reader.cache.nbytes != before:
            self.ledger.hold(
                PICTURES,
                kind="cache",
                pieces=(Piece(name="tokens", nbytes=reader.cache.nbytes),),
                holder=_Pictures(reader.cache),
                remake_s=(time.monotonic() - start) * reader.cache.num_pictures,
            )

    @asynccontextmanager
    async def text(self, num_tokens: int) -> AsyncIterator[None]:
        """Reserve what embedding a text takes."""
        assert self._encoder is not None
        num = _bucket(num_tokens, num_tokens)
        width, window = self._encoder.n_text_embd, self._encoder.text_context_len
        scores = 2 * num * window * self._encoder.n_text_head
        nbytes = (num * width * _ALIVE + scores) * self._itemsize + MIB
        async with self.ledger.reserve(self._need("a text to embed", f"text of {num} tokens", nbytes)):
            yield

    def _budget(self, device: Device, options: MemoryOptions) -> int:
        weight_bytes = self._weight_bytes
        if options.budget_mib is not None:
            return options.budget_mib * MIB
        found = device.free_bytes() + weight_bytes - reserve_bytes(device)
        least = weight_bytes + self._slot.nbytes + self._answer_bytes(self._slot.context_len)
        if self._encoder is not None:
            least += self._picture_bytes()
        if found < least:
            self.notices.append(
                f"only {format_bytes(max(0, found - weight_bytes))} of memory are free beside the models; "
                "answers may be slow, or fail where the system has no more: close other programs"
            )
        return max(found, least)

    def _fitting_slots(self, wanted: int) -> int:
        """As many slots as leave room for an answer in each, and for a picture."""
        each = self._slot.nbytes + self._answer_bytes(self._slot.context_len)
        picture = 0 if self._encoder is None else self._picture_bytes()
        sizes = [Size(shape=f"{num} slots", nbytes=num * each + picture) for num in range(wanted, 0, -1)]
        need = self._need("the key/value cache", "", 0, sizes=tuple(sizes))
        plan = make_plan(self.ledger.state(), need)
        if isinstance(plan, TooLarge):
            budget = self.ledger.budget.nbytes
            raise CapacityError(
                f"the memory budget is {format_bytes(budget)}, and the models need "
                f"{format_bytes(plan.short_bytes)} more for one answer at a time; raise --memory-budget to "
                f"{-(-(budget + plan.short_bytes) // MIB)} or more"
            )
        assert isinstance(plan, Plan)  # nothing is reserved yet that could be waited for
        num_slots = wanted - sizes.index(plan.size)
        if num_slots < wanted:
            self.notices.append(
                f"memory for {num_slots} answers at once instead of {wanted}: each takes "
                f"{format_bytes(each)} of a budget of {format_bytes(self.ledger.budget.nbytes)}"
            )
        return num_slots

    def _need(self, name: str, shape: str, nbytes: int, *, sizes: tuple[Size, ...] = ()) -> Need:
        sizes = sizes or (Size(shape=shape, nbytes=nbytes),)
        return Need(name=name, model=self._model, dtype=self._dtype, sizes=sizes)

    def _answer_bytes(self, num_tokens: int) -> int:
        """Upper estimate of one answer: a piece of the prompt in each layer's tensors, scores and keys."""
        piece = min(_PREFILL, num_tokens)
        hidden = piece * self._width * _ALIVE
        scores = 2 * piece * self._n_head * num_tokens
        keys = 2 * num_tokens * self._width
        return (hidden + scores + keys) * self._itemsize + MIB

    def _picture_bytes(self) -> int:
        """Upper estimate of one picture: the maps after the stem, as often as a stage keeps them."""
        assert self._encoder is not None
        half = self._encoder.image_size // 2
        return 2 * _ALIVE * self._encoder.stem_width * half * half * self._itemsize + MIB


class _Pictures:
    """Lets the ledger drop what is remembered of pictures; implements `Holder`."""

    def __init__(self, cache: PictureCache) -> None:
        self._cache = cache

    def move(self, piece: str, source: Place, target: Place, device: str) -> None:
        raise AssertionError("a cache is dropped, not moved")

    def drop(self, piece: str) -> None:
        self._cache.clear()


def _nbytes(prefixes: PrefixCache | None) -> int:
    return 0 if prefixes is None else prefixes.nbytes


def _bucket(num: int, most: int) -> int:
    """The next power of two, at most `most`."""
    shape = _FIRST_SHAPE
    while shape < num:
        shape *= 2
    return min(shape, max(most, 1))
