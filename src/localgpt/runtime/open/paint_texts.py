"""What text encoders said: remembered for the next picture of the same words, while they themselves may rest.

Nobody gets what another owner's words were read for: how quickly a picture begins would tell of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from localgpt.compute.memory import ModuleHolder

__all__ = ["TextMemory", "run_on"]

_NUM_KEPT: Final = 4
_NAMES: Final = ("text_encoder", "text_encoder_2", "text_encoder_3")


class TextMemory:
    """Serves `encode_prompt` of pipelines.

    Args:
        pipelines: of diffusers, over the same text encoders.
        device: where those work, as torch names it.
        rests: have them be in the machine's memory whenever they do not work.
        remembers: keep what they said.
    """

    def __init__(self, pipelines: tuple[Any, ...], device: str, *, rests: bool, remembers: bool) -> None:
        self._device, self._rests = device, rests
        self._num_kept = _NUM_KEPT if remembers else 0
        found = (getattr(pipelines[0], name, None) for name in _NAMES)
        self._encoders = [encoder for encoder in found if encoder is not None]
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = threading.Lock()
        if rests:
            for pipeline in pipelines:
                run_on(pipeline, device)
            self._rest()

    @property
    def resting(self) -> tuple[nn.Module, ...]:
        """Text encoders that rest; none where they do not."""
        return tuple(self._encoders) if self._rests else ()

    @property
    def nbytes(self) -> int:
        """Of what is remembered."""
        with self._lock:
            return sum(
                tensor.nbytes for said in self._kept.values() for tensor in said if isinstance(tensor, Tensor)
            )

    def clear(self) -> None:
        """Remember nothing."""
        with self._lock:
            self._kept.clear()

    @contextmanager
    def serving(self, pipeline: Any, owner: str) -> Iterator[None]:
        """Answer a pipeline's `encode_prompt` for an owner."""
        plain: Callable[..., Any] = pipeline.encode_prompt

        def encode_prompt(*args: Any, **kwargs: Any) -> Any:
            key = (owner, f"{type(pipeline).__name__} {args!r} {sorted(kwargs.items())!r}")
            with self._lock:
                said = self._kept.get(key)
                if said is not None:
                    self._kept.move_to_end(key)
                    return said
            said = self._encode(plain, args, kwargs)
            if any(isinstance(value, Tensor) for value in (*args, *kwargs.values())):
                return said
            with self._lock:
                self._kept[key] = said
                while len(self._kept) > self._num_kept:
                    self._kept.popitem(last=False)
            return said

        pipeline.encode_prompt = encode_prompt
        try:
            yield
        finally:
            del pipeline.encode_prompt

    def _encode(self, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._rests:
            return plain(*args, **kwargs)
        for encoder in self._encoders:
            _move(encoder, "host", "device", self._device)
        try:
            return plain(*args, **kwargs)
        finally:
            self._rest()

    def _rest(self) -> None:
        for encoder in self._encoders:
            _move(encoder, "device", "host", self._device)


def _move(encoder: Any, source: Any, target: Any, device: str) -> None:
    ModuleHolder(encoder, read=_not_read).move("", source, target, device)


def _not_read(piece: str) -> Mapping[str, Tensor]:
    raise AssertionError("text encoders rest in memory")


def run_on(pipeline: Any, device: str) -> None:
    """Have a pipeline work on a device wherever its parts are: it would go by where one of them is."""
    kind = type(pipeline)
    place = property(lambda self: torch.device(device))
    pipeline.__class__ = type(kind.__name__, (kind,), {"_execution_device": place})
