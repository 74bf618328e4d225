"""Does the kernel compute? A small decoder runs in it and in torch, with the same int8 weights."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from localgpt.compute.check import DeviceCheck
from localgpt.compute.native.decoder import NativeDecoder
from localgpt.compute.native.library import open_library
from localgpt.errors import BackendError
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.nn.linear import Int8Embedding, Int8Linear, Linear, quantize_weight

__all__ = ["TOLERANCE", "KernelCheck", "check_kernel", "in_torch", "int8_tensors"]

# Of the largest logit. Where an activation lies between two steps of 8 bits, float32 sums in another order
# can take it to the other one, and all after it differs a little.
TOLERANCE = 2e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCheck(DeviceCheck):
    """What came of trying the kernel. Without one, `missing` says why, and the CPU decodes in torch."""

    paths: tuple[str, ...] = ()  # instruction sets that can run here; the first one does
    missing: str = ""


def check_kernel() -> KernelCheck:
    """Run a small decoder in the kernel on every instruction set of this machine; never fails."""
    try:
        paths = open_library().paths
    except BackendError as error:
        return KernelCheck(works=False, max_error=None, detail="", missing=str(error))
    try:
        decoder = _small_decoder()
        tensors = int8_tensors(decoder)
        expected = _three_tokens(in_torch(decoder, kernel="plain"))
        scale = expected.abs().max()
        errors = [
            float(
                (_three_tokens(NativeDecoder(decoder.config, tensors, path=path)) - expected).abs().max()
                / scale
            )
            for path in paths
        ]
        fast = NativeDecoder(decoder.config, tensors)
        start = time.perf_counter()
        _three_tokens(fast)
        time_ms = (time.perf_counter() - start) / 3 * 1e3
    except (BackendError, RuntimeError) as error:
        return KernelCheck(works=False, max_error=None, detail=" ".join(str(error).split()), paths=paths)
    worst = max(errors)
    detail = (
        "" if worst <= TOLERANCE else f"differs from torch by {worst:.1e}, expected at most {TOLERANCE:.0e}"
    )
    return KernelCheck(works=not detail, max_error=worst, detail=detail, time_ms=time_ms, paths=paths)


def int8_tensors(decoder: Decoder) -> dict[str, Tensor]:
    """The tensors of a floating point decoder as a family's folder holds them, every matrix in int8."""
    tensors = {name: value for name, value in decoder.state_dict().items() if name != "lm_head.weight"}
    for name, module in decoder.named_modules():
        if isinstance(module, Linear | torch.nn.Embedding) and name != "lm_head":
            weight, scale = quantize_weight(module.weight)
            tensors |= {f"{name}.weight": weight, f"{name}.weight_scale": scale}
    return tensors


def in_torch(decoder: Decoder, *, kernel: str | None = None) -> Decoder:
    """A floating point decoder with the weights of `int8_tensors` in torch's layers; see `Int8Linear`."""
    made = copy.deepcopy(decoder)
    tensors = int8_tensors(decoder)
    for name, module in decoder.named_modules():
        if isinstance(module, Linear) and name != "lm_head":
            parent, _, last = name.rpartition(".")
            weight, scale = tensors[f"{name}.weight"], tensors[f"{name}.weight_scale"]
            setattr(made.get_submodule(parent), last, Int8Linear(weight, scale, kernel=kernel))
    weight, scale = tensors["wte.weight"], tensors["wte.weight_scale"]
    made.wte = Int8Embedding(weight, scale)  # type: ignore[assignment]
    made.lm_head = Int8Linear(weight, scale, kernel=kernel)  # type: ignore[assignment]
    return made.eval()


def _small_decoder() -> Decoder:
    config = DecoderConfig(vocab_size=512, n_layer=2, n_embd=64, n_head=4, context_len=32)
    decoder = Decoder(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return decoder


@torch.inference_mode()
def _three_tokens(decoder: Decoder | NativeDecoder) -> Tensor:
    """(3, 2, V) logits of two sequences, decoded beside each other."""
    cache = decoder.new_cache(2)
    slots = torch.arange(2)
    steps = [
        decoder.decode_step(torch.tensor([step, 100 + step]), cache, slots, torch.tensor([step, step]))
        for step in range(3)
    ]
    return torch.stack(steps).double()
