"""What a service asks of a loaded family, wherever its networks run."""

from __future__ import annotations

from typing import Protocol

from localgpt.checkpoints.family import FamilyInfo
from localgpt.engine.runner import CachedDecoder
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.projector import Projector
from localgpt.runtime.pictures import Encoder

__all__ = ["Models"]


class Models(Protocol):
    """A loaded family: `checkpoints.Family`, or one of another backend."""

    @property
    def info(self) -> FamilyInfo:
        """What it says of itself."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids."""
        ...

    @property
    def decoder(self) -> CachedDecoder:
        """The language model."""
        ...

    @property
    def encoder(self) -> Encoder | None:
        """Eyes, if it has them."""
        ...

    @property
    def projector(self) -> Projector | None:
        """From the encoder's features to the decoder's tokens, beside the encoder."""
        ...
