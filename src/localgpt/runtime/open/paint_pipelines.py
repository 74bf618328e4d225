"""Diffusers folders as pipelines: which are run, with what defaults, and how they are read.

`model_index.json` names the pipeline and the class of each part. Only the pipelines of `FAMILIES` and parts
of diffusers and transformers are taken: other names would import whatever they say. Checkers of pictures
(`safety_checker`), where a folder has one, are pickles more often than not and are left out.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from localgpt.errors import CheckpointError, ConfigError, MissingWeightsError, UnsafeCheckpointError
from localgpt.runtime.open.base import PIPELINE_NAME, OpenCheckpoint, read_description
from localgpt.runtime.open.default_dtype import allocating
from localgpt.runtime.open.paint_fast import FastPaint, FastSwitches, switches_of
from localgpt.runtime.open.paint_streaming import StreamedBlocks
from localgpt.runtime.open.paint_texts import run_on
from localgpt.runtime.open.precision import choose_dtype
from localgpt.runtime.open.weights import reading

__all__ = ["FAMILIES", "LoadedPainter", "PaintDefaults", "load_painter", "painter_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintDefaults:
    """What a request leaves open. `has_guidance`: another picture is painted to get away from."""

    num_steps: int
    guidance_scale: float
    has_guidance: bool = True
    takes_scale: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """Pipelines that share their parts: from text, from a picture, into a mask."""

    from_image: str
    into_mask: str
    denoiser: str
    defaults: PaintDefaults


FAMILIES: Final[Mapping[str, _Family]] = {
    "StableDiffusionPipeline": _Family(
        from_image="StableDiffusionImg2ImgPipeline",
        into_mask="StableDiffusionInpaintPipeline",
        denoiser="unet",
        defaults=PaintDefaults(num_steps=30, guidance_scale=7.5),
    ),
    "StableDiffusionXLPipeline": _Family(
        from_image="StableDiffusionXLImg2ImgPipeline",
        into_mask="StableDiffusionXLInpaintPipeline",
        denoiser="unet",
        defaults=PaintDefaults(num_steps=30, guidance_scale=5.0),
    ),
    "StableDiffusion3Pipeline": _Family(
        from_image="StableDiffusion3Img2ImgPipeline",
        into_mask="StableDiffusion3InpaintPipeline",
        denoiser="transformer",
        defaults=PaintDefaults(num_steps=28, guidance_scale=7.0),
    ),
    "FluxPipeline": _Family(
        from_image="FluxImg2ImgPipeline",
        into_mask="FluxInpaintPipeline",
        denoiser="transformer",
        # the scale is one of the network's inputs, and no second picture is painted
        defaults=PaintDefaults(num_steps=28, guidance_scale=3.5, has_guidance=False),
    ),
}
_LIBRARIES: Final = ("diffusers", "transformers")
_LEFT_OUT: Final = ("safety_checker", "feature_extractor", "image_encoder")
_FEW_STEPS: Final = PaintDefaults(num_steps=4, guidance_scale=0.0)
_FEW_STEP_SCHEDULERS: Final = ("LCMScheduler", "TCDScheduler", "FlowMatchLCMScheduler")
_FEW_STEP_NAMES: Final = r"turbo|lightning|schnell|hyper-?sd|\blcm\b"
_VARIANT: Final = re.compile(r"\.(fp16|bf16|fp32)(\.|-)")
_MASK_CHANNELS: Final = 9  # what a U-Net made for masks alone reads


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPainter:
    """A painter's pipelines, which share their networks."""

    from_text: Any
    from_image: Any
    into_mask: Any
    denoiser: Any
    defaults: PaintDefaults
    dtype: torch.dtype
    fast: FastPaint
    notices: tuple[str, ...]
    streamed: StreamedBlocks | None = None


