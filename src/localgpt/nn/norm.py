"""Layer normalisation without bias, as MPT and the embedded decoder use it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LayerNorm"]


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis with a learned scale and no bias.

    Source: Ba et al. 2016, arXiv:1607.06450. Differs: no bias (as MPT), statistics always in float32.
    """

    def __init__(self, n_embd: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (..., n_embd); dtype and shape are kept."""
        if x.is_cuda and x.dtype == self.weight.dtype:  # the kernel has its statistics in float32 by itself
            return F.layer_norm(x, self.weight.shape, self.weight, None, self.eps)
        return F.layer_norm(x.float(), self.weight.shape, self.weight.float(), None, self.eps).to(x.dtype)
