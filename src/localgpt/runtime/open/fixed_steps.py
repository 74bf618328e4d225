"""Single tokens of an open language model in fixed shapes: on CUDA and ROCm a graph, replayed for each token.

Launching a network of transformers kernel by kernel takes a processor longer than a card takes to compute
one token. Here keys and values lie in memory of a fixed length, what is behind the position is masked
out, and one graph for each length (512, 1,024, ... positions) is captured once.

Notable: a network is judged before it is trusted. The prompt's last token is read again in fixed shapes;
where the logits are not those that were read before, or the network cannot be run so, tokens are made
kernel by kernel and that is told. Fused kernels (`fused_steps`) are held against the network itself at the
first token of each length; where they say something else, the network computes from there on, and that is a
warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn

from localgpt.compute.graphs import capture_graph
from localgpt.nn.launching import overlapping
from localgpt.runtime.open.cache import cache_argument, is_growing
from localgpt.runtime.open.fused_steps import fused_logits, why_not

__all__ = ["FixedRead", "FixedSteps"]

logger = logging.getLogger(__name__)
_FIRST_LEN: Final = 512  # positions
_CLOSE: Final = 0.1  # of the largest logit: rounding of half precision, and of other kernels for one row
_SLOWER: Final = "answers are slower than this card could make them: fused kernels are not used"


class FixedSteps:
    """Makes tokens of one network in fixed shapes; one answer at a time.

    Args:
        network: of transformers, causal, with full attention in every layer.
        captures: replay graphs; None where the device can.
        compiles: run what torch.compile made of the network.
    """

    def __init__(self, network: Any, *, captures: bool | None = None, compiles: bool = False) -> None:
        self._network, self._name = network, cache_argument(network)
        device = next(network.parameters()).device
        self._captures = device.type == "cuda" if captures is None else captures
        self._forward: Callable[..., Any] = network
        self._compiles = compiles
        if compiles:
            self._forward = torch.compile(network, dynamic=False)
        self._why_not_fused = "what a compiler made is run" if compiles else why_not(network)
        if self._why_not_fused:
            logger.info("tokens are not made by fused kernels: %s", self._why_not_fused)
        self._fused_lengths: set[int] = set()  # at which the fused kernels were held against the network
        self._inputs = torch.zeros(2, dtype=torch.int64, device=device)  # token and position
        self._cache: Any = None
        self._num_positions = 0  # that there is memory for
        self._graphs: dict[int, tuple[Any, Tensor]] = {}
        self._pool: Any = None
        self._pool_bytes = 0
        self._addresses: tuple[int, ...] = ()
        self._is_judged = False
        self.refusal = ""  # why this network is not run in fixed shapes

    @property
    def nbytes(self) -> int:
        """Keys and values, and what the graphs hold."""
        made = self._cache
        layers = () if made is None else made.layers
        kept = sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in layers)
        return self._pool_bytes + kept

    @property
    def num_graphs(self) -> int:
        """How many lengths were captured."""
        return len(self._graphs)

    @property
    def path(self) -> str:
        """What computes tokens, in words."""
        if not self._why_not_fused:
            return "fused"
        return "compiled" if self._compiles else f"not fused: {self._why_not_fused}"

    def begin(self, made: Any, token_id: int, logits: Tensor) -> bool:
        """Go on with what a growing cache holds; False where this network cannot be run so.

        Args:
            made: cache of a prompt.
            token_id: the prompt's last.
            logits: (V,) after it, as they were read.
        """
        if self.refusal:
            return False
        if not is_growing(made):
            return self._refuse("its layers do not all attend to everything")
        addresses = _addresses(self._network)
        if addresses != self._addresses:  # the weights were away, and graphs know where they were
            self._forget_graphs()
            self._addresses = addresses
        num_tokens = made.layers[0].keys.shape[-2]
        self._make_room(made, num_tokens + 1)
        for fixed, layer in zip(self._cache.layers, made.layers, strict=True):
            fixed.keys[..., :num_tokens, :] = layer.keys
            fixed.values[..., :num_tokens, :] = layer.values
        return self._is_judged or self._judge(token_id, num_tokens - 1, logits)

    def step(self, token_id: int, position: int) -> Tensor:
        """Logits (V,) float32 after one more token; they are overwritten by the next step."""
        if position >= self._num_positions:
            self._make_room(self._cache, position + 1)
        self._inputs.copy_(torch.tensor([token_id, position]), non_blocking=True)
        length = _bucket(position + 1)
        for layer in self._cache.layers:
            layer.length = length
        if not self._why_not_fused and length not in self._fused_lengths:
            self._judge_fused(length)
        if not self._captures:
            return self._compute(length)
        if length not in self._graphs and not self._capture(length):
            return self._compute(length)
        graph, logits = self._graphs[length]
        graph.replay()
        return logits

    def _judge_fused(self, length: int) -> None:
        """Hold the fused kernels against the network at the token of now; they are left where they differ."""
        expected = self._plainly(length)
        try:
            with overlapping():  # as in graphs
                found = fused_logits(self._network, self._cache, *self._token(), length)
            away = _distance(found, expected)
            reason = "" if away <= _CLOSE else f"they are {away:.2g} of the largest logit away"
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a compiler of kernels and a driver raise
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if reason:
            logger.warning("%s: %s", _SLOWER, reason)
            self._why_not_fused = reason
            self._forget_graphs()
        self._fused_lengths.add(length)

    def _compute(self, length: int) -> Tensor:
        if self._why_not_fused:
            return self._plainly(length)
        return fused_logits(self._network, self._cache, *self._token(), length)

    def _token(self) -> tuple[Tensor, Tensor]:
        return self._inputs[:1], self._inputs[1:]

    def _plainly(self, length: int) -> Tensor:
        token, position = self._token()
        dtype = self._cache.layers[0].keys.dtype
        is_there = torch.arange(length, device=position.device) <= position
        mask = torch.zeros(length, dtype=dtype, device=position.device)
        mask = mask.masked_fill(~is_there, torch.finfo(dtype).min)
        out = self._forward(
            input_ids=token[None],
            position_ids=position[None],
            attention_mask=mask[None, None, None],
            use_cache=True,
            logits_to_keep=1,
            **{self._name: self._cache},
        )
        logits: Tensor = out.logits[0, -1].float()
        return logits

    def _capture(self, length: int) -> bool:
        """Capture a step; False where that fails and an answer goes on without. The first one raises."""
        try:
            captured = capture_graph(lambda: self._compute(length), self._inputs.device, pool=self._pool)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if not self._is_judged:
                raise
            logger.warning("tokens are made without a graph from here on, and slower (%s)", error)
            self._captures = False
            self._forget_graphs()
            return False
        self._pool = self._pool or captured.graph.pool()
        self._graphs[length] = (captured.graph, captured.out)
        self._pool_bytes += captured.nbytes
        return True

    def _make_room(self, made: Any, num_tokens: int) -> None:
        """Memory for so many tokens, with those that are there; graphs of the old memory are gone."""
        if self._cache is not None and num_tokens <= self._num_positions:
            return
        from transformers import DynamicCache

        length = _bucket(num_tokens)
        fixed_layer = _fixed_layer()
        old = made.layers
        self._forget_graphs()
        self._cache = DynamicCache()
        self._cache.layers = [fixed_layer(layer, length, self._inputs[1:]) for layer in old]
        self._num_positions = length

    def _judge(self, token_id: int, position: int, logits: Tensor) -> bool:
        try:
            found = self.step(token_id, position)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a network of another maker does with these inputs
            logger.warning("a network cannot be run in fixed shapes", exc_info=True)
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return self._refuse(line)
        away = _distance(found, logits)
        if not away <= _CLOSE:
            return self._refuse(f"its logits are {away:.2g} of the largest away")
        self._is_judged = True
        return True

    def _refuse(self, why: str) -> bool:
        self.refusal = why
        self._forget_graphs()
        self._cache = None
        return False

    def _forget_graphs(self) -> None:
        self._graphs.clear()
        self._pool, self._pool_bytes = None, 0


class FixedRead:
    """What was read of one prompt: the cache it grew in, and where its answer goes on.

    Args:
        made: the growing cache, which holds the prompt.
        steps: made the answer's tokens.
        position: of the next token.
    """

    def __init__(self, made: Any, steps: FixedSteps, position: int) -> None:
        self.made = made
        self._steps, self._position = steps, position

    def step(self, token_id: int) -> Tensor:
        """Logits (V,) float32 after one more token."""
        logits = self._steps.step(token_id, self._position)
        self._position += 1
        return logits


@cache
def _fixed_layer() -> Any:
    from transformers.cache_utils import DynamicLayer

    base: Any = DynamicLayer

    class FixedLayer(base):  # type: ignore[misc]
        """A layer of memory (1, H, T, D) that is written at a position which is a tensor."""

        def __init__(self, layer: Any, num_positions: int, position: Tensor) -> None:
            super().__init__()
            self.keys, self.values = (
                _room_for(states, num_positions) for states in (layer.keys, layer.values)
            )
            self.dtype, self.device = self.keys.dtype, self.keys.device
            self.position, self.length = position, num_positions
            self.is_initialized = True

        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            self.keys.index_copy_(2, self.position, key_states)
            self.values.index_copy_(2, self.position, value_states)
            return self.keys[..., : self.length, :], self.values[..., : self.length, :]

    return FixedLayer


def _room_for(states: Tensor, num_positions: int) -> Tensor:
    room = states.new_zeros(*states.shape[:-2], num_positions, states.shape[-1])
    room[..., : states.shape[-2], :] = states
    return room


def _distance(logits: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest logit."""
    return float((logits - expected).abs().max()) / max(float(expected.abs().max()), 1e-6)


def _bucket(num_tokens: int) -> int:
    length = _FIRST_LEN
    while length < num_tokens:
        length *= 2
    return length


def _addresses(network: nn.Module) -> tuple[int, ...]:
    return tuple(tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers()))
