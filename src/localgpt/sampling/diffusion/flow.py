"""Flow matching as a painter is asked: levels of noise, noise of a seed, and steps between levels.

Levels are diffusers' `sigma`: 1 is noise alone, 0 the picture. A step from level a to b leads along the line
between the noisy picture and the clean one that the painter expects, as Euler's method does.

Shape legend: B pictures, S side in pixels, N patches, T words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["Denoiser", "Flow", "Kept", "Words", "levels", "noise_of", "renoised"]


class Denoiser(Protocol):
    """What paints; `models.painter.Painter` is one."""

    def __call__(
        self,
        pixels: Tensor,
        sigma: Tensor,
        span: Tensor,
        words: Tensor,
        is_there: Tensor,
        attending: Any = None,
    ) -> Tensor:
        """Clean pictures (B, 3, S, S) from noisy ones; see `Painter.forward`."""
        ...


@dataclass(frozen=True, slots=True)
class Words:
    """What a painter reads: `features` (B, T, C) and which of them are there, (B, T) bool."""

    features: Tensor
    is_there: Tensor

    def repeated(self, num: int) -> Words:
        """The words of one picture for `num` of them."""
        return Words(self.features.expand(num, -1, -1), self.is_there.expand(num, -1))

    def beside(self, other: Words) -> Words:
        """Both, one after the other; the shorter texts are filled up."""
        length = max(self.features.shape[1], other.features.shape[1])
        both = (self._filled(length), other._filled(length))
        return Words(*(torch.cat(parts) for parts in zip(*both, strict=True)))

    def _filled(self, length: int) -> tuple[Tensor, Tensor]:
        room = length - self.features.shape[1]
        pad = torch.nn.functional.pad
        return pad(self.features, (0, 0, 0, room)), pad(self.is_there, (0, room), value=False)


def levels(num_steps: int, *, first: float = 1.0, shift: float = 1.0) -> list[float]:
    """Levels of noise from `first` down to 0.

    Args:
        num_steps: one less than the levels.
        first: where to begin.
        shift: above 1, more of the steps are made where there is much noise (Esser et al. 2024,
            arXiv:2403.03206, equation 23).
    """
    even = [first * (1 - number / num_steps) for number in range(num_steps + 1)]
    return [first * shift * u / (first + (shift - 1) * u) for u in even]


def noise_of(generators: Sequence[torch.Generator], side: int, device: torch.device) -> Tensor:
    """The next noise of each picture, (B, 3, S, S), drawn on the CPU from generators of their own.

    So it is the same alone and among others, and on every device.
    """
    drawn = [torch.randn(3, side, side, generator=generator) for generator in generators]
    return torch.stack(drawn).to(device)


def renoised(clean: Tensor, noise: Tensor, level: float) -> Tensor:
    """Clean pictures brought back to a level of noise."""
    return (1 - level) * clean + level * noise


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays of a picture, so that what is painted beside it fits.

    Args:
        picture: (1, 3, S, S) in [-1, 1].
        noise: (B, 3, S, S) that every level is made with.
        is_painted: (S, S), 1 where it is painted over and 0 where it stays.
    """

    picture: Tensor
    noise: Tensor
    is_painted: Tensor

    def at(self, noisy: Tensor, level: float) -> Tensor:
        """Noisy pictures with what stays at the same level."""
        stays = renoised(self.picture, self.noise, level)
        return stays + self.is_painted * (noisy - stays)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """How the steps are made.

    Args:
        denoiser: the painter.
        words: of all pictures.
        against: what guidance leads away from (no words, or those that shall not be seen); None without
            guidance.
        guidance_scale: how far beyond what the words alone say; 1 is no guidance.
        leaps: whether the painter is asked where each step ends, instead of where the line leads from here.
        guide: changes noisy pictures before a step, and says what attention shall be told in it.
        patch_size: pixels along a side of what the painter attends with.
    """

    denoiser: Denoiser
    words: Words
    patch_size: int = 1
    against: Words | None = None
    guidance_scale: float = 1.0
    leaps: bool = False
    guide: Guide | None = None

    @torch.no_grad()
    def run(
        self,
        noisy: Tensor,
        sigmas: Sequence[float],
        after_step: Callable[[int, Tensor], None],
        *,
        kept: Kept | None = None,
    ) -> Tensor:
        """Make all steps.

        Args:
            noisy: (B, 3, S, S) at the first level.
            sigmas: levels, falling; the last one is where the pictures are returned.
            after_step: told the number of steps made and the clean pictures expected now; what it raises
                ends the run.
            kept: what is not painted over.

        Returns:
            (B, 3, S, S) at the last level.
        """
        for number, (level, target) in enumerate(pairwise(sigmas), start=1):
            attending = None
            if self.guide is not None:
                noisy, attending = self.guide.before_step(self, noisy, level, level - target)
            clean = self.expected(noisy, level, level - target, attending)
            if self.guide is not None:
                self.guide.after_step(attending)
            noisy = clean + (noisy - clean) * (target / level)
            noisy = noisy if kept is None else kept.at(noisy, target)
            after_step(number, clean)
        return noisy

    def expected(self, noisy: Tensor, level: float, span: float, attending: object = None) -> Tensor:
        """The clean pictures that lie ahead, with guidance where there is any.

        Args:
            noisy: (B, 3, S, S).
            level: of noise.
            span: length of the step that is about to be made.
            attending: what attention is told, for the pictures with words.
        """
        sigma, spans = self._levels(noisy, level, span)
        if self.against is None or self.guidance_scale == 1.0:
            return self._ask(noisy, sigma, spans, self.words, attending)
        if attending is not None:  # attention is told about the pictures with words alone
            said = self._ask(noisy, sigma, spans, self.words, attending)
            plain = self._ask(noisy, sigma, spans, self.against, None)
        else:
            twice = [torch.cat([part, part]) for part in (noisy, sigma, spans)]
            said, plain = self._ask(
                twice[0], twice[1], twice[2], self.words.beside(self.against), None
            ).chunk(2)
        return plain + self.guidance_scale * (said - plain)

    def asked(self, noisy: Tensor, level: float, span: float, attending: object = None) -> Tensor:
        """The clean pictures that the words alone make expected; arguments as for `expected`."""
        sigma, spans = self._levels(noisy, level, span)
        return self._ask(noisy, sigma, spans, self.words, attending)

    def _levels(self, noisy: Tensor, level: float, span: float) -> tuple[Tensor, Tensor]:
        sigma = torch.full((len(noisy),), level, device=noisy.device)
        return sigma, torch.full_like(sigma, span if self.leaps else 0.0)

    def _ask(self, noisy: Tensor, sigma: Tensor, spans: Tensor, words: Words, attending: object) -> Tensor:
        pixels = noisy.to(words.features.dtype)
        return self.denoiser(pixels, sigma, spans, words.features, words.is_there, attending).float()


class Guide(Protocol):
    """Leads the steps; see `binding.Binder`."""

    def before_step(self, flow: Flow, noisy: Tensor, level: float, span: float) -> tuple[Tensor, object]:
        """The noisy pictures, changed or not, and what attention is told in the step."""
        ...

    def after_step(self, attending: object) -> None:
        """What was told is over."""
        ...
