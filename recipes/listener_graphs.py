"""The recogniser's forward and backward pass as CUDA graphs, one for each bucket; plainly elsewhere.

A step is bound by the launch of some three thousand small kernels. A graph launches them all at once; it
needs the same shapes and the same memory every time, which buckets give. What draws numbers (dropout) draws
new ones at each replay, and gradients arrive where autograd expects them
(`torch.cuda.make_graphed_callables`). Before they are relied on, each bucket's gradients are held against
those of the plain pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from localgpt.models.recognizer import Recognizer
from recipes.common import RunLog, RunOptions
from recipes.listener_data import Bucket

__all__ = ["ScoreGraphs"]

_Score = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_TOLERANCE = (
    0.2  # bfloat16 adds in another order; gradients of other numbers are farther away than they are long
)


class _Scorer(nn.Module):
    """One bucket's pass over the shared network, in the precision of training."""

    def __init__(self, network: Recognizer, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, mel: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `Recognizer.score`."""
        is_half = self.dtype != torch.float32
        # Casts of weights must not be kept from one replay to the next.
        with torch.autocast(mel.device.type, dtype=self.dtype, enabled=is_half, cache_enabled=False):
            return self.network.score(mel, mask)


class ScoreGraphs:
    """Scores of batches, by the fastest way there is.

    Args:
        network: in training mode; its parameters keep their places.
        buckets: shapes of the batches.
        options: device and precision.
    """

    def __init__(self, network: Recognizer, buckets: Sequence[Bucket], options: RunOptions) -> None:
        self._network, self._buckets, self._options = network, buckets, options
        scorer = _Scorer(network, options.dtype)
        self._passes: list[_Score] = [scorer for _ in buckets]

    def prepare(self, log: RunLog) -> None:
        """Make the graphs before the clock starts; if that fails, the log says why and steps run plainly."""
        if not self._options.device.startswith("cuda"):
            return
        scorers = tuple(_Scorer(self._network, self._options.dtype) for _ in self._buckets)
        try:
            graphed = torch.cuda.make_graphed_callables(
                scorers, tuple(self._example(bucket) for bucket in self._buckets), num_warmup_iters=3
            )
        except (RuntimeError, AssertionError) as error:  # what it asks of a callable are assertions
            log.write(graphs=False, reason=" ".join(str(error).split())[:300])
            return
        plain = self._passes
        self._passes = list(graphed)
        away = [self._difference(number, plain[number]) for number in range(len(plain))]
        if not max(away) <= _TOLERANCE:  # of what is no number, nothing is the largest
            self._passes = plain
            log.write(graphs=False, reason="gradients differ from those of the plain pass", away=away)
            return
        memory = round(torch.cuda.max_memory_allocated() / 1e9, 1)
        log.write(graphs=True, memory_gb=memory, away=away)

    def _difference(self, number: int, plain: _Score) -> float:
        """How far a bucket's gradients are from those of the plain pass, as a share of these."""
        mel, mask = self._example(self._buckets[number])
        found = []
        for run in (self._passes[number], plain):
            torch.manual_seed(number)  # both draw the same numbers
            total = sum(logits.float().logsumexp(dim=-1).mean() for logits in run(mel, mask))
            assert isinstance(total, Tensor)
            total.backward()  # type: ignore[no-untyped-call]
            gradients = [one.grad for one in self._network.parameters() if one.grad is not None]
            found.append(torch.cat([gradient.flatten().float() for gradient in gradients]))
            self._network.zero_grad(set_to_none=True)
        return round(float((found[0] - found[1]).norm() / found[1].norm()), 4)

    def score(self, bucket: int, mel: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both guesses, (B, T, V); those of the batch before may be overwritten."""
        return self._passes[bucket](mel, mask)

    def _example(self, bucket: Bucket) -> tuple[Tensor, Tensor]:
        device, num_bins = self._options.device, self._network.config.num_mel_bins
        mel = torch.randn(bucket.size, num_bins, 2 * bucket.num_frames, device=device)
        mask = torch.ones(
            bucket.size, 1, bucket.num_frames, bucket.num_frames, dtype=torch.bool, device=device
        )
        return mel, mask
