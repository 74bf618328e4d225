"""The embedded decoder over int8 weights in C++: `models.decoder`, for CPUs.

Notable:
- Reading a prompt and making tokens for several sequences are one function: every row has a place (slot,
  position, modality) and attends to its sequence up to its position. Weights are read once for all rows.
- Arithmetic is that of `Int8Linear`: activations in 8 bits with a scale per row, sums exact in int32, all
  else in float32. A row's logits depend neither on the rows beside it, nor on the number of threads, nor on
  the instruction set.
- Whole numbers know neither infinities nor NaN: what comes in is looked at instead of what comes out.
- The cache is `nn.kv_cache.KVCache`, written as the torch decoder writes it: one can go on where the other
  stopped.

Shape legend: T rows, C width, B sequences, V vocabulary.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections.abc import Mapping

import torch
from torch import Tensor

from localgpt.compute.native.library import Library, Rows, Shape, open_library
from localgpt.errors import BackendError, CapacityError, CheckpointError
from localgpt.models.decoder import DecoderConfig
from localgpt.nn.alibi import alibi_slopes
from localgpt.nn.kv_cache import KVCache

__all__ = ["NativeDecoder", "why_not"]

_TILE = 16  # the kernels take widths in such steps
_MAX_THREADS = 8  # more than memory can feed


def why_not(config: DecoderConfig, tensors: Mapping[str, Tensor]) -> str:
    """Why the kernel cannot run a decoder of these tensors; empty if it can."""
    if config.n_embd % _TILE or config.vocab_size % _TILE:
        return f"the kernel takes widths that are multiples of {_TILE}"
    names = [name for name, _, _ in _matrices(config)]
    if any(f"{name}.weight_scale" not in tensors for name in names):
        return "some matrices of the decoder are not int8"
    return ""


class NativeDecoder:
    """Next-token predictor; the methods and arguments are those of `models.decoder.Decoder`.

    Args:
        config: shape.
        tensors: by name, as a family's folder holds them; every matrix int8.
        path: the instruction set, one of `Library.paths`; None for the best.
        num_threads: how many work, the calling one included; None for as many as torch uses, at most 8.

    Raises:
        BackendError: there is no library, it lacks the path, or the kernel cannot run this decoder.
        CheckpointError: a tensor is missing or of another shape.
        CapacityError: memory ran out.
    """

    def __init__(
        self,
        config: DecoderConfig,
        tensors: Mapping[str, Tensor],
        *,
        path: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        self.config = config
        self.device = torch.device("cpu")
        self.has_exact_rows = True
        self._library = open_library()
        self.path = path or self._library.paths[0]
        self.num_threads = num_threads or min(torch.get_num_threads(), _MAX_THREADS)
        if self.path not in self._library.paths:
            raise BackendError(
                f"the instruction set {self.path!r} is not here, expected one of "
                f"{', '.join(self._library.paths)}"
            )
        if reason := why_not(config, tensors):
            raise BackendError(f"{reason}; use the torch decoder")
        self._handle = _new_handle(self._library, config, self.path, self.num_threads)
        # Not at the end of the process, when a thread may still be inside.
        weakref.finalize(self, self._library.free_decoder, self._handle).atexit = False
        self._lock = threading.Lock()
        self.num_params = self.weight_bytes = 0
        self.weight_dtype = "int8"
        for name, shape, layer in _matrices(config):
            self._set_matrix(name, tensors, shape, layer)
        for name, size, layer in _vectors(config):
            self._set_vector(name, tensors, size, layer)
        slopes = alibi_slopes(config.n_head)
        self._library.set_vector(self._handle, b"slopes", -1, slopes.data_ptr(), config.n_head)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token embeddings: (B, T) int64 to (B, T, C)."""
        ids = token_ids.flatten().contiguous()
        if ids.dtype != torch.int64 or int(ids.min()) < 0 or int(ids.max()) >= self.config.vocab_size:
            raise BackendError(
                f"got a token id outside 0 to {self.config.vocab_size - 1}, which is a mistake of LocalGPT's"
            )
        # Named, since another thread may set another default for all of them.
        out = torch.empty(*token_ids.shape, self.config.n_embd, dtype=torch.float32)
        self._library.embed(self._handle, ids.data_ptr(), len(ids), out.data_ptr())
        return out

    def prefill(
        self, embeddings: Tensor, modality: Tensor | None, cache: KVCache, *, slot: int, start: int
    ) -> Tensor:
        """Read a piece of one prompt (T, C) into a cache slot; (V,) float32 logits after its last token."""
        num_rows = len(embeddings)
        slots = torch.full((num_rows,), slot)
        positions = torch.arange(start, start + num_rows)
        x, last = embeddings.float(), torch.tensor([num_rows - 1])
        if not math.isfinite(x.sum()):
            raise BackendError("the encoder gave values that are no numbers; its weights are damaged")
        return self._forward(x, cache, slots, positions, modality=modality, outputs=last)[0]

    def decode_step(self, token_ids: Tensor, cache: KVCache, slots: Tensor, lengths: Tensor) -> Tensor:
        """One more token for each of B sequences of any lengths; (B, V) float32 logits."""
        return self._forward(token_ids, cache, slots, lengths)

    def new_cache(
        self, num_slots: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> KVCache:
        """An empty cache that fits this decoder, in float32 on the CPU."""
        config = self.config
        head_dim = config.n_embd // config.n_head
        return KVCache((config.n_layer, num_slots, config.n_head, config.context_len, head_dim))

    def _forward(
        self,
        inputs: Tensor,
        cache: KVCache,
        slots: Tensor,
        positions: Tensor,
        *,
        modality: Tensor | None = None,
        outputs: Tensor | None = None,
    ) -> Tensor:
        """Run rows, which are token ids or embeddings, and enter their keys and values into the cache.

        Returns:
            (outputs, V) logits of the rows `outputs`, or of all.
        """
        inputs = inputs.contiguous()
        places = [_address(values) for values in (slots, positions, modality, outputs)]
        num_outputs = len(inputs if outputs is None else outputs)
        logits = torch.empty(num_outputs, self.config.vocab_size, dtype=torch.float32)
        is_embedded = inputs.is_floating_point()
        rows = Rows(
            num_rows=len(inputs),
            token_ids=None if is_embedded else _address(inputs),
            embeddings=inputs.data_ptr() if is_embedded else None,
            slots=places[0],
            positions=places[1],
            modality=places[2],
            keys=cache.k.data_ptr(),
            values=cache.v.data_ptr(),
            num_slots=cache.num_slots,
            context_len=cache.context_len,
            num_outputs=num_outputs,
            outputs=places[3],
            logits=logits.data_ptr(),
        )
        with self._lock:
            status = self._library.forward(self._handle, ctypes.byref(rows))
        if status == 1:
            raise CapacityError("memory ran out while answering; close other programs")
        if status != 0:
            raise BackendError(
                f"a row of {len(inputs)} names a slot, position, token or modality that is not there; "
                "this is a mistake of LocalGPT's"
            )
        return logits

    def _set_matrix(
        self, name: str, tensors: Mapping[str, Tensor], shape: tuple[int, int], layer: int
    ) -> None:
        weight = tensors[f"{name}.weight"].contiguous()
        scale = tensors[f"{name}.weight_scale"].float().contiguous()
        if tuple(weight.shape) != shape or weight.dtype != torch.int8 or tuple(scale.shape) != shape[:1]:
            raise CheckpointError(f"{name} has the shape {tuple(weight.shape)}, expected {shape} in int8")
        _require_finite(f"{name}.weight_scale", scale)
        short = name.removeprefix(f"blocks.{layer}.").encode()
        self._library.set_matrix(self._handle, short, layer, weight.data_ptr(), scale.data_ptr(), *shape)
        self.num_params += weight.numel()
        self.weight_bytes += weight.nbytes + scale.nbytes

    def _set_vector(self, name: str, tensors: Mapping[str, Tensor], size: int, layer: int) -> None:
        if name not in tensors:
            raise CheckpointError(f"{name} is missing")
        values = tensors[name].float().flatten()
        if len(values) != size:
            raise CheckpointError(f"{name} has {len(values)} values, expected {size}")
        _require_finite(name, values)
        short = name.removeprefix(f"blocks.{layer}.").removesuffix(".weight")
        if short == "attn.gate_logits":
            short, values = "attn.gates", torch.sigmoid(values)
        values = values.contiguous()
        self._library.set_vector(self._handle, short.encode(), layer, values.data_ptr(), size)
        self.num_params += size
        self.weight_bytes += values.nbytes


def _require_finite(name: str, values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise CheckpointError(f"{name} holds values that are no numbers; take other weights")


def _address(values: Tensor | None) -> int | None:
    """Where int64 values lie, one after the other."""
    if values is None:
        return None
    if values.dtype != torch.int64 or not values.is_contiguous():
        raise BackendError(f"got {values.dtype} places, expected contiguous int64; a mistake of LocalGPT's")
    return values.data_ptr()


def _new_handle(library: Library, config: DecoderConfig, path: str, num_threads: int) -> int:
    shape = Shape(
        vocab_size=config.vocab_size,
        n_layer=config.n_layer,
        n_embd=config.n_embd,
        n_head=config.n_head,
        n_modality=config.n_modality,
        has_qk_norm=config.qk_norm,
    )
    handle: int | None = library.new_decoder(ctypes.byref(shape), path.encode(), num_threads)
    if handle is None:
        raise CapacityError("there is not enough memory for the decoder's weights; close other programs")
    return handle


def _matrices(config: DecoderConfig) -> list[tuple[str, tuple[int, int], int]]:
    """Name, shape (n_out, n_in) and layer of every matrix; the head is the token table."""
    c = config.n_embd
    shapes = {
        "attn.c_attn": (3 * c, c),
        "attn.c_proj": (c, c),
        "mlp.c_fc": (4 * c, c),
        "mlp.c_proj": (c, 4 * c),
    }
    blocks = [
        (f"blocks.{layer}.{name}", shape, layer)
        for layer in range(config.n_layer)
        for name, shape in shapes.items()
    ]
    return [*blocks, ("wte", (config.vocab_size, c), -1)]


def _vectors(config: DecoderConfig) -> list[tuple[str, int, int]]:
    """Name, size and layer of everything else."""
    sizes = {"norm_1.weight": config.n_embd, "norm_2.weight": config.n_embd}
    if config.qk_norm:
        sizes |= {"attn.q_norm.weight": config.n_embd, "attn.k_norm.weight": config.n_embd}
    sizes["attn.gate_logits"] = config.n_modality * config.n_head
    blocks = [
        (f"blocks.{layer}.{name}", size, layer)
        for layer in range(config.n_layer)
        for name, size in sizes.items()
    ]
    return [*blocks, ("norm_f.weight", config.n_embd, -1)]
