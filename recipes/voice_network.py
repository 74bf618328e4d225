"""The voice's network in training: transformers' `VitsModel`, and its ways that only training takes.

Transformers has the layers but not the training of VITS (Kim et al. 2021, arXiv:2106.06103). The coupling
layers are walked here with plain tensors, so that they compile; `tests/recipes/test_speaker.py` compares them
with the library's own.

Shape legend: B batch, S sounds, T frames, C channels, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from localgpt.compute.graphs import Captured, capture_graph
from localgpt.training.alignment import frame_sounds, gaussian_scores, monotonic_alignment
from localgpt.training.spectra import magnitudes

__all__ = ["Learned", "VoiceNetwork", "voice_config"]


def voice_config(size: str, *, vocab_size: int, num_speakers: int) -> dict[str, Any]:
    """Values of the network's config: the shipped sizes ("full"), or those of a run of seconds ("tiny")."""
    common = {
        "architectures": ["VitsModel"],
        "vocab_size": vocab_size,
        "num_speakers": num_speakers,
        "layerdrop": 0.0,
        "use_stochastic_duration_prediction": False,
        "sampling_rate": 48_000,
        "noise_scale": 0.5,
    }
    if size == "tiny":
        return common | {
            "hidden_size": 16, "num_hidden_layers": 1, "ffn_dim": 16, "flow_size": 16,
            "spectrogram_bins": 257, "speaker_embedding_size": 8, "upsample_rates": (8, 8, 8),
            "upsample_kernel_sizes": (16, 16, 16),
            "upsample_initial_channel": 32, "resblock_kernel_sizes": (3,), "resblock_dilation_sizes": ((1,),),
            "prior_encoder_num_flows": 2, "prior_encoder_num_wavenet_layers": 1,
            "posterior_encoder_num_wavenet_layers": 1, "duration_predictor_filter_channels": 16,
        }  # fmt: skip
    return common | {
        "hidden_size": 192, "num_hidden_layers": 4, "ffn_dim": 768, "flow_size": 192,
        "spectrogram_bins": 1025, "speaker_embedding_size": 64, "upsample_rates": (8, 8, 4, 2),
        "upsample_kernel_sizes": (16, 16, 8, 4),
        "upsample_initial_channel": 256, "resblock_kernel_sizes": (3, 7),
        "resblock_dilation_sizes": ((1, 3), (1, 3)), "prior_encoder_num_flows": 4,
        "prior_encoder_num_wavenet_layers": 3, "posterior_encoder_num_wavenet_layers": 8,
    }  # fmt: skip


@dataclass(slots=True)
class Learned:
    """What a step learns from, before critics have a word."""

    made: Tensor  # (B, N) samples of a slice
    real: Tensor  # (B, N) of the same one
    divergence: Tensor
    duration: Tensor
    durations: Tensor  # (B, S) frames