def load_painter(checkpoint: OpenCheckpoint) -> LoadedPainter:
    """Read a diffusers folder.

    Raises:
        CheckpointError: its pipeline is not run here, or the folder is incomplete or broken.
        UnsafeCheckpointError: a part of it is code.
        ConfigError: int8 or int4 was asked for.
    """
    if checkpoint.quantize != "none":
        raise ConfigError(
            f"{checkpoint.id} paints and cannot run in {checkpoint.quantize}; use --fp16 to save memory"
        )
    index = read_description(checkpoint.folder / PIPELINE_NAME)
    name = str(index.get("_class_name"))
    if name not in FAMILIES:
        raise CheckpointError(
            f"{checkpoint.folder} is a {name}, which is not run here; expected one of {', '.join(FAMILIES)}"
        )
    family = FAMILIES[name]
    _check_parts(checkpoint.folder, index)
    folder = checkpoint.folder / family.denoiser
    dtype, notice = choose_dtype(_stored_dtype(folder), device=checkpoint.device, fp16=checkpoint.fp16)
    with reading(checkpoint.folder):
        pipeline = _read(checkpoint, index, name, dtype)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
                if checkpoint.resident_bytes is None or part is not getattr(pipeline, family.denoiser):
                    part.to(checkpoint.device)
        denoiser = getattr(pipeline, family.denoiser)
        if getattr(denoiser.config, "in_channels", 0) == _MASK_CHANNELS:
            raise CheckpointError(
                f"{checkpoint.folder} paints into masks only (9 channels); use the model it was made from"
            )
        return painter_of(checkpoint, pipeline, notices=(notice,) if notice else ())


def painter_of(
    checkpoint: OpenCheckpoint,
    pipeline: Any,
    *,
    switches: FastSwitches | None = None,
    notices: tuple[str, ...] = (),
) -> LoadedPainter:
    """A painter of a pipeline whose networks are on their device.

    Args:
        checkpoint: what it was read from.
        pipeline: of diffusers, one of `FAMILIES`.
        switches: for speed; None takes those of the checkpoint's level.
        notices: what there is to tell.
    """
    name = type(pipeline).__name__
    family = FAMILIES[name]
    denoiser = getattr(pipeline, family.denoiser)
    siblings = [_sibling(pipeline, other) for other in (family.from_image, family.into_mask)]
    switches = switches or switches_of(checkpoint.fast, checkpoint.device)
    if not checkpoint.keeps_prompts:
        switches = replace(switches, remembers_texts=False)
    if (
        checkpoint.resident_bytes is not None
    ):  # graphs and compilers would want its weights to stay where they are
        switches = replace(switches, graphs=False, compiled=False)
    fast = FastPaint((pipeline, *siblings), denoiser, switches, checkpoint.device)
    streamed = None
    if checkpoint.resident_bytes is not None:
        streamed = StreamedBlocks(denoiser, torch.device(checkpoint.device), checkpoint.resident_bytes)
        for one in (pipeline, *siblings):
            run_on(one, checkpoint.device)
        notices = (
            *notices,
            f"the denoiser is larger than the memory for it: {streamed.num_streamed} of "
            f"{streamed.num_blocks} blocks are streamed, which takes longer",
        )
    return LoadedPainter(
        from_text=pipeline,
        from_image=siblings[0],
        into_mask=siblings[1],
        denoiser=denoiser,
        defaults=_defaults_of(checkpoint.id, family.defaults, pipeline, denoiser),
        dtype=denoiser.dtype,
        fast=fast,
        notices=(*notices, *fast.notices),
        streamed=streamed,
    )


