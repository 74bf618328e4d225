"""What makes painting faster, switch by switch; the plain pipelines of diffusers are the oracle.

Which level switches what on (`localgpt paint --fast`, `LOCALGPT_FAST`):

* `exact`: the same mathematics up to the rounding of other kernels. Layout
  with channels last, projections fused, convolutions chosen by measurement, the denoiser replayed as a
  CUDA graph, the text encoders' result remembered and they themselves at rest in the machine's memory
  while the denoiser works.
* `compiled`: that, with a denoiser made by torch.compile. The first picture of each size waits for it.
* `max`: that, and what changes pictures: the autoencoder in bfloat16 where it would be in float32, no
  guidance in the last quarter of the steps, inner blocks on every other step. Told with each picture.

Pictures with guidance are denoised in one batch with what they are to get away from, at every level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from localgpt.runtime.open.base import Fast
from localgpt.runtime.open.paint_graphs import Capture, GraphedForward, capture_cuda
from localgpt.runtime.open.paint_plans import is_upcast
from localgpt.runtime.open.paint_steps import StepCache, guided_names, without_guidance
from localgpt.runtime.open.paint_texts import TextMemory

__all__ = ["FastPaint", "FastSwitches", "switches_of"]

_GUIDED_PART: Final = 0.75  # of the steps
_FULL_EVERY: Final = 2  # steps
_FIRST_BLOCK_THRESHOLD: Final = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class FastSwitches:
    """What is on; all of it is off unless asked for."""

    channels_last: bool = False
    fused_projections: bool = False
    tuned_convolutions: bool = False
    remembers_texts: bool = False
    rests_encoders: bool = False
    graphs: bool = False
    compiled: bool = False
    half_autoencoder: bool = False
    guided_part: float = 1.0
    full_every: int = 1


def switches_of(fast: Fast, device: str) -> FastSwitches:
    """The switches of a level on a device, as torch names it."""
    is_cuda = device.startswith("cuda")
    if fast in ("auto", "off"):
        return FastSwitches()
    switches = FastSwitches(
        channels_last=True,
        fused_projections=True,
        tuned_convolutions=is_cuda,
        remembers_texts=True,
        rests_encoders=is_cuda,
        graphs=is_cuda,
        compiled=fast in ("compiled", "max"),
    )
    if fast != "max":
        return switches
    return replace(switches, half_autoencoder=True, guided_part=_GUIDED_PART, full_every=_FULL_EVERY)


@dataclass(slots=True)
class FastPaint:
    """The switches of one painter at work.

    Args:
        pipelines: of diffusers, over the same networks.
        denoiser: theirs.
        switches: what is on.
        device: as torch names it.
        capture: makes graphs; None for CUDA's.
        compile: makes a faster forward pass of one.
    """

    pipelines: tuple[Any, ...]
    denoiser: Any
    switches: FastSwitches
    device: str
    capture: Capture | None = None
    compile: Callable[..., Any] | None = None
    notices: tuple[str, ...] = ()
    _steps: StepCache | None = None
    _graphs: GraphedForward | None = None
    _texts: TextMemory | None = None
    _addresses: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        on, told = self.switches, []
        is_unet = hasattr(self.denoiser, "down_blocks")
        vae = self.pipelines[0].vae
        if on.half_autoencoder and vae.dtype == torch.float16 and is_upcast(self.pipelines[0]):
            vae.to(torch.bfloat16)
            told.append("the autoencoder is bfloat16 instead of float32")
        if on.channels_last:
            vae.to(memory_format=torch.channels_last)
            if is_unet:
                self.denoiser.to(memory_format=torch.channels_last)
        if on.fused_projections:
            _fuse(self.denoiser)
        if on.remembers_texts or on.rests_encoders:
            self._texts = TextMemory(
                self.pipelines, self.device, rests=on.rests_encoders, remembers=on.remembers_texts
            )
        if on.full_every > 1:
            told.append(self._cache_steps(is_unet))
        if on.guided_part < 1.0:
            told.append(f"steps after {on.guided_part:.0%} are made without guidance")
        self._wrap()
        self.notices = tuple(f"for speed: {text}" for text in told if text)

    @property
    def refusal(self) -> str:
        """What was switched on and could not be done, found out while painting; empty mostly."""
        if self._graphs is None or not self._graphs.refusal:
            return ""
        return f"denoising runs one kernel at a time: {self._graphs.refusal}"

    @property
    def resting(self) -> tuple[nn.Module, ...]:
        """Networks that are in the machine's memory unless they work."""
        return () if self._texts is None else self._texts.resting

    @property
    def cache_bytes(self) -> int:
        """What is remembered of texts, and what graphs hold; the latter as the allocator grew."""
        texts = 0 if self._texts is None else self._texts.nbytes
        return texts + (0 if self._graphs is None else self._graphs.nbytes)

    def give_up_graphs(self, why: str) -> bool:
        """Denoise without graphs from now on; False where there are none to give up."""
        if self._graphs is None or self._graphs.refusal:
            return False
        self._graphs.give_up(why)
        return True

    def drop_caches(self) -> None:
        """Forget texts and graphs."""
        if self._texts is not None:
            self._texts.clear()
        if self._graphs is not None:
            self._graphs.clear()

    @contextmanager
    def painting(self, pipeline: Any, owner: str) -> Iterator[None]:
        """Have one batch be painted by a pipeline, for an owner."""
        if self._steps is not None:
            self._steps.begin()
        if self._is_first_block_cache:
            self.denoiser._reset_stateful_cache()
        if self._graphs is not None:
            addresses = tuple(parameter.data_ptr() for parameter in self.denoiser.parameters())
            if addresses != self._addresses:  # the weights were away, and graphs know where they were
                self._graphs.clear()
                self._addresses = addresses
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = before or self.switches.tuned_convolutions
        try:
            with nullcontext() if self._texts is None else self._texts.serving(pipeline, owner):
                yield
        finally:
            torch.backends.cudnn.benchmark = before

    def callback_names(self, pipeline: Any) -> list[str]:
        """What `after_step` has to be given."""
        return ["latents"] if self.switches.guided_part >= 1.0 else ["latents", *guided_names(pipeline)]

    def after_step(self, pipeline: Any, step: int, num_steps: int, values: dict[str, Any]) -> dict[str, Any]:
        """What changes for the steps after this one, counted from 0; as diffusers' callbacks return it."""
        part = self.switches.guided_part
        if part >= 1.0 or step + 1 < part * num_steps or step + 1 >= num_steps:
            return {}
        return without_guidance(pipeline, values)

    def _cache_steps(self, is_unet: bool) -> str:
        if is_unet:
            self._steps = StepCache(self.denoiser, self.switches.full_every)
            return f"inner blocks are computed on every {self.switches.full_every} steps"
        from diffusers.hooks.first_block_cache import FirstBlockCacheConfig

        if type(self.denoiser).__name__ != "FluxTransformer2DModel":
            return ""
        self.denoiser.enable_cache(FirstBlockCacheConfig(threshold=_FIRST_BLOCK_THRESHOLD))
        return "blocks are left out on steps that change little"

    @property
    def _is_first_block_cache(self) -> bool:
        return bool(getattr(self.denoiser, "is_cache_enabled", False))

    def _wrap(self) -> None:
        """Put what was switched on between the pipelines and the denoiser's forward pass."""
        forward: Callable[..., Any] = self.denoiser.forward
        if self.switches.compiled and not self._is_first_block_cache:
            make = self.compile or torch.compile
            forward = make(forward, dynamic=False)
        steps = self._steps
        graphs: GraphedForward | None = None
        if self.switches.graphs and not self._is_first_block_cache:  # that looks at numbers between blocks
            device = torch.device(self.device)
            graphs = self._graphs = GraphedForward(
                forward,
                device,
                capture=self.capture or partial(capture_cuda, device=device),
                get_kept=lambda: None if steps is None else dict(steps.kept),
                set_kept=lambda kept: None if steps is None or not kept else steps.kept.update(kept),
            )
        if steps is None and graphs is None and not self.switches.compiled:
            return

        def run(*args: Any, **kwargs: Any) -> Any:
            sample = args[0] if args else kwargs["hidden_states" if "hidden_states" in kwargs else "sample"]
            is_shallow = False if steps is None else steps.next(sample)
            return forward(*args, **kwargs) if graphs is None else graphs(is_shallow, *args, **kwargs)

        self.denoiser.forward = run


