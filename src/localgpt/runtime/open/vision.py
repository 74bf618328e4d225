"""Open models that see and speak: Qwen's and Gemma 3, through chat, describe and ask.

How each of them takes pictures is in `eyes`. A prompt with pictures is read in one go: its places may have
two dimensions, or its pictures' tokens may look at each other; texts alone are read in pieces like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from localgpt.compute.memory.state import Size
from localgpt.errors import CheckpointError, ImageFormatError
from localgpt.media.image import decode_image
from localgpt.runtime.open.asking import Asking
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.cache import new_cache
from localgpt.runtime.open.eyes import Eyes, Look, LookMemory, load_eyes
from localgpt.runtime.open.language import LanguageModel, read_network
from localgpt.runtime.open.prompts import OpenPrompt, PromptWriter
from localgpt.runtime.open.weights import LoadedNetwork, load_tokenizer
from localgpt.runtime.open.words import check_is_wanted
from localgpt.tasks import ImagePart, Request, Result

__all__ = ["VisionModel", "load"]

_ALIVE: Final = 8  # tensors of the width of the eyes' MLPs, alive at once


def load(checkpoint: OpenCheckpoint) -> VisionModel:
    """Read a model that sees.

    Raises:
        CheckpointError: the folder is incomplete or broken.
    """
    tokenizer = load_tokenizer(checkpoint.folder)
    loaded = read_network(checkpoint, "AutoModelForImageTextToText")
    network: Any = loaded.network
    eyes = load_eyes(checkpoint.folder, network.config, tokenizer)
    return VisionModel(checkpoint, loaded, tokenizer, eyes)


class VisionModel(LanguageModel):
    """One loaded model that sees; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        tokenizer: of transformers.
        eyes: of its family.
    """

    tasks = ("chat", "complete", "describe", "ask")
    runs_fixed = False  # where a token is depends on the pictures before it

    def __init__(self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, tokenizer: Any, eyes: Eyes) -> None:
        self.eyes = eyes
        self._looks = LookMemory()
        self.num_image_tokens = eyes.least_tokens
        super().__init__(checkpoint, loaded, tokenizer)

    @property
    def cache_bytes(self) -> int:
        """Keys and values of the last answer, and pictures."""
        return super().cache_bytes + self._looks.nbytes

    def drop_caches(self) -> None:
        """Forget them."""
        self._looks.clear()
        super().drop_caches()

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Make one answer; errors as those of `WordModel.answer`."""
        try:
            return super().answer(request, emit, is_cancelled, size)
        finally:
            if not self._checkpoint.keeps_prompts:
                self._looks.clear()

    def _new_asking(self) -> Asking:
        prompts = PromptWriter(self.tokenizer, self.vocabulary, expand=self._expand)
        if not prompts.has_template:
            raise CheckpointError(
                f"{self.id} has no chat template, which tells where pictures stand; copy chat_template.json "
                "or chat_template.jinja from its repository"
            )
        return Asking(self.id, self.vocabulary, prompts, context_len=self.context_len, sees=True)

    def _look(self, image: ImagePart, owner: str) -> Look:
        """A picture cut into patches.

        Raises:
            ImageFormatError: no picture, broken, too large, or far too narrow.
        """
        return self._looks.get(image.data, owner, self._cut)

    def _cut(self, data: bytes) -> Look:
        picture = decode_image(data)
        try:
            return self.eyes.cut(picture)
        except ValueError as error:
            raise ImageFormatError(f"the picture cannot be looked at: {error}", param="image") from error

    def _expand(self, text: str, images: Sequence[ImagePart], owner: str) -> str:
        """A prompt's text with each picture written out in the place of its mark."""
        first, *rest = text.split(self.eyes.mark, len(images))
        written = [self.eyes.written(self._look(image, owner)) for image in images]
        return first + "".join(place + after for place, after in zip(written, rest, strict=False))

    def _piece_len(self, prompt: OpenPrompt) -> int:
        return len(prompt.token_ids) if prompt.images else super()._piece_len(prompt)

    def _answer_bytes(self, num_prompt: int, num_answer: int, piece_len: int) -> int:
        """As for a text, and what looking takes where all that is read at once are pictures."""
        vision = self._config.vision_config
        width = max(getattr(vision, "intermediate_size", 0) or 0, 4 * vision.hidden_size)
        patches = min(piece_len, num_prompt) * self.eyes.patches_per_token
        looking = patches * width * _ALIVE * self._compute_dtype.itemsize
        return super()._answer_bytes(num_prompt, num_answer, piece_len) + int(looking)

    def _read_prompt(self, prompt: OpenPrompt, is_cancelled: Callable[[], bool]) -> tuple[Any, Tensor]:
        self.eyes.begin(self.network)
        if not prompt.images:
            return super()._read_prompt(prompt, is_cancelled)
        check_is_wanted(is_cancelled)
        self.num_reused = 0
        looks = [self._look(image, prompt.owner) for image in prompt.images]
        ids = torch.tensor([prompt.token_ids], device=self._checkpoint.device)
        made = new_cache(self._config)
        logits = self._forward(made, prompt.token_ids, **self.eyes.inputs(looks, ids, self._compute_dtype))
        return made, logits