def _read(checkpoint: OpenCheckpoint, index: Mapping[str, Any], name: str, dtype: torch.dtype) -> Any:
    import diffusers
    from diffusers.utils import logging

    logging.set_verbosity_error()  # no advice and no bars on standard error, which is the user's
    logging.disable_progress_bar()
    more: dict[str, Any] = {part: None for part in _LEFT_OUT if part in index}
    more |= _read_networks(checkpoint.folder, index, dtype)
    if "requires_safety_checker" in index:
        more["requires_safety_checker"] = False
    pipeline = getattr(diffusers, name).from_pretrained(
        checkpoint.folder,
        torch_dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        variant=_variant_of(checkpoint.folder),
        low_cpu_mem_usage=False,  # accelerate is not installed
        **more,
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.enable_slicing()
    return pipeline


def _read_networks(folder: Path, index: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The networks of diffusers' own classes. Told no dtype, it leaves torch's default alone."""
    import diffusers

    networks: dict[str, Any] = {}
    for name, value in index.items():
        library, part = (*value, None, None)[:2] if isinstance(value, list) else (None, None)
        network_class = getattr(diffusers, str(part), None) if library == "diffusers" else None
        if network_class is None or not issubclass(network_class, diffusers.ModelMixin):
            continue
        with allocating(dtype):
            network = network_class.from_pretrained(
                folder / name,
                local_files_only=True,
                use_safetensors=True,
                variant=_variant_of_part(folder / name),
                low_cpu_mem_usage=False,  # accelerate is not installed
            )
        networks[name] = network.to(dtype)  # some are taken as they are stored
    return networks


def _sibling(pipeline: Any, name: str) -> Any:
    """Another pipeline over the same networks; diffusers' own `from_pipe` would make them all float32."""
    import diffusers

    sibling = getattr(diffusers, name)
    known = {**pipeline.config, **pipeline.components}
    made = sibling(**{key: known[key] for key in inspect.signature(sibling).parameters if key in known})
    made.set_progress_bar_config(disable=True)
    return made


def _check_parts(folder: Path, index: Mapping[str, Any]) -> None:
    """Refuse parts of other libraries, and folders that lack a part."""
    for name, value in index.items():
        if name.startswith("_") or name in _LEFT_OUT or not isinstance(value, list):
            continue
        library, part = (*value, None, None)[:2]
        if library is None:
            continue
        if library not in _LIBRARIES:
            raise UnsafeCheckpointError(
                f"{folder} cannot be read without running its code: its {name} is {part} of {library}; "
                "expected parts of diffusers and transformers"
            )
        if not (folder / name).is_dir():
            raise MissingWeightsError(
                f"{folder} has no folder {name}, which its {PIPELINE_NAME} names; copy it again"
            )
        if any((folder / name).glob("*.py")):
            raise UnsafeCheckpointError(
                f"{folder / name} holds Python, which would be run; LocalGPT runs none"
            )


def _variant_of(folder: Path) -> str | None:
    """The variant that files are named by, where no plain ones are beside them: `model.fp16.safetensors`."""
    parts = sorted(path for path in folder.iterdir() if path.is_dir())
    return next(filter(None, map(_variant_of_part, parts)), None)


def _variant_of_part(part: Path) -> str | None:
    names = [path.name for path in part.glob("*.safetensors")]
    variants = [found[1] for found in map(_VARIANT.search, names) if found]
    return variants[0] if variants and len(variants) == len(names) else None


def _stored_dtype(folder: Path) -> torch.dtype | None:
    from safetensors import safe_open

    dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    for path in sorted(folder.glob("*.safetensors")):
        with reading(folder), safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - it is no mapping
                return dtypes.get(file.get_slice(key).get_dtype())
    return None


def _defaults_of(id: str, defaults: PaintDefaults, pipeline: Any, denoiser: Any) -> PaintDefaults:
    """Those of a family, unless the model was made for few steps without guidance."""
    if "guidance_embeds" in denoiser.config:  # of Flux
        if denoiser.config.guidance_embeds:
            return defaults
        return replace(_FEW_STEPS, has_guidance=False, takes_scale=False)
    if getattr(denoiser.config, "time_cond_proj_dim", None) is not None:  # the scale is an input, as of LCM
        return replace(defaults, num_steps=_FEW_STEPS.num_steps, has_guidance=False)
    return _FEW_STEPS if _is_few_step(id, pipeline.scheduler) else defaults


def _is_few_step(id: str, scheduler: Any) -> bool:
    """Whether a model says so by its scheduler or its name.

    SD-Turbo and SDXL-Turbo are set to Euler's steps at the trailing ends of equal parts; so are models with a
    last noise level of zero signal, which tell that too.
    """
    name, config = type(scheduler).__name__, scheduler.config
    is_trailing = name.startswith("Euler") and config.get("timestep_spacing") == "trailing"
    return (
        name in _FEW_STEP_SCHEDULERS
        or (is_trailing and not config.get("rescale_betas_zero_snr"))
        or re.search(_FEW_STEP_NAMES, Path(id).name.lower()) is not None
    )
