"""One token of each slot by the kernels: five launches a layer instead of two dozen.

Notable:
- What is launched follows `models.decoder` and `nn.static_attention` for text, rounding included. Weights are
  read where they lie; only the gates are held, as numbers instead of their logits.
- Triton is there with torch's CUDA and ROCm builds and nowhere else; nothing here needs it before a
  `FusedSteps` is made.
- A compiler of its own, and many cards: `fused_steps` compares logits with those of the plain path over a
  small cache of its own before anybody relies on them.

Shape legend: B slots, C width, H heads, D head width, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from localgpt.models.decoder import Block, Decoder
from localgpt.nn.attention import ModalityGatedAttention
from localgpt.nn.kv_cache import KVCache
from localgpt.nn.launching import on, overlap, overlapping
from localgpt.nn.linear import Linear
from localgpt.nn.norm import LayerNorm

__all__ = ["MAX_SLOTS", "TOLERANCES", "FusedSteps", "difference", "fused_steps", "why_not"]

logger = logging.getLogger(__name__)
MAX_SLOTS: Final = 8  # whose rows one program goes through; more take the plain path
TOLERANCES: Final = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Of `difference`, by the weights' dtype: far into a context bfloat16 is 0.04 from float32, and one position
off is more than 0.2 away."""
_RUN_LEN: Final = 256  # positions that one program attends to
_TOLD_BLOCK: Final = 8192  # logits that one program looks at at once
_SLOWER: Final = "answers are slower than this card could make them, without the decoder's fused kernels"
_CHECKED_POSITIONS: Final = 520  # of which 512 are looked at: two runs

