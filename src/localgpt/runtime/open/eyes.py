"""How models that see take a picture: cut into patches, and as tokens where a prompt has a mark for it.

* Qwen's (Qwen2-VL, Qwen2.5-VL, Qwen3-VL) keep a picture's shape; it becomes as many tokens as it is large, at
  most 1,280: larger ones are scaled down to that, as their makers do by default.
* Gemma 3's squash every picture to one square, which is 256 tokens. Its makers can add crops of very long
  ones ("pan and scan"), and leave that off by default, as it is here.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.runtime.open.weights import reading

__all__ = ["Eyes", "Look", "LookMemory", "load_eyes"]

MAX_IMAGE_TOKENS: Final = 1280
_NUM_KEPT: Final = 8
_GEMMA: Final = "gemma3"


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A picture as a network takes it."""

    inputs: Mapping[str, Tensor]  # by the network's argument; one after the other where there are several
    num_tokens: int

    @property
    def nbytes(self) -> int:
        """Of the numbers."""
        return sum(tensor.nbytes for tensor in self.inputs.values())


class Eyes(ABC):
    """What differs between the families of models that see.

    Args:
        processor: of transformers, cuts pictures into patches.
        config: of the network.
        tokenizer: of transformers.
    """

    least_tokens: int  # of a picture
    patches_per_token: int

    def __init__(self, processor: Any, config: Any, tokenizer: Any) -> None:
        self.processor = processor
        self.image_id = int(config.image_token_id)
        self._image_text = str(tokenizer.convert_ids_to_tokens(self.image_id))

    @property
    @abstractmethod
    def mark(self) -> str:
        """What a chat template writes for a picture."""

    @abstractmethod
    def cut(self, picture: NDArray[np.uint8]) -> Look:
        """A picture (H, W, 3) as the network takes it.

        Raises:
            ValueError: its shape cannot be looked at.
        """

    @abstractmethod
    def written(self, look: Look) -> str:
        """What a picture is in a prompt: as many marks as it has tokens, and what stands around them."""

    @abstractmethod
    def kinds(self, is_image: Tensor) -> dict[str, Tensor]:
        """The argument that tells which tokens (1, T) are pictures."""

    @abstractmethod
    def begin(self, network: Any) -> None:
        """Forget in a network what was there for the prompt before."""

    def inputs(self, looks: Sequence[Look], token_ids: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """Arguments for a prompt (1, T), on its device, pixels in the dtype of the network."""
        made = {name: torch.cat([look.inputs[name] for look in looks]) for name in looks[0].inputs}
        placed = {
            name: tensor.to(token_ids.device, dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in made.items()
        }
        return placed | self.kinds((token_ids == self.image_id).int())


class _QwenEyes(Eyes):
    def __init__(self, processor: Any, config: Any, tokenizer: Any) -> None:
        super().__init__(processor, config, tokenizer)
        self.patches_per_token = processor.merge_size**2
        factor = (processor.patch_size * processor.merge_size) ** 2
        most = min(processor.size["longest_edge"], MAX_IMAGE_TOKENS * factor)
        least = min(processor.size["shortest_edge"], most)
        self._size = {"shortest_edge": least, "longest_edge": most}
        self.least_tokens = max(1, least // factor)

    @property
    def mark(self) -> str:
        return self._image_text

    def cut(self, picture: NDArray[np.uint8]) -> Look:
        out = self.processor(
            images=[picture], size=self._size, input_data_format="channels_last", return_tensors="pt"
        )
        grid = out["image_grid_thw"]  # (1, 3): frames, rows and columns of patches
        inputs = {"pixel_values": out["pixel_values"], "image_grid_thw": grid}
        return Look(inputs, int(grid.prod()) // self.patches_per_token)

    def written(self, look: Look) -> str:
        return self._image_text * look.num_tokens

    def kinds(self, is_image: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": is_image}

    def begin(self, network: Any) -> None:
        network.model.rope_deltas = None


class _GemmaEyes(Eyes):
    def __init__(self, processor: Any, config: Any, tokenizer: Any) -> None:
        super().__init__(processor, config, tokenizer)
        self.least_tokens = int(config.mm_tokens_per_image)
        vision = config.vision_config
        self.patches_per_token = max(1, (vision.image_size // vision.patch_size) ** 2 // self.least_tokens)
        self._mark, self._end = tokenizer.convert_ids_to_tokens(
            [config.boi_token_index, config.eoi_token_index]
        )

    @property
    def mark(self) -> str:
        return str(self._mark)

    def cut(self, picture: NDArray[np.uint8]) -> Look:
        out = self.processor(
            images=[picture], do_pan_and_scan=False, input_data_format="channels_last", return_tensors="pt"
        )
        return Look({"pixel_values": out["pixel_values"]}, self.least_tokens)

    def written(self, look: Look) -> str:
        return f"\n\n{self._mark}{self._image_text * look.num_tokens}{self._end}\n\n"

    def kinds(self, is_image: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": is_image}

    def begin(self, network: Any) -> None:
        """Nothing is there."""


def load_eyes(folder: Path, config: Any, tokenizer: Any) -> Eyes:
    """The eyes of a model, as its folder tells them.

    Args:
        folder: of the model.
        config: of its network.
        tokenizer: of transformers.

    Raises:
        CheckpointError: the folder is incomplete or broken.
    """
    with reading(folder):
        from transformers import AutoImageProcessor

        reader: Any = AutoImageProcessor
        processor = reader.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
        eyes = _GemmaEyes if config.model_type == _GEMMA else _QwenEyes
        return eyes(processor, config, tokenizer)


class LookMemory:
    """Pictures that stay cut, of each owner: a request looks twice, and a conversation's next turn again.

    Nobody gets what another owner showed: how quickly an answer begins would tell of it. For any thread.
    """

    def __init__(self) -> None:
        self._looks: OrderedDict[tuple[str, bytes], Look] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Of the pictures, and of the files they are found by."""
        with self._lock:
            return sum(look.nbytes + len(data) for (_, data), look in self._looks.items())

    def get(self, data: bytes, owner: str, cut: Callable[[bytes], Look]) -> Look:
        """A picture of an owner, which is cut if it is not known."""
        with self._lock:
            if (known := self._looks.get((owner, data))) is not None:
                self._looks.move_to_end((owner, data))
                return known
        look = cut(data)
        with self._lock:
            self._looks[owner, data] = look
            while len(self._looks) > _NUM_KEPT:
                self._looks.popitem(last=False)
        return look

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._looks.clear()
