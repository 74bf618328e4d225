"""Pictures for the decoder: decode, encode, project, and remember the last few.

Shape legend: K image tokens a picture, C decoder width, S side of the encoder's input, E embedding width.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.media.image import read_pixels
from localgpt.models.encoder import EncoderConfig
from localgpt.models.projector import Projector

__all__ = ["Encoder", "PictureCache", "PictureReader", "ReadPicture"]

_CHUNK_WINDOWS: Final = 16


class Encoder(Protocol):
    """What is asked of an encoder: `models.encoder.JointEncoder`, or one of another backend."""

    @property
    def config(self) -> EncoderConfig:
        """Its shape."""
        ...

    @property
    def device(self) -> torch.device:
        """Where what comes in and goes out is."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels."""
        ...

    def read_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) to (B, N, n_feature), and what `encode_image` gives."""
        ...

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, E) of unit length."""
        ...

    def encode_text(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) int64 padded on the right and (B,) lengths to (B, E) of unit length."""
        ...


@dataclass(frozen=True, slots=True)
class ReadPicture:
    """What the models know of a picture: tokens (K, C) for the decoder, and its unit vector (E,) float32."""

    tokens: Tensor
    vector: Tensor

    @property
    def nbytes(self) -> int:
        """Of both."""
        return self.tokens.nbytes + self.vector.nbytes


class PictureCache:
    """The most recently used pictures as they were read, by owner and SHA-256 of their bytes; for any thread.

    Nobody gets what another owner showed: how quickly an answer begins would tell of it.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pictures: OrderedDict[tuple[str, bytes], ReadPicture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, data: bytes, owner: str) -> ReadPicture | None:
        """A picture, if remembered for this owner."""
        key = owner, hashlib.sha256(data).digest()
        with self._lock:
            if key not in self._pictures:
                return None
            self._pictures.move_to_end(key)
            return self._pictures[key]

    def put(self, data: bytes, owner: str, picture: ReadPicture) -> None:
        """Remember a picture; the least recently used one is forgotten."""
        key = owner, hashlib.sha256(data).digest()
        with self._lock:
            self._pictures[key] = picture
            self._pictures.move_to_end(key)
            while len(self._pictures) > self._capacity:
                self._pictures.popitem(last=False)

    def clear(self) -> None:
        """Forget all pictures."""
        with self._lock:
            self._pictures.clear()

    @property
    def num_pictures(self) -> int:
        """Pictures that are remembered."""
        with self._lock:
            return len(self._pictures)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is remembered."""
        with self._lock:
            return sum(picture.nbytes for picture in self._pictures.values())


class PictureReader:
    """Encoder and projector as one: picture bytes in, decoder tokens out.

    Args:
        encoder: in eval mode, where it shall run.
        projector: beside it.
        keep: fraction of a picture's tokens the decoder reads, in (0, 1].
        num_remembered: pictures that are kept for the next question.
    """

    def __init__(
        self, encoder: Encoder, projector: Projector, *, keep: float = 1.0, num_remembered: int
    ) -> None:
        self.cache = PictureCache(num_remembered)
        self.num_tokens = projector.num_kept(keep)
        self.grid_len = encoder.config.grid_size**2  # positions the encoder sees in a picture
        self.embed_dim = encoder.config.embed_dim
        self._encoder, self._projector, self._keep = encoder, projector, keep
        self._device, self._dtype = encoder.device, encoder.dtype

    def read_pixels(self, data: bytes) -> NDArray[np.float32]:
        """Decode a file to (3, S, S) float32 in [-1, 1]; no model is needed, so any thread may do it.

        Raises:
            ImageFormatError: not a picture, broken, or too large.
        """
        return read_pixels(data, self._encoder.config.image_size)

    @torch.inference_mode()
    def read(self, data: bytes, owner: str, pixels: NDArray[np.float32]) -> ReadPicture:
        """Read a picture (3, S, S), and remember it under its owner and bytes."""
        features, vectors = self._encoder.read_image(self._batch(pixels))
        picture = ReadPicture(self._projector(features, keep=self._keep)[0], vectors[0].float())
        self.cache.put(data, owner, picture)
        return picture

    @torch.inference_mode()
    def embed_image(self, pixels: NDArray[np.float32]) -> list[float]:
        """Unit vector (E,) of a picture (3, S, S)."""
        return self._encoder.encode_image(self._batch(pixels)).float()[0].tolist()

    @torch.inference_mode()
    def likeness(self, picture: ReadPicture, texts: Sequence[list[int]]) -> list[float]:
        """Cosines in the joint space of a picture and texts of one to 64 tokens each."""
        return (self._encoder.encode_text(*self._padded(texts)).float() @ picture.vector).tolist()

    @property
    def window_len(self) -> int:
        """Tokens of a text that the tower reads as one."""
        return self._encoder.config.text_context_len

    @property
    def chunk_tokens(self) -> int:
        """Most tokens of a text that are read at once."""
        return _CHUNK_WINDOWS * self._encoder.config.text_context_len

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
        padded, lengths = self._padded(pieces)
        vectors = self._encoder.encode_text(padded, lengths).float()
        return (vectors * lengths[:, None]).sum(dim=0).cpu()

    def _padded(self, pieces: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Token ids (B, T), padded on the right, and lengths (B,)."""
        lengths = torch.tensor([len(piece) for piece in pieces], device=self._device)
        padded = torch.zeros(len(pieces), int(lengths.max()), dtype=torch.int64, device=self._device)
        for row, piece in enumerate(pieces):
            padded[row, : len(piece)] = torch.tensor(piece, device=self._device)
        return padded, lengths

    def _batch(self, pixels: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(pixels)[None].to(self._device, self._dtype)
