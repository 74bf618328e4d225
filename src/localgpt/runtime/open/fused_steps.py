"""Single tokens of Llama, Mistral, Qwen2 and Qwen3 by fused kernels, where their layers are int4 by Triton's.

Notable:
- The network of transformers stays what it is: each token's launches are put together from its own modules,
  so weights that were away and came back are found again. Embedding, angles of positions, the last norm and
  the head are the network's own.
- `why_not` takes exactly what these classes of transformers do: any other class, attribute or hook is a
  reason against. `FixedSteps` holds what comes out against the network itself before it is relied on.

Shape legend: V vocabulary, H heads, T positions, D head width.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from localgpt.nn.weight_only import Int4WeightLinear

__all__ = ["fused_logits", "why_not"]

_FAMILIES: Final = ("Llama", "Mistral", "Qwen2", "Qwen3")
_DTYPES: Final = (torch.bfloat16, torch.float32)
_ROTARIES: Final = ("default", "linear", "llama3", "yarn")  # whose angles follow from the position alone
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks")


def why_not(network: Any) -> str:
    """Why a network cannot be run by the fused kernels; empty if it can."""
    try:
        return _reason(network)
    except AttributeError as error:  # of another release of transformers
        return f"its parts are not those of its family: {error}"


def fused_logits(network: Any, made: Any, token: Tensor, position: Tensor, length: int) -> Tensor:
    """Logits of one token, whose keys and values enter the memory.

    Args:
        network: which `why_not` has nothing against.
        made: cache of fixed layers with keys and values (1, H, T, D).
        token: (1,) int64.
        position: (1,) int64, below `length`.
        length: positions that are looked at.

    Returns:
        (V,) float32.
    """
    from localgpt.compute.fused.llama_steps import hidden_after

    model = network.model
    x = model.embed_tokens(token)  # (1, C)
    cos, sin = model.rotary_emb(x[None], position_ids=position[None])
    layers = [_described(layer, memory) for layer, memory in zip(model.layers, made.layers, strict=True)]
    rotary = cos[0, 0].contiguous(), sin[0, 0].contiguous()
    x = hidden_after(x, layers, rotary, position, length)
    logits: Tensor = network.lm_head(model.norm(x))[0].float()
    return logits


def _reason(network: Any) -> str:
    family = type(network).__name__.removesuffix("ForCausalLM")
    if family not in _FAMILIES or not _is_of(network, f"{family}ForCausalLM", family):
        return f"{type(network).__name__} is none of {', '.join(_FAMILIES)}"
    if any("forward" in vars(module) or _is_hooked(module) for module in network.modules()):
        return "something is hooked into it"
    model, config = network.model, network.config
    if not (
        _is_of(model, f"{family}Model", family)
        and _is_of(model.norm, f"{family}RMSNorm", family)
        and _is_of(model.rotary_emb, f"{family}RotaryEmbedding", family)
        and len(model.layers) == config.num_hidden_layers > 0
    ):
        return "its parts are not those of its family"
    if type(model.embed_tokens) is not nn.Embedding:
        return "its table of embeddings is another"
    types = set(getattr(config, "layer_types", None) or ["full_attention"])
    if getattr(config, "sliding_window", None) is not None or types != {"full_attention"}:
        return "some layers attend to a window"
    if getattr(model.rotary_emb, "rope_type", "") not in _ROTARIES:
        return f"its angles are {getattr(model.rotary_emb, 'rope_type', 'unknown')}"
    dtype = model.embed_tokens.weight.dtype
    if dtype not in _DTYPES or model.norm.weight.dtype != dtype or network.lm_head.weight.dtype != dtype:
        return "it is not of one type"
    reasons = (_layer_reason(layer, family, model.rotary_emb, dtype) for layer in model.layers)
    return next(filter(None, reasons), "")


def _described(layer: Any, memory: Any) -> Any:
    """A layer of transformers, with its memory, as the kernels take it."""
    from localgpt.compute.fused.llama_steps import LlamaAttention, LlamaLayer

    attn, mlp = layer.self_attn, layer.mlp
    head_dim = attn.head_dim
    return LlamaLayer(
        norm=_norm(layer.input_layernorm),
        qkv=(_matrix(attn.q_proj), _matrix(attn.k_proj), _matrix(attn.v_proj)),
        attention=LlamaAttention(
            num_heads=attn.q_proj.n_out // head_dim,
            num_kv_heads=attn.k_proj.n_out // head_dim,
            head_dim=head_dim,
            scale=attn.scaling,
            q_norm=_norm(attn.q_norm) if hasattr(attn, "q_norm") else None,
            k_norm=_norm(attn.k_norm) if hasattr(attn, "k_norm") else None,
        ),
        out=_matrix(attn.o_proj),
        mlp_norm=_norm(layer.post_attention_layernorm),
        gate_up=(_matrix(mlp.gate_proj), _matrix(mlp.up_proj)),
        down=_matrix(mlp.down_proj),
        keys=memory.keys,
        values=memory.values,
    )


def _matrix(layer: Int4WeightLinear) -> Any:
    from localgpt.nn.few_rows import Matrix

    return Matrix(layer.packed, layer.scale_and_zero, layer.bias)


def _norm(layer: Any) -> Any:
    from localgpt.compute.fused.llama_steps import Norm

    return Norm(layer.weight, layer.variance_epsilon)


def _layer_reason(layer: Any, family: str, rotary: Any, dtype: torch.dtype) -> str:
    """Why one layer cannot be run so."""
    if not _is_of(layer, f"{family}DecoderLayer", family):
        return f"a layer is a {type(layer).__name__}"
    attn, mlp = layer.self_attn, layer.mlp
    if not _is_of(attn, f"{family}Attention", family) or not _is_of(mlp, f"{family}MLP", family):
        return "a layer's parts are not those of its family"
    if type(mlp.act_fn).__name__ not in ("SiLUActivation", "SiLU"):
        return f"its MLP has {type(mlp.act_fn).__name__}"
    if getattr(attn, "sliding_window", None) is not None:
        return "some layers attend to a window"
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    if family == "Qwen3":
        norms += [attn.q_norm, attn.k_norm]
    elif hasattr(attn, "q_norm") or hasattr(attn, "k_norm"):
        return "queries are normalised"
    if any(not _is_of(norm, f"{family}RMSNorm", family) or norm.weight.dtype != dtype for norm in norms):
        return "a normalisation is another"
    qkv = [attn.q_proj, attn.k_proj, attn.v_proj]
    others = [attn.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    if any(type(one) is not Int4WeightLinear or one.kernel != "triton" for one in [*qkv, *others]):
        return "not all its layers are int4 by Triton's kernels"
    if any(not _is_reachable(one) for one in qkv):
        return "its layers are not on a device of these kernels"
    if any(one.bias is not None for one in others) or len({one.bias is None for one in qkv}) > 1:
        return "a layer has a bias where none is expected"
    return _shape_reason(attn, mlp, rotary)


def _shape_reason(attn: Any, mlp: Any, rotary: Any) -> str:
    head_dim = attn.head_dim
    q, k, v, o = attn.q_proj, attn.k_proj, attn.v_proj, attn.o_proj
    if head_dim < 16 or head_dim & (head_dim - 1) or 2 * rotary.inv_freq.numel() != head_dim:
        return f"heads of {head_dim} are no power of two from 16 on, turned as a whole"
    if q.n_out % k.n_out or k.n_out != v.n_out or k.n_out % head_dim or o.n_in != q.n_out:
        return "its heads do not fit each other"
    if len({one.group_size for one in (q, k, v)}) > 1 or mlp.gate_proj.group_size != mlp.up_proj.group_size:
        return "layers of the same inputs have other groups"
    if (mlp.gate_proj.n_out, mlp.down_proj.n_in) != (mlp.up_proj.n_out, mlp.up_proj.n_out):
        return "its MLP does not fit together"
    return ""


def _is_reachable(layer: Int4WeightLinear) -> bool:
    return layer.packed.is_cuda or layer._interpreted


def _is_of(module: Any, name: str, family: str) -> bool:
    """Whether a module is that class of transformers itself."""
    kind = type(module)
    home = f"transformers.models.{family.lower()}.modeling_{family.lower()}"
    return isinstance(module, nn.Module) and kind.__name__ == name and kind.__module__ == home


def _is_hooked(module: nn.Module) -> bool:
    return any(getattr(module, name) for name in _HOOKS)