def _fuse(denoiser: Any) -> None:
    """Put queries, keys and values of each attention into one matrix; the parts are let go one by one."""
    from diffusers.models.attention_processor import FusedAttnProcessor2_0, FusedJointAttnProcessor2_0

    processors: dict[str, Any] = {
        "UNet2DConditionModel": FusedAttnProcessor2_0,
        "SD3Transformer2DModel": FusedJointAttnProcessor2_0,
    }
    # No list of all modules: it would keep the parts alive until the last of them is let go.
    attentions = [one for one in denoiser.modules() if callable(getattr(one, "fuse_projections", None))]
    for attention in attentions:
        attention.fuse_projections()
        _let_parts_go(attention)
    if (processor := processors.get(type(denoiser).__name__)) is not None:
        denoiser.set_attn_processor(processor())


def _let_parts_go(attention: nn.Module) -> None:
    names: list[str] = []
    if getattr(attention, "to_qkv", None) is not None:
        names += ["to_q", "to_k", "to_v"]
    elif getattr(attention, "to_kv", None) is not None:
        names += ["to_k", "to_v"]
    if getattr(attention, "to_added_qkv", None) is not None:
        names += ["add_q_proj", "add_k_proj", "add_v_proj"]
    for name in names:
        setattr(attention, name, None)
    attention.requires_grad_(False)
