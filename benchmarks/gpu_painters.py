"""Painters of the true shapes with random weights, made on the device, and ours over them.

Shapes are those of the published configurations: Stable Diffusion XL 1.0 and SD-Turbo (that of 2.1). `tiny`
gives the same classes in a few channels.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_shapes import clip_tokenizer, leave_no_zeros, making  # noqa: E402
from localgpt.runtime.open.base import OpenCheckpoint  # noqa: E402
from localgpt.runtime.open.paint import Painter  # noqa: E402
from localgpt.runtime.open.paint_fast import FastSwitches  # noqa: E402
from localgpt.runtime.open.paint_pipelines import painter_of  # noqa: E402

__all__ = ["Float8Linear", "copy_of", "painter", "sdxl", "to_float8", "turbo"]


def sdxl(device: torch.device, dtype: torch.dtype, *, tiny: bool) -> Any:
    """Diffusers' pipeline of Stable Diffusion XL's shape."""
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = clip_tokenizer()
    with making(device, dtype):
        if tiny:
            first, second = (
                _text_config(tokenizer, 32, 37, 2, 4),
                _text_config(tokenizer, 32, 37, 2, 4, "gelu"),
            )
            unet = UNet2DConditionModel(
                **_unet_shape((16, 32), ("DownBlock2D", "CrossAttnDownBlock2D"), 8, 64),
                **_sdxl_additions(8, 80),
                transformer_layers_per_block=(1, 2),
                sample_size=32,
            )
        else:
            first = _text_config(tokenizer, 768, 3072, 12, 12)
            second = _text_config(tokenizer, 1280, 5120, 32, 20, "gelu")
            downs = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
            unet = UNet2DConditionModel(
                **_unet_shape((320, 640, 1280), downs, (5, 10, 20), 2048),
                **_sdxl_additions(256, 2816),
                transformer_layers_per_block=(1, 2, 10),
                sample_size=128,
            )
        parts = {
            "vae": _autoencoder(tiny, AutoencoderKL, scaling_factor=0.13025, force_upcast=True),
            "text_encoder": CLIPTextModel(first),
            "text_encoder_2": CLIPTextModelWithProjection(second),
            "unet": unet,
        }
    return StableDiffusionXLPipeline(
        **_ready(parts, device, dtype),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        add_watermarker=False,
    )


def turbo(device: torch.device, dtype: torch.dtype, *, tiny: bool) -> Any:
    """Diffusers' pipeline of SD-Turbo's shape, with its steps."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    tokenizer = clip_tokenizer()
    with making(device, dtype):
        if tiny:
            text = _text_config(tokenizer, 32, 37, 2, 4, "gelu")
            unet = UNet2DConditionModel(
                **_unet_shape((16, 32), ("CrossAttnDownBlock2D", "DownBlock2D"), 8, 32), sample_size=32
            )
        else:
            text = _text_config(tokenizer, 1024, 4096, 23, 16, "gelu")
            downs = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
            unet = UNet2DConditionModel(
                **_unet_shape((320, 640, 1280, 1280), downs, (5, 10, 20, 20), 1024), sample_size=64
            )
        parts = {
            "vae": _autoencoder(tiny, AutoencoderKL, scaling_factor=0.18215),
            "text_encoder": CLIPTextModel(text),
            "unet": unet,
        }
    return StableDiffusionPipeline(
        **_ready(parts, device, dtype),
        tokenizer=tokenizer,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="trailing",
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def copy_of(pipeline: Any) -> Any:
    """The same pipeline over networks of its own, with the same weights."""
    parts = {
        name: copy.deepcopy(part) if isinstance(part, torch.nn.Module) else part
        for name, part in pipeline.components.items()
    }
    parts["scheduler"] = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    if "requires_safety_checker" in pipeline.config:
        parts["requires_safety_checker"] = False
    else:
        parts["add_watermarker"] = False
    made = type(pipeline)(**parts)
    made.set_progress_bar_config(disable=True)
    return made


def painter(
    pipeline: Any, device: torch.device, switches: FastSwitches, id: str = "random/painter"
) -> Painter:
    """Our painter over a pipeline, which it makes its own."""
    checkpoint = OpenCheckpoint(folder=Path(), id=id, kind="paint", device=str(device), fast="off")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.enable_slicing()
    return Painter(checkpoint, painter_of(checkpoint, pipeline, switches=switches))


class Float8Linear(torch.nn.Module):
    """A linear layer whose product is of 8-bit floating point: weights and inputs, a scale for each tensor.

    Args:
        layer: to take the place of; both sides are multiples of 16.
    """

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        weight, self.scale = _float8(layer.weight.detach())
        self.weight, self.bias = weight, layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to (..., K)."""
        rows, scale = _float8(x.reshape(-1, x.shape[-1]))
        out = torch._scaled_mm(
            rows, self.weight.t(), scale_a=scale, scale_b=self.scale, out_dtype=x.dtype, use_fast_accum=True
        )
        out = out if self.bias is None else out + self.bias
        return out.view(*x.shape[:-1], -1)


def _float8(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounded to 8 bits, and what it is to be multiplied by: a float32 scalar on its device."""
    kind = torch.float8_e4m3fn
    scale = tensor.abs().amax().float().clamp(min=1e-4) / torch.finfo(kind).max
    return (tensor * scale.reciprocal().to(tensor.dtype)).to(kind).contiguous(), scale


def to_float8(unet: torch.nn.Module) -> int:
    """Have the linear layers of a U-Net's transformers multiply in 8 bits; how many."""
    layers = [
        (name, layer)
        for name, layer in unet.named_modules()
        if isinstance(layer, torch.nn.Linear)
        and "transformer_blocks" in name
        and not (layer.in_features % 16 or layer.out_features % 16)
    ]
    for name, layer in layers:
        unet.set_submodule(name, Float8Linear(layer))
    return len(layers)


def _unet_shape(channels: tuple[int, ...], downs: tuple[str, ...], heads: Any, width: int) -> dict[str, Any]:
    ups = tuple(name.replace("Down", "Up") for name in reversed(downs))
    return {
        "block_out_channels": channels,
        "down_block_types": downs,
        "up_block_types": ups,
        "layers_per_block": 1 if channels[0] < 32 else 2,
        "attention_head_dim": heads,
        "cross_attention_dim": width,
        "use_linear_projection": True,
        "norm_num_groups": 8 if channels[0] < 32 else 32,
    }


def _sdxl_additions(time_width: int, width: int) -> dict[str, Any]:
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": time_width,
        "projection_class_embeddings_input_dim": width,
    }


def _autoencoder(tiny: bool, kind: Any, **more: Any) -> Any:
    channels = (16, 32) if tiny else (128, 256, 512, 512)
    return kind(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1 if tiny else 2,
        latent_channels=4,
        norm_num_groups=8 if tiny else 32,
        sample_size=64 if tiny else 1024,
        **more,
    )


def _text_config(
    tokenizer: Any, width: int, inner: int, layers: int, heads: int, act: str = "quick_gelu"
) -> Any:
    from transformers import CLIPTextConfig

    end = tokenizer.eos_token_id
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        hidden_act=act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=end,
    )


def _ready(parts: dict[str, Any], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    for part in parts.values():
        part.to(device, dtype).eval().requires_grad_(False)
        leave_no_zeros(part)
    return parts
