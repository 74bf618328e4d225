"""Losses shared by the recipes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["IGNORE", "contrastive_loss", "token_loss"]

IGNORE = -100  # target of positions that are not learned


def token_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean next-token cross entropy in nats.

    Args:
        logits: (..., V).
        targets: (...) int64; `IGNORE` where nothing is learned.
        weights: (...) float32, how much each token counts in the mean; None counts all that are learned
            alike.
    """
    flat, told = logits.flatten(0, -2).float(), targets.flatten()
    if weights is None:
        return F.cross_entropy(flat, told, ignore_index=IGNORE)
    each = F.cross_entropy(flat, told, ignore_index=IGNORE, reduction="none")
    counted = weights.flatten() * (told != IGNORE)
    return (each * counted).sum() / counted.sum().clamp(min=1e-6)


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor, same: Tensor | None = None) -> Tensor:
    """Symmetric contrastive loss of matching pictures and texts (CLIP, arXiv:2103.00020).

    Args:
        image: (B, E) unit length.
        text: (B, E) unit length; row i belongs to picture i.
        scale: () positive factor on the cosine similarities.
        same: (B, B) bool, True where a text fits a picture equally well (identical captions); None is the
            diagonal.

    Returns:
        () mean of both directions; with several fitting texts the target is shared among them (UniCL,
        arXiv:2204.03610).
    """
    logits = scale * image @ text.T
    targets = torch.eye(len(logits), device=logits.device) if same is None else same.float()
    by_image = targets / targets.sum(dim=1, keepdim=True)
    by_text = targets.T / targets.T.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, by_image) + F.cross_entropy(logits.T, by_text)) / 2