Logits = Callable[[Decoder, KVCache, Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Rows of a weight that one program multiplies by, and its warps."""

    rows: int
    warps: int


# The best of some on an H200, each tried alone (`gpu_decode.py --tiles`); they differ little.
_QKV: Final = Tile(rows=16, warps=8)
_OUT: Final = Tile(rows=8, warps=8)
_UP: Final = Tile(rows=8, warps=4)
_DOWN: Final = Tile(rows=2, warps=4)
_HEAD: Final = Tile(rows=16, warps=8)
_ATTEND_WARPS: Final = 4
_TOLD_WARPS: Final = 32


def why_not(decoder: Decoder, cache: KVCache) -> str:
    """Why the kernels cannot run a decoder over a cache; empty if they can."""
    config = decoder.config
    width, head_dim = config.n_embd, config.n_embd // config.n_head
    if not config.qk_norm:
        return "queries and keys are not normalised"
    if width & (width - 1) or width < 16 or 4 * width > 16_384 or head_dim < 2:
        return f"a width of {width} is no power of two from 16 to 4,096 with heads of two and more"
    products: list[nn.Module] = [decoder.lm_head]
    for block in decoder.blocks:
        products += _products(block)
    linears = [module for module in products if isinstance(module, Linear) and module.bias is None]
    if len(linears) < len(products) or not isinstance(decoder.wte, nn.Embedding):
        return "some weights are quantized or have a bias"
    weights: list[Any] = [linear.weight for linear in linears] + [decoder.wte.weight]
    if len({weight.dtype for weight in weights} | {cache.dtype}) != 1 or cache.dtype not in TOLERANCES:
        return "weights and cache are not of one floating point type"
    if not all(weight.is_contiguous() for weight in weights):
        return "some weights do not lie in one piece"
    return ""


def difference(logits: Tensor, expected: Tensor) -> float:
    """How far logits are from others, as a share of how far those are from zero; both root mean squares."""
    error = (logits.double() - expected.double()).square().mean().sqrt()
    return float(error / expected.double().square().mean().sqrt())


class FusedSteps:
    """Computes single tokens of the first B slots, B at most `MAX_SLOTS`.

    What is small may lie in pinned memory of the host: tokens, positions, and what is told.

    Raises:
        ImportError: there is no Triton.
    """

    def __init__(self, decoder: Decoder) -> None:
        import triton  # noqa: F401 - whether it is there

        from localgpt.compute.fused import kernels

        self._kernels = kernels
        dtype = decoder.wte.weight.dtype
        with torch.inference_mode():
            blocks: list[Any] = list(decoder.blocks)
            self._gates: list[Tensor] = [block.attn.gate(None).to(dtype).contiguous() for block in blocks]

    def logits(
        self, decoder: Decoder, cache: KVCache, token_ids: Tensor, positions: Tensor, length: int
    ) -> Tensor:
        """(B, 1, V) float32 logits after tokens (B, 1) at (B, 1); arguments as those of `static_logits`."""
        with on(decoder.device):
            return self._logits(decoder, cache, token_ids, positions, length)

    def told(self, logits: Tensor, banned: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, 1, 2) int64: the likeliest token that is not banned (B, V), and whether all is sound."""
        num_rows, _, vocab_size = logits.shape
        told = out
        if told is None:
            told = torch.empty(num_rows, 1, 2, dtype=torch.int64, device=logits.device)
        with on(logits.device):
            self._kernels.choose[(num_rows,)](
                told,
                logits,
                banned.view(torch.uint8),
                vocab_size=vocab_size,
                block=min(_TOLD_BLOCK, _power_of_two(vocab_size)),
                num_warps=_TOLD_WARPS,
                **_early(logits.device),
            )
        return told

    def _logits(
        self, decoder: Decoder, cache: KVCache, token_ids: Tensor, positions: Tensor, length: int
    ) -> Tensor:
        num_rows, config = len(token_ids), decoder.config
        width, dtype, device = config.n_embd, decoder.wte.weight.dtype, decoder.device

        def empty(num: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.empty(num_rows, num, dtype=dtype, device=device)

        x, qkv, wide = empty(width), empty(3 * width), empty(4 * width)
        num_runs = -(-length // _RUN_LEN)
        part = width + 2 * config.n_head
        heads = empty(width) if num_runs == 1 else empty(num_runs * part, torch.float32)
        logits = empty(config.vocab_size, torch.float32)
        blocks: list[Any] = list(decoder.blocks)
        for layer, block in enumerate(blocks):
            attn, gates = block.attn, self._gates[layer]
            source, ids = (decoder.wte.weight, token_ids) if layer == 0 else (x, None)
            self._product(qkv, source, attn.c_attn, _QKV, norm=block.norm_1, x_by_id=ids)
            self._attend(
                heads,
                qkv,
                layer,
                attn,
                cache,
                decoder.alibi,
                gates=gates,
                positions=positions,
                length=length,
                num_runs=num_runs,
            )
            self._product(
                x,
                heads,
                attn.c_proj,
                _OUT,
                residual=source,
                residual_by_id=ids,
                gates=gates,
                num_runs=num_runs,
            )
            self._product(wide, x, block.mlp.c_fc, _UP, norm=block.norm_2, has_gelu=True)
            self._product(x, wide, block.mlp.c_proj, _DOWN, residual=x)
        self._product(logits, x, decoder.lm_head, _HEAD, norm=decoder.norm_f)
        return logits[:, None]

    def _product(
        self,
        out: Tensor,
        x: Tensor,
        linear: nn.Module,
        tile: Tile,
        *,
        norm: LayerNorm | None = None,
        residual: Tensor | None = None,
        has_gelu: bool = False,
        x_by_id: Tensor | None = None,
        residual_by_id: Tensor | None = None,
        gates: Tensor | None = None,
        num_runs: int = 1,
    ) -> None:
        weight: Any = linear.weight
        num_out, width = weight.shape
        token_ids = x_by_id if x_by_id is not None else residual_by_id
        self._kernels.product[(-(-num_out // tile.rows),)](
            out,
            x,
            weight,
            weight if norm is None else norm.weight,
            out if residual is None else residual,
            out if token_ids is None else token_ids,  # not looked at
            0 if token_ids is None else token_ids.stride(0),
            weight if gates is None else gates,
            num_out,
            0.0 if norm is None else norm.eps,
            num_rows=len(out),
            width=width,
            tile=tile.rows,
            has_norm=norm is not None,
            has_gelu=has_gelu,
            has_residual=residual is not None,
            x_by_id=x_by_id is not None,
            residual_by_id=residual_by_id is not None,
            num_runs=num_runs,
            head_dim=1 if gates is None else width // len(gates),
            num_warps=tile.warps,
            **_early(out.device, is_first=x_by_id is not None),
        )

    def _attend(
        self,
        heads: Tensor,
        qkv: Tensor,
        layer: int,
        attn: ModalityGatedAttention,
        cache: KVCache,
        slopes: Tensor,
        *,
        gates: Tensor,
        positions: Tensor,
        length: int,
        num_runs: int,
    ) -> None:
        q_norm, k_norm = attn.q_norm, attn.k_norm
        assert isinstance(q_norm, LayerNorm) and isinstance(k_norm, LayerNorm)
        num_heads, head_dim = cache.k.shape[2], cache.k.shape[4]
        self._kernels.attend[(len(qkv), num_heads, num_runs)](
            heads,
            qkv,
            cache.k[layer],
            cache.v[layer],
            q_norm.weight,
            k_norm.weight,
            positions,
            positions.stride(0),
            slopes,
            gates,
            cache.num_positions,
            length,
            q_norm.eps,
            head_dim**-0.5,
            width=num_heads * head_dim,
            head_dim=head_dim,
            run_len=_RUN_LEN,
            num_runs=num_runs,
            num_warps=_ATTEND_WARPS,
            **_early(qkv.device),
        )


@torch.inference_mode()
def fused_steps(decoder: Decoder, cache: KVCache, plain: Logits) -> FusedSteps | None:
    """The kernels for a decoder and a cache like this one, or None, said aloud where they ought to work.

    Args:
        decoder: in eval mode.
        cache: nothing is written to it.
        plain: what they are compared with.
    """
    if reason := why_not(decoder, cache):
        logger.info("the decoder's fused kernels are not used: %s", reason)
        return None
    try:
        made = FusedSteps(decoder)
        with overlapping():  # as in graphs
            found = _checked(made, decoder, plain, min(2, cache.num_slots))
    except ImportError as error:
        logger.warning("%s: Triton, which comes with torch on Linux, is not here (%s)", _SLOWER, error)
        return None
    except Exception as error:  # noqa: BLE001 - whatever a compiler and a driver raise
        reason = " ".join(str(error).split())[:300]
        logger.warning("%s: %s: %s", _SLOWER, type(error).__name__, reason)
        return None
    tolerance = TOLERANCES[cache.dtype]
    if not found <= tolerance:  # NaN is none
        logger.warning(
            "%s: they are %.2g of the logits away from torch's, at most %.2g expected",
            _SLOWER,
            found,
            tolerance,
        )
        return None
    return made


def _checked(fused: FusedSteps, decoder: Decoder, plain: Logits, num_slots: int) -> float:
    """The largest difference: of first tokens, and of others far into a cache of random numbers."""
    generator = torch.Generator().manual_seed(0)
    config, device, dtype = decoder.config, decoder.device, decoder.wte.weight.dtype
    head_dim = config.n_embd // config.n_head
    shape = (config.n_layer, num_slots, config.n_head, _CHECKED_POSITIONS, head_dim)
    caches = [KVCache(shape, dtype=dtype, device=device) for _ in range(2)]
    for name in ("k", "v"):
        values = torch.randn(shape, generator=generator).to(device, dtype)
        for cache in caches:
            getattr(cache, name).copy_(values)
    steps = [(1, 0, _RUN_LEN), (1, 1, _RUN_LEN), (1, _RUN_LEN + 40, 2 * _RUN_LEN)]
    if num_slots > 1:
        steps.append((num_slots, _RUN_LEN + 3, 2 * _RUN_LEN))
    found = []
    for num_rows, position, length in steps:
        inputs = torch.randint(config.vocab_size, (num_rows, 2), generator=generator)
        inputs[:, 1] = torch.tensor([position - 7 * (row % 2) for row in range(num_rows)])
        inputs = inputs.to(device)  # as `StaticSteps` has them: other strides would be other kernels
        token_ids, positions = inputs[:, :1], inputs[:, 1:]
        ours, theirs = (
            logits(decoder, cache, token_ids, positions, length)
            for logits, cache in zip((fused.logits, plain), caches, strict=True)
        )
        banned = torch.zeros(num_rows, config.vocab_size, dtype=torch.bool, device=device)
        banned[:, ours[0, 0].argmax()] = True
        expected = ours[:, 0].masked_fill(banned, float("-inf")).argmax(dim=-1)
        if fused.told(ours, banned)[:, 0].tolist() != [[token_id, 1] for token_id in expected.tolist()]:
            return float("nan")
        found.append(difference(ours, theirs))
    return float(torch.tensor(found).max())  # of what is no number, there is no largest


def _products(block: nn.Module) -> list[nn.Module]:
    assert isinstance(block, Block)
    return [block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj]


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _early(device: torch.device, *, is_first: bool = False) -> dict[str, Any]:
    """Options of a launch. A token's first kernel waits for whatever was there before."""
    launch, overlaps = overlap(device)
    return {"is_early": overlaps} | ({} if is_first else launch)
