"""A family of models in memory: tokenizer, decoder, and (when it has them) encoder and projector.

Loading keeps int8 matrices as int8 on a CPU (fast kernels, small memory) and turns them into the asked
floating type elsewhere. Networks are made without memory first and the read tensors put in their places, so
nothing is copied twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from localgpt.checkpoints.layout import FamilyLayout, read_layout
from localgpt.errors import CheckpointError
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.models.encoder import EncoderConfig, JointEncoder, TextEncoder
from localgpt.models.painter import Painter, PainterConfig, Upsampler
from localgpt.models.projector import Projector, ProjectorConfig
from localgpt.models.recognizer import Recognizer, RecognizerConfig
from localgpt.nn.linear import Int8Embedding, Int8Linear, Linear, dequantize_weight

__all__ = [
    "CORE_MEMBERS",
    "Family",
    "FamilyInfo",
    "build_encoder",
    "build_painter",
    "build_projector",
    "build_recognizer",
    "build_text_tower",
    "load_family",
    "read_info",
    "read_tokenizer",
    "tensors_under",
]

Module = TypeVar("Module", bound=nn.Module)
CORE_MEMBERS: Final = ("decoder", "encoder")
"""What a family answers with; its other members are loaded when somebody asks for their work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyInfo:
    """What a family says of itself. `created` is seconds since the epoch."""

    id: str
    licence: str
    created: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Loaded models, in eval mode; a family without an encoder cannot look at pictures."""

    info: FamilyInfo
    tokenizer: Tokenizer
    decoder: Decoder
    encoder: JointEncoder | None
    projector: Projector | None


def load_family(path: Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> Family:
    """Load a family.

    Args:
        path: from `resolve_family`.
        device: where the models go.
        dtype: floating type of all weights; None keeps int8 matrices on the CPU and takes bfloat16 on a GPU.

    Raises:
        CheckpointError: a part is missing, broken, or does not fit its config.
        UnsafeCheckpointError: a file is a pickle.
    """
    layout = read_layout(path)
    tensors = layout.read_tensors(CORE_MEMBERS)
    keep_int8 = dtype is None and device == "cpu"
    floating = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
    if "decoder" not in tensors:
        raise CheckpointError(f"{path}: the family {layout.id} has no decoder; nothing could answer")
    try:
        decoder = _build_decoder(layout.configs["decoder"], tensors["decoder"], keep_int8, floating)
        encoder, projector = build_encoder(layout.configs.get("encoder"), tensors.get("encoder"), floating)
    except (CheckpointError, KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: the weights do not fit their config ({reason})") from None
    return Family(
        info=read_info(layout),
        tokenizer=read_tokenizer(layout),
        decoder=decoder.to(device).eval(),
        encoder=encoder and encoder.to(device).eval(),
        projector=projector and projector.to(device).eval(),
    )


def read_info(layout: FamilyLayout) -> FamilyInfo:
    """What a family says of itself."""
    created = int(layout.path.stat().st_mtime)
    return FamilyInfo(id=layout.id, licence=layout.licence, created=created, path=layout.path)


def read_tokenizer(layout: FamilyLayout) -> Tokenizer:
    """A family's tokenizer.

    Raises:
        CheckpointError: it is broken.
    """
    try:
        return Tokenizer.from_str(layout.tokenizer)
    except CheckpointError as error:
        raise CheckpointError(f"{layout.path}: {' '.join(str(error).split())}") from None


def _build_decoder(
    config: dict[str, Any], tensors: dict[str, Tensor], keep_int8: bool, dtype: torch.dtype
) -> Decoder:
    decoder = _on_meta(Decoder, DecoderConfig.from_dict(config))
    if keep_int8 and "wte.weight_scale" in tensors:
        weight, scale = tensors.pop("wte.weight"), tensors.pop("wte.weight_scale")
        decoder.wte = Int8Embedding(weight, scale)  # type: ignore[assignment]
        decoder.lm_head = Int8Linear(weight, scale)  # type: ignore[assignment]
        _place_int8(decoder, tensors)
    _fill(decoder, tensors, dtype)
    if isinstance(decoder.lm_head, Linear):
        decoder.lm_head.weight = decoder.wte.weight  # tied
    return decoder


def build_encoder(
    config: dict[str, Any] | None, tensors: dict[str, Tensor] | None, dtype: torch.dtype
) -> tuple[JointEncoder | None, Projector | None]:
    """The member "encoder", if a family has it, on the CPU; errors are torch's and Python's."""
    if config is None or tensors is None:
        return None, None
    encoder = _on_meta(JointEncoder, EncoderConfig.from_dict(config["encoder"]))
    _fill(encoder, tensors_under("encoder.", tensors), dtype)
    return encoder, build_projector(config, tensors, dtype)


def build_projector(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> Projector:
    """The projector in the member "encoder", on the CPU and in eval mode; errors are torch's and Python's."""
    projector = _on_meta(Projector, ProjectorConfig.from_dict(config["projector"]))
    return _fill(projector, tensors_under("projector.", tensors), dtype).eval()


def build_recognizer(
    config: Mapping[str, Any], tensors: dict[str, Tensor], *, device: str = "cpu"
) -> Recognizer:
    """The network of the member "listener", in eval mode; int8 stays int8 on a CPU, elsewhere it is bfloat16.

    Raises:
        CheckpointError: a tensor is missing, or there is no place for one; other errors are torch's and
            Python's.
    """
    recognizer = _on_meta(Recognizer, RecognizerConfig.from_dict(dict(config)))
    if device == "cpu":
        _place_int8(recognizer, tensors)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    return _fill(recognizer, tensors, dtype).to(device).eval()


def build_painter(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> tuple[Painter, Upsampler]:
    """The networks of the member "painter", on the CPU and in eval mode; errors are torch's and Python's.

    Matrices that came as int8 are spread to `dtype`: gradients go through them where words are bound.
    """
    shape = PainterConfig.from_dict(dict(config))
    painter = _fill(_on_meta(Painter, shape), tensors_under("painter.", tensors), dtype)
    upsampler = _fill(_on_meta(Upsampler, shape), tensors_under("upsampler.", tensors), dtype)
    return painter.eval().requires_grad_(False), upsampler.eval().requires_grad_(False)


def build_text_tower(layout: FamilyLayout) -> tuple[TextEncoder, str]:
    """The text tower alone of a family's encoder, on the CPU and in eval mode.

    Returns:
        The tower, and its fingerprint: the SHA-256 of its tensors as they are stored, so that what was
        trained to read its features knows it again.

    Raises:
        CheckpointError: the family has no encoder, or one that does not fit its config.
    """
    tensors = tensors_under("encoder.text.", layout.read_member("encoder"))
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    try:
        tower = _on_meta(TextEncoder, EncoderConfig.from_dict(layout.configs["encoder"]["encoder"]))
        return _fill(tower, tensors, torch.float32).eval(), digest.hexdigest()
    except (CheckpointError, KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{layout.path}: the encoder does not fit its config ({reason})") from None


def _place_int8(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Replace each `Linear` whose weights came as int8, taking them out of `tensors`."""
    for name, child in list(module.named_modules()):
        scale = tensors.get(f"{name}.weight_scale")
        has_bias = any(own == "bias" for own, _ in child.named_parameters(recurse=False))
        if isinstance(child, Linear) and not has_bias and scale is not None:
            layer = Int8Linear(tensors.pop(f"{name}.weight"), tensors.pop(f"{name}.weight_scale"))
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, layer)


def _fill(module: Module, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Module:
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith("_scale") and name.removesuffix("_scale") in tensors:
            continue
        scale = tensors.get(f"{name}_scale")
        state[name] = tensor.to(dtype) if scale is None else dequantize_weight(tensor, scale, dtype)
    missing, unexpected = module.load_state_dict(state, strict=False, assign=True)
    allowed = ("num_batches_tracked", "lm_head.weight")
    if lacking := [name for name in missing if not name.endswith(allowed)]:
        raise CheckpointError(f"{lacking[0]} is missing, {len(lacking)} in all")
    if unexpected:
        raise CheckpointError(f"there is no place for {unexpected[0]}")
    _materialise(module)
    return module


def _materialise(module: nn.Module) -> None:
    """Give what the files do not carry (counters of batches) its value."""
    for layer in module.modules():
        for name, buffer in list(layer.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(layer, name, torch.zeros(buffer.shape, dtype=buffer.dtype))


class _NoInit(TorchFunctionMode):
    """Skips initial values: tensors without memory have none, and to make them torch loads its compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _on_meta(kind: type[Module], config: Any) -> Module:
    with torch.device("meta"), _NoInit():
        return kind(config)


def tensors_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of one part of a member, without the part's prefix."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
