"""From picture features to decoder tokens, with a learned gate that says which tokens are worth reading.

Notable: each grid position gets a keep score. A gated token is `gate * token + (1 - gate) * null`, so a
closed gate leaves only a learned null token, and dropping the lowest-scored tokens (`keep` < 1) removes work
from every layer of the decoder: the tokens are not masked but absent. Trained with several `keep` fractions
at once, one set of weights serves all of them. Source of the idea: FastV, arXiv:2403.06764; differs: learned,
and before the first layer.

Shape legend: B batch, N grid positions (196), K kept tokens, C decoder width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.nn.linear import Linear
from localgpt.nn.norm import LayerNorm

__all__ = ["Projector", "ProjectorConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorConfig:
    """Shape of the projector. The defaults are the embedded model's."""

    n_feature: int = 3072
    n_embd: int = 1024
    n_image_token: int = 196

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProjectorConfig:
        """Inverse of `to_dict`; keys of other purposes in config.json are left alone."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


class Projector(nn.Module):
    """Two layers, learned positions, and the keep gate."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = LayerNorm(config.n_feature)
        self.c_fc = Linear(config.n_feature, config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)
        self.positions = nn.Parameter(torch.empty(config.n_image_token, config.n_embd))
        nn.init.normal_(self.positions, std=0.02)
        self.keep_score = nn.Linear(config.n_feature, 1)
        self.null_token = nn.Parameter(torch.zeros(config.n_embd))
        nn.init.zeros_(self.keep_score.weight)
        nn.init.constant_(self.keep_score.bias, 2.0)
        # Enter the decoder as softly as its own embeddings do.
        nn.init.normal_(self.c_proj.weight, std=0.02 / 32)

    def num_kept(self, keep: float) -> int:
        """K for a keep fraction in (0, 1]."""
        return max(1, round(self.config.n_image_token * keep))

    def forward(self, features: Tensor, *, keep: float = 1.0) -> Tensor:
        """Project and gate.

        Args:
            features: (B, N, n_feature) from `JointEncoder.read_image`.
            keep: fraction of tokens to keep; the rest are dropped before the decoder.

        Returns:
            (B, K, C) tokens in grid order.
        """
        features = self.norm(features)
        gate_logits = F.linear(
            features.float(), self.keep_score.weight.float(), self.keep_score.bias.float()
        )  # (B, N, 1)
        tokens = self.c_proj(F.gelu(self.c_fc(features))) + self.positions.to(features.dtype)
        gate = torch.sigmoid(gate_logits).to(tokens.dtype)
        tokens = gate * tokens + (1 - gate) * self.null_token.to(tokens.dtype)
        num_kept = self.num_kept(keep)
        if num_kept == tokens.shape[1]:
            return tokens
        kept = gate_logits[..., 0].topk(num_kept, dim=1).indices.sort(dim=1).values  # (B, K)
        return tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[2]))
