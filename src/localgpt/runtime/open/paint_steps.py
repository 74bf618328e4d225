"""Steps of painting that are made of less: inner blocks from the step before, no guidance at the end.

Both change the picture a little, and are done only where that was asked for.

* Step cache: what the inner blocks of a U-Net say changes slowly from step to step. On the steps in
  between only the outermost block on either side is computed (DeepCache, Ma et al. 2023, arXiv
  2312.00858; here for whole blocks). Transformers have diffusers' own first-block cache instead.
* Guidance interval: the last steps only sharpen, and are made without the second picture that guidance
  gets away from (Kynkäänniemi et al. 2024, arXiv 2404.07724; here the end alone is left out).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from torch import Tensor, nn

__all__ = ["StepCache", "guided_names", "without_guidance"]

# Inputs that are twice as many with guidance, by the beginning of the pipeline's name; the first to match.
_GUIDED: Final = {
    "StableDiffusionXL": ("prompt_embeds", "add_text_embeds", "add_time_ids"),
    "StableDiffusion3": ("prompt_embeds", "pooled_prompt_embeds"),
    "StableDiffusion": ("prompt_embeds",),
}


class StepCache:
    """Remembers what the inner blocks of a U-Net said.

    Args:
        unet: of diffusers; its blocks are made to remember.
        every: all blocks are computed on every so many steps.
    """

    def __init__(self, unet: Any, every: int) -> None:
        self.is_shallow = False
        self.kept: dict[int, Any] = {}
        self._every = every
        self._step = 0
        self._shape: tuple[int, ...] = ()
        inner = (*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1])
        for index, block in enumerate(block for block in inner if block is not None):
            self._have_remember(block, index)

    def begin(self) -> None:
        """A new picture: nothing is remembered."""
        self._step, self._shape, self.is_shallow = 0, (), False
        self.kept.clear()

    def next(self, sample: Tensor) -> bool:
        """Begin a step; whether inner blocks are taken from the step before."""
        if tuple(sample.shape) != self._shape:
            self._step, self._shape = 0, tuple(sample.shape)
        self.is_shallow = self._step % self._every != 0
        self._step += 1
        return self.is_shallow

    def _have_remember(self, block: nn.Module, index: int) -> None:
        plain: Callable[..., Any] = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self.is_shallow:
                return self.kept[index]
            said = plain(*args, **kwargs)
            self.kept[index] = said
            return said

        block.forward = forward


def guided_names(pipeline: Any) -> list[str]:
    """Inputs of the denoiser that are twice as many with guidance; none where a step cannot change them all.

    Diffusers' pipeline from a picture to one by SD 3 is such a one: it is guided to the end.
    """
    kind = type(pipeline).__name__
    names = next((names for start, names in _GUIDED.items() if kind.startswith(start)), ())
    return list(names) if set(names) <= set(pipeline._callback_tensor_inputs) else []


def without_guidance(pipeline: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Have the next steps be without guidance: the inputs of those, from the inputs with it."""
    names = guided_names(pipeline)
    if not names or not pipeline.do_classifier_free_guidance:
        return {}
    pipeline._guidance_scale = 0.0
    return {name: values[name].chunk(2)[1] for name in names}
