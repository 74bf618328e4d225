"""Retrieval in the joint space: pictures find their captions, captions find their picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from localgpt.checkpoints import Family

__all__ = ["embed_texts", "recalls"]


@torch.inference_mode()
def embed_texts(family: Family, texts: Sequence[str], *, batch: int = 256) -> Tensor:
    """Unit vectors (M, E) float32 of texts, in order; each is cut at the tower's context."""
    encoder = family.encoder
    assert encoder is not None
    device = encoder.image.pool.positions.device
    encoded = [
        ids[: encoder.config.text_context_len] or [0] for ids in family.tokenizer.encode_batch(list(texts))
    ]
    order = sorted(range(len(encoded)), key=lambda place: len(encoded[place]))
    vectors = torch.empty(len(encoded), encoder.config.embed_dim)
    for at in range(0, len(order), batch):
        part = order[at : at + batch]
        width = len(encoded[part[-1]])
        padded = torch.tensor([encoded[i] + [0] * (width - len(encoded[i])) for i in part], device=device)
        lengths = torch.tensor([len(encoded[i]) for i in part], device=device)
        vectors[torch.tensor(part)] = encoder.encode_text(padded, lengths).float().cpu()
    return vectors


def recalls(images: Tensor, texts: Tensor, owners: Tensor) -> dict[str, float]:
    """R@1 and R@5 both ways.

    Args:
        images: (N, E) unit vectors.
        texts: (M, E) unit vectors.
        owners: (M,) int64, the picture of each text.

    Returns:
        Image-to-text counts a picture when any of its captions is among the best; text-to-image counts
        captions.
    """
    scores = images @ texts.T
    best_texts = scores.topk(min(5, len(texts)), dim=1).indices
    found = owners[best_texts] == torch.arange(len(images))[:, None]  # (N, 5)
    best_images = scores.T.topk(min(5, len(images)), dim=1).indices
    right = best_images == owners[:, None]  # (M, 5)
    return {
        "image_to_text_r1": float(found[:, :1].any(dim=1).float().mean()),
        "image_to_text_r5": float(found.any(dim=1).float().mean()),
        "text_to_image_r1": float(right[:, :1].any(dim=1).float().mean()),
        "text_to_image_r5": float(right.any(dim=1).float().mean()),
    }