class VoiceNetwork(nn.Module):
    """Sound and its sounds to losses.

    Args:
        config: values of `VitsConfig`.
        slice_frames: of each row that are decoded.
        compiles: compile the parts between random numbers.
    """

    def __init__(self, config: dict[str, Any], *, slice_frames: int, compiles: bool = False) -> None:
        super().__init__()
        from transformers import VitsConfig, VitsModel

        self.vits: Any = VitsModel(VitsConfig(**config))
        self.vits.decoder.apply_weight_norm()
        _begin(self.vits)
        self.slice_frames = slice_frames
        rates = self.vits.config.upsample_rates
        self.hop = int(torch.tensor(rates).prod())
        self.n_fft = 2 * (self.vits.config.spectrogram_bins - 1)
        # Not attributes: modules that are compiled would be listed twice.
        self._fast: dict[str, Any] = {"encode": self._posterior_and_flow, "decode": self.vits.decoder}
        if compiles:
            self._fast = {name: torch.compile(part, dynamic=False) for name, part in self._fast.items()}
        self._fast["path"] = Replayed(monotonic_alignment) if compiles else monotonic_alignment

    def forward(self, batch: Any, *, dtype: torch.dtype, generator: torch.Generator) -> Learned:
        """One batch of `recipes.voices.Utterances`; the decoder alone runs in `dtype`."""
        vits, device = self.vits, batch.sound.device
        waveform = batch.sound.float() / 2**15
        frames = torch.arange(waveform.shape[1] // self.hop, device=device)
        frames_mask = (frames < batch.num_frames[:, None])[:, None].float()  # (B, 1, T)
        sounds = torch.arange(batch.sound_ids.shape[1], device=device)
        sounds_mask = (sounds < batch.num_sounds[:, None]).float()  # (B, S)
        speaker = vits.embed_speaker(batch.speakers).unsqueeze(-1)  # (B, C, 1)
        spectrum = magnitudes(waveform, n_fft=self.n_fft, hop=self.hop)
        noise = torch.randn(
            len(waveform), vits.config.flow_size, len(frames), device=device, generator=generator
        )
        latents, log_scales, moved = self._fast["encode"](spectrum, frames_mask, speaker, noise)
        text = vits.text_encoder(
            input_ids=batch.sound_ids, padding_mask=sounds_mask[..., None], attention_mask=sounds_mask.long()
        )
        means, scales = text.prior_means, text.prior_log_variances  # (B, S, C); logarithms of scales
        durations = self._align(moved, means, scales, batch)
        owners = frame_sounds(durations, len(frames))[..., None].expand(-1, -1, means.shape[2])
        frame_means = means.gather(1, owners).transpose(1, 2)
        frame_scales = scales.gather(1, owners).transpose(1, 2)
        divergence = _divergence(moved, log_scales, frame_means, frame_scales, frames_mask)
        duration = self._duration_loss(text.last_hidden_state, sounds_mask, speaker, durations)
        made, real = self._slices(latents, waveform, batch, speaker, dtype, generator)
        return Learned(made, real, divergence, duration, durations)

    def _posterior_and_flow(
        self, spectrum: Tensor, mask: Tensor, speaker: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, logarithms of their scales, and what the coupling layers make of them, each (B, C, T)."""
        encoder = self.vits.posterior_encoder
        x = encoder.conv_pre(spectrum) * mask
        stats = encoder.conv_proj(_wavenet(encoder.wavenet, x, mask, speaker)) * mask
        means, log_scales = stats.split(encoder.out_channels, dim=1)
        latents = (means + noise * torch.exp(log_scales)) * mask
        moved = latents
        for flow in self.vits.flow.flows:
            first, second = moved.split(flow.half_channels, dim=1)
            shift = flow.conv_post(_wavenet(flow.wavenet, flow.conv_pre(first) * mask, mask, speaker)) * mask
            moved = torch.cat([first, second * mask + shift], dim=1).flip(1)
        return latents, log_scales, moved

    @torch.no_grad()
    def _align(self, moved: Tensor, means: Tensor, scales: Tensor, batch: Any) -> Tensor:
        scores = gaussian_scores(moved.float(), means.float(), scales.float())
        frames = torch.arange(moved.shape[2], device=moved.device)
        is_outside = (frames < batch.begins[..., None]) | (frames >= batch.ends[..., None])  # (B, S, T)
        # Far below any score, and still exact in sums: a recording's own sounds come first.
        scores = scores - scores.amax(dim=1, keepdim=True)
        scores = scores.masked_fill(is_outside, -1e6)
        durations: Tensor = self._fast["path"](scores, batch.num_sounds, batch.num_frames)
        return durations

    def _duration_loss(self, hidden: Tensor, mask: Tensor, speaker: Tensor, durations: Tensor) -> Tensor:
        """Squared error of logarithms; the text encoder does not learn from it."""
        mask = mask[:, None]
        told = self.vits.duration_predictor(hidden.detach().transpose(1, 2), mask, speaker.detach())
        wanted = torch.log(durations[:, None].clamp(min=1).float()) * mask
        return ((told - wanted) ** 2 * mask).sum() / mask.sum()

    def _slices(
        self,
        latents: Tensor,
        waveform: Tensor,
        batch: Any,
        speaker: Tensor,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        room = (batch.num_frames - self.slice_frames).clamp(min=0) + 1
        draws = torch.rand(len(latents), device=latents.device, generator=generator)
        begin = (draws * room).long()[:, None]  # (B, 1)
        frames = begin + torch.arange(self.slice_frames, device=latents.device)
        chosen = latents.gather(2, frames[:, None].expand(-1, latents.shape[1], -1))
        samples = begin * self.hop + torch.arange(self.slice_frames * self.hop, device=latents.device)
        with torch.autocast(latents.device.type, dtype=dtype, enabled=dtype != torch.float32):
            made = self._fast["decode"](chosen, speaker)[:, 0]
        return made.float(), waveform.gather(1, samples)


class Replayed:
    """A function of tensors of fixed shapes that is captured at its first call on a GPU, and then replayed.

    The alignment is three thousand small kernels, whose launches alone would take longer than the rest of a
    step.

    Args:
        function: draws no numbers and asks nothing of the device.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._inputs: list[Tensor] = []
        self._captured: Captured | None = None

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """As the function; nothing of it is differentiated."""
        if self._captured is None:
            self._inputs = [one.clone() for one in inputs]
            self._captured = capture_graph(lambda: self._function(*self._inputs), inputs[0].device)
        torch._foreach_copy_(self._inputs, list(inputs))
        self._captured.graph.replay()
        found: Tensor = self._captured.out
        return found.clone()


def _wavenet(wavenet: Any, x: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
    """`VitsWaveNet.forward` without its scripted parts."""
    width, total = wavenet.hidden_size, torch.zeros_like(x)
    conditions = wavenet.cond_layer(speaker).split(2 * width, dim=1)
    for layer, (into, out) in enumerate(zip(wavenet.in_layers, wavenet.res_skip_layers, strict=True)):
        left, right = (into(x) + conditions[layer]).split(width, dim=1)
        acts = out(wavenet.dropout(torch.tanh(left) * torch.sigmoid(right)))
        if layer < wavenet.num_layers - 1:
            kept, acts = acts.split(width, dim=1)
            x = (x + kept) * mask
        total = total + acts
    return total * mask


def _divergence(moved: Tensor, log_scales: Tensor, means: Tensor, scales: Tensor, mask: Tensor) -> Tensor:
    """Of the posterior from the text's Gaussians: nats a frame, all channels together."""
    each = scales - log_scales - 0.5 + 0.5 * (moved - means) ** 2 * torch.exp(-2 * scales)
    return (each * mask).sum() / mask.sum()


@torch.no_grad()
def _begin(vits: Any) -> None:
    """Initial weights as VITS and HiFi-GAN have them; coupling layers begin as the identity."""
    for name, module in vits.named_modules():
        if not isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            continue
        weight = torch.empty_like(module.weight)
        if name.startswith(("decoder.upsampler", "decoder.resblocks")):
            nn.init.normal_(weight, 0.0, 0.01)
        else:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        if nn.utils.parametrize.is_parametrized(module):
            module.weight = weight
        else:
            module.weight.copy_(weight)
    for flow in vits.flow.flows:
        flow.conv_post.weight.zero_()
        flow.conv_post.bias.zero_()
