"""Open models that see and speak: Qwen2-VL, Qwen2.5-VL and Qwen3-VL, through chat, describe and ask.

* A picture keeps its shape and becomes as many tokens as it is large, at most 1,280: larger ones are scaled
  down to that, as their makers do by default.
* A prompt with pictures is read in one go, since their places in it have two dimensions; texts alone are read
  in pieces like any other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from localgpt.errors import CheckpointError, ImageFormatError
from localgpt.media.image import decode_image
from localgpt.runtime.open.asking import Asking
from localgpt.runtime.open.base import OpenCheckpoint
from localgpt.runtime.open.cache import new_cache
from localgpt.runtime.open.language import LanguageModel, read_network
from localgpt.runtime.open.prompts import OpenPrompt, PromptWriter
from localgpt.runtime.open.weights import LoadedNetwork, load_tokenizer, reading
from localgpt.runtime.open.words import check_is_wanted
from localgpt.tasks import ImagePart

__all__ = ["VisionModel", "load"]

MAX_IMAGE_TOKENS: Final = 1280
_NUM_KEPT: Final = 8  # pictures that stay cut into patches between a request's two looks at them


@dataclass(frozen=True, slots=True)
class _Looked:
    """A picture as the network takes it."""

    patches: Tensor  # (N, C) float32
    grid: Tensor  # (1, 3): frames, rows and columns of patches


def load(checkpoint: OpenCheckpoint) -> VisionModel:
    """Read a model that sees.

    Raises:
        CheckpointError: the folder is incomplete or broken.
    """
    tokenizer = load_tokenizer(checkpoint.folder)
    with reading(checkpoint.folder):
        from transformers import AutoImageProcessor

        reader: Any = AutoImageProcessor
        processor = reader.from_pretrained(
            checkpoint.folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    return VisionModel(
        checkpoint, read_network(checkpoint, "AutoModelForImageTextToText"), tokenizer, processor
    )


class VisionModel(LanguageModel):
    """One loaded model that sees; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        tokenizer: of transformers.
        processor: of transformers, cuts pictures into patches.
    """

    tasks = ("chat", "complete", "describe", "ask")
    runs_fixed = False  # where a token is depends on the pictures before it

    def __init__(
        self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, tokenizer: Any, processor: Any
    ) -> None:
        config: Any = loaded.network.config
        self._processor = processor
        self._merged = processor.merge_size**2  # patches of one token
        self._image_id = int(config.image_token_id)
        self._looked: OrderedDict[bytes, _Looked] = OrderedDict()
        factor = (processor.patch_size * processor.merge_size) ** 2
        most = min(processor.size["longest_edge"], MAX_IMAGE_TOKENS * factor)
        least = min(processor.size["shortest_edge"], most)
        self._size = {"shortest_edge": least, "longest_edge": most}
        self.num_image_tokens = max(1, least // factor)
        super().__init__(checkpoint, loaded, tokenizer)

    def release(self) -> None:
        """Let go of network and pictures."""
        self._looked.clear()
        super().release()

    def _new_asking(self) -> Asking:
        prompts = PromptWriter(self.tokenizer, self.vocabulary, expand=self._expand)
        if not prompts.has_template:
            raise CheckpointError(
                f"{self.id} has no chat template, which tells where pictures stand; copy chat_template.json "
                "or chat_template.jinja from its repository"
            )
        return Asking(self.id, self.vocabulary, prompts, context_len=self.context_len, sees=True)

    def _look(self, image: ImagePart) -> _Looked:
        """A picture cut into patches.

        Raises:
            ImageFormatError: no picture, broken, too large, or far too narrow.
        """
        known = self._looked.get(image.data)
        if known is None:
            picture = decode_image(image.data)
            try:
                out = self._processor(
                    images=[picture], size=self._size, input_data_format="channels_last", return_tensors="pt"
                )
            except ValueError as error:
                raise ImageFormatError(f"the picture cannot be looked at: {error}", param="image") from error
            known = self._looked[image.data] = _Looked(out["pixel_values"], out["image_grid_thw"])
            while len(self._looked) > _NUM_KEPT:
                self._looked.popitem(last=False)
        self._looked.move_to_end(image.data)
        return known

    def _expand(self, token_ids: list[int], images: Sequence[ImagePart]) -> list[int]:
        """A prompt with each picture's place as long as its tokens."""
        expanded: list[int] = []
        left = iter(images)
        for token_id in token_ids:
            image = next(left, None) if token_id == self._image_id else None
            num = 1 if image is None else int(self._look(image).grid.prod()) // self._merged
            expanded += [token_id] * num
        return expanded

    def _piece_len(self, prompt: OpenPrompt) -> int:
        return len(prompt.token_ids) if prompt.images else super()._piece_len(prompt)

    def _read_prompt(self, prompt: OpenPrompt, is_cancelled: Callable[[], bool]) -> tuple[Any, Tensor]:
        self.network.model.rope_deltas = None  # of the last request
        if not prompt.images:
            return super()._read_prompt(prompt, is_cancelled)
        check_is_wanted(is_cancelled)
        self.num_reused = 0
        looked = [self._look(image) for image in prompt.images]
        device = self._checkpoint.device
        ids = torch.tensor([prompt.token_ids], device=device)
        made = new_cache(self._config)
        logits = self._forward(
            made,
            prompt.token_ids,
            pixel_values=torch.cat([one.patches for one in looked]).to(device, self._compute_dtype),
            image_grid_thw=torch.cat([one.grid for one in looked]).to(device),
            mm_token_type_ids=(ids == self._image_id).int(),
        )
        return made, logits
