"""CLIP and SigLIP: texts and pictures as vectors of unit length in one space.

A text longer than what they read (77 tokens, 64 of SigLIP) is read in windows, whose vectors are averaged by
length. SigLIP reads every window at its full length, padded, without capitals and, in its first version,
without punctuation: so it was trained.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.compute.memory.state import Size
from localgpt.errors import (
    CancelledRequestError,
    CheckpointError,
    ImageFormatError,
    InputError,
    PromptTooLongError,
)
from localgpt.media.image import decode_image
from localgpt.runtime.open.base import CONFIG_NAME, Emit, OpenCheckpoint, read_description
from localgpt.runtime.open.network_model import NetworkModel
from localgpt.runtime.open.weights import LoadedNetwork, load_network, load_tokenizer, reading
from localgpt.tasks import EmbedRequest, EmbedResult, ImagePart, Request, Result, TextPart, Usage
from localgpt.units import MIB

__all__ = ["ClipModel", "SiglipModel", "load"]

_MAX_TOKENS: Final = 32_768  # of one text
_MAX_CHARS: Final = 8 * _MAX_TOKENS
_NO_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)
_BATCH: Final = 16  # windows read at once
_ALIVE: Final = 16
_SIGLIP: Final = "siglip"
_PUNCTUATED: Final = "Gemma"  # tokenizers of SigLIP's second version


def load(checkpoint: OpenCheckpoint) -> ClipModel:
    """Read a CLIP or a SigLIP.

    Raises:
        CheckpointError: the folder is incomplete or broken.
    """
    is_siglip = read_description(checkpoint.folder / CONFIG_NAME).get("model_type") == _SIGLIP
    tokenizer = load_tokenizer(checkpoint.folder, is_bare=is_siglip)
    with reading(checkpoint.folder):
        from transformers import AutoImageProcessor

        reader: Any = AutoImageProcessor
        processor = reader.from_pretrained(
            checkpoint.folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    loaded = load_network(checkpoint, "AutoModel")
    if not is_siglip:
        return ClipModel(checkpoint, loaded, tokenizer, processor)
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise CheckpointError(
            f"{checkpoint.folder} names no token that ends texts, or none that fills them up; copy "
            "tokenizer_config.json from its repository"
        )
    made = read_description(checkpoint.folder / "tokenizer_config.json").get("tokenizer_class")
    return SiglipModel(
        checkpoint, loaded, tokenizer, processor, keeps_punctuation=str(made).startswith(_PUNCTUATED)
    )


class ClipModel(NetworkModel):
    """One loaded CLIP; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        tokenizer: of transformers.
        processor: of transformers, makes pixels of pictures.
    """

    tasks: tuple[str, ...] = ("embed",)
    num_added = 2  # tokens around those of a text

    def __init__(
        self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, tokenizer: Any, processor: Any
    ) -> None:
        super().__init__(checkpoint, loaded)
        self._config: Any = self.network.config
        self._tokenizer, self._processor = tokenizer, processor
        self.context_len = self._config.text_config.max_position_embeddings
        self._window = self.context_len - self.num_added
        self._embed_dim = self._width()
        self._num_patches = (
            self._config.vision_config.image_size // self._config.vision_config.patch_size
        ) ** 2

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What one picture, or one batch of windows, takes.

        Raises:
            InputError: nothing to embed, or vectors of another length were asked for.
        """
        assert isinstance(request, EmbedRequest)
        if not request.inputs:
            raise InputError("got nothing to embed, expected at least one text or picture", param="input")
        if request.dimensions not in (None, self._embed_dim):
            raise InputError(
                f"dimensions is {request.dimensions}; this model's vectors have {self._embed_dim} and cannot "
                "be shortened",
                param="dimensions",
            )
        text, vision = self._config.text_config, self._config.vision_config
        of_texts = _BATCH * self.context_len * text.hidden_size
        of_picture = (self._num_patches + 1) * (
            vision.hidden_size + vision.num_attention_heads * self._num_patches
        )
        nbytes = max(of_texts, of_picture) * _ALIVE * self._compute_dtype.itemsize + MIB
        return (Size(shape="embedding", nbytes=int(nbytes)),)

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Embed one input after the other.

        Raises:
            LocalGPTError: an input cannot be embedded, or nobody waits any more.
        """
        assert isinstance(request, EmbedRequest)
        vectors, num_tokens = [], 0
        is_one = len(request.inputs) == 1
        for number, part in enumerate(request.inputs):
            if is_cancelled():
                raise CancelledRequestError("nobody waits for the vectors any more")
            vector, num = self._embed(part, "input" if is_one else f"input[{number}]")
            vectors.append(tuple(vector.tolist()))
            num_tokens += num
        usage = Usage(prompt_tokens=num_tokens, completion_tokens=0)
        return EmbedResult(embeddings=tuple(vectors), usage=usage, model=self.id, notices=self.notices)

    def _embed(self, part: TextPart | ImagePart, param: str) -> tuple[Tensor, int]:
        """A unit vector (E,) float32, and how many tokens were read for it."""
        if isinstance(part, ImagePart):
            return self._embed_image(part, param), self._num_patches
        if not part.text.strip():
            raise InputError("got an empty text to embed, expected some words", param=param)
        num_chars = len(part.text)
        text = self._canonical(part.text) if num_chars <= _MAX_CHARS else ""
        ids = self._tokenizer(text, add_special_tokens=False).input_ids
        if num_chars > _MAX_CHARS or len(ids) > _MAX_TOKENS:
            raise PromptTooLongError(
                f"got a text of {num_chars:,} characters to embed, expected at most {_MAX_TOKENS:,} tokens; "
                "embed its parts",
                param=param,
            )
        if not ids:
            raise InputError(
                f"got {part.text[:40]!r} to embed, of which {self.id} reads no token; expected some words",
                param=param,
            )
        total = torch.zeros(self._embed_dim, dtype=torch.float32)
        for windows in _batches(ids, self._window):
            total += self._read_windows(windows)
        return F.normalize(total, dim=0), len(ids)

    def _embed_image(self, image: ImagePart, param: str) -> Tensor:
        try:
            picture = decode_image(image.data)
        except ImageFormatError as error:
            error.param = param
            raise
        pixels = self._processor(images=[picture], input_data_format="channels_last", return_tensors="pt")[
            "pixel_values"
        ]
        pixels = pixels.to(self._checkpoint.device, self._compute_dtype)
        return F.normalize(_features(self.network.get_image_features(pixel_values=pixels))[0], dim=0)

    def _read_windows(self, windows: list[list[int]]) -> Tensor:
        """Sum (E,) of the unit vectors of some windows, each as often as it has tokens."""
        inputs = {
            name: torch.tensor(rows, device=self._checkpoint.device)
            for name, rows in self._inputs(windows).items()
        }
        vectors = F.normalize(_features(self.network.get_text_features(**inputs)), dim=1)
        return (vectors * torch.tensor([[len(window)] for window in windows])).sum(dim=0)

    def _width(self) -> int:
        """Of the vectors."""
        return int(self._config.projection_dim)

    def _canonical(self, text: str) -> str:
        """A text as the tokenizer was trained on."""
        return text

    def _inputs(self, windows: list[list[int]]) -> dict[str, list[list[int]]]:
        """Arguments of the network for some windows."""
        first, last = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        rows = [[first, *window, last] for window in windows]
        longest = max(map(len, rows))
        return {
            "input_ids": [row + [last] * (longest - len(row)) for row in rows],
            "attention_mask": [[1] * len(row) + [0] * (longest - len(row)) for row in rows],
        }


class SiglipModel(ClipModel):
    """One loaded SigLIP, of either version with pictures of one size (arXiv:2303.15343, arXiv:2502.14786)."""

    num_added = 1

    def __init__(
        self,
        checkpoint: OpenCheckpoint,
        loaded: LoadedNetwork,
        tokenizer: Any,
        processor: Any,
        *,
        keeps_punctuation: bool,
    ) -> None:
        super().__init__(checkpoint, loaded, tokenizer, processor)
        self._keeps_punctuation = keeps_punctuation

    def _width(self) -> int:
        return int(self._config.text_config.projection_size)

    def _canonical(self, text: str) -> str:
        text = text.lower()
        if not self._keeps_punctuation:
            text = text.translate(_NO_PUNCTUATION)
        return re.sub(r"\s+", " ", text).strip()

    def _inputs(self, windows: list[list[int]]) -> dict[str, list[list[int]]]:
        last, pad = self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        return {"input_ids": [[*window, last, *[pad] * (self._window - len(window))] for window in windows]}


def _batches(ids: list[int], window: int) -> Iterator[list[list[int]]]:
    windows = [ids[at : at + window] for at in range(0, len(ids), window)]
    for at in range(0, len(windows), _BATCH):
        yield windows[at : at + _BATCH]


def _features(out: Any) -> Tensor:
    """Projected vectors (B, E) float32 on the CPU; older versions of transformers give them bare."""
    vectors: Tensor = getattr(out, "pooler_output", out)
    return vectors.float().cpu()
