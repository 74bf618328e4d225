"""Pictures for the decoder: decode, encode, project, and remember the last few.

Shape legend: K image tokens a picture, C decoder width, S side of the encoder's input, E embedding width.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.media.image import read_pixels
from localgpt.models.encoder import JointEncoder
from localgpt.models.projector import Projector

__all__ = ["PictureReader", "TokenCache"]


_CHUNK_WINDOWS: Final = 16


class TokenCache:
    """Image tokens of the most recently used pictures, by the SHA-256 of their bytes; for any thread."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tokens: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, data: bytes) -> Tensor | None:
        """Tokens (K, C) of a picture, if remembered."""
        key = hashlib.sha256(data).digest()
        with self._lock:
            if key not in self._tokens:
                return None
            self._tokens.move_to_end(key)
            return self._tokens[key]

    def put(self, data: bytes, tokens: Tensor) -> None:
        """Remember tokens (K, C); the least recently used picture is forgotten."""
        key = hashlib.sha256(data).digest()
        with self._lock:
            self._tokens[key] = tokens
            self._tokens.move_to_end(key)
            while len(self._tokens) > self._capacity:
                self._tokens.popitem(last=False)

    @property
    def nbytes(self) -> int:
        """Bytes of all remembered tokens."""
        with self._lock:
            return sum(tokens.nbytes for tokens in self._tokens.values())


class PictureReader:
    """Encoder and projector as one: picture bytes in, decoder tokens out.

    Args:
        encoder: in eval mode, where it shall run.
        projector: beside it.
        keep: fraction of a picture's tokens the decoder reads, in (0, 1].
        num_remembered: pictures whose tokens are kept for the next question.
    """

    def __init__(
        self, encoder: JointEncoder, projector: Projector, *, keep: float = 1.0, num_remembered: int = 16
    ) -> None:
        self.cache = TokenCache(num_remembered)
        self.num_tokens = projector.num_kept(keep)
        self.grid_len = encoder.config.grid_size**2  # positions the encoder sees in a picture
        self.embed_dim = encoder.config.embed_dim
        self._encoder, self._projector, self._keep = encoder, projector, keep
        parameter = encoder.image.pool.positions
        self._device, self._dtype = parameter.device, parameter.dtype

    def read_pixels(self, data: bytes) -> NDArray[np.float32]:
        """Decode a file to (3, S, S) float32 in [-1, 1]; no model is needed, so any thread may do it.

        Raises:
            ImageFormatError: not a picture, broken, or too large.
        """
        return read_pixels(data, self._encoder.config.image_size)

    @torch.inference_mode()
    def tokens(self, data: bytes, pixels: NDArray[np.float32]) -> Tensor:
        """Image tokens (K, C) of a picture, and remember them under its bytes."""
        features = self._encoder.image_features(self._batch(pixels))
        tokens: Tensor = self._projector(features, keep=self._keep)[0]
        self.cache.put(data, tokens)
        return tokens

    @torch.inference_mode()
    def embed_image(self, pixels: NDArray[np.float32]) -> list[float]:
        """Unit vector (E,) of a picture (3, S, S)."""
        return self._encoder.encode_image(self._batch(pixels)).float()[0].tolist()

    def text_chunks(self, token_ids: list[int]) -> list[list[list[int]]]:
        """A text cut into what the tower reads: windows of up to 64 tokens, in chunks that are read at once.

        A chunk is what the other work of the models waits for.
        """
        window = self._encoder.config.text_context_len
        windows = [token_ids[at : at + window] for at in range(0, len(token_ids), window)]
        return [windows[at : at + _CHUNK_WINDOWS] for at in range(0, len(windows), _CHUNK_WINDOWS)]

    @torch.inference_mode()
    def read_chunk(self, pieces: list[list[int]]) -> Tensor:
        """Sum (E,) of the vectors of some windows, each as often as it has tokens; float32 on the CPU."""
        lengths = torch.tensor([len(piece) for piece in pieces], device=self._device)
        padded = torch.zeros(len(pieces), int(lengths.max()), dtype=torch.int64, device=self._device)
        for row, piece in enumerate(pieces):
            padded[row, : len(piece)] = torch.tensor(piece, device=self._device)
        vectors = self._encoder.encode_text(padded, lengths).float()
        return (vectors * lengths[:, None]).sum(dim=0).cpu()

    def _batch(self, pixels: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(pixels)[None].to(self._device, self._dtype)
